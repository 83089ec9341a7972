//! One `[[vm]]` table.

use std::ops::Range;

use polyvisor::vm::bundle::{
    Arch, Colour, Jit, MAX_BACKOFF, MAX_MEMORY, MAX_NAME, MAX_VCPUS, MAX_WEIGHT, MEMORY_GRANULE, Reaction,
    Scheduling, SwitchSpec, is_name,
};
use toml::de::DeValue;

use super::{
    Environment, boot, cpus,
    device::{self, Devices},
    table::{Table, number, one_of, word},
};
use crate::{
    bundle::{Guest, GuestBoot, JIT},
    options::GUEST_MEMORY,
    size::Size,
};

/// The delay of a restart for which none is given, in milliseconds.
const RESTART_DELAY: u32 = 1000;

const ARCHITECTURES: [(&str, Arch); 2] = [("aarch64", Arch::Aarch64), ("riscv64", Arch::Riscv64)];
/// The colours; VMs that name none take turns.
const COLOURS: [(&str, Colour); 7] = [
    ("green", Colour::Green),
    ("cyan", Colour::Cyan),
    ("yellow", Colour::Yellow),
    ("magenta", Colour::Magenta),
    ("blue", Colour::Blue),
    ("red", Colour::Red),
    ("white", Colour::White),
];
const REACTIONS: [(&str, Reaction); 3] = [
    ("stop", Reaction::Stop),
    ("restart", Reaction::Restart { delay: RESTART_DELAY }),
    ("poweroff", Reaction::PowerOff),
];

/// A VM and where it is described. What is wrong has its usual value, so that the rest can still be checked.
pub struct Vm {
    /// The VM; `None` where its name or what it boots is missing.
    pub guest: Option<Guest>,
    /// Its name, and where it stands.
    pub name: Option<(String, Range<usize>)>,
    /// Where its choice of CPUs stands, or else the table begins.
    pub placement: Range<usize>,
    /// How it gets CPUs.
    pub scheduling: Scheduling,
    /// How many vCPUs.
    pub vcpus: u32,
    /// Whether it starts with the machine.
    pub autostart: bool,
    /// Its devices; the list has gone into the guest.
    pub devices: Devices,
}

