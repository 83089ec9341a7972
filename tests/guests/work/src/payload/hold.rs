//! Values held in registers while the CPU may be taken away.

use core::{arch::global_asm, array, fmt};

use guest_support::{cpu, read_sysreg, rng::Rng, write_sysreg};

/// How often a loop of two instructions turns while the values are held: some milliseconds, in which there
/// are interrupts.
const TURNS: u64 = 500_000;

/// A register that did not keep its value.
pub struct Wrong {
    kind: &'static str,
    index: usize,
    found: u64,
    wanted: u64,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if self.kind.len() == 1 {
            write!(f, "{}", self.index)?;
        }
        write!(f, " is {:#x} instead of {:#x}", self.found, self.wanted)
    }
}

/// What the loops load before and store afterwards. Their layout is known to the assembly below.
#[repr(C, align(16))]
#[derive(Clone)]
struct Values {
    x: [u64; 31],
    /// Condition flags in bits \[31:28\].
    nzcv: u64,
    /// The halves of V0 to V31.
    v: [u64; 64],
}

const _: () = assert!(core::mem::offset_of!(Values, nzcv) == 248 && core::mem::offset_of!(Values, v) == 256);

// x0: values, x1: turns. `counter` counts the turns, and so holds no value. Needs the stack below SP for
// interrupts only.
global_asm!(
    ".text",
    ".arch_extension simd",
    ".macro hold name, counter",
    "\\name:",
    "    stp     x29, x30, [sp, #-112]!",
    "    stp     x19, x20, [sp, #16]",
    "    stp     x21, x22, [sp, #32]",
    "    stp     x23, x24, [sp, #48]",
    "    stp     x25, x26, [sp, #64]",
    "    stp     x27, x28, [sp, #80]",
    "    stp     x0, x1, [sp, #96]",
    "    add     x9, x0, #256",
    "    ld1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x9], #64",
    "    ld1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x9], #64",
    "    ld1     {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x9], #64",
    "    ld1     {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x9], #64",
    "    ld1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x9], #64",
    "    ld1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x9], #64",
    "    ld1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x9], #64",
    "    ld1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x9], #64",
    "    ldr     x9, [x0, #248]",
    "    msr     nzcv, x9",
    "    mov     x\\counter, x0",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
    ".if \\n - \\counter",
    "    ldr     x\\n, [x\\counter, #8 * \\n]",
    ".endif",
    ".endr",
    "    ldr     x\\counter, [sp, #104]",
    "1:  sub     x\\counter, x\\counter, #1",
    "    cbnz    x\\counter, 1b",
    "    ldr     x\\counter, [sp, #96]",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
    ".if \\n - \\counter",
    "    str     x\\n, [x\\counter, #8 * \\n]",
    ".endif",
    ".endr",
    "    mrs     x9, nzcv",
    "    ldr     x10, [sp, #96]",
    "    str     x9, [x10, #248]",
    "    add     x9, x10, #256",
    "    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x9], #64",
    "    st1     {{v4.2d, v5.2d, v6.2d, v7.2d}}, [x9], #64",
    "    st1     {{v8.2d, v9.2d, v10.2d, v11.2d}}, [x9], #64",
    "    st1     {{v12.2d, v13.2d, v14.2d, v15.2d}}, [x9], #64",
    "    st1     {{v16.2d, v17.2d, v18.2d, v19.2d}}, [x9], #64",
    "    st1     {{v20.2d, v21.2d, v22.2d, v23.2d}}, [x9], #64",
    "    st1     {{v24.2d, v25.2d, v26.2d, v27.2d}}, [x9], #64",
    "    st1     {{v28.2d, v29.2d, v30.2d, v31.2d}}, [x9], #64",
    "    ldp     x19, x20, [sp, #16]",
    "    ldp     x21, x22, [sp, #32]",
    "    ldp     x23, x24, [sp, #48]",
    "    ldp     x25, x26, [sp, #64]",
    "    ldp     x27, x28, [sp, #80]",
    "    ldp     x29, x30, [sp], #112",
    "    ret",
    ".endm",
    "    hold work_hold_0, 0",
    "    hold work_hold_30, 30",
);

type Read = fn() -> u64;

/// A system register, with the bits of it that can be anything.
struct Register {
    name: &'static str,
    mask: u64,
    read: Read,
    write: fn(u64),
}

macro_rules! registers {
    ($($name:literal $register:literal $mask:literal),* $(,)?) => {
        [$(Register {
            name: $name,
            mask: $mask,
            read: || read_sysreg!($register),
            write: |value| write_sysreg!($register, value),
        }),*]
    };
}

