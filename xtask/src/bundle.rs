//! Putting guests into a bundle, the file that Polyvisor finds as its boot loader's initrd.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use polyvisor::{
    storage::SECTOR,
    vm::bundle::{
        Arch, Bios, BlobId, BootSource, BundleBuilder, Colour, DeviceSpec, DiskSource, DiskSpec, FileSource,
        Jit, PartitionName, Reaction, Scheduling, SwitchSpec, VmSpec, WhenAllOff,
    },
};

use crate::size::Size;

/// Everything that a bundle is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The virtual machines.
    pub guests: Vec<Guest>,
    /// The switches between them.
    pub switches: Vec<SwitchSpec>,
    /// What to do when none of them runs any more.
    pub when_all_off: WhenAllOff,
}

impl Contents {
    /// The RISC-V guests.
    pub fn riscv(&self) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(|guest| guest.arch == Arch::Riscv64)
    }

    /// Has the code of all RISC-V guests executed like that.
    pub fn set_jit(&mut self, jit: Jit) {
        let guests = self.guests.iter_mut().filter(|guest| guest.arch == Arch::Riscv64);
        for guest in guests {
            guest.jit = jit;
            if matches!(jit, Jit::Off | Jit::Record) {
                guest.translations = None;
            }
        }
    }
}

/// What a manifest and the command line call the ways to execute a RISC-V guest's code.
pub const JIT: [(&str, Jit); 4] =
    [("on", Jit::On), ("off", Jit::Off), ("lockstep", Jit::LockStep), ("record", Jit::Record)];

/// Reads one of [`JIT`], for the command line.
///
/// # Errors
/// It is none of these.
pub fn parse_jit(word: &str) -> Result<Jit> {
    let found = JIT.iter().find(|(name, _)| *name == word).map(|(_, jit)| *jit);
    found.with_context(|| format!("expected {}", JIT.map(|(name, _)| name).join(", ")))
}

/// What [`JIT`] calls it.
pub fn jit_name(jit: Jit) -> &'static str {
    JIT.iter().find(|(_, other)| *other == jit).map_or("?", |(name, _)| name)
}

impl From<Guest> for Contents {
    fn from(guest: Guest) -> Self {
        Self { guests: vec![guest], switches: Vec::new(), when_all_off: WhenAllOff::default() }
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
    /// What a RISC-V kernel finds below it.
    pub bios: GuestBios,
    /// How a RISC-V guest's code is executed.
    pub jit: Jit,
    /// Saved translations of its code.
    pub translations: Option<PathBuf>,
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
    /// Its virtio devices, by slot.
    pub devices: Vec<Device>,
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
            bios: GuestBios::default(),
            jit: Jit::default(),
            translations: None,
            scheduling: Scheduling::default(),
            autostart: true,
            on_stop: Reaction::default(),
            on_crash: Reaction::default(),
            colour: Colour::default(),
            devices: Vec::new(),
        }
    }

    /// The files of this machine that it takes.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let images = self.devices.iter().filter_map(Device::image);
        self.boot.files().chain(self.bios.file()).chain(&self.translations).chain(images)
    }
}

/// What a RISC-V kernel finds below it, as QEMU's `-bios` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GuestBios {
    /// The engine's own SBI.
    #[default]
    BuiltIn,
    /// Nothing: the kernel starts in machine mode.
    None,
    /// Firmware.
    File(PathBuf),
}

impl GuestBios {
    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::BuiltIn | Self::None => None,
        }
    }
}

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestBoot {
    /// As QEMU's `-kernel`, `-initrd` and `-append`.
    Kernel {
        /// The kernel.
        kernel: BootFile,
        /// The initial RAM disk.
        initrd: Option<BootFile>,
        /// The command line.
        append: String,
    },
    /// As QEMU's `-bios`.
    Firmware(PathBuf),
}

impl GuestBoot {
    /// A kernel that is a file of this machine, as its initial RAM disk is.
    pub fn kernel(kernel: PathBuf, initrd: Option<PathBuf>, append: &str) -> Self {
        Self::Kernel { kernel: kernel.into(), initrd: initrd.map(Into::into), append: append.to_owned() }
    }

    /// The files of this machine that it takes.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = match self {
            Self::Kernel { kernel, initrd, .. } => [kernel.here(), initrd.as_ref().and_then(BootFile::here)],
            Self::Firmware(firmware) => [Some(firmware), None],
        };
        files.into_iter().flatten()
    }
}

/// A file that a guest boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// A file of this machine, which goes into the bundle.
    Here(PathBuf),
    /// A file on one of the guest's disks.
    OnDisk {
        /// The disk's name.
        disk: String,
        /// Where on it.
        partition: Option<PartitionName>,
        /// The path there.
        path: String,
    },
}

