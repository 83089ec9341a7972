//! The measured loops, in assembly: what they contain is exactly what is measured.
//!
//! Registers: x1 to x3 are the loop's arguments, x19 counts rounds, x20 and x21 are for the loop itself, x22
//! sums up, x23 says that the interrupt was handled, x24 when, x25 and x26 belong to the handler, x27 is the
//! handler.

use core::arch::global_asm;

/// One loop: `run(rounds, a, b, c)` gives the ticks that all rounds took.
#[derive(Clone, Copy)]
pub struct TimedLoop(unsafe extern "C" fn(u64, u64, u64, u64) -> u64);

impl TimedLoop {
    /// Runs the loop with IRQs unmasked where it wants them; they are masked again afterwards.
    pub fn run(self, rounds: u64, a: u64, b: u64, c: u64) -> u64 {
        // SAFETY: the loops keep what the calling convention wants kept. Those that store, store to the
        // addresses that this program gives them: registers of the interrupt controller and unused RAM.
        unsafe { (self.0)(rounds, a, b, c) }
    }
}

/// Defines a loop. The result is the ticks from the first round to the last, unless `sum` names x22.
macro_rules! timed_loop {
    (
        $(#[$doc:meta])*
        $name:ident, handler $handler:literal, result $result:literal, $($line:expr),* $(,)?
    ) => {
        $(#[$doc])*
        #[allow(non_upper_case_globals, reason = "a loop is called like a function")]
        pub const $name: TimedLoop = {
            unsafe extern "C" {
                #[link_name = concat!("bench_", stringify!($name))]
                fn timed(rounds: u64, a: u64, b: u64, c: u64) -> u64;
            }
            TimedLoop(timed)
        };
        global_asm!(
            ".text",
            concat!(".globl bench_", stringify!($name)),
            concat!("bench_", stringify!($name), ":"),
            "    stp     x29, x30, [sp, #-112]!",
            "    stp     x19, x20, [sp, #16]",
            "    stp     x21, x22, [sp, #32]",
            "    stp     x23, x24, [sp, #48]",
            "    stp     x25, x26, [sp, #64]",
            "    stp     x27, x28, [sp, #80]",
            "    mrs     x9, vbar_el1",
            "    mrs     x10, daif",
            "    stp     x9, x10, [sp, #96]",
            "    adrp    x9, bench_vectors",
            "    add     x9, x9, :lo12:bench_vectors",
            "    msr     vbar_el1, x9",
            concat!("    adrp    x27, ", $handler),
            concat!("    add     x27, x27, :lo12:", $handler),
            "    isb",
            "    mov     x19, x0",
            "    mov     x22, #0",
            "    msr     daifclr, #2",
            "    isb",
            "    mrs     x28, cntvct_el0",
            "1:",
            $(concat!("    ", $line),)*
            "    subs    x19, x19, #1",
            "    b.ne    1b",
            "    isb",
            "    mrs     x20, cntvct_el0",
            "    sub     x21, x20, x28",
            concat!("    mov     x0, ", $result),
            "    ldp     x9, x10, [sp, #96]",
            "    msr     daif, x10",
            "    msr     vbar_el1, x9",
            "    isb",
            "    ldp     x19, x20, [sp, #16]",
            "    ldp     x21, x22, [sp, #32]",
            "    ldp     x23, x24, [sp, #48]",
            "    ldp     x25, x26, [sp, #64]",
            "    ldp     x27, x28, [sp, #80]",
            "    ldp     x29, x30, [sp], #112",
            "    ret",
        );
    };
}

timed_loop!(
    /// The loop alone.
    empty, handler "bench_handler_none", result "x21",
);
timed_loop!(
    /// Nothing, and no ticks: for loops that sum up only what they want to know.
    nothing, handler "bench_handler_none", result "xzr",
);
timed_loop!(
    /// PSCI_VERSION.
    hypercall, handler "bench_handler_none", result "x21",
    "movz    x0, #0x8400, lsl #16",
    "hvc     #0",
);
timed_loop!(
    /// A 32-bit load from `a`.
    load, handler "bench_handler_none", result "x21",
    "ldr     w0, [x1]",
);
timed_loop!(
    /// A step from `a` by `b` bytes.
    step, handler "bench_handler_none", result "x21",
    "add     x1, x1, x2",
);
timed_loop!(
    /// A store to `a`, and a step by `b` bytes.
    touch, handler "bench_handler_none", result "x21",
    "str     xzr, [x1]",
    "add     x1, x1, x2",
);
timed_loop!(
    /// What surrounds an interrupt that is waited for.
    spin, handler "bench_handler_none", result "x21",
    "mov     x23, #1",
    "2: cbz  x23, 2b",
);
timed_loop!(
    /// The store of `b` to `a`, GICD_SGIR, to the interrupt handled; `c` is the CPU interface.
    sgi_v2, handler "bench_handler_sgi_v2", result "x21",
    "mov     x23, #0",
    "str     w2, [x1]",
    "2: cbz  x23, 2b",
);
timed_loop!(
    /// The write of `a` to ICC_SGI1R_EL1, to the interrupt handled.
    sgi_v3, handler "bench_handler_sgi_v3", result "x21",
    "mov     x23, #0",
    "msr     icc_sgi1r_el1, x1",
    "2: cbz  x23, 2b",
);
timed_loop!(
    /// Two looks at the clock with nothing between them.
    clock, handler "bench_handler_none", result "x22",
    "isb",
    "mrs     x20, cntvct_el0",
    "isb",
    "mrs     x21, cntvct_el0",
    "sub     x21, x21, x20",
    "add     x22, x22, x21",
);
timed_loop!(
    /// The end of an SGI that was sent by storing `b` to `a`; `c` is the CPU interface.
    eoi_v2, handler "bench_handler_none", result "x22",
    "msr     daifset, #2",
    "str     w2, [x1]",
    "2: ldr  w25, [x3, #0xc]",
    "and     w26, w25, #0x3ff",
    "cmp     w26, #1020",
    "b.hs    2b",
    "isb",
    "mrs     x20, cntvct_el0",
    "str     w25, [x3, #0x10]",
    "isb",
    "mrs     x21, cntvct_el0",
    "sub     x21, x21, x20",
    "add     x22, x22, x21",
);
timed_loop!(
    /// The end of an SGI that was sent by writing `a` to ICC_SGI1R_EL1.
    eoi_v3, handler "bench_handler_none", result "x22",
    "msr     daifset, #2",
    "msr     icc_sgi1r_el1, x1",
    "isb",
    "2: mrs  x25, icc_iar1_el1",
    "cmp     w25, #1020",
    "b.hs    2b",
    "isb",
    "mrs     x20, cntvct_el0",
    "msr     icc_eoir1_el1, x25",
    "isb",
    "mrs     x21, cntvct_el0",
    "sub     x21, x21, x20",
    "add     x22, x22, x21",
);

/// A timer is due `a` ticks from now; the sum of how late it was acknowledged. `c` is the GICv2 CPU interface.
/// The last lines wait for it. Interrupts are masked while they do not: one that comes early must not leave a
/// WFI without its interrupt.
macro_rules! timer_loop {
    ($name:ident, $handler:literal, $count:literal, $compare:literal, $control:literal, $($wait:literal),*) => {
        timed_loop!(
            #[doc = concat!("From due to acknowledged, where `", $compare, "` says due.")]
            $name, handler $handler, result "x22",
            "msr     daifset, #2",
            "mov     x23, #0",
            "mov     x21, #1",
            "isb",
            concat!("mrs     x20, ", $count),
            "add     x20, x20, x1",
            concat!("msr     ", $compare, ", x20"),
            concat!("msr     ", $control, ", x21"),
            "isb",
            $($wait,)*
            "sub     x24, x24, x20",
            "add     x22, x22, x24",
        );
    };
}

/// Waits awake.
macro_rules! due_loop {
    ($name:ident, $handler:literal, $count:literal, $compare:literal, $control:literal) => {
        timer_loop!($name, $handler, $count, $compare, $control, "msr daifclr, #2", "2: cbz x23, 2b");
    };
}

due_loop!(timer_virtual_v2, "bench_handler_virtual_v2", "cntvct_el0", "cntv_cval_el0", "cntv_ctl_el0");
due_loop!(timer_virtual_v3, "bench_handler_virtual_v3", "cntvct_el0", "cntv_cval_el0", "cntv_ctl_el0");
due_loop!(timer_physical_v2, "bench_handler_physical_v2", "cntpct_el0", "cntp_cval_el0", "cntp_ctl_el0");
due_loop!(timer_physical_v3, "bench_handler_physical_v3", "cntpct_el0", "cntp_cval_el0", "cntp_ctl_el0");

/// Waits asleep, as operating systems do: masked, then let in.
macro_rules! wake_loop {
    ($name:ident, $handler:literal) => {
        timer_loop!(
            $name,
            $handler,
            "cntvct_el0",
            "cntv_cval_el0",
            "cntv_ctl_el0",
            "2: wfi",
            "msr daifclr, #2",
            "msr daifset, #2",
            "cbz x23, 2b"
        );
    };
}

wake_loop!(wake_v2, "bench_handler_virtual_v2");
wake_loop!(wake_v3, "bench_handler_virtual_v3");

/// Sleeps until an SGI comes, and stores the time at which it was acknowledged to `a`. Before, it stores how
/// many rounds are left to `b`: from then on the SGI may come. `c` is the GICv2 CPU interface.
macro_rules! answer_loop {
    ($name:ident, $handler:literal) => {
        timed_loop!(
            /// The receiver of interrupts from another CPU.
            $name, handler $handler, result "xzr",
            "msr     daifset, #2",
            "mov     x23, #0",
            "stlr    x19, [x2]",
            "2: wfi",
            "msr     daifclr, #2",
            "msr     daifset, #2",
            "cbz     x23, 2b",
            "stlr    x24, [x1]",
        );
    };
}

answer_loop!(answer_v2, "bench_handler_answer_v2");
answer_loop!(answer_v3, "bench_handler_answer_v3");

// One set of vectors for all loops: an IRQ goes where x27 says, everything else to the ordinary vectors. A
// stamping handler looks at the clock as soon as it has acknowledged, and stops the timer if it has one; a
// second interrupt that is spurious by then must not overwrite what the first one saw.
global_asm!(
    ".macro elsewhere offset",
    "    .balign 128",
    "    b       guest_vectors + \\offset",
    ".endm",
    ".text",
    ".balign 2048",
    "bench_vectors:",
    "    elsewhere 0x000",
    "    elsewhere 0x080",
    "    elsewhere 0x100",
    "    elsewhere 0x180",
    "    elsewhere 0x200",
    "    .balign 128",
    "    br      x27",
    "    elsewhere 0x300",
    "    elsewhere 0x380",
    "    .balign 128",
    //
    "bench_handler_none:",
    "    b       guest_vectors + 0x280",
    "bench_handler_sgi_v2:",
    "    ldr     w25, [x3, #0xc]",
    "    str     w25, [x3, #0x10]",
    "    mov     x23, #1",
    "    eret",
    "bench_handler_sgi_v3:",
    "    mrs     x25, icc_iar1_el1",
    "    msr     icc_eoir1_el1, x25",
    "    mov     x23, #1",
    "    eret",
    //
    ".macro stamping_handler_v2 name, count, control=none",
    "\\name:",
    "    ldr     w25, [x3, #0xc]",
    "    isb",
    "    mrs     x26, \\count",
    "    and     w21, w25, #0x3ff",
    "    cmp     w21, #1020",
    "    b.hs    1f",
    ".ifnc \\control, none",
    "    msr     \\control, xzr",
    "    isb",
    ".endif",
    "    str     w25, [x3, #0x10]",
    "    mov     x24, x26",
    "    mov     x23, #1",
    "1:  eret",
    ".endm",
    ".macro stamping_handler_v3 name, count, control=none",
    "\\name:",
    "    mrs     x25, icc_iar1_el1",
    "    isb",
    "    mrs     x26, \\count",
    "    cmp     w25, #1020",
    "    b.hs    1f",
    ".ifnc \\control, none",
    "    msr     \\control, xzr",
    "    isb",
    ".endif",
    "    msr     icc_eoir1_el1, x25",
    "    mov     x24, x26",
    "    mov     x23, #1",
    "1:  eret",
    ".endm",
    "    stamping_handler_v2 bench_handler_virtual_v2, cntvct_el0, cntv_ctl_el0",
    "    stamping_handler_v2 bench_handler_physical_v2, cntpct_el0, cntp_ctl_el0",
    "    stamping_handler_v2 bench_handler_answer_v2, cntvct_el0",
    "    stamping_handler_v3 bench_handler_answer_v3, cntvct_el0",
    "    stamping_handler_v3 bench_handler_virtual_v3, cntvct_el0, cntv_ctl_el0",
    "    stamping_handler_v3 bench_handler_physical_v3, cntpct_el0, cntp_ctl_el0",
);
