//! The program: an ELF file.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use object::{
    Endianness, Object, ObjectSymbol,
    elf::{EM_RISCV, FileHeader64, PT_LOAD},
    read::elf::{ElfFile64, FileHeader, ProgramHeader},
};
use polyvisor_emu::memory::Ram;

use super::htif::Htif;

/// A piece of memory that is there when the program starts.
struct Segment {
    /// The guest-physical address.
    address: u64,
    contents: Vec<u8>,
    /// Bytes in all; behind `contents` there are zeros.
    size: u64,
}

/// A program, ready to be loaded.
pub struct Program {
    entry: u64,
    segments: Vec<Segment>,
    htif: Option<Htif>,
}

impl Program {
    /// Reads the ELF file `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is no program to run here", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let endian = file.endian();
        let header: &FileHeader64<Endianness> = file.elf_header();
        let machine = header.e_machine(endian);
        ensure!(machine == EM_RISCV, "it is for ELF machine {machine}, not for RISC-V ({EM_RISCV})");
        let mut segments = Vec::new();
        for segment in file.elf_program_headers() {
            if segment.p_type(endian) == PT_LOAD {
                let contents = segment.data(endian, bytes).ok().context("a segment is not in the file")?;
                segments.push(Segment {
                    address: segment.p_paddr(endian),
                    contents: contents.to_vec(),
                    size: segment.p_memsz(endian),
                });
            }
        }
        let symbol =
            |name| file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
        let htif = symbol("tohost").map(|tohost| Htif { tohost, fromhost: symbol("fromhost") });
        Ok(Self { entry: file.entry(), segments, htif })
    }

    /// Where it starts.
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// The host-target interface, if it uses one.
    pub const fn htif(&self) -> Option<Htif> {
        self.htif
    }

    /// Puts it into RAM, which is all zeros.
    pub fn load(&self, ram: &Ram) -> Result<()> {
        for Segment { address, contents, size } in &self.segments {
            let (address, size) = (*address, *size);
            let range = ram.range();
            ensure!(
                ram.host(address, size).is_some() || size == 0,
                "its {size:#x} bytes at {address:#x} are not in RAM, {range:#x?}",
            );
            for (at, &byte) in (address..).zip(contents) {
                ram.write(at, byte).context("a segment is longer in the file than in memory")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_riscv_program_is_refused() {
        assert!(Program::parse(b"").is_err());
        assert!(Program::parse(b"\x7fELF").is_err());
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = Program::parse(&own).err().unwrap();
        assert!(error.to_string().contains("not for RISC-V"), "{error:#}");
    }
}
