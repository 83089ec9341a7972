//! The `[machine]` table.

use std::{path::Path, str::FromStr};

use polyvisor::vm::bundle::WhenAllOff;
use toml::de::DeValue;

use super::{
    Hardware,
    cpus::CpuSet,
    table::{Table, number, one_of, word},
};
use crate::{
    peripherals::{Drive, Nic},
    size::Size,
};

const WHEN_ALL_OFF: [(&str, WhenAllOff); 2] =
    [("poweroff", WhenAllOff::PowerOff), ("stay", WhenAllOff::Stay)];

/// Most CPUs that a machine may have: one bit each in a set.
const MAX_CPUS: u32 = CpuSet::BITS;

/// Reads the machine that the VMs are for; paths start at `folder`.
pub fn read(mut table: Table, folder: &Path) -> (Hardware, WhenAllOff) {
    let cpus = table.read("cpus", format_args!("1 to {MAX_CPUS}"), |value| {
        number(value).filter(|cpus| (1..=MAX_CPUS).contains(cpus))
    });
    let memory = table.read("memory", "a size such as \"2G\"", |value| value.as_str()?.parse::<Size>().ok());
    let disks =
        table.read("disks", "a list of files, such as [\"disk.img\", \"other.img,pci\"]", list::<Drive>);
    let nics = table.read("net", "\"user\" or \"user,pci\", or a list of these", |value| match value {
        DeValue::String(network) => Some(vec![network.parse::<Nic>().ok()?]),
        _ => list(value),
    });
    let when_all_off = table.read("when-all-off", one_of(&WHEN_ALL_OFF), |value| word(value, &WHEN_ALL_OFF));
    table.finish();
    let disks = disks.unwrap_or_default().into_iter().map(|disk| disk.under(folder)).collect();
    let hardware = Hardware { cpus, memory, disks, nics: nics.unwrap_or_default() };
    (hardware, when_all_off.unwrap_or_default())
}

fn list<T: FromStr>(value: &DeValue) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str()?.parse().ok()).collect()
}