/// Registers that nothing in this program uses.
const FREE: [Register; 10] = registers!(
    "TPIDR_EL0" "tpidr_el0" 0xffff_ffff_ffff_ffff,
    "TPIDRRO_EL0" "tpidrro_el0" 0xffff_ffff_ffff_ffff,
    "SP_EL0" "sp_el0" 0xffff_ffff_ffff_fff0,
    "CONTEXTIDR_EL1" "contextidr_el1" 0xffff_ffff,
    "FAR_EL1" "far_el1" 0xffff_ffff_ffff,
    "TTBR1_EL1" "ttbr1_el1" 0xffff_ffff_f000,
    "PAR_EL1" "par_el1" 0xffff_ffff_f000,
    "CNTKCTL_EL1" "cntkctl_el1" 0x3,
    // The assembler knows these by name only for targets with floating point. FPCR: DN, FZ and rounding;
    // FPSR: QC and the cumulative exceptions.
    "FPCR" "S3_3_C4_C4_0" 0x03c0_0000,
    "FPSR" "S3_3_C4_C4_1" 0x0800_0015,
);

/// Pointer authentication keys, where there are any: APIA, APIB, APDA, APDB and APGA.
const KEYS: [Register; 10] = registers!(
    "APIAKeyLo_EL1" "S3_0_C2_C1_0" 0xffff_ffff_ffff_ffff, "APIAKeyHi_EL1" "S3_0_C2_C1_1" 0xffff_ffff_ffff_ffff,
    "APIBKeyLo_EL1" "S3_0_C2_C1_2" 0xffff_ffff_ffff_ffff, "APIBKeyHi_EL1" "S3_0_C2_C1_3" 0xffff_ffff_ffff_ffff,
    "APDAKeyLo_EL1" "S3_0_C2_C2_0" 0xffff_ffff_ffff_ffff, "APDAKeyHi_EL1" "S3_0_C2_C2_1" 0xffff_ffff_ffff_ffff,
    "APDBKeyLo_EL1" "S3_0_C2_C2_2" 0xffff_ffff_ffff_ffff, "APDBKeyHi_EL1" "S3_0_C2_C2_3" 0xffff_ffff_ffff_ffff,
    "APGAKeyLo_EL1" "S3_0_C2_C3_0" 0xffff_ffff_ffff_ffff, "APGAKeyHi_EL1" "S3_0_C2_C3_1" 0xffff_ffff_ffff_ffff,
);

/// Registers that this program depends on, and never changes.
const IN_USE: [(&str, Read); 7] = [
    ("SCTLR_EL1", || read_sysreg!("sctlr_el1")),
    ("CPACR_EL1", || read_sysreg!("cpacr_el1")),
    ("TTBR0_EL1", || read_sysreg!("ttbr0_el1")),
    ("TCR_EL1", || read_sysreg!("tcr_el1")),
    ("MAIR_EL1", || read_sysreg!("mair_el1")),
    ("VBAR_EL1", || read_sysreg!("vbar_el1")),
    ("MPIDR_EL1", || read_sysreg!("mpidr_el1")),
];

/// Holds values that `seed` gives in every register, and hands those that changed to `report`.
pub fn check(seed: u64, mut report: impl FnMut(Wrong)) {
    // ID_AA64ISAR1_EL1: APA, API, GPA, GPI; ID_AA64ISAR2_EL1: GPA3, APA3.
    let has_keys =
        read_sysreg!("id_aa64isar1_el1") & 0xff00_0ff0 != 0 || read_sysreg!("S3_0_C0_C6_2") & 0xff00 != 0;
    let keys = if has_keys { KEYS.as_slice() } else { &[] };
    let free = || FREE.iter().chain(keys);
    let in_use = IN_USE.map(|(_, read)| read());

    let mut values = Rng::new(seed);
    for register in free() {
        (register.write)(values.next_u64() & register.mask);
    }
    cpu::isb();
    check_general_and_simd(seed, &mut report);
    let mut values = Rng::new(seed);
    for register in free() {
        let found = (register.read)() & register.mask;
        compare(&mut report, register.name, 0, found, values.next_u64() & register.mask);
    }
    for ((name, read), wanted) in IN_USE.into_iter().zip(in_use) {
        compare(&mut report, name, 0, read(), wanted);
    }
}

fn check_general_and_simd(seed: u64, report: &mut impl FnMut(Wrong)) {
    unsafe extern "C" {
        fn work_hold_0(values: *mut Values, turns: u64);
        fn work_hold_30(values: *mut Values, turns: u64);
    }
    let mut rng = Rng::new(!seed);
    for hold in [work_hold_0, work_hold_30] {
        let mut random = || rng.next_u64();
        let wanted = Values {
            x: array::from_fn(|_| random()),
            nzcv: random() & 0xf000_0000,
            v: array::from_fn(|_| random()),
        };
        let mut found = wanted.clone();
        // SAFETY: the functions keep the calling convention, and use just these values.
        unsafe { hold(&raw mut found, TURNS) };
        let x = found.x.into_iter().zip(wanted.x).enumerate();
        x.for_each(|(index, (found, wanted))| compare(report, "x", index, found, wanted));
        let v = found.v.into_iter().zip(wanted.v).enumerate();
        v.for_each(|(index, (found, wanted))| compare(report, "v", index / 2, found, wanted));
        compare(report, "NZCV", 0, found.nzcv, wanted.nzcv);
    }
}

fn compare(report: &mut impl FnMut(Wrong), kind: &'static str, index: usize, found: u64, wanted: u64) {
    if found != wanted {
        report(Wrong { kind, index, found, wanted });
    }
}
