//! The physical GIC: EL2's own interrupts, and the hardware half of the virtual interrupt controller (list
//! registers).
//!
//! EL2 uses the split end of interrupt (EOImode = 1): it drops the priority itself, and the guest's
//! deactivation of a virtual interrupt deactivates the physical one that is linked to it (IHI 0048B 3.2.1,
//! IHI 0069 4.2.2).

use core::fmt;
use core::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use spin::Once;

use super::percpu::{self, PerCpu};
use super::stage1::{self, Access};
use crate::devices::gic::{GicVersion, ListRegister, MAX_LIST_REGISTERS, Maintenance};
use crate::mm::addr::PhysAddr;
use crate::mm::tables::TableError;
use crate::platform::board::{self, PhysRange};

mod v2;
mod v3;

/// The SGI by which a CPU is made to look at its attention flags.
pub const KICK: u32 = 0;

/// The INTIDs that acknowledging returns when nothing is pending start here.
const SPECIAL: u32 = 1020;

enum Driver {
    V2(v2::Gic),
    V3(v3::Gic),
}

static DRIVER: Once<Driver> = Once::new();
static MAINTENANCE: Once<u32> = Once::new();

/// Why the interrupt controller cannot be used.
#[derive(Debug)]
pub enum GicError {
    /// The devicetree names none that is known.
    Missing,
    /// GICv3, but the CPU has no GIC system registers at EL2.
    NoSystemRegisters,
    /// GICv3, but no redistributor says that it is this CPU's.
    NoRedistributor {
        /// The CPU's affinity.
        affinity: u64,
    },
    /// The registers cannot be mapped.
    Map(TableError),
}

impl fmt::Display for GicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("the devicetree names neither a GICv2 with virtualization extensions nor a GICv3")
            }
            Self::NoSystemRegisters => f.write_str("a GICv3 whose system registers EL3 has not enabled"),
            Self::NoRedistributor { affinity } => write!(f, "no GICv3 redistributor for CPU {affinity:#x}"),
            Self::Map(error) => write!(f, "GIC registers: {error}"),
        }
    }
}

impl core::error::Error for GicError {}

/// How the virtual CPU interface of a vCPU stands, besides its list registers.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct VirtualInterface {
    /// `GICH_VMCR` or `ICH_VMCR_EL2`: what the guest has set in its CPU interface.
    pub vmcr: u64,
    /// `GICH_APR` or `ICH_AP0R<n>_EL2`: active priorities of Group 0.
    pub active_priorities_0: [u64; 4],
    /// `ICH_AP1R<n>_EL2`: active priorities of Group 1.
    pub active_priorities_1: [u64; 4],
}

macro_rules! dispatch {
    ($gic:ident => $action:expr) => {
        match driver() {
            Driver::V2($gic) => $action,
            Driver::V3($gic) => $action,
        }
    };
}

#[inline]
fn driver() -> &'static Driver {
    // SAFETY: every path that leads here has started with `init`, on this or an earlier-started CPU.
    unsafe { DRIVER.get_unchecked() }
}

/// Finds, maps and resets the distributor.
///
/// # Errors
/// [`GicError`].
pub fn init(board: &board::Board) -> Result<(), GicError> {
    let map = |range: &PhysRange| {
        stage1::map(range.start, range.end.0 - range.start.0, Access::Device).map_err(GicError::Map)
    };
    let (driver, maintenance) = match &board.gic {
        Some(board::Gic::V2 { distributor, cpu, hypervisor, virtual_cpu, maintenance }) => {
            for range in [distributor, cpu, hypervisor] {
                map(range)?;
            }
            // SAFETY: the devicetree says what these are, and they have just been mapped.
            let gic =
                unsafe { v2::Gic::new(distributor.start, cpu.start, hypervisor.start, virtual_cpu.clone()) };
            (Driver::V2(gic), *maintenance)
        }
        Some(board::Gic::V3 { distributor, redistributors, maintenance }) => {
            map(distributor)?;
            for range in redistributors {
                map(range)?;
            }
            // SAFETY: as above.
            let gic = unsafe { v3::Gic::new(distributor.start, redistributors.clone()) };
            (Driver::V3(gic), *maintenance)
        }
        None => return Err(GicError::Missing),
    };
    MAINTENANCE.call_once(|| maintenance);
    match DRIVER.call_once(|| driver) {
        Driver::V2(gic) => gic.init_distributor(),
        Driver::V3(gic) => gic.init_distributor(),
    }
    Ok(())
}

