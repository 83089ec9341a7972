//! GICv2 with virtualization extensions (IHI 0048B), memory-mapped.

use aarch64_cpu::asm::barrier;

use super::{MASK_NOTHING, PRIORITIES, PRIORITY, Registers, VirtualInterface, offset};
use crate::devices::gic::ListRegister;
use crate::mm::addr::PhysAddr;
use crate::platform::board::PhysRange;

/// CPU interface (4.1.3).
mod gicc {
    pub const CTLR: u64 = 0x000;
    pub const PMR: u64 = 0x004;
    pub const IAR: u64 = 0x00c;
    pub const EOIR: u64 = 0x010;
    pub const APR: u64 = 0x0d0;
    pub const DIR: u64 = 0x1000;
    pub const CTLR_ENABLE: u32 = 1 << 0;
    /// EOImodeNS; without the Security Extensions the one EOImode bit.
    pub const CTLR_EOI_MODE: u32 = 1 << 9;
}

/// Virtual interface control (5.3).
mod gich {
    pub const HCR: u64 = 0x000;
    pub const VTR: u64 = 0x004;
    pub const VMCR: u64 = 0x008;
    pub const APR: u64 = 0x0f0;
    pub const LR: u64 = 0x100;
}

pub struct Gic {
    distributor: Registers,
    cpu: Registers,
    hypervisor: Registers,
    virtual_cpu: PhysRange,
    list_registers: usize,
}

impl Gic {
    /// # Safety
    /// The three blocks are what their names say and are mapped as device memory.
    pub unsafe fn new(
        distributor: PhysAddr,
        cpu: PhysAddr,
        hypervisor: PhysAddr,
        virtual_cpu: PhysRange,
    ) -> Self {
        let hypervisor = Registers(hypervisor);
        let list_registers = (hypervisor.read(gich::VTR) & 0x3f) as usize + 1;
        Self {
            distributor: Registers(distributor),
            cpu: Registers(cpu),
            hypervisor,
            virtual_cpu,
            list_registers: list_registers.min(super::MAX_LIST_REGISTERS),
        }
    }

    pub fn init_distributor(&self) {
        let gicd = self.distributor;
        gicd.write(offset::CTLR, 0);
        let interrupts = 32 * ((gicd.read(offset::TYPER) & 0x1f) + 1);
        for first in (32..interrupts).step_by(32) {
            let word = u64::from(first / 32) * 4;
            gicd.write(offset::ICENABLER + word, u32::MAX);
            gicd.write(offset::ICPENDR + word, u32::MAX);
            gicd.write(offset::ICACTIVER + word, u32::MAX);
        }
        for first in (32..interrupts).step_by(4) {
            gicd.write(offset::IPRIORITYR + u64::from(first), PRIORITIES);
        }
        gicd.write(offset::CTLR, 1);
    }

    /// Returns this CPU's number among the CPU interfaces, which is not its MPIDR's: the banked target
    /// register tells.
    pub fn init_cpu(&self) -> usize {
        let gicd = self.distributor;
        gicd.write(offset::ICENABLER, u32::MAX);
        gicd.write(offset::ICPENDR, u32::MAX);
        gicd.write(offset::ICACTIVER, u32::MAX);
        for first in (0..32).step_by(4) {
            gicd.write(offset::IPRIORITYR + first, PRIORITIES);
        }
        for first in (0..16).step_by(4) {
            gicd.write(offset::CPENDSGIR + first, u32::MAX);
        }
        // A priority that firmware left active would mask every interrupt of ours.
        self.cpu.write(gicc::APR, 0);
        self.cpu.write(gicc::PMR, MASK_NOTHING);
        self.cpu.write(gicc::CTLR, gicc::CTLR_ENABLE | gicc::CTLR_EOI_MODE);
        self.hypervisor.write(gich::HCR, 0);
        // A machine with one CPU interface has the register read as zero (4.3.12).
        (gicd.read(offset::ITARGETSR) & 0xff).trailing_zeros() as usize % 32
    }

    #[inline]
    pub fn set_private(&self, intid: u32, array: u64) {
        self.distributor.write_bit(array, intid);
    }

    pub fn enable_shared(&self, intid: u32, target: usize) {
        self.distributor.make_level_sensitive(intid);
        self.distributor.write_byte(offset::IPRIORITYR, intid, PRIORITY);
        self.distributor.write_byte(offset::ITARGETSR, intid, 1 << target);
        self.distributor.write_bit(offset::ISENABLER, intid);
    }

    pub fn send_sgi(&self, sgi: u32, target: usize) {
        barrier::dsb(barrier::ISHST);
        self.distributor.write(offset::SGIR, 1 << (16 + target) | sgi);
    }

    #[inline]
    pub fn acknowledge(&self) -> u32 {
        let iar = self.cpu.read(gicc::IAR);
        // What a kick is about must not be read ahead of it: the load is not ordered after that of a device.
        barrier::dmb(barrier::ISHLD);
        iar
    }

    #[inline]
    pub fn drop_priority(&self, iar: u32) {
        self.cpu.write(gicc::EOIR, iar);
    }

    #[inline]
    pub fn deactivate(&self, iar: u32) {
        self.cpu.write(gicc::DIR, iar);
    }

    pub fn virtual_cpu_interface(&self) -> PhysRange {
        self.virtual_cpu.clone()
    }

    pub fn list_registers(&self) -> usize {
        self.list_registers
    }

    /// GICH_VTR.PREbits, plus one; a GICv2 implements as many bits of a priority.
    pub fn virtual_priority_bits(&self) -> u8 {
        (self.hypervisor.read(gich::VTR) >> 26 & 0x7) as u8 + 1
    }

    // Not inlined, for the conversions would crowd out registers around the GICv3's single instruction.
    #[inline(never)]
    pub fn read_list_register(&self, number: usize) -> ListRegister {
        ListRegister::from_gich(self.hypervisor.read(gich::LR + 4 * number as u64))
    }

    #[inline(never)]
    pub fn write_list_register(&self, number: usize, value: ListRegister) {
        self.hypervisor.write(gich::LR + 4 * number as u64, value.to_gich());
    }

    #[inline]
    pub fn set_virtual_control(&self, control: u32, _trap_deactivate: bool) {
        self.hypervisor.write(gich::HCR, control);
    }

    #[inline]
    pub fn virtual_control(&self) -> u32 {
        self.hypervisor.read(gich::HCR)
    }

    #[inline]
    pub fn virtual_machine_control(&self) -> u32 {
        self.hypervisor.read(gich::VMCR)
    }

    #[inline]
    pub fn save_virtual_interface(&self, state: &mut VirtualInterface) {
        self.hypervisor.write(gich::HCR, 0);
        state.vmcr = self.hypervisor.read(gich::VMCR).into();
        let [active_priorities, ..] = &mut state.active_priorities_0;
        *active_priorities = self.hypervisor.read(gich::APR).into();
    }

    #[inline]
    pub fn restore_virtual_interface(&self, state: &VirtualInterface) {
        let [active_priorities, ..] = state.active_priorities_0;
        self.hypervisor.write(gich::VMCR, state.vmcr as u32);
        self.hypervisor.write(gich::APR, active_priorities as u32);
    }
}
