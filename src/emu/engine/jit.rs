//! Entering translated code, and what comes back.
//!
//! The engine itself uses no SIMD&FP registers (its target is a softfloat one), so what translated code has there stays.

use core::arch::global_asm;
use core::mem::offset_of;

use aarch64_cpu::registers::{CPACR_EL1, ESR_EL1, FAR_EL1, Readable, Writeable};
use polyvisor_emu::jit::compile::Home;
use polyvisor_emu::jit::words::{
    FAULT_ADDRESS, FAULT_SYNDROME, FRAME, FRAME_FLAGS, FRAME_PC, STACK, TABLE, TARGET,
};
use polyvisor_emu::riscv::LAYOUT;

use crate::{cpu, exception::Frame, local::Local, translator};

/// How many SIMD&FP registers there are.
pub const FLOATS: usize = 32;

/// What [`enter`] and [`resume`] return.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// By which exit translated code was left: the address that its stub has in x30.
    pub exit: u64,
    /// Not 0 if it was left by a fault, which the words have.
    pub fault: u64,
}

/// SIMD&FP registers, and what computing with them depends on and changes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Floats {
    /// The low halves of v0 and on.
    pub registers: [u64; FLOATS],
    /// FPCR.
    pub control: u64,
    /// FPSR: what was raised. Not loaded, but cleared.
    pub status: u64,
}

const _: () = assert!(offset_of!(Floats, control) == 256 && offset_of!(Floats, status) == 264);

/// The word of the guest register that the CPU's general register `number` holds.
const fn word_of(number: u8) -> usize {
    let mut global = 0;
    while global < LAYOUT.homes.len() {
        if let Home::X(register) = LAYOUT.homes[global]
            && register.number() == number
        {
            return global;
        }
        global += 1;
    }
    // No offset of a load: it is not assembled.
    usize::MAX
}

global_asm!(
    include_str!("jit.S"),
    stack = const STACK,
    table = const TABLE,
    target = const TARGET,
    frame = const FRAME,
    due = const offset_of!(Local, due),
    instret = const LAYOUT.instret.0 as usize,
    w0 = const word_of(0), w1 = const word_of(1), w2 = const word_of(2), w3 = const word_of(3),
    w4 = const word_of(4), w5 = const word_of(5), w6 = const word_of(6), w7 = const word_of(7),
    w8 = const word_of(8), w9 = const word_of(9), w10 = const word_of(10), w11 = const word_of(11),
    w12 = const word_of(12), w13 = const word_of(13), w14 = const word_of(14), w15 = const word_of(15),
    w19 = const word_of(19), w20 = const word_of(20), w21 = const word_of(21), w22 = const word_of(22),
    w23 = const word_of(23), w24 = const word_of(24), w25 = const word_of(25), w26 = const word_of(26),
    w27 = const word_of(27), w29 = const word_of(29),
);

unsafe extern "C" {
    fn engine_jit_enter(words: *mut u64, code: u64) -> Outcome;
    fn engine_jit_resume(words: *mut u64) -> Outcome;
    fn engine_jit_leave();
    fn engine_jit_faulted();
    fn engine_jit_entering();
    fn engine_jit_entered();
    fn engine_float_save(floats: *mut Floats);
    fn engine_float_load(floats: *const Floats);
}

/// Lets translated code use SIMD&FP registers on this hart.
pub fn init() {
    CPACR_EL1.write(CPACR_EL1::FPEN::TrapNothing);
    cpu::synchronize();
}

/// Executes the translated code at `code` for the hart whose words these are.
pub fn enter(words: &mut [u64; 256], code: u64) -> Outcome {
    // SAFETY: the code is what the compiler has made for this layout of words. It changes guest memory and these words, and
    // keeps the registers that a function has to.
    unsafe { engine_jit_enter(words.as_mut_ptr(), code) }
}

/// Goes on where the fault was that the words have.
pub fn resume(words: &mut [u64; 256]) -> Outcome {
    // SAFETY: as for `enter`.
    unsafe { engine_jit_resume(words.as_mut_ptr()) }
}

/// The address by which translated code leaves.
pub fn leave_routine() -> u64 {
    engine_jit_leave as *const () as u64
}

/// What is in the SIMD&FP registers.
pub fn save_floats() -> Floats {
    let mut floats = Floats::default();
    // SAFETY: it stores as much as there is.
    unsafe { engine_float_save(&raw mut floats) };
    floats
}

/// Loads the SIMD&FP registers and FPCR, and clears FPSR.
pub fn load_floats(floats: &Floats) {
    // SAFETY: Rust uses none of them.
    unsafe { engine_float_load(floats) };
}

/// An interrupt was taken: translated code, if that was executed, is to notice, and is counted as executed.
pub fn note_interrupt(frame: &mut Frame) {
    /// "Due" in the count of instructions.
    const DUE: u64 = 1 << 63;
    const COUNT: usize = 18;
    let entering = engine_jit_entering as *const () as u64..engine_jit_entered as *const () as u64;
    let inside = translator::is_translated(frame.elr);
    if inside || entering.contains(&frame.elr) {
        frame.x[COUNT] |= DUE;
    }
    if inside {
        translator::sample(frame.elr);
    }
}

/// A data abort was taken. If that was translated code's: keeps the state, and lets [`enter`] or [`resume`] return.
pub fn catch_fault(frame: &mut Frame) -> bool {
    /// SPSR_EL1.NZCV.
    const FLAGS: u64 = 0xf << 28;
    if !translator::is_translated(frame.elr) {
        return false;
    }
    // SAFETY: while translated code is executed, its stack pointer is the address of the hart's words, and nobody else
    // uses them.
    let words = unsafe { &mut *(frame.sp as *mut [u64; 256]) };
    words[FRAME..FRAME + frame.x.len()].copy_from_slice(&frame.x);
    words[FRAME_FLAGS] = frame.spsr & FLAGS;
    words[FRAME_PC] = frame.elr;
    words[FAULT_ADDRESS] = FAR_EL1.get();
    words[FAULT_SYNDROME] = ESR_EL1.get();
    frame.elr = engine_jit_faulted as *const () as u64;
    true
}
