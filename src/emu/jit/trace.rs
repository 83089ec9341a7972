//! Which pieces of code are translated as one.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU16;

use crate::interp::Key;
use crate::ir::{Block, Terminator};
use crate::memory::Ram;

/// How many guest instructions a trace has at most, but for what the last block adds.
const MAX_INSTRUCTIONS: usize = 64;
/// How many blocks a trace has at most.
const MAX_PARTS: usize = 12;
/// Up to how many instructions a loop is unrolled to.
const UNROLLED: usize = 40;
/// Addresses on one page have these bits in common.
const PAGE: u64 = !0xfff;

/// Where on its page an instruction starts that may lie half on the next one. It is the only one of which a trace has code from two
/// pages: the trace starts there, and is reached by jump tables, which forget it when one of the pages is mapped elsewhere.
pub const STRADDLING: u64 = 0xffe;

/// Whether what is at `pc` may lie on two pages.
pub const fn may_straddle(pc: u64) -> bool {
    pc & !PAGE == STRADDLING
}

/// Where the code of a trace lies.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The guest's RAM.
    pub ram: Ram,
    /// The block's key.
    pub key: Key,
    /// The guest-physical address of the next page, if the first instruction may go on there.
    pub second: Option<u64>,
}

impl Source {
    /// The code from `address` on, which is on the page, to the page's end.
    pub fn rest_of_page(&self, address: u64) -> &[AtomicU16] {
        self.ram.rest_of_page(self.key.physical & PAGE | address & !PAGE)
    }

    /// The 16 bits of code at `address`, which are the page's or the first instruction's.
    pub fn code(&self, address: u64) -> Option<u16> {
        let Self { ram, key, second } = self;
        let on_page = (address ^ key.pc) & PAGE == 0;
        let page =
            if on_page { key.physical } else { second.filter(|_| address == key.pc.wrapping_add(2))? };
        ram.read(page & PAGE | address & !PAGE)
    }
}

/// Collects traces. One is kept for its buffers.
#[derive(Debug, Default)]
pub struct Collector {
    /// Those of a trace, and others, for their buffers.
    blocks: Vec<Block>,
}

impl Collector {
    /// Collects the blocks from `pc` on that are likely to be executed in this order: `lift` makes a block
    /// that at an address of the same page, of at most so many instructions. Conditional branches are expected to go back, and not
    /// forward.
    pub fn collect(
        &mut self,
        pc: u64,
        mut lift: impl FnMut(u64, usize, &mut Block) -> Option<()>,
    ) -> &[Block] {
        let (mut at, mut count, mut len) = (pc, 0, 0);
        // How many instructions there are until the loop's head comes again.
        while len < MAX_PARTS && count < MAX_INSTRUCTIONS {
            let Some(parts @ [.., block]) = self.add(len, at, &mut lift) else { break };
            len = parts.len();
            let branch = block.starts.last().map_or(at, |start| at.wrapping_add(u64::from(start.offset)));
            count += block.starts.len();
            let next = match block.end {
                Terminator::Jump { target } => Some(target),
                Terminator::Branch { taken, .. } if is_backward(branch, taken) => Some(taken),
                Terminator::Branch { otherwise, .. } => Some(otherwise),
                Terminator::Indirect { .. } | Terminator::Leave | Terminator::Resume { .. } => None,
            };
            let Some(next) = next.filter(|next| (next ^ pc) & PAGE == 0) else { break };
            let seen = parts.iter().any(|part| part.pc == next);
            // A loop's body is repeated as long as the whole stays small; a loop that does not begin at the head is left to
            // a trace of its own.
            if seen && (next != pc || count + count / repetitions(parts, pc) > UNROLLED) {
                break;
            }
            at = next;
        }
        self.blocks.get(..len).unwrap_or_default()
    }

    /// A trace of `len` blocks, and behind them that at `pc`, which may be there already.
    fn add(
        &mut self,
        len: usize,
        pc: u64,
        lift: &mut impl FnMut(u64, usize, &mut Block) -> Option<()>,
    ) -> Option<&[Block]> {
        if len == self.blocks.len() {
            self.blocks.push(Block::default());
        }
        let (parts, rest) = self.blocks.split_at_mut_checked(len)?;
        let block = rest.first_mut()?;
        if let Some(known) = parts.iter().find(|part| part.pc == pc) {
            block.clone_from(known);
        } else {
            lift(pc, MAX_INSTRUCTIONS, block)?;
        }
        self.blocks.get(..=len)
    }
}

fn is_backward(from: u64, to: u64) -> bool {
    from.wrapping_sub(to) < 4096
}

/// How often the loop that starts at `pc` is there.
fn repetitions(parts: &[Block], pc: u64) -> usize {
    parts.iter().filter(|part| part.pc == pc).count().max(1)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::ir::{Builder, Condition, Value, Var};

    fn block(pc: u64, instructions: usize, end: Terminator) -> Block {
        let mut block = Block::default();
        let mut builder = Builder::new(&mut block, pc);
        (0..instructions).for_each(|_| builder.instruction(4));
        builder.finish(end);
        block
    }

    fn branch(taken: u64, otherwise: u64) -> Terminator {
        let condition = Condition::NotEqual;
        Terminator::Branch { condition, a: Var(1).into(), b: Value::ZERO, taken, otherwise }
    }

    fn addresses(pc: u64, blocks: &[Block]) -> Vec<u64> {
        let mut collector = Collector::default();
        let parts = collector.collect(pc, |at, _, block| {
            block.clone_from(blocks.iter().find(|block| block.pc == at)?);
            Some(())
        });
        parts.iter().map(|part| part.pc).collect()
    }

    #[test]
    fn a_trace_falls_through_forward_branches_and_follows_jumps() {
        let blocks = [
            block(0x1000, 2, branch(0x1100, 0x1008)),
            block(0x1008, 2, Terminator::Jump { target: 0x1200 }),
            block(0x1200, 1, Terminator::Indirect { target: Var(1) }),
        ];
        assert_eq!(addresses(0x1000, &blocks), [0x1000, 0x1008, 0x1200]);
    }

    #[test]
    fn a_small_loop_is_unrolled_and_a_large_one_is_not() {
        let small = [block(0x1000, 4, branch(0x1000, 0x1010))];
        assert_eq!(addresses(0x1000, &small), vec![0x1000; 10]);
        let large = [block(0x1000, 30, branch(0x1000, 0x1078)), block(0x1078, 1, Terminator::Leave)];
        assert_eq!(addresses(0x1000, &large), [0x1000]);
    }

    #[test]
    fn a_trace_stays_on_its_page_and_enters_no_other_loop_twice() {
        let leaves = [block(0x1ff0, 2, Terminator::Jump { target: 0x2000 })];
        assert_eq!(addresses(0x1ff0, &leaves), [0x1ff0]);
        let blocks =
            [block(0x1000, 1, Terminator::Jump { target: 0x1100 }), block(0x1100, 2, branch(0x1100, 0x1108))];
        assert_eq!(addresses(0x1000, &blocks), [0x1000, 0x1100]);
    }
}
