//! The devicetree of the arm64 machine: QEMU `virt`'s, less the devices that the VM does not have.
//!
//! Node names, properties and their values follow what QEMU 10.0 writes for `-M virt`; the bindings are those
//! of the Linux kernel (`Documentation/devicetree/bindings`). The same machine always gives the same bytes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

use vm_fdt::{FdtWriter, FdtWriterNode};

use super::{CELLS, Chosen, FdtError, Seed, Written, chosen, memory, reg};
use crate::mm::addr::Ipa;
use crate::vm::machine::{GicVersion, Region, arm64 as machine};

/// What a guest's devicetree describes besides its memory.
#[derive(Debug, Clone)]
pub struct MachineSpec<'a> {
    /// The interrupt controller.
    pub gic: GicVersion,
    /// Every vCPU's `MPIDR_EL1`, the boot CPU first. Only the affinity fields count.
    pub vcpus: &'a [u64],
    /// The model of the CPUs (`arm,cortex-a72`), or nothing for any ARMv8 CPU.
    pub cpu_compatible: Option<&'a str>,
    /// The kernel's command line; nothing is said where it is empty.
    pub bootargs: &'a str,
    /// How many virtio-mmio transports there are: up to [`machine::MMIO_TRANSPORTS`].
    pub virtio_slots: u32,
    /// Entropy for the guest's kernel.
    pub seed: Option<Seed>,
}

/// Reference to the interrupt controller.
const GIC_PHANDLE: u32 = 1;
/// Reference to the clock of the PrimeCell devices.
const CLOCK_PHANDLE: u32 = 2;
/// Reference to the GPIO controller.
const GPIO_PHANDLE: u32 = 3;
/// The clock's frequency in Hz.
const CLOCK_FREQUENCY: u32 = 24_000_000;

/// First cell of a GIC interrupt specifier: a shared peripheral interrupt.
const SPI: u32 = 0;
/// First cell of a GIC interrupt specifier: a private peripheral interrupt.
const PPI: u32 = 1;
/// Third cell of a GIC interrupt specifier: triggered by a rising edge.
const EDGE_RISING: u32 = 1;
/// Third cell of a GIC interrupt specifier: active while high.
const LEVEL_HIGH: u32 = 4;

/// Aff3 and Aff2.Aff1.Aff0 of `MPIDR_EL1` (Arm ARM, DDI 0487).
const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// PSCI function ids as they are named in the `psci` node, for kernels that know only the 0.1 binding.
const PSCI_FUNCTIONS: [(&str, u32); 4] = [
    ("cpu_suspend", 0xc400_0001),
    ("cpu_off", 0x8400_0002),
    ("cpu_on", 0xc400_0003),
    ("migrate", 0xc400_0005),
];

