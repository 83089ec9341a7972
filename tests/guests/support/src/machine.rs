//! What the devicetree says about the machine.

use core::ops::Range;

use fdt::{Fdt, node::FdtNode};
use spin::Once;

use crate::{
    gic::{Gic, Version},
    psci::Conduit,
    smp::MAX_CPUS,
    start,
};

/// The PL011, where QEMU `virt` has it.
pub const UART: u64 = 0x0900_0000;
/// The UART's interrupt: SPI 1.
pub const UART_INTID: u32 = 33;
/// The PL031, where QEMU `virt` has it.
pub const RTC: u64 = 0x0901_0000;
/// The PL061, where QEMU `virt` has it.
pub const GPIO: u64 = 0x0903_0000;
/// The PL061's interrupt: SPI 7.
pub const GPIO_INTID: u32 = 39;
/// An address at which QEMU `virt` has nothing, between virtio-mmio and the platform bus.
pub const UNCLAIMED: u64 = 0x0b00_0000;

/// The machine as the devicetree describes it.
#[derive(Debug)]
pub struct Machine {
    /// RAM: the first region of the memory node.
    pub ram: Range<u64>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The boot arguments.
    pub bootargs: &'static str,
    /// How PSCI is called.
    pub conduit: Conduit,
    /// Where the devicetree is.
    pub devicetree: Range<u64>,
    /// Where the initrd is; empty when there is none.
    pub initrd: Range<u64>,
    /// Where this payload is, with its stacks.
    pub image: Range<u64>,
    /// CNTPCT_EL0 at this payload's first instruction.
    pub entry_count: u64,
    cpus: [u64; MAX_CPUS],
    cpu_count: usize,
}

static MACHINE: Once<Machine> = Once::new();

impl Machine {
    /// The affinities of all CPUs, at most [`MAX_CPUS`], in the devicetree's order.
    pub fn cpus(&self) -> &[u64] {
        self.cpus.get(..self.cpu_count).unwrap_or_default()
    }

    /// Whether `address` is in RAM that holds nothing: not this payload, the devicetree or the initrd, nor
    /// the first page of RAM, where QEMU puts its boot loader.
    pub fn is_free_ram(&self, address: u64) -> bool {
        let loader = self.ram.start..self.ram.start + 0x1000;
        self.ram.contains(&address)
            && ![&self.image, &self.devicetree, &self.initrd, &loader]
                .iter()
                .any(|used| used.contains(&address))
    }
}

/// Reads the devicetree. Called once, by start-up.
///
/// # Safety
/// `devicetree` must point to a devicetree that stays where it is.
pub(crate) unsafe fn discover(devicetree: *const u8, entry_count: u64) -> &'static Machine {
    assert!(!devicetree.is_null(), "x0 was 0 at entry: there is no devicetree");
    // SAFETY: the caller's contract; a devicetree begins with its magic number and size.
    let header = unsafe { core::slice::from_raw_parts(devicetree, 8) };
    let size = header.iter().skip(4).fold(0, |size, &byte| size << 8 | usize::from(byte));
    // SAFETY: the caller's contract.
    let blob: &'static [u8] = unsafe { core::slice::from_raw_parts(devicetree, size) };
    MACHINE.call_once(|| match Fdt::new(blob) {
        Ok(fdt) => describe(&fdt, devicetree as u64, entry_count),
        Err(error) => unreachable!("the devicetree at {devicetree:?} is bad: {error:?}"),
    })
}

/// The machine, once start-up has read the devicetree.
pub fn get() -> Option<&'static Machine> {
    MACHINE.get()
}

fn describe(fdt: &Fdt<'static>, address: u64, entry_count: u64) -> Machine {
    let ram = fdt.find_node("/memory").and_then(|memory| region(memory, 0));
    let gic =
        [("arm,gic-v3", Version::V3), ("arm,cortex-a15-gic", Version::V2), ("arm,gic-400", Version::V2)]
            .into_iter()
            .find_map(|(compatible, version)| {
                let node = fdt.find_compatible(&[compatible])?;
                Some(Gic::new(version, region(node, 0)?.start, region(node, 1)?.start))
            });
    let method = fdt.find_node("/psci").and_then(|psci| psci.property("method")?.as_str());
    let chosen = fdt.find_node("/chosen");
    let initrd =
        |name| chosen.and_then(|chosen| Some(chosen.property(name)?.as_usize()? as u64)).unwrap_or(0);
    let bootargs = chosen.and_then(|chosen| chosen.property("bootargs")?.as_str()).unwrap_or_default();

    let mut cpus = [0; MAX_CPUS];
    let mut cpu_count = 0;
    let nodes = fdt.find_node("/cpus").into_iter().flat_map(|cpus| cpus.children());
    let affinities =
        nodes.filter(|node| node.name.starts_with("cpu@")).filter_map(|node| Some(region(node, 0)?.start));
    for (slot, affinity) in cpus.iter_mut().zip(affinities) {
        *slot = affinity;
        cpu_count += 1;
    }

    let (Some(ram), Some(gic)) = (ram, gic) else {
        unreachable!("the devicetree describes no memory, or no interrupt controller that is known here");
    };
    Machine {
        ram,
        gic,
        bootargs,
        conduit: if method == Some("smc") { Conduit::Smc } else { Conduit::Hvc },
        devicetree: address..address + fdt.total_size() as u64,
        initrd: initrd("linux,initrd-start")..initrd("linux,initrd-end"),
        image: start::image(),
        entry_count,
        cpus,
        cpu_count,
    }
}

/// Entry `index` of a node's `reg`. A CPU's has no size.
fn region(node: FdtNode<'_, '_>, index: usize) -> Option<Range<u64>> {
    let region = node.reg()?.nth(index)?;
    let start = region.starting_address as u64;
    Some(start..start + region.size.unwrap_or(0) as u64)
}
