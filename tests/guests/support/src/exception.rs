//! Exceptions: vectors, the interrupt hook, and faults from which one can recover.

use core::{
    arch::global_asm,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use spin::RwLock;

use crate::{cpu, read_sysreg, smp::MAX_CPUS};

/// The exception syndrome register, ESR_EL1 (Arm ARM D24.2.45).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Esr(pub u64);

impl Esr {
    /// Exception class: unknown reason, which is how an undefined instruction arrives.
    pub const UNKNOWN: u64 = 0x00;
    /// Exception class: instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    /// Exception class: misaligned PC.
    pub const PC_ALIGNMENT: u64 = 0x22;
    /// Exception class: data abort without a change of exception level.
    pub const DATA_ABORT: u64 = 0x25;
    /// Fault status code: synchronous external abort, not on a table walk.
    pub const EXTERNAL_ABORT: u64 = 0x10;

    /// The exception class, EC.
    pub const fn class(self) -> u64 {
        self.0 >> 26 & 0x3f
    }

    /// Whether the instruction was 32 bits wide, IL.
    pub const fn is_32_bit(self) -> bool {
        self.0 >> 25 & 1 == 1
    }

    /// The fault status code of an abort, DFSC or IFSC.
    pub const fn fault_status(self) -> u64 {
        self.0 & 0x3f
    }

    /// Whether an abort was caused by a write, WnR.
    pub const fn is_write(self) -> bool {
        self.0 >> 6 & 1 == 1
    }

    /// Whether this is an external abort on a table walk (levels 0 to 3).
    pub const fn is_walk_abort(self) -> bool {
        matches!(self.class(), Self::INSTRUCTION_ABORT | Self::DATA_ABORT)
            && self.fault_status() & 0x3c == 0x14
    }
}

impl fmt::Debug for Esr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} (class {:#x}, iss {:#x})", self.0, self.class(), self.0 & 0x1ff_ffff)
    }
}

/// What the CPU reported about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub esr: Esr,
    /// The address that faulted; meaningful for aborts and PC alignment faults.
    pub far: u64,
    /// The instruction.
    pub elr: u64,
}

/// What start-up points TPIDR_EL1 at.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// Stack pointer of the innermost armed [`probe`], 0 when none is. First: the assembly below knows.
    recovery: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
}

pub(crate) const PER_CPU_BYTES: usize = size_of::<PerCpu>();

pub(crate) static PER_CPU: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        recovery: AtomicU64::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// Read by all CPUs at once: on one physical CPU, a CPU that holds a lock may have to wait for those who want it.
static IRQ_HANDLER: RwLock<fn()> = RwLock::new(unexpected_irq);
static SERRORS: AtomicU64 = AtomicU64::new(0);

/// This CPU's index in the devicetree's order; the boot CPU is 0.
pub fn cpu_index() -> usize {
    (read_sysreg!("tpidr_el1") as usize - PER_CPU.as_ptr() as usize) / PER_CPU_BYTES
}

/// Lets `handler` run, with interrupts masked, whenever any CPU takes an IRQ or FIQ. It must acknowledge and
/// end the interrupt.
pub fn on_irq(handler: fn()) {
    let daif = read_sysreg!("daif");
    cpu::mask_irqs();
    *IRQ_HANDLER.write() = handler;
    crate::write_sysreg!("daif", daif);
}

/// How many system errors have been taken, by all CPUs.
pub fn serrors() -> u64 {
    SERRORS.load(Relaxed)
}

fn unexpected_irq() {
    unhandled("interrupt", None);
}

