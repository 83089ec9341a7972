//! What translation costs: instructions of the CPU for each of a RISC-V guest's.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use polyvisor::vm::bundle::{Arch, Jit};
use regex::Regex;

use super::{Bench, LINUX_MEMORY, Value};
use crate::{
    aot::{PROMPT, Recorder},
    bundle::{Device, Guest, GuestBios, GuestBoot, MemoryDisk, jit_name},
    console::{Console, Input},
    options::named,
    progress::{Progress, note},
    qemu::{Machine, Monitor},
    suite::{Dialogue, tool},
};

/// The kernel that is booted.
const KERNEL: &str = "linux-6.12-riscv64";
/// Its command line: the disk with the tool takes two modules.
const APPEND: &str = "console=ttyS0 modules=virtio_(mmio|blk)";
/// How the tool gets from the disk to where it can be executed. Kernel threads go on booting beside the shell, and would be
/// measured along.
const GET_TOOL: &str = "cat /dev/vda >/bin/workload; chmod +x /bin/workload; sleep 20";
/// How long the boot, or a command, may take: several times what the interpreter takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many rounds of `core` take translated code ten seconds of an instruction each nanosecond: CoreMark's rules ask for as
/// long a run. An interpreter would take too long, and has nothing to warm up.
const CORE_ROUNDS: u32 = 2200;
/// How many lines of text other programs work on.
const LINES: u32 = 10_000;
/// How the payload's figures begin.
const PAYLOAD: &str = "riscv";

/// Programs of the guest's that are measured, and what they are called.
const PROGRAMS: [(&str, &str); 3] = [
    ("gzip", "gzip -c /tmp/text"),
    (
        "awk",
        "awk '{ sum[$1] += $2; for (i = 4; i <= NF; i++) count[$i]++ } END { for (w in sum) print w, sum[w], count[w] }' \
         /tmp/text",
    ),
    ("text", "sort /tmp/text"),
];

/// A figure of guests that are executed like that.
fn value(jit: Jit, name: &str, value: f64) -> Value {
    (format!("{}-{name}", prefix(jit)), value)
}

/// How the names of their figures begin.
fn prefix(jit: Jit) -> &'static str {
    if jit == Jit::On { "jit" } else { PAYLOAD }
}

impl Bench<'_> {
    /// The figures that the payload prints.
    pub fn riscv_loops(&self, jit: Jit) -> Result<Vec<Value>> {
        let progress = Progress::start(format!("measuring: loops on RISC-V, JIT {}", jit_name(jit)));
        let boot = self.hosted(vec![self.riscv_guest("riscv-bench", 1, jit)?])?;
        let log = format!("bench-{}-loops.log", prefix(jit));
        let values = self.figures(&Self::machine(1), &boot, &log)?;
        progress.done();
        let renamed = |(name, value): Value| match name.strip_prefix(PAYLOAD) {
            Some(rest) => (format!("{}{rest}", prefix(jit)), value),
            None => (name, value),
        };
        Ok(values.into_iter().map(renamed).collect())
    }

    /// Linux' boot, and programs above it, on one hart.
    pub fn riscv_linux(&self, jit: Jit) -> Result<Vec<Value>> {
        let guest = self.riscv_guest(KERNEL, 1, jit)?;
        self.in_linux(&format!("{}-1", prefix(jit)), guest, |dialogue| {
            let mut values = Vec::new();
            let mut found = |name, cost| {
                // What comes next may fail.
                note(format!("{}-{name}: {cost:.2}", prefix(jit)));
                values.push(value(jit, name, cost));
            };
            found("boot", in_monitor(dialogue, boot)?);
            if jit == Jit::On {
                found("translation", in_monitor(dialogue, translation)?);
            }
            dialogue.shell(GET_TOOL)?;
            for group in ["core", "float", "memory"] {
                let command = match (group, jit) {
                    ("core", Jit::On) => format!("workload core {CORE_ROUNDS}"),
                    _ => format!("workload {group}"),
                };
                found(group, cost(dialogue, &command, &format!("all of {group}"))?);
            }
            dialogue.shell(&format!("workload text {LINES} >/tmp/text"))?;
            for (name, program) in PROGRAMS {
                let command = format!("workload measure /bin/busybox {program} >/dev/null");
                found(name, cost(dialogue, &command, "measure")?);
            }
            Ok(values)
        })
    }

    /// How much more four harts on four CPUs take for the same work each than one of them alone, in percent.
    ///
    /// The CPUs take turns, so the clock shows the instructions of all of them. What they do to each other by sharing
    /// caches is not in it; waiting for each other is.
    pub fn riscv_scale(&self, jit: Jit) -> Result<Vec<Value>> {
        const HARTS: u32 = 4;
        let guest = self.riscv_guest(KERNEL, HARTS, jit)?;
        self.in_linux(&format!("{}-{HARTS}", prefix(jit)), guest, |dialogue| {
            dialogue.shell(GET_TOOL)?;
            let alone = cost(dialogue, "workload scale 1", "scale 1")?;
            let together = cost(dialogue, &format!("workload scale {HARTS}"), &format!("scale {HARTS}"))?;
            Ok(vec![value(jit, "scale", (together / alone - 1.0) * 100.0)])
        })
    }

    /// Linux' boot with translations that were recorded in a boot before.
    pub fn riscv_aot(&self) -> Result<Vec<Value>> {
        let guest = self.riscv_guest(KERNEL, 1, Jit::On)?;
        let recorder = Recorder {
            paths: self.paths,
            qemu: &self.qemu,
            firmware: &self.firmware,
            until: PROMPT,
            input: &[],
            patience: PATIENCE,
        };
        let store = recorder.record(&Machine { icount: false, ..Self::machine(1) }, guest.clone().into())?;
        let file = self.paths.cache.join("bench.translations");
        fs::write(&file, store).with_context(|| format!("cannot write {}", file.display()))?;
        self.in_linux("aot", Guest { translations: Some(file), ..guest }, |dialogue| {
            let values = vec![("jit-aot".to_owned(), in_monitor(dialogue, boot)?)];
            dialogue.detach()?;
            note(format!("jit: {}", dialogue.ask(&format!("jit {KERNEL}"))?));
            Ok(values)
        })
    }

    /// Boots Linux, each hart with a CPU, and has `measure` talk to its shell.
    fn in_linux(
        &self,
        name: &str,
        guest: Guest,
        measure: impl FnOnce(&mut Dialogue) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let harts = guest.vcpus;
        let progress = Progress::start(format!(
            "measuring: Linux on RISC-V, JIT {}, harts: {harts}",
            jit_name(guest.jit)
        ));
        let boot = self.hosted(vec![guest])?;
        let command = self.qemu.command(&Self::machine(harts), &boot, Monitor::None)?;
        let log = self.paths.cache_dir("test-logs")?.join(format!("bench-{name}.log"));
        let mut console = Console::start(command, Input::Scripted, &log, false)?;
        let mut dialogue = Dialogue::new(&mut console);
        let values = dialogue.expect_within(PROMPT, PATIENCE).and_then(|_| measure(&mut dialogue));
        console.stop()?;
        progress.done();
        values
    }

    fn riscv_guest(&self, name: &str, vcpus: u32, jit: Jit) -> Result<Guest> {
        let (arch, mut boot) = named(self.paths, &self.guests, name)?;
        if arch != Arch::Riscv64 {
            bail!("{name} is no guest for RISC-V");
        }
        let GuestBoot::Kernel { initrd, append, .. } = &mut boot else { bail!("{name} is no kernel") };
        let is_linux = initrd.is_some();
        if is_linux {
            APPEND.clone_into(append);
        }
        let mut guest = Guest { arch, jit, ..Guest::new(name, vcpus, LINUX_MEMORY, boot) };
        if is_linux {
            let image = Some(tool::build(self.paths, "workload")?);
            let name = "tool".to_owned();
            guest.devices = vec![Device::Memory(MemoryDisk {
                name,
                image,
                size: None,
                read_only: true,
                queues: 1,
                plugged: true,
            })];
        } else {
            guest.bios = GuestBios::None;
        }
        Ok(guest)
    }
}

