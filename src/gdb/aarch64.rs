//! AArch64 in gdb's eyes: the features `org.gnu.gdb.aarch64.core` and `.fpu` (gdb manual, "AArch64 Features").
//!
//! The `gdbstub_arch` crate (0.3) has them, too, but sends FPCR before FPSR where its own description has them the
//! other way round, and describes every system register there is in 60 KiB.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use super::isa::{Isa, set_low, take};
use crate::arch::aarch64::breakpoint;
use crate::vm::vcpu::{FpuRegs, Regs};

/// X0 to X30, SP and PC, of 8 bytes each.
const WIDE: usize = 33;
const CPSR: usize = WIDE;
const V0: usize = CPSR + 1;
const FPSR: usize = V0 + 32;
const FPCR: usize = FPSR + 1;
const REGISTERS: usize = FPCR + 1;

/// Fields of `cpsr`, as gdb calls PSTATE: name, first and last bit (layout of `SPSR_EL2`, DDI 0487 C5.2.20).
const PSTATE_FIELDS: [(&str, u8, u8); 19] = [
    ("SP", 0, 0),
    ("EL", 2, 3),
    ("nRW", 4, 4),
    ("F", 6, 6),
    ("I", 7, 7),
    ("A", 8, 8),
    ("D", 9, 9),
    ("BTYPE", 10, 11),
    ("SSBS", 12, 12),
    ("IL", 20, 20),
    ("SS", 21, 21),
    ("PAN", 22, 22),
    ("UAO", 23, 23),
    ("DIT", 24, 24),
    ("TCO", 25, 25),
    ("V", 28, 28),
    ("C", 29, 29),
    ("Z", 30, 30),
    ("N", 31, 31),
];

/// The views of a vector register: name of the element type, its gdb type, how many there are.
const VECTORS: [(&str, &str, usize); 8] = [
    ("v2d", "ieee_double", 2),
    ("v2u", "uint64", 2),
    ("v4f", "ieee_single", 4),
    ("v4u", "uint32", 4),
    ("v8u", "uint16", 8),
    ("v16u", "uint8", 16),
    ("v1u", "uint128", 1),
    ("v1s", "int128", 1),
];

/// The instruction set of native guests.
pub struct Aarch64;

impl Isa for Aarch64 {
    fn breakpoint(&self) -> Option<&'static [u8]> {
        Some(&breakpoint::INSTRUCTION)
    }

    fn describe(&self, xml: &mut String) {
        // Writing to a string cannot fail.
        let _ = describe(xml);
    }

    fn registers(&self) -> usize {
        REGISTERS
    }

    fn slot(&self, number: usize) -> Option<Range<usize>> {
        let (start, size) = match number {
            0..WIDE => (number * 8, 8),
            CPSR => (WIDE * 8, 4),
            V0..FPSR => (WIDE * 8 + 4 + (number - V0) * 16, 16),
            FPSR..REGISTERS => (WIDE * 8 + 4 + 32 * 16 + (number - FPSR) * 4, 4),
            _ => return None,
        };
        Some(start..start + size)
    }

    fn pack(&self, regs: &Regs, fpu: &FpuRegs) -> Vec<u8> {
        let Regs::Aarch64 { x, sp, pc, pstate } = regs else { return Vec::new() };
        let mut file = Vec::with_capacity(800);
        for value in x.iter().chain([sp, pc]) {
            file.extend(value.to_le_bytes());
        }
        file.extend((*pstate as u32).to_le_bytes());
        for value in fpu.v {
            file.extend(value.to_le_bytes());
        }
        file.extend((fpu.status as u32).to_le_bytes());
        file.extend((fpu.control as u32).to_le_bytes());
        file
    }

    fn unpack(&self, file: &[u8], regs: &mut Regs, fpu: &mut FpuRegs) -> Option<()> {
        let Regs::Aarch64 { x, sp, pc, pstate } = regs else { return None };
        let mut rest = file;
        for value in x.iter_mut().chain([sp, pc]) {
            *value = u64::from_le_bytes(take(&mut rest)?);
        }
        set_low(pstate, take(&mut rest)?);
        for value in &mut fpu.v {
            *value = u128::from_le_bytes(take(&mut rest)?);
        }
        set_low(&mut fpu.status, take(&mut rest)?);
        set_low(&mut fpu.control, take(&mut rest)?);
        Some(())
    }

    fn place(&self, regs: &Regs) -> String {
        let Regs::Aarch64 { pc, pstate, .. } = regs else { return String::new() };
        format!("pc {pc:#x}, EL{}", pstate >> 2 & 3)
    }
}