/// Sets up this CPU's interface, its private interrupts (kick, maintenance and the given ones), and its
/// virtual interface.
///
/// # Errors
/// [`GicError::NoRedistributor`], [`GicError::NoSystemRegisters`].
pub fn init_cpu(private: &[u32]) -> Result<(), GicError> {
    let cpu = percpu::this_cpu();
    match driver() {
        Driver::V2(gic) => cpu.gic_target.store(gic.init_cpu(), Ordering::Release),
        Driver::V3(gic) => gic.init_cpu(cpu)?,
    }
    for intid in private.iter().chain([&KICK, &maintenance_interrupt()]) {
        enable_private(*intid);
    }
    cpu.list_registers.store(list_registers(), Ordering::Relaxed);
    empty_list_registers(0);
    Ok(())
}

/// Enables a private interrupt of this CPU.
pub fn enable_private(intid: u32) {
    set_private(intid, offset::ISENABLER);
}

/// Disables a private interrupt of this CPU: it stays pending while its level is high.
pub fn disable_private(intid: u32) {
    set_private(intid, offset::ICENABLER);
}

/// Makes a private interrupt of this CPU active, as if it had been acknowledged.
pub fn activate_private(intid: u32) {
    set_private(intid, offset::ISACTIVER);
}

/// Sets the bit of a private interrupt of this CPU in one of the arrays of [`offset`].
fn set_private(intid: u32, array: u64) {
    match driver() {
        Driver::V2(gic) => gic.set_private(intid, array),
        Driver::V3(gic) => gic.set_private(percpu::this_cpu(), intid, array),
    }
}

/// The version that guests are given.
pub fn version() -> GicVersion {
    match driver() {
        Driver::V2(_) => GicVersion::V2,
        Driver::V3(_) => GicVersion::V3,
    }
}

/// INTID of the maintenance interrupt.
pub fn maintenance_interrupt() -> u32 {
    MAINTENANCE.get().copied().unwrap_or(25)
}

/// The physical range of the GICv2 virtual CPU interface, which Stage-2 maps where the guest looks for its
/// GICC.
pub fn virtual_cpu_interface() -> Option<PhysRange> {
    match driver() {
        Driver::V2(gic) => Some(gic.virtual_cpu_interface()),
        Driver::V3(_) => None,
    }
}

/// Takes the most urgent pending interrupt, which is then active, if there is one.
#[inline]
pub fn acknowledge() -> Option<Acknowledged> {
    let iar = dispatch!(gic => gic.acknowledge());
    let taken = Acknowledged(iar);
    (taken.intid() < SPECIAL).then_some(taken)
}

/// An interrupt that has been taken: the word that ends it again (a GICv2 SGI's holds its sender, too).
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// The INTID.
    #[inline]
    pub fn intid(self) -> u32 {
        self.0 & 0x3ff
    }

    /// Lets interrupts of its priority come again; it stays active until somebody deactivates it.
    #[inline]
    pub fn drop_priority(self) {
        dispatch!(gic => gic.drop_priority(self.0));
    }

    /// Drops the priority and deactivates it.
    #[inline]
    pub fn end(self) {
        self.drop_priority();
        dispatch!(gic => gic.deactivate(self.0));
    }
}

/// Deactivates a private or shared interrupt that no guest will deactivate any more.
pub fn deactivate(intid: u32) {
    dispatch!(gic => gic.deactivate(intid));
}

/// Enables a shared, level-sensitive interrupt and sends it to `cpu`.
pub fn enable_shared(intid: u32, cpu: &PerCpu) {
    match driver() {
        Driver::V2(gic) => gic.enable_shared(intid, cpu.gic_target.load(Ordering::Acquire)),
        Driver::V3(gic) => gic.enable_shared(intid, cpu.affinity),
    }
}

/// Makes `cpu` look at its attention flags.
pub fn kick(cpu: &PerCpu) {
    match driver() {
        Driver::V2(gic) => gic.send_sgi(KICK, cpu.gic_target.load(Ordering::Acquire)),
        Driver::V3(gic) => gic.send_sgi(KICK, cpu.affinity),
    }
}

/// How many bits of a priority the virtual CPU interface implements.
pub fn virtual_priority_bits() -> u8 {
    dispatch!(gic => gic.virtual_priority_bits())
}

/// How many list registers there are.
pub fn list_registers() -> usize {
    dispatch!(gic => gic.list_registers())
}

/// Reads list register `number`.
#[inline]
pub fn read_list_register(number: usize) -> ListRegister {
    dispatch!(gic => gic.read_list_register(number))
}

/// Writes list register `number`.
#[inline]
pub fn write_list_register(number: usize, value: ListRegister) {
    dispatch!(gic => gic.write_list_register(number, value));
}

/// Empties the list registers of this CPU that were filled before but are not among the first `used` now. Those of a
/// vCPU that has left are still as they were: nothing comes of them while the virtual interface is off (IHI 0069,
/// ICH_HCR_EL2.En; IHI 0048B 5.3.1).
#[inline]
pub fn empty_list_registers(used: usize) {
    let filled = &percpu::this_cpu().list_registers;
    let before = filled.load(Ordering::Relaxed);
    if before != used {
        filled.store(used, Ordering::Relaxed);
        (used..before).for_each(|number| write_list_register(number, ListRegister::EMPTY));
    }
}

