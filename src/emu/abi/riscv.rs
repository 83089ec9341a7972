//! The registers of a RISC-V hart, as the engine keeps them and EL2 shows them: an array of 64-bit words.

/// Privilege mode (Privileged ISA, table 1).
pub const USER: u32 = 0;
/// Privilege mode.
pub const SUPERVISOR: u32 = 1;
/// Privilege mode.
pub const MACHINE: u32 = 3;

/// What the harts are: the base and the extensions, as a devicetree names them.
pub const EXTENSIONS: [&str; 28] = [
    "i",
    "m",
    "a",
    "f",
    "d",
    "c",
    "zicbom",
    "zicbop",
    "zicboz",
    "zicntr",
    "zicond",
    "zicsr",
    "zifencei",
    "zihintntl",
    "zihintpause",
    "zaamo",
    "zalrsc",
    "zawrs",
    "zfa",
    "zca",
    "zcd",
    "zba",
    "zbb",
    "zbc",
    "zbs",
    "sstc",
    "svade",
    "zmmul",
];

/// How many words the registers take.
pub const WORDS: usize = 128;
/// Index of x0; the others follow. x0 is always zero.
pub const X: usize = 0;
/// Index of f0; the others follow.
pub const F: usize = 32;
/// Index of the program counter: of the block of instructions that the hart is in, unless it has stopped for the debugger.
pub const PC: usize = 64;
/// Index of the privilege mode.
pub const MODE: usize = 65;
/// Index of the floating-point exception flags (`fflags`).
pub const FFLAGS: usize = 66;
/// Index of the floating-point rounding mode (`frm`).
pub const FRM: usize = 67;
/// Index of the count of retired instructions.
pub const INSTRET: usize = 68;
/// Index of the virtual address that LR has reserved, with the binary logarithm of its size in the low two bits; all ones
/// if none.
pub const RESERVED_ADDRESS: usize = 69;
/// Index of the value that LR has read there.
pub const RESERVED_VALUE: usize = 70;
/// Index of the first of the control and status registers of [`CSRS`]; the others follow.
pub const CSR: usize = 72;

/// Control and status registers that have a word of their own, in the order of their words. Views of others (`sstatus`,
/// `sie`, `sip`, `fcsr`) have none. `mip` is as the hart last found it. The last three are not registers but what some
/// are made of: the bits of `mip` that software has set, and by how much `mcycle` and `minstret` are ahead of
/// [`INSTRET`] (what they are, while `mcountinhibit` stops them).
pub const CSRS: [&str; 43] = [
    "mstatus",
    "mtvec",
    "mepc",
    "mcause",
    "mtval",
    "mie",
    "mip",
    "medeleg",
    "mideleg",
    "mscratch",
    "mcounteren",
    "mcountinhibit",
    "menvcfg",
    "stvec",
    "sepc",
    "scause",
    "stval",
    "sscratch",
    "satp",
    "scounteren",
    "senvcfg",
    "stimecmp",
    "pmpcfg0",
    "pmpcfg2",
    "pmpaddr0",
    "pmpaddr1",
    "pmpaddr2",
    "pmpaddr3",
    "pmpaddr4",
    "pmpaddr5",
    "pmpaddr6",
    "pmpaddr7",
    "pmpaddr8",
    "pmpaddr9",
    "pmpaddr10",
    "pmpaddr11",
    "pmpaddr12",
    "pmpaddr13",
    "pmpaddr14",
    "pmpaddr15",
    "mip_written",
    "mcycle_offset",
    "minstret_offset",
];

/// The index of the control and status register `name`, which [`CSRS`] must have: for constants.
pub const fn csr(name: &str) -> usize {
    let mut at = 0;
    while at < CSRS.len() {
        if same(CSRS[at], name) {
            return CSR + at;
        }
        at += 1;
    }
    usize::MAX
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

const _: () = assert!(CSR + CSRS.len() <= WORDS);
