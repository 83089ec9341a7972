//! `top`: CPU use of VMs and vCPUs over the last second.

use alloc::vec::Vec;

use super::command::{activity, total_exits};
use super::report::{Column, Report, Table, Value};
use crate::vm::bundle::Colour;
use crate::vm::operator::{CpuStatus, Operator, VcpuStatus, VmStatus};

/// Time between two refreshes, in microseconds.
pub const PERIOD: u64 = 1_000_000;
/// Rows that a screen has room for.
const ROWS: usize = 19;

const COLUMNS: &[Column; 7] = &[
    Column::new("name", "NAME"),
    Column::new("vcpu", "VCPU"),
    Column::new("doing", "DOING"),
    Column::new("cpu", "CPU"),
    Column::new("steal", "STEAL"),
    Column::new("exits", "EXITS/S"),
    Column::new("used", "USED"),
];

/// The counters at one moment.
pub struct Sample {
    time: u64,
    cpus: Vec<CpuStatus>,
    vms: Vec<(VmStatus, Vec<VcpuStatus>)>,
}

impl Sample {
    /// The counters now.
    pub fn take(operator: &dyn Operator) -> Self {
        let vms = operator.vms().into_iter().enumerate();
        Self {
            time: operator.now(),
            cpus: operator.cpus(),
            vms: vms.map(|(vm, status)| (status, operator.vcpus(vm))).collect(),
        }
    }

    /// The rates between `before` and this one. `for_screen`: only as many rows as a screen has; where not
    /// all vCPUs have room, VMs alone, those that use most first.
    pub fn since(&self, before: &Self, for_screen: bool) -> Report {
        let elapsed = self.time.saturating_sub(before.time);
        let vcpus: usize = self.vms.iter().map(|(_, vcpus)| vcpus.len()).sum();
        let with_vcpus = !for_screen || self.vms.len() + vcpus <= ROWS;
        let mut groups: Vec<(u64, Vec<[Value; 7]>)> = Vec::new();
        for (index, (vm, vcpus)) in self.vms.iter().enumerate() {
            let earlier = before.vms.get(index).map_or(&[][..], |(_, vcpus)| vcpus);
            let rates: Vec<Rates> = vcpus
                .iter()
                .enumerate()
                .map(|(index, vcpu)| Rates::between(earlier.get(index), vcpu))
                .collect();
            let sum = rates.iter().fold(Rates::default(), Rates::plus);
            let state = Value::State(vm.state);
            let mut rows =
                alloc::vec![sum.row(&vm.name, vm.colour, None, state, elapsed, Some(vm.populated))];
            // A single vCPU does what its VM does.
            if with_vcpus && (vcpus.len() > 1 || !for_screen) {
                rows.extend(rates.iter().zip(vcpus).enumerate().map(|(index, (rates, vcpu))| {
                    let doing = Value::text(activity(vcpu.activity));
                    rates.row(&vm.name, vm.colour, Some(index), doing, elapsed, None)
                }));
            }
            let place = match with_vcpus {
                true => groups.len(),
                false => groups.partition_point(|(run, _)| *run >= sum.run),
            };
            groups.insert(place, (sum.run, rows));
        }
        let rows = groups.into_iter().flat_map(|(_, rows)| rows);
        let rows = rows.take(if for_screen { ROWS } else { usize::MAX });
        Report::Sections(alloc::vec![
            ("machine", self.machine(before, elapsed)),
            ("vms", Report::Table(Table::new(COLUMNS, rows))),
        ])
    }

    fn machine(&self, before: &Self, elapsed: u64) -> Report {
        let idle: u64 = self
            .cpus
            .iter()
            .zip(&before.cpus)
            .map(|(now, before)| now.idle.saturating_sub(before.idle))
            .fold(0, u64::saturating_add);
        let all = elapsed.saturating_mul(self.cpus.len() as u64);
        Report::Fields(alloc::vec![
            ("uptime", Value::Time(self.time)),
            ("cpus", Value::Count(self.cpus.len() as u64)),
            ("busy", Value::share(all.saturating_sub(idle), all)),
        ])
    }
}

/// What a vCPU, or all of a VM, did between two samples. Counters that have gone back have begun anew.
#[derive(Default, Clone, Copy)]
struct Rates {
    run: u64,
    steal: u64,
    exits: u64,
}

impl Rates {
    fn between(before: Option<&VcpuStatus>, now: &VcpuStatus) -> Self {
        let grown = |of: &dyn Fn(&VcpuStatus) -> u64| {
            let now = of(now);
            now.checked_sub(before.map_or(0, of)).unwrap_or(now)
        };
        Self {
            run: grown(&|vcpu| vcpu.run),
            steal: grown(&|vcpu| vcpu.steal),
            exits: grown(&|vcpu| total_exits(&vcpu.exits)),
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            run: self.run.saturating_add(other.run),
            steal: self.steal.saturating_add(other.steal),
            exits: self.exits.saturating_add(other.exits),
        }
    }

    fn row(
        &self,
        vm: &str,
        colour: Colour,
        vcpu: Option<usize>,
        doing: Value,
        elapsed: u64,
        used: Option<u64>,
    ) -> [Value; 7] {
        let per_second = (u128::from(self.exits) * 1_000_000).checked_div(elapsed.into()).unwrap_or(0);
        [
            Value::Name(vm.into(), colour),
            vcpu.map_or(Value::Absent, |index| Value::Count(index as u64)),
            doing,
            Value::share(self.run, elapsed),
            Value::share(self.steal, elapsed),
            Value::Count(u64::try_from(per_second).unwrap_or(u64::MAX)),
            used.map_or(Value::Absent, Value::Bytes),
        ]
    }
}
