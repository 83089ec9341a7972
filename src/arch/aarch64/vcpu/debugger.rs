//! A vCPU in a debugger's hands: debug exceptions come to EL2 (`MDCR_EL2.TDE`), and the CPU's debug registers are the
//! debugger's instead of the guest's. `docs/gdb.md` says what that looks like from outside.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use aarch64_cpu::registers::{FAR_EL2, HCR_EL2, Readable, Writeable};

use super::super::breakpoint::{self, Registers};
use super::super::gic;
use super::super::syndrome::{ExceptionClass, Syndrome};
use super::{GuestFrame, Machine, Vcpu, debug, inject};
use crate::vm::debug::{Setup, TooManyPoints};
use crate::vm::vcpu::Exit;

/// PSTATE.SS in the layout of `SPSR_EL2` (DDI 0487 C5.2.20).
const SS: u64 = 1 << 21;
/// PSTATE.I.
const IRQ_MASKED: u64 = 1 << 7;
/// `MDCR_EL2.TDE`.
const TDE: u64 = 1 << 8;

/// What the debugger wants of a vCPU.
pub struct Debugger {
    points: Registers,
    step: Option<Step>,
}

/// A software step (D2.12.3), from its order until the vCPU has stopped.
struct Step {
    /// PSTATE.SS as the guest is to run with it: set until the instruction has been executed. While the guest runs it
    /// is in the frame, and the guest's own is here.
    ss: u64,
    /// The guest gets no interrupts. One is nearly always pending, after a stop, and would be taken instead of the
    /// instruction's execution. A guest that has them masked may be about to acknowledge one, and must find it.
    withholds_interrupts: bool,
}

impl Debugger {
    /// What makes a vCPU in the state `pstate` do as `setup` says.
    ///
    /// # Errors
    /// [`TooManyPoints`] for this CPU.
    pub fn new(setup: Setup<'_>, pstate: u64) -> Result<Box<Self>, TooManyPoints> {
        let (breakpoints, watchpoints) = debug::counts();
        let points = Registers::new(setup.points, breakpoints, watchpoints).ok_or(TooManyPoints)?;
        let step = Step { ss: SS, withholds_interrupts: pstate & IRQ_MASKED == 0 };
        Ok(Box::new(Self { points, step: setup.step.then_some(step) }))
    }

    /// Whether the vCPU is to execute one instruction only.
    pub fn is_stepping(&self) -> bool {
        self.step.is_some()
    }

    /// The vCPU starts afresh.
    pub fn restart(&mut self) {
        self.step = None;
    }

    /// Changes the guest's PSTATE.SS for that of the step, or back.
    fn exchange(&mut self, frame: &mut GuestFrame) {
        if let Some(step) = &mut self.step {
            let ss = frame.pstate & SS;
            frame.pstate = frame.pstate & !SS | step.ss;
            step.ss = ss;
        }
    }

    /// Keeps interrupts from the guest, if this step does. To be called whenever the list registers have been filled.
    #[cold]
    pub fn withhold_interrupts(&self) {
        if self.step.as_ref().is_some_and(|step| step.withholds_interrupts) {
            gic::withhold_interrupts();
        }
    }
}

/// What a debugger adds to `MDCR_EL2`.
#[inline]
pub fn routing(debugger: &Option<Box<Debugger>>) -> u64 {
    if debugger.is_some() { TDE } else { 0 }
}

/// Whether the exception is one that comes to EL2 only because a debugger wants it.
pub fn is_debug_exception(class: ExceptionClass) -> bool {
    matches!(
        class,
        ExceptionClass::BRK64
            | ExceptionClass::BKPT32
            | ExceptionClass::BREAKPOINT_LOWER
            | ExceptionClass::WATCHPOINT_LOWER
            | ExceptionClass::SOFTWARE_STEP_LOWER
    )
}

impl<M: Machine> Vcpu<M> {
    /// Gives this CPU the debug registers of whoever debugs: the guest itself, unless a debugger has the vCPU.
    #[inline]
    pub(super) fn load_debug_registers(&self) {
        match &self.debugger {
            None => self.debug.load(),
            Some(debugger) => self.debug.load_foreign(&debugger.points, debugger.is_stepping()),
        }
    }

    /// The vCPU is about to run under a debugger.
    #[cold]
    pub(super) fn enter_debugged(&mut self) {
        let Some(debugger) = &mut self.debugger else { return };
        debugger.exchange(&mut self.frame);
        debugger.withhold_interrupts();
        if debugger.is_stepping() {
            // A vCPU that owns its CPU, too, must come to the end of its step though it has nothing to do.
            HCR_EL2.set(self.hcr | (HCR_EL2::TWI::SET + HCR_EL2::TWE::SET).value);
        }
    }

    /// The vCPU has run under a debugger.
    #[cold]
    pub(super) fn leave_debugged(&mut self) {
        if let Some(debugger) = &mut self.debugger {
            debugger.exchange(&mut self.frame);
        }
    }

    /// A debug exception that was taken to EL2.
    #[cold]
    pub(super) fn debug_exception(&mut self, syndrome: Syndrome) -> ControlFlow<Exit> {
        match breakpoint::stop(syndrome, FAR_EL2.get()) {
            Some(stop) => ControlFlow::Break(Exit::Debug(stop)),
            None => {
                inject::as_it_came(&mut self.frame, syndrome);
                ControlFlow::Continue(())
            }
        }
    }

    /// Ends a step, of the vCPU that is not loaded, however far it has come.
    pub(super) fn end_step(&mut self) {
        let Some(step) = self.debugger.as_mut().and_then(|debugger| debugger.step.take()) else { return };
        let executed = step.ss == 0;
        if executed && inject::is_at_vector(&self.frame, self.el1.vbar) {
            // The exception has saved the step's SS in place of the guest's, which would have saved and cleared its
            // own.
            self.el1.spsr = self.el1.spsr & !SS | self.frame.pstate & SS;
            self.frame.pstate &= !SS;
        }
    }
}
