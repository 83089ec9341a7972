//! EL2's side of a cell: a VM whose vCPUs run the engine, a translator at EL1, in front of a guest of another instruction
//! set. `docs/cell.md` says how the two work together; [`polyvisor_cell_abi`] is what they have agreed on.
//!
//! The engine is not trusted: what it writes is read as a guest's is. `memory` is the cell's private memory throughout, and
//! nothing else, whatever addresses the engine gives.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;

use polyvisor_cell_abi::{self as abi, CellInfo, HartInfo, riscv};

use super::debug::{Point, Setup, TooManyPoints};
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, MemoryError};
use crate::mm::guest_ram::CHUNK;

mod jit;
mod recording;
mod written;

pub use jit::{answer, ask, statistics};
pub use recording::{Recording, recording};
pub use written::Writes;

/// Bytes of memory that a cell of so many harts has for itself, and for a recording of so many bytes.
pub const fn private_size(harts: usize, recording: u64) -> u64 {
    (abi::PRIVATE_SHARED + abi::PRIVATE_PER_HART * harts as u64 + recording).next_multiple_of(CHUNK)
}

/// How a cell starts.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// How many harts.
    pub harts: usize,
    /// The guest's RAM: its first address and its size in bytes.
    pub ram: (Ipa, u64),
    /// The version of the interrupt controller.
    pub gic: u32,
    /// The privilege mode in which the guest starts.
    pub mode: u32,
    /// Where it starts.
    pub entry: Ipa,
    /// What it is told.
    pub arguments: [u64; 2],
    /// How its code is executed.
    pub translation: abi::Translation,
    /// Bytes of saved translations that are mapped.
    pub store: u64,
    /// Bytes for a recording.
    pub recording: u64,
}

/// Where in a cell a field of [`CellInfo`] is.
const fn at(offset: usize) -> Ipa {
    Ipa(abi::PRIVATE + offset as u64)
}

/// Where in a cell what is agreed on for one hart is.
fn hart_at(hart: usize, offset: usize) -> Ipa {
    let index = hart.min(abi::MAX_HARTS - 1);
    at(offset_of!(CellInfo, hart) + index * size_of::<HartInfo>() + offset)
}

/// Fills the page by which the engine knows what to run. The cell's memory is zero besides. The engine reads the first of
/// it before it has switched its caches on, so it must be written as loaders write.
///
/// # Errors
/// [`MemoryError`], which cannot be as the memory is the cell's.
pub fn prepare(memory: &impl GuestMemory, start: &Start) -> Result<(), MemoryError> {
    let words = [
        (offset_of!(CellInfo, magic), abi::MAGIC),
        (offset_of!(CellInfo, ram_base), start.ram.0.0),
        (offset_of!(CellInfo, ram_size), start.ram.1),
        (offset_of!(CellInfo, private_size), private_size(start.harts, start.recording)),
        (offset_of!(CellInfo, store_size), start.store),
        (offset_of!(CellInfo, recording_size), start.recording),
        (offset_of!(CellInfo, entry), start.entry.0),
        (offset_of!(CellInfo, arguments), start.arguments[0]),
        (offset_of!(CellInfo, arguments) + size_of::<u64>(), start.arguments[1]),
    ];
    let halves = [
        (offset_of!(CellInfo, version), abi::VERSION),
        (offset_of!(CellInfo, harts), start.harts as u32),
        (offset_of!(CellInfo, gic_version), start.gic),
        (offset_of!(CellInfo, boot_mode), start.mode),
        (offset_of!(CellInfo, translation), start.translation as u32),
    ];
    words.iter().try_for_each(|(offset, value)| memory.write(at(*offset), &value.to_le_bytes()))?;
    halves.iter().try_for_each(|(offset, value)| memory.write(at(*offset), &value.to_le_bytes()))
}

/// Tells the levels of a hart's interrupt inputs.
pub fn set_lines(memory: &impl GuestMemory, hart: usize, lines: u32) {
    if let Ok(word) = memory.slice(hart_at(hart, offset_of!(HartInfo, lines)), size_of::<u32>() as u64) {
        word.store(0, lines);
    }
}

/// What the engine says of why it cannot go on: `len` bytes at `ipa`.
pub fn message(memory: &impl GuestMemory, ipa: u64, len: u64) -> String {
    text(memory, ipa, len, abi::MAX_MESSAGE)
        .unwrap_or_else(|error| alloc::format!("the engine cannot go on, and does not say why: {error}"))
}

