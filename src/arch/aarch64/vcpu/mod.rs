//! A virtual CPU that runs natively: EL1 and EL0 of this CPU, with EL2 underneath.
//!
//! [`Vcpu::run`] is the whole life of a vCPU on a physical CPU: load its registers, enter the guest, answer
//! what it traps on, enter it again, and put its registers away when something must be decided elsewhere.
//! Exits that a guest takes often are answered without leaving that loop.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTPCT_EL0, CNTVOFF_EL2, ESR_EL2, HCR_EL2, MDCR_EL2, Readable, VMPIDR_EL2, Writeable,
};
use serde::{Deserialize, Serialize};

use super::syndrome::{ExceptionClass, Syndrome, Wait};
use super::sysreg::{mrs, msr};
use super::timer::{self, Alarm};
use super::{gic, irq, stage2, walk};
use crate::devices::arm_timer::ArmTimer;
use crate::devices::bus::Bus;
use crate::devices::gic::device::{Host, VgicDevice};
use crate::devices::gic::{CpuInterface, GicVersion, SgiGroup, VcpuSet, Vgic};
use crate::mm::addr::Ipa;
use crate::mm::frames::OutOfFrames;
use crate::persist::{Persist, RestoreError};
use crate::vm::debug::{Setup, TooManyPoints};
use crate::vm::ratelimit::LeftOut;
use crate::vm::vcpu::{Attention, Crash, Exit, FpuRegs, Regs, RegsError, Shared, VcpuId, VcpuOps};
use context::{El1Context, PointerKeys};
use debug::DebugState;
use debugger::Debugger;
pub use traps::init_cpu;

mod abort;
mod backtrace;
pub mod context;
mod debug;
mod debugger;
mod inject;
pub mod interrupts;
mod sysregs;
pub mod trace;
mod traps;

/// What a vCPU needs of the machine that it is part of.
pub trait Machine: Send + Sync + 'static {
    /// Who folds and kicks for the interrupt controller.
    type GicHost: Host + 'static;

    /// The interrupt controller.
    fn gic(&self) -> &VgicDevice<Self::GicHost>;

    /// The devices.
    fn bus(&self) -> &Bus;

    /// What the vCPU shares with the rest of the system.
    fn shared(&self, vcpu: usize) -> Arc<Shared>;

    /// `VTTBR_EL2` and `VTCR_EL2`.
    fn stage2(&self) -> (u64, u64);

    /// Whether each vCPU owns its CPU.
    fn is_dedicated(&self) -> bool;

    /// Takes note that the vCPU is being loaded on this CPU; tells whether another one of the VM was the last
    /// to run here.
    fn takes_turn(&self, vcpu: usize) -> bool;

    /// Whether the vCPU, which has been interrupted, must leave this CPU.
    fn must_leave(&self, vcpu: usize) -> bool;

    /// Whether other vCPUs wait for this CPU.
    fn is_contended(&self) -> bool;

    /// Sleeps until an interrupt comes; `false`: it did not, because the CPU is wanted for something else.
    fn nap(&self, vcpu: usize) -> bool;

    /// How far the guest's virtual counter is behind the physical one, in ticks.
    fn time_offset(&self) -> u64;

    /// The guest touched an address that no device claims.
    fn fault_in(&self, ipa: Ipa) -> FaultIn;

    /// Reads guest memory; `None` where there is none.
    fn read_memory(&self, ipa: Ipa, buffer: &mut [u8]) -> Option<()>;

    /// Does some of what is left to do for the VM's devices ([`Attention::DEVICES`]), for a bounded time; tells whether
    /// there is more.
    fn run_devices(&self) -> bool;

    /// Answers a call of the SMC calling convention: `registers` are x0 to x3, which it may change.
    fn call(&self, vcpu: usize, registers: &mut [u64; 4]) -> ControlFlow<CallExit>;

    /// The affinity fields of the vCPU's `MPIDR_EL1`.
    fn affinity(&self, vcpu: usize) -> u64;

    /// Whether a line that the guest can cause as often as it likes may be logged now.
    fn admit_log_line(&self) -> Option<LeftOut>;
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
    /// RAM for which there is no memory now.
    OutOfMemory(OutOfFrames),
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

