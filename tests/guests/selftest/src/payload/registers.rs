//! Register state: what a guest puts into its registers is there after every kind of exit, and what it reads
//! is consistent.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use guest_support::{
    console::FR,
    cpu,
    exception::{cpu_index, probe},
    machine::Machine,
    mmio, psci, read_sysreg,
    timer::{Timer, microseconds},
    write_sysreg,
};

use super::check::{Failure, Outcome, Test};

pub const TESTS: &[Test] = &[
    Test::everywhere("registers-identity", identity),
    Test::everywhere("registers-id-space", id_space),
    Test::everywhere("registers-general", general),
    Test::everywhere("registers-el1", el1),
    Test::everywhere("registers-pauth-keys", pauth_keys),
    Test::everywhere("registers-debug", debug),
    Test::everywhere("registers-watchpoint", watchpoint),
    Test::everywhere("registers-fp-simd", fp_simd),
];

fn identity(machine: &Machine) -> Outcome {
    let mpidr = read_sysreg!("mpidr_el1");
    ensure_eq!(cpu::exception_level(), 1, "the exception level");
    ensure!(mpidr >> 31 & 1 == 1, "MPIDR_EL1 bit 31");
    let wanted = machine.cpus().get(cpu_index()).copied().unwrap_or(u64::MAX);
    ensure_eq!(cpu::affinity(), wanted, "the affinity that the devicetree says");
    let pfr0 = read_sysreg!("id_aa64pfr0_el1");
    ensure!(pfr0 & 0xf != 0 && pfr0 >> 4 & 0xf != 0, "AArch64 at EL0 and EL1");
    let gic_registers = machine.gic.version() == guest_support::gic::Version::V3;
    ensure!(!gic_registers || pfr0 >> 24 & 0xf != 0, "ID_AA64PFR0_EL1.GIC where there is a GICv3");
    Ok(())
}

/// MRS of every register in the ID space (op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7): none is undefined, all
/// are the same on every CPU.
fn id_space(_: &Machine) -> Outcome {
    static FIRST_SEEN: [AtomicU64; 56] = [const { AtomicU64::new(0) }; 56];
    macro_rules! read {
        ($($crm:literal $op2:literal),*) => {
            [$(|| read_sysreg!(concat!("S3_0_C0_C", $crm, "_", $op2))),*]
        };
    }
    let registers: [fn() -> u64; 56] = read!(
        1 0, 1 1, 1 2, 1 3, 1 4, 1 5, 1 6, 1 7, 2 0, 2 1, 2 2, 2 3, 2 4, 2 5, 2 6, 2 7,
        3 0, 3 1, 3 2, 3 3, 3 4, 3 5, 3 6, 3 7, 4 0, 4 1, 4 2, 4 3, 4 4, 4 5, 4 6, 4 7,
        5 0, 5 1, 5 2, 5 3, 5 4, 5 5, 5 6, 5 7, 6 0, 6 1, 6 2, 6 3, 6 4, 6 5, 6 6, 6 7,
        7 0, 7 1, 7 2, 7 3, 7 4, 7 5, 7 6, 7 7
    );
    for (read, first_seen) in registers.into_iter().zip(&FIRST_SEEN) {
        let value = probe(read).map_err(|fault| Failure::fault("a register of the ID space", fault))?;
        ensure_eq!(probe(read).unwrap_or(!value), value, "an ID register, read again");
        if cpu_index() == 0 {
            first_seen.store(value, Relaxed);
        }
        ensure_eq!(value, first_seen.load(Relaxed), "an ID register, compared with the boot CPU's");
    }
    Ok(())
}

