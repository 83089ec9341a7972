//! GICv3 and later (IHI 0069): CPU and virtual interfaces are system registers.

use core::sync::atomic::Ordering;

use aarch64_cpu::asm::barrier;
use arrayvec::ArrayVec;

use super::super::percpu::PerCpu;
use super::super::sysreg::{mrs, msr};
use super::{GicError, MASK_NOTHING, PRIORITIES, PRIORITY, Registers, VirtualInterface, offset};
use crate::devices::gic::ListRegister;
use crate::mm::addr::PhysAddr;
use crate::platform::board::PhysRange;

/// Redistributor (12.10), first 64 KiB frame; the second, with the private interrupts' registers, follows.
mod gicr {
    pub const CTLR: u64 = 0x00;
    pub const TYPER: u64 = 0x08;
    pub const WAKER: u64 = 0x14;
    pub const SGI_FRAME: u64 = 0x1_0000;
    pub const CTLR_RWP: u32 = 1 << 3;
    pub const TYPER_LAST: u32 = 1 << 4;
    pub const TYPER_VLPIS: u32 = 1 << 1;
    pub const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
    pub const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
}

/// GICD_CTLR: ARE_NS, EnableGrp1A and EnableGrp1, which with a single security state are ARE, EnableGrp1 and
/// EnableGrp0.
const GICD_CTLR_ENABLE: u32 = 1 << 4 | 1 << 1 | 1;
const GICD_CTLR_RWP: u32 = 1 << 31;

const ICC_CTLR_EOI_MODE: u64 = 1 << 1;
const ICH_HCR_TDIR: u64 = 1 << 14;

pub struct Gic {
    distributor: Registers,
    redistributors: ArrayVec<PhysRange, 8>,
    list_registers: usize,
    priority_registers: usize,
}

impl Gic {
    /// # Safety
    /// The blocks are what their names say and are mapped as device memory.
    pub unsafe fn new(distributor: PhysAddr, redistributors: ArrayVec<PhysRange, 8>) -> Self {
        let vtr = mrs!("S3_4_C12_C11_1"); // ICH_VTR_EL2
        Self {
            distributor: Registers(distributor),
            redistributors,
            list_registers: ((vtr & 0x1f) as usize + 1).min(super::MAX_LIST_REGISTERS),
            // PREbits: 5 preemption bits need one active-priorities register, 6 two, 7 four (12.4.1).
            priority_registers: match vtr >> 26 & 0x7 {
                0..=4 => 1,
                5 => 2,
                _ => 4,
            },
        }
    }

    fn wait_for_distributor(&self) {
        while self.distributor.read(offset::CTLR) & GICD_CTLR_RWP != 0 {
            core::hint::spin_loop();
        }
    }

    pub fn init_distributor(&self) {
        let gicd = self.distributor;
        gicd.write(offset::CTLR, 0);
        self.wait_for_distributor();
        let interrupts = 32 * ((gicd.read(offset::TYPER) & 0x1f) + 1);
        for first in (32..interrupts.min(1020)).step_by(32) {
            let word = u64::from(first / 32) * 4;
            gicd.write(offset::IGROUPR + word, u32::MAX);
            gicd.write(offset::ICENABLER + word, u32::MAX);
            gicd.write(offset::ICPENDR + word, u32::MAX);
            gicd.write(offset::ICACTIVER + word, u32::MAX);
        }
        for first in (32..interrupts.min(1020)).step_by(4) {
            gicd.write(offset::IPRIORITYR + u64::from(first), PRIORITIES);
        }
        self.wait_for_distributor();
        gicd.write(offset::CTLR, GICD_CTLR_ENABLE);
    }

    /// The redistributor frame whose `GICR_TYPER` names `affinity` (Aff3 to Aff0 in its upper word).
    fn redistributor(&self, affinity: u64) -> Option<Registers> {
        let wanted = (affinity >> 8 & 0xff00_0000 | affinity & 0x00ff_ffff) as u32;
        for region in &self.redistributors {
            let mut frame = region.start;
            while frame < region.end {
                let registers = Registers(frame);
                if registers.read(gicr::TYPER + 4) == wanted {
                    return Some(registers);
                }
                let kind = registers.read(gicr::TYPER);
                if kind & gicr::TYPER_LAST != 0 {
                    break;
                }
                // With virtual LPIs (GICv4) there are four 64 KiB pages to a CPU, else two.
                frame = PhysAddr(frame.0 + if kind & gicr::TYPER_VLPIS != 0 { 0x4_0000 } else { 0x2_0000 });
            }
        }
        None
    }