/// The earlier of two points in time that may never come.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A vCPU of the VM `M`.
pub struct Vcpu<M: Machine> {
    frame: GuestFrame,
    id: VcpuId,
    machine: Arc<M>,
    shared: Arc<Shared>,
    /// `VMPIDR_EL2`.
    mpidr: u64,
    /// `HCR_EL2` while loaded.
    hcr: u64,
    /// While loaded: the list registers have been folded, and not been filled again. What [`Vgic::leaves_hardware`] was
    /// then.
    folded: Option<u32>,
    /// How often in a row the guest's own exception vector could not be fetched.
    lost_vectors: u32,
    physical_timer: ArmTimer,
    /// The level that the physical timer's line was last given; `None` if that is not known.
    physical_timer_line: Option<bool>,
    el1: El1Context,
    keys: Option<PointerKeys>,
    debug: DebugState,
    /// The debugger that has the vCPU, if one has.
    debugger: Option<Box<Debugger>>,
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
        let keys = context::has_pointer_authentication().then(PointerKeys::default);
        Self {
            frame: GuestFrame { x: [0; 31], pc: 0, pstate: PSTATE_START },
            id,
            shared: machine.shared(id.index),
            mpidr: 1 << 31 | machine.affinity(id.index),
            hcr: traps::hypervisor_configuration(keys.is_some(), machine.is_dedicated()),
            machine,
            folded: None,
            lost_vectors: 0,
            physical_timer: ArmTimer::default(),
            physical_timer_line: None,
            el1: El1Context::reset(),
            keys,
            debug: DebugState::reset(),
            debugger: None,
            fpu: FpuRegs::default(),
            interface: gic::VirtualInterface::default(),
        }
    }

    /// Gives this CPU the vCPU's registers.
    fn load(&mut self) {
        let vcpu = self.id.index;
        stage2::load(self.machine.stage2());
        self.let_others_run(self.machine.is_contended());
        if self.machine.takes_turn(vcpu) {
            stage2::forget_address_spaces();
        }
        // HPMN keeps all event counters with EL1, which cannot reach them (D24.5.1).
        MDCR_EL2.set(traps::MDCR | debugger::routing(&self.debugger) | MDCR_EL2.get() & 0x1f);
        VMPIDR_EL2.set(self.mpidr);
        CNTVOFF_EL2.set(self.machine.time_offset());
        if let Some(keys) = &self.keys {
            keys.restore();
        }
        self.el1.restore();
        self.load_debug_registers();
        // SAFETY: the layout is asserted where the type is defined; CPTR_EL2 lets EL2 use the registers.
        unsafe { fpu_restore(&self.fpu) };
        gic::restore_virtual_interface(&self.interface);
        self.shared.attention.take_interrupts();
        let (deadline, level) = self.physical_timer_now();
        timer::set(Alarm::Guest, deadline);
        {
            let mut vgic = self.machine.gic().lock();
            interrupts::drive_physical_timer(&mut vgic, vcpu, &mut self.physical_timer_line, level);
            interrupts::adopt_timer(&mut vgic, vcpu);
            self.folded = None;
            interrupts::fill(&mut vgic, vcpu);
        }
        if self.debugger.is_some() {
            self.enter_debugged();
        }
        barrier::isb(barrier::SY);
    }

    /// Takes the vCPU's registers off this CPU.
    fn put(&mut self) {
        if self.debugger.is_some() {
            self.leave_debugged();
        }
        self.el1.save();
        // SAFETY: the timer is the guest's, and it is not running here any more.
        unsafe { msr!("cntv_ctl_el0", 0u64) };
        timer::set(Alarm::Guest, None);
        if let Some(keys) = &mut self.keys {
            keys.save();
        }
        // SAFETY: as in `load`.
        unsafe { fpu_save(&mut self.fpu) };
        let (others, linked) = self.folded.map_or_else(
            || {
                let vcpu = self.id.index;
                let mut vgic = self.machine.gic().lock();
                let others = interrupts::fold(&mut vgic, vcpu, self.el1.cntv_ctl);
                (others, vgic.leaves_hardware(vcpu))
            },
            |linked| (VcpuSet::EMPTY, linked),
        );
        // The physical interrupt of a pending timer goes with its vCPU; its next load makes it active. One that the guest
        // has no use for any more must not stay behind either.
        interrupts::release(linked);
        self.kick(others);
        gic::save_virtual_interface(&mut self.interface);
        stage2::unload();
    }

    fn kick(&self, vcpus: VcpuSet) {
        if !vcpus.is_empty() {
            self.machine.gic().host().kick(vcpus);
        }
    }

    /// Traps the guest's spinning or no longer does: it is for others' good, where there are others.
    fn let_others_run(&mut self, contended: bool) {
        self.hcr = traps::with_yielding(self.hcr, contended && !self.machine.is_dedicated());
        HCR_EL2.set(self.hcr);
    }

    /// Answers what others want of the vCPU before it enters the guest.
    #[cold]
    fn attend(&mut self) -> ControlFlow<Exit> {
        loop {
            let wanted = self.shared.attention.take();
            if wanted & Attention::STOP != 0 {
                // What is left to do for devices is done when the vCPU goes on.
                self.shared.attention.raise(wanted & Attention::DEVICES);
                return ControlFlow::Break(Exit::Stopped);
            }
            if wanted & Attention::DEVICES != 0 && self.machine.run_devices() {
                self.shared.attention.raise(Attention::DEVICES);
            }
            if wanted & Attention::INTERRUPTS != 0 {
                self.sync_interrupts(|_| VcpuSet::EMPTY);
            }
            // If this CPU is interrupted, the vCPU leaves its guest at once, and comes back here unless others are to
            // run first.
            if self.shared.attention.peek() == 0 || irq::is_pending() {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Folds the list registers, lets `change` act on the interrupt controller, and fills them again.
    fn sync_interrupts(&mut self, change: impl FnOnce(&mut Vgic) -> VcpuSet) {
        let vcpu = self.id.index;
        self.folded = None;
        let mut vgic = self.machine.gic().lock();
        let mut others = interrupts::fold(&mut vgic, vcpu, mrs!("cntv_ctl_el0"));
        others |= change(&mut vgic);
        interrupts::fill(&mut vgic, vcpu);
        drop(vgic);
        if let Some(debugger) = &self.debugger {
            debugger.withhold_interrupts();
        }
        self.kick(others.without(vcpu));
    }

    /// Folds the list registers, which stay so unless something is pending that ends a wait. `Err`: nothing is, until
    /// a timer of the guest's is due at the given time on the physical counter.
    fn collect_interrupts(&mut self) -> Result<(), Option<u64>> {
        let vcpu = self.id.index;
        // Read before their interrupts are looked for: a timer that is due a moment later has not been missed, but has
        // a deadline in the past.
        let timer_control = mrs!("cntv_ctl_el0");
        let virtual_deadline =
            interrupts::virtual_timer_deadline(timer_control, || self.machine.time_offset());
        let (physical_deadline, level) = self.physical_timer_now();
        let mut vgic = self.machine.gic().lock();
        let others = interrupts::fold(&mut vgic, vcpu, timer_control);
        interrupts::drive_physical_timer(&mut vgic, vcpu, &mut self.physical_timer_line, level);
        let interface = || CpuInterface::from_vmcr(gic::virtual_machine_control());
        let pending =
            vgic.has_pending(vcpu, interface) || interrupts::is_timer_new(&vgic, vcpu, timer_control);
        let result = if pending {
            self.folded = None;
            interrupts::fill(&mut vgic, vcpu);
            Ok(())
        } else {
            self.folded = Some(vgic.leaves_hardware(vcpu));
            Err(earlier(virtual_deadline, physical_deadline))
        };
        drop(vgic);
        self.kick(others);
        result
    }

    /// A synchronous exception from the guest.
    #[inline]
    fn synchronous(&mut self) -> ControlFlow<Exit> {
        let syndrome = Syndrome(ESR_EL2.get());
        let [x0, ..] = self.frame.x;
        trace::exception(&self.shared.trace, self.frame.pc, syndrome, x0);
        match syndrome.class() {
            ExceptionClass::HVC64 => self.call(syndrome.imm16()),
            ExceptionClass::DATA_ABORT_LOWER => abort::data(self, syndrome),
            ExceptionClass::WFX => self.wait(syndrome),
            ExceptionClass::SYSREG => {
                self.shared.sysreg.count();
                sysregs::access(self, syndrome.sysreg_trap())
            }
            ExceptionClass::SMC64 => {
                // Unlike after HVC, the return address is that of the instruction itself (DEN 0028 2.7).
                self.frame.advance(4);
                self.call(syndrome.imm16())
            }
            ExceptionClass::INSTRUCTION_ABORT_LOWER => abort::instruction(self, syndrome),
            class if self.debugger.is_some() && debugger::is_debug_exception(class) => {
                self.debug_exception(syndrome)
            }
            _ => {
                self.shared.undefined.count();
                inject::undefined(&mut self.frame);
                ControlFlow::Continue(())
            }
        }
    }

    /// A call by HVC or SMC with the given immediate, of which the convention allows only zero.
    #[inline]
    fn call(&mut self, immediate: u16) -> ControlFlow<Exit> {
        self.shared.calls.count();
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
                self.wait_for_interrupt(None)
            }
        }
    }

    /// An instruction that waits.
    fn wait(&mut self, syndrome: Syndrome) -> ControlFlow<Exit> {
        self.shared.waits.count();
        // The guest goes on behind it; it may end its wait for no reason at all (D1.6.1).
        self.frame.advance(syndrome.instruction_length());
        match syndrome.wait() {
            Wait::Wfe | Wait::Wfet if self.machine.is_contended() => ControlFlow::Break(Exit::Yielded),
            Wait::Wfe | Wait::Wfet => ControlFlow::Continue(()),
            Wait::Wfi => self.wait_for_interrupt(None),
            Wait::Wfit => match syndrome.wait_timeout_register() {
                Some(register) => {
                    let until = self.frame.get(register).wrapping_add(self.machine.time_offset());
                    self.wait_for_interrupt(Some(until))
                }
                None => ControlFlow::Continue(()),
            },
        }
    }

    /// Waits until an interrupt is pending for the guest, the physical counter has reached `until`, or somebody
    /// wants the vCPU: here, as long as nobody else wants the CPU.
    fn wait_for_interrupt(&mut self, until: Option<u64>) -> ControlFlow<Exit> {
        if self.debugger.as_ref().is_some_and(|debugger| debugger.is_stepping()) {
            return ControlFlow::Continue(());
        }
        loop {
            // What is asked for besides a stop is to look at the interrupts, which follows.
            if self.shared.attention.peek() != 0 {
                let wanted = self.shared.attention.take();
                self.shared.attention.raise(wanted & Attention::DEVICES);
                if wanted & Attention::STOP != 0 {
                    return ControlFlow::Break(Exit::Stopped);
                }
                if wanted & Attention::DEVICES != 0 {
                    // That comes first; a wait may end without a reason.
                    self.shared.attention.raise(Attention::INTERRUPTS);
                    return ControlFlow::Continue(());
                }
            }
            let Err(timer) = self.collect_interrupts() else { return ControlFlow::Continue(()) };
            if until.is_some_and(|until| until <= timer::now()) {
                // Nothing is pending that would be delivered; what is there is loaded on the way out.
                self.shared.attention.raise(Attention::INTERRUPTS);
                return ControlFlow::Continue(());
            }
            if until.is_some() || !self.machine.nap(self.id.index) {
                return ControlFlow::Break(Exit::Waiting { until: earlier(until, timer) });
            }
            self.interrupt()?;
        }
    }

    /// A physical interrupt.
    #[inline]
    fn interrupt(&mut self) -> ControlFlow<Exit> {
        self.shared.interrupts.count();
        let Some(taken) = gic::acknowledge() else { return ControlFlow::Continue(()) };
        trace::interrupt(&self.shared.trace, self.frame.pc, taken.intid());
        match irq::classify(taken.intid()) {
            irq::Kind::VirtualTimer => {
                let vcpu = self.id.index;
                self.sync_interrupts(|vgic| interrupts::timer_fired(vgic, vcpu, taken));
            }
            irq::Kind::HypervisorTimer => {
                irq::alarm();
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
        if self.machine.must_leave(self.id.index) {
            return ControlFlow::Break(Exit::Preempted);
        }
        let contended = self.machine.is_contended();
        if contended != traps::is_yielding(self.hcr) {
            self.let_others_run(contended);
        }
        ControlFlow::Continue(())
    }

    /// When the physical timer will be due, and whether it is.
    fn physical_timer_now(&self) -> (Option<u64>, bool) {
        let now = CNTPCT_EL0.get();
        (self.physical_timer.deadline(now), self.physical_timer.output(now))
    }

    /// Gives the physical timer's line its level, and the hypervisor timer its next deadline.
    fn update_physical_timer(&mut self) {
        let (deadline, level) = self.physical_timer_now();
        timer::set(Alarm::Guest, deadline);
        if self.physical_timer_line != Some(level) {
            self.physical_timer_line = Some(level);
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
            if self.shared.attention.peek() != 0
                && let ControlFlow::Break(exit) = self.attend()
            {
                break exit;
            }
            self.shared.in_guest.store(true, Ordering::Relaxed);
            // SAFETY: the vCPU is loaded; the frame is this vCPU's and its layout is asserted above.
            let exception = unsafe { enter_guest(&mut self.frame) };
            self.shared.in_guest.store(false, Ordering::Relaxed);
            let outcome = match exception {
                kind::SYNCHRONOUS => self.synchronous(),
                kind::IRQ | kind::FIQ => self.interrupt(),
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
        if matches!(exit, Exit::Debug(_)) {
            self.end_step();
        }
        exit
    }

    fn start_at(&mut self, pc: u64, argument: u64) {
        let mut debugger = self.debugger.take();
        if let Some(debugger) = &mut debugger {
            debugger.restart();
        }
        *self = Self { debugger, ..Self::new(self.id, self.machine.clone()) };
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
        let Regs::Aarch64 { x, sp, pc, pstate } = regs else {
            return Err(RegsError("they are those of another architecture"));
        };
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

    fn system_registers(&self) -> Vec<(&'static str, u64)> {
        self.el1.named().collect()
    }

    fn translate(&self, address: u64) -> Option<Ipa> {
        let regime = walk::Regime::of(self.el1.sctlr, self.el1.tcr, self.el1.ttbr0, self.el1.ttbr1);
        regime.translate(address, |ipa| abort::read_table(self, ipa)).map(Ipa)
    }

    fn backtrace(&self) -> Vec<u64> {
        backtrace::of(self)
    }

    fn debug(&mut self, setup: Option<Setup<'_>>) -> Result<(), TooManyPoints> {
        let debugger = setup.map(|setup| Debugger::new(setup, self.frame.pstate)).transpose()?;
        self.end_step();
        self.debugger = debugger;
        Ok(())
    }
}

/// The state of a vCPU that is not loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VcpuState {
    frame: GuestFrame,
    el1: El1Context,
    keys: Option<PointerKeys>,
    debug: DebugState,
    fpu: FpuRegs,
    interface: gic::VirtualInterface,
    physical_timer: ArmTimer,
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
        self.physical_timer_line = None;
        self.frame = state.frame;
        self.el1 = state.el1;
        self.keys = state.keys;
        self.debug = state.debug.sanitised();
        self.fpu = state.fpu;
        self.interface = state.interface;
        Ok(())
    }
}