// x0: 32 values. Loads x4 to x17 and x19 to x28 from them, makes a call of the hypervisor (PSCI_VERSION by
// hvc if x1 is 0, else a load from x1, else, if x2 is not 0, WFI) and stores them back. SMCCC 1.1 promises
// that x4 to x17 survive a call, DEN 0028 section 2.6.
global_asm!(
    ".text",
    "selftest_general:",
    "    stp     x29, x30, [sp, #-112]!",
    "    stp     x19, x20, [sp, #16]",
    "    stp     x21, x22, [sp, #32]",
    "    stp     x23, x24, [sp, #48]",
    "    stp     x25, x26, [sp, #64]",
    "    stp     x27, x28, [sp, #80]",
    "    stp     x0, x1, [sp, #96]",
    "    mov     x30, x0",
    "    mov     x3, x2",
    "    ldp     x4, x5, [x30, #32]",
    "    ldp     x6, x7, [x30, #48]",
    "    ldp     x8, x9, [x30, #64]",
    "    ldp     x10, x11, [x30, #80]",
    "    ldp     x12, x13, [x30, #96]",
    "    ldp     x14, x15, [x30, #112]",
    "    ldp     x16, x17, [x30, #128]",
    "    ldp     x19, x20, [x30, #152]",
    "    ldp     x21, x22, [x30, #168]",
    "    ldp     x23, x24, [x30, #184]",
    "    ldp     x25, x26, [x30, #200]",
    "    ldp     x27, x28, [x30, #216]",
    "    cbnz    x3, 2f",
    "    cbnz    x1, 1f",
    "    movz    x0, #0x8400, lsl #16",
    "    hvc     #0",
    "    b       3f",
    "1:  ldr     w0, [x1]",
    "    b       3f",
    "2:  wfi",
    "3:  ldr     x30, [sp, #96]",
    "    stp     x4, x5, [x30, #32]",
    "    stp     x6, x7, [x30, #48]",
    "    stp     x8, x9, [x30, #64]",
    "    stp     x10, x11, [x30, #80]",
    "    stp     x12, x13, [x30, #96]",
    "    stp     x14, x15, [x30, #112]",
    "    stp     x16, x17, [x30, #128]",
    "    stp     x19, x20, [x30, #152]",
    "    stp     x21, x22, [x30, #168]",
    "    stp     x23, x24, [x30, #184]",
    "    stp     x25, x26, [x30, #200]",
    "    stp     x27, x28, [x30, #216]",
    "    ldp     x19, x20, [sp, #16]",
    "    ldp     x21, x22, [sp, #32]",
    "    ldp     x23, x24, [sp, #48]",
    "    ldp     x25, x26, [sp, #64]",
    "    ldp     x27, x28, [sp, #80]",
    "    ldp     x29, x30, [sp], #112",
    "    ret",
);

fn pattern(index: u64) -> u64 {
    (index + 1).wrapping_mul(0x0101_0101_0101_0101) ^ (cpu_index() as u64) << 60
}

fn general(machine: &Machine) -> Outcome {
    unsafe extern "C" {
        fn selftest_general(values: *mut u64, address: u64, wait: u64);
    }
    machine.gic.enable(Timer::Virtual.intid());
    for (address, wait) in [(0, 0), (FR, 0), (0, 1)] {
        let wanted: [u64; 32] = core::array::from_fn(|index| pattern(index as u64));
        let mut values = wanted;
        if wait != 0 {
            Timer::Virtual.arm(microseconds(1000));
        }
        // SAFETY: `values` holds as many values as the function uses.
        unsafe { selftest_general(values.as_mut_ptr(), address, wait) };
        Timer::Virtual.stop();
        for (value, wanted) in values.into_iter().zip(wanted) {
            ensure_eq!(value, wanted, "a general register after an exit");
        }
    }
    Ok(())
}

/// Leaves the guest in as many ways as there are, asleep included.
fn exits(machine: &Machine) {
    machine.gic.enable(Timer::Virtual.intid());
    psci::psci(psci::VERSION, [0; 3]);
    mmio::read32(FR);
    Timer::Virtual.arm(microseconds(500));
    while !machine.gic.is_signalled() {
        cpu::wfi();
    }
    Timer::Virtual.stop();
}

macro_rules! survive {
    ($machine:expr, $($register:literal $mask:literal),* $(,)?) => {{
        let before = [$(read_sysreg!($register)),*];
        let mut index = 0;
        $(
            write_sysreg!($register, pattern(index) & $mask);
            index += 1;
        )*
        cpu::isb();
        exits($machine);
        let after = [$((read_sysreg!($register), $mask)),*];
        let mut restore = before.into_iter();
        $(write_sysreg!($register, restore.next().unwrap_or(0));)*
        cpu::isb();
        for (index, (value, mask)) in (0..index).zip(after) {
            ensure_eq!(value, pattern(index) & mask, "a system register after exits");
        }
    }};
}

