//! What a test under QEMU is made of.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use regex::bytes::Regex;

use super::remote::Remote;
use crate::{
    console::{Console, Event},
    disk::Layout,
    qemu::Machine,
    size::Size,
};

/// How long a step may take: many times what it does take, so that only a hang is too slow.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How many times as long it may take where the guest is interpreted, by CPUs that are emulated themselves.
const SLOWNESS: u32 = 5;

/// One test: a machine, what it starts with, and a dialogue on its console.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it is called; `test-qemu FILTER` looks for its words here.
    pub name: String,
    /// What it proves, in one sentence.
    pub proves: String,
    /// The physical machine.
    pub machine: Machine,
    /// What the machine starts with.
    pub subject: Subject,
    /// Polyvisor's own boot arguments.
    pub arguments: Option<String>,
    /// Disk images among its files, by name.
    pub images: Vec<(&'static str, Layout)>,
    /// Programs for Linux guests among its files, by name.
    pub tools: Vec<&'static str>,
    /// What the file is that the manifest calls `translations`.
    pub translations: Option<Translations>,
    /// Whether the second serial line leads to [`Dialogue::debugger`].
    pub debugged: bool,
    /// How many times as long as usually each step may take.
    pub slowness: u32,
    /// The dialogue; the machine is stopped behind it.
    pub steps: Vec<Step>,
    /// What to look at when the machine has stopped.
    pub inspection: Option<Inspection>,
}

/// Saved translations of a RISC-V guest's code.
#[derive(Debug, Clone, Copy)]
pub enum Translations {
    /// Recorded of the manifest's guest, until its console shows this.
    Recorded(&'static str),
    /// None, and a bit is not what it was.
    Damaged,
    /// None, for another engine.
    Foreign,
}

/// What the machine starts with.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Polyvisor and a bundle with this guest.
    Guest(TestGuest),
    /// Polyvisor and a bundle made from this manifest, whose `[machine]` overrides the test's.
    Manifest(String),
    /// Polyvisor without a bundle.
    BuiltIn,
    /// Polyvisor and a bundle with this guest that was damaged on its way.
    Damaged(TestGuest, Damage),
    /// U-Boot as the machine's firmware, with Polyvisor in RAM.
    UBoot,
    /// Polyvisor entered straight from reset, with x0 as given.
    Reset(Devicetree),
    /// No Polyvisor: this guest itself, for what is wrong with a test before Polyvisor comes into it.
    Bare(TestGuest),
}

/// A virtual machine, by the name of what it boots.
#[derive(Debug, Clone)]
pub struct TestGuest {
    /// A name that `run --guest` takes.
    pub name: &'static str,
    /// Its command line, if not the usual one.
    pub append: Option<String>,
    /// How many vCPUs.
    pub vcpus: u32,
    /// Its RAM.
    pub memory: Size,
}

/// What happened to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The second half is missing.
    Truncated,
    /// One bit in the middle is wrong.
    BitFlipped,
    /// It is a text file.
    Replaced,
}

/// What x0 points at when Polyvisor is entered from reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devicetree {
    /// Nothing: x0 is 0.
    Missing,
    /// A sound header in front of a damaged structure.
    Corrupt,
    /// QEMU's own.
    Sound,
}

/// One step of a dialogue.
#[derive(Debug, Clone)]
pub enum Step {
    /// The console shows this (a regular expression, searched behind what was expected before).
    Expect(String, Duration),
    /// Type this.
    Send(String),
    /// Talk as this function does.
    Talk(Talk),
    /// The machine powers off, and QEMU reports success.
    Off(Duration),
    /// The machine loses its power: QEMU is killed.
    PowerCut,
    /// The hypervisor panics, which is what the test is about.
    Panic(Duration),
    /// Up to here the whole console has shown this so many times.
    Count(String, usize),
}

/// A part of a dialogue that a list of steps does not express: a loop, or an answer to what the console shows.
pub type Talk = fn(&mut Dialogue) -> Result<()>;

