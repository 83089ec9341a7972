//! `cargo xtask bench`: instruction counts.
//!
//! Under QEMU's `-icount shift=0` an instruction takes one nanosecond of virtual time, and with `-cpu max`
//! the counter runs at 1 GHz: differences of the counter are numbers of instructions. With a fixed random
//! seed every run is the same.

mod figures;
mod riscv;

use std::{
    fs::File,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use figures::{
    IDLE_ONE, IDLE_SEVEN, IMAGE_SIZE, LINUX_BOOT, LINUX_DEDICATED, LINUX_OVERHEAD, Value, parse, table,
};
use polyvisor::net::Mac;
use polyvisor::vm::{
    bundle::{DeviceSpec, DiskSource, DiskSpec, Jit, NetSpec, Reaction, Scheduling, SwitchSpec, WhenAllOff},
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
    progress::{Progress, note},
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

/// What is measured together.
struct Group {
    name: &'static str,
    measure: fn(&Bench) -> Result<Vec<Value>>,
    /// Only where it is asked for by name.
    on_demand: bool,
}

const fn always(name: &'static str, measure: fn(&Bench) -> Result<Vec<Value>>) -> Group {
    Group { name, measure, on_demand: false }
}

const fn on_demand(name: &'static str, measure: fn(&Bench) -> Result<Vec<Value>>) -> Group {
    Group { name, measure, on_demand: true }
}

const GROUPS: [Group; 15] = [
    // One CPU, so that nothing runs beside what is measured; one more for who answers an interrupt.
    always("exits", |bench| bench.payload("exits", 1, 1)),
    always("ipi", |bench| bench.payload("ipi", 2, 2)),
    always("switch", |bench| bench.payload("switch", 1, 2)),
    always("block", |bench| bench.payload("block", 1, 1)),
    always(PHYSICAL, |bench| bench.payload(PHYSICAL, 1, 1)),
    always("net", |bench| bench.payload("net", 1, 1)),
    always("image", |bench| Ok(vec![(IMAGE_SIZE.to_owned(), bench.firmware.size as f64 / 1024.0)])),
    always("linux", |bench| bench.linux_boots()),
    always("riscv-interpreter-loops", |bench| bench.riscv_loops(Jit::Off)),
    always("riscv-interpreter-linux", |bench| bench.riscv_linux(Jit::Off)),
    on_demand("riscv-interpreter-scale", |bench| bench.riscv_scale(Jit::Off)),
    always("riscv-jit-loops", |bench| bench.riscv_loops(Jit::On)),
    always("riscv-jit-linux", |bench| bench.riscv_linux(Jit::On)),
    on_demand("riscv-jit-aot", |bench| bench.riscv_aot()),
    on_demand("riscv-jit-scale", |bench| bench.riscv_scale(Jit::On)),
];

/// Measures the groups with `filter` in their names, or the usual ones, and prints the table.
pub fn run(paths: &Paths, filter: Option<&str>) -> Result<()> {
    let is_wanted = |group: &&Group| match filter {
        Some(filter) => group.name.contains(filter),
        None => !group.on_demand,
    };
    let groups: Vec<&Group> = GROUPS.iter().filter(is_wanted).collect();
    ensure!(!groups.is_empty(), "there are only {}", GROUPS.map(|group| group.name).join(", "));
    let bench = Bench::new(paths)?;
    let mut values = Vec::new();
    for group in groups {
        values.extend((group.measure)(&bench)?);
    }
    print!("{}", table(&values, filter.is_none()));
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
    fn payload(&self, measure: &str, cpus: u32, vcpus: u32) -> Result<Vec<Value>> {
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

    /// How long Linux takes to boot as a guest, compared with bare.
    fn linux_boots(&self) -> Result<Vec<Value>> {
        let more = |time: f64, than: f64| (time / than - 1.0) * 100.0;
        let shared = Scheduling::default();
        let bare = self.bare_linux()?;
        let guest = self.guest_linux("as a guest", shared, 0)?;
        let dedicated = self.guest_linux(
            "as a guest with a CPU of its own",
            Scheduling { dedicated: true, ..shared },
            0,
        )?;
        let beside_one = self.guest_linux("beside an idle guest", shared, 1)?;
        let beside_seven = self.guest_linux("beside seven idle guests", shared, 7)?;
        note(format!(
            "Linux boot: {:.1} million instructions bare, {:.1} as a guest",
            bare / 1e6,
            guest / 1e6
        ));
        let values = [
            (LINUX_OVERHEAD, more(guest, bare)),
            (LINUX_DEDICATED, more(dedicated, bare)),
            (IDLE_ONE, more(beside_one, guest)),
            (IDLE_SEVEN, more(beside_seven, guest)),
        ];
        Ok(values.map(|(name, value)| (name.to_owned(), value)).into())
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
    fn figures(&self, machine: &Machine, boot: &Boot, log: &str) -> Result<Vec<Value>> {
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