    pub fn init_cpu(&self, cpu: &PerCpu) -> Result<(), GicError> {
        let affinity = cpu.affinity;
        let enabled = mrs!("S3_4_C12_C9_5") | 0b1001; // ICC_SRE_EL2: Enable, SRE
        // SAFETY: as for every `msr!` in this module: EL2's own interrupt controller interface, programmed as
        // IHI 0069 says.
        unsafe { msr!("S3_4_C12_C9_5", enabled) };
        barrier::isb(barrier::SY);
        if mrs!("S3_4_C12_C9_5") & 1 == 0 {
            return Err(GicError::NoSystemRegisters);
        }
        let frame = self.redistributor(affinity).ok_or(GicError::NoRedistributor { affinity })?;
        frame.write(gicr::WAKER, frame.read(gicr::WAKER) & !gicr::WAKER_PROCESSOR_SLEEP);
        while frame.read(gicr::WAKER) & gicr::WAKER_CHILDREN_ASLEEP != 0 {
            core::hint::spin_loop();
        }
        let private = Registers(PhysAddr(frame.0.0 + gicr::SGI_FRAME));
        cpu.gic_private.store(private.0.0, Ordering::Release);
        private.write(offset::IGROUPR, u32::MAX);
        private.write(offset::ICENABLER, u32::MAX);
        while frame.read(gicr::CTLR) & gicr::CTLR_RWP != 0 {
            core::hint::spin_loop();
        }
        private.write(offset::ICPENDR, u32::MAX);
        private.write(offset::ICACTIVER, u32::MAX);
        for first in (0..32).step_by(4) {
            private.write(offset::IPRIORITYR + first, PRIORITIES);
        }
        // SAFETY: see above. A priority that firmware left active would mask every interrupt of ours; the
        // first of the active priority registers is the one that every implementation has, and holds all of
        // EL2's one priority.
        unsafe {
            msr!("S3_0_C12_C8_4", 0u64); // ICC_AP0R0_EL1
            msr!("S3_0_C12_C9_0", 0u64); // ICC_AP1R0_EL1
            msr!("S3_0_C4_C6_0", u64::from(MASK_NOTHING)); // ICC_PMR_EL1
            msr!("S3_0_C12_C12_4", ICC_CTLR_EOI_MODE); // ICC_CTLR_EL1
            msr!("S3_0_C12_C12_7", 1u64); // ICC_IGRPEN1_EL1
            msr!("S3_4_C12_C11_0", 0u64); // ICH_HCR_EL2
            // Guests keep the system register interface: ICC_SRE_EL1.SRE is set, and with ICC_SRE_EL2.Enable
            // clear they cannot change it.
            msr!("S3_0_C12_C12_5", 0b111u64);
            barrier::isb(barrier::SY);
            msr!("S3_4_C12_C9_5", enabled & !0b1000);
        }
        barrier::isb(barrier::SY);
        Ok(())
    }

    /// `cpu` has gone through [`Gic::init_cpu`].
    pub fn set_private(&self, cpu: &PerCpu, intid: u32, array: u64) {
        Registers(PhysAddr(cpu.gic_private.load(Ordering::Acquire))).write_bit(array, intid);
    }

    pub fn enable_shared(&self, intid: u32, affinity: u64) {
        self.distributor.make_level_sensitive(intid);
        self.distributor.write_byte(offset::IPRIORITYR, intid, PRIORITY);
        let router = offset::IROUTER + u64::from(intid) * 8;
        self.distributor.write(router, affinity as u32 & 0x00ff_ffff);
        self.distributor.write(router + 4, (affinity >> 32) as u32);
        self.distributor.write_bit(offset::ISENABLER, intid);
    }

    pub fn send_sgi(&self, sgi: u32, affinity: u64) {
        let aff = |shift: u32| affinity >> shift & 0xff;
        let range = aff(0) / 16;
        let value = aff(32) << 48
            | range << 44
            | aff(16) << 32
            | u64::from(sgi) << 24
            | aff(8) << 16
            | 1 << (aff(0) % 16);
        barrier::dsb(barrier::ISHST);
        // SAFETY: an SGI to a CPU of EL2's own.
        unsafe { msr!("S3_0_C12_C11_5", value) }; // ICC_SGI1R_EL1
        barrier::isb(barrier::SY);
    }

    #[inline]
    pub fn acknowledge(&self) -> u32 {
        let iar = mrs!("S3_0_C12_C12_0"); // ICC_IAR1_EL1
        barrier::dsb(barrier::SY);
        iar as u32
    }

    #[inline]
    pub fn drop_priority(&self, iar: u32) {
        // SAFETY: see `init_cpu`.
        unsafe { msr!("S3_0_C12_C12_1", u64::from(iar)) }; // ICC_EOIR1_EL1
        barrier::isb(barrier::SY);
    }

    #[inline]
    pub fn deactivate(&self, iar: u32) {
        // SAFETY: see `init_cpu`.
        unsafe { msr!("S3_0_C12_C11_1", u64::from(iar)) }; // ICC_DIR_EL1
    }

