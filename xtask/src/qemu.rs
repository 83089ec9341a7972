//! QEMU: finding or installing it, and the command line of a machine.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{
    apt,
    manifest::Hardware,
    paths::Paths,
    peripherals::{self, Drive, Nic},
    process::{self, find_program},
    size::Size,
    version::Version,
};

/// The first version whose `virt` has a second serial line for the normal world.
const OLDEST_QEMU: Version = Version { major: 9, minor: 1 };
const PROGRAM: &str = "qemu-system-aarch64";
const PACKAGE: &str = "qemu-system-arm";

/// A QEMU that is new enough.
#[derive(Debug, Clone)]
pub struct Qemu {
    program: PathBuf,
    version: Version,
}

impl Qemu {
    /// Finds QEMU, or installs it.
    ///
    /// # Errors
    /// Where it can't be installed: what is missing and how to get it.
    pub fn setup(paths: &Paths) -> Result<Self> {
        let found = Self::find();
        if let Ok(Some(qemu)) = &found
            && qemu.version >= OLDEST_QEMU
        {
            return Ok(qemu.clone());
        }
        let state = match &found {
            Ok(Some(qemu)) => format!("{} is {}", qemu.program.display(), qemu.version),
            _ => format!("{PROGRAM} is not in PATH"),
        };
        apt::install(paths, &[PACKAGE], OLDEST_QEMU, "running the image").with_context(|| {
            format!("{state}; Polyvisor needs QEMU {OLDEST_QEMU} or newer (package {PACKAGE} on Debian)")
        })?;
        let qemu = Self::find()?.with_context(|| format!("{PROGRAM} is still not in PATH"))?;
        ensure!(qemu.version >= OLDEST_QEMU, "{} is still {}", qemu.program.display(), qemu.version);
        Ok(qemu)
    }

    fn find() -> Result<Option<Self>> {
        let Some(program) = find_program(PROGRAM) else { return Ok(None) };
        let text = process::stdout(Command::new(&program).arg("--version"))?;
        let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
        let version = version.with_context(|| format!("{PROGRAM} --version says {text:?}"))?.parse()?;
        Ok(Some(Self { program, version }))
    }

    /// What this is, for the user.
    pub fn describe(&self) -> String {
        format!("{} {}", self.program.display(), self.version)
    }

    /// The command that starts `machine` with `boot`, its first serial port on standard input and output.
    pub fn command(&self, machine: &Machine, boot: &Boot, monitor: Monitor) -> Result<Command> {
        let mut command = Command::new(&self.program);
        machine.arguments(&mut command)?;
        boot.arguments(&mut command);
        command.args(["-display", "none", "-nic", "none"]);
        match monitor {
            // The way out is QEMU's own: Ctrl-A x.
            Monitor::Multiplexed => command.args(["-serial", "mon:stdio"]),
            Monitor::None => command.args(["-monitor", "none", "-serial", "stdio"]),
        };
        if let Some(port) = machine.debug_port {
            // A debugger asks and waits: no answer is to wait for company.
            let line = format!("tcp:127.0.0.1:{port},server=on,wait=off,nodelay=on");
            command.arg("-serial").arg(line);
        }
        Ok(command)
    }
}

/// Whether QEMU's monitor shares the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// Reached by Ctrl-A c; Ctrl-A x ends QEMU.
    Multiplexed,
    /// The console takes every byte as it is.
    None,
}

/// The machines that QEMU is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// QEMU's generic ARM machine.
    Virt,
    /// Raspberry Pi 4 Model B.
    Raspi4b,
}

/// The exception level in which the machine enters its first program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryLevel {
    /// No virtualization extensions.
    El1,
    /// Hypervisor: what Polyvisor wants.
    El2,
    /// Secure monitor (only with [`Boot::Raw`]; QEMU's Linux loader drops to EL2 by itself).
    El3,
}

/// A physical machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Which board.
    pub board: Board,
    /// GIC architecture, 2 or 3 (`virt` only).
    pub gic: u8,
    /// QEMU's name of the CPU model (`virt` only).
    pub cpu: String,
    /// How many CPUs.
    pub cpus: u32,
    /// RAM.
    pub memory: Size,
    /// Where execution starts (`virt` only).
    pub entry: EntryLevel,
    /// One instruction is one nanosecond, and a run is repeatable.
    pub icount: bool,
    /// The devicetree that the boot loader hands over: `raspi4b` needs one, `virt` makes its own.
    pub devicetree: Option<PathBuf>,
    /// The TCP port on loopback that leads to the second serial line; without one there is no such line.
    pub debug_port: Option<u16>,
    /// Its disks.
    pub disks: Vec<Drive>,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// Arguments for QEMU as they are.
    pub extra: Vec<String>,
}

