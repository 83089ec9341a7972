//! What the devicetree says about the machine: RAM, CPUs, console, interrupt controller, timer, firmware.
//!
//! Reading it needs neither heap nor atomics, for it happens before the MMU is on. The tree is validated as a
//! whole before anything is taken from it.

use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::mm::addr::{MIB, PhysAddr};

/// Most CPUs that are started; further ones are left alone.
pub const MAX_CPUS: usize = 64;
/// Most ranges of RAM, and of reserved memory, that a tree may have.
pub const MAX_RANGES: usize = 128;
/// Most virtio-mmio transports that are looked at.
pub const MAX_VIRTIO: usize = 32;
/// Most SD host controllers that are looked at.
pub const MAX_SDHCI: usize = 4;
/// Largest devicetree, by the arm64 boot protocol.
const MAX_TREE: usize = 2 * MIB as usize;
const MAGIC: u32 = 0xd00d_feed;

/// A range of physical addresses.
pub type PhysRange = Range<PhysAddr>;

/// How a CPU is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnableMethod {
    /// `CPU_ON` of the firmware.
    Psci,
    /// The CPU polls this address for its entry point.
    SpinTable(PhysAddr),
}

/// One `/cpus/cpu@*` node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// The affinity fields of the CPU's `MPIDR_EL1`.
    pub affinity: u64,
    /// How it is started, if there is a way.
    pub enable: Option<EnableMethod>,
}

/// Which instruction reaches the firmware's PSCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// `SMC #0`, the only one that makes sense for code at EL2.
    Smc,
    /// `HVC #0`: whoever wrote the tree means a machine whose EL2 is taken.
    Hvc,
}

/// A UART, a PL011.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub registers: PhysRange,
    /// Its interrupt's INTID.
    pub interrupt: Option<u32>,
}

/// The physical interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gic {
    /// GICv2 with virtualization extensions.
    V2 {
        /// Distributor.
        distributor: PhysRange,
        /// CPU interface of this CPU.
        cpu: PhysRange,
        /// Virtual interface control (GICH).
        hypervisor: PhysRange,
        /// Virtual CPU interface (GICV): what a guest is given as its CPU interface.
        virtual_cpu: PhysRange,
        /// INTID of the maintenance interrupt.
        maintenance: u32,
    },
    /// GICv3 or later, driven through system registers.
    V3 {
        /// Distributor.
        distributor: PhysRange,
        /// Redistributor regions.
        redistributors: ArrayVec<PhysRange, 8>,
        /// INTID of the maintenance interrupt.
        maintenance: u32,
    },
}

/// INTIDs of the generic timer's interrupts (all PPIs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerInterrupts {
    /// `CNTV`, the guest's.
    pub virtual_timer: u32,
    /// `CNTHP`, EL2's own.
    pub hypervisor_timer: u32,
}

impl Default for TimerInterrupts {
    /// The PPIs that BSA 3.4 recommends, and every known board follows.
    fn default() -> Self {
        Self { virtual_timer: 27, hypervisor_timer: 26 }
    }
}

/// A device that is nothing but registers and an interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its registers.
    pub registers: PhysRange,
    /// Its interrupt's INTID.
    pub interrupt: u32,
}

/// A PCI host bridge (`pci-host-ecam-generic`) whose devices see memory as CPUs do, caches included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciHost {
    /// The configuration spaces (ECAM), from those of bus `first_bus` on.
    pub ecam: PhysRange,
    /// The number of the root bus.
    pub first_bus: u8,
    /// Where 32-bit memory BARs may lie, by the address that the CPU uses, which is also the bus's.
    pub window: PhysRange,
    /// `interrupt-map`, whose interrupts are all those of the GIC.
    pub interrupt_map: InterruptMap,
}

/// To which interrupts of the GIC the pins INTA to INTD of PCI devices lead (IEEE 1275 PCI binding, `interrupt-map`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptMap {
    map: &'static [u8],
    /// `interrupt-map-mask` for the first cell of a device's address, and for its pin.
    mask: [u32; 2],
    /// `#address-cells` of the GIC.
    parent_cells: usize,
}

impl InterruptMap {
    /// The INTID of `pin` (1 is INTA) of the device of this number on the root bus.
    pub fn intid(&self, device: u8, pin: u8) -> Option<u32> {
        // The address of a device: bus, device and function in bits 23:8 of the first of three cells.
        let address = u64::from(device) << 11 & u64::from(self.mask[0]);
        let pin = u64::from(pin) & u64::from(self.mask[1]);
        let mut cells = Cells(self.map);
        while !cells.0.is_empty() {
            let found = (cells.take(1)?, cells.take(2)?, cells.take(1)?);
            cells.take(1 + self.parent_cells)?;
            let (kind, number) = (cells.take(1)?, cells.take(1)?);
            cells.take(1)?;
            if (found.0, found.2) == (address, pin) {
                return intid(kind, number);
            }
        }
        None
    }
}

