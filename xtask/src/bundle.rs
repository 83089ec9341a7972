//! Putting guests into a bundle, the file that Polyvisor finds as its boot loader's initrd.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use polyvisor::vm::bundle::{
    Arch, BlobId, BootSource, BundleBuilder, Colour, Reaction, Scheduling, VmSpec, WhenAllOff,
};

use crate::size::Size;

/// Everything that a bundle is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The virtual machines.
    pub guests: Vec<Guest>,
    /// What to do when none of them runs any more.
    pub when_all_off: WhenAllOff,
}

impl From<Guest> for Contents {
    fn from(guest: Guest) -> Self {
        Self { guests: vec![guest], when_all_off: WhenAllOff::default() }
    }
}

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// What the operator calls it.
    pub name: String,
    /// Its instruction set.
    pub arch: Arch,
    /// How many vCPUs.
    pub vcpus: u32,
    /// Its RAM.
    pub memory: Size,
    /// What it boots.
    pub boot: GuestBoot,
    /// How it gets CPUs.
    pub scheduling: Scheduling,
    /// Start it with the machine.
    pub autostart: bool,
    /// What to do when it has switched itself off.
    pub on_stop: Reaction,
    /// What to do when it has crashed.
    pub on_crash: Reaction,
    /// The colour of its name.
    pub colour: Colour,
}

impl Guest {
    /// A guest that starts with the machine and has nothing special about it.
    pub fn new(name: impl Into<String>, vcpus: u32, memory: Size, boot: GuestBoot) -> Self {
        Self {
            name: name.into(),
            arch: Arch::Aarch64,
            vcpus,
            memory,
            boot,
            scheduling: Scheduling::default(),
            autostart: true,
            on_stop: Reaction::default(),
            on_crash: Reaction::default(),
            colour: Colour::default(),
        }
    }
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

impl GuestBoot {
    /// The files that it takes.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let (image, initrd) = match self {
            Self::Kernel { kernel, initrd, .. } => (kernel, initrd.as_ref()),
            Self::Firmware(firmware) => (firmware, None),
        };
        [Some(image), initrd].into_iter().flatten()
    }
}

/// Writes a bundle to `path`.
pub fn write(contents: &Contents, path: &Path) -> Result<()> {
    // Guests may share a kernel: each file is read once.
    let mut files = BTreeMap::new();
    for file in contents.guests.iter().flat_map(|guest| guest.boot.files()) {
        if !files.contains_key(file) {
            files.insert(file, fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        }
    }
    let mut builder = BundleBuilder::new();
    let blobs: BTreeMap<&PathBuf, BlobId> =
        files.iter().map(|(path, bytes)| (*path, builder.blob(bytes))).collect();
    for guest in &contents.guests {
        builder.vm(VmSpec {
            name: guest.name.clone(),
            arch: guest.arch,
            vcpus: guest.vcpus,
            memory: guest.memory.bytes(),
            boot: match &guest.boot {
                GuestBoot::Kernel { kernel, initrd, append } => BootSource::Kernel {
                    image: blobs[kernel].into(),
                    initrd: initrd.as_ref().map(|initrd| blobs[initrd].into()),
                    append: append.clone(),
                },
                GuestBoot::Firmware(firmware) => BootSource::Firmware { image: blobs[firmware] },
            },
            scheduling: guest.scheduling,
            autostart: guest.autostart,
            on_stop: guest.on_stop,
            on_crash: guest.on_crash,
            colour: guest.colour,
            devices: Vec::new(),
        });
    }
    builder.when_all_off(contents.when_all_off);
    let bundle = builder.build().map_err(|error| anyhow!("{error}"))?;
    fs::write(path, bundle).with_context(|| format!("cannot write {}", path.display()))
}
