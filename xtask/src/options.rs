//! The command line's words for a machine and a guest, and what they come to.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use polyvisor::vm::bundle::{Arch, Jit};

use crate::{
    bundle::{Contents, Guest, GuestBoot, parse_jit},
    guests::{self, Architecture, Guests},
    manifest::{Hardware, Manifest},
    paths::{Paths, Target},
    payloads,
    peripherals::{Drive, Nic},
    progress::note,
    qemu::{Board, Machine},
    size::Size,
};

/// The command line of an arm64 Linux guest that gets no other.
pub const LINUX_APPEND: &str = "earlycon console=ttyAMA0";
/// The command line of a riscv64 Linux guest that gets no other.
const LINUX_APPEND_RISCV64: &str = "earlycon console=ttyS0";
/// The installer's command line: it asks its questions on the console.
const INSTALLER_APPEND: &str = "console=ttyAMA0 ---";
/// The RAM of a guest that is given no size.
pub const GUEST_MEMORY: Size = Size::mib(512);
/// The RAM of a machine of which nothing is known: boards that are flashed have at least that much.
const LEAST_MEMORY: Size = Size::gib(1);

/// The physical machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Physical machine")]
pub struct MachineOptions {
    /// The board that QEMU is asked to be
    #[arg(long, value_enum, default_value = "virt")]
    board: Board,
    /// Architecture of the interrupt controller, 2 or 3 [default: 3]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
    /// CPU model, in QEMU's words [default: cortex-a72]
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// How many CPUs [default: what the manifest asks for, or 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpus: Option<u32>,
    /// RAM, such as 512M or 8G [default: what the manifest asks for, or 2G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// One instruction is one nanosecond of virtual time, and a run is repeatable
    #[arg(long)]
    icount: bool,
    /// A disk: a raw image, on virtio-mmio or, with `,pci`, on PCI; on raspi4b the SD card
    #[arg(long, value_name = "FILE[,pci]")]
    disk: Vec<Drive>,
    /// A network card on virtio-mmio or PCI, behind which is QEMU's own network
    #[arg(long, value_name = "user[,pci]")]
    net: Vec<Nic>,
}

impl MachineOptions {
    /// What the board or the user has decided.
    pub fn fixed(&self) -> Hardware {
        let (disks, nics) = (self.disk.clone(), self.net.clone());
        match self.board {
            Board::Virt => Hardware { cpus: self.cpus, memory: self.memory, disks, nics },
            Board::Raspi4b => Hardware { disks, nics, ..Machine::raspi4b().hardware() },
        }
    }

    /// The machine that was asked for, with this hardware.
    pub fn machine(&self, guests: &Guests, hardware: Hardware, extra: &[String]) -> Result<Machine> {
        let mut machine = match self.board {
            Board::Virt => Machine::virt(),
            Board::Raspi4b => {
                let fixed =
                    self.gic.is_some() || self.cpu.is_some() || self.cpus.is_some() || self.memory.is_some();
                ensure!(
                    !fixed,
                    "--gic, --cpu, --cpus and --memory cannot be chosen on raspi4b: QEMU models one machine, \
                     with 4 Cortex-A72, 2 GiB and a GIC-400"
                );
                Machine { devicetree: Some(guests.raspi4b_devicetree()?), ..Machine::raspi4b() }
            }
        };
        machine.gic = self.gic.unwrap_or(machine.gic);
        machine.set_hardware(hardware);
        if let Some(cpu) = &self.cpu {
            machine.cpu.clone_from(cpu);
        }
        machine.icount = self.icount;
        machine.extra = extra.to_vec();
        Ok(machine)
    }
}

/// The virtual machines.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestOptions {
    /// Several guests: a manifest, a TOML file that describes them all (docs/manifest.md)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all =
            ["guest", "kernel", "initrd", "append", "firmware", "smp", "guest_memory", "no_bundle"]
    )]
    vms: Option<PathBuf>,
    /// A guest by name: a kernel (linux-6.1, linux-6.12, linux-newest, linux-cloud, linux-rt), u-boot, or a
    /// payload of tests/guests (such as hello) [default: linux-6.12; `run` with no word of a guest starts the demo]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kernel", "firmware", "no_bundle"])]
    guest: Option<String>,
    /// Kernel: an arm64 Image (also gzip), an ELF file or a raw binary
    #[arg(long, value_name = "FILE", conflicts_with_all = ["firmware", "no_bundle"])]
    kernel: Option<PathBuf>,
    /// Initial RAM disk; the named Linux guests bring one with busybox
    #[arg(long, value_name = "FILE", conflicts_with_all = ["firmware", "no_bundle"])]
    initrd: Option<PathBuf>,
    /// The guest's command line
    #[arg(long, value_name = "STRING", conflicts_with_all = ["firmware", "no_bundle"])]
    append: Option<String>,
    /// Firmware that starts at the reset address, as with QEMU's -bios
    #[arg(long, value_name = "FILE", conflicts_with = "no_bundle")]
    firmware: Option<PathBuf>,
    /// How many vCPUs [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    smp: Option<u32>,
    /// The guest's RAM [default: 512M, or half of a machine that has less than 1G]
    #[arg(long, value_name = "SIZE")]
    guest_memory: Option<Size>,
    /// How the code of all RISC-V guests is executed: on (compiled), off (interpreted) or lockstep (both, and compared)
    #[arg(long, value_name = "MODE", value_parser = parse_jit, conflicts_with = "no_bundle")]
    jit: Option<Jit>,
    /// Give Polyvisor no guest, so that it runs the one that is built in
    #[arg(long)]
    no_bundle: bool,
}

