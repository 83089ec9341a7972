//! An engine that does what it likes, for the fuzzer and the property tests: whatever is in the page that it shares with
//! EL2, and whatever it says in its calls, EL2 does bounded work and changes nothing but what the two have agreed on.

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::Range;

use polyvisor_cell_abi::{
    CellInfo, HartInfo, MAX_BREAKPOINTS, MAX_HARTS, MAX_MESSAGE, MAX_REPORT, PRIVATE, Question, Report,
    WriteLog, riscv,
};

use super::{
    Writes, answer, ask, debug, message, recording, registers, request, set_lines, set_registers, statistics,
};
use crate::hostile::{Arena, Input};
use crate::mm::addr::{Ipa, PAGE_SIZE};
use crate::mm::guest_memory::GuestMemory;
use crate::mm::guest_ram::Watcher;
use crate::vm::debug::{Access, Point, Setup};

/// Bytes of private memory: the shared page, and more than the longest text.
const SIZE: u64 = 2 * PAGE_SIZE + MAX_REPORT;
/// Where the guest's RAM starts.
const RAM: Ipa = Ipa(0x8000_0000);

/// Lets EL2 deal with an engine that acts as `input` says.
///
/// # Panics
/// EL2 has done what it must not.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let memory = Arena::new(Ipa(PRIVATE), SIZE);
    while !input.is_empty() {
        let hart = usize::from(input.u8()) % MAX_HARTS;
        act(&memory, hart, &mut input);
        let before: Vec<u8> = memory.bytes().collect();
        let state = u64::from_le_bytes(field(&before, hart_range(hart, offset_of!(HartInfo, state), 8)));
        let changed = serve(&memory, hart, state, &mut input);
        let after = memory.bytes();
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            let agreed = changed.iter().any(|range| range.contains(&(at as u64)));
            assert!(
                agreed || *before == after,
                "byte {at:#x} of private memory was {before:#x}, is {after:#x}"
            );
        }
    }
}

/// The engine writes something, where it is most likely to matter.
fn act(memory: &Arena, hart: usize, input: &mut Input<'_>) {
    let address = match input.u8() % 4 {
        0 => input.u64(),
        // Close to the end of the shared page, or of everything.
        1 => PRIVATE + PAGE_SIZE - u64::from(input.u8()),
        2 => PRIVATE + SIZE - u64::from(input.u16()) % 2048,
        _ => PRIVATE + u64::from(input.u16()) % SIZE,
    };
    let at = match input.u8() % 8 {
        0 => PRIVATE + u64::from(input.u16()) % SIZE,
        1 => PRIVATE + written(offset_of!(WriteLog, code_pages)),
        2 => PRIVATE + written(offset_of!(WriteLog, next)),
        3 => PRIVATE + offset_of!(CellInfo, statistics) as u64,
        // Its number, or its length, too.
        4 => PRIVATE + report(4 * u64::from(input.u8() % 8)),
        _ => PRIVATE + hart_range(hart, offset_of!(HartInfo, state), 8).start,
    };
    // What does not fit is not written as a whole.
    let _ = memory.write(Ipa(at), &address.to_le_bytes());
}

/// EL2 does one of the things that it does. Returns the parts of private memory that it may have changed, by their offsets.
fn serve(memory: &Arena, hart: usize, state: u64, input: &mut Input<'_>) -> Vec<Range<u64>> {
    match input.u8() % 10 {
        7 => {
            let _ = statistics(memory);
            let _ = recording(memory, Ipa(PRIVATE + input.u64() % SIZE), input.u64() % (2 * SIZE));
            Vec::new()
        }
        8 => {
            let question = if input.u8() & 1 != 0 { Question::Top } else { Question::Block };
            let _ = ask(memory, hart, question(input.u64()));
            // What the engine writes is among this, but EL2 does not touch it.
            alloc::vec![
                report(0)..report(offset_of!(Report, answered) as u64),
                report(offset_of!(Report, kind) as u64)..report(offset_of!(Report, length) as u64),
                report(offset_of!(Report, argument) as u64)..report(offset_of!(Report, address) as u64),
                hart_range(hart, offset_of!(HartInfo, requests), 4),
            ]
        }
        9 => {
            let number = u32::from_le_bytes(field(
                &memory.bytes().collect::<Vec<_>>(),
                report(offset_of!(Report, answered) as u64)..report(size_of::<Report>() as u64),
            ));
            let text = answer(memory, number).unwrap_or_default();
            assert!(text.chars().count() as u64 <= MAX_REPORT);
            assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
            Vec::new()
        }
        6 => {
            // No more than the arena has bits for, and some that it has not.
            let first = u64::from(input.u8()) << (input.u8() % 12);
            let len = u64::from(input.u8()) << (input.u8() % 16);
            Writes::new(RAM).written(memory, Ipa(RAM.0 + first * PAGE_SIZE), len);
            alloc::vec![written(offset_of!(WriteLog, next))..written(size_of::<WriteLog>())]
        }
        0 => {
            set_lines(memory, hart, u32::from(input.u8()));
            alloc::vec![hart_range(hart, offset_of!(HartInfo, lines), 4)]
        }
        1 => {
            request(memory, hart, u32::from(input.u8()));
            alloc::vec![hart_range(hart, offset_of!(HartInfo, requests), 4)]
        }
        2 => {
            let len = input.u64() >> (input.u8() % 64);
            let text = message(memory, state, len);
            assert!(text.chars().count() as u64 <= MAX_MESSAGE);
            assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
            Vec::new()
        }
        3 => {
            let _ = registers(memory, hart);
            Vec::new()
        }
        4 => {
            let (first, count) = (usize::from(input.u8()), usize::from(input.u8()));
            let words = (first..first + count).map(|index| (index % riscv::WORDS, input.u64()));
            let _ = set_registers(memory, hart, words);
            let start = state.wrapping_sub(PRIVATE);
            alloc::vec![start..start.saturating_add((riscv::WORDS * size_of::<u64>()) as u64)]
        }
        _ => {
            let points: Vec<Point> = (0..input.u8() % 40)
                .map(|_| match input.u8() {
                    0 => Point::Watch { address: 0, length: 1, access: Access::Any },
                    byte => Point::Execution(byte.into()),
                })
                .collect();
            let possible = points.len() <= MAX_BREAKPOINTS
                && points.iter().all(|point| matches!(point, Point::Execution(_)));
            let setup = Setup { points: &points, step: input.u8() & 1 != 0 };
            assert_eq!(debug(memory, hart, Some(setup)).is_ok(), possible);
            if !possible {
                return Vec::new();
            }
            let start = offset_of!(CellInfo, breakpoint_generation) as u64;
            alloc::vec![
                start..offset_of!(CellInfo, hart) as u64,
                hart_range(hart, offset_of!(HartInfo, requests), 4),
            ]
        }
    }
}

/// Where in private memory the report is, and so many bytes more.
fn report(offset: u64) -> u64 {
    offset_of!(CellInfo, report) as u64 + offset
}

/// Where in private memory a field of the log is.
fn written(offset: usize) -> u64 {
    (offset_of!(CellInfo, written) + offset) as u64
}

/// Where `len` bytes of what is agreed on for one hart lie in private memory.
fn hart_range(hart: usize, offset: usize, len: u64) -> Range<u64> {
    let start = (offset_of!(CellInfo, hart) + hart * size_of::<HartInfo>() + offset) as u64;
    start..start + len
}

fn field<const N: usize>(bytes: &[u8], range: Range<u64>) -> [u8; N] {
    bytes.get(range.start as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
