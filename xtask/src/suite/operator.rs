//! The operator, as a test plays him: commands go to the monitor with `--json`, and their answers are parsed.

use std::{
    mem, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::script::{Dialogue, PATIENCE};

/// Time between two looks at something that is on its way.
const LOOK: Duration = Duration::from_millis(50);
/// What has not changed for so long will not.
const SETTLED: Duration = Duration::from_secs(2);
/// How often what seems to leak is done again.
const ROUNDS: u32 = 3;

/// A VM, as `list` answers; what the tests look at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: String,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// How often it has started by itself again.
    pub restarts: u32,
    /// Why it is in that state, where there is more to say.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct List {
    vms: Vec<Vm>,
}

/// Bytes of RAM, as `info` answers. The rest is guests'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Memory {
    memory_free: u64,
    memory_of_polyvisor: u64,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: String,
}

impl Dialogue<'_> {
    /// Gives the monitor a command: what it answers, or why it refuses.
    pub fn command(&mut self, command: &str) -> Result<Result<Value, String>> {
        self.line(&format!("{command} --json"))?;
        let text = self.expect(r#"\{"ok":[^\r\n]*\}\r?\n"#)?;
        let answer: Answer = serde_json::from_str(&text).with_context(|| format!("`{command}`: {text}"))?;
        Ok(if answer.ok { Ok(answer.result) } else { Err(answer.error) })
    }

    /// Gives the monitor a command, which it must not refuse.
    pub fn ask(&mut self, command: &str) -> Result<Value> {
        self.command(command)?.map_err(|error| anyhow!("`{command}` is refused: {error}"))
    }

    /// All VMs.
    pub fn vms(&mut self) -> Result<Vec<Vm>> {
        Ok(serde_json::from_value::<List>(self.ask("list")?)?.vms)
    }

    /// The VM of this name.
    pub fn vm(&mut self, name: &str) -> Result<Vm> {
        let vm = self.vms()?.into_iter().find(|vm| vm.name == name);
        vm.with_context(|| format!("`list` has no VM {name}"))
    }

    /// Waits until `done` says that it is.
    pub fn await_that(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !done(self)? {
            ensure!(start.elapsed() < PATIENCE, "{what} has not come true within {} s", PATIENCE.as_secs());
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the VM is in this state.
    pub fn await_state(&mut self, name: &str, state: &str) -> Result<()> {
        self.await_that(&format!("VM {name} is {state}"), |dialogue| Ok(dialogue.vm(name)?.state == state))
    }

    /// Waits until all VMs are in this state.
    pub fn await_all(&mut self, state: &str) -> Result<()> {
        self.await_that(&format!("all VMs are {state}"), |dialogue| {
            Ok(dialogue.vms()?.iter().all(|vm| vm.state == state))
        })
    }

    /// Destroys all VMs and waits until they are gone.
    pub fn destroy_all(&mut self) -> Result<()> {
        // It is refused for those that do not exist, and obeyed for the others.
        let _ = self.command("destroy all")?;
        self.await_all("defined")
    }

    /// Bytes of RAM that are free.
    pub fn free_memory(&mut self) -> Result<u64> {
        Ok(self.memory()?.memory_free)
    }

    fn memory(&mut self) -> Result<Memory> {
        Ok(serde_json::from_value(self.ask("info")?)?)
    }

    /// Does `work`, at whose end all VMs are gone, and finds out whether it costs memory. What guests had must be there again. At
    /// a peak EL2's heap gets more room, and keeps it: what leaks there is lost every time.
    pub fn costs_no_memory(&mut self, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut before = self.settled_memory()?;
        for _ in 0..ROUNDS {
            work(self)?;
            let now = self.settled_memory()?;
            if now == before {
                return Ok(());
            }
            ensure!(
                now.memory_free + now.memory_of_polyvisor == before.memory_free + before.memory_of_polyvisor,
                "guests' RAM is lost: {before:?}, then {now:?}"
            );
            before = now;
        }
        bail!("it costs memory each of {ROUNDS} times: {before:?}")
    }

    /// Where RAM is when that has not changed for a while: VMs that are gone give theirs back bit by bit.
    fn settled_memory(&mut self) -> Result<Memory> {
        let (mut memory, mut since) = (self.memory()?, Instant::now());
        self.await_that("free memory stays as it is: this", |dialogue| {
            let now = dialogue.memory()?;
            if mem::replace(&mut memory, now) != now {
                since = Instant::now();
            }
            Ok(since.elapsed() > SETTLED)
        })?;
        Ok(memory)
    }

    /// Attaches the operator to a VM's console.
    pub fn attach(&mut self, name: &str) -> Result<()> {
        self.line(&format!("console {name}"))?;
        self.expect(&format!(r"\[{name}: Ctrl-\] leaves it\]")).map(drop)
    }

    /// Goes back from a VM's console to the monitor.
    pub fn detach(&mut self) -> Result<()> {
        self.keys("\x1d")?;
        self.expect("polyvisor> ").map(drop)
    }
}
