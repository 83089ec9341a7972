//! Random instructions, in supervisor and user mode.

use core::arch::asm;

use guest_riscv_support::rng::Rng;

use super::{
    Attack, arena, broken,
    monitor::{self, Frame},
    protection, tables,
};

/// Pages of a hart that hold code at first; those in front are [`tables`].
const FIRST: u64 = 8;
const PAGES: u64 = 4;
/// Bits of mstatus that may be anything in modes below machine mode: SIE, SPIE, SPP, SUM, MXR, TVM, TW, TSR.
const STATUS: u64 = 0x7c_0122;
/// The longest turn, in ticks of the timer.
const TURN_BITS: u64 = 14;

/// Fills this hart's pages.
pub fn prepare(attack: &mut Attack) {
    tables::prepare(attack);
    for page in FIRST..FIRST + PAGES {
        let start = arena::page(attack.hart, page);
        for offset in (0..arena::PAGE).step_by(4) {
            arena::put(start + offset, instruction(&mut attack.rng));
        }
    }
}

/// Changes a few instructions and entries, and runs from one of them on.
pub fn operation(attack: &mut Attack) {
    let code = arena::page(attack.hart, FIRST);
    for _ in 0..attack.rng.below(8) {
        let word = attack.rng.below(PAGES * arena::PAGE / 4) * 4;
        arena::put(code + word, instruction(&mut attack.rng));
    }
    tables::change(attack);
    let satp = if attack.rng.one_in(3) { 0 } else { tables::satp(attack) };
    let delegated = [attack.rng.next_u64(), attack.rng.next_u64() & 0x222];
    let vector = arena::any(&mut attack.rng);
    // SAFETY: machine mode's code does not depend on them.
    unsafe {
        asm!(
            "csrw satp, {}",
            "csrw medeleg, {}",
            "csrw mideleg, {}",
            "csrw stvec, {}",
            "sfence.vma",
            "fence.i",
            in(reg) satp,
            in(reg) delegated[0],
            in(reg) delegated[1],
            in(reg) vector,
        );
    }
    let expected = delegation();
    let rng = &mut attack.rng;
    let mut frame = Frame::new([(); 32].map(|()| register(rng)));
    frame.x[0] = match rng.below(4) {
        // With page tables, what is there is any page.
        0 => tables::address(rng),
        _ => code + rng.below(PAGES * arena::PAGE / 2) * 2,
    };
    let supervisor = rng.below(2) << 11;
    let status = rng.next_u64() & STATUS | supervisor | monitor::FLOAT;
    let turn = 1 << rng.below(TURN_BITS);
    let ticks = rng.below(turn);
    frame.run(attack.hart, status, ticks);
    if frame.cause != monitor::TIMER {
        attack.faults += 1;
    }
    for (what, (wanted, found)) in
        [("medeleg", (expected, delegation())), ("pmpcfg0", protection::configuration())]
    {
        if wanted != found {
            broken(what, wanted, found);
        }
    }
}

fn delegation() -> u64 {
    let value: u64;
    // SAFETY: reading this register has no effect.
    unsafe { asm!("csrr {}, medeleg", out(reg) value) };
    value
}

/// The value of a register to begin with: addresses, mostly.
fn register(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.interesting(),
        1 => tables::address(rng),
        _ => arena::any(rng) & !7,
    }
}

/// An instruction, of which many exist.
fn instruction(rng: &mut Rng) -> u32 {
    // LOAD, LOAD-FP, MISC-MEM, OP-IMM, AUIPC, OP-IMM-32, STORE, STORE-FP, AMO, OP, LUI, OP-32, MADD to NMADD, OP-FP,
    // JALR, SYSTEM: Unprivileged ISA, table 70.
    const OPCODES: [u32; 20] = [
        0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x47, 0x4b, 0x4f, 0x53,
        0x67, 0x73, 0x73,
    ];
    let random = rng.next_u64() as u32;
    match rng.below(10) {
        0 => random,
        // Two that are compressed, or the second half of one that is not.
        1 | 2 => random & !0x0001_0001,
        // A branch, or JAL without a link, by less than 256 bytes.
        3 => 0x63 | random & 0x1fff_7e80,
        4 => 0x6f | random & 0x0fe0_0000,
        5 => system(rng, random),
        _ => rng.pick(&OPCODES).copied().unwrap_or_default() | random & !0x7f,
    }
}

/// An instruction of SYSTEM that exists, probably.
fn system(rng: &mut Rng, random: u32) -> u32 {
    // ECALL, EBREAK, URET, SRET, MRET, WFI, WRS.NTO, WRS.STO, SFENCE.VMA of everything.
    const PLAIN: [u32; 9] = [
        0x0000_0073,
        0x0010_0073,
        0x0020_0073,
        0x1020_0073,
        0x3020_0073,
        0x1050_0073,
        0x00d0_0073,
        0x01d0_0073,
        0x1200_0073,
    ];
    // fflags, frm, fcsr, cycle, time, instret, sstatus, sie, stvec, scounteren, senvcfg, sscratch, sepc, scause, stval,
    // sip, stimecmp, satp.
    const REGISTERS: [u32; 18] = [
        0x001, 0x002, 0x003, 0xc00, 0xc01, 0xc02, 0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142,
        0x143, 0x144, 0x14d, 0x180,
    ];
    match rng.below(4) {
        0 => rng.pick(&PLAIN).copied().unwrap_or_default(),
        // SFENCE.VMA with operands.
        1 => 0x1200_0073 | random & 0x01ff_8000,
        _ => 0x73 | random & 0x000f_ff80 | rng.pick(&REGISTERS).copied().unwrap_or_default() << 20,
    }
}
