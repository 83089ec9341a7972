//! The manifest: a TOML file that describes the machine's VMs. `docs/manifest.md` is its reference.
//!
//! It is read as a tree of values that know where they stand, not into types directly: so all of its
//! mistakes are found at once, and each is shown where it was made.

mod boot;
mod cpus;
mod device;
mod disk;
mod machine;
mod mistakes;
mod net;
mod table;
#[cfg(test)]
mod tests;
mod vm;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use polyvisor::vm::bundle::{Arch, MAX_SWITCHES, MAX_VMS, SwitchSpec};
use toml::de::DeTable;

use self::{
    cpus::{CpuSet, Owners},
    mistakes::Mistakes,
    table::Table,
    vm::Vm,
};
use crate::{
    bundle::{Contents, GuestBoot},
    peripherals::{Drive, Nic},
    size::Size,
};

/// What is known of the machine that the VMs are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardware {
    /// How many CPUs.
    pub cpus: Option<u32>,
    /// RAM.
    pub memory: Option<Size>,
    /// Disks.
    pub disks: Vec<Drive>,
    /// Network cards.
    pub nics: Vec<Nic>,
}

impl Hardware {
    /// What this does not say is as in `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.or(other.cpus),
            memory: self.memory.or(other.memory),
            disks: if self.disks.is_empty() { other.disks } else { self.disks },
            nics: if self.nics.is_empty() { other.nics } else { self.nics },
        }
    }
}

/// What a manifest is read for.
pub struct Environment<'a> {
    /// Where its paths start.
    pub folder: &'a Path,
    /// Finds what the guest of a name is and boots.
    pub named: &'a dyn Fn(&str) -> Result<(Arch, GuestBoot)>,
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
        named: &dyn Fn(&str) -> Result<(Arch, GuestBoot)>,
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
                let warning = memory_warning(&contents, &hardware);
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
    let switches = table.tables("switch", "tables [[switch]]");
    let vms = table.tables("vm", "tables [[vm]]");
    if table.span("vm").is_none() {
        table.refuse_whole(&format!("no VM, expected 1 to {MAX_VMS} tables [[vm]]"));
    }
    let (wished, when_all_off) = match machine {
        Some(entries) => machine::read(table.nested(entries, 0..0), environment.folder),
        None => Default::default(),
    };
    let hardware = environment.fixed.clone().or(wished).or(environment.usual.clone());
    for (tables, limit, what) in [(&vms, MAX_VMS, "VMs"), (&switches, MAX_SWITCHES, "switches")] {
        if let Some((entries, span)) = tables.get(limit) {
            let why = format!("found {} {what}, expected at most {limit}", tables.len());
            table.nested(entries, span.clone()).refuse_whole(&why);
        }
    }
    let (mut names, mut uplinks) = (Vec::new(), Vec::new());
    let switches: Vec<SwitchSpec> = switches
        .into_iter()
        .filter_map(|(entries, span)| {
            let inner = table.nested(entries, span);
            let [name, uplink] = ["name", "uplink"].map(|key| inner.span(key));
            let switch = net::switch(inner)?;
            names.extend(name.map(|span| (switch.name.clone(), span)));
            uplinks.extend(switch.uplink.clone().zip(uplink));
            Some(switch)
        })
        .collect();
    let vms: Vec<Vm> = vms
        .into_iter()
        .enumerate()
        .map(|(position, (entries, span))| {
            vm::read(table.nested(entries, span.clone()), span, position, environment, &switches)
        })
        .collect();
    table.finish();
    mistakes.check_unique("name", &names);
    mistakes.check_unique("uplink", &uplinks);
    check_identities(&vms, mistakes);
    check_placement(&vms, hardware.cpus, mistakes);
    let guests = vms.into_iter().filter_map(|vm| vm.guest).collect();
    (Contents { guests, switches, when_all_off }, hardware)
}

/// Whether each VM and device is the only one that is called so.
fn check_identities(vms: &[Vm], mistakes: &mut Mistakes) {
    mistakes.check_unique("name", vms.iter().filter_map(|vm| vm.name.as_ref()));
    for vm in vms {
        mistakes.check_unique("name", &vm.devices.disks);
    }
    let macs: Vec<_> = vms
        .iter()
        .flat_map(|vm| vm.devices.macs.iter().map(|(mac, span)| (mac.to_string(), span.clone())))
        .collect();
    mistakes.check_unique("mac", &macs);
    mistakes.check_unique("vsock", vms.iter().filter_map(|vm| vm.devices.cid.as_ref()));
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
fn memory_warning(contents: &Contents, hardware: &Hardware) -> Option<String> {
    let machine = hardware.memory?;
    let mib: u64 =
        contents.guests.iter().filter(|guest| guest.autostart).map(|guest| guest.memory.bytes() >> 20).sum();
    let asked = Size::mib(mib);
    (asked >= machine).then(|| {
        format!("the VMs that start with the machine have {asked} of RAM, the machine itself has {machine}")
    })
}
