//! What gdb must be told of an instruction set, and in which order it expects the registers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use gdbstub::arch::{Arch, RegId, Registers};

use super::aarch64::Aarch64;
use super::riscv64::Riscv64;
use crate::vm::bundle;
use crate::vm::vcpu::{FpuRegs, Regs};

/// An instruction set in gdb's eyes.
pub trait Isa: Sync {
    /// The breakpoint instruction that is put into memory: its length divides 4096, and so do the addresses at which it can be
    /// put. `None`: whoever runs the guest looks out for as many addresses as it likes.
    fn breakpoint(&self) -> Option<&'static [u8]>;

    /// Appends the architecture and its features to a target description.
    fn describe(&self, xml: &mut String);

    /// How many registers [`Isa::describe`] lists. gdb numbers them from 0, without gaps.
    fn registers(&self) -> usize;

    /// Where register `number` lies in the register file.
    fn slot(&self, number: usize) -> Option<Range<usize>>;

    /// The register file in gdb's layout.
    fn pack(&self, regs: &Regs, fpu: &FpuRegs) -> Vec<u8>;

    /// The opposite. What gdb does not know of remains as it is. `None` where `file` is too short.
    fn unpack(&self, file: &[u8], regs: &mut Regs, fpu: &mut FpuRegs) -> Option<()>;

    /// Where a vCPU with these registers is, in words.
    fn place(&self, regs: &Regs) -> String;
}

/// Takes the next `N` bytes.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

/// Replaces the low half, which is what gdb knows of a register.
pub fn set_low(register: &mut u64, bytes: [u8; 4]) {
    *register = *register & !0xffff_ffff | u64::from(u32::from_le_bytes(bytes));
}

/// What gdb must be told of `arch`.
pub fn of(arch: bundle::Arch) -> &'static dyn Isa {
    match arch {
        bundle::Arch::Aarch64 => &Aarch64,
        bundle::Arch::Riscv64 => &Riscv64,
    }
}

/// The target description (gdb manual, "Target Descriptions"): the registers of `isa` and then, as a feature of
/// our own, `system` registers. gdb shows these as the group `system`, and reads them one by one.
pub fn target_description(isa: &dyn Isa, system: &[(&'static str, u64)]) -> String {
    let mut xml = String::from(
        r#"<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">"#,
    );
    isa.describe(&mut xml);
    xml.push_str(r#"<feature name="org.polyvisor.system">"#);
    for (index, (name, _)) in system.iter().enumerate() {
        let number = isa.registers() + index;
        // Writing to a string cannot fail.
        let _ = write!(xml, r#"<reg name="{name}" bitsize="64" regnum="{number}" group="system"/>"#);
    }
    xml.push_str("</feature></target>");
    xml
}

/// What `gdbstub` is told of the architecture: 64-bit addresses, and register files that only an [`Isa`]
/// understands.
pub struct Any;

impl Arch for Any {
    type Usize = u64;
    type Registers = File;
    type RegId = Number;
    type BreakpointKind = usize;
}

/// A register file in gdb's layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File(pub Vec<u8>);

impl Registers for File {
    type ProgramCounter = u64;

    /// Only targets without threads are asked.
    fn pc(&self) -> u64 {
        0
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

/// A register's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Self, Option<core::num::NonZeroUsize>)> {
        Some((Self(id), None))
    }
}