impl BootFile {
    /// Its path, if it is a file of this machine.
    ///
    /// # Errors
    /// Where it is on a guest's disk.
    pub fn local(self) -> Result<PathBuf> {
        match self {
            Self::Here(path) => Ok(path),
            Self::OnDisk { disk, path, .. } => bail!("{path} is on the guest's disk {disk}"),
        }
    }

    fn here(&self) -> Option<&PathBuf> {
        match self {
            Self::Here(path) => Some(path),
            Self::OnDisk { .. } => None,
        }
    }

    fn source(&self, blobs: &BTreeMap<&PathBuf, BlobId>) -> FileSource {
        match self {
            Self::Here(path) => blobs[path].into(),
            Self::OnDisk { disk, partition, path } => {
                FileSource::OnDisk { disk: disk.clone(), partition: partition.clone(), path: path.clone() }
            }
        }
    }
}

impl From<PathBuf> for BootFile {
    fn from(path: PathBuf) -> Self {
        Self::Here(path)
    }
}

/// A virtio device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A disk that is kept in memory.
    Memory(MemoryDisk),
    /// One for which the bundle needs no file.
    Plain(DeviceSpec),
}

impl Device {
    /// The file that the bundle has to carry for it.
    fn image(&self) -> Option<&PathBuf> {
        match self {
            Self::Memory(disk) => disk.image.as_ref(),
            Self::Plain(_) => None,
        }
    }
}

/// A disk that is kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDisk {
    /// What the operator and the guest call it.
    pub name: String,
    /// What is on it at first; nothing but zeros without one.
    pub image: Option<PathBuf>,
    /// Its size; that of the image in whole sectors without one.
    pub size: Option<Size>,
    /// The guest cannot write it.
    pub read_only: bool,
    /// Request queues.
    pub queues: u16,
    /// Plugged in when the VM starts.
    pub plugged: bool,
}

/// Writes a bundle to `path`.
pub fn write(contents: &Contents, path: &Path) -> Result<()> {
    // Guests may share a kernel: each file is read once.
    let mut files = BTreeMap::new();
    for file in contents.guests.iter().flat_map(Guest::files) {
        if !files.contains_key(file) {
            files.insert(file, fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        }
    }
    let mut builder = BundleBuilder::new();
    let blobs: BTreeMap<&PathBuf, BlobId> =
        files.iter().map(|(path, bytes)| (*path, builder.blob(bytes))).collect();
    for guest in &contents.guests {
        let devices = guest.devices.iter().map(|device| match device {
            Device::Plain(spec) => spec.clone(),
            Device::Memory(disk) => {
                let length = disk.image.as_ref().map_or(0, |image| files[image].len() as u64);
                DeviceSpec::Disk(DiskSpec {
                    name: disk.name.clone(),
                    source: DiskSource::File {
                        image: disk.image.as_ref().map_or_else(|| builder.blob(&[]), |image| blobs[image]),
                        size: disk.size.map_or(length.next_multiple_of(SECTOR), Size::bytes),
                    },
                    read_only: disk.read_only,
                    queues: disk.queues,
                    plugged: disk.plugged,
                })
            }
        });
        let devices = devices.collect();
        builder.vm(VmSpec {
            name: guest.name.clone(),
            arch: guest.arch,
            vcpus: guest.vcpus,
            memory: guest.memory.bytes(),
            boot: match &guest.boot {
                GuestBoot::Kernel { kernel, initrd, append } => BootSource::Kernel {
                    image: kernel.source(&blobs),
                    initrd: initrd.as_ref().map(|initrd| initrd.source(&blobs)),
                    append: append.clone(),
                },
                GuestBoot::Firmware(firmware) => BootSource::Firmware { image: blobs[firmware] },
            },
            bios: match &guest.bios {
                GuestBios::BuiltIn => Bios::BuiltIn,
                GuestBios::None => Bios::None,
                GuestBios::File(path) => Bios::Image(blobs[path]),
            },
            jit: guest.jit,
            translations: guest.translations.as_ref().map(|file| blobs[file]),
            scheduling: guest.scheduling,
            autostart: guest.autostart,
            on_stop: guest.on_stop,
            on_crash: guest.on_crash,
            colour: guest.colour,
            devices,
        });
    }
    for switch in &contents.switches {
        builder.switch(switch.clone());
    }
    builder.when_all_off(contents.when_all_off);
    let bundle = builder.build().map_err(|error| anyhow!("{error}"))?;
    fs::write(path, bundle).with_context(|| format!("cannot write {}", path.display()))
}
