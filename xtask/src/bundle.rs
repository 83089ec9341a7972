//! Putting a guest into a bundle, the file that Polyvisor finds as its boot loader's initrd.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use polyvisor::vm::bundle::{BootSource, BundleBuilder, VmSpec};

use crate::size::Size;

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// What the operator calls it.
    pub name: String,
    /// How many vCPUs.
    pub vcpus: u32,
    /// Its RAM.
    pub memory: Size,
    /// What it boots.
    pub boot: GuestBoot,
}

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestBoot {
    /// As QEMU's `-kernel`, `-initrd` and `-append`.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initial RAM disk.
        initrd: Option<PathBuf>,
        /// The command line.
        append: String,
    },
    /// As QEMU's `-bios`.
    Firmware(PathBuf),
}

/// Writes a bundle with `guests` to `path`.
pub fn write(guests: &[Guest], path: &Path) -> Result<()> {
    let mut files = Vec::new();
    for guest in guests {
        let (image, initrd) = match &guest.boot {
            GuestBoot::Kernel { kernel, initrd, .. } => (kernel, initrd.as_deref()),
            GuestBoot::Firmware(firmware) => (firmware, None),
        };
        files.push((read(image)?, initrd.map(read).transpose()?));
    }
    let mut builder = BundleBuilder::new();
    for (guest, (image, initrd)) in guests.iter().zip(&files) {
        let image = builder.blob(image);
        let boot = match &guest.boot {
            GuestBoot::Kernel { append, .. } => {
                let initrd = initrd.as_ref().map(|initrd| builder.blob(initrd));
                BootSource::Kernel { image, initrd, append: append.clone() }
            }
            GuestBoot::Firmware(_) => BootSource::Firmware { image },
        };
        builder.vm(VmSpec::new(&guest.name, guest.vcpus, guest.memory.bytes(), boot));
    }
    let bundle = builder.build().map_err(|error| anyhow!("{error}"))?;
    fs::write(path, bundle).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
