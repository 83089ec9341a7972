//! RISC-V in gdb's eyes: the features `org.gnu.gdb.riscv.cpu` and `.fpu` (gdb manual, "RISC-V Features").

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use super::isa::{Isa, set_low, take};
use crate::vm::vcpu::{FpuRegs, Regs};

/// x0 to x31 and pc, f0 to f31, of 8 bytes each.
const WIDE: usize = 65;
/// fflags, frm and fcsr, of 4.
const REGISTERS: usize = WIDE + 3;

/// What gdb calls x0 to x31.
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// The instruction set of RISC-V guests.
pub struct Riscv64;

impl Isa for Riscv64 {
    /// The engine looks out for breakpoints.
    fn breakpoint(&self) -> Option<&'static [u8]> {
        None
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
            WIDE..REGISTERS => (WIDE * 8 + (number - WIDE) * 4, 4),
            _ => return None,
        };
        Some(start..start + size)
    }

    fn pack(&self, regs: &Regs, fpu: &FpuRegs) -> Vec<u8> {
        let Regs::Riscv64 { x, pc, .. } = regs else { return Vec::new() };
        let mut file = Vec::with_capacity(WIDE * 8 + 12);
        let f = fpu.v.map(|value| value as u64);
        for value in x.iter().chain([pc]).chain(&f) {
            file.extend(value.to_le_bytes());
        }
        let (flags, rounding) = (fpu.status as u32, fpu.control as u32);
        for value in [flags, rounding, flags | rounding << 5] {
            file.extend(value.to_le_bytes());
        }
        file
    }

    /// fcsr says nothing that fflags and frm do not.
    fn unpack(&self, file: &[u8], regs: &mut Regs, fpu: &mut FpuRegs) -> Option<()> {
        let Regs::Riscv64 { x, pc, .. } = regs else { return None };
        let mut rest = file;
        for value in x.iter_mut().chain([pc]) {
            *value = u64::from_le_bytes(take(&mut rest)?);
        }
        for value in &mut fpu.v {
            *value = u64::from_le_bytes(take(&mut rest)?).into();
        }
        set_low(&mut fpu.status, take(&mut rest)?);
        set_low(&mut fpu.control, take(&mut rest)?);
        Some(())
    }

    fn place(&self, regs: &Regs) -> String {
        let Regs::Riscv64 { pc, mode, .. } = regs else { return String::new() };
        let mode = match mode {
            0 => "user",
            1 => "supervisor",
            _ => "machine",
        };
        format!("pc {pc:#x}, {mode} mode")
    }
}

fn describe(xml: &mut String) -> core::fmt::Result {
    xml.push_str(r#"<architecture>riscv:rv64</architecture><feature name="org.gnu.gdb.riscv.cpu">"#);
    for (number, name) in NAMES.iter().enumerate() {
        let kind = match number {
            1 => "code_ptr",
            2..=4 | 8 => "data_ptr",
            _ => "int",
        };
        write!(xml, r#"<reg name="{name}" bitsize="64" type="{kind}"/>"#)?;
    }
    xml.push_str(r#"<reg name="pc" bitsize="64" type="code_ptr"/></feature>"#);
    xml.push_str(r#"<feature name="org.gnu.gdb.riscv.fpu"><union id="riscv_double">"#);
    xml.push_str(
        r#"<field name="float" type="ieee_single"/><field name="double" type="ieee_double"/></union>"#,
    );
    for number in 0..32 {
        let name = match number {
            0..8 => format!("ft{number}"),
            8 | 9 => format!("fs{}", number - 8),
            10..18 => format!("fa{}", number - 10),
            18..28 => format!("fs{}", number - 16),
            _ => format!("ft{}", number - 20),
        };
        write!(xml, r#"<reg name="{name}" bitsize="64" type="riscv_double"/>"#)?;
    }
    for name in ["fflags", "frm", "fcsr"] {
        write!(xml, r#"<reg name="{name}" bitsize="32" type="int"/>"#)?;
    }
    xml.push_str("</feature>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_file_is_the_described_one() {
        let mut xml = String::new();
        Riscv64.describe(&mut xml);
        assert_eq!(xml.matches("<reg ").count(), Riscv64.registers());
        let regs = Regs::Riscv64 { x: core::array::from_fn(|n| n as u64), pc: 0x8000_0000, mode: 1 };
        let fpu = FpuRegs { v: core::array::from_fn(|n| 100 + n as u128), control: 3, status: 0x11 };
        let file = Riscv64.pack(&regs, &fpu);
        assert_eq!(file.len(), Riscv64.slot(REGISTERS - 1).unwrap().end);
        assert_eq!(file[Riscv64.slot(32).unwrap()], 0x8000_0000_u64.to_le_bytes());
        assert_eq!(file[Riscv64.slot(67).unwrap()], 0x71_u32.to_le_bytes());
        let mut found = Regs::Riscv64 { x: [0; 32], pc: 0, mode: 1 };
        let mut found_fpu = FpuRegs::default();
        Riscv64.unpack(&file, &mut found, &mut found_fpu).unwrap();
        assert_eq!((found, found_fpu), (regs, fpu));
    }
}
