//! `cargo xtask bench`: instruction counts.
//!
//! Under QEMU's `-icount shift=0` an instruction takes one nanosecond of virtual time, and with `-cpu max`
//! the counter runs at 1 GHz: differences of the counter are numbers of instructions. With a fixed random
//! seed every run is the same.

mod riscv;

use std::{
    fs::File,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use polyvisor::net::Mac;
use polyvisor::vm::{
    bundle::{DeviceSpec, DiskSource, DiskSpec, NetSpec, Reaction, Scheduling, SwitchSpec, WhenAllOff},
    fdt::arm64::{self as fdt, MachineSpec},
    machine::{GicVersion, arm64},
};

use crate::{
    bundle::{self, BootFile, Contents, Device, Guest, GuestBoot, MemoryDisk},
    console::{Console, Event, Input},
    firmware::{self, Firmware},
    guests::{self, Guests},
    options::named,
    paths::Paths,
    peripherals::{Drive, Transport},
    process::last_lines,
    progress::Progress,
    qemu::{Boot, EntryLevel, Machine, Monitor, Qemu},
    size::Size,
};

const PATIENCE: Duration = Duration::from_secs(300);
/// How much of a failed run's console is shown.
const SHOWN_LINES: usize = 40;
/// RAM of the Linux that is measured, bare and as a guest.
const LINUX_MEMORY: Size = Size::mib(512);
/// The disk that is measured.
const DISK_SIZE: Size = Size::mib(1);
/// What the payload calls measuring a physical disk.
const PHYSICAL: &str = "physical";
/// RAM of a VM that only sleeps.
const IDLE_MEMORY: Size = Size::mib(16);

/// A figure that the payload or the firmware prints as `bench: NAME VALUE`.
struct Figure {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    /// The largest value that is good enough.
    target: Option<f64>,
}

const fn figure(name: &'static str, what: &'static str, unit: &'static str, target: Option<f64>) -> Figure {
    Figure { name, what, unit, target }
}

const FIGURES: [Figure; 41] = [
    figure("hypercall", "null hypercall, round trip", "instructions", Some(150.0)),
    figure("gicd-read", "GICD_TYPER read", "instructions", Some(220.0)),
    figure("pl011-read", "PL011 flag register read", "instructions", None),
    figure("sgi-self", "SGI to self, send to handled", "instructions", None),
    figure("eoi", "end of interrupt", "instructions", None),
    figure("timer", "virtual timer, due to handled", "instructions", Some(700.0)),
    figure("timer-phys", "physical timer, due to handled", "instructions", None),
    figure("wfi-wake", "timer during WFI, due to handled", "instructions", None),
    figure("ipi", "IPI between vCPUs, send to handled", "instructions", Some(1000.0)),
    figure("vcpu-switch", "vCPU switch, WFI to WFI", "instructions", Some(600.0)),
    figure("vcpu-switch-woken", "vCPU switch by waking the other", "instructions", None),
    figure("block-read", "4 KiB read from a disk in memory", "instructions", Some(2500.0)),
    figure("block-read-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("block-write", "4 KiB written to it", "instructions", Some(2500.0)),
    figure("block-write-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("block-notifications", "notifications by a load on it", PER_LOAD, None),
    figure("block-interrupts", "interrupts by a load on it", PER_LOAD, None),
    figure("physical-read", "4 KiB read from a physical disk", "instructions", Some(2500.0)),
    figure("physical-read-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("physical-write", "4 KiB written to it", "instructions", Some(2500.0)),
    figure("physical-write-many", "the same, 32 at once", "instructions", Some(1200.0)),
    figure("physical-notifications", "notifications by a load on it", PER_LOAD, None),
    figure("physical-interrupts", "interrupts by a load on it", PER_LOAD, None),
    figure("net-frame", "frame of 1514 bytes, VM to VM", "instructions", Some(1500.0)),
    figure("net-frame-many", "the same, 32 at once", "instructions", Some(1500.0)),
    figure("net-large", "frame of 64 KiB, VM to VM", "instructions", None),
    figure("net-notifications", "notifications by a stream of frames", PER_LOAD, None),
    figure("net-interrupts", "interrupts by a stream of frames", PER_LOAD, None),
    figure("fault-in", "first touch of 2 MiB of RAM", "instructions", None),
    figure("boot", "reset to first guest instruction", "instructions", None),
    figure(EL2_MEMORY, "EL2 memory in use", "KiB", None),
    figure(IMAGE_SIZE, "image size", "KiB", Some(512.0)),
    figure(LINUX_OVERHEAD, "Linux boot, more than bare", "%", Some(2.0)),
    figure(LINUX_DEDICATED, "the same on a dedicated CPU", "%", Some(1.0)),
    figure(IDLE_ONE, "Linux boot beside one idle VM, more", "%", Some(0.2)),
    figure(IDLE_SEVEN, "the same beside seven", "%", Some(0.2)),
    figure("riscv-mix", "RISC-V, arithmetic", PER_INSTRUCTION, Some(25.0)),
    figure("riscv-sort", "RISC-V, sorting", PER_INSTRUCTION, Some(25.0)),
    figure("riscv-copy", "RISC-V, copying memory", PER_INSTRUCTION, Some(25.0)),
    figure("riscv-crc", "RISC-V, CRC-32", PER_INSTRUCTION, Some(25.0)),
    figure(riscv::LINUX, "RISC-V, Linux boot", PER_INSTRUCTION, Some(25.0)),
];
/// The unit of what is counted while 32 requests are under way.
const PER_LOAD: &str = "in 1000 requests";
/// The unit of what the translation of an instruction costs.
const PER_INSTRUCTION: &str = "for each of the guest's";
const EL2_MEMORY: &str = "el2-memory";
const IMAGE_SIZE: &str = "image-size";
const LINUX_OVERHEAD: &str = "linux-overhead";
const LINUX_DEDICATED: &str = "linux-dedicated";
const IDLE_ONE: &str = "idle-vm-1";
const IDLE_SEVEN: &str = "idle-vm-7";
/// What the Linux guest's `/init` calls its figure.
const LINUX_BOOT: &str = "linux-boot";

/// Measures and prints the table.
pub fn run(paths: &Paths) -> Result<()> {
    let bench = Bench::new(paths)?;
    let mut values = Vec::new();
    // One CPU, so that nothing runs beside what is measured; one more for who answers an interrupt.
    for (measure, cpus, vcpus) in
        [("exits", 1, 1), ("ipi", 2, 2), ("switch", 1, 2), ("block", 1, 1), (PHYSICAL, 1, 1), ("net", 1, 1)]
    {
        values.extend(bench.payload(measure, cpus, vcpus)?);
    }
    values.extend(bench.riscv_payload()?);
    values.push((riscv::LINUX.to_owned(), bench.riscv_linux()?));
    values.push((IMAGE_SIZE.to_owned(), bench.firmware.size as f64 / 1024.0));

    let more = |time: f64, than: f64| (time / than - 1.0) * 100.0;
    let shared = Scheduling::default();
    let bare = bench.bare_linux()?;
    let guest = bench.guest_linux("as a guest", shared, 0)?;
    let dedicated =
        bench.guest_linux("as a guest with a CPU of its own", Scheduling { dedicated: true, ..shared }, 0)?;
    let beside_one = bench.guest_linux("beside an idle guest", shared, 1)?;
    let beside_seven = bench.guest_linux("beside seven idle guests", shared, 7)?;
    for (name, percentage) in [
        (LINUX_OVERHEAD, more(guest, bare)),
        (LINUX_DEDICATED, more(dedicated, bare)),
        (IDLE_ONE, more(beside_one, guest)),
        (IDLE_SEVEN, more(beside_seven, guest)),
    ] {
        values.push((name.to_owned(), percentage));
    }
    print!("{}", table(&values));
    println!("Linux boot: {:.1} million instructions bare, {:.1} as a guest", bare / 1e6, guest / 1e6);
    Ok(())
}

struct Bench<'a> {
    paths: &'a Paths,
    firmware: Firmware,
    qemu: Qemu,
    guests: Guests<'a>,
}

impl<'a> Bench<'a> {
    fn new(paths: &'a Paths) -> Result<Self> {
        let firmware = firmware::build(paths)?;
        let _lock = paths.lock()?;
        Ok(Self { paths, firmware, qemu: Qemu::setup(paths)?, guests: Guests::new(paths) })
    }

    fn machine(cpus: u32) -> Machine {
        Machine { cpu: "max".to_owned(), cpus, icount: true, ..Machine::virt() }
    }

    /// An empty disk for the machine to have.
    fn medium(&self) -> Result<Drive> {
        let file = self.paths.cache.join("bench.disk");
        File::create(&file)
            .and_then(|medium| medium.set_len(DISK_SIZE.bytes()))
            .with_context(|| format!("cannot make {}", file.display()))?;
        Ok(Drive { file, transport: Transport::Mmio })
    }

    /// Polyvisor with these guests.
    fn hosted(&self, guests: Vec<Guest>) -> Result<Boot> {
        let path = self.paths.cache.join("bench.bundle");
        bundle::write(
            &Contents {
                guests,
                switches: vec![SwitchSpec { name: "lan".to_owned(), uplink: None }],
                when_all_off: WhenAllOff::default(),
            },
            &path,
        )?;
        // Bare, Linux gets no seeds either, and so does not move itself about.
        let append = Some("seeds=off".to_owned());
        Ok(Boot::Linux { kernel: self.firmware.image.clone(), initrd: Some(path), append })
    }

    /// What the payload called `name` boots, with boot arguments.
    fn guest(&self, name: &str, arguments: &str) -> Result<GuestBoot> {
        let (_, mut boot) = named(self.paths, &self.guests, name)?;
        if let GuestBoot::Kernel { append, .. } = &mut boot {
            append.push_str(arguments);
        }
        Ok(boot)
    }

    /// The figures that the payload prints for `measure`, by name.
    fn payload(&self, measure: &str, cpus: u32, vcpus: u32) -> Result<Vec<(String, f64)>> {
        let progress = Progress::start(format!("measuring: {measure}"));
        let boot = self.guest("bench", &format!("measure={measure}"))?;
        let mut guest = Guest::new("bench", vcpus, LINUX_MEMORY, boot);
        guest.devices = vec![disk(measure == PHYSICAL), card(1), card(2)];
        let boot = self.hosted(vec![guest])?;
        let machine = Machine { disks: vec![self.medium()?], ..Self::machine(cpus) };
        let values = self.figures(&machine, &boot, &format!("bench-{measure}.log"))?;
        progress.done();
        Ok(values)
    }

    fn bare_linux(&self) -> Result<f64> {
        let progress = Progress::start("booting Linux bare");
        let GuestBoot::Kernel { kernel, initrd, append } = self.linux()? else {
            bail!("Linux is no firmware")
        };
        // The machine that the guest gets: same RAM, and the same devices in the devicetree.
        let devicetree = self.paths.cache.join("bench.dtb");
        std::fs::write(&devicetree, guest_devicetree()?)?;
        let machine = Machine {
            entry: EntryLevel::El1,
            memory: LINUX_MEMORY,
            devicetree: Some(devicetree),
            ..Self::machine(1)
        };
        let initrd = initrd.map(BootFile::local).transpose()?;
        let boot = Boot::Linux { kernel: kernel.local()?, initrd, append: Some(append) };
        let time = self.linux_boot(&machine, &boot, "bench-linux-bare.log")?;
        progress.done();
        Ok(time)
    }

    /// Linux on one CPU, scheduled like that, beside so many VMs that do nothing.
    fn guest_linux(&self, how: &str, scheduling: Scheduling, idle: usize) -> Result<f64> {
        let progress = Progress::start(format!("booting Linux {how}"));
        // Those start first, so that Linux' clock does not see them start.
        let sleeper = self.guest("work", "mode=idle")?;
        let mut guests: Vec<Guest> = (1..=idle)
            .map(|number| Guest::new(format!("idle-{number}"), 1, IDLE_MEMORY, sleeper.clone()))
            .collect();
        guests.push(Guest {
            scheduling,
            on_stop: Reaction::PowerOff,
            ..Guest::new("linux", 1, LINUX_MEMORY, self.linux()?)
        });
        let boot = self.hosted(guests)?;
        let log = format!("bench-linux-{}.log", how.replace(' ', "-"));
        let time = self.linux_boot(&Self::machine(1), &boot, &log)?;
        progress.done();
        Ok(time)
    }

    fn linux(&self) -> Result<GuestBoot> {
        self.guest(guests::DEFAULT_KERNEL, " measure")
    }

    /// Instructions from the start of the kernel's clock until it has nothing left to do, as its own
    /// accounting of idle time has it: the same way bare and as a guest.
    fn linux_boot(&self, machine: &Machine, boot: &Boot, log: &str) -> Result<f64> {
        let figures = self.figures(machine, boot, log)?;
        let value = figures.iter().find(|(name, _)| name == LINUX_BOOT).map(|(_, value)| *value);
        value.with_context(|| format!("Linux printed no figure {LINUX_BOOT}"))
    }

    /// Runs the machine until it is off, and returns what it printed as figures.
    fn figures(&self, machine: &Machine, boot: &Boot, log: &str) -> Result<Vec<(String, f64)>> {
        let command = self.qemu.command(machine, boot, Monitor::None)?;
        let log = self.paths.cache_dir("test-logs")?.join(log);
        let mut console = Console::start(command, Input::Scripted, &log, false)?;
        let event = console.wait(None, Some(Instant::now() + PATIENCE))?;
        console.stop()?;
        let text = console.transcript();
        if !matches!(event, Event::Exit(status) if status.success()) {
            bail!("the machine did not end by itself ({event:?}):\n{}", last_lines(&text, SHOWN_LINES));
        }
        Ok(text.lines().filter_map(parse).collect())
    }
}

/// The disk that the payload measures: the machine's, or one in memory.
fn disk(physical: bool) -> Device {
    let (name, read_only, queues, plugged) = ("disk".to_owned(), false, 1, true);
    if physical {
        let source = DiskSource::Physical { disk: "disk0".to_owned(), partition: None };
        return Device::Plain(DeviceSpec::Disk(DiskSpec { name, source, read_only, queues, plugged }));
    }
    Device::Memory(MemoryDisk { name, image: None, size: Some(DISK_SIZE), read_only, queues, plugged })
}

/// A network card on the switch.
fn card(number: u8) -> Device {
    Device::Plain(DeviceSpec::Net(NetSpec {
        switch: 0,
        mac: Mac([2, 0, 0, 0, 0, number]),
        vlan: None,
        rate: None,
        guard: None,
        queues: 1,
        mtu: 1500,
        plugged: true,
    }))
}

/// The devicetree of a guest with one vCPU; QEMU's boot loader adds the command line and the initrd.
fn guest_devicetree() -> Result<Vec<u8>> {
    let spec = MachineSpec {
        gic: GicVersion::V3,
        vcpus: &[0],
        cpu_compatible: None,
        bootargs: "",
        virtio_slots: arm64::MMIO_TRANSPORTS,
        seed: None,
    };
    let start = arm64::MEM.base;
    let end = start.checked_add(LINUX_MEMORY.bytes()).context("the guest's RAM wraps")?;
    fdt::build(&spec, &[start..end], None).map_err(|error| anyhow!("{error}"))
}

/// Name and value of a line `bench: NAME VALUE`, or of what Polyvisor logs about its memory.
fn parse(line: &str) -> Option<(String, f64)> {
    if let Some((_, memory)) = line.split_once("polyvisor: EL2 uses ") {
        return Some((EL2_MEMORY.to_owned(), memory.split_whitespace().next()?.parse().ok()?));
    }
    let mut words = line.split_once("bench: ")?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn table(values: &[(String, f64)]) -> String {
    let mut text = format!("{:<36} {:>14} {:>14}  unit\n", "what", "measured", "target");
    for figure in &FIGURES {
        let value = values.iter().find(|(name, _)| name == figure.name).map(|(_, value)| *value);
        let precision = match figure.unit {
            "%" => 2,
            PER_INSTRUCTION => 1,
            _ => 0,
        };
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.precision$}"));
        let verdict = match (value, figure.target) {
            (Some(value), Some(target)) if value > target => {
                format!("  missed by {:.precision$}", value - target)
            }
            (None, _) => "  not reported".to_owned(),
            _ => String::new(),
        };
        let target = figure.target.map_or("-".to_owned(), |_| format!("<= {}", number(figure.target)));
        text.push_str(&format!(
            "{:<36} {:>14} {:>14}  {}{verdict}\n",
            figure.what,
            number(value),
            target,
            figure.unit
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_judged() {
        let console = "boot\r\nbench: hypercall 171\r\n[vm0] bench: gicd-read 200.5\r\nbench: broken\r\n\
             [    0.1] polyvisor: EL2 uses 812 KiB of RAM, 7 KiB are free\r\n";
        let values: Vec<_> = console.lines().filter_map(parse).collect();
        assert_eq!(
            values,
            [
                ("hypercall".to_owned(), 171.0),
                ("gicd-read".to_owned(), 200.5),
                (EL2_MEMORY.to_owned(), 812.0)
            ]
        );
        let table = table(&values);
        let row = |what: &str| table.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
        assert!(row("null hypercall").ends_with("missed by 21"));
        assert!(row("GICD_TYPER").ends_with("instructions"));
        assert!(row("image size").ends_with("not reported"));
    }
}
