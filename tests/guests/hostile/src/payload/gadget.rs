//! Runs instructions that are made up at run time.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use guest_support::{exception::cpu_index, mmu::publish_code, smp::MAX_CPUS};

use super::Attack;

/// How many general registers an instruction is given values for: x0 to x15.
pub const REGISTERS: usize = 16;

const RET: u32 = 0xd65f_03c0;

#[repr(C, align(64))]
struct Buffer([AtomicU32; 2]);

/// One for each CPU.
static BUFFERS: [Buffer; MAX_CPUS] = [const { Buffer([AtomicU32::new(RET), AtomicU32::new(RET)]) }; MAX_CPUS];

// x0: values of x0 to x15, x1: code. Everything that the code may change and Rust wants kept is saved, SP
// excepted: code must leave it.
global_asm!(
    ".text",
    "hostile_call:",
    "    stp     x29, x30, [sp, #-96]!",
    "    stp     x19, x20, [sp, #16]",
    "    stp     x21, x22, [sp, #32]",
    "    stp     x23, x24, [sp, #48]",
    "    stp     x25, x26, [sp, #64]",
    "    stp     x27, x28, [sp, #80]",
    "    mov     x16, x1",
    "    mov     x17, x0",
    "    ldp     x14, x15, [x17, #112]",
    "    ldp     x12, x13, [x17, #96]",
    "    ldp     x10, x11, [x17, #80]",
    "    ldp     x8, x9, [x17, #64]",
    "    ldp     x6, x7, [x17, #48]",
    "    ldp     x4, x5, [x17, #32]",
    "    ldp     x2, x3, [x17, #16]",
    "    ldp     x0, x1, [x17]",
    // No register shows where this program keeps its data: an instruction that used one as an address would
    // hit ourselves.
    ".irp n, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
    "    mov     x\\n, xzr",
    ".endr",
    "    blr     x16",
    "    ldp     x19, x20, [sp, #16]",
    "    ldp     x21, x22, [sp, #32]",
    "    ldp     x23, x24, [sp, #48]",
    "    ldp     x25, x26, [sp, #64]",
    "    ldp     x27, x28, [sp, #80]",
    "    ldp     x29, x30, [sp], #96",
    "    ret",
);

impl Attack {
    /// Runs `instruction` with x0 to x15 = `registers`, and returns x0. It must not change SP or store to
    /// this program's memory.
    pub fn execute(&mut self, instruction: u32, registers: &[u64; REGISTERS]) -> Option<u64> {
        unsafe extern "C" {
            fn hostile_call(registers: *const u64, code: *const AtomicU32) -> u64;
        }
        let Buffer(code) = BUFFERS.get(cpu_index())?;
        let [first, _] = code;
        first.store(instruction, Relaxed);
        publish_code(first.as_ptr() as u64, 2);
        // SAFETY: the buffer holds the instruction and a return; a fault is caught, and the caller keeps harm
        // away from ourselves.
        let outcome = self.attempt(|| unsafe { hostile_call(registers.as_ptr(), code.as_ptr()) });
        super::quieten();
        outcome.ok()
    }

    /// Values as fuzzing likes them.
    pub fn registers(&mut self) -> [u64; REGISTERS] {
        core::array::from_fn(|_| self.rng.interesting())
    }
}
