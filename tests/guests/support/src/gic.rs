//! The interrupt controller: GICv2 (IHI 0048) or GICv3 (IHI 0069), with one interface.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    cpu, exception,
    mmio::{read8, read32, read64, write8, write32, write64},
    read_sysreg,
    smp::MAX_CPUS,
    write_sysreg,
};

/// The architecture version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// GICv2: the CPU interface is memory-mapped.
    V2,
    /// GICv3: the CPU interface is system registers, private interrupts belong to redistributors.
    V3,
}

/// First INTID of the special range: nothing to acknowledge from here on.
pub const SPECIAL: u32 = 1020;
/// The priority that [`Gic::init`] gives every interrupt.
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// Distributor registers; the same offsets serve a redistributor's SGI frame.
pub mod gicd {
    /// Control.
    pub const CTLR: u64 = 0x000;
    /// Type: bits \[4:0\] say how many interrupts there are.
    pub const TYPER: u64 = 0x004;
    /// Implementer.
    pub const IIDR: u64 = 0x008;
    /// Groups.
    pub const IGROUPR: u64 = 0x080;
    /// Enables.
    pub const ISENABLER: u64 = 0x100;
    /// Disables.
    pub const ICENABLER: u64 = 0x180;
    /// Makes pending.
    pub const ISPENDR: u64 = 0x200;
    /// Takes pending away.
    pub const ICPENDR: u64 = 0x280;
    /// Makes active.
    pub const ISACTIVER: u64 = 0x300;
    /// Takes active away.
    pub const ICACTIVER: u64 = 0x380;
    /// Priorities.
    pub const IPRIORITYR: u64 = 0x400;
    /// Targets, GICv2 only.
    pub const ITARGETSR: u64 = 0x800;
    /// Level or edge.
    pub const ICFGR: u64 = 0xc00;
    /// Sends a software-generated interrupt, GICv2 only.
    pub const SGIR: u64 = 0xf00;
    /// Takes pending SGIs away, GICv2 only.
    pub const CPENDSGIR: u64 = 0xf10;
    /// Routing, GICv3 only.
    pub const IROUTER: u64 = 0x6000;
}

/// GICv2 CPU interface registers.
pub mod gicc {
    /// Control.
    pub const CTLR: u64 = 0x000;
    /// Priority mask.
    pub const PMR: u64 = 0x004;
    /// Binary point.
    pub const BPR: u64 = 0x008;
    /// Acknowledge.
    pub const IAR: u64 = 0x00c;
    /// End of interrupt.
    pub const EOIR: u64 = 0x010;
    /// Running priority.
    pub const RPR: u64 = 0x014;
    /// Highest priority pending interrupt.
    pub const HPPIR: u64 = 0x018;
    /// Active priorities.
    pub const APR: u64 = 0x0d0;
    /// Active priorities of Group 1.
    pub const NSAPR: u64 = 0x0e0;
    /// Deactivate.
    pub const DIR: u64 = 0x1000;
}

const GICR_WAKER: u64 = 0x014;
const GICR_TYPER: u64 = 0x008;
const GICR_SGI_FRAME: u64 = 0x1_0000;
/// From one redistributor to the next.
pub const GICR_STRIDE: u64 = 0x2_0000;

/// The redistributor of each CPU, 0 until it has been looked for.
static REDISTRIBUTORS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What acknowledging gave: the INTID, and on GICv2 the CPU that sent an SGI. Ending an interrupt wants it
/// back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack(pub u32);

impl Ack {
    /// The INTID.
    pub const fn intid(self) -> u32 {
        // GICC_IAR holds the sender in bits [12:10]; INTIDs of these payloads are below 1024 on GICv3 too.
        self.0 & 0x3ff
    }

    /// Whether there was nothing to acknowledge.
    pub const fn is_spurious(self) -> bool {
        self.intid() >= SPECIAL
    }
}

/// The interrupt controller. Private interrupts (INTID below 32) are always those of the CPU that asks.
#[derive(Debug, Clone, Copy)]
pub struct Gic {
    version: Version,
    distributor: u64,
    /// GICC, or the first redistributor.
    cpu: u64,
}

impl Gic {
    /// The controller with its distributor at `distributor` and its CPU interface or first redistributor at
    /// `cpu`.
    pub const fn new(version: Version, distributor: u64, cpu: u64) -> Self {
        Self { version, distributor, cpu }
    }

    /// The architecture version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Physical address of the distributor.
    pub const fn distributor(&self) -> u64 {
        self.distributor
    }

    /// Physical address of the CPU interface (GICv2) or of the first redistributor (GICv3).
    pub const fn cpu_interface(&self) -> u64 {
        self.cpu
    }

