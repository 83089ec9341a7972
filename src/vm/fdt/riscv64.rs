//! The devicetree of the riscv64 machine: QEMU `virt`'s, less the devices that the VM does not have.
//!
//! Node names, properties and their values follow what QEMU 10.0 writes for `-M virt`. The same machine always gives the
//! same bytes.

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

use vm_fdt::FdtWriter;

use super::{CELLS, Chosen, FdtError, Seed, Written, chosen, memory, reg};
use crate::mm::addr::Ipa;
use crate::vm::machine::{Region, riscv64 as machine};

/// What a guest's devicetree describes besides its memory.
#[derive(Debug, Clone)]
pub struct MachineSpec<'a> {
    /// How many harts: 1 to [`machine::MAX_HARTS`].
    pub harts: usize,
    /// What the harts are, as the engine says (`riscv,isa-extensions`), one name after the other, the base first.
    pub extensions: &'a [&'a str],
    /// The frequency of the `time` counter in Hz.
    pub timebase: u32,
    /// The kernel's command line; nothing is said where it is empty.
    pub bootargs: &'a str,
    /// How many virtio-mmio transports there are: up to [`machine::MMIO_TRANSPORTS`].
    pub virtio_slots: u32,
    /// Entropy for the guest's kernel.
    pub seed: Option<Seed>,
}

/// Reference to the interrupt controller.
const PLIC_PHANDLE: u32 = 1;
/// Reference to the test finisher.
const TEST_PHANDLE: u32 = 2;
/// Reference to the interrupt controller of the first hart; those of the others follow.
const HART_PHANDLE: u32 = 3;

/// Interrupts of a hart (Privileged ISA, table 14).
const SUPERVISOR_EXTERNAL: u32 = 9;
const MACHINE_SOFTWARE: u32 = 3;
const MACHINE_TIMER: u32 = 7;
const MACHINE_EXTERNAL: u32 = 11;

/// What a write to the test finisher does.
const FINISHER_PASS: u32 = 0x5555;
const FINISHER_RESET: u32 = 0x7777;

/// Bytes of a cache block (`cbo.*`).
const CACHE_BLOCK: u32 = 64;
/// The frequency of the UART's clock in Hz.
const UART_CLOCK: u32 = 3_686_400;

/// Writes the devicetree of a machine with these ranges of RAM, and an initrd where there is one.
///
/// # Errors
/// A machine that cannot exist.
pub fn build(
    spec: &MachineSpec<'_>,
    ram: &[Range<Ipa>],
    initrd: Option<&Range<Ipa>>,
) -> Result<Vec<u8>, FdtError> {
    if !(1..=machine::MAX_HARTS).contains(&spec.harts) {
        return Err(FdtError::Vcpus { found: spec.harts, limit: machine::MAX_HARTS });
    }
    if spec.virtio_slots > machine::MMIO_TRANSPORTS {
        let limit = machine::MMIO_TRANSPORTS;
        return Err(FdtError::VirtioSlots { found: spec.virtio_slots, limit });
    }

    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "riscv-virtio")?;
    fdt.property_string("model", "riscv-virtio,qemu")?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;

    let console = format!("/soc/serial@{:x}", machine::UART.base.0);
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
    power(&mut fdt, "poweroff", FINISHER_PASS)?;
    power(&mut fdt, "reboot", FINISHER_RESET)?;

    let soc = fdt.begin_node("soc")?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;
    fdt.property_string("compatible", "simple-bus")?;
    fdt.property_null("ranges")?;
    finisher(&mut fdt)?;
    clint(&mut fdt, spec.harts)?;
    plic(&mut fdt, spec.harts)?;
    serial(&mut fdt)?;
    device(&mut fdt, "rtc", "google,goldfish-rtc", machine::RTC, machine::RTC_SOURCE)?;
    for slot in 0..spec.virtio_slots {
        let base = machine::MMIO.base.0 + u64::from(slot) * machine::MMIO.size;
        let region = Region { base: Ipa(base), size: machine::MMIO.size };
        device(&mut fdt, "virtio_mmio", "virtio,mmio", region, machine::MMIO_SOURCE + slot)?;
    }
    fdt.end_node(soc)?;

    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

