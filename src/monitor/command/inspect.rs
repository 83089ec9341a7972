//! Commands that look at something.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Failure, Outcome, device, resolve};
use crate::monitor::dts;
use crate::monitor::report::value::arch_word;
use crate::monitor::report::{Column, Report, Table, Value};
use crate::vm::lifecycle::State;
use crate::vm::operator::{Activity, CpuStatus, Operator, VcpuStatus, VmStatus};
use crate::vm::vcpu::{ExitCounters, Regs};

/// Exits that `trace` shows where no number is given, and at most.
const EXITS: usize = 20;
const MAX_EXITS: u64 = 100_000;
/// Bytes that `mem` shows where no length is given, and at most.
const BYTES: u64 = 128;
const MAX_BYTES: u64 = 4096;

type Answer = Result<Outcome, Failure>;

fn answer(report: Report) -> Answer {
    Ok(Outcome::Report(report))
}

pub fn list(operator: &dyn Operator, _: &[&str]) -> Answer {
    const COLUMNS: &[Column; 12] = &[
        Column::new("number", "#"),
        Column::new("name", "NAME"),
        Column::new("state", "STATE"),
        Column::new("arch", "ARCH"),
        Column::new("vcpus", "VCPUS"),
        Column::json("dedicated"),
        Column::new("memory", "MEMORY"),
        Column::json("populated"),
        Column::new("weight", "WEIGHT"),
        Column::new("uptime", "UPTIME"),
        Column::new("restarts", "RESTARTS"),
        Column::json("reason"),
    ];
    let vms = operator.vms();
    let row = |(number, vm): (usize, &VmStatus)| {
        [
            Value::Count(number as u64),
            Value::Name(vm.name.clone(), vm.colour),
            Value::State(vm.state),
            Value::text(arch_word(vm.arch)),
            Value::Count(vm.vcpus.into()),
            Value::Flag(vm.dedicated),
            Value::Bytes(vm.memory),
            Value::Bytes(vm.populated),
            Value::Count(vm.weight.into()),
            if vm.uptime == 0 { Value::Absent } else { Value::Time(vm.uptime) },
            Value::Count(vm.restarts.into()),
            vm.reason.clone().map_or(Value::Absent, Value::text),
        ]
    };
    // Reasons are sentences: below the table they have room.
    let reasons = vms.iter().filter_map(|vm| Some(format!("{}: {}\n", vm.name, vm.reason.as_ref()?)));
    let reasons: String = reasons.collect();
    let table = Report::Table(Table::new(COLUMNS, vms.iter().enumerate().map(row)));
    answer(Report::Sections(alloc::vec![("vms", table), ("reasons", Report::Note(reasons))]))
}