    /// How many INTIDs there are, SGIs and PPIs included (GICD_TYPER.ITLinesNumber).
    pub fn lines(&self) -> u32 {
        (32 * ((read32(self.distributor + gicd::TYPER) & 0x1f) + 1)).min(SPECIAL)
    }

    /// Brings the distributor into a known state, all SPIs off and routed to this CPU, and then this CPU's
    /// interface.
    pub fn init(&self) {
        write32(self.distributor + gicd::CTLR, 0);
        self.wait_for_writes();
        for first in (32..self.lines()).step_by(32) {
            self.reset_block(first);
        }
        // GICv2: Group 0, the only group without security extensions. GICv3: affinity routing, and Group 1
        // beside Group 0.
        let enable = match self.version {
            Version::V2 => 0b1,
            Version::V3 => 0b1_0011,
        };
        write32(self.distributor + gicd::CTLR, enable);
        self.wait_for_writes();
        for intid in 32..self.lines() {
            self.route_here(intid);
        }
        self.init_cpu();
    }

    /// Brings this CPU's interface and private interrupts into a known state: everything off, all priorities
    /// let through.
    pub fn init_cpu(&self) {
        if self.version == Version::V3 {
            // Wake: clear ProcessorSleep, wait for ChildrenAsleep to clear. Another CPU may put us to sleep
            // again meanwhile, where that is what it is for.
            let waker = self.redistributor() + GICR_WAKER;
            while read32(waker) & 0b110 != 0 {
                write32(waker, read32(waker) & !0b10);
            }
            write_sysreg!("icc_sre_el1", 0b111);
            cpu::isb();
        }
        self.reset_block(0);
        self.set_eoi_mode(false);
        match self.version {
            Version::V2 => {
                for active in (0..0x10).step_by(4).flat_map(|index| [gicc::APR + index, gicc::NSAPR + index])
                {
                    write32(self.cpu + active, 0);
                }
                write32(self.cpu + gicc::BPR, 0);
                write32(self.cpu + gicc::CTLR, 1);
            }
            Version::V3 => {
                write_sysreg!("icc_ap1r0_el1", 0);
                write_sysreg!("icc_bpr1_el1", 0);
                write_sysreg!("icc_igrpen1_el1", 1);
            }
        }
        self.set_priority_mask(0xff);
    }

    /// 32 interrupts: disabled, not pending, not active, default priority, level-triggered.
    fn reset_block(&self, first: u32) {
        let bank = self.bank(first);
        let word = bank + u64::from(first / 32) * 4;
        for register in [gicd::ICENABLER, gicd::ICPENDR, gicd::ICACTIVER] {
            write32(word + register, u32::MAX);
        }
        // Group 0 for GICv2, Group 1 for GICv3: what `init` enables and `acknowledge` acknowledges.
        write32(word + gicd::IGROUPR, if self.version == Version::V2 { 0 } else { u32::MAX });
        if self.version == Version::V2 && first == 0 {
            // SGIs have a register of their own, a byte for each with a bit for each sender.
            (0..16).step_by(4).for_each(|sgi| write32(bank + gicd::CPENDSGIR + sgi, u32::MAX));
        }
        for intid in (first..first + 32).step_by(4) {
            write32(bank + gicd::IPRIORITYR + u64::from(intid), u32::from_ne_bytes([DEFAULT_PRIORITY; 4]));
        }
        for intid in (first.max(16)..first + 32).step_by(16) {
            write32(bank + gicd::ICFGR + u64::from(intid / 4), 0);
        }
        self.wait_for_writes();
    }

    /// The frame that holds the registers of `intid` for this CPU.
    fn bank(&self, intid: u32) -> u64 {
        match self.version {
            Version::V3 if intid < 32 => self.redistributor() + GICR_SGI_FRAME,
            _ => self.distributor,
        }
    }

    /// Physical address of this CPU's redistributor.
    pub fn redistributor(&self) -> u64 {
        let Some(known) = REDISTRIBUTORS.get(exception::cpu_index()) else { return self.cpu };
        if known.load(Relaxed) == 0 {
            // GICR_TYPER: affinity in bits [63:32] as Aff3.Aff2.Aff1.Aff0, Last in bit 4.
            let affinity = cpu::affinity();
            let wanted = affinity >> 32 << 24 | affinity & 0xff_ffff;
            let mut frame = self.cpu;
            loop {
                let kind = read64(frame + GICR_TYPER);
                if kind >> 32 == wanted || kind & 1 << 4 != 0 {
                    break;
                }
                frame += GICR_STRIDE;
            }
            known.store(frame, Relaxed);
        }
        known.load(Relaxed)
    }

