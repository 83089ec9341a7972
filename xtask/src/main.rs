//! `cargo xtask`: sets up, builds, runs, tests and measures Polyvisor.
//!
//! Every command gets what it needs first; what was got stays in `target/xtask`.

mod aot;
mod apt;
mod bench;
mod bundle;
mod check;
mod console;
mod cpio;
mod disassemble;
mod disk;
mod emu;
mod firmware;
mod flash;
mod guests;
mod image;
mod manifest;
mod options;
mod paths;
mod payloads;
mod peripherals;
mod process;
mod progress;
mod qemu;
mod qmp;
mod run;
mod separation;
mod size;
mod suite;
mod symbolize;
mod toolchain;
mod version;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use polyvisor::vm::bundle::Jit;

use crate::{
    guests::Guests,
    paths::{Paths, Target},
    progress::note,
    qemu::Qemu,
    toolchain::Toolchain,
};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Sets up, builds, runs, tests and measures Polyvisor"
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Get everything that the other commands need (they do it by themselves)
    Setup {
        /// Forget the guests that were fetched and get their newest versions
        #[arg(long)]
        update: bool,
    },
    /// Build the image and the payload guests
    Build,
    /// Run the image under QEMU, with Debian's arm64 kernel as the guest unless told otherwise
    Run(Box<run::RunOptions>),
    /// Check the formatting, lint, run the host's tests, then those under QEMU
    Test,
    /// Run the tests under QEMU
    TestQemu {
        /// Only tests with this in their name
        filter: Option<String>,
        /// Only list the tests and what they prove
        #[arg(long)]
        list: bool,
        /// How the code of all RISC-V guests is executed, whatever the tests say: on, off or lockstep
        #[arg(long, value_name = "MODE", value_parser = bundle::parse_jit)]
        jit: Option<Jit>,
    },
    /// Keep a RISC-V Linux guest on four harts busy, and check all that it does
    Soak {
        /// For how long
        #[arg(long, value_name = "N", default_value_t = 60)]
        minutes: u64,
        /// How its code is executed, if not as usual: on, off or lockstep
        #[arg(long, value_name = "MODE", value_parser = bundle::parse_jit)]
        jit: Option<Jit>,
    },
    /// Measure in instructions, and compare with the targets
    Bench {
        /// Only groups of figures with this in their name
        filter: Option<String>,
    },
    /// Make a disk image for guests and experiments
    Disk {
        /// What is on it
        #[arg(value_enum)]
        layout: disk::Layout,
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Run a bare RISC-V program on this machine, in the translator of Polyvisor's cells
    Emu(emu::EmuOptions),
    /// Show the words of the monitor's `jit VM block` as A64 instructions
    Disassemble {
        /// A log of the console; what comes in, if there is none
        log: Option<PathBuf>,
    },
    /// Have a RISC-V guest translated ahead: records a boot, for `translations = "FILE"` in a manifest
    Aot(Box<aot::AotOptions>),
    /// Write the files that a board boots from
    Image {
        /// Which board
        #[arg(long, value_enum)]
        board: qemu::Board,
        #[command(flatten)]
        guest: options::GuestOptions,
    },
}

fn main() -> ExitCode {
    execute(&Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn execute(task: &Task) -> Result<ExitCode> {
    let paths = Paths::find()?;
    match task {
        Task::Setup { update } => setup(&paths, *update),
        Task::Build => firmware::build(&paths).map(drop),
        Task::Run(options) => run::run(&paths, options),
        Task::Test => check::test(&paths),
        Task::TestQemu { list: true, filter, .. } => suite::list(filter.as_deref()),
        Task::TestQemu { list: false, filter, jit } => suite::run(&paths, filter.as_deref(), *jit),
        Task::Soak { minutes, jit } => {
            suite::soak::run(&paths, Duration::from_secs(minutes.saturating_mul(60)), jit.unwrap_or_default())
        }
        Task::Bench { filter } => bench::run(&paths, filter.as_deref()),
        Task::Disk { layout, file } => {
            let _lock = paths.lock()?;
            disk::make(&paths, &Guests::new(&paths), *layout, file)
        }
        Task::Emu(options) => return emu::run(options),
        Task::Disassemble { log } => disassemble::run(log.as_deref()),
        Task::Aot(options) => aot::run(&paths, options),
        Task::Image { board, guest } => flash::write(&paths, *board, guest),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn setup(paths: &Paths, update: bool) -> Result<()> {
    let _lock = paths.lock()?;
    for target in Target::ALL {
        let toolchain = Toolchain::setup(paths, target)?;
        note(format!("toolchain for {}: {}", target.triple(), toolchain.describe()));
    }
    note(format!("QEMU: {}", Qemu::setup(paths)?.describe()));
    let guests = Guests::new(paths);
    if update {
        guests.forget()?;
    }
    guests.fetch_all()?;
    for line in guests.describe()? {
        note(format!("guest {line}"));
    }
    Ok(())
}
