//! Start-up: the arm64 `Image` header and the way from reset state to Rust, for the boot CPU and for the
//! others.

use core::{arch::global_asm, ffi::c_void};

use crate::{
    cpu,
    exception::{PER_CPU, PER_CPU_BYTES},
    machine::{self, Machine},
    mmu, psci,
    smp::{self, MAX_CPUS},
};

const STACK_BYTES: usize = 32 * 1024;

#[repr(C, align(16))]
struct Stacks([[u8; STACK_BYTES]; MAX_CPUS]);

static mut STACKS: Stacks = Stacks([[0; STACK_BYTES]; MAX_CPUS]);
/// CNTPCT_EL0 at the first instruction.
static mut ENTRY_COUNT: u64 = 0;

// Linux, Documentation/arch/arm64/booting.rst: header, and the state at entry (MMU off, image clean to the
// point of coherency). The MMU is enabled before any memory is written, so that no write bypasses the caches;
// until the relocations are done the code is strictly relative to PC.
global_asm!(
    ".section .head, \"ax\"",
    ".globl _start",
    "_start:",
    "    b       .Lentry",
    "    .long   0",
    "    .quad   0",            // text_offset
    "    .quad   __image_size", // including bss and stacks
    "    .quad   0xa",          // flags: little endian, 4 KiB pages, anywhere in memory
    "    .quad   0, 0, 0",
    "    .ascii  \"ARM\\x64\"",
    "    .long   0",
    ".text",
    ".Lentry:",
    "    mrs     x19, cntpct_el0",
    "    mov     x20, x0",
    "    bl      .Lenable_mmu",
    "    adrp    x0, __bss_start",
    "    add     x0, x0, :lo12:__bss_start",
    "    adrp    x1, __bss_end",
    "    add     x1, x1, :lo12:__bss_end",
    "1:  cmp     x0, x1",
    "    b.hs    2f",
    "    stp     xzr, xzr, [x0], #16",
    "    b       1b",
    // R_AARCH64_RELATIVE (1027) is the only kind that a static position-independent link leaves: (where,
    // kind, addend).
    "2:  adr     x0, __rela_start",
    "    adr     x1, __rela_end",
    "    adrp    x2, _start",
    "    add     x2, x2, :lo12:_start",
    "3:  cmp     x0, x1",
    "    b.hs    4f",
    "    ldp     x3, x4, [x0], #16",
    "    ldr     x5, [x0], #8",
    "    cmp     w4, #1027",
    "    b.ne    3b",
    "    add     x5, x5, x2",
    "    str     x5, [x3, x2]",
    "    b       3b",
    "4:  adrp    x1, {entry_count}",
    "    str     x19, [x1, :lo12:{entry_count}]",
    "    mov     x0, #0",
    "    bl      .Lset_up_cpu",
    "    mov     x0, x20",
    "    b       {boot_cpu}",
    //
    ".globl guest_secondary_entry",
    "guest_secondary_entry:", // x0: the CPU's index, as given to CPU_ON
    "    mov     x19, x0",
    "    bl      .Lenable_mmu",
    "    mov     x0, x19",
    "    bl      .Lset_up_cpu",
    "    mov     x0, x19",
    "    b       {secondary_cpu}",
    // Stack, per-CPU block and vectors of CPU x0, of MAX_CPUS.
    ".Lset_up_cpu:",
    "    adrp    x1, {per_cpu}",
    "    add     x1, x1, :lo12:{per_cpu}",
    "    mov     x2, #{per_cpu_bytes}",
    "    madd    x1, x0, x2, x1",
    "    msr     tpidr_el1, x1",
    "    adrp    x1, {stacks}",
    "    add     x1, x1, :lo12:{stacks}",
    "    mov     x2, #{stack_bytes}",
    "    madd    x1, x0, x2, x1",
    "    add     x1, x1, x2",
    "    mov     sp, x1",
    "    adrp    x1, guest_vectors",
    "    add     x1, x1, :lo12:guest_vectors",
    "    msr     vbar_el1, x1",
    "    mov     x29, xzr",
    "    isb",
    "    ret",
    // Leaves x19 and above alone.
    ".Lenable_mmu:",
    "    mov     x1, #(3 << 20)", // FPEN: no traps of FP and SIMD
    "    msr     cpacr_el1, x1",
    "    mov     x1, #0xff00", // attribute 0: Device-nGnRnE, attribute 1: Normal, write-back
    "    msr     mair_el1, x1",
    "    adrp    x1, {table}",
    "    add     x1, x1, :lo12:{table}",
    "    msr     ttbr0_el1, x1",
    // TCR_EL1: 36 bits (T0SZ 28), write-back inner shareable walks, 4 KiB granule, no TTBR1 (EPD1); the
    // physical size (IPS) is the CPU's, at most 48 bits.
    "    ldr     x1, =0x80351c",
    "    mrs     x2, id_aa64mmfr0_el1",
    "    and     x2, x2, #0xf",
    "    mov     x3, #5",
    "    cmp     x2, x3",
    "    csel    x2, x2, x3, lo",
    "    orr     x1, x1, x2, lsl #32",
    "    msr     tcr_el1, x1",
    "    tlbi    vmalle1",
    "    dsb     nsh",
    "    isb",
    "    ldr     x1, =0x30d0198d", // RES1 bits, and I, SA0, SA, C, M
    "    msr     sctlr_el1, x1",
    "    isb",
    "    ret",
    "    .ltorg",
    entry_count = sym ENTRY_COUNT,
    per_cpu = sym PER_CPU,
    per_cpu_bytes = const PER_CPU_BYTES,
    stacks = sym STACKS,
    stack_bytes = const STACK_BYTES,
    table = sym mmu::TABLE,
    boot_cpu = sym boot_cpu,
    secondary_cpu = sym secondary_cpu,
);

unsafe extern "Rust" {
    /// What [`crate::payload!`] defines.
    safe fn guest_main(machine: &'static Machine);
}

/// The boot CPU arrives in Rust.
extern "C" fn boot_cpu(devicetree: *const u8) -> ! {
    crate::console::init();
    // SAFETY: written once by the start-up code, before this.
    let entry_count = unsafe { ENTRY_COUNT };
    // SAFETY: the boot protocol says that x0 points to a devicetree, which stays where it is.
    let machine = unsafe { machine::discover(devicetree, entry_count) };
    guest_main(machine);
    psci::system_off()
}

/// Any other CPU arrives in Rust.
extern "C" fn secondary_cpu(index: usize) -> ! {
    smp::run_job(index);
    psci::cpu_off();
    loop {
        cpu::wfi();
    }
}

unsafe extern "C" {
    static _start: c_void;
    static __bss_end: c_void;
    static guest_secondary_entry: c_void;
}

/// Where the image is, `[start, end)`, with stacks and zeroed data.
pub(crate) fn image() -> core::ops::Range<u64> {
    &raw const _start as u64..&raw const __bss_end as u64
}

/// Where CPU_ON lets a secondary CPU begin.
pub(crate) fn secondary_entry() -> u64 {
    &raw const guest_secondary_entry as u64
}
