//! What instructions do beyond registers and memory, and what a hart does between two blocks.

use super::call::{Call, csr_number};
use super::cluster::HartState;
use super::csr::Change;
use super::csr::Status;
use super::exception::{self, cause};
use super::fence::Request;
use super::hart::Hart;
use super::interrupt::Interrupts;
use super::mode::Mode;
use super::platform::Platform;
use super::words::{A0, A1, MIP_WRITTEN, MODE, MSTATUS, PC, RESERVED_ADDRESS, SATP};
use crate::interp::{Attention, Exception, Flush};
use crate::memory::Access;

/// Whether a hart executes instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It does.
    Running,
    /// Not until an interrupt is pending.
    Waiting,
    /// Not until an interrupt is pending; then it goes on at this address with this in a1 (SBI, 9.5).
    Suspended {
        /// The address.
        resume: u64,
        /// What is in a1.
        opaque: u64,
    },
    /// Not until another hart starts it.
    Stopped,
}

impl<P: Platform> Hart<P> {
    /// Carries out a [`Call`].
    pub(super) fn call_function(&mut self, function: u16, a: u64, b: u64) -> Result<u64, Exception> {
        let Some(call) = Call::from_number(function) else {
            return self.call_of_debugger(function);
        };
        let change = |change| (csr_number(b), change);
        match call {
            Call::CsrRead => return self.csr_read(csr_number(b)).ok_or(exception::illegal(b)),
            Call::CsrWrite => return self.change_csr(change(Change::Write(a)), b),
            Call::CsrSet => return self.change_csr(change(Change::Set(a)), b),
            Call::CsrClear => return self.change_csr(change(Change::Clear(a)), b),
            Call::Ecall => self.environment_call()?,
            Call::Ebreak => return Err(Exception { cause: cause::BREAKPOINT, value: self.words[PC] }),
            Call::Mret => self.machine_return(),
            Call::Sret => self.supervisor_return(),
            Call::Wfi => {
                self.activity = Activity::Waiting;
                self.bus.platform().make_due();
            }
            // The low bits of `b` are the ASID, the others are reserved and ignored (12.2.1).
            Call::FenceAll => self.forget(Flush::All),
            Call::FenceSpace => self.forget(Flush::Space(b as u16)),
            Call::FencePage => self.forget(Flush::page(a, None)),
            Call::FencePageSpace => self.forget(Flush::page(a, Some(b as u16))),
            Call::FenceCode => self.code_epoch += 1,
            Call::CacheBlock => self.cache_block(a)?,
            Call::FloatDirty => {
                self.words[MSTATUS] = self.status().float_dirty().bits();
                self.refresh();
            }
            Call::Illegal => return Err(exception::illegal(a)),
            Call::WaitReservation => {
                if self.words[RESERVED_ADDRESS] != u64::MAX {
                    self.bus.platform().relax();
                }
            }
        }
        Ok(0)
    }

    fn change_csr(&mut self, (number, change): (u16, Change), word: u64) -> Result<u64, Exception> {
        self.csr_change(number, change).ok_or(exception::illegal(word))
    }

    fn environment_call(&mut self) -> Result<(), Exception> {
        let cause = match self.mode() {
            Mode::User => cause::CALL_FROM_USER,
            Mode::Supervisor if self.bus.cluster().boot().mode == Mode::Supervisor => {
                self.words[PC] = self.words[PC].wrapping_add(4);
                self.sbi_call();
                return Ok(());
            }
            Mode::Supervisor => cause::CALL_FROM_SUPERVISOR,
            Mode::Machine => cause::CALL_FROM_MACHINE,
        };
        Err(Exception { cause, value: 0 })
    }

    /// Whether the cache block of `address` may be accessed at all (CMO, 2.5.2).
    fn cache_block(&mut self, address: u64) -> Result<(), Exception> {
        if self.translate_in_view(address, 1, Access::Load).is_err() {
            self.translate_in_view(address, 1, Access::Store)?;
        }
        Ok(())
    }

    /// Does what there is to do between two blocks.
    pub(super) fn attend_to_all(&mut self) -> Attention {
        loop {
            // In this order: what happens from here on makes the hart due again.
            self.bus.platform().acknowledge();
            if self.bus.cluster().shutdown().is_some() {
                return Attention::Return;
            }
            self.serve_fences();
            if self.bus.shared().take_ipi() {
                self.words[MIP_WRITTEN] |= Interrupts::SUPERVISOR_SOFTWARE.bits();
            }
            self.find_interrupts();
            if self.stop_for_debugger() {
                continue;
            }
            let is_awake = self.is_awake();
            match (is_awake, self.start_step()) {
                (true, true) => return Attention::Step,
                (true, false) => {}
                (false, true) => continue,
                (false, false) => {
                    self.park(P::wait);
                    continue;
                }
            }
            if let Some(number) = self.deliverable() {
                self.interrupt(number);
            }
            return Attention::Go;
        }
    }

    /// Whether the hart executes instructions, or does so from now on.
    fn is_awake(&mut self) -> bool {
        match self.activity {
            Activity::Running => return true,
            Activity::Waiting if self.would_wake() || self.is_to_step() => {}
            Activity::Waiting => return false,
            Activity::Suspended { .. } if !self.would_wake() => return false,
            Activity::Suspended { resume, opaque } => self.start(resume, opaque),
            Activity::Stopped => match self.bus.shared().take_start() {
                Some([entry, opaque]) => self.start(entry, opaque),
                None => return false,
            },
        }
        self.bus.shared().set_state(HartState::Started);
        self.activity = Activity::Running;
        true
    }

    /// Lets the hart start in supervisor mode at `entry` (SBI, tables 19 and 24).
    fn start(&mut self, entry: u64, opaque: u64) {
        self.words[MODE] = Mode::Supervisor.bits();
        self.words[MSTATUS] = (self.status() & !Status::SIE).bits();
        self.words[SATP] = 0;
        self.words[A0] = self.bus.index() as u64;
        self.words[A1] = opaque;
        self.words[PC] = entry & !1;
        self.forget_all();
        self.refresh();
    }

    /// Leaves guest code for `pause`, during which other harts don't wait for this one.
    pub(super) fn park(&mut self, pause: impl FnOnce(&P)) {
        self.bus.shared().fences.park();
        pause(self.bus.platform());
        if self.bus.shared().fences.unpark() {
            self.forget_all();
            self.code_epoch += 1;
        }
    }

    /// Carries out the fences that other harts want of this one.
    fn serve_fences(&mut self) {
        let (mut flush, mut code) = (Flush::Nothing, false);
        // They are answered before they are carried out, which is before guest code goes on.
        let bus = &self.bus;
        bus.cluster().serve_fences(bus.index(), |request| match request {
            Request::Code => code = true,
            Request::Translations(wanted) => flush = flush.and(wanted),
        });
        self.forget(flush);
        if code {
            self.code_epoch += 1;
        }
    }

    /// Has `request` done by the harts whose bits are set in `harts`, of which this one may be one.
    pub(super) fn fence(&mut self, harts: u32, request: Request) {
        if harts & 1 << self.bus.index() != 0 {
            match request {
                Request::Code => self.code_epoch += 1,
                Request::Translations(flush) => self.forget(flush),
            }
        }
        let index = self.bus.index();
        self.bus.cluster().ask_fence(index, harts, request, |hart| self.bus.notify(hart));
        while !self.bus.cluster().is_fenced(index) && self.bus.cluster().shutdown().is_none() {
            self.serve_fences();
            self.bus.platform().relax();
        }
    }
}