/// Runs `access` and returns its value, or the fault that it raised on this CPU.
///
/// A fault cuts `access` off wherever it is, like `longjmp`: hence `Copy`, which proves that nothing would
/// have had to be dropped. Masks of interrupts are put back as they were. Probes nest.
///
/// # Errors The fault. Reading or jumping to any address is fine; harm done by successful accesses is the
/// caller's business.
pub fn probe<F: FnOnce() -> u64 + Copy>(access: F) -> Result<u64, Fault> {
    #[repr(C)]
    struct Outcome {
        value: u64,
        faulted: u64,
    }
    unsafe extern "C" {
        fn guest_probe(access: *const u8, call: unsafe extern "C" fn(*const u8) -> u64) -> Outcome;
    }
    unsafe extern "C" fn call<F: FnOnce() -> u64 + Copy>(access: *const u8) -> u64 {
        // SAFETY: `probe` passes a pointer to its `F`, which is `Copy`.
        let access = unsafe { *access.cast::<F>() };
        access()
    }

    // SAFETY: the trampoline keeps every callee-saved register, whether `call` returns or is cut off.
    let outcome = unsafe { guest_probe((&raw const access).cast(), call::<F>) };
    if outcome.faulted == 0 {
        return Ok(outcome.value);
    }
    let fault = this_cpu();
    Err(Fault {
        esr: Esr(fault.esr.load(Relaxed)),
        far: fault.far.load(Relaxed),
        elr: fault.elr.load(Relaxed),
    })
}

fn this_cpu() -> &'static PerCpu {
    let block = read_sysreg!("tpidr_el1") as *const PerCpu;
    // SAFETY: start-up points TPIDR_EL1 at this CPU's element of PER_CPU, and nothing changes it.
    unsafe { &*block }
}

/// What the vectors save, in the order in which they do.
#[repr(C)]
struct Frame {
    x: [u64; 31],
    elr: u64,
    spsr: u64,
    _pad: u64,
}

const FRAME_BYTES: usize = size_of::<Frame>();

// What the vectors pass beside the frame; anything else is a synchronous exception.
const IRQ: u64 = 1;
const FIQ: u64 = 2;
const SERROR: u64 = 3;

/// Every exception arrives here. Returns 0 to go on after it, or the stack pointer of the probe that is to be
/// cut off.
extern "C" fn exception(frame: &Frame, vector: u64) -> u64 {
    match vector {
        IRQ | FIQ => {
            let handler = *IRQ_HANDLER.read();
            handler();
            0
        }
        SERROR => {
            SERRORS.fetch_add(1, Relaxed);
            0
        }
        _ => {
            let cpu = this_cpu();
            let recovery = cpu.recovery.load(Relaxed);
            if recovery == 0 {
                unhandled("exception", Some(frame));
            }
            cpu.esr.store(read_sysreg!("esr_el1"), Relaxed);
            cpu.far.store(read_sysreg!("far_el1"), Relaxed);
            cpu.elr.store(frame.elr, Relaxed);
            recovery
        }
    }
}

/// Reports an exception that nobody expects, and switches the machine off.
fn unhandled(what: &str, frame: Option<&Frame>) -> ! {
    let report = |out: &mut dyn fmt::Write| -> fmt::Result {
        writeln!(out, "\nguest: unexpected {what} on CPU {:#x}", cpu::affinity())?;
        let Some(frame) = frame else { return Ok(()) };
        let esr = Esr(read_sysreg!("esr_el1"));
        writeln!(out, "  esr {esr:?}")?;
        writeln!(
            out,
            "  far {:#018x}  elr {:#018x}  spsr {:#x}",
            read_sysreg!("far_el1"),
            frame.elr,
            frame.spsr
        )?;
        writeln!(out, "  image at {:#x}", crate::start::image().start)?;
        for (row, values) in frame.x.chunks(4).enumerate() {
            write!(out, " ")?;
            for (column, value) in values.iter().enumerate() {
                write!(out, " x{:<2} {value:#018x}", row * 4 + column)?;
            }
            writeln!(out)?;
        }
        Ok(())
    };
    crate::console::last_words(report)
}