impl Machine {
    /// QEMU `virt` as tests and users get it unless they say otherwise.
    ///
    /// The CPU is the Raspberry Pi 4's, so what works here is what works there; `max`, which has every
    /// feature that QEMU knows, is asked for where a test wants that.
    pub fn virt() -> Self {
        Self {
            board: Board::Virt,
            gic: 3,
            cpu: "cortex-a72".to_owned(),
            cpus: 4,
            memory: Size::gib(2),
            entry: EntryLevel::El2,
            icount: false,
            devicetree: None,
            debug_port: None,
            disks: Vec::new(),
            nics: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// A Raspberry Pi 4 with 2 GiB, the one that QEMU models. Its CPUs, memory and GIC-400 are what they are.
    pub fn raspi4b() -> Self {
        Self { board: Board::Raspi4b, gic: 2, ..Self::virt() }
    }

    /// Its hardware as far as a manifest can choose that.
    pub fn hardware(&self) -> Hardware {
        Hardware {
            cpus: Some(self.cpus),
            memory: Some(self.memory),
            disks: self.disks.clone(),
            nics: self.nics.clone(),
        }
    }

    /// Changes its hardware to what `hardware` says of that.
    pub fn set_hardware(&mut self, hardware: Hardware) {
        self.cpus = hardware.cpus.unwrap_or(self.cpus);
        self.memory = hardware.memory.unwrap_or(self.memory);
        self.disks = hardware.disks;
        self.nics = hardware.nics;
    }

    fn arguments(&self, command: &mut Command) -> Result<()> {
        match self.board {
            Board::Virt => {
                ensure!(matches!(self.gic, 2 | 3), "GIC version {}: only 2 and 3 are known", self.gic);
                ensure!(self.gic == 3 || self.cpus <= 8, "{} CPUs: a GICv2 serves at most 8", self.cpus);
                let level = match self.entry {
                    EntryLevel::El1 => "virtualization=off",
                    EntryLevel::El2 => "virtualization=on",
                    EntryLevel::El3 => "virtualization=on,secure=on",
                };
                command
                    .arg("-M")
                    .arg(format!("virt,gic-version={},{level}", self.gic))
                    .arg("-cpu")
                    .arg(&self.cpu);
            }
            Board::Raspi4b => {
                // Multi-threaded TCG was seen to hang early on this board with no hypervisor involved.
                command.args(["-M", "raspi4b", "-accel", "tcg,thread=single"]);
            }
        }
        command.arg("-smp").arg(self.cpus.to_string()).arg("-m").arg(self.memory.qemu());
        match self.board {
            Board::Virt => peripherals::virt(&self.disks, &self.nics, command)?,
            Board::Raspi4b => peripherals::raspi4b(&self.disks, &self.nics, command)?,
        }
        if let Some(devicetree) = &self.devicetree {
            command.arg("-dtb").arg(devicetree);
        }
        if self.icount {
            // Idle time is skipped, not slept, and random numbers repeat: nothing depends on the world
            // outside.
            command.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
        }
        command.args(&self.extra);
        Ok(())
    }
}

/// What the machine starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// As a boot loader would do it: x0 is the devicetree.
    Linux {
        /// A raw image with the arm64 `Image` header.
        kernel: PathBuf,
        /// What the devicetree's `/chosen` calls the initrd.
        initrd: Option<PathBuf>,
        /// The command line in `/chosen`.
        append: Option<String>,
    },
    /// By firmware, which finds files in RAM and is told on its console what to do with them.
    Firmware {
        /// The firmware.
        bios: PathBuf,
        /// Files and their load addresses.
        files: Vec<(PathBuf, u64)>,
    },
    /// Straight from reset, for boot conditions that no boot loader would produce.
    Raw {
        /// Files and their load addresses.
        files: Vec<(PathBuf, u64)>,
        /// Where CPU 0 starts.
        entry: u64,
    },
}

impl Boot {
    fn arguments(&self, command: &mut Command) {
        match self {
            Self::Linux { kernel, initrd, append } => {
                command.arg("-kernel").arg(kernel);
                if let Some(initrd) = initrd {
                    command.arg("-initrd").arg(initrd);
                }
                if let Some(append) = append {
                    command.arg("-append").arg(append);
                }
            }
            Self::Firmware { bios, files } => {
                command.arg("-bios").arg(bios);
                load(files, command);
            }
            Self::Raw { files, entry } => {
                load(files, command);
                command.arg("-device").arg(format!("loader,addr={entry:#x},cpu-num=0"));
            }
        }
    }
}

/// Has QEMU put `files` at their addresses.
fn load(files: &[(PathBuf, u64)], command: &mut Command) {
    for (file, address) in files {
        let file = file.display();
        command.arg("-device").arg(format!("loader,file={file},addr={address:#x},force-raw=on"));
    }
}

/// A TCP port on loopback that nobody listens to now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no TCP port on loopback is free")?;
    Ok(listener.local_addr()?.port())
}