/// Switches the virtual interface on, with the maintenance interrupts that are wanted and, with
/// `trap_deactivate`, the guest's `ICC_DIR_EL1` trapped (a GICv2's `GICC_DIR` always is). The count of ended
/// interrupts starts anew.
#[inline]
pub fn set_virtual_control(maintenance: Maintenance, trap_deactivate: bool) {
    dispatch!(gic => gic.set_virtual_control(maintenance.bits() | 1, trap_deactivate));
}

/// Keeps all interrupts from the guest (`GICH_HCR.En` or `ICH_HCR_EL2.En`), until [`set_virtual_control`].
pub fn withhold_interrupts() {
    dispatch!(gic => gic.set_virtual_control(gic.virtual_control() & !1, false));
}

/// How many interrupts the guest has ended that were in no list register (EOIcount), since
/// [`set_virtual_control`].
#[inline]
pub fn eoi_count() -> u32 {
    dispatch!(gic => gic.virtual_control()) >> 27
}

/// How the guest has set its CPU interface: `GICH_VMCR` or `ICH_VMCR_EL2`, which share the fields that matter
/// (priority mask in bits 31:24, EOI mode in bit 9, group enables in bits 1:0).
#[inline]
pub fn virtual_machine_control() -> u32 {
    dispatch!(gic => gic.virtual_machine_control())
}

/// Reads how the virtual interface stands into `state`, and switches it off.
#[inline]
pub fn save_virtual_interface(state: &mut VirtualInterface) {
    dispatch!(gic => gic.save_virtual_interface(state));
}

/// Puts the virtual interface back. The list registers are empty; [`set_virtual_control`] switches it on.
#[inline]
pub fn restore_virtual_interface(state: &VirtualInterface) {
    dispatch!(gic => gic.restore_virtual_interface(state));
}

/// A register of a memory-mapped part of the GIC.
#[derive(Clone, Copy)]
struct Registers(PhysAddr);

impl Registers {
    #[inline]
    fn read(self, offset: u64) -> u32 {
        // SAFETY: the constructor's caller promises that the whole block is mapped as device memory.
        unsafe { ((self.0.0 + offset) as *const u32).read_volatile() }
    }

    #[inline]
    fn write(self, offset: u64, value: u32) {
        // SAFETY: as above; that a value is right is the driver's business.
        unsafe { ((self.0.0 + offset) as *mut u32).write_volatile(value) }
    }

    /// Makes `intid` level-sensitive, in an array of two bits for each interrupt.
    fn make_level_sensitive(self, intid: u32) {
        let word = offset::ICFGR + u64::from(intid / 16) * 4;
        self.write(word, self.read(word) & !(0b11 << (intid % 16 * 2)));
    }

    /// Sets the bit of `intid` in an array of one bit for each interrupt.
    fn write_bit(self, array: u64, intid: u32) {
        self.write(array + u64::from(intid / 32) * 4, 1 << (intid % 32));
    }

    /// Sets the byte of `intid` in an array of one byte for each interrupt.
    fn write_byte(self, array: u64, intid: u32, value: u8) {
        // SAFETY: as above; these arrays are byte-accessible (IHI 0048B 4.1.4).
        unsafe { ((self.0.0 + array + u64::from(intid)) as *mut u8).write_volatile(value) }
    }
}

/// Offsets of distributor registers (IHI 0048B 4.1.2, IHI 0069 12.8), of which redistributors have those of
/// the private interrupts.
mod offset {
    pub const CTLR: u64 = 0x000;
    pub const TYPER: u64 = 0x004;
    pub const IGROUPR: u64 = 0x080;
    pub const ISENABLER: u64 = 0x100;
    pub const ICENABLER: u64 = 0x180;
    pub const ICPENDR: u64 = 0x280;
    pub const ISACTIVER: u64 = 0x300;
    pub const ICACTIVER: u64 = 0x380;
    pub const IPRIORITYR: u64 = 0x400;
    pub const ITARGETSR: u64 = 0x800;
    pub const ICFGR: u64 = 0xc00;
    pub const SGIR: u64 = 0xf00;
    pub const CPENDSGIR: u64 = 0xf10;
    pub const IROUTER: u64 = 0x6000;
}

/// The one priority that EL2 gives all its interrupts.
const PRIORITY: u8 = 0xa0;
/// `PRIORITY` for four interrupts at once.
const PRIORITIES: u32 = 0xa0a0_a0a0;
/// Priority mask that lets every interrupt through.
const MASK_NOTHING: u32 = 0xf0;
