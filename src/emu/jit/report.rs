//! What an operator is told of blocks: which are executed most, and what one of them is.
//!
//! The code of the CPU is told as words: an image on which every kilobyte counts has no disassembler, and `cargo xtask
//! disassemble` has one.

use alloc::{collections::BinaryHeap, string::String, vec::Vec};
use core::cmp::Reverse;
use core::fmt::{self, Write};

use polyvisor_cell_abi::{HotBlock, MAX_REPORT, Question};
use spin::relax::RelaxStrategy;

use super::cache::{BlockId, Cache, CodeMemory, ExitId};
use super::compile::{Compiled, ExitKind, Layout};
use super::shared::{Protection, Shared};
use super::trace::{Collector, Source};
use crate::interp::Key;
use crate::ir::Block;
use crate::memory::Ram;

/// Addresses on one page have these bits in common.
const PAGE: u64 = !0xfff;
/// How many blocks of a page are searched for an instruction.
const MAX_SEARCHED: usize = 512;
/// How many other blocks with the same instruction are named.
const MAX_OTHERS: usize = 8;

/// A guest's instruction set, without a guest.
pub trait Isa {
    /// Where its registers are.
    fn layout() -> &'static Layout;

    /// [`Guest::lift_in`](crate::interp::Guest::lift_in), with no debugger; `None` where `code` has none.
    fn lift(
        context: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut dyn FnMut(u64) -> Option<u16>,
    ) -> Option<()>;

    /// Writes the instruction at `pc` as assemblers do.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(out: &mut dyn Write, pc: u64, code: &mut dyn FnMut(u64) -> Option<u16>) -> fmt::Result;
}

/// Answers a question about the code of a guest whose instruction set is `I` and whose RAM is `ram`.
pub fn answer<I: Isa, C: CodeMemory, P: Protection, R: RelaxStrategy>(
    shared: &Shared<C, P, R>,
    ram: Ram,
    question: Question,
) -> String {
    let mut text = Text(String::new());
    let whole = match question {
        Question::Top(count) => {
            let (samples, blocks) = shared.with(|cache| hottest(cache, count));
            let whole = writeln!(text, "{samples}");
            whole.and_then(|()| blocks.iter().try_for_each(|block| writeln!(text, "{block}")))
        }
        Question::Block(address) => block::<I, C, P, R>(&mut text, shared, ram, address),
    };
    text.finish(whole)
}

/// An answer, which has an end.
struct Text(String);

/// What stands where it could go on.
const CUT: &str = "...\n";

impl Text {
    /// What has been written, in whole lines; with a note if that is not the whole.
    fn finish(mut self, whole: fmt::Result) -> String {
        if whole.is_err() {
            let end = self.0.rfind('\n').map_or(0, |end| end + 1);
            self.0.truncate(end);
            self.0.push_str(CUT);
        }
        self.0
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() + CUT.len() > MAX_REPORT as usize {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

/// How many samples there are, and the `count` blocks with the most of them.
fn hottest<C: CodeMemory>(cache: &Cache<C>, count: u64) -> (u64, Vec<HotBlock>) {
    // The coldest one of them is the first that is given up.
    let mut hottest = BinaryHeap::new();
    let mut samples: u64 = 0;
    for block in cache.blocks().filter(|block| block.samples != 0) {
        samples += u64::from(block.samples);
        let Key { pc, physical, .. } = block.key;
        let code = 4 * block.words();
        let instructions = block.instructions;
        hottest.push(Reverse(HotBlock { samples: block.samples, pc, physical, instructions, code }));
        if hottest.len() as u64 > count {
            hottest.pop();
        }
    }
    (samples, hottest.into_sorted_vec().into_iter().map(|Reverse(block)| block).collect())
}

/// The block that has the instruction at the guest-virtual `address`: if there are several, one that begins there, and
/// then the hottest one.
fn block<I: Isa, C: CodeMemory, P: Protection, R: RelaxStrategy>(
    out: &mut Text,
    shared: &Shared<C, P, R>,
    ram: Ram,
    address: u64,
) -> fmt::Result {
    let on_page: Vec<_> = shared.with(|cache| {
        let blocks = cache.blocks().filter(|block| block.instructions != 0);
        let blocks = blocks.filter(|block| (block.key.pc ^ address) & PAGE == 0);
        let of = |block: &super::cache::Block| {
            let source = Source { ram, key: block.key, second: block.second };
            (source, block.instructions as usize, block.samples)
        };
        blocks.map(of).take(MAX_SEARCHED).collect()
    });
    let mut found: Vec<_> = on_page
        .into_iter()
        .map(|(source, instructions, samples)| (source, instructions, samples, trace_of::<I>(source)))
        .filter(|(_, instructions, _, parts)| guests(parts).take(*instructions).any(|pc| pc == address))
        .collect();
    found.sort_by_key(|(source, _, samples, _)| Reverse((source.key.pc == address, *samples)));
    let Some(((source, _, _, parts), others)) = found.split_first() else {
        return writeln!(out, "no translated code has the instruction at {address:#x}");
    };
    let listed = shared.recompile(*source, parts, |cache, id, compiled| {
        let listing = Listing::<I, C> { cache, id, source: *source, isa: core::marker::PhantomData };
        listing.write(out, parts, compiled.as_ref())
    });
    listed.unwrap_or_else(|| writeln!(out, "the code at {address:#x} has just changed"))?;
    others.iter().take(MAX_OTHERS).try_for_each(|(Source { key, .. }, _, samples, _)| {
        writeln!(out, "also in the block at {:#x}, context {:#x}, {samples} samples", key.pc, key.context)
    })
}

/// What a block was made of.
fn trace_of<I: Isa>(source: Source) -> Vec<Block> {
    let (key, code) = (source.key, &mut |address| source.code(address));
    let mut collector = Collector::default();
    collector.collect(key.pc, |pc, max, block| I::lift(key.context, pc, max, block, code)).to_vec()
}

/// The addresses of the instructions of a trace.
fn guests(parts: &[Block]) -> impl Iterator<Item = u64> + '_ {
    parts
        .iter()
        .flat_map(|part| part.starts.iter().map(move |start| part.pc.wrapping_add(u64::from(start.offset))))
}

/// A block, line by line.
struct Listing<'a, I, C> {
    cache: &'a Cache<C>,
    id: BlockId,
    source: Source,
    isa: core::marker::PhantomData<I>,
}

impl<I: Isa, C: CodeMemory> Listing<'_, I, C> {
    /// All of it: each instruction of the guest, behind it the words of the CPU that are its own.
    fn write(&self, out: &mut Text, parts: &[Block], compiled: Option<&Compiled<'_>>) -> fmt::Result {
        let Some(block) = self.cache.block(self.id) else { return Ok(()) };
        let (Key { pc, physical, context }, words) = (self.source.key, block.words() as usize);
        writeln!(out, "block {pc:#x}, physical {physical:#x}, context {context:#x}")?;
        writeln!(
            out,
            "{} instructions, {} bytes of code at {:#x}, {} samples",
            block.instructions,
            4 * words,
            self.cache.entry(self.id),
            block.samples
        )?;
        let mut guests = guests(parts).take(block.instructions as usize);
        let Some(compiled) = compiled else {
            // It was lifted for a debugger, or its code has changed since it was looked up.
            guests.try_for_each(|pc| self.guest(out, pc))?;
            return self.words(out, 0, words);
        };
        let starts = compiled.starts.iter().map(|&start| usize::from(start));
        let mut ends = starts.clone().skip(1).chain([compiled.main]);
        writeln!(out, "entry")?;
        self.words(out, 0, starts.clone().next().unwrap_or(compiled.main))?;
        for (pc, start) in guests.zip(starts) {
            self.guest(out, pc)?;
            self.words(out, start, ends.next().unwrap_or(start))?;
        }
        writeln!(out, "out of line")?;
        // The exit for attention or that for floating point is the last code that there is.
        let end = compiled.exits.last().map_or(words, |exit| usize::from(exit.stub) + 2);
        self.words(out, compiled.main, end)?;
        self.literals(out, end.next_multiple_of(2))
    }