/// bindings/riscv/cpus.yaml and extensions.yaml.
fn cpus(fdt: &mut FdtWriter, spec: &MachineSpec<'_>) -> Written {
    let node = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("timebase-frequency", spec.timebase)?;
    let isa = isa_string(spec.extensions);
    for hart in 0..spec.harts as u32 {
        let cpu = fdt.begin_node(&format!("cpu@{hart:x}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_u32("reg", hart)?;
        fdt.property_string("status", "okay")?;
        fdt.property_string("compatible", "riscv")?;
        fdt.property_string("riscv,isa", &isa)?;
        fdt.property_string("riscv,isa-base", "rv64i")?;
        fdt.property_string_list(
            "riscv,isa-extensions",
            spec.extensions.iter().map(|extension| String::from(*extension)).collect(),
        )?;
        fdt.property_string("mmu-type", "riscv,sv48")?;
        for property in ["riscv,cbom-block-size", "riscv,cbop-block-size", "riscv,cboz-block-size"] {
            fdt.property_u32(property, CACHE_BLOCK)?;
        }
        let controller = fdt.begin_node("interrupt-controller")?;
        fdt.property_string("compatible", "riscv,cpu-intc")?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_phandle(HART_PHANDLE + hart)?;
        fdt.end_node(controller)?;
        fdt.end_node(cpu)?;
    }
    Ok(fdt.end_node(node)?)
}

/// `rv64imafdc_zicsr_...`: extensions of one letter follow the base at once (ISA Extension Naming Conventions).
fn isa_string(extensions: &[&str]) -> String {
    let mut isa = String::from("rv64");
    for extension in extensions {
        if extension.len() > 1 {
            isa.push('_');
        }
        isa.push_str(extension);
    }
    isa
}

/// bindings/power/reset/syscon-poweroff.yaml and syscon-reboot.yaml.
fn power(fdt: &mut FdtWriter, name: &str, value: u32) -> Written {
    let node = fdt.begin_node(name)?;
    fdt.property_string("compatible", &format!("syscon-{name}"))?;
    fdt.property_u32("regmap", TEST_PHANDLE)?;
    fdt.property_u32("offset", 0)?;
    fdt.property_u32("value", value)?;
    Ok(fdt.end_node(node)?)
}

fn finisher(fdt: &mut FdtWriter) -> Written {
    let node = fdt.begin_node(&format!("test@{:x}", machine::TEST.base.0))?;
    fdt.property("compatible", b"sifive,test1\0sifive,test0\0syscon\0")?;
    fdt.property_array_u64("reg", &reg(machine::TEST))?;
    fdt.property_phandle(TEST_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

/// The interrupts `numbers` of each hart.
fn hart_interrupts(harts: usize, numbers: [u32; 2]) -> Vec<u32> {
    (0..harts as u32).flat_map(|hart| numbers.map(|number| [HART_PHANDLE + hart, number])).flatten().collect()
}

/// bindings/timer/sifive,clint.yaml.
fn clint(fdt: &mut FdtWriter, harts: usize) -> Written {
    let node = fdt.begin_node(&format!("clint@{:x}", machine::CLINT.base.0))?;
    fdt.property("compatible", b"sifive,clint0\0riscv,clint0\0")?;
    fdt.property_array_u64("reg", &reg(machine::CLINT))?;
    fdt.property_array_u32(
        "interrupts-extended",
        &hart_interrupts(harts, [MACHINE_SOFTWARE, MACHINE_TIMER]),
    )?;
    Ok(fdt.end_node(node)?)
}

/// bindings/interrupt-controller/sifive,plic-1.0.0.yaml.
fn plic(fdt: &mut FdtWriter, harts: usize) -> Written {
    let node = fdt.begin_node(&format!("plic@{:x}", machine::PLIC.base.0))?;
    fdt.property("compatible", b"sifive,plic-1.0.0\0riscv,plic0\0")?;
    fdt.property_array_u64("reg", &reg(machine::PLIC))?;
    fdt.property_array_u32(
        "interrupts-extended",
        &hart_interrupts(harts, [MACHINE_EXTERNAL, SUPERVISOR_EXTERNAL]),
    )?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_u32("#address-cells", 0)?;
    fdt.property_u32("riscv,ndev", machine::SOURCES)?;
    fdt.property_phandle(PLIC_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

fn serial(fdt: &mut FdtWriter) -> Written {
    let node = fdt.begin_node(&format!("serial@{:x}", machine::UART.base.0))?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u64("reg", &reg(machine::UART))?;
    fdt.property_u32("clock-frequency", UART_CLOCK)?;
    fdt.property_u32("interrupt-parent", PLIC_PHANDLE)?;
    fdt.property_u32("interrupts", machine::UART_SOURCE)?;
    Ok(fdt.end_node(node)?)
}

fn device(fdt: &mut FdtWriter, name: &str, compatible: &str, region: Region, source: u32) -> Written {
    let node = fdt.begin_node(&format!("{name}@{:x}", region.base.0))?;
    fdt.property_string("compatible", compatible)?;
    fdt.property_array_u64("reg", &reg(region))?;
    fdt.property_u32("interrupt-parent", PLIC_PHANDLE)?;
    fdt.property_u32("interrupts", source)?;
    Ok(fdt.end_node(node)?)
}