/// The machine.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// `/model`, or the first `/compatible`.
    pub model: &'static str,
    /// `/chosen/bootargs`: Polyvisor's own.
    pub bootargs: &'static str,
    /// `/chosen/rng-seed`: random bytes from the boot loader, if it has any.
    pub rng_seed: &'static [u8],
    /// `/chosen/linux,initrd-*`: the bundle.
    pub initrd: Option<PhysRange>,
    /// RAM.
    pub memory: ArrayVec<PhysRange, MAX_RANGES>,
    /// Parts of RAM that must be left alone.
    pub reserved: ArrayVec<PhysRange, MAX_RANGES>,
    /// Parts of RAM that must not even be mapped (`no-map`).
    pub unmapped: ArrayVec<PhysRange, MAX_RANGES>,
    /// CPUs that are not disabled.
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    /// The console.
    pub uart: Option<Uart>,
    /// A second serial line, for the remote debugger.
    pub debug_uart: Option<Uart>,
    /// The interrupt controller.
    pub gic: Option<Gic>,
    /// Timer interrupts.
    pub timer: TimerInterrupts,
    /// How PSCI is called, where there is one.
    pub psci: Option<Conduit>,
    /// `arm,pl031`: a clock that knows the date.
    pub rtc: Option<PhysRange>,
    /// `brcm,bcm2835-pm-wdt`: the Raspberry Pi's power management block.
    pub bcm2835_power: Option<PhysRange>,
    /// `virtio,mmio` transports, most of which may be empty.
    pub virtio: ArrayVec<Device, MAX_VIRTIO>,
    /// The PCI host bridge.
    pub pci: Option<PciHost>,
    /// SD host controllers, with or without a card.
    pub sdhci: ArrayVec<Device, MAX_SDHCI>,
}

/// Why a devicetree cannot be used.
#[derive(Debug)]
pub enum TreeError {
    /// The boot loader passed no address, or one that is not a multiple of 8.
    BadAddress(u64),
    /// There is no devicetree at the address.
    BadMagic {
        /// Where it should be.
        address: u64,
        /// The word that is there.
        found: u32,
    },
    /// `totalsize` is beyond what the boot protocol allows.
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// The content is damaged.
    Corrupt(dtoolkit::error::FdtParseError),
    /// The tree describes no RAM.
    NoMemory,
    /// It has more ranges of RAM or of reserved memory than are taken in.
    TooManyRanges,
    /// The initrd lies outside the RAM that the tree describes.
    InitrdOutsideRam {
        /// Where it starts.
        start: PhysAddr,
        /// Where it ends.
        end: PhysAddr,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress(address) => {
                write!(f, "no devicetree: x0 = {address:#x} at entry, expected its address, a multiple of 8")
            }
            Self::BadMagic { address, found } => {
                write!(f, "no devicetree at {address:#x}: found {found:#010x}, expected {MAGIC:#010x}")
            }
            Self::TooLarge { size } => {
                write!(
                    f,
                    "corrupt devicetree: its size is {size:#x} bytes, at most {MAX_TREE:#x} are possible"
                )
            }
            Self::Corrupt(error) => write!(f, "corrupt devicetree: {error}"),
            Self::NoMemory => f.write_str("the devicetree describes no RAM"),
            Self::TooManyRanges => {
                write!(f, "the devicetree has more than {MAX_RANGES} ranges of RAM or of reserved memory")
            }
            Self::InitrdOutsideRam { start, end } => {
                write!(
                    f,
                    "the initrd from {start} to {end} lies outside the RAM that the devicetree describes"
                )
            }
        }
    }
}

impl core::error::Error for TreeError {}

/// Takes the devicetree that the boot loader passed, validated as a whole.
///
/// # Errors
/// [`TreeError`] where there is none or it is damaged.
///
/// # Safety
/// `address` is zero or points to readable memory that nobody writes any more.
pub unsafe fn tree_at(address: u64) -> Result<&'static [u8], TreeError> {
    if address == 0 || !address.is_multiple_of(8) {
        return Err(TreeError::BadAddress(address));
    }
    // SAFETY: the caller's promise; the header's first two words tell how much more there is.
    let header = unsafe { core::slice::from_raw_parts(address as *const [u8; 4], 2) };
    let [magic, size] = [header[0], header[1]].map(u32::from_be_bytes);
    if magic != MAGIC {
        return Err(TreeError::BadMagic { address, found: magic });
    }
    let size = size as usize;
    if size > MAX_TREE {
        return Err(TreeError::TooLarge { size });
    }
    // SAFETY: the caller's promise, for the size that the tree itself states.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, size) };
    Ok(bytes)
}