/// All exits, whatever the cause.
pub fn total(exits: &ExitCounters) -> u64 {
    causes(exits).iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Exits by cause, in the order of the columns of `stats`.
fn causes(exits: &ExitCounters) -> [u64; 8] {
    let ExitCounters { calls, mmio, sysreg, interrupts, waits, faults, unclaimed, undefined } = *exits;
    [calls, mmio, sysreg, interrupts, waits, faults, unclaimed, undefined]
}

fn sum(vcpus: &[VcpuStatus], of: impl Fn(&VcpuStatus) -> u64) -> u64 {
    vcpus.iter().map(of).fold(0, u64::saturating_add)
}

pub fn stats(operator: &dyn Operator, words: &[&str]) -> Answer {
    let all = operator.vms();
    if words.is_empty() {
        return answer(Report::Table(overview(operator, &all)));
    }
    let mut sections = Vec::new();
    for vm in resolve::vms(operator, words)? {
        if let Some(status) = all.get(vm) {
            sections.extend(details(status, &operator.vcpus(vm)));
            let devices =
                [("disks", device::disks(operator, &[vm])), ("nets", device::nets(operator, &[vm]))];
            let present = devices.into_iter().filter(|(_, table)| !table.is_empty());
            sections.extend(present.map(|(name, table)| (name, Report::Table(table))));
        }
    }
    answer(Report::Sections(sections))
}

fn overview(operator: &dyn Operator, vms: &[VmStatus]) -> Table {
    const COLUMNS: &[Column; 8] = &[
        Column::new("name", "NAME"),
        Column::new("state", "STATE"),
        Column::new("run", "RUN"),
        Column::new("steal", "STEAL"),
        Column::new("idle", "IDLE"),
        Column::new("exits", "EXITS"),
        Column::new("populated", "USED"),
        Column::new("memory", "OF"),
    ];
    let row = |(vm, status): (usize, &VmStatus)| {
        let vcpus = operator.vcpus(vm);
        [
            Value::Name(status.name.clone(), status.colour),
            Value::State(status.state),
            Value::Time(sum(&vcpus, |vcpu| vcpu.run)),
            Value::Time(sum(&vcpus, |vcpu| vcpu.steal)),
            Value::Time(sum(&vcpus, |vcpu| vcpu.idle)),
            Value::Count(sum(&vcpus, |vcpu| total(&vcpu.exits))),
            Value::Bytes(status.populated),
            Value::Bytes(status.memory),
        ]
    };
    Table::new(COLUMNS, vms.iter().enumerate().map(row))
}

fn details(vm: &VmStatus, vcpus: &[VcpuStatus]) -> [(&'static str, Report); 3] {
    const TIMES: &[Column; 7] = &[
        Column::new("vcpu", "VCPU"),
        Column::new("activity", "ACTIVITY"),
        Column::new("run", "RUN"),
        Column::new("steal", "STEAL"),
        Column::new("idle", "IDLE"),
        Column::new("injected", "INJECTED"),
        Column::new("migrations", "MOVED"),
    ];
    const CAUSES: &[Column; 9] = &[
        Column::new("vcpu", "VCPU"),
        Column::new("calls", "CALLS"),
        Column::new("mmio", "MMIO"),
        Column::new("sysreg", "SYSREG"),
        Column::new("interrupts", "IRQS"),
        Column::new("waits", "WAITS"),
        Column::new("faults", "FAULTS"),
        Column::new("unclaimed", "UNCLAIMED"),
        Column::new("undefined", "UNDEF"),
    ];
    let fields = alloc::vec![
        ("name", Value::Name(vm.name.clone(), vm.colour)),
        ("state", Value::State(vm.state)),
        ("uptime", Value::Time(vm.uptime)),
        ("memory", Value::Bytes(vm.memory)),
        ("memory_used", Value::Bytes(vm.populated)),
        ("exits", Value::Count(sum(vcpus, |vcpu| total(&vcpu.exits)))),
    ];
    let times = vcpus.iter().enumerate().map(|(index, vcpu)| {
        [
            Value::Count(index as u64),
            Value::text(activity(vcpu.activity)),
            Value::Time(vcpu.run),
            Value::Time(vcpu.steal),
            Value::Time(vcpu.idle),
            Value::Count(vcpu.injected),
            Value::Count(vcpu.migrations),
        ]
    });
    let causes = vcpus.iter().enumerate().map(|(index, vcpu)| {
        let [calls, mmio, sysreg, interrupts, waits, faults, unclaimed, undefined] =
            causes(&vcpu.exits).map(Value::Count);
        let index = Value::Count(index as u64);
        [index, calls, mmio, sysreg, interrupts, waits, faults, unclaimed, undefined]
    });
    [
        ("vm", Report::Fields(fields)),
        ("vcpus", Report::Table(Table::new(TIMES, times))),
        ("exits", Report::Table(Table::new(CAUSES, causes))),
    ]
}

/// What a vCPU is doing, in words.
pub fn activity(activity: Activity) -> String {
    match activity {
        Activity::Running(cpu) => format!("runs on CPU {cpu}"),
        Activity::Waiting(cpu) => format!("waits for CPU {cpu}"),
        Activity::Blocked => "idle".into(),
        Activity::Off => "off".into(),
        Activity::Halted => "halted".into(),
    }
}

pub fn sched(operator: &dyn Operator, _: &[&str]) -> Answer {
    const COLUMNS: &[Column; 7] = &[
        Column::new("cpu", "CPU"),
        Column::new("affinity", "AFFINITY"),
        Column::new("busy", "BUSY"),
        Column::new("switches", "SWITCHES"),
        Column::new("dedicated", "DEDICATED"),
        Column::new("running", "RUNNING"),
        Column::new("waiting", "WAITING"),
    ];
    let vcpu = |(vm, index): &(String, usize)| format!("{vm}.{index}");
    let row = |cpu: &CpuStatus| {
        let waiting: Vec<String> = cpu.waiting.iter().map(vcpu).collect();
        [
            Value::Count(cpu.index as u64),
            Value::Hex(cpu.affinity),
            Value::share(cpu.up.saturating_sub(cpu.idle), cpu.up),
            Value::Count(cpu.switches),
            Value::Flag(cpu.dedicated),
            cpu.running.as_ref().map_or(Value::Absent, |running| Value::text(vcpu(running))),
            if waiting.is_empty() { Value::Absent } else { Value::text(waiting.join(" ")) },
        ]
    };
    answer(Report::Table(Table::new(COLUMNS, operator.cpus().iter().map(row))))
}

pub fn regs(operator: &dyn Operator, words: &[&str]) -> Answer {
    let (vm, vcpu) = resolve::vcpu(operator, words.first().copied().unwrap_or_default())?;
    let registers = operator.registers(vm, vcpu)?;
    let (x, rest): (&[u64], &[(&str, u64)]) = match &registers.general {
        Regs::Aarch64 { x, sp, pc, pstate } => (x, &[("sp", *sp), ("pc", *pc), ("pstate", *pstate)]),
        Regs::Riscv64 { x, pc, mode } => (x, &[("pc", *pc), ("mode", *mode)]),
    };
    let names = (0..x.len()).map(|number| format!("x{number}"));
    let rest = rest.iter().map(|(name, value)| (name.to_string(), *value));
    let system = registers.system.into_iter().map(|(name, value)| (name.to_string(), value));
    answer(Report::Sections(alloc::vec![
        ("general", Report::Registers(names.zip(x.iter().copied()).chain(rest).collect())),
        ("system", Report::Registers(system.collect())),
    ]))
}

pub fn mem(operator: &dyn Operator, words: &[&str]) -> Answer {
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let (vm, vcpu) = resolve::vcpu(operator, word(0))?;
    let (place, address) = resolve::address(word(1), vcpu)?;
    let length = words.get(2).map_or(Ok(BYTES), |word| resolve::count(word, MAX_BYTES))?;
    if address.checked_add(length - 1).is_none() {
        return Err(Failure(format!("{length} bytes from {address:#x} on exceed the address space")));
    }
    let mut bytes = alloc::vec![0; length as usize];
    operator.read_memory(vm, place, &mut bytes)?;
    answer(Report::Memory { address, bytes })
}

pub fn trace(operator: &dyn Operator, words: &[&str]) -> Answer {
    const COLUMNS: &[Column; 3] =
        &[Column::new("time", "TIME"), Column::new("pc", "PC"), Column::new("cause", "CAUSE")];
    let (vm, vcpu) = resolve::vcpu(operator, words.first().copied().unwrap_or_default())?;
    let count = words.get(1).map_or(Ok(EXITS), |word| resolve::count(word, MAX_EXITS).map(|n| n as usize))?;
    let exits = operator.trace(vm, vcpu)?;
    let rows = exits
        .iter()
        .skip(exits.len().saturating_sub(count))
        .map(|exit| [Value::Moment(exit.time), Value::Hex(exit.pc), Value::text(exit.cause.clone())]);
    answer(Report::Table(Table::new(COLUMNS, rows)))
}

pub fn tree(operator: &dyn Operator, words: &[&str]) -> Answer {
    let vm = resolve::vm(operator, words.first().copied().unwrap_or_default())?;
    let blob = operator.devicetree(vm)?;
    match dtoolkit::fdt::Fdt::new(&blob) {
        Ok(tree) => answer(Report::Text(dts::source(tree))),
        Err(error) => Err(Failure(format!("the devicetree is damaged: {error}"))),
    }
}

pub fn info(operator: &dyn Operator, _: &[&str]) -> Answer {
    let vms = operator.vms();
    let running = vms.iter().filter(|vm| vm.state == State::Running).count();
    let (free, own) = operator.memory();
    answer(Report::Fields(alloc::vec![
        ("version", Value::text(concat!("Polyvisor ", env!("CARGO_PKG_VERSION")))),
        ("machine", Value::text(operator.machine())),
        ("uptime", Value::Time(operator.now())),
        ("cpus", Value::Count(operator.cpus().len() as u64)),
        ("memory_free", Value::Bytes(free)),
        ("memory_of_polyvisor", Value::Bytes(own)),
        ("vms", Value::Count(vms.len() as u64)),
        ("vms_running", Value::Count(running as u64)),
    ]))
}
