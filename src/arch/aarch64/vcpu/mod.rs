//! A virtual CPU that runs natively: EL1 and EL0 of this CPU, with EL2 underneath.
//!
//! [`Vcpu::run`] is the whole life of a vCPU on a physical CPU: load its registers, enter the guest, answer
//! what it traps on, enter it again, and put its registers away when something must be decided elsewhere.
//! Exits that a guest takes often are answered without leaving that loop.

use alloc::format;
use alloc::sync::Arc;
use core::mem::offset_of;
use core::ops::ControlFlow;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTPCT_EL0, CNTVOFF_EL2, CPTR_EL2, ESR_EL2, HCR_EL2, MDCR_EL2, MIDR_EL1, Readable, VMPIDR_EL2, Writeable,
};

use super::syndrome::{ExceptionClass, Syndrome};
use serde::{Deserialize, Serialize};

use super::sysreg::{mrs, msr};
use super::{gic, irq, stage2, timer};
use crate::devices::arm_timer::ArmTimer;
use crate::devices::bus::Bus;
use crate::devices::gic::device::{Host, VgicDevice};
use crate::devices::gic::{CpuInterface, GicVersion, SgiGroup, VcpuSet, Vgic};
use crate::mm::addr::Ipa;
use crate::persist::{Persist, RestoreError};
use crate::vm::vcpu::{Attention, Crash, Exit, ExitCounters, FpuRegs, Regs, RegsError, VcpuId, VcpuOps};
use context::{DebugContext, El1Context, PointerKeys};

mod abort;
pub mod context;
mod inject;
pub mod interrupts;
mod sysregs;

/// What a vCPU needs of the machine that it is part of.
pub trait Machine: Send + Sync + 'static {
    /// Who folds and kicks for the interrupt controller.
    type GicHost: Host + 'static;

    /// The interrupt controller.
    fn gic(&self) -> &VgicDevice<Self::GicHost>;

    /// The devices.
    fn bus(&self) -> &Bus;

    /// What others want of the vCPU.
    fn attention(&self, vcpu: usize) -> &Attention;

    /// `VTTBR_EL2` and `VTCR_EL2`.
    fn stage2(&self) -> (u64, u64);

    /// How far the guest's virtual counter is behind the physical one, in ticks.
    fn time_offset(&self) -> u64;

    /// The guest touched an address that no device claims.
    fn fault_in(&self, ipa: Ipa) -> FaultIn;

    /// Reads guest memory; `None` where there is none.
    fn read_memory(&self, ipa: Ipa, buffer: &mut [u8]) -> Option<()>;

    /// Answers a call of the SMC calling convention: `registers` are x0 to x3, which it may change.
    fn call(&self, vcpu: usize, registers: &mut [u64; 4]) -> ControlFlow<CallExit>;

    /// The affinity fields of the vCPU's `MPIDR_EL1`.
    fn affinity(&self, vcpu: usize) -> u64;
}

/// What lies at an address that a guest touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultIn {
    /// RAM, which is mapped now.
    Mapped,
    /// Memory that may only be read, and is mapped.
    ReadOnly,
    /// Nothing.
    Absent,
    /// RAM that cannot be mapped; the reason.
    Failed(alloc::string::String),
}

/// How a call ends otherwise than by returning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallExit {
    /// The vCPU leaves the guest for good.
    Exit(Exit),
    /// It waits for an interrupt, then returns with x0 = 0.
    Wait,
}

/// The registers that move at every world switch, as arch/aarch64/world_switch.S lays them out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[repr(C)]
pub struct GuestFrame {
    x: [u64; 31],
    pc: u64,
    pstate: u64,
}

const _: () = assert!(offset_of!(GuestFrame, pc) == 248 && offset_of!(GuestFrame, pstate) == 256);

impl GuestFrame {
    /// The general register `number`; 31 is the zero register.
    #[inline]
    fn get(&self, number: u8) -> u64 {
        self.x.get(usize::from(number)).copied().unwrap_or(0)
    }