fn el1(machine: &Machine) -> Outcome {
    survive!(
        machine,
        "tpidr_el0" 0xffff_ffff_ffff_ffff,
        "tpidrro_el0" 0xffff_ffff_ffff_ffff,
        "sp_el0" 0xffff_ffff_ffff_fff0,
        "contextidr_el1" 0xffff_ffff,
        "elr_el1" 0xffff_ffff_fffc,
        "far_el1" 0xffff_ffff_ffff,
        "esr_el1" 0xffff_ffff,
        "afsr0_el1" 0,
        "ttbr1_el1" 0xffff_ffff_f000,
        "cntkctl_el1" 0x3,
        "csselr_el1" 0,
        "par_el1" 0xffff_ffff_f000,
        "mdscr_el1" 0,
    );
    Ok(())
}

/// Pointer authentication keys are the guest's too, where there are any.
fn pauth_keys(machine: &Machine) -> Outcome {
    // ID_AA64ISAR1_EL1: APA, API, GPA, GPI; ID_AA64ISAR2_EL1: GPA3, APA3.
    let present =
        read_sysreg!("id_aa64isar1_el1") & 0xff00_0ff0 != 0 || read_sysreg!("S3_0_C0_C6_2") & 0xff00 != 0;
    if !present {
        return Ok(());
    }
    survive!(
        machine,
        "S3_0_C2_C1_0" 0xffff_ffff_ffff_ffff, "S3_0_C2_C1_1" 0xffff_ffff_ffff_ffff,
        "S3_0_C2_C1_2" 0xffff_ffff_ffff_ffff, "S3_0_C2_C1_3" 0xffff_ffff_ffff_ffff,
        "S3_0_C2_C2_0" 0xffff_ffff_ffff_ffff, "S3_0_C2_C2_1" 0xffff_ffff_ffff_ffff,
        "S3_0_C2_C2_2" 0xffff_ffff_ffff_ffff, "S3_0_C2_C2_3" 0xffff_ffff_ffff_ffff,
        "S3_0_C2_C3_0" 0xffff_ffff_ffff_ffff, "S3_0_C2_C3_1" 0xffff_ffff_ffff_ffff,
    );
    Ok(())
}

/// Every CPU has two breakpoints and two watchpoints at least; they and the claim tags are private.
fn debug(machine: &Machine) -> Outcome {
    survive!(
        machine,
        "dbgbvr0_el1" 0xffff_ffff_fffc,
        "dbgbcr0_el1" 0x1e0,
        "dbgbvr1_el1" 0xffff_ffff_fffc,
        "dbgwvr0_el1" 0xffff_ffff_fffc,
        "dbgwcr0_el1" 0x1fe0,
        "dbgwvr1_el1" 0xffff_ffff_fffc,
    );
    write_sysreg!("dbgclaimclr_el1", 0xff);
    write_sysreg!("dbgclaimset_el1", 0x81);
    write_sysreg!("dbgclaimset_el1", 0x02);
    write_sysreg!("dbgclaimclr_el1", 0x80);
    exits(machine);
    ensure_eq!(read_sysreg!("dbgclaimset_el1"), 0xff, "the claim tags that there are");
    ensure_eq!(read_sysreg!("dbgclaimclr_el1"), 0x03, "the claim tags that are set");
    write_sysreg!("dbgclaimclr_el1", 0xff);
    // The last one that ID_AA64DFR0_EL1 counts is there, whichever it is.
    let last = read_sysreg!("id_aa64dfr0_el1") >> 12 & 0xf;
    macro_rules! read_breakpoint {
        ($($number:literal)*) => {
            match last {
                $($number => probe(|| read_sysreg!(concat!("dbgbvr", $number, "_el1"))),)*
                _ => Ok(0),
            }
        };
    }
    let read = read_breakpoint!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    read.map_err(|fault| Failure::fault("the last breakpoint", fault))?;
    Ok(())
}