fn describe(xml: &mut String) -> core::fmt::Result {
    xml.push_str("<architecture>aarch64</architecture>");
    xml.push_str(r#"<feature name="org.gnu.gdb.aarch64.core"><flags id="cpsr_flags" size="4">"#);
    for (name, first, last) in PSTATE_FIELDS {
        write!(xml, r#"<field name="{name}" start="{first}" end="{last}"/>"#)?;
    }
    xml.push_str("</flags>");
    for number in 0..31 {
        write!(xml, r#"<reg name="x{number}" bitsize="64"/>"#)?;
    }
    xml.push_str(
        r#"<reg name="sp" bitsize="64" type="data_ptr"/><reg name="pc" bitsize="64" type="code_ptr"/>"#,
    );
    xml.push_str(r#"<reg name="cpsr" bitsize="32" type="cpsr_flags"/></feature>"#);
    xml.push_str(r#"<feature name="org.gnu.gdb.aarch64.fpu">"#);
    for (id, element, count) in VECTORS {
        write!(xml, r#"<vector id="{id}" type="{element}" count="{count}"/>"#)?;
    }
    xml.push_str(r#"<union id="aarch64v">"#);
    for (id, _, _) in VECTORS {
        write!(xml, r#"<field name="{id}" type="{id}"/>"#)?;
    }
    xml.push_str("</union>");
    for number in 0..32 {
        write!(xml, r#"<reg name="v{number}" bitsize="128" type="aarch64v"/>"#)?;
    }
    xml.push_str(r#"<reg name="fpsr" bitsize="32"/><reg name="fpcr" bitsize="32"/></feature>"#);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_file_is_the_described_one() {
        let mut xml = String::new();
        Aarch64.describe(&mut xml);
        let sizes: Vec<usize> = xml
            .split("<reg ")
            .skip(1)
            .map(|register| {
                register.split("bitsize=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(sizes.len(), Aarch64.registers());
        let mut at = 0;
        for (number, bits) in sizes.iter().enumerate() {
            assert_eq!(Aarch64.slot(number), Some(at..at + bits / 8), "register {number}");
            at += bits / 8;
        }
        assert_eq!(Aarch64.slot(REGISTERS), None);
        let regs = Regs::Aarch64 { x: [0; 31], sp: 0, pc: 0, pstate: 0 };
        assert_eq!(Aarch64.pack(&regs, &FpuRegs::default()).len(), at);
    }

    #[test]
    fn what_is_packed_is_unpacked_and_the_rest_stays() {
        let regs = Regs::Aarch64 {
            x: core::array::from_fn(|number| 0x0101_0101_0101_0101 * number as u64),
            sp: 0x1111,
            pc: 0xffff_8000_0000_2222,
            pstate: 0x6000_03c5,
        };
        let fpu = FpuRegs {
            v: core::array::from_fn(|number| u128::MAX / (number as u128 + 1)),
            control: 1,
            status: 2,
        };
        let file = Aarch64.pack(&regs, &fpu);
        assert_eq!(file[Aarch64.slot(FPSR).unwrap()], 2u32.to_le_bytes());
        assert_eq!(file[Aarch64.slot(32).unwrap()], 0xffff_8000_0000_2222u64.to_le_bytes());

        let mut found = Regs::Aarch64 { x: [7; 31], sp: 7, pc: 7, pstate: 0x12 << 32 };
        let mut found_fpu = FpuRegs { status: 7 << 32, ..FpuRegs::default() };
        Aarch64.unpack(&file, &mut found, &mut found_fpu).unwrap();
        let Regs::Aarch64 { x, sp, pc, .. } = regs else { panic!() };
        assert_eq!(found, Regs::Aarch64 { x, sp, pc, pstate: 0x12_6000_03c5 });
        assert_eq!(found_fpu, FpuRegs { status: 7 << 32 | 2, ..fpu });
        assert_eq!(Aarch64.unpack(&file[1..], &mut found, &mut found_fpu), None);
    }
}