    #[inline]
    fn set(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number)) {
            *register = value;
        }
    }

    /// Goes on behind an instruction of `length` bytes that EL2 has carried out, as the CPU would have (DDI
    /// 0487 D2.12.3 for SS).
    #[inline]
    fn advance(&mut self, length: u64) {
        const SOFTWARE_STEP: u64 = 1 << 21;
        const BRANCH_TYPE: u64 = 0b11 << 10;
        self.pc = self.pc.wrapping_add(length);
        self.pstate = if inject::is_aarch32(self) {
            advance_it(self.pstate) & !SOFTWARE_STEP
        } else {
            self.pstate & !(SOFTWARE_STEP | BRANCH_TYPE)
        };
    }
}

/// Moves the If-Then state of an AArch32 PSTATE (bits 15:10 and 26:25) on by one instruction (DDI 0487
/// G1.3.8).
fn advance_it(pstate: u64) -> u64 {
    const IT_HIGH: u64 = 0x3f << 10;
    const IT_LOW: u64 = 0x3 << 25;
    let it = (pstate >> 8 & 0xfc) | (pstate >> 25 & 0x3);
    let next = if it & 0x7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    pstate & !(IT_HIGH | IT_LOW) | (next & 0xfc) << 8 | (next & 0x3) << 25
}

/// A vCPU of the VM `M`.
pub struct Vcpu<M: Machine> {
    frame: GuestFrame,
    id: VcpuId,
    machine: Arc<M>,
    counters: ExitCounters,
    /// List registers in use, while loaded.
    list_registers: usize,
    physical_timer: ArmTimer,
    /// The level that the physical timer's line was last given.
    physical_timer_line: bool,
    /// The OS lock (`OSLSR_EL1.OSLK`), which out of reset is locked.
    os_lock: bool,
    el1: El1Context,
    keys: Option<PointerKeys>,
    debug: DebugContext,
    fpu: FpuRegs,
    interface: gic::VirtualInterface,
}

unsafe extern "C" {
    fn enter_guest(frame: *mut GuestFrame) -> u64;
    fn fpu_save(registers: *mut FpuRegs);
    fn fpu_restore(registers: *const FpuRegs);
}

/// Kinds of exception that end a run, as arch/aarch64/vectors.S numbers them.
mod kind {
    pub const SYNCHRONOUS: u64 = 0;
    pub const IRQ: u64 = 1;
    pub const FIQ: u64 = 2;
}

/// PSTATE of a vCPU that starts: EL1h, all exceptions masked.
const PSTATE_START: u64 = 0x3c5;

/// Whether a guest on this CPU may be in the mode of `pstate`: EL1h, EL1t, EL0t, or User where the CPU has
/// AArch32 at EL0. Returning to any other is an illegal exception return, of which EL2 itself would take the
/// exception.
fn is_guest_mode(pstate: u64) -> bool {
    const HAS_AARCH32_AT_EL0: u64 = 2;
    match pstate & 0x1f {
        0b0_0101 | 0b0_0100 | 0b0_0000 => true,
        0b1_0000 => mrs!("id_aa64pfr0_el1") & 0xf == HAS_AARCH32_AT_EL0,
        _ => false,
    }
}

impl<M: Machine> Vcpu<M> {
    /// The vCPU `id` of `machine`, in its reset state.
    pub fn new(id: VcpuId, machine: Arc<M>) -> Self {
        Self {
            frame: GuestFrame { x: [0; 31], pc: 0, pstate: PSTATE_START },
            id,
            machine,
            counters: ExitCounters::default(),
            list_registers: 0,
            physical_timer: ArmTimer::default(),
            physical_timer_line: false,
            os_lock: true,
            el1: El1Context::reset(),
            keys: context::has_pointer_authentication().then(PointerKeys::default),
            debug: DebugContext::default(),
            fpu: FpuRegs::default(),
            interface: gic::VirtualInterface::default(),
        }
    }