    /// GICD_CTLR.RWP and GICR_CTLR.RWP: writes take effect in their own time.
    fn wait_for_writes(&self) {
        if self.version == Version::V3 {
            while read32(self.distributor + gicd::CTLR) >> 31 != 0 {}
            while read32(self.redistributor()) & 1 << 3 != 0 {}
        }
    }

    fn set_bit(&self, register: u64, intid: u32) {
        write32(self.bank(intid) + register + u64::from(intid / 32) * 4, 1 << (intid % 32));
    }

    fn bit(&self, register: u64, intid: u32) -> bool {
        read32(self.bank(intid) + register + u64::from(intid / 32) * 4) >> (intid % 32) & 1 == 1
    }

    /// Lets `intid` be forwarded.
    pub fn enable(&self, intid: u32) {
        self.set_bit(gicd::ISENABLER, intid);
    }

    /// Forwards `intid` no longer; returns when that is so.
    pub fn disable(&self, intid: u32) {
        self.set_bit(gicd::ICENABLER, intid);
        self.wait_for_writes();
    }

    /// Whether `intid` is enabled.
    pub fn is_enabled(&self, intid: u32) -> bool {
        self.bit(gicd::ISENABLER, intid)
    }

    /// Makes `intid` pending.
    pub fn set_pending(&self, intid: u32) {
        match self.version {
            // GICv2: SGIs have registers of their own, one bit per sender: this CPU is as good as any.
            Version::V2 if intid < 16 => self.send_sgi_to_self(intid),
            _ => self.set_bit(gicd::ISPENDR, intid),
        }
    }

    /// Takes the latched pending state away. SGIs are out of scope on GICv2.
    pub fn clear_pending(&self, intid: u32) {
        self.set_bit(gicd::ICPENDR, intid);
    }

    /// Whether `intid` is pending.
    pub fn is_pending(&self, intid: u32) -> bool {
        self.bit(gicd::ISPENDR, intid)
    }

    /// Whether `intid` is active.
    pub fn is_active(&self, intid: u32) -> bool {
        self.bit(gicd::ISACTIVER, intid)
    }

    /// Sets the active state.
    pub fn set_active(&self, intid: u32, active: bool) {
        self.set_bit(if active { gicd::ISACTIVER } else { gicd::ICACTIVER }, intid);
    }

    /// Sets the priority: 0 is the highest; controllers implement 4 to 8 bits from the top.
    pub fn set_priority(&self, intid: u32, priority: u8) {
        write8(self.bank(intid) + gicd::IPRIORITYR + u64::from(intid), priority);
    }

    /// The priority that `intid` has.
    pub fn priority(&self, intid: u32) -> u8 {
        read8(self.bank(intid) + gicd::IPRIORITYR + u64::from(intid))
    }

    /// Makes `intid` edge-triggered or level-sensitive. It should be disabled.
    pub fn set_edge(&self, intid: u32, edge: bool) {
        let register = self.bank(intid) + gicd::ICFGR + u64::from(intid / 16) * 4;
        let bit = 0b10 << (intid % 16 * 2);
        let rest = read32(register) & !bit;
        write32(register, if edge { rest | bit } else { rest });
    }

    /// Routes the SPI `intid` to this CPU.
    pub fn route_here(&self, intid: u32) {
        match self.version {
            // A CPU learns its own bit from the banked, read-only ITARGETSR0.
            Version::V2 => {
                let own = read32(self.distributor + gicd::ITARGETSR) as u8;
                write8(self.distributor + gicd::ITARGETSR + u64::from(intid), own);
            }
            Version::V3 => {
                write64(self.distributor + gicd::IROUTER + u64::from(intid) * 8, cpu::affinity());
            }
        }
    }

    /// Whether an IRQ is signalled to this CPU, masked in PSTATE or not.
    pub fn is_signalled(&self) -> bool {
        cpu::dsb();
        cpu::isb();
        read_sysreg!("isr_el1") & 1 << 7 != 0
    }

    /// Routes the SPI `intid` to the CPU with `affinity`, which on GICv2 is CPU interface Aff0.
    pub fn route(&self, intid: u32, affinity: u64) {
        match self.version {
            Version::V2 => write8(self.distributor + gicd::ITARGETSR + u64::from(intid), 1 << (affinity & 7)),
            Version::V3 => write64(self.distributor + gicd::IROUTER + u64::from(intid) * 8, affinity),
        }
    }

    /// Acknowledges the highest-priority pending interrupt, which becomes active.
    pub fn acknowledge(&self) -> Ack {
        let ack = match self.version {
            Version::V2 => read32(self.cpu + gicc::IAR),
            Version::V3 => read_sysreg!("icc_iar1_el1") as u32,
        };
        cpu::dsb();
        Ack(ack)
    }

