//! The manifest: a TOML file that describes the machine's VMs. `docs/manifest.md` is its reference.
//!
//! It is read as a tree of values that know where they stand, not into types directly: so all of its
//! mistakes are found at once, and each is shown where it was made.

mod cpus;
mod mistakes;
mod table;
#[cfg(test)]
mod tests;
mod vm;

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use polyvisor::vm::bundle::{MAX_VMS, WhenAllOff};
use toml::de::DeTable;

use self::{
    cpus::{CpuSet, Owners},
    mistakes::Mistakes,
    table::{Table, number, one_of, word},
    vm::Vm,
};
use crate::{
    bundle::{Contents, GuestBoot},
    size::Size,
};

const WHEN_ALL_OFF: [(&str, WhenAllOff); 2] =
    [("poweroff", WhenAllOff::PowerOff), ("stay", WhenAllOff::Stay)];

/// Most CPUs that a machine may have: one bit each in a set.
const MAX_CPUS: u32 = CpuSet::BITS;

/// What is known of the machine that the VMs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hardware {
    /// How many CPUs.
    pub cpus: Option<u32>,
    /// RAM.
    pub memory: Option<Size>,
}

impl Hardware {
    /// What this does not say is as in `other`.
    pub fn or(self, other: Self) -> Self {
        Self { cpus: self.cpus.or(other.cpus), memory: self.memory.or(other.memory) }
    }
}

/// What a manifest is read for.
pub struct Environment<'a> {
    /// Where its paths start.
    pub folder: &'a Path,
    /// Finds what the guest of a name boots.
    pub named: &'a dyn Fn(&str) -> Result<GuestBoot>,
    /// What the machine is, whatever the manifest asks for.
    pub fixed: Hardware,
    /// What the machine is unless the manifest asks for something else.
    pub usual: Hardware,
}

/// A manifest without mistakes.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// The VMs.
    pub contents: Contents,
    /// The machine that they are for.
    pub hardware: Hardware,
    /// What the image may have to refuse.
    pub warning: Option<String>,
}

impl Manifest {
    /// Reads the manifest at `path`; `named`, `fixed` and `usual` are those of an [`Environment`].
    ///
    /// # Errors
    /// All mistakes, each as `FILE:LINE:COLUMN: ...` with its line.
    pub fn load(
        path: &Path,
        named: &dyn Fn(&str) -> Result<GuestBoot>,
        fixed: Hardware,
        usual: Hardware,
    ) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), &Environment { folder, named, fixed, usual })
    }

    /// Reads a manifest that is called `file`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, file: &str, environment: &Environment) -> Result<Self> {
        let mut mistakes = Mistakes::new(text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            mistakes.add(error.span().unwrap_or(0..0), error.message());
        }
        // What is left of a broken tree would be blamed for what the text does say.
        let read = errors.is_empty().then(|| document(tree.get_ref(), environment, &mut mistakes));
        match (read, mistakes.count()) {
            (Some((contents, hardware)), 0) => {
                let warning = memory_warning(&contents, hardware);
                Ok(Self { contents, hardware, warning })
            }
            (_, 1) => bail!("{file} has a mistake\n{}", mistakes.render(file).trim_end()),
            (_, count) => bail!("{file} has {count} mistakes\n{}", mistakes.render(file).trim_end()),
        }
    }
}

fn document(root: &DeTable, environment: &Environment, mistakes: &mut Mistakes) -> (Contents, Hardware) {
    let mut table = Table::new(root, 0..0, mistakes);
    let machine = table.read("machine", "a table [machine]", |value| value.as_table());
    let tables = table.read("vm", "tables [[vm]]", |value| {
        let items = value.as_array()?.iter();
        let tables = items.map(|item| Some((item.get_ref().as_table()?, item.span())));
        tables.collect::<Option<Vec<_>>>().filter(|tables| !tables.is_empty())
    });
    if table.span("vm").is_none() {
        table.refuse_whole(&format!("no VM, expected 1 to {MAX_VMS} tables [[vm]]"));
    }
    table.finish();
    let (wished, when_all_off) = machine.map(|table| self::machine(table, mistakes)).unwrap_or_default();
    let hardware = environment.fixed.or(wished).or(environment.usual);
    let tables = tables.unwrap_or_default();
    if let Some((_, span)) = tables.get(MAX_VMS) {
        mistakes.add(span.clone(), format!("found {} VMs, expected 1 to {MAX_VMS}", tables.len()));
    }
    let vms: Vec<Vm> = tables
        .into_iter()
        .enumerate()
        .map(|(position, (table, span))| vm::read(table, span, position, environment, mistakes))
        .collect();
    check_names(&vms, mistakes);
    check_placement(&vms, hardware.cpus, mistakes);
    let guests = vms.into_iter().filter_map(|vm| vm.guest).collect();
    (Contents { guests, when_all_off }, hardware)
}