    /// Gives this CPU the vCPU's registers.
    fn load(&mut self) {
        stage2::load(self.machine.stage2());
        HCR_EL2.set(hypervisor_configuration(self.keys.is_some()));
        CPTR_EL2.set(traps::CPTR);
        // HPMN keeps all event counters with EL1, which cannot reach them (D24.5.1).
        MDCR_EL2.set(traps::MDCR | MDCR_EL2.get() & 0x1f);
        let midr = MIDR_EL1.get();
        // SAFETY: EL2's registers that define what the guest sees.
        unsafe {
            msr!("hstr_el2", 0u64);
            msr!("vpidr_el2", midr);
        }
        traps::restrict_optional_features();
        VMPIDR_EL2.set(1 << 31 | self.machine.affinity(self.id.index));
        CNTVOFF_EL2.set(self.machine.time_offset());
        self.el1.restore();
        // SAFETY: the claim tags are the guest's; they start, and are left, clear.
        unsafe { msr!("dbgclaimclr_el1", 0xffu64) };
        if let Some(keys) = &self.keys {
            keys.restore();
        }
        self.debug.restore();
        // SAFETY: the layout is asserted where the type is defined; CPTR_EL2 lets EL2 use the registers.
        unsafe { fpu_restore(&self.fpu) };
        gic::restore_virtual_interface(&self.interface);
        self.list_registers = 0;
        self.physical_timer_line = false;
        self.machine.attention(self.id.index).raise(Attention::INTERRUPTS);
        self.update_physical_timer();
        barrier::isb(barrier::SY);
    }

    /// Takes the vCPU's registers off this CPU.
    fn put(&mut self) {
        self.el1.save();
        // SAFETY: the timer is the guest's, and it is not running here any more.
        unsafe { msr!("cntv_ctl_el0", 0u64) };
        timer::disarm();
        if let Some(keys) = &mut self.keys {
            keys.save();
        }
        self.debug.save();
        // SAFETY: as in `load`.
        unsafe { fpu_save(&mut self.fpu) };
        {
            let mut vgic = self.machine.gic().lock();
            let others = interrupts::fold(&mut vgic, self.id.index);
            // The physical interrupt of a pending timer goes with its vCPU; its next load raises it anew.
            interrupts::release(vgic.holds_hardware(self.id.index));
            drop(vgic);
            self.machine.gic().host().kick(others);
        }
        self.interface = gic::save_virtual_interface();
        stage2::unload();
    }

    /// Answers what others want of the vCPU before it enters the guest.
    #[cold]
    fn attend(&mut self) -> ControlFlow<Exit> {
        let wanted = self.machine.attention(self.id.index).take();
        if wanted & Attention::STOP != 0 {
            return ControlFlow::Break(Exit::Stopped);
        }
        if wanted & Attention::INTERRUPTS != 0 {
            self.sync_interrupts(|_| VcpuSet::EMPTY);
        }
        ControlFlow::Continue(())
    }

    /// Folds the list registers, lets `change` act on the interrupt controller, and fills them again.
    fn sync_interrupts(&mut self, change: impl FnOnce(&mut Vgic) -> VcpuSet) {
        let vcpu = self.id.index;
        let mut vgic = self.machine.gic().lock();
        let mut others = interrupts::fold(&mut vgic, vcpu);
        others |= change(&mut vgic);
        interrupts::fill(&mut vgic, vcpu, &mut self.list_registers);
        drop(vgic);
        let others = others.without(vcpu);
        if !others.is_empty() {
            self.machine.gic().host().kick(others);
        }
    }

    /// A synchronous exception from the guest.
    #[inline]
    fn synchronous(&mut self) -> ControlFlow<Exit> {
        let syndrome = Syndrome(ESR_EL2.get());
        match syndrome.class() {
            ExceptionClass::HVC64 => self.call(syndrome.imm16()),
            ExceptionClass::DATA_ABORT_LOWER => abort::data(self, syndrome),
            ExceptionClass::SYSREG => {
                self.counters.sysreg += 1;
                sysregs::access(self, syndrome.sysreg_trap())
            }
            ExceptionClass::SMC64 => {
                // Unlike after HVC, the return address is that of the instruction itself (DEN 0028 2.7).
                self.frame.advance(4);
                self.call(syndrome.imm16())
            }
            ExceptionClass::INSTRUCTION_ABORT_LOWER => abort::instruction(self, syndrome),
            _ => {
                self.counters.undefined += 1;
                inject::undefined(&mut self.frame);
                ControlFlow::Continue(())
            }
        }
    }