    /// The constants from word `start` on.
    fn literals(&self, out: &mut Text, start: usize) -> fmt::Result {
        let Some(block) = self.cache.block(self.id) else { return Ok(()) };
        let mut words = self.cache.code(block).skip(start);
        let mut at = 4 * start;
        while let (Some(low), Some(high)) = (words.next(), words.next()) {
            writeln!(out, "    +{at:04x} .quad {high:08x}{low:08x}")?;
            at += 8;
        }
        Ok(())
    }

    fn guest(&self, out: &mut Text, pc: u64) -> fmt::Result {
        write!(out, "{pc:#x}: ")?;
        I::write(out, pc, &mut |address| self.source.code(address))?;
        out.write_char('\n')
    }

    /// The words from `start` to `end`. That behind the call of a stub is the number of an exit, and no instruction.
    fn words(&self, out: &mut Text, start: usize, end: usize) -> fmt::Result {
        let Some(block) = self.cache.block(self.id) else { return Ok(()) };
        let entry = self.cache.entry(self.id);
        let mut number = false;
        for (index, word) in self.cache.code(block).enumerate().take(end).skip(start) {
            if core::mem::take(&mut number) {
                continue;
            }
            write!(out, "    +{:04x} {word:08x}", 4 * index)?;
            if let Some(exit) = self.cache.exit_at(entry + 4 * (index as u64 + 1)) {
                number = true;
                self.exit(out, exit)?;
            }
            out.write_char('\n')?;
        }
        Ok(())
    }

    fn exit(&self, out: &mut Text, exit: ExitId) -> fmt::Result {
        let Some(kind) = self.cache.exit(exit) else { return Ok(()) };
        match kind {
            ExitKind::Jump { target, .. } if self.cache.is_linked(exit) => {
                write!(out, " ; out, to {target:#x}, which is linked")
            }
            ExitKind::Jump { target, .. } | ExitKind::FarMiss { target, .. } => {
                write!(out, " ; out, to {target:#x}")
            }
            ExitKind::Indirect => write!(out, " ; out, to x16"),
            ExitKind::Interpret { pc } => write!(out, " ; out, to interpret {pc:#x}"),
            ExitKind::Attention { pc } => write!(out, " ; out at {pc:#x}, the hart is due"),
            ExitKind::Float { pc } => write!(out, " ; out at {pc:#x}, to load floating point"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_ends_with_a_whole_line() {
        let mut text = Text(String::new());
        let whole = (0..).try_for_each(|line| writeln!(text, "line {line}"));
        let answer = text.finish(whole);
        assert!((MAX_REPORT - 20..=MAX_REPORT).contains(&(answer.len() as u64)));
        let mut lines = answer.lines().rev();
        assert_eq!(lines.next(), Some("..."));
        let count = answer.lines().count() - 2;
        assert_eq!(lines.next(), Some(alloc::format!("line {count}").as_str()));
    }
}
