//! Shows what is translated.

use polyvisor_emu::{
    interp::{Attention, Code, Exception, Flush, Guest, Translation},
    ir::{Block, Builder, FloatOp, Var},
    memory::{Access, Physical, Size},
    riscv::decode::{decode, length},
};

const PAGE: u64 = 4096;
/// How many pieces of 16 bits the longest block has.
const MAX_PARCELS: usize = 2 * Builder::MAX_INSTRUCTIONS;
/// What ends a block where fetching was ended. It is never raised: what is fetched suffices for one
/// instruction.
const NOT_FETCHED: Exception = Exception { cause: 1, value: 0 };

/// A hart that shows each block when it is lifted.
pub struct Traced<G, S> {
    hart: G,
    index: usize,
    show: S,
}

impl<G: Guest, S: FnMut(&str)> Traced<G, S> {
    /// Gives `show` a text for each block of `hart`, whose number is `index`.
    pub const fn new(hart: G, index: usize, show: S) -> Self {
        Self { hart, index, show }
    }
}

/// A block's code and its meaning; `parcels` are from its start on.
fn describe(hart: usize, block: &Block, parcels: &[u16]) -> String {
    let mut text = format!("hart {hart}, block of {} bytes\n", block.len);
    for start in &block.starts {
        let index = usize::from(start.offset / 2);
        let parcel = |index: usize| parcels.get(index).copied().unwrap_or(0);
        let word = u32::from(parcel(index)) | u32::from(parcel(index + 1)) << 16;
        let (digits, word) = if length(word as u16) == 2 { (4, word & 0xffff) } else { (8, word) };
        let instruction = decode(word).map_or("illegal".to_owned(), |instruction| instruction.to_string());
        let address = block.pc.wrapping_add(start.offset.into());
        text += &format!("{address:>18x}: {word:0digits$x}{:1$}{instruction}\n", "", 10 - digits);
    }
    for inst in &block.insts {
        text += &format!("    {inst:?}\n");
    }
    text + &format!("    {:?}\n", block.end)
}

impl<G: Guest, S: FnMut(&str)> Guest for Traced<G, S> {
    const PC: Var = G::PC;
    const INSTRET: Var = G::INSTRET;
    const RESERVATION: [Var; 2] = G::RESERVATION;
    const VIEWS: usize = G::VIEWS;

    fn vars(&mut self) -> &mut [u64; 256] {
        self.hart.vars()
    }

    fn physical(&self) -> &impl Physical {
        self.hart.physical()
    }

    fn context(&self) -> u32 {
        self.hart.context()
    }

    fn translation_context(&self) -> u32 {
        self.hart.translation_context()
    }

    fn has_lasting_context(&self) -> bool {
        self.hart.has_lasting_context()
    }

    fn rounding(&self) -> polyvisor_emu::float::Rounding {
        self.hart.rounding()
    }

    fn float_ready(&self) -> bool {
        self.hart.float_ready()
    }

    fn view(&self) -> usize {
        self.hart.view()
    }

    fn space(&self) -> u64 {
        self.hart.space()
    }

    fn code_space(&self) -> u64 {
        self.hart.code_space()
    }

    fn wants_attention(&self) -> bool {
        self.hart.wants_attention()
    }

    fn attend(&mut self) -> Attention {
        self.hart.attend()
    }

    fn take_flush(&mut self) -> Flush {
        self.hart.take_flush()
    }

    fn code_epoch(&self) -> u64 {
        self.hart.code_epoch()
    }

    fn translate(&mut self, address: u64, len: u64, access: Access) -> Result<Translation, Exception> {
        self.hart.translate(address, len, access)
    }

    fn access_fault(&self, address: u64, access: Access) -> Exception {
        self.hart.access_fault(address, access)
    }

    fn misaligned(&self, address: u64, size: Size, access: Access, atomic: bool) -> Result<(), Exception> {
        self.hart.misaligned(address, size, access, atomic)
    }

    fn lift_in(
        &mut self,
        context: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut Code<'_, Self>,
    ) -> Result<(), Exception> {
        // The code is fetched beforehand, up to the end of the page: the hart does not know this front end,
        // which fetching needs.
        let in_page = ((PAGE - pc % PAGE) / 2) as usize;
        let mut parcels = Vec::new();
        let mut end = Err(NOT_FETCHED);
        while parcels.len() < in_page.clamp(2, MAX_PARCELS) {
            match code.read(self, pc.wrapping_add(2 * parcels.len() as u64)) {
                Ok(parcel) => parcels.push(parcel),
                Err(exception) => {
                    end = Err(exception);
                    break;
                }
            }
        }
        let mut fetch = |_: &mut G, address: u64| {
            let index = address.wrapping_sub(pc) / 2;
            parcels.get(index as usize).copied().map_or(end, Ok)
        };
        self.hart.lift_in(context, pc, max, block, &mut Code::new(&mut fetch))?;
        (self.show)(&describe(self.index, block, &parcels));
        Ok(())
    }

    fn call(&mut self, function: u16, a: u64, b: u64) -> Result<u64, Exception> {
        self.hart.call(function, a, b)
    }

    fn float(&mut self, op: FloatOp, rounding: u8, operands: [u64; 3]) -> u64 {
        self.hart.float(op, rounding, operands)
    }

    fn raise(&mut self, exception: Exception) {
        self.hart.raise(exception);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polyvisor_emu::{interp::Interpreter, riscv::Hart};

    use super::*;
    use crate::{
        emu::{
            machine::{Machine, RAM_BASE},
            platform::HartPlatform,
        },
        size::Size,
    };

    #[test]
    fn each_block_is_shown_with_its_code() {
        // The first instruction straddles two pages, and the last one ends the machine.
        let start = RAM_BASE + PAGE - 2;
        let program: [u16; 9] = [0x02b7, 0x0010, 0x4315, 0x6315, 0x0313, 0x5553, 0xa023, 0x0062, 0xa001];
        let machine = Arc::new(Machine::new(1, Size::mib(1), start, None));
        for (address, &parcel) in (start..).step_by(2).zip(&program) {
            machine.ram().write(address, parcel).unwrap();
        }
        let platform = HartPlatform::new(Arc::clone(&machine), 0);
        let hart = Hart::new(Arc::clone(machine.cluster()), platform, 0).unwrap();
        let mut shown = Vec::new();
        let mut traced = Traced::new(hart, 3, |text: &str| shown.push(text.to_owned()));
        Interpreter::new(1 << 20).run(&mut traced);
        assert!(
            shown[0].starts_with("hart 3, block of 4 bytes\n          80000ffe: 001002b7  lui t0, 0x100\n")
        );
        assert!(shown[1].contains("          80001002: 4315      addi t1, zero, 5\n"), "{}", shown[1]);
        assert!(shown[1].contains("          8000100a: 0062a023  sw t1, 0(t0)\n"), "{}", shown[1]);
    }
}