    pub fn list_registers(&self) -> usize {
        self.list_registers
    }

    /// ICH_VTR_EL2.PRIbits, plus one.
    pub fn virtual_priority_bits(&self) -> u8 {
        (mrs!("S3_4_C12_C11_1") >> 29) as u8 + 1
    }

    #[inline]
    pub fn read_list_register(&self, number: usize) -> ListRegister {
        ListRegister::from_bits(read_list_register(number))
    }

    #[inline]
    pub fn write_list_register(&self, number: usize, value: ListRegister) {
        write_list_register(number, value.bits());
    }

    #[inline]
    pub fn set_virtual_control(&self, control: u32, trap_deactivate: bool) {
        let control = u64::from(control) | if trap_deactivate { ICH_HCR_TDIR } else { 0 };
        // SAFETY: see `init_cpu`.
        unsafe { msr!("S3_4_C12_C11_0", control) }; // ICH_HCR_EL2
    }

    #[inline]
    pub fn virtual_control(&self) -> u32 {
        mrs!("S3_4_C12_C11_0") as u32
    }

    #[inline]
    pub fn virtual_machine_control(&self) -> u32 {
        mrs!("S3_4_C12_C11_7") as u32 // ICH_VMCR_EL2
    }

    #[inline]
    pub fn save_virtual_interface(&self, state: &mut VirtualInterface) {
        state.vmcr = mrs!("S3_4_C12_C11_7");
        let [first0, ..] = &mut state.active_priorities_0;
        let [first1, ..] = &mut state.active_priorities_1;
        (*first0, *first1) = (read_ap0(0), read_ap1(0));
        // Five bits of priority need one register of each group.
        for number in 1..self.priority_registers {
            state.active_priorities_0[number] = read_ap0(number);
            state.active_priorities_1[number] = read_ap1(number);
        }
        // SAFETY: see `init_cpu`.
        unsafe { msr!("S3_4_C12_C11_0", 0u64) };
    }

    #[inline]
    pub fn restore_virtual_interface(&self, state: &VirtualInterface) {
        // SAFETY: see `init_cpu`.
        unsafe { msr!("S3_4_C12_C11_7", state.vmcr) };
        let ([first0, ..], [first1, ..]) = (state.active_priorities_0, state.active_priorities_1);
        write_ap0(0, first0);
        write_ap1(0, first1);
        for number in 1..self.priority_registers {
            write_ap0(number, state.active_priorities_0[number]);
            write_ap1(number, state.active_priorities_1[number]);
        }
    }
}

/// Registers whose number is part of the instruction. The first is nearly always the only one in use, so it is spared the
/// table of all.
macro_rules! numbered {
    ($read:ident, $write:ident, $first:literal, $($number:literal => $name:literal),*) => {
        #[inline]
        fn $read(number: usize) -> u64 {
            #[cold]
            fn other(number: usize) -> u64 {
                match number {
                    $($number => mrs!($name),)*
                    _ => 0,
                }
            }
            if number == 0 { mrs!($first) } else { other(number) }
        }

        #[inline]
        fn $write(number: usize, value: u64) {
            #[cold]
            fn other(number: usize, value: u64) {
                match number {
                    // SAFETY: see `init_cpu`.
                    $($number => unsafe { msr!($name, value) },)*
                    _ => {}
                }
            }
            if number == 0 {
                // SAFETY: as above.
                unsafe { msr!($first, value) }
            } else {
                other(number, value);
            }
        }
    };
}

numbered!(read_list_register, write_list_register,
    "S3_4_C12_C12_0", 1 => "S3_4_C12_C12_1", 2 => "S3_4_C12_C12_2", 3 => "S3_4_C12_C12_3",
    4 => "S3_4_C12_C12_4", 5 => "S3_4_C12_C12_5", 6 => "S3_4_C12_C12_6", 7 => "S3_4_C12_C12_7",
    8 => "S3_4_C12_C13_0", 9 => "S3_4_C12_C13_1", 10 => "S3_4_C12_C13_2", 11 => "S3_4_C12_C13_3",
    12 => "S3_4_C12_C13_4", 13 => "S3_4_C12_C13_5", 14 => "S3_4_C12_C13_6", 15 => "S3_4_C12_C13_7");
numbered!(read_ap0, write_ap0,
    "S3_4_C12_C8_0", 1 => "S3_4_C12_C8_1", 2 => "S3_4_C12_C8_2", 3 => "S3_4_C12_C8_3");
numbered!(read_ap1, write_ap1,
    "S3_4_C12_C9_0", 1 => "S3_4_C12_C9_1", 2 => "S3_4_C12_C9_2", 3 => "S3_4_C12_C9_3");
