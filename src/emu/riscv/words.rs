//! Where registers are among a hart's words.

use polyvisor_cell_abi::riscv::csr;

pub use polyvisor_cell_abi::riscv::{FFLAGS, FRM, INSTRET, MODE, PC, RESERVED_ADDRESS, RESERVED_VALUE, X};

pub const A0: usize = X + 10;
pub const A1: usize = X + 11;
pub const A6: usize = X + 16;
pub const A7: usize = X + 17;

pub const MSTATUS: usize = csr("mstatus");
pub const MTVEC: usize = csr("mtvec");
pub const MEPC: usize = csr("mepc");
pub const MCAUSE: usize = csr("mcause");
pub const MTVAL: usize = csr("mtval");
pub const MIE: usize = csr("mie");
pub const MIP: usize = csr("mip");
pub const MIP_WRITTEN: usize = csr("mip_written");
pub const MEDELEG: usize = csr("medeleg");
pub const MIDELEG: usize = csr("mideleg");
pub const MSCRATCH: usize = csr("mscratch");
pub const MCOUNTEREN: usize = csr("mcounteren");
pub const MCOUNTINHIBIT: usize = csr("mcountinhibit");
pub const MENVCFG: usize = csr("menvcfg");
pub const STVEC: usize = csr("stvec");
pub const SEPC: usize = csr("sepc");
pub const SCAUSE: usize = csr("scause");
pub const STVAL: usize = csr("stval");
pub const SSCRATCH: usize = csr("sscratch");
pub const SATP: usize = csr("satp");
pub const SCOUNTEREN: usize = csr("scounteren");
pub const SENVCFG: usize = csr("senvcfg");
pub const STIMECMP: usize = csr("stimecmp");
/// The first of the two registers with the configurations of eight PMP entries each.
pub const PMPCFG: usize = csr("pmpcfg0");
/// The first of the PMP entries' addresses.
pub const PMPADDR: usize = csr("pmpaddr0");
pub const MCYCLE_OFFSET: usize = csr("mcycle_offset");
pub const MINSTRET_OFFSET: usize = csr("minstret_offset");

/// All words of a hart: globals, then temporaries of the back end's.
pub type Words = [u64; 256];