    /// A call by HVC or SMC with the given immediate, of which the convention allows only zero.
    #[inline]
    fn call(&mut self, immediate: u16) -> ControlFlow<Exit> {
        self.counters.calls += 1;
        let [x0, x1, x2, x3, ..] = &mut self.frame.x;
        if immediate != 0 {
            *x0 = u64::MAX; // NOT_SUPPORTED
            return ControlFlow::Continue(());
        }
        let mut registers = [*x0, *x1, *x2, *x3];
        let outcome = self.machine.call(self.id.index, &mut registers);
        [*x0, *x1, *x2, *x3] = registers;
        match outcome {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(CallExit::Exit(exit)) => ControlFlow::Break(exit),
            ControlFlow::Break(CallExit::Wait) => {
                *x0 = 0;
                self.wait_for_interrupt()
            }
        }
    }

    /// Sleeps until an interrupt is pending for the guest, or somebody wants the vCPU.
    fn wait_for_interrupt(&mut self) -> ControlFlow<Exit> {
        loop {
            if self.machine.attention(self.id.index).peek() != 0 {
                self.attend()?;
            }
            let interface = CpuInterface::from_vmcr(gic::virtual_machine_control());
            let vcpu = self.id.index;
            let mut pending = false;
            self.sync_interrupts(|vgic| {
                pending = vgic.has_pending(vcpu, interface);
                VcpuSet::EMPTY
            });
            if pending {
                return ControlFlow::Continue(());
            }
            super::cpu::wait_for_interrupt();
            self.interrupt();
        }
    }

    /// A physical interrupt.
    #[inline]
    fn interrupt(&mut self) {
        self.counters.interrupts += 1;
        let Some(taken) = gic::acknowledge() else { return };
        match irq::classify(taken.intid()) {
            irq::Kind::VirtualTimer => {
                let vcpu = self.id.index;
                self.sync_interrupts(|vgic| interrupts::timer_fired(vgic, vcpu, taken));
            }
            irq::Kind::HypervisorTimer => {
                timer::disarm();
                taken.end();
                self.update_physical_timer();
            }
            irq::Kind::Maintenance => {
                taken.end();
                self.sync_interrupts(|_| VcpuSet::EMPTY);
            }
            irq::Kind::Kick => taken.end(),
            irq::Kind::Device => {
                irq::handle(taken.intid());
                taken.end();
            }
        }
    }

    /// Gives the physical timer's line its level, and the hypervisor timer its next deadline.
    fn update_physical_timer(&mut self) {
        let now = CNTPCT_EL0.get();
        match self.physical_timer.deadline(now) {
            Some(deadline) => timer::arm(deadline),
            None => timer::disarm(),
        }
        let level = self.physical_timer.output(now);
        if level != self.physical_timer_line {
            self.physical_timer_line = level;
            let vcpu = self.id.index;
            self.sync_interrupts(|vgic| vgic.set_level(vcpu, interrupts::PHYSICAL_TIMER, level));
        }
    }

    fn send_sgi(&mut self, group: SgiGroup, value: u64) -> Option<()> {
        if gic::version() != GicVersion::V3 {
            return None;
        }
        self.machine.gic().send_sgi(self.id.index, group, value);
        Some(())
    }

    fn crash<T>(&self, what: core::fmt::Arguments<'_>) -> ControlFlow<Exit, T> {
        ControlFlow::Break(Exit::Crashed(Crash { reason: format!("{what}") }))
    }
}

impl<M: Machine> VcpuOps for Vcpu<M> {
    fn id(&self) -> VcpuId {
        self.id
    }

