//! Every control and status register, in machine mode.

use core::arch::asm;

use super::{
    Attack, arena,
    monitor::{self, Frame},
    protection,
};

/// The page of a hart in which the snippet is.
const PAGE: u64 = 12;
/// Locked entries of the protection would keep the monitor from its own memory for good: bit 7 of each.
const UNLOCKED: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const PMPCFG: core::ops::RangeInclusive<u32> = 0x3a0..=0x3af;
/// Which registers are x28 to x31, whose values are random.
const FIRST: u32 = 28;

/// One access; then everything is as it was.
pub fn operation(attack: &mut Attack) {
    let rng = &mut attack.rng;
    // Where most of those that exist are: of user, supervisor and machine mode, protection, counters.
    let blocks = [0, 0x100, 0x140, 0x300, 0x340, 0x3a0, 0x3b0, 0xb00, 0xc00, 0xf10, rng.below(1 << 12)];
    let number = rng.pick(&blocks).map_or(0, |block| block + rng.below(16)) as u32 & 0xfff;
    // CSRRW, CSRRS, CSRRC, or with an immediate instead of a register.
    let function = rng.pick(&[1, 2, 3, 5, 6, 7]).copied().unwrap_or(1);
    let source = if function < 4 { FIRST + rng.below(4) as u32 } else { rng.below(32) as u32 };
    let result = if rng.one_in(2) { 0 } else { FIRST + rng.below(4) as u32 };
    let access = number << 20 | source << 15 | function << 12 | result << 7 | 0x73;
    // What the monitor cannot do without is put back at once: csrw mscratch, a0; csrw mtvec, a1; csrw mstatus, a2; ecall.
    let snippet = [access, 0x3405_1073, 0x3055_9073, 0x3006_1073, 0x73];
    let mut frame = Frame::new([0; 32]);
    for value in &mut frame.x[FIRST as usize..] {
        *value = if PMPCFG.contains(&number) { rng.interesting() & UNLOCKED } else { rng.interesting() };
    }
    run(attack, frame, &snippet);
    protection::prepare(attack.ram_end);
    // SAFETY: the monitor's code does not depend on these.
    unsafe { asm!("csrw satp, zero", "csrw mcountinhibit, zero", "csrw menvcfg, {}", in(reg) u64::MAX) };
}

/// Runs a snippet in machine mode. It ends with ECALL; a0 to a2 are what the monitor wants in mscratch, mtvec and mstatus.
pub fn run(attack: &mut Attack, mut frame: Frame, snippet: &[u32]) -> u64 {
    let code = arena::page(attack.hart, PAGE);
    for (offset, word) in (0..).step_by(4).zip(snippet) {
        arena::put(code + offset, *word);
    }
    // SAFETY: it orders instruction fetches behind stores.
    unsafe { asm!("fence.i") };
    let status = monitor::FLOAT | monitor::MACHINE;
    frame.x[0] = code;
    frame.x[10] = (&raw const frame).addr() as u64;
    frame.x[11] = monitor::vector();
    frame.x[12] = status;
    frame.run(attack.hart, status, u64::MAX >> 1);
    if frame.cause != monitor::MACHINE_CALL {
        attack.faults += 1;
    }
    frame.cause
}
