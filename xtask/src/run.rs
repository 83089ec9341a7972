//! `cargo xtask run`: one machine, its console on ours.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use regex::bytes::Regex;

use crate::{
    bundle::{self, Contents, jit_name},
    console::{Console, Event, Input},
    firmware,
    guests::Guests,
    options::{GuestOptions, MachineOptions},
    paths::Paths,
    process::shown,
    progress::note,
    qemu::{Boot, Machine, Monitor, Qemu, free_port},
    symbolize,
};

/// What Polyvisor prints last when it cannot start, on a machine that it cannot switch off either.
const STOPS: &str = r"polyvisor stops\.";
/// A guest that Polyvisor refuses, or all of them.
const REFUSAL: &str = r"polyvisor: error: (VM \S+ cannot start|the bundle cannot be used): [^\r\n]*";

/// The manifest of what is started where no guest is asked for.
const DEMO: &str = "docs/examples/demo.toml";

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
    /// Wire gdb to this VM: its stub is on the second serial line, a TCP port of this machine
    #[arg(long, value_name = "VM")]
    gdb: Option<String>,
    /// The TCP port for gdb [default: a free one]
    #[arg(long, value_name = "PORT", requires = "gdb", value_parser = clap::value_parser!(u16).range(1..))]
    gdb_port: Option<u16>,
    /// Fail when the run takes longer
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// End with success as soon as the console shows this text
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// Print QEMU's command line, and how RISC-V guests would be executed, instead of running it
    #[arg(long)]
    dry_run: bool,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    extra: Vec<String>,
}

/// Runs the machine until it is off.
///
/// # Errors
/// A hypervisor panic, a guest that is refused, a timeout, a failure of QEMU, or an end before the console showed
/// what was waited for.
pub fn run(paths: &Paths, options: &RunOptions) -> Result<()> {
    // What is wrong with the guests is said before anything is built.
    let lock = paths.lock()?;
    let qemu = Qemu::setup(paths)?;
    let guests = Guests::new(paths);
    let (fixed, usual) = (options.machine.fixed(), Machine::virt().hardware());
    let (contents, hardware) =
        options.guest.or_manifest(paths.root.join(DEMO)).resolve(paths, &guests, fixed, usual)?;
    let mut machine = options.machine.machine(&guests, hardware, &options.extra)?;
    drop(lock);
    let mut append = options.hv_append.clone();
    if let Some(vm) = &options.gdb {
        check_name(vm, contents.as_ref())?;
        append = Some(append.map_or_else(String::new, |append| append + " ") + "gdb=" + vm);
        machine.debug_port = Some(options.gdb_port.map_or_else(free_port, Ok)?);
    }
    let firmware = firmware::build(paths)?;
    let initrd = match &contents {
        Some(contents) => {
            // Another run may be reading its own.
            let path = paths.cache.join(format!("run-{}.bundle", std::process::id()));
            bundle::write(contents, &path)?;
            Some(path)
        }
        None => None,
    };

    let boot = Boot::Linux { kernel: firmware.image.clone(), initrd: initrd.clone(), append };
    let command = qemu.command(&machine, &boot, Monitor::Multiplexed)?;
    if options.dry_run {
        for guest in contents.iter().flat_map(Contents::riscv) {
            note(format!("VM {}: jit = \"{}\"", guest.name, jit_name(guest.jit)));
        }
        println!("{}", shown(&command));
        return Ok(());
    }
    note("Ctrl-A x leaves QEMU, Ctrl-A c talks to it");
    if let Some(port) = machine.debug_port {
        note(format!("debug with: gdb-multiarch -ex 'target remote 127.0.0.1:{port}'"));
    }
    let end = match options.until.as_deref() {
        Some(text) => format!("{}|{STOPS}", regex::escape(text)),
        None => STOPS.to_owned(),
    };
    let end = Regex::new(&end)?;
    let deadline = options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let log = paths.cache.join("console.log");
    let mut console = Console::start(command, Input::Inherited, &log, true)?;
    let mut event = console.wait(Some(&end), deadline)?;
    if console.panicked() {
        event = console.wait(None, deadline)?;
    }
    console.stop()?;
    if let Some(bundle) = initrd {
        // What cannot be removed is overwritten or left to `cargo clean`.
        let _ = fs::remove_file(bundle);
    }
    let backtraces = symbolize::explain(&firmware, &console.transcript())?;
    if !backtraces.is_empty() {
        eprint!("\n{backtraces}");
    }
    match event {
        Event::Match(text) if Some(&text) == options.until.as_ref() => Ok(()),
        Event::Match(_) => bail!("Polyvisor could not start: see above"),
        Event::Exit(status) => {
            ensure!(status.success(), "QEMU failed ({status})");
            if let Some(text) = &options.until {
                bail!("the machine ended before the console showed {text:?}");
            }
            if let Some(refusal) = Regex::new(REFUSAL)?.find(console.transcript().as_bytes()) {
                bail!("{}", String::from_utf8_lossy(refusal.as_bytes()));
            }
            Ok(())
        }
        Event::Timeout => bail!("the run took longer than {} s", options.timeout.unwrap_or_default()),
        Event::Panic => {
            bail!("the hypervisor panicked; all output is in {}", log.display());
        }
    }
}

/// Whether there is a VM called `name`. What the built-in guest is called is the image's business.
fn check_name(name: &str, contents: Option<&Contents>) -> Result<()> {
    let Some(contents) = contents else { return Ok(()) };
    let names: Vec<&str> = contents.guests.iter().map(|guest| guest.name.as_str()).collect();
    ensure!(names.contains(&name), "--gdb {name}: there is no such VM; there are {}", names.join(", "));
    Ok(())
}