/// Looks at what a machine that has stopped has left: the directory of its files, and all that its console showed.
pub type Inspection = fn(&Path, &str) -> Result<()>;

/// The dialogue with a machine: what a [`Talk`] talks to.
pub struct Dialogue<'a> {
    console: &'a mut Console,
    debug_port: Option<u16>,
    slowness: u32,
}

impl Test {
    /// A test on QEMU `virt`.
    pub fn new(name: impl Into<String>, proves: impl Into<String>, subject: Subject) -> Self {
        let (name, proves) = (name.into(), proves.into());
        let machine = Machine::virt();
        Self {
            name,
            proves,
            machine,
            subject,
            arguments: None,
            images: Vec::new(),
            tools: Vec::new(),
            translations: None,
            debugged: false,
            slowness: 1,
            steps: Vec::new(),
            inspection: None,
        }
    }

    /// On another machine.
    pub fn on(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// Gives Polyvisor boot arguments.
    pub fn arguments(mut self, arguments: &str) -> Self {
        self.arguments = Some(arguments.to_owned());
        self
    }

    /// With a disk image that the manifest calls `name`.
    pub fn image(mut self, name: &'static str, layout: Layout) -> Self {
        self.images.push((name, layout));
        self
    }

    /// With the program `name` of `tests/tools` in a file that the manifest calls so.
    pub fn tool(mut self, name: &'static str) -> Self {
        self.tools.push(name);
        self
    }

    /// With saved translations in a file that the manifest calls `translations`.
    pub fn translations(self, translations: Translations) -> Self {
        Self { translations: Some(translations), ..self }
    }

    /// Lets a debugger have the VM called `vm`.
    pub fn debugged(self, vm: &str) -> Self {
        Self { debugged: true, ..self.arguments(&format!("gdb={vm}")) }
    }

    /// Its guest's instructions are interpreted: every step may take longer.
    pub fn slow(self) -> Self {
        Self { slowness: SLOWNESS, ..self }
    }

    /// The console shows `pattern`, a regular expression.
    pub fn expect(self, pattern: &str) -> Self {
        self.expect_within(pattern, PATIENCE)
    }

    /// The console shows `pattern` within the time.
    pub fn expect_within(mut self, pattern: &str, within: Duration) -> Self {
        self.steps.push(Step::Expect(pattern.to_owned(), within));
        self
    }

    /// Type a line.
    pub fn line(self, text: &str) -> Self {
        self.keys(&format!("{text}\n"))
    }

    /// Press keys; a control character is itself (Ctrl-] is `\x1d`), and nothing is added.
    pub fn keys(mut self, keys: &str) -> Self {
        self.steps.push(Step::Send(keys.to_owned()));
        self
    }

    /// Talk as `talk` does.
    pub fn talk(mut self, talk: Talk) -> Self {
        self.steps.push(Step::Talk(talk));
        self
    }

    /// The machine powers off.
    pub fn off(mut self) -> Self {
        self.steps.push(Step::Off(PATIENCE));
        self
    }

    /// The hypervisor must panic.
    pub fn panics(mut self) -> Self {
        self.steps.push(Step::Panic(PATIENCE));
        self
    }

    /// The whole console has shown `pattern` exactly `times` times.
    pub fn count(mut self, pattern: &str, times: usize) -> Self {
        self.steps.push(Step::Count(pattern.to_owned(), times));
        self
    }

    /// The machine loses its power.
    pub fn power_cut(mut self) -> Self {
        self.steps.push(Step::PowerCut);
        self
    }

    /// What the machine has left is as `inspection` wants it.
    pub fn inspected(self, inspection: Inspection) -> Self {
        Self { inspection: Some(inspection), ..self }
    }

    /// Holds the dialogue. No test passes in which the hypervisor panicked, whatever was expected.
    pub fn play(&self, console: &mut Console, debug_port: Option<u16>) -> Result<()> {
        let mut dialogue = Dialogue { console, debug_port, slowness: self.slowness };
        self.steps.iter().try_for_each(|step| step.play(&mut dialogue))?;
        let meant = self.steps.iter().any(|step| matches!(step, Step::Panic(_)));
        ensure!(meant || !console.panicked(), "the hypervisor panicked behind the last step");
        Ok(())
    }
}

impl TestGuest {
    /// With one vCPU and little RAM.
    pub fn new(name: &'static str) -> Self {
        Self { name, append: None, vcpus: 1, memory: Size::mib(256) }
    }

