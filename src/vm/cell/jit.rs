//! What the engine tells of its compiler when an operator asks.

use alloc::string::String;
use core::mem::offset_of;

use polyvisor_cell_abi::{self as abi, CellInfo, JitStatistics, Question, Report};

use super::{at, change, request, text};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Word};

/// What the engine has counted; `None` where it has not told.
pub fn statistics(memory: &impl GuestMemory) -> Option<JitStatistics<u64>> {
    const WORD: usize = size_of::<u64>();
    let start: u64 = load(memory, offset_of!(CellInfo, statistics))?;
    if !start.is_multiple_of(WORD as u64) {
        return None;
    }
    let mut bytes = [0; JitStatistics::COUNT * WORD];
    memory.read(Ipa(start), &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<WORD>();
    let mut counters = [0; JitStatistics::COUNT];
    counters.iter_mut().zip(words).for_each(|(counter, word)| *counter = u64::from_le_bytes(*word));
    Some(JitStatistics::new(counters))
}

/// Asks the engine on `hart`, which does not run. It answers before it stops the next time. Returns the question's number.
pub fn ask(memory: &impl GuestMemory, hart: usize, question: Question) -> u32 {
    let (kind, argument) = question.encode();
    change(memory, field(offset_of!(Report, kind)), |_| kind);
    // The cell has this memory.
    let _ = memory.write(field(offset_of!(Report, argument)), &argument.to_le_bytes());
    let mut number = 0;
    change(memory, field(offset_of!(Report, asked)), |before| {
        number = before.wrapping_add(1);
        number
    });
    request(memory, hart, abi::Requests::REPORT);
    number
}

/// The engine's answer to the question of this number; `None` before it has answered.
pub fn answer(memory: &impl GuestMemory, number: u32) -> Option<String> {
    let report = offset_of!(CellInfo, report);
    let answered: u32 = load(memory, report + offset_of!(Report, answered))?;
    if answered != number {
        return None;
    }
    let length: u32 = load(memory, report + offset_of!(Report, length))?;
    let start: u64 = load(memory, report + offset_of!(Report, address))?;
    let answer = text(memory, start, length.into(), abi::MAX_REPORT);
    Some(answer.unwrap_or_else(|error| alloc::format!("the engine's answer is lost: {error}")))
}

/// Where in a cell a field of the report is.
const fn field(offset: usize) -> Ipa {
    at(offset_of!(CellInfo, report) + offset)
}

/// A field of the shared page.
fn load<T: Word>(memory: &impl GuestMemory, offset: usize) -> Option<T> {
    memory.slice(at(offset), size_of::<T>() as u64).ok()?.load(0)
}