    fn run(&mut self) -> Exit {
        self.load();
        let exit = loop {
            if self.machine.attention(self.id.index).peek() != 0
                && let ControlFlow::Break(exit) = self.attend()
            {
                break exit;
            }
            // SAFETY: the vCPU is loaded; the frame is this vCPU's and its layout is asserted above.
            let outcome = match unsafe { enter_guest(&mut self.frame) } {
                kind::SYNCHRONOUS => self.synchronous(),
                kind::IRQ | kind::FIQ => {
                    self.interrupt();
                    ControlFlow::Continue(())
                }
                _ => self.crash(format_args!(
                    "SError, ESR_EL2 {:#x}: {}",
                    ESR_EL2.get(),
                    Syndrome(ESR_EL2.get())
                )),
            };
            if let ControlFlow::Break(exit) = outcome {
                break exit;
            }
        };
        self.put();
        exit
    }

    fn exits(&self) -> ExitCounters {
        self.counters
    }

    fn start_at(&mut self, pc: u64, argument: u64) {
        let (id, machine, counters) = (self.id, self.machine.clone(), self.counters);
        *self = Self::new(id, machine);
        self.counters = counters;
        self.frame.pc = pc;
        self.frame.set(0, argument);
    }

    fn regs(&self) -> Regs {
        let sp = match self.frame.pstate & 0xf {
            0b0101 => self.el1.sp_el1,
            _ => self.el1.sp_el0,
        };
        Regs::Aarch64 { x: self.frame.x, sp, pc: self.frame.pc, pstate: self.frame.pstate }
    }

    fn set_regs(&mut self, regs: &Regs) -> Result<(), RegsError> {
        let Regs::Aarch64 { x, sp, pc, pstate } = regs;
        if !is_guest_mode(*pstate) {
            return Err(RegsError("PSTATE names a mode that a guest cannot be in"));
        }
        self.frame = GuestFrame { x: *x, pc: *pc, pstate: *pstate };
        match pstate & 0xf {
            0b0101 => self.el1.sp_el1 = *sp,
            _ => self.el1.sp_el0 = *sp,
        }
        Ok(())
    }

    fn fpu_regs(&self) -> FpuRegs {
        self.fpu
    }

    fn set_fpu_regs(&mut self, regs: &FpuRegs) {
        self.fpu = *regs;
    }
}

/// The state of a vCPU that is not loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VcpuState {
    frame: GuestFrame,
    el1: El1Context,
    keys: Option<PointerKeys>,
    debug: DebugContext,
    fpu: FpuRegs,
    interface: gic::VirtualInterface,
    physical_timer: ArmTimer,
    os_lock: bool,
}

impl<M: Machine> Persist for Vcpu<M> {
    type State = VcpuState;

    fn save(&self) -> VcpuState {
        VcpuState {
            frame: self.frame,
            el1: self.el1,
            keys: self.keys,
            debug: self.debug,
            fpu: self.fpu,
            interface: self.interface,
            physical_timer: self.physical_timer.save(),
            os_lock: self.os_lock,
        }
    }

    fn restore(&mut self, state: &VcpuState) -> Result<(), RestoreError> {
        if !is_guest_mode(state.frame.pstate) {
            let found = state.frame.pstate & 0x1f;
            return Err(RestoreError { field: "vcpu.pstate.mode", found, limit: 0b1_0000 });
        }
        if state.keys.is_some() != self.keys.is_some() {
            let found = state.keys.is_some().into();
            return Err(RestoreError { field: "vcpu.keys", found, limit: self.keys.is_some().into() });
        }
        self.physical_timer.restore(&state.physical_timer)?;
        self.frame = state.frame;
        self.el1 = state.el1.sanitised();
        self.os_lock = state.os_lock;
        self.keys = state.keys;
        self.debug = state.debug;
        self.fpu = state.fpu;
        self.interface = state.interface;
        Ok(())
    }
}