/// A text of the engine's: `len` bytes at `ipa`, at most `limit`, without control characters.
fn text(memory: &impl GuestMemory, ipa: u64, len: u64, limit: u64) -> Result<String, MemoryError> {
    let mut bytes = alloc::vec![0; len.min(limit) as usize];
    memory.read(Ipa(ipa), &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect())
}

/// The guest's registers, as the engine last had them in memory; `None` before it has told where that is.
pub fn registers(memory: &impl GuestMemory, hart: usize) -> Option<[u64; riscv::WORDS]> {
    let state = hart_at(hart, offset_of!(HartInfo, state));
    let at = memory.slice(state, size_of::<u64>() as u64).ok()?.load::<u64>(0)?;
    let mut bytes = [0; riscv::WORDS * size_of::<u64>()];
    memory.read(Ipa(at), &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let mut registers = [0; riscv::WORDS];
    registers.iter_mut().zip(words).for_each(|(register, word)| *register = u64::from_le_bytes(*word));
    Some(registers)
}

/// Replaces some of the guest's registers, by index; `None` before the engine has told where they are.
pub fn set_registers(
    memory: &impl GuestMemory,
    hart: usize,
    words: impl Iterator<Item = (usize, u64)>,
) -> Option<()> {
    let state = hart_at(hart, offset_of!(HartInfo, state));
    let base = memory.slice(state, size_of::<u64>() as u64).ok()?.load::<u64>(0)?;
    for (index, value) in words {
        let at = base.checked_add((index * size_of::<u64>()) as u64)?;
        memory.write(Ipa(at), &value.to_le_bytes()).ok()?;
    }
    Some(())
}

/// Asks a hart for what `requests` says, bits of [`abi::Requests`]. It looks when the doorbell has been rung.
pub fn request(memory: &impl GuestMemory, hart: usize, requests: u32) {
    change(memory, hart_at(hart, offset_of!(HartInfo, requests)), |before| before | requests);
}

/// Changes a word that the engine does not change meanwhile.
fn change(memory: &impl GuestMemory, at: Ipa, change: impl FnOnce(u32) -> u32) {
    if let Ok(word) = memory.slice(at, size_of::<u32>() as u64)
        && let Some(value) = word.load(0)
    {
        word.store(0, change(value));
    }
}

/// The breakpoints that the engine has been told of.
fn breakpoints(memory: &impl GuestMemory) -> Vec<u64> {
    let count = memory.slice(at(offset_of!(CellInfo, breakpoint_count)), size_of::<u32>() as u64);
    let count = count.ok().and_then(|word| word.load::<u32>(0)).unwrap_or(0) as usize;
    let mut bytes = [0; abi::MAX_BREAKPOINTS * size_of::<u64>()];
    // The cell has this memory.
    let _ = memory.read(at(offset_of!(CellInfo, breakpoints)), &mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().take(count).map(|word| u64::from_le_bytes(*word)).collect()
}

/// Tells the engine what the debugger wants of a hart, which does not run.
///
/// # Errors
/// [`TooManyPoints`]: more breakpoints than there is room for, or something else to look out for. Nothing has changed.
pub fn debug(memory: &impl GuestMemory, hart: usize, setup: Option<Setup<'_>>) -> Result<(), TooManyPoints> {
    let (points, step) = setup.map_or((&[][..], false), |setup| (setup.points, setup.step));
    let addresses: Option<Vec<u64>> = points
        .iter()
        .map(|point| match point {
            Point::Execution(address) => Some(*address),
            Point::Watch { .. } => None,
        })
        .collect();
    let addresses =
        addresses.filter(|addresses| addresses.len() <= abi::MAX_BREAKPOINTS).ok_or(TooManyPoints)?;
    // What has been translated is of no use any more when they have changed: not without need.
    if breakpoints(memory) != addresses {
        for (index, address) in addresses.iter().enumerate() {
            let offset = offset_of!(CellInfo, breakpoints) + index * size_of::<u64>();
            // The cell has this memory.
            let _ = memory.write(at(offset), &address.to_le_bytes());
        }
        change(memory, at(offset_of!(CellInfo, breakpoint_count)), |_| addresses.len() as u32);
        change(memory, at(offset_of!(CellInfo, breakpoint_generation)), |count| count.wrapping_add(1));
    }
    let requests = if step { abi::Requests::STEP } else { 0 };
    change(memory, hart_at(hart, offset_of!(HartInfo, requests)), |_| requests);
    Ok(())
}

#[cfg(any(test, fuzzing))]
pub mod hostile;
#[cfg(test)]
mod tests;
