//! `cargo xtask run`: one machine, its console on ours.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use regex::bytes::Regex;

use crate::{
    bundle,
    console::{Console, Event, Input},
    firmware,
    guests::Guests,
    options::{GuestOptions, MachineOptions},
    paths::Paths,
    process::shown,
    progress::note,
    qemu::{Boot, Monitor, Qemu},
    symbolize::Symbols,
};

/// What `run` can be asked for.
#[derive(Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    guest: GuestOptions,
    /// Polyvisor's own boot arguments, such as log=debug
    #[arg(long, value_name = "STRING")]
    hv_append: Option<String>,
    /// Fail when the run takes longer
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// End with success as soon as the console shows this text
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// Print QEMU's command line instead of running it
    #[arg(long)]
    dry_run: bool,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    extra: Vec<String>,
}

/// Runs the machine until it is off.
///
/// # Errors
/// A hypervisor panic, a timeout, or a failure of QEMU.
pub fn run(paths: &Paths, options: &RunOptions) -> Result<()> {
    let firmware = firmware::build(paths)?;
    let lock = paths.lock()?;
    let qemu = Qemu::setup(paths)?;
    let guests = Guests::new(paths);
    let machine = options.machine.machine(&guests, &options.extra)?;
    let initrd = match options.guest.guest(paths, &guests)? {
        Some(guest) => {
            let path = paths.cache.join("run.bundle");
            bundle::write(&[guest], &path)?;
            Some(path)
        }
        None => None,
    };
    drop(lock);

    let boot = Boot::Linux { kernel: firmware.image.clone(), initrd, append: options.hv_append.clone() };
    let command = qemu.command(&machine, &boot, Monitor::Multiplexed)?;
    if options.dry_run {
        println!("{}", shown(&command));
        return Ok(());
    }
    note("Ctrl-A x leaves QEMU, Ctrl-A c talks to it");
    let until = options.until.as_deref().map(|text| Regex::new(&regex::escape(text))).transpose()?;
    let deadline = options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let log = paths.cache.join("console.log");
    let mut console = Console::start(command, Input::Inherited, &log, true)?;
    let event = console.wait(until.as_ref(), deadline)?;
    console.stop()?;
    match event {
        Event::Match(_) => Ok(()),
        Event::Exit(status) => {
            ensure!(status.success(), "QEMU failed ({status})");
            Ok(())
        }
        Event::Timeout => bail!("the run took longer than {} s", options.timeout.unwrap_or_default()),
        Event::Panic => {
            let symbols = Symbols::load(&firmware.elf).context("no symbols for the backtrace")?;
            eprint!("\n{}", symbols.explain(&console.transcript()));
            bail!("the hypervisor panicked; all output is in {}", log.display());
        }
    }
}