/// `HCR_EL2` of a loaded vCPU (DDI 0487 D24.2.53).
fn hypervisor_configuration(has_pointer_authentication: bool) -> u64 {
    let mut hcr = HCR_EL2::VM::SET
        + HCR_EL2::SWIO::SET // invalidation by set/way cleans, too
        + HCR_EL2::PTW::SET // no walks in device memory
        + HCR_EL2::FMO::SET
        + HCR_EL2::IMO::SET
        + HCR_EL2::AMO::SET
        + HCR_EL2::FB::SET // maintenance reaches the CPU that a vCPU has moved to
        + HCR_EL2::BSU::InnerShareable
        + HCR_EL2::TID3::SET
        + HCR_EL2::TSC::SET
        + HCR_EL2::TIDCP::SET
        + HCR_EL2::TACR::SET
        + HCR_EL2::RW::SET
        + HCR_EL2::TLOR::SET
        + HCR_EL2::TERR::SET;
    if has_pointer_authentication {
        hcr += HCR_EL2::API::SET + HCR_EL2::APK::SET;
    }
    if stage2::has_forced_write_back() {
        hcr += HCR_EL2::FWB::SET;
    }
    hcr.value
}

/// Registers that keep guests from what they are not shown (see [`super::idregs`]).
mod traps {
    use super::super::sysreg::{mrs, msr};

    /// `CPTR_EL2` with E2H = 0 (D24.2.34): FP and SIMD are free; SVE (TZ), SME (TSM), trace (TTA) and
    /// activity monitors (TAM) trap. The rest is RES1.
    pub const CPTR: u64 = 0x33ff | 1 << 20 | 1 << 30;
    /// `MDCR_EL2` (D24.3.18): PMU (TPM, TPMCR), profiling (TPMS), trace filter (TTRF), ROM address (TDRA) and
    /// the OS lock (TDOSA) trap; the last because whoever locks it could arm halting debug, from which EL2
    /// would not get its CPU back. Breakpoints are the guest's.
    pub const MDCR: u64 = 1 << 6 | 1 << 5 | 1 << 14 | 1 << 19 | 1 << 11 | 1 << 10;

    /// Registers that only newer CPUs have, and whose reset value is not architected.
    pub fn restrict_optional_features() {
        let mmfr0 = mrs!("id_aa64mmfr0_el1");
        let mmfr1 = mrs!("id_aa64mmfr1_el1");
        let pfr0 = mrs!("id_aa64pfr0_el1");
        // SAFETY: all are EL2's own controls over EL1; each is written only where its feature is implemented.
        unsafe {
            if mmfr1 >> 40 & 0xf != 0 {
                /// HCRX_EL2.MSCEn: memory copy and set instructions are not trapped.
                const MSCEN: u64 = 1 << 11;
                msr!("S3_4_C1_C2_2", MSCEN);
            }
            if mmfr0 >> 56 & 0xf != 0 {
                // Fine-grained traps: the positive ones off, the negative ones (nXXX = 0) on.
                msr!("S3_4_C1_C1_4", 0u64); // HFGRTR_EL2
                msr!("S3_4_C1_C1_5", 0u64); // HFGWTR_EL2
                msr!("S3_4_C1_C1_6", 0u64); // HFGITR_EL2
                msr!("S3_4_C3_C1_4", 0u64); // HDFGRTR_EL2
                msr!("S3_4_C3_C1_5", 0u64); // HDFGWTR_EL2
            }
            if mmfr0 >> 56 & 0xf >= 2 {
                msr!("S3_4_C3_C1_2", 0u64); // HFGRTR2_EL2
                msr!("S3_4_C3_C1_3", 0u64); // HFGWTR2_EL2
                msr!("S3_4_C3_C1_7", 0u64); // HFGITR2_EL2
                msr!("S3_4_C3_C1_0", 0u64); // HDFGRTR2_EL2
                msr!("S3_4_C3_C1_1", 0u64); // HDFGWTR2_EL2
            }
            if pfr0 >> 40 & 0xf != 0 {
                /// MPAM2_EL2.TRAPMPAM0EL1 and .TRAPMPAM1EL1.
                const TRAP_MPAM: u64 = 1 << 49 | 1 << 48;
                msr!("S3_4_C10_C5_0", TRAP_MPAM);
            }
        }
    }
}