    /// With that much RAM.
    pub fn memory(self, memory: Size) -> Self {
        Self { memory, ..self }
    }

    /// With that command line.
    pub fn append(self, append: &str) -> Self {
        Self { append: Some(append.to_owned()), ..self }
    }
}

impl<'a> Dialogue<'a> {
    /// A dialogue on this console, in no test.
    pub fn new(console: &'a mut Console) -> Self {
        Self { console, debug_port: None, slowness: 1 }
    }

    /// Type a line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.keys(&format!("{text}\n"))
    }

    /// Press keys, as [`Test::keys`].
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        self.console.send(keys)
    }

    /// The console shows `pattern`, a regular expression, behind what it was last expected to show; the text
    /// that it matched.
    pub fn expect(&mut self, pattern: &str) -> Result<String> {
        self.expect_within(pattern, PATIENCE)
    }

    /// Has the Linux guest's shell carry `command` out, which must succeed; what the console showed meanwhile.
    pub fn shell(&mut self, command: &str) -> Result<String> {
        self.shell_within(command, PATIENCE)
    }

    /// As [`Self::shell`], within the time; longer where the test is slow.
    pub fn shell_within(&mut self, command: &str, time: Duration) -> Result<String> {
        // The echo of the line has no digits there; a message of the kernel's may come right behind them.
        self.line(&format!("{command}; echo \"[$?]\""))?;
        let text = self.expect_within(r"(?s).*?\[\d+\].*?guest:[^\n#]*# ", time)?;
        ensure!(text.contains("[0]"), "`{command}` failed: {}", text.trim());
        Ok(text)
    }

    /// Begins a session of a debugger.
    pub fn debugger(&self) -> Result<Remote> {
        Remote::connect(self.debug_port.context("the test has no debugger")?)
    }

    /// As [`Self::expect`], within the time; longer where the test is slow.
    pub fn expect_within(&mut self, pattern: &str, time: Duration) -> Result<String> {
        let time = time.saturating_mul(self.slowness);
        match self.console.wait(Some(&Regex::new(pattern)?), within(time))? {
            Event::Match(text) => Ok(text),
            Event::Exit(status) => bail!("the machine ended ({status}) before it showed `{pattern}`"),
            Event::Panic => bail!("the hypervisor panicked before the console showed `{pattern}`"),
            Event::Timeout => bail!("no `{pattern}` within {} s", time.as_secs()),
        }
    }
}

/// So much time from now.
fn within(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

impl Step {
    fn play(&self, dialogue: &mut Dialogue) -> Result<()> {
        let Dialogue { console, slowness, .. } = dialogue;
        match self {
            Self::Send(keys) => console.send(keys),
            Self::Talk(talk) => talk(dialogue),
            Self::PowerCut => console.kill(),
            Self::Expect(pattern, time) => dialogue.expect_within(pattern, *time).map(drop),
            Self::Off(time) => match console.wait(None, within(time.saturating_mul(*slowness)))? {
                Event::Exit(status) => {
                    ensure!(status.success(), "the machine ended, but with {status}");
                    Ok(())
                }
                Event::Panic => bail!("the hypervisor panicked instead of powering off"),
                _ => bail!("the machine was still on after {} s", time.as_secs()),
            },
            Self::Panic(time) => match console.wait(None, within(*time))? {
                Event::Panic => Ok(()),
                event => bail!("the hypervisor was to panic: {event:?}"),
            },
            Self::Count(pattern, times) => {
                let found = Regex::new(pattern)?.find_iter(console.transcript().as_bytes()).count();
                ensure!(found == *times, "the console showed `{pattern}` {found} times, not {times}");
                Ok(())
            }
        }
    }
}