/// Reads the VM at `position` in the manifest, whose table begins at `span`, on a machine with `switches`.
pub fn read(
    mut table: Table,
    span: Range<usize>,
    position: usize,
    environment: &Environment,
    switches: &[SwitchSpec],
) -> Vm {
    let name =
        table.read("name", format_args!("1 to {MAX_NAME} letters, digits, \"-\", \"_\" or \".\""), |value| {
            value.as_str().filter(|name| is_name(name)).map(str::to_owned)
        });
    if table.span("name").is_none() {
        table.refuse_whole("a VM without a name, expected name = \"...\"");
    }
    let arch = table.read("arch", one_of(&ARCHITECTURES), |value| word(value, &ARCHITECTURES));
    let vcpus = table
        .read("vcpus", format_args!("1 to {MAX_VCPUS}"), |value| within(number(value), MAX_VCPUS))
        .unwrap_or(1);
    let granule = Size::mib(MEMORY_GRANULE >> 20);
    let limit = Size::mib(MAX_MEMORY >> 20);
    let memory = table
        .read(
            "memory",
            format_args!("a size such as \"512M\" or \"2G\", a multiple of {granule} up to {limit}"),
            |value| {
                value.as_str()?.parse().ok().filter(|size: &Size| {
                    size.bytes().is_multiple_of(MEMORY_GRANULE) && size.bytes() <= MAX_MEMORY
                })
            },
        )
        .unwrap_or(GUEST_MEMORY);
    let (named_arch, boot) = boot::read(&mut table, environment).unzip();
    let bios = boot::bios(&mut table, environment);
    let jit = table.read("jit", one_of(&JIT), |value| word(value, &JIT));
    let translations = boot::file(&mut table, "translations", environment.folder);
    let usual = Scheduling::default();
    let scheduling = Scheduling {
        weight: table
            .read("weight", format_args!("1 to {MAX_WEIGHT}"), |value| within(number(value), MAX_WEIGHT))
            .unwrap_or(usual.weight),
        cpus: table
            .read("cpus", "CPUs from 0 to 63, such as [0, 2] or \"0-3\"", cpus::read)
            .unwrap_or(usual.cpus),
        dedicated: table.flag("dedicated", usual.dedicated),
    };
    let autostart = table.flag("autostart", true);
    let [on_stop, on_crash] =
        ["on-stop", "on-crash"].map(|key| table.read(key, expected_reaction(), reaction).unwrap_or_default());
    let colour = table.read("colour", one_of(&COLOURS), |value| word(value, &COLOURS));
    let known = name.as_deref().unwrap_or_default();
    let mut devices = device::read(&mut table, known, environment.folder, switches);
    if let Some(boot) = &boot {
        let disks: Vec<&str> = devices.disks.iter().map(|(name, _)| name.as_str()).collect();
        boot::check_disks(&mut table, boot, &disks);
    }
    if let (Some(said), Some(Some(named))) = (arch, named_arch)
        && said != named
    {
        table.refuse("arch", "found another architecture than the guest's, expected none or the guest's");
    }
    let arch = arch.or(named_arch.flatten()).unwrap_or(Arch::Aarch64);
    let limits = arch.limits();
    if vcpus > limits.vcpus {
        table.refuse(
            "vcpus",
            format_args!("found {vcpus}, expected at most {} for this architecture", limits.vcpus),
        );
    }
    if memory.bytes() > limits.memory {
        let limit = Size::mib(limits.memory >> 20);
        table
            .refuse("memory", format_args!("found {memory}, expected at most {limit} for this architecture"));
    }
    if devices.list.len() > limits.devices {
        let found = devices.list.len();
        table.refuse_whole(&format!("found {found} devices, expected at most {}", limits.devices));
    }
    let has_kernel = boot.as_ref().is_none_or(|boot| matches!(boot, GuestBoot::Kernel { .. }));
    if bios.is_some() && (arch != Arch::Riscv64 || !has_kernel) {
        table.refuse("bios", "found with what is not a RISC-V kernel, expected only with one");
    }
    if jit.is_some() && arch != Arch::Riscv64 {
        table.refuse("jit", "found with a guest that is not for RISC-V, expected only with one that is");
    }
    let uses_translations = matches!(jit.unwrap_or_default(), Jit::On | Jit::LockStep);
    if table.span("translations").is_some() && (arch != Arch::Riscv64 || !uses_translations) {
        let what = "found with code that is not compiled, or is recorded, expected only with jit = \"on\" or \"lockstep\"";
        table.refuse("translations", what);
    }
    let placement = table.span("cpus").or(table.span("dedicated")).unwrap_or(span);
    let name = name.zip(table.span("name"));
    table.finish();
    let guest = name.as_ref().zip(boot).map(|((name, _), boot)| Guest {
        arch,
        bios: bios.unwrap_or_default(),
        jit: jit.unwrap_or_default(),
        translations,
        scheduling,
        autostart,
        on_stop,
        on_crash,
        colour: colour.unwrap_or(COLOURS[position % COLOURS.len()].1),
        devices: std::mem::take(&mut devices.list),
        ..Guest::new(name, vcpus, memory, boot)
    });
    Vm { guest, name, placement, scheduling, vcpus, autostart, devices }
}

/// `number` if it is from 1 to `limit`.
fn within(number: Option<u32>, limit: u32) -> Option<u32> {
    number.filter(|number| (1..=limit).contains(number))
}

fn expected_reaction() -> String {
    format!(
        "{}, or {{ restart = DELAY }} with a delay from \"1ms\" to \"{}s\"",
        one_of(&REACTIONS),
        MAX_BACKOFF / 1000
    )
}

fn reaction(value: &DeValue) -> Option<Reaction> {
    let Some(table) = value.as_table() else { return word(value, &REACTIONS) };
    let delay = table.get("restart").filter(|_| table.len() == 1)?;
    let delay = within(milliseconds(delay.get_ref().as_str()?), MAX_BACKOFF)?;
    Some(Reaction::Restart { delay })
}

/// The milliseconds of a text such as `500ms` or `2s`.
fn milliseconds(text: &str) -> Option<u32> {
    match text.strip_suffix("ms") {
        Some(number) => number.trim().parse().ok(),
        None => text.strip_suffix('s')?.trim().parse::<u32>().ok()?.checked_mul(1000),
    }
}