impl Board {
    /// Reads the machine's description.
    ///
    /// # Errors
    /// [`TreeError`]. What is merely absent stays `None`: who needs it complains.
    pub fn read(tree: &'static [u8]) -> Result<Self, TreeError> {
        let fdt = Fdt::new(tree).map_err(TreeError::Corrupt)?;
        let root = fdt.root();
        let mut board = Self {
            model: root
                .model()
                .ok()
                .flatten()
                .or_else(|| root.compatible()?.next())
                .unwrap_or("unnamed board"),
            ..Self::default()
        };
        let console = stdout_path(fdt);
        let mut walk = Walk { board: &mut board, root, console, console_found: false, overflow: false };
        for reservation in fdt.memory_reservations() {
            if let Some(end) = reservation.address().checked_add(reservation.size()) {
                walk.reserve(PhysAddr(reservation.address())..PhysAddr(end), false);
            }
        }
        let start = tree.as_ptr() as u64;
        walk.reserve(PhysAddr(start)..PhysAddr(start + tree.len() as u64), false);
        walk.children(root, &Bus::ROOT, Place::Root);
        if let Some(initrd) = walk.board.initrd.clone() {
            if !walk.board.memory.iter().any(|ram| ram.start <= initrd.start && initrd.end <= ram.end) {
                return Err(TreeError::InitrdOutsideRam { start: initrd.start, end: initrd.end });
            }
            walk.reserve(initrd, false);
        }
        if walk.overflow {
            return Err(TreeError::TooManyRanges);
        }
        if board.memory.is_empty() {
            return Err(TreeError::NoMemory);
        }
        Ok(board)
    }
}

/// The node that `/chosen/stdout-path` names, with aliases resolved and options cut off.
fn stdout_path(fdt: Fdt<'static>) -> Option<FdtNode<'static>> {
    let chosen = fdt.find_node("/chosen")?;
    let path = text(chosen, "stdout-path")?;
    let path = path.split(':').next()?;
    if path.starts_with('/') {
        return fdt.find_node(path);
    }
    fdt.find_node(text(fdt.find_node("/aliases")?, path)?)
}

/// How addresses of a node's children are read, and what they mean to the CPU.
struct Bus<'p> {
    address_cells: usize,
    size_cells: usize,
    ranges: Option<&'static [u8]>,
    parent: Option<&'p Bus<'p>>,
}

impl Bus<'_> {
    const ROOT: Bus<'static> = Bus { address_cells: 2, size_cells: 1, ranges: None, parent: None };

    /// The CPU's address of a child's `address` (DTSpec 2.3.8); `None` where the bus has no window to it.
    fn to_cpu(&self, address: u64) -> Option<u64> {
        let Some(parent) = self.parent else { return Some(address) };
        let ranges = self.ranges?;
        if ranges.is_empty() {
            return parent.to_cpu(address);
        }
        let mut cells = Cells(ranges);
        while !cells.0.is_empty() {
            let child = cells.take(self.address_cells)?;
            let above = cells.take(parent.address_cells)?;
            let size = cells.take(self.size_cells)?;
            if let Some(offset) = address.checked_sub(child)
                && offset < size
            {
                return parent.to_cpu(above.checked_add(offset)?);
            }
        }
        None
    }

    /// The ranges of `node`'s `reg`, as the CPU sees them.
    fn reg(&self, node: FdtNode<'static>) -> impl Iterator<Item = PhysRange> {
        let mut cells = Cells(bytes(node, "reg").unwrap_or(&[]));
        core::iter::from_fn(move || {
            let address = cells.take(self.address_cells)?;
            let size = cells.take(self.size_cells)?;
            Some((address, size))
        })
        .filter_map(|(address, size)| {
            let start = self.to_cpu(address)?;
            Some(PhysAddr(start)..PhysAddr(start.checked_add(size)?))
        })
    }
}

/// Which part of the tree a walk is in, for nodes that mean something only there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Cpus,
    ReservedMemory,
    Other,
}

struct Walk<'b> {
    board: &'b mut Board,
    root: FdtNode<'static>,
    console: Option<FdtNode<'static>>,
    console_found: bool,
    /// There were too many ranges.
    overflow: bool,
}

