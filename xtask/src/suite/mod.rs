//! The tests under QEMU: what there is ([`registry`]), what a test is ([`script`], [`operator`]), and running
//! them side by side.

mod host;
mod operator;
mod registry;
mod remote;
mod script;
pub mod soak;
mod subject;
pub mod tool;

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Command,
    slice,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use polyvisor::vm::bundle::Jit;

use crate::{
    console::{Console, Input},
    firmware::{self, Firmware},
    guests::Guests,
    paths::Paths,
    process::{last_lines, shown},
    qemu::{Monitor, Qemu, free_port},
    symbolize,
};
pub use script::Dialogue;
use script::Test;
use subject::Kit;

/// How many machines run at once; each may have several CPUs.
const WORKERS: usize = 2;
/// How much of a failed test's console is shown.
const SHOWN_LINES: usize = 40;

/// Lists the tests whose name contains `filter`.
pub fn list(filter: Option<&str>) -> Result<()> {
    for test in selected(filter)? {
        println!("{:<32} {}", test.name, test.proves);
    }
    Ok(())
}

/// Runs the tests whose name contains `filter`, and fails if one of them does. `jit`, if any, is how the code of RISC-V guests
/// is executed.
pub fn run(paths: &Paths, filter: Option<&str>, jit: Option<Jit>) -> Result<()> {
    let tests = selected(filter)?;
    let firmware = firmware::build(paths)?;
    let suite = Suite {
        firmware: &firmware,
        workshop: Mutex::new(Workshop::setup(paths, &firmware, jit)?),
        queue: Mutex::new(tests.iter()),
        failed: Mutex::new(Vec::new()),
    };
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| suite.work());
        }
    });
    let failed = suite.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    for name in &failed {
        println!("failed: {name}");
    }
    println!("tests under QEMU took {:.0} s", started.elapsed().as_secs_f32());
    println!("{} passed, {} failed", tests.len() - failed.len(), failed.len());
    ensure!(failed.is_empty(), "{} of {} tests under QEMU failed", failed.len(), tests.len());
    Ok(())
}

fn selected(filter: Option<&str>) -> Result<Vec<Test>> {
    let mut tests = registry::all();
    if let Some(filter) = filter {
        tests.retain(|test| test.name.contains(filter));
    }
    if tests.is_empty() {
        bail!("no test has {:?} in its name; `test-qemu --list` shows them", filter.unwrap_or_default());
    }
    Ok(tests)
}

/// A test whose files are all there.
struct Prepared {
    command: Command,
    /// Where the debugger's line is.
    debug_port: Option<u16>,
    log: PathBuf,
    /// Files of its own; they stay if it fails, so that it can be repeated by hand.
    directory: PathBuf,
}

/// Where tests get their files, each when its turn comes: those of all of them are gigabytes.
struct Workshop<'a> {
    kit: Kit<'a>,
    logs: PathBuf,
}

impl<'a> Workshop<'a> {
    fn setup(paths: &'a Paths, firmware: &'a Firmware, jit: Option<Jit>) -> Result<Self> {
        let _lock = paths.lock()?;
        Ok(Self {
            kit: Kit { paths, qemu: Qemu::setup(paths)?, guests: Guests::new(paths), firmware, jit },
            logs: paths.cache_dir("test-logs")?,
        })
    }

    fn prepare(&self, test: &Test) -> Result<Prepared> {
        let paths = self.kit.paths;
        let _lock = paths.lock()?;
        let directory = paths.cache_dir("test-files")?.join(&test.name);
        if directory.exists() {
            // It failed the last time.
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let (mut machine, boot) = self.kit.prepare(test, &directory)?;
        machine.debug_port = test.debugged.then(free_port).transpose()?;
        let command = self.kit.qemu.command(&machine, &boot, Monitor::None)?;
        let log = self.logs.join(format!("{}.log", test.name));
        Ok(Prepared { command, debug_port: machine.debug_port, log, directory })
    }
}

struct Suite<'a> {
    firmware: &'a Firmware,
    workshop: Mutex<Workshop<'a>>,
    queue: Mutex<slice::Iter<'a, Test>>,
    failed: Mutex<Vec<String>>,
}

impl Suite<'_> {
    /// Runs tests until there are none left.
    fn work(&self) {
        let take = || self.queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(test) = take() {
            let Test { name, proves, .. } = test;
            let started = Instant::now();
            let result = self.run_one(test);
            let seconds = started.elapsed().as_secs_f32();
            match result {
                Ok(()) => println!("ok    {name} ({seconds:.1} s): {proves}"),
                Err(error) => {
                    println!("FAIL  {name} ({seconds:.1} s): {proves}\n{error:#}");
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
                }
            }
        }
    }

    fn run_one(&self, test: &Test) -> Result<()> {
        let prepared = self.workshop.lock().unwrap_or_else(PoisonError::into_inner).prepare(test);
        let Prepared { command, debug_port, log, directory } = prepared.context("cannot make its files")?;
        let shown = shown(&command);
        let mut console = Console::start(command, Input::Scripted, &log, false)?;
        let result = test.play(&mut console, debug_port);
        console.stop()?;
        let result = result.and_then(|()| match test.inspection {
            Some(inspection) => inspection(&directory, &console.transcript()),
            None => Ok(()),
        });
        if result.is_ok() {
            fs::remove_dir_all(&directory)?;
        }
        result.map_err(|error| {
            let transcript = console.transcript();
            let mut text = format!("      {error:#}\n      {shown}\n      {}, its end:\n", log.display());
            for line in last_lines(&transcript, SHOWN_LINES).lines() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "      | {}", line.trim_end());
            }
            text.push_str(&symbolize::explain(self.firmware, &transcript).unwrap_or_default());
            anyhow!(text)
        })
    }
}