    /// Drops the running priority, and in EOI mode 0 also ends the active state.
    pub fn end(&self, ack: Ack) {
        match self.version {
            Version::V2 => write32(self.cpu + gicc::EOIR, ack.0),
            Version::V3 => write_sysreg!("icc_eoir1_el1", u64::from(ack.0)),
        }
        cpu::isb();
    }

    /// Ends the active state in EOI mode 1.
    pub fn deactivate(&self, ack: Ack) {
        match self.version {
            Version::V2 => write32(self.cpu + gicc::DIR, ack.0),
            Version::V3 => write_sysreg!("icc_dir_el1", u64::from(ack.0)),
        }
        cpu::isb();
    }

    /// Chooses between EOI mode 0 and the split EOI mode 1.
    pub fn set_eoi_mode(&self, split: bool) {
        match self.version {
            Version::V2 => write32(self.cpu + gicc::CTLR, 1 | u32::from(split) << 9),
            Version::V3 => write_sysreg!("icc_ctlr_el1", u64::from(split) << 1),
        }
        cpu::isb();
    }

    /// Lets only priorities above (numerically below) `mask` through.
    pub fn set_priority_mask(&self, mask: u8) {
        match self.version {
            Version::V2 => write32(self.cpu + gicc::PMR, u32::from(mask)),
            Version::V3 => write_sysreg!("icc_pmr_el1", u64::from(mask)),
        }
        cpu::dsb();
        cpu::isb();
    }

    /// The running priority. It is 0xf8 or more, whatever bits are implemented, when no interrupt is active.
    pub fn running_priority(&self) -> u8 {
        let priority = match self.version {
            Version::V2 => read32(self.cpu + gicc::RPR),
            Version::V3 => read_sysreg!("icc_rpr_el1") as u32,
        };
        // QEMU's GICv2 says 0x100 for idle.
        priority.min(0xff) as u8
    }

    /// The INTID that [`acknowledge`](Self::acknowledge) would give.
    pub fn highest_pending(&self) -> u32 {
        match self.version {
            Version::V2 => read32(self.cpu + gicc::HPPIR) & 0x3ff,
            Version::V3 => read_sysreg!("icc_hppir1_el1") as u32 & 0xff_ffff,
        }
    }

    /// Sends SGI `intid` to this CPU.
    pub fn send_sgi_to_self(&self, intid: u32) {
        cpu::dsb();
        match self.version {
            // TargetListFilter 0b10: only the CPU that asks.
            Version::V2 => write32(self.distributor + gicd::SGIR, 0b10 << 24 | intid),
            Version::V3 => self.send_sgi_v3(cpu::affinity(), intid),
        }
    }

    /// Sends SGI `intid` to all CPUs but this one.
    pub fn send_sgi_to_others(&self, intid: u32) {
        cpu::dsb();
        match self.version {
            Version::V2 => write32(self.distributor + gicd::SGIR, 0b01 << 24 | intid),
            // ICC_SGI1R_EL1.IRM.
            Version::V3 => write_sysreg!("icc_sgi1r_el1", 1 << 40 | u64::from(intid) << 24),
        }
        cpu::isb();
    }

    /// Sends SGI `intid` to the CPU with `affinity`, which on GICv2 is CPU interface Aff0.
    pub fn send_sgi(&self, affinity: u64, intid: u32) {
        cpu::dsb();
        match self.version {
            Version::V2 => write32(self.distributor + gicd::SGIR, 1 << (16 + (affinity & 7)) | intid),
            Version::V3 => self.send_sgi_v3(affinity, intid),
        }
    }

    fn send_sgi_v3(&self, affinity: u64, intid: u32) {
        write_sysreg!("icc_sgi1r_el1", Self::sgi1r(affinity, intid));
        cpu::isb();
    }

    /// The value of ICC_SGI1R_EL1 that sends SGI `intid` to the CPU with `affinity`: Aff3 \[55:48\], RS
    /// \[47:44\], Aff2 \[39:32\], INTID \[27:24\], Aff1 \[23:16\], targets \[15:0\].
    pub const fn sgi1r(affinity: u64, intid: u32) -> u64 {
        let (aff0, aff1) = (affinity & 0xff, affinity >> 8 & 0xff);
        let (aff2, aff3) = (affinity >> 16 & 0xff, affinity >> 32 & 0xff);
        let target = aff3 << 48 | (aff0 >> 4) << 44 | aff2 << 32 | aff1 << 16 | 1 << (aff0 & 0xf);
        target | (intid as u64) << 24
    }
}