impl Walk<'_> {
    fn reserve(&mut self, range: PhysRange, unmapped: bool) {
        if unmapped && !range.is_empty() {
            self.overflow |= self.board.unmapped.try_push(range.clone()).is_err();
        }
        self.overflow |= !range.is_empty() && self.board.reserved.try_push(range).is_err();
    }

    fn children(&mut self, node: FdtNode<'static>, above: &Bus<'_>, place: Place) {
        let cells = |name, default| number(node, name).map_or(default, |value| value as usize);
        let bus = Bus {
            address_cells: cells("#address-cells", 2),
            size_cells: cells("#size-cells", 1),
            // Reserved memory is the CPU's own, also where a tree forgets to say so.
            ranges: if place == Place::ReservedMemory { Some(&[]) } else { bytes(node, "ranges") },
            parent: (place != Place::Root).then_some(above),
        };
        for child in node.children() {
            self.node(child, &bus, place);
        }
    }

    fn node(&mut self, node: FdtNode<'static>, bus: &Bus<'_>, place: Place) {
        let enabled = matches!(text(node, "status"), None | Some("okay" | "ok"));
        let name = node.name_without_address();
        match (place, name) {
            (Place::Root, "chosen") => return self.chosen(node),
            (Place::Root, "cpus") => return self.children(node, bus, Place::Cpus),
            (Place::Root, "reserved-memory") => return self.children(node, bus, Place::ReservedMemory),
            (Place::Cpus, "cpu") if enabled => return self.cpu(node, bus),
            (Place::ReservedMemory, _) => {
                let unmapped = bytes(node, "no-map").is_some();
                for range in bus.reg(node) {
                    self.reserve(range, unmapped);
                }
                return;
            }
            (Place::Root, "memory") if text(node, "device_type") == Some("memory") => {
                for range in bus.reg(node).filter(|range| !range.is_empty()) {
                    self.overflow |= self.board.memory.try_push(range).is_err();
                }
                return;
            }
            _ => {}
        }
        if enabled {
            self.device(node, bus);
            self.children(node, bus, Place::Other);
        }
    }

    fn chosen(&mut self, node: FdtNode<'static>) {
        self.board.bootargs = text(node, "bootargs").unwrap_or("");
        self.board.rng_seed = bytes(node, "rng-seed").unwrap_or(&[]);
        let address = |name| {
            let value = bytes(node, name)?;
            Cells(value).take(value.len() / 4)
        };
        if let (Some(start), Some(end)) = (address("linux,initrd-start"), address("linux,initrd-end"))
            && start < end
        {
            self.board.initrd = Some(PhysAddr(start)..PhysAddr(end));
        }
    }

    fn cpu(&mut self, node: FdtNode<'static>, bus: &Bus<'_>) {
        let Some(affinity) = bytes(node, "reg").and_then(|reg| Cells(reg).take(bus.address_cells)) else {
            return;
        };
        let enable = match text(node, "enable-method") {
            Some("psci") => Some(EnableMethod::Psci),
            Some("spin-table") => bytes(node, "cpu-release-addr")
                .and_then(|value| Cells(value).take(value.len() / 4))
                .map(|address| EnableMethod::SpinTable(PhysAddr(address))),
            _ => None,
        };
        // Beyond MAX_CPUS a CPU stays where its firmware left it.
        let _ = self.board.cpus.try_push(Cpu { affinity, enable });
    }

    fn device(&mut self, node: FdtNode<'static>, bus: &Bus<'_>) {
        let Some(compatible) = node.compatible() else { return };
        for name in compatible {
            let mut reg = bus.reg(node);
            match name {
                "arm,pl011" => self.uart(node, reg.next()),
                "arm,gic-400" | "arm,cortex-a15-gic" | "arm,cortex-a7-gic" | "arm,eb11mp-gic" => {
                    if let (Some(distributor), Some(cpu), Some(hypervisor), Some(virtual_cpu)) =
                        (reg.next(), reg.next(), reg.next(), reg.next())
                    {
                        let maintenance = interrupt(node, 0).unwrap_or(25);
                        self.board.gic =
                            Some(Gic::V2 { distributor, cpu, hypervisor, virtual_cpu, maintenance });
                    }
                }
                "arm,gic-v3" => {
                    let regions = number(node, "#redistributor-regions").unwrap_or(1) as usize;
                    if let Some(distributor) = reg.next() {
                        let redistributors = reg.take(regions.min(8)).collect();
                        let maintenance = interrupt(node, 0).unwrap_or(25);
                        self.board.gic = Some(Gic::V3 { distributor, redistributors, maintenance });
                    }
                }
                "arm,armv8-timer" => {
                    let standard = TimerInterrupts::default();
                    self.board.timer = TimerInterrupts {
                        virtual_timer: interrupt(node, 2).unwrap_or(standard.virtual_timer),
                        hypervisor_timer: interrupt(node, 3).unwrap_or(standard.hypervisor_timer),
                    };
                }
                "arm,psci" | "arm,psci-0.2" | "arm,psci-1.0" => {
                    self.board.psci = match text(node, "method") {
                        Some("smc") => Some(Conduit::Smc),
                        Some("hvc") => Some(Conduit::Hvc),
                        _ => None,
                    };
                }
                "arm,pl031" => self.board.rtc = reg.next(),
                "brcm,bcm2835-pm-wdt" => self.board.bcm2835_power = reg.next(),
                "virtio,mmio" if is_coherent(node) => {
                    if let (Some(registers), Some(interrupt)) = (reg.next(), interrupt(node, 0)) {
                        // Beyond MAX_VIRTIO they are not looked at.
                        let _ = self.board.virtio.try_push(Device { registers, interrupt });
                    }
                }
                "brcm,bcm2711-emmc2" | "brcm,bcm2835-sdhci" => {
                    if let (Some(registers), Some(interrupt)) = (reg.next(), interrupt(node, 0)) {
                        // Beyond MAX_SDHCI they are not looked at.
                        let _ = self.board.sdhci.try_push(Device { registers, interrupt });
                    }
                }
                "pci-host-ecam-generic" if is_coherent(node) && self.board.pci.is_none() => {
                    self.board.pci = reg.next().and_then(|ecam| self.pci(node, ecam, bus));
                }
                _ => continue,
            }
            return;
        }
    }

    /// Reads the node of a PCI host bridge below `bus`.
    fn pci(&self, node: FdtNode<'static>, ecam: PhysRange, bus: &Bus<'_>) -> Option<PciHost> {
        let first_bus = bytes(node, "bus-range").and_then(|range| Cells(range).take(1)).unwrap_or(0) as u8;
        // Three cells for an address on the bus, the first of which says what it is (bits 25:24), and two for a size.
        let mut ranges = Cells(bytes(node, "ranges")?);
        let window = loop {
            let kind = ranges.take(1)?;
            let child = ranges.take(2)?;
            let start = bus.to_cpu(ranges.take(bus.address_cells)?)?;
            let size = ranges.take(2)?;
            let end = start.checked_add(size)?;
            const MEMORY_32: u64 = 2;
            if kind >> 24 & 3 == MEMORY_32 && child == start && end <= 1 << 32 {
                break PhysAddr(start)..PhysAddr(end);
            }
        };
        let mut mask = Cells(bytes(node, "interrupt-map-mask")?);
        let address_mask = mask.take(1)? as u32;
        mask.take(2)?;
        let map = bytes(node, "interrupt-map")?;
        let gic = by_phandle(self.root, Cells(map.get(16..)?).take(1)? as u32)?;
        let parent_cells = number(gic, "#address-cells").unwrap_or(0) as usize;
        let interrupt_map = InterruptMap { map, mask: [address_mask, mask.take(1)? as u32], parent_cells };
        Some(PciHost { ecam, first_bus, window, interrupt_map })
    }

    /// The console is the UART that `/chosen/stdout-path` names where it is one that we drive, else the first
    /// PL011. The first one that is not the console is the debugger's.
    fn uart(&mut self, node: FdtNode<'static>, registers: Option<PhysRange>) {
        let Some(registers) = registers else { return };
        let uart = Uart { registers, interrupt: interrupt(node, 0) };
        let chosen = self.console.is_some_and(|console| console.name() == node.name());
        let other = if chosen || (self.board.uart.is_none() && !self.console_found) {
            self.console_found |= chosen;
            self.board.uart.replace(uart)
        } else {
            Some(uart)
        };
        self.board.debug_uart = self.board.debug_uart.take().or(other);
    }
}