/// Writes the devicetree of a machine with these ranges of RAM, and an initrd where there is one.
///
/// # Errors
/// A machine that cannot exist.
pub fn build(
    spec: &MachineSpec<'_>,
    ram: &[Range<Ipa>],
    initrd: Option<&Range<Ipa>>,
) -> Result<Vec<u8>, FdtError> {
    let limit = spec.gic.max_vcpus();
    if !(1..=limit).contains(&spec.vcpus.len()) {
        return Err(FdtError::Vcpus { found: spec.vcpus.len(), limit });
    }
    if spec.virtio_slots > machine::MMIO_TRANSPORTS {
        let limit = machine::MMIO_TRANSPORTS;
        return Err(FdtError::VirtioSlots { found: spec.virtio_slots, limit });
    }

    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_string("model", "linux,dummy-virt")?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;
    fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
    fdt.property_null("dma-coherent")?;

    let console = uart_path();
    chosen(
        &mut fdt,
        &Chosen { console: &console, bootargs: spec.bootargs, initrd, seed: spec.seed.as_ref() },
    )?;
    let aliases = fdt.begin_node("aliases")?;
    fdt.property_string("serial0", &console)?;
    fdt.end_node(aliases)?;
    for range in ram {
        memory(&mut fdt, range)?;
    }
    cpus(&mut fdt, spec)?;
    psci(&mut fdt)?;
    timer(&mut fdt, spec)?;
    gic(&mut fdt, spec.gic)?;
    clock(&mut fdt)?;
    let clocks = [CLOCK_PHANDLE; 2];
    primecell(&mut fdt, "pl011", machine::UART, machine::UART_SPI, "uartclk\0apb_pclk\0", &clocks)?;
    primecell(&mut fdt, "pl031", machine::RTC, machine::RTC_SPI, "apb_pclk\0", &[CLOCK_PHANDLE])?;
    gpio(&mut fdt)?;
    power_button(&mut fdt)?;
    for slot in 0..spec.virtio_slots {
        virtio_mmio(&mut fdt, slot)?;
    }

    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

fn uart_path() -> String {
    format!("/pl011@{:x}", machine::UART.base.0)
}

fn cpus(fdt: &mut FdtWriter, spec: &MachineSpec<'_>) -> Written {
    let affinities = || spec.vcpus.iter().map(|mpidr| mpidr & MPIDR_AFFINITY);
    // bindings/arm/cpus.yaml: one cell as long as no CPU has an Aff3.
    let wide = affinities().any(|affinity| affinity > u64::from(u32::MAX));

    let node = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", if wide { 2 } else { 1 })?;
    fdt.property_u32("#size-cells", 0)?;
    for affinity in affinities() {
        let cpu = fdt.begin_node(&format!("cpu@{affinity:x}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", spec.cpu_compatible.unwrap_or("arm,armv8"))?;
        if wide {
            fdt.property_u64("reg", affinity)?;
        } else {
            fdt.property_u32("reg", affinity as u32)?;
        }
        fdt.property_string("enable-method", "psci")?;
        fdt.end_node(cpu)?;
    }
    Ok(fdt.end_node(node)?)
}

fn psci(fdt: &mut FdtWriter) -> Written {
    let node = fdt.begin_node("psci")?;
    fdt.property("compatible", b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0")?;
    fdt.property_string("method", "hvc")?;
    for (name, id) in PSCI_FUNCTIONS {
        fdt.property_u32(name, id)?;
    }
    Ok(fdt.end_node(node)?)
}

/// bindings/timer/arm,arch_timer.yaml: secure, non-secure, virtual, hypervisor.
fn timer(fdt: &mut FdtWriter, spec: &MachineSpec<'_>) -> Written {
    // The GICv2 binding has the mask of the CPUs that the interrupt goes to in bits 15:8.
    let targets = match spec.gic {
        GicVersion::V2 => ((1 << spec.vcpus.len()) - 1) << 8,
        GicVersion::V3 => 0,
    };
    let ppis =
        [machine::SECURE_TIMER_PPI, machine::PHYS_TIMER_PPI, machine::VIRT_TIMER_PPI, machine::HYP_TIMER_PPI];
    let interrupts: Vec<u32> = ppis.iter().flat_map(|ppi| [PPI, *ppi, targets | LEVEL_HIGH]).collect();

    let node = fdt.begin_node("timer")?;
    fdt.property("compatible", b"arm,armv8-timer\0arm,armv7-timer\0")?;
    fdt.property_array_u32("interrupts", &interrupts)?;
    fdt.property_null("always-on")?;
    Ok(fdt.end_node(node)?)
}

fn gic(fdt: &mut FdtWriter, version: GicVersion) -> Written {
    let (compatible, cpu_side) = match version {
        GicVersion::V2 => ("arm,cortex-a15-gic", machine::GIC_CPU),
        GicVersion::V3 => ("arm,gic-v3", machine::GIC_REDIST),
    };
    let node = fdt.begin_node(&format!("intc@{:x}", machine::GIC_DIST.base.0))?;
    fdt.property_string("compatible", compatible)?;
    fdt.property_array_u64("reg", &[reg(machine::GIC_DIST), reg(cpu_side)].concat())?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;
    fdt.property_null("ranges")?;
    if version == GicVersion::V3 {
        fdt.property_u32("#redistributor-regions", 1)?;
    }
    fdt.property_phandle(GIC_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

fn clock(fdt: &mut FdtWriter) -> Written {
    let node = fdt.begin_node("apb-pclk")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", CLOCK_FREQUENCY)?;
    fdt.property_string("clock-output-names", "clk24mhz")?;
    fdt.property_phandle(CLOCK_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

/// An Arm PrimeCell device; `clock_names` are each terminated by a NUL.
fn primecell(
    fdt: &mut FdtWriter,
    model: &str,
    region: Region,
    spi: u32,
    clock_names: &str,
    clocks: &[u32],
) -> Written {
    let node = begin_primecell(fdt, model, region, spi, clock_names, clocks)?;
    Ok(fdt.end_node(node)?)
}

/// The node of an Arm PrimeCell device, to which properties can be added.
fn begin_primecell(
    fdt: &mut FdtWriter,
    model: &str,
    region: Region,
    spi: u32,
    clock_names: &str,
    clocks: &[u32],
) -> Result<FdtWriterNode, FdtError> {
    let node = fdt.begin_node(&format!("{model}@{:x}", region.base.0))?;
    fdt.property("compatible", format!("arm,{model}\0arm,primecell\0").as_bytes())?;
    fdt.property_array_u64("reg", &reg(region))?;
    fdt.property_array_u32("interrupts", &[SPI, spi, LEVEL_HIGH])?;
    fdt.property("clock-names", clock_names.as_bytes())?;
    fdt.property_array_u32("clocks", clocks)?;
    Ok(node)
}

/// bindings/gpio/pl061-gpio.yaml.
fn gpio(fdt: &mut FdtWriter) -> Written {
    let clocks = [CLOCK_PHANDLE];
    let node = begin_primecell(fdt, "pl061", machine::GPIO, machine::GPIO_SPI, "apb_pclk\0", &clocks)?;
    fdt.property_null("gpio-controller")?;
    fdt.property_u32("#gpio-cells", 2)?;
    fdt.property_phandle(GPIO_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

/// bindings/input/gpio-keys.yaml: the key interrupts, and is active while its line is high.
fn power_button(fdt: &mut FdtWriter) -> Written {
    /// The code in Linux' `input-event-codes.h`.
    const KEY_POWER: u32 = 116;
    const ACTIVE_HIGH: u32 = 0;
    let keys = fdt.begin_node("gpio-keys")?;
    fdt.property_string("compatible", "gpio-keys")?;
    let key = fdt.begin_node("poweroff")?;
    fdt.property_string("label", "GPIO Key Poweroff")?;
    fdt.property_u32("linux,code", KEY_POWER)?;
    fdt.property_array_u32("gpios", &[GPIO_PHANDLE, machine::POWER_BUTTON.into(), ACTIVE_HIGH])?;
    fdt.end_node(key)?;
    Ok(fdt.end_node(keys)?)
}

/// `slot` is below [`machine::MMIO_TRANSPORTS`].
fn virtio_mmio(fdt: &mut FdtWriter, slot: u32) -> Written {
    let base = machine::MMIO.base.0 + u64::from(slot) * machine::MMIO.size;
    let node = fdt.begin_node(&format!("virtio_mmio@{base:x}"))?;
    fdt.property_string("compatible", "virtio,mmio")?;
    fdt.property_array_u64("reg", &[base, machine::MMIO.size])?;
    fdt.property_array_u32("interrupts", &[SPI, machine::MMIO_SPI + slot, EDGE_RISING])?;
    fdt.property_null("dma-coherent")?;
    Ok(fdt.end_node(node)?)
}

#[cfg(test)]
mod tests {
    use ::fdt::{Fdt, node::FdtNode};
    use proptest::prelude::*;

    use super::*;
    use crate::mm::addr::{GIB, MIB};

    const SPEC: MachineSpec<'_> = MachineSpec {
        gic: GicVersion::V3,
        vcpus: &[0x8000_0000, 0x8000_0001],
        cpu_compatible: Some("arm,cortex-a57"),
        bootargs: "",
        virtio_slots: 0,
        seed: None,
    };

    fn ram() -> Vec<Range<Ipa>> {
        vec![Ipa(GIB)..Ipa(GIB + 512 * MIB)]
    }

    fn cells(node: &FdtNode<'_, '_>, name: &str) -> Vec<u32> {
        let value = node.property(name).unwrap_or_else(|| panic!("{} has no {name}", node.name)).value;
        value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
    }

    fn strings<'a>(node: &FdtNode<'_, 'a>, name: &str) -> Vec<&'a str> {
        let value = node.property(name).unwrap_or_else(|| panic!("{} has no {name}", node.name)).value;
        core::str::from_utf8(value).unwrap().strip_suffix('\0').unwrap().split('\0').collect()
    }

    /// The values are those of `qemu-system-aarch64 -M virt,gic-version=3,dumpdtb=... -cpu cortex-a57 -smp 2
    /// -m 512`.
    #[test]
    fn it_is_qemus() {
        let dtb = build(&SPEC, &ram(), None).unwrap();
        let tree = Fdt::new(&dtb).unwrap();
        let node = |path: &str| tree.find_node(path).unwrap_or_else(|| panic!("no {path}"));

        let root = node("/");
        assert_eq!(strings(&root, "compatible"), ["linux,dummy-virt"]);
        assert_eq!(strings(&root, "model"), ["linux,dummy-virt"]);
        assert_eq!((cells(&root, "#address-cells"), cells(&root, "#size-cells")), (vec![2], vec![2]));

        let gic = node("/intc@8000000");
        assert_eq!(strings(&gic, "compatible"), ["arm,gic-v3"]);
        assert_eq!(cells(&gic, "reg"), [0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000]);
        assert_eq!(cells(&gic, "#interrupt-cells"), [3]);
        assert_eq!(cells(&gic, "#redistributor-regions"), [1]);
        assert!(gic.property("interrupt-controller").is_some() && gic.property("ranges").is_some());
        assert_eq!(cells(&root, "interrupt-parent"), cells(&gic, "phandle"));

        let memory = node("/memory@40000000");
        assert_eq!(strings(&memory, "device_type"), ["memory"]);
        assert_eq!(cells(&memory, "reg"), [0, 0x4000_0000, 0, 0x2000_0000]);

        assert_eq!(
            (cells(&node("/cpus"), "#address-cells"), cells(&node("/cpus"), "#size-cells")),
            (vec![1], vec![0])
        );
        for (path, id) in [("/cpus/cpu@0", 0), ("/cpus/cpu@1", 1)] {
            let cpu = node(path);
            assert_eq!(cells(&cpu, "reg"), [id]);
            assert_eq!(strings(&cpu, "device_type"), ["cpu"]);
            assert_eq!(strings(&cpu, "compatible"), ["arm,cortex-a57"]);
            assert_eq!(strings(&cpu, "enable-method"), ["psci"]);
        }
        assert_eq!(tree.cpus().count(), 2);

        let psci = node("/psci");
        assert_eq!(strings(&psci, "compatible"), ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
        assert_eq!(strings(&psci, "method"), ["hvc"]);
        assert_eq!(cells(&psci, "cpu_suspend"), [0xc400_0001]);
        assert_eq!(cells(&psci, "cpu_off"), [0x8400_0002]);
        assert_eq!(cells(&psci, "cpu_on"), [0xc400_0003]);
        assert_eq!(cells(&psci, "migrate"), [0xc400_0005]);

        let timer = node("/timer");
        assert_eq!(strings(&timer, "compatible"), ["arm,armv8-timer", "arm,armv7-timer"]);
        assert_eq!(cells(&timer, "interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
        assert!(timer.property("always-on").is_some());

        let clock = node("/apb-pclk");
        assert_eq!(strings(&clock, "compatible"), ["fixed-clock"]);
        assert_eq!(
            (cells(&clock, "#clock-cells"), cells(&clock, "clock-frequency")),
            (vec![0], vec![0x16e_3600])
        );
        let phandle = cells(&clock, "phandle")[0];

        let uart = node("/pl011@9000000");
        assert_eq!(strings(&uart, "compatible"), ["arm,pl011", "arm,primecell"]);
        assert_eq!(cells(&uart, "reg"), [0, 0x900_0000, 0, 0x1000]);
        assert_eq!(cells(&uart, "interrupts"), [0, 1, 4]);
        assert_eq!(strings(&uart, "clock-names"), ["uartclk", "apb_pclk"]);
        assert_eq!(cells(&uart, "clocks"), [phandle, phandle]);
        let rtc = node("/pl031@9010000");
        assert_eq!(strings(&rtc, "compatible"), ["arm,pl031", "arm,primecell"]);
        assert_eq!(cells(&rtc, "reg"), [0, 0x901_0000, 0, 0x1000]);
        assert_eq!(cells(&rtc, "interrupts"), [0, 2, 4]);
        assert_eq!(strings(&rtc, "clock-names"), ["apb_pclk"]);
        assert_eq!(cells(&rtc, "clocks"), [phandle]);

        let gpio = node("/pl061@9030000");
        assert_eq!(strings(&gpio, "compatible"), ["arm,pl061", "arm,primecell"]);
        assert_eq!(cells(&gpio, "reg"), [0, 0x903_0000, 0, 0x1000]);
        assert_eq!(cells(&gpio, "interrupts"), [0, 7, 4]);
        assert_eq!(strings(&gpio, "clock-names"), ["apb_pclk"]);
        assert_eq!(cells(&gpio, "clocks"), [phandle]);
        assert_eq!(cells(&gpio, "#gpio-cells"), [2]);
        assert!(gpio.property("gpio-controller").is_some());
        assert_eq!(strings(&node("/gpio-keys"), "compatible"), ["gpio-keys"]);
        let button = node("/gpio-keys/poweroff");
        assert_eq!(cells(&button, "gpios"), [cells(&gpio, "phandle")[0], 3, 0]);
        assert_eq!(cells(&button, "linux,code"), [0x74]);
        assert_eq!(strings(&button, "label"), ["GPIO Key Poweroff"]);

        assert_eq!(strings(&node("/chosen"), "stdout-path"), ["/pl011@9000000"]);
        assert_eq!(strings(&node("/aliases"), "serial0"), ["/pl011@9000000"]);
        for absent in ["bootargs", "linux,initrd-start", "kaslr-seed", "rng-seed"] {
            assert!(node("/chosen").property(absent).is_none());
        }
        assert!(tree.find_compatible(&["virtio,mmio"]).is_none());
    }

    #[test]
    fn a_gicv2_names_the_cpus_of_its_timers() {
        let dtb =
            build(&MachineSpec { gic: GicVersion::V2, vcpus: &[0, 1, 2, 3], ..SPEC }, &ram(), None).unwrap();
        let tree = Fdt::new(&dtb).unwrap();
        let gic = tree.find_node("/intc@8000000").unwrap();
        assert_eq!(strings(&gic, "compatible"), ["arm,cortex-a15-gic"]);
        assert_eq!(cells(&gic, "reg"), [0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000]);
        assert!(gic.property("#redistributor-regions").is_none());
        let timer = tree.find_node("/timer").unwrap();
        assert_eq!(cells(&timer, "interrupts"), [1, 13, 0xf04, 1, 14, 0xf04, 1, 11, 0xf04, 1, 10, 0xf04]);
    }

    #[test]
    fn affinities_take_as_many_cells_as_they_need() {
        let dtb = build(&MachineSpec { vcpus: &[0, 0xc1_c003_0201], ..SPEC }, &ram(), None).unwrap();
        let tree = Fdt::new(&dtb).unwrap();
        assert_eq!(cells(&tree.find_node("/cpus").unwrap(), "#address-cells"), [2]);
        assert_eq!(cells(&tree.find_node("/cpus/cpu@0").unwrap(), "reg"), [0, 0]);
        assert_eq!(cells(&tree.find_node("/cpus/cpu@c100030201").unwrap(), "reg"), [0xc1, 0x03_0201]);
    }

    #[test]
    fn what_cannot_exist_is_refused() {
        let error = |spec| build(&spec, &ram(), None).unwrap_err();
        let ids: Vec<u64> = (0..124).collect();
        assert_eq!(error(MachineSpec { vcpus: &[], ..SPEC }), FdtError::Vcpus { found: 0, limit: 123 });
        assert_eq!(error(MachineSpec { vcpus: &ids, ..SPEC }), FdtError::Vcpus { found: 124, limit: 123 });
        let v2 = MachineSpec { gic: GicVersion::V2, vcpus: &ids[..9], ..SPEC };
        assert_eq!(error(v2), FdtError::Vcpus { found: 9, limit: 8 });
        assert_eq!(
            error(MachineSpec { virtio_slots: 33, ..SPEC }),
            FdtError::VirtioSlots { found: 33, limit: 32 }
        );
        assert_eq!(
            error(MachineSpec { bootargs: "a\0b", ..SPEC }),
            FdtError::Writer(vm_fdt::Error::InvalidString)
        );
    }

    proptest! {
        #[test]
        fn every_machine_reads_back(
            vcpus in 1..=123_u64,
            slots in 0..=machine::MMIO_TRANSPORTS,
            bootargs in "[ -~]{1,2047}",
            size in 1..=machine::MEM.size / MIB,
            initrd in (any::<u64>(), any::<u64>()),
            seed in any::<(u64, [u8; 32])>(),
        ) {
            let ids: Vec<u64> = (0..vcpus).map(|n| ((n / 16) << 8) | (n % 16)).collect();
            let ram = [Ipa(GIB)..Ipa(GIB + size * MIB)];
            let spec = MachineSpec {
                vcpus: &ids,
                virtio_slots: slots,
                bootargs: &bootargs,
                seed: Some(Seed { kaslr: Some(seed.0), rng: seed.1 }),
                ..SPEC
            };
            let initrd = Ipa(initrd.0)..Ipa(initrd.1);
            let dtb = build(&spec, &ram, Some(&initrd)).unwrap();
            prop_assert_eq!(&build(&spec, &ram, Some(&initrd)).unwrap(), &dtb, "it is deterministic");
            prop_assert!(dtb.len() < 64 * 1024);

            let tree = Fdt::new(&dtb).unwrap();
            prop_assert_eq!(tree.cpus().map(|cpu| cpu.ids().first() as u64).collect::<Vec<_>>(), ids);
            prop_assert_eq!(tree.chosen().bootargs(), Some(bootargs.as_str()));
            let region = tree.memory().regions().next().unwrap();
            prop_assert_eq!(region.starting_address as u64, GIB);
            prop_assert_eq!(region.size, Some((size * MIB) as usize));
            let chosen = tree.find_node("/chosen").unwrap();
            let word = |name| u64::from_be_bytes(chosen.property(name).unwrap().value.try_into().unwrap());
            prop_assert_eq!(word("linux,initrd-start"), initrd.start.0);
            prop_assert_eq!(word("linux,initrd-end"), initrd.end.0);
            prop_assert_eq!(word("kaslr-seed"), seed.0);
            prop_assert_eq!(chosen.property("rng-seed").unwrap().value, seed.1);

            let is_transport = |node: &FdtNode<'_, '_>| node.name.starts_with("virtio_mmio@");
            let transports: Vec<_> = tree.all_nodes().filter(is_transport).collect();
            prop_assert_eq!(transports.len() as u32, slots);
            for (slot, node) in (0..).zip(&transports) {
                prop_assert_eq!(cells(node, "reg"), [0, 0xa00_0000 + slot * 0x200, 0, 0x200]);
                prop_assert_eq!(cells(node, "interrupts"), [0, 16 + slot, 1]);
            }
        }
    }
}