impl GuestOptions {
    /// The same, but the guests of the manifest `file` where not a word was said about any.
    pub fn or_manifest(&self, file: PathBuf) -> Self {
        let Self { vms, guest, kernel, initrd, append, firmware, smp, guest_memory, jit: _, no_bundle } =
            self;
        let is_silent = guest.is_none()
            && [vms, kernel, initrd, firmware].into_iter().all(Option::is_none)
            && append.is_none()
            && smp.is_none()
            && guest_memory.is_none()
            && !no_bundle;
        if is_silent { Self { vms: Some(file), ..self.clone() } } else { self.clone() }
    }

    /// What was asked for: the guests, `None` for the built-in one; and the hardware for them, which is `fixed`,
    /// else what they ask for, else `usual`.
    ///
    /// # Errors
    /// A manifest's mistakes, an unknown guest, or none whose code could be executed as was asked for.
    pub fn resolve(
        &self,
        paths: &Paths,
        guests: &Guests,
        fixed: Hardware,
        usual: Hardware,
    ) -> Result<(Option<Contents>, Hardware)> {
        let (mut contents, hardware) = self.contents(paths, guests, fixed, usual)?;
        if let (Some(contents), Some(jit)) = (&mut contents, self.jit) {
            ensure!(contents.riscv().next().is_some(), "--jit is for RISC-V guests, and there is none");
            contents.set_jit(jit);
        }
        Ok((contents, hardware))
    }

    fn contents(
        &self,
        paths: &Paths,
        guests: &Guests,
        fixed: Hardware,
        usual: Hardware,
    ) -> Result<(Option<Contents>, Hardware)> {
        let Some(file) = &self.vms else {
            let hardware = fixed.or(usual);
            let guest = self.guest(paths, guests, hardware.memory.unwrap_or(LEAST_MEMORY))?;
            return Ok((guest.map(Contents::from), hardware));
        };
        let named = |name: &str| named(paths, guests, name);
        let manifest = Manifest::load(file, &named, fixed, usual)?;
        if let Some(warning) = manifest.warning {
            note(format!("warning: {}: {warning}", file.display()));
        }
        Ok((Some(manifest.contents), manifest.hardware))
    }

    /// The one guest that was asked for, on a machine with that much RAM; `None` for the built-in one.
    fn guest(&self, paths: &Paths, guests: &Guests, machine: Size) -> Result<Option<Guest>> {
        if self.no_bundle {
            return Ok(None);
        }
        let (name, (arch, mut boot)) = if let Some(firmware) = &self.firmware {
            ("firmware", (Arch::Aarch64, GuestBoot::Firmware(firmware.clone())))
        } else if let Some(kernel) = &self.kernel {
            ("kernel", (Arch::Aarch64, GuestBoot::kernel(kernel.clone(), None, "")))
        } else {
            let name = self.guest.as_deref().unwrap_or(guests::DEFAULT_KERNEL);
            (name, named(paths, guests, name)?)
        };
        if let GuestBoot::Kernel { initrd, append, .. } = &mut boot {
            if let Some(given) = &self.initrd {
                *initrd = Some(given.clone().into());
            }
            if let Some(given) = &self.append {
                append.clone_from(given);
            }
        }
        let memory = self.guest_memory.unwrap_or(GUEST_MEMORY.min(machine.half()));
        Ok(Some(Guest { arch, ..Guest::new(name, self.smp.unwrap_or(1), memory, boot) }))
    }
}

/// What the guest called `name` is and boots. A payload's file is there once payloads have been built.
pub fn named(paths: &Paths, guests: &Guests, name: &str) -> Result<(Arch, GuestBoot)> {
    if let Some(item) = guests::FIRMWARE.iter().find(|item| item.name == name) {
        return Ok((arch(item.architecture), GuestBoot::Firmware(guests.firmware(name)?)));
    }
    if name == guests::U_BOOT_SMODE.name {
        return Ok((Arch::Riscv64, GuestBoot::kernel(guests.u_boot_smode()?, None, "")));
    }
    if name == guests::INSTALLER.name {
        let (kernel, initrd) = guests.installer()?;
        let boot = GuestBoot::Kernel {
            kernel: kernel.into(),
            initrd: Some(initrd.into()),
            append: INSTALLER_APPEND.to_owned(),
        };
        return Ok((Arch::Aarch64, boot));
    }
    if let Some(item) = guests::KERNELS.iter().find(|item| item.name == name) {
        let kernel = guests.kernel(name)?;
        let append = match item.architecture {
            Architecture::Arm64 => LINUX_APPEND,
            Architecture::Riscv64 => LINUX_APPEND_RISCV64,
        };
        let initramfs = guests.initramfs(item.architecture)?;
        return Ok((arch(item.architecture), GuestBoot::kernel(kernel, Some(initramfs), append)));
    }
    if let Some(payload) = payloads::find(paths, name)? {
        let arch = match payload.target {
            Target::Aarch64 => Arch::Aarch64,
            Target::Riscv64 => Arch::Riscv64,
        };
        return Ok((arch, GuestBoot::kernel(payload.file(paths), None, "")));
    }
    let items =
        guests::KERNELS.iter().chain(&guests::FIRMWARE).chain([&guests::U_BOOT_SMODE, &guests::INSTALLER]);
    let payloads = payloads::all(paths)?.into_iter().map(|payload| payload.name);
    let known: Vec<String> = items.map(|item| item.name.to_owned()).chain(payloads).collect();
    bail!("there is no guest {name:?}; there are {}", known.join(", "));
}

fn arch(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::Arm64 => Arch::Aarch64,
        Architecture::Riscv64 => Arch::Riscv64,
    }
}