/// A watchpoint is taken, also after the CPU has been elsewhere, unless debug exceptions are off or the OS lock
/// is locked. (QEMU's own CPU does not heed the lock: on it with no hypervisor the third case fails.)
fn watchpoint(machine: &Machine) -> Outcome {
    const MDE_KDE: u64 = 1 << 15 | 1 << 13;
    const TDCC: u64 = 1 << 12;
    const WATCHPOINT_CURRENT_LEVEL: u64 = 0x35;
    let watched = AtomicU64::new(7);
    write_sysreg!("dbgwvr0_el1", watched.as_ptr() as u64);
    // All eight bytes, loads and stores, at EL1, enabled.
    write_sysreg!("dbgwcr0_el1", 0xff << 5 | 0b11 << 3 | 0b01 << 1 | 1);
    let taken = |lock: u64, control: u64| {
        write_sysreg!("oslar_el1", lock);
        write_sysreg!("mdscr_el1", control);
        cpu::isb();
        exits(machine);
        let outcome = probe(|| {
            // SAFETY: the debug exception that may follow is caught, and the mask put back.
            unsafe { core::arch::asm!("msr daifclr, #8", "isb", options(nostack)) };
            let value = watched.load(Relaxed);
            // SAFETY: only the mask.
            unsafe { core::arch::asm!("msr daifset, #8", options(nostack)) };
            value
        });
        let found = (read_sysreg!("oslsr_el1") >> 1 & 1, read_sysreg!("mdscr_el1") & (MDE_KDE | TDCC));
        write_sysreg!("mdscr_el1", 0);
        write_sysreg!("oslar_el1", 0);
        cpu::isb();
        (found == (lock, control), outcome)
    };
    let expected = [(0, MDE_KDE, true), (0, TDCC, false), (1, MDE_KDE, false), (0, MDE_KDE | TDCC, true)];
    for (lock, control, wanted) in expected {
        let (kept, outcome) = taken(lock, control);
        ensure!(kept, "OSLSR_EL1 and MDSCR_EL1 are what was written");
        match outcome {
            Ok(value) => {
                ensure!(!wanted, "the watchpoint is taken");
                ensure_eq!(value, 7, "what is watched");
            }
            Err(fault) => {
                if !wanted || fault.esr.class() != WATCHPOINT_CURRENT_LEVEL {
                    return Err(Failure::fault("what is watched", fault));
                }
                ensure_eq!(fault.far, watched.as_ptr() as u64, "the address that is watched");
            }
        }
    }
    write_sysreg!("dbgwcr0_el1", 0);
    Ok(())
}

// x0: 32 vectors of 16 bytes, in and out.
global_asm!(
    ".text",
    ".arch_extension simd",
    "selftest_load_vectors:",
    "    ld1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64",
    "    ld1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x0], #64",
    "    ld1     {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x0], #64",
    "    ld1     {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x0], #64",
    "    ld1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x0], #64",
    "    ld1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x0], #64",
    "    ld1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x0], #64",
    "    ld1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x0], #64",
    "    ret",
    "selftest_store_vectors:",
    "    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64",
    "    st1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x0], #64",
    "    st1     {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x0], #64",
    "    st1     {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x0], #64",
    "    st1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x0], #64",
    "    st1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x0], #64",
    "    st1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x0], #64",
    "    st1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x0], #64",
    "    ret",
);

// The assembler knows FPCR (S3_3_C4_C4_0) and FPSR (S3_3_C4_C4_1) by name only for targets with floating
// point.

/// FPCR: DN and FZ.
const FPCR: u64 = 1 << 25 | 1 << 24;
/// FPSR: QC and the cumulative exceptions.
const FPSR: u64 = 1 << 27 | 0x15;

/// Nothing in this payload uses these registers, so that only exits could change them.
fn fp_simd(machine: &Machine) -> Outcome {
    unsafe extern "C" {
        fn selftest_load_vectors(values: *const u64);
        fn selftest_store_vectors(values: *mut u64);
    }
    for round in 0..5 {
        let wanted: [u64; 64] = core::array::from_fn(|index| pattern(index as u64).rotate_left(round));
        let mut found = [0; 64];
        // SAFETY: 32 registers of two words each.
        unsafe { selftest_load_vectors(wanted.as_ptr()) };
        write_sysreg!("S3_3_C4_C4_0", FPCR);
        write_sysreg!("S3_3_C4_C4_1", FPSR);
        exits(machine);
        let (control, status) = (read_sysreg!("S3_3_C4_C4_0"), read_sysreg!("S3_3_C4_C4_1"));
        // SAFETY: as above.
        unsafe { selftest_store_vectors(found.as_mut_ptr()) };
        write_sysreg!("S3_3_C4_C4_0", 0);
        ensure_eq!(control, FPCR, "FPCR after exits");
        ensure_eq!(status, FPSR, "FPSR after exits");
        for (found, wanted) in found.into_iter().zip(wanted) {
            ensure_eq!(found, wanted, "a SIMD register after exits");
        }
    }
    Ok(())
}