/// The time for which Linux has run up to its prompt, of which a nanosecond is an instruction, by the number of
/// instructions that it has executed.
fn boot(dialogue: &mut Dialogue) -> Result<f64> {
    // Nothing is counted between the two questions.
    dialogue.ask(&format!("pause {KERNEL}"))?;
    let registers = dialogue.ask(&format!("regs {KERNEL}"))?;
    let statistics = dialogue.ask(&format!("stats {KERNEL}"))?;
    let executed = registers["system"]["instret"].as_str().and_then(|text| text.strip_prefix("0x"));
    let executed = u64::from_str_radix(executed.context("`regs` shows no instret")?, 16)?;
    let microseconds = statistics["vcpus"][0]["run"].as_f64().context("`stats` shows no time")?;
    dialogue.ask(&format!("resume {KERNEL}"))?;
    Ok(microseconds * 1000.0 / executed as f64)
}

/// What it has cost to translate an instruction of the guest's. What else the translator counts is shown.
fn translation(dialogue: &mut Dialogue) -> Result<f64> {
    let statistics = dialogue.ask(&format!("jit {KERNEL}"))?;
    note(format!("jit: {statistics}"));
    let counter =
        |name: &str| statistics["jit"][name].as_f64().with_context(|| format!("`jit` shows no {name}"));
    Ok(counter("translating")? * 1000.0 / counter("block_instructions")?)
}

/// Asks the monitor while the guest's console is left alone.
fn in_monitor(dialogue: &mut Dialogue, ask: fn(&mut Dialogue) -> Result<f64>) -> Result<f64> {
    dialogue.detach()?;
    let answer = ask(dialogue)?;
    dialogue.attach(KERNEL)?;
    Ok(answer)
}

/// What an instruction of the guest's costs while the tool does `what`.
fn cost(dialogue: &mut Dialogue, command: &str, what: &str) -> Result<f64> {
    let text = dialogue.shell_within(command, PATIENCE)?;
    let figures = Regex::new(&format!(r"workload: {what}: ok, (\d+) instructions, (\d+) ticks"))?;
    let found = figures.captures(&text).with_context(|| format!("`{command}` gives no figures: {text}"))?;
    let number = |index: usize| found[index].parse::<f64>();
    let (instructions, ticks) = (number(1)?, number(2)?);
    Ok(ticks / instructions)
}
