//! What loaders must know of the machine that they load for.

use alloc::vec::Vec;
use core::ops::Range;

use elf::abi;

use crate::mm::addr::{Ipa, KIB};
use crate::vm::fdt::{self, FdtError};
use crate::vm::machine::{arm64, riscv64};

/// Where a flat binary goes.
#[derive(Debug, Clone, Copy)]
pub struct Flat {
    /// The magic number of the header that it may have.
    pub magic: [u8; 4],
    /// Bytes from the base of RAM to it.
    pub offset: u64,
    /// Its header may say another offset.
    pub is_told: bool,
}

/// A machine to load for.
pub trait Target {
    /// ELF's `e_machine`.
    fn elf_machine(&self) -> u16;

    /// Where a kernel goes that is a flat binary.
    fn kernel(&self) -> Flat;

    /// Where firmware goes that is below a kernel.
    fn firmware(&self) -> Flat;

    /// Where firmware alone goes.
    fn flash(&self) -> Range<Ipa>;

    /// What firmware is told of the kernel above it, which starts at `entry`.
    fn next_stage(&self, entry: Ipa) -> Vec<u8>;

    /// The devicetree of the machine with these ranges of RAM, and an initrd where there is one.
    ///
    /// # Errors
    /// [`FdtError`].
    fn devicetree(&self, ram: &[Range<Ipa>], initrd: Option<&Range<Ipa>>) -> Result<Vec<u8>, FdtError>;
}

impl Target for fdt::arm64::MachineSpec<'_> {
    fn elf_machine(&self) -> u16 {
        abi::EM_AARCH64
    }

    fn kernel(&self) -> Flat {
        // Where a binary goes that does not say so: what `text_offset` was before kernels told it.
        Flat { magic: *b"ARM\x64", offset: 512 * KIB, is_told: true }
    }

    fn firmware(&self) -> Flat {
        self.kernel()
    }

    fn flash(&self) -> Range<Ipa> {
        arm64::FLASH0.range()
    }

    fn next_stage(&self, _: Ipa) -> Vec<u8> {
        Vec::new()
    }

    fn devicetree(&self, ram: &[Range<Ipa>], initrd: Option<&Range<Ipa>>) -> Result<Vec<u8>, FdtError> {
        fdt::arm64::build(self, ram, initrd)
    }
}

/// The riscv64 machine.
pub struct Riscv64<'a> {
    /// What its devicetree describes.
    pub spec: fdt::riscv64::MachineSpec<'a>,
    /// What is called a kernel starts in machine mode, with nothing below it.
    pub is_bare: bool,
}

impl Target for Riscv64<'_> {
    fn elf_machine(&self) -> u16 {
        abi::EM_RISCV
    }

    fn kernel(&self) -> Flat {
        // QEMU leaves room for firmware, which is what kernels ask for (boot-image-header.rst), and does not look.
        let offset = if self.is_bare { 0 } else { riscv64::KERNEL_OFFSET };
        Flat { magic: *b"RSC\x05", offset, is_told: false }
    }

    fn firmware(&self) -> Flat {
        Flat { offset: 0, ..self.kernel() }
    }

    fn flash(&self) -> Range<Ipa> {
        // Firmware alone is loaded as a kernel with nothing below it.
        Ipa(0)..Ipa(0)
    }

    /// `struct fw_dynamic_info` (OpenSBI, `include/sbi/fw_dynamic.h`), version 2.
    fn next_stage(&self, entry: Ipa) -> Vec<u8> {
        const MAGIC: u64 = 0x4942_534f;
        const VERSION: u64 = 2;
        const SUPERVISOR: u64 = 1;
        const OPTIONS: u64 = 0;
        const BOOT_HART: u64 = 0;
        [MAGIC, VERSION, entry.0, SUPERVISOR, OPTIONS, BOOT_HART]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    fn devicetree(&self, ram: &[Range<Ipa>], initrd: Option<&Range<Ipa>>) -> Result<Vec<u8>, FdtError> {
        fdt::riscv64::build(&self.spec, ram, initrd)
    }
}