/// Reads `[machine]`.
fn machine(entries: &DeTable, mistakes: &mut Mistakes) -> (Hardware, WhenAllOff) {
    let mut table = Table::new(entries, 0..0, mistakes);
    let cpus = table.read("cpus", format_args!("1 to {MAX_CPUS}"), |value| {
        number(value).filter(|cpus| (1..=MAX_CPUS).contains(cpus))
    });
    let memory = table.read("memory", "a size such as \"2G\"", |value| value.as_str()?.parse::<Size>().ok());
    let when_all_off = table.read("when-all-off", one_of(&WHEN_ALL_OFF), |value| word(value, &WHEN_ALL_OFF));
    table.finish();
    (Hardware { cpus, memory }, when_all_off.unwrap_or_default())
}

fn check_names(vms: &[Vm], mistakes: &mut Mistakes) {
    let mut first = HashMap::new();
    for (name, span) in vms.iter().filter_map(|vm| vm.name.as_ref()) {
        match first.get(name) {
            Some(line) => {
                let message =
                    format!("name: found {name:?} again (as in line {line}), expected a name of its own");
                mistakes.add(span.clone(), message);
            }
            None => {
                first.insert(name, mistakes.line(span.start));
            }
        }
    }
}

/// Whether every VM gets CPUs: one that owns its CPUs on a machine of its own, and those that start with the
/// machine also beside each other.
fn check_placement(vms: &[Vm], cpus: Option<u32>, mistakes: &mut Mistakes) {
    let there = cpus.map_or(CpuSet::MAX, cpus::first);
    let machine = cpus.map_or_else(String::new, |cpus| format!(" of the machine's {cpus}"));
    let mut owners = Owners::new();
    for vm in vms {
        let set = vm.scheduling.cpus & there;
        let vcpus = vm.vcpus;
        if set == 0 {
            mistakes.add(vm.placement.clone(), format!("cpus: the VM may use none{machine}"));
        } else if vm.scheduling.dedicated && vcpus > set.count_ones() {
            let why = format!(
                "dedicated: {vcpus} vCPUs are to own a CPU each, the VM may use {}{machine}",
                set.count_ones()
            );
            mistakes.add(vm.placement.clone(), why);
        } else if vm.scheduling.dedicated && vm.autostart {
            let mut with_it = owners.clone();
            if (0..vcpus).all(|_| with_it.take(set)) {
                owners = with_it;
            } else {
                let why = format!(
                    "dedicated: {vcpus} vCPUs are to own a CPU each, the dedicated VMs before leave too few{machine}"
                );
                mistakes.add(vm.placement.clone(), why);
            }
        }
    }
    for vm in vms.iter().filter(|vm| vm.autostart && !vm.scheduling.dedicated) {
        let set = vm.scheduling.cpus & there;
        if set != 0 && !owners.clone().take(set) {
            let why = format!("cpus: dedicated VMs own every CPU that the VM may use{machine}");
            mistakes.add(vm.placement.clone(), why);
        }
    }
}

/// RAM is the image's to give away, and it knows how much there is; but it is better known early.
fn memory_warning(contents: &Contents, hardware: Hardware) -> Option<String> {
    let machine = hardware.memory?;
    let mib: u64 =
        contents.guests.iter().filter(|guest| guest.autostart).map(|guest| guest.memory.bytes() >> 20).sum();
    let asked = Size::mib(mib);
    (asked >= machine).then(|| {
        format!("the VMs that start with the machine have {asked} of RAM, the machine itself has {machine}")
    })
}