/// The INTID of the `number`-th interrupt of a node whose parent is a GIC (three cells each: kind, number,
/// flags).
fn interrupt(node: FdtNode<'static>, number: usize) -> Option<u32> {
    let mut cells = Cells(bytes(node, "interrupts")?.get(number * 12..)?);
    intid(cells.take(1)?, cells.take(1)?)
}

/// The INTID of the GIC's interrupt of this kind and number.
fn intid(kind: u64, number: u64) -> Option<u32> {
    match kind {
        0 if number < 988 => Some(32 + number as u32),
        1 if number < 16 => Some(16 + number as u32),
        _ => None,
    }
}

/// Whether a device that accesses memory sees what CPUs have in their caches. Others are not driven.
fn is_coherent(node: FdtNode<'static>) -> bool {
    bytes(node, "dma-coherent").is_some()
}

/// The node below `node` that others call `phandle`.
fn by_phandle(node: FdtNode<'static>, phandle: u32) -> Option<FdtNode<'static>> {
    node.children().find_map(|child| match number(child, "phandle") {
        Some(found) if found == phandle => Some(child),
        _ => by_phandle(child, phandle),
    })
}

fn bytes(node: FdtNode<'static>, name: &str) -> Option<&'static [u8]> {
    node.properties().find(|property| property.name() == name)?.value_as::<&[u8]>().ok()
}

fn text(node: FdtNode<'static>, name: &str) -> Option<&'static str> {
    let value = bytes(node, name)?;
    core::str::from_utf8(value.split(|&byte| byte == 0).next()?).ok()
}

fn number(node: FdtNode<'static>, name: &str) -> Option<u32> {
    Cells(bytes(node, name)?).take(1).map(|value| value as u32)
}

/// Big-endian 32-bit cells, of which a number takes one or more; of more than two, the low two count.
struct Cells(&'static [u8]);

impl Cells {
    fn take(&mut self, count: usize) -> Option<u64> {
        let (taken, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        self.0 = rest;
        Some(taken.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_fdt::FdtWriter;

    use super::*;

    /// A Raspberry Pi 4 as its devicetree has it: addresses behind `ranges`, spin tables, the PL011 beside
    /// the mini-UART that stdout is.
    fn raspberry_pi(extra: impl FnOnce(&mut FdtWriter)) -> &'static [u8] {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 1).unwrap();
        fdt.property_string("model", "Raspberry Pi 4 Model B").unwrap();
        let memory = fdt.begin_node("memory@0").unwrap();
        fdt.property_string("device_type", "memory").unwrap();
        fdt.property_array_u32("reg", &[0, 0, 0x3c00_0000, 0, 0x4000_0000, 0x4000_0000]).unwrap();
        fdt.end_node(memory).unwrap();
        let cpus = fdt.begin_node("cpus").unwrap();
        fdt.property_u32("#address-cells", 1).unwrap();
        fdt.property_u32("#size-cells", 0).unwrap();
        for (number, status) in [(0, "okay"), (1, "okay"), (2, "disabled")] {
            let cpu = fdt.begin_node(&format!("cpu@{number}")).unwrap();
            fdt.property_u32("reg", number).unwrap();
            fdt.property_string("status", status).unwrap();
            fdt.property_string("enable-method", "spin-table").unwrap();
            fdt.property_u64("cpu-release-addr", 0xd8 + 8 * u64::from(number)).unwrap();
            fdt.end_node(cpu).unwrap();
        }
        fdt.end_node(cpus).unwrap();
        let soc = fdt.begin_node("soc").unwrap();
        fdt.property_u32("#address-cells", 1).unwrap();
        fdt.property_u32("#size-cells", 1).unwrap();
        let ranges = [0x7e00_0000, 0, 0xfe00_0000, 0x0180_0000, 0x4000_0000, 0, 0xff80_0000, 0x0080_0000];
        fdt.property_array_u32("ranges", &ranges).unwrap();
        let uart = fdt.begin_node("serial@7e201000").unwrap();
        fdt.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()]).unwrap();
        fdt.property_array_u32("reg", &[0x7e20_1000, 0x200]).unwrap();
        fdt.property_array_u32("interrupts", &[0, 121, 4]).unwrap();
        fdt.end_node(uart).unwrap();
        let wireless = fdt.begin_node("mmc@7e300000").unwrap();
        fdt.property_string("compatible", "brcm,bcm2835-sdhci").unwrap();
        fdt.property_array_u32("reg", &[0x7e30_0000, 0x100]).unwrap();
        fdt.property_array_u32("interrupts", &[0, 126, 4]).unwrap();
        fdt.end_node(wireless).unwrap();
        let gic = fdt.begin_node("interrupt-controller@40041000").unwrap();
        fdt.property_string("compatible", "arm,gic-400").unwrap();
        let reg = [0x4004_1000, 0x1000, 0x4004_2000, 0x2000, 0x4004_4000, 0x2000, 0x4004_6000, 0x2000];
        fdt.property_array_u32("reg", &reg).unwrap();
        fdt.property_array_u32("interrupts", &[1, 9, 0xf04]).unwrap();
        fdt.end_node(gic).unwrap();
        fdt.end_node(soc).unwrap();
        let emmc2bus = fdt.begin_node("emmc2bus").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 1).unwrap();
        fdt.property_array_u32("ranges", &[0, 0x7e00_0000, 0, 0xfe00_0000, 0x0180_0000]).unwrap();
        let emmc2 = fdt.begin_node("mmc@7e340000").unwrap();
        fdt.property_string("compatible", "brcm,bcm2711-emmc2").unwrap();
        fdt.property_array_u32("reg", &[0, 0x7e34_0000, 0x100]).unwrap();
        fdt.property_array_u32("interrupts", &[0, 126, 4]).unwrap();
        fdt.end_node(emmc2).unwrap();
        fdt.end_node(emmc2bus).unwrap();
        extra(&mut fdt);
        fdt.end_node(root).unwrap();
        Vec::leak(fdt.finish().unwrap())
    }

    fn reserved(fdt: &mut FdtWriter, count: u32, no_map: bool) {
        let node = fdt.begin_node("reserved-memory").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 1).unwrap();
        for number in 0..count {
            let start = 0x1000_0000 + number * 0x1_0000;
            let range = fdt.begin_node(&format!("range@{start:x}")).unwrap();
            fdt.property_array_u32("reg", &[0, start, 0x1_0000]).unwrap();
            if no_map {
                fdt.property_null("no-map").unwrap();
            }
            fdt.end_node(range).unwrap();
        }
        fdt.end_node(node).unwrap();
    }

    fn initrd(fdt: &mut FdtWriter, start: u64, end: u64) {
        let chosen = fdt.begin_node("chosen").unwrap();
        fdt.property_u64("linux,initrd-start", start).unwrap();
        fdt.property_u64("linux,initrd-end", end).unwrap();
        fdt.end_node(chosen).unwrap();
    }

    fn range(start: u64, size: u64) -> PhysRange {
        PhysAddr(start)..PhysAddr(start + size)
    }

    #[test]
    fn addresses_are_those_of_the_cpu() {
        let board = Board::read(raspberry_pi(|_| {})).unwrap();
        assert_eq!(board.memory[..], [range(0, 0x3c00_0000), range(0x4000_0000, 0x4000_0000)]);
        let uart = board.uart.unwrap();
        assert_eq!((uart.registers, uart.interrupt), (range(0xfe20_1000, 0x200), Some(153)));
        let Some(Gic::V2 { distributor, virtual_cpu, maintenance, .. }) = board.gic else {
            panic!("no GICv2")
        };
        assert_eq!((distributor, virtual_cpu), (range(0xff84_1000, 0x1000), range(0xff84_6000, 0x2000)));
        assert_eq!(maintenance, 25);
        let spin_table = |address| Some(EnableMethod::SpinTable(PhysAddr(address)));
        assert_eq!(
            board.cpus[..],
            [Cpu { affinity: 0, enable: spin_table(0xd8) }, Cpu { affinity: 1, enable: spin_table(0xe0) }]
        );
        let sdhci = |start| Device { registers: range(start, 0x100), interrupt: 158 };
        assert_eq!(board.sdhci[..], [sdhci(0xfe30_0000), sdhci(0xfe34_0000)]);
    }

    /// QEMU's `virt` with the PL011s at these addresses, each with an interrupt and a status.
    fn virt(uarts: &[(u64, u32, &str)], stdout: Option<u64>) -> Board {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 2).unwrap();
        let memory = fdt.begin_node("memory@40000000").unwrap();
        fdt.property_string("device_type", "memory").unwrap();
        fdt.property_array_u64("reg", &[0x4000_0000, 0x1000_0000]).unwrap();
        fdt.end_node(memory).unwrap();
        for (address, interrupt, status) in uarts {
            let uart = fdt.begin_node(&format!("pl011@{address:x}")).unwrap();
            fdt.property_string("compatible", "arm,pl011").unwrap();
            fdt.property_string("status", status).unwrap();
            fdt.property_array_u64("reg", &[*address, 0x1000]).unwrap();
            fdt.property_array_u32("interrupts", &[0, *interrupt, 4]).unwrap();
            fdt.end_node(uart).unwrap();
        }
        if let Some(address) = stdout {
            let chosen = fdt.begin_node("chosen").unwrap();
            fdt.property_string("stdout-path", &format!("/pl011@{address:x}")).unwrap();
            fdt.end_node(chosen).unwrap();
        }
        fdt.end_node(root).unwrap();
        Board::read(Vec::leak(fdt.finish().unwrap())).unwrap()
    }

    #[test]
    fn the_debugger_gets_a_uart_that_is_not_the_console() {
        const FIRST: (u64, u32, &str) = (0x900_0000, 1, "okay");
        const SECOND: (u64, u32, &str) = (0x904_0000, 8, "okay");
        let uart = |(address, interrupt, _)| {
            Some(Uart { registers: range(address, 0x1000), interrupt: Some(32 + interrupt) })
        };
        for nodes in [[FIRST, SECOND], [SECOND, FIRST]] {
            let board = virt(&nodes, Some(FIRST.0));
            assert_eq!((board.uart, board.debug_uart), (uart(FIRST), uart(SECOND)), "{nodes:x?}");
            let board = virt(&nodes, None);
            assert_eq!((board.uart, board.debug_uart), (uart(nodes[0]), uart(nodes[1])), "{nodes:x?}");
        }
        // The secure world's, on a machine that has one, is disabled for ours.
        let secure = (SECOND.0, SECOND.1, "disabled");
        assert_eq!(virt(&[secure, FIRST], Some(FIRST.0)).debug_uart, None);
        assert_eq!(virt(&[FIRST], Some(FIRST.0)).debug_uart, None);
        assert_eq!(Board::read(raspberry_pi(|_| {})).unwrap().debug_uart, None);
    }

    /// A machine with two virtio-mmio transports, one of which is not coherent, and a PCI host bridge as in QEMU's `virt`,
    /// whose GIC has this many address cells.
    fn with_devices(gic_cells: u32) -> Board {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 2).unwrap();
        let memory = fdt.begin_node("memory@40000000").unwrap();
        fdt.property_string("device_type", "memory").unwrap();
        fdt.property_array_u64("reg", &[0x4000_0000, 0x1000_0000]).unwrap();
        fdt.end_node(memory).unwrap();
        for (number, coherent) in [(0, true), (1, false)] {
            let address = 0xa00_0000 + 0x200 * u64::from(number);
            let transport = fdt.begin_node(&format!("virtio_mmio@{address:x}")).unwrap();
            fdt.property_string("compatible", "virtio,mmio").unwrap();
            fdt.property_array_u64("reg", &[address, 0x200]).unwrap();
            fdt.property_array_u32("interrupts", &[0, 16 + number, 1]).unwrap();
            if coherent {
                fdt.property_null("dma-coherent").unwrap();
            }
            fdt.end_node(transport).unwrap();
        }
        let pci = fdt.begin_node("pcie@10000000").unwrap();
        fdt.property_string("compatible", "pci-host-ecam-generic").unwrap();
        fdt.property_null("dma-coherent").unwrap();
        fdt.property_u32("#address-cells", 3).unwrap();
        fdt.property_u32("#size-cells", 2).unwrap();
        fdt.property_array_u64("reg", &[0x40_1000_0000, 0x1000_0000]).unwrap();
        let io = [0x100_0000, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000];
        let low = [0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
        let high = [0x300_0000, 0x80, 0, 0x80, 0, 0x80, 0];
        fdt.property_array_u32("ranges", &[io, low, high].concat()).unwrap();
        fdt.property_array_u32("interrupt-map-mask", &[0x1800, 0, 0, 7]).unwrap();
        let mut map = Vec::new();
        for (device, pin) in (0..4).flat_map(|device| (1..=4).map(move |pin| (device, pin))) {
            map.extend([device << 11, 0, 0, pin, 0x8002]);
            map.extend((0..gic_cells).map(|_| 0xffff_ffff));
            map.extend([0, 3 + (device + pin - 1) % 4, 4]);
        }
        fdt.property_array_u32("interrupt-map", &map).unwrap();
        fdt.end_node(pci).unwrap();
        let gic = fdt.begin_node("intc@8000000").unwrap();
        fdt.property_u32("#address-cells", gic_cells).unwrap();
        fdt.property_phandle(0x8002).unwrap();
        fdt.end_node(gic).unwrap();
        fdt.end_node(root).unwrap();
        Board::read(Vec::leak(fdt.finish().unwrap())).unwrap()
    }

    #[test]
    fn coherent_virtio_transports_are_found() {
        let transport = Device { registers: range(0xa00_0000, 0x200), interrupt: 48 };
        assert_eq!(with_devices(2).virtio[..], [transport]);
    }

    #[test]
    fn pci_pins_lead_to_the_interrupts_of_the_map() {
        for gic_cells in [0, 2] {
            let pci = with_devices(gic_cells).pci.unwrap();
            assert_eq!((pci.ecam, pci.first_bus), (range(0x40_1000_0000, 0x1000_0000), 0));
            assert_eq!(pci.window, range(0x1000_0000, 0x2eff_0000));
            let intid = |device, pin| pci.interrupt_map.intid(device, pin);
            assert_eq!([1, 2, 3, 4].map(|pin| intid(1, pin)), [36, 37, 38, 35].map(Some));
            // The mask leaves two bits of the device's number.
            assert_eq!((intid(7, 1), intid(1, 0), intid(1, 5)), (intid(3, 1), None, None));
        }
    }

    #[test]
    fn memory_that_cannot_be_protected_is_an_error() {
        let board = Board::read(raspberry_pi(|fdt| reserved(fdt, 3, true))).unwrap();
        assert_eq!(
            board.unmapped[..],
            [0, 1, 2].map(|number| range(0x1000_0000 + number * 0x1_0000, 0x1_0000))
        );
        assert!(board.reserved.contains(&range(0x1001_0000, 0x1_0000)));
        assert!(matches!(
            Board::read(raspberry_pi(|fdt| reserved(fdt, MAX_RANGES as u32, false))),
            Err(TreeError::TooManyRanges)
        ));
    }

    #[test]
    fn the_initrd_is_reserved_and_lies_in_ram() {
        let board = Board::read(raspberry_pi(|fdt| initrd(fdt, 0x800_0000, 0x900_0000))).unwrap();
        assert_eq!(board.initrd, Some(range(0x800_0000, 0x100_0000)));
        assert!(board.reserved.contains(&range(0x800_0000, 0x100_0000)));
        for (start, end) in [(0x3bff_0000, 0x3c01_0000), (0x10_0000_0000, 0x10_0000_1000)] {
            let board = Board::read(raspberry_pi(|fdt| initrd(fdt, start, end)));
            assert!(matches!(board, Err(TreeError::InitrdOutsideRam { .. })), "{start:#x}");
        }
    }

    proptest! {
        /// A damaged tree is refused or read, but never a reason to panic.
        #[test]
        fn damage_is_survived(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut tree = raspberry_pi(|fdt| { reserved(fdt, 2, true); initrd(fdt, 0x800_0000, 0x900_0000); }).to_vec();
            for (at, value) in damage {
                let at = at.index(tree.len());
                tree[at] = value;
            }
            let _ = Board::read(Vec::leak(tree));
        }
    }
}