// The frame keeps the caller-saved registers that Rust may change and the others for the report. SP_EL1 is in
// use throughout, also when the exception came from EL0 or from EL1 on SP_EL0.
global_asm!(
    ".macro vector kind",
    "    .balign 128",
    "    sub     sp, sp, #{frame}",
    "    stp     x0, x1, [sp]",
    "    mov     x1, #\\kind",
    "    b       .Lexception",
    ".endm",
    ".macro vectors",
    "    vector  0",
    "    vector  {irq}",
    "    vector  {fiq}",
    "    vector  {serror}",
    ".endm",
    ".text",
    ".balign 2048",
    ".globl guest_vectors",
    "guest_vectors:",
    "    vectors", // EL1 on SP_EL0
    "    vectors", // EL1
    "    vectors", // EL0, AArch64
    "    vectors", // EL0, AArch32
    ".Lexception:",
    "    stp     x2, x3, [sp, #16]",
    "    stp     x4, x5, [sp, #32]",
    "    stp     x6, x7, [sp, #48]",
    "    stp     x8, x9, [sp, #64]",
    "    stp     x10, x11, [sp, #80]",
    "    stp     x12, x13, [sp, #96]",
    "    stp     x14, x15, [sp, #112]",
    "    stp     x16, x17, [sp, #128]",
    "    stp     x18, x19, [sp, #144]",
    "    stp     x20, x21, [sp, #160]",
    "    stp     x22, x23, [sp, #176]",
    "    stp     x24, x25, [sp, #192]",
    "    stp     x26, x27, [sp, #208]",
    "    stp     x28, x29, [sp, #224]",
    "    mrs     x2, elr_el1",
    "    mrs     x3, spsr_el1",
    "    stp     x30, x2, [sp, #240]",
    "    str     x3, [sp, #256]",
    "    mov     x0, sp",
    "    bl      {exception}",
    "    cbnz    x0, .Lcut_off",
    "    ldp     x30, x2, [sp, #240]",
    "    ldr     x3, [sp, #256]",
    "    msr     elr_el1, x2",
    "    msr     spsr_el1, x3",
    "    ldp     x0, x1, [sp]",
    "    ldp     x2, x3, [sp, #16]",
    "    ldp     x4, x5, [sp, #32]",
    "    ldp     x6, x7, [sp, #48]",
    "    ldp     x8, x9, [sp, #64]",
    "    ldp     x10, x11, [sp, #80]",
    "    ldp     x12, x13, [sp, #96]",
    "    ldp     x14, x15, [sp, #112]",
    "    ldp     x16, x17, [sp, #128]",
    "    ldr     x18, [sp, #144]",
    "    ldr     x29, [sp, #232]",
    "    add     sp, sp, #{frame}",
    "    eret",
    //
    ".Lcut_off:",
    "    mov     sp, x0",
    "    mov     x1, #1",
    "    b       .Lend_probe",
    ".globl guest_probe",
    "guest_probe:", // x0: data, x1: function
    "    stp     x29, x30, [sp, #-112]!",
    "    stp     x19, x20, [sp, #16]",
    "    stp     x21, x22, [sp, #32]",
    "    stp     x23, x24, [sp, #48]",
    "    stp     x25, x26, [sp, #64]",
    "    stp     x27, x28, [sp, #80]",
    "    mrs     x9, tpidr_el1",
    "    ldr     x10, [x9]",
    "    mrs     x11, daif",
    "    stp     x10, x11, [sp, #96]",
    "    mov     x12, sp",
    "    str     x12, [x9]",
    "    mov     x29, sp",
    "    blr     x1",
    "    mov     x1, #0",
    ".Lend_probe:",
    "    mrs     x9, tpidr_el1",
    "    ldp     x10, x11, [sp, #96]",
    "    str     x10, [x9]",
    "    msr     daif, x11",
    "    ldp     x19, x20, [sp, #16]",
    "    ldp     x21, x22, [sp, #32]",
    "    ldp     x23, x24, [sp, #48]",
    "    ldp     x25, x26, [sp, #64]",
    "    ldp     x27, x28, [sp, #80]",
    "    ldp     x29, x30, [sp], #112",
    "    ret",
    irq = const IRQ,
    fiq = const FIQ,
    serror = const SERROR,
    frame = const FRAME_BYTES,
    exception = sym exception,
);

const _: () = {
    assert!(FRAME_BYTES == 272 && FRAME_BYTES.is_multiple_of(16));
    assert!(core::mem::offset_of!(Frame, elr) == 248 && core::mem::offset_of!(Frame, spsr) == 256);
    assert!(core::mem::offset_of!(PerCpu, recovery) == 0);
};
