//! A hart.

use alloc::sync::Arc;

use super::clint::Bus;
use super::cluster::{Boot, Cluster, HartState};
use super::context::{Context, Enables};
use super::csr::{Environment, Status};
use super::debug::Debugger;
use super::exception;
use super::lift::lift_block;
use super::mmu::Satp;
use super::mode::Mode;
use super::platform::Platform;
use super::pmp::Pmp;
use super::sbi;
use super::system::Activity;
use super::translate::View;
use super::words::{
    A0, A1, FFLAGS, FRM, INSTRET, MENVCFG, MODE, MSTATUS, PC, RESERVED_ADDRESS, RESERVED_VALUE, SATP,
    SENVCFG, STIMECMP, Words,
};
use crate::float::{self, NanRule, Rounding};
use crate::interp::{Attention, Code, Exception, Flush, Guest, Translation};
use crate::ir::{Block, FloatOp, Var};
use crate::memory::{Access, Physical, Size};

/// A hart of a machine whose surroundings are `P`.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Hart<P> {
    /// They come first: translated code has their address in its stack pointer, which is aligned to 16 bytes.
    pub(super) words: Words,
    pub(super) bus: Bus<P>,
    pub(super) activity: Activity,
    pub(super) debugger: Debugger,
    pub(super) flush: Flush,
    pub(super) code_epoch: u64,
    /// The deadline that the platform has been given last.
    pub(super) deadline: u64,
    // These follow from `words`.
    pub(super) pmp: Pmp,
    pub(super) view: View,
    context: u32,
}

impl<P: Platform> Hart<P> {
    /// Hart `index` of a machine, as it is when the machine starts; `None` if the machine has no such hart.
    pub fn new(cluster: Arc<Cluster>, platform: P, index: usize) -> Option<Self> {
        let boot = cluster.boot();
        let mut hart = Self {
            words: [0; 256],
            bus: Bus::new(cluster, platform, index)?,
            activity: Activity::Running,
            debugger: Debugger::default(),
            flush: Flush::All,
            code_epoch: 0,
            deadline: u64::MAX,
            pmp: Pmp::default(),
            view: View::Machine,
            context: 0,
        };
        hart.reset(boot);
        Some(hart)
    }

    /// Its registers, as [`polyvisor_cell_abi::riscv`] lays them out. They stay where they are while the hart
    /// does.
    pub const fn registers(&self) -> &Words {
        &self.words
    }

    fn reset(&mut self, boot: Boot) {
        self.words = [0; 256];
        self.words[MODE] = Mode::Machine.bits();
        self.words[MSTATUS] = Status::RESET.bits();
        self.words[STIMECMP] = u64::MAX;
        self.drop_reservation();
        if boot.mode == Mode::Supervisor {
            sbi::prepare(&mut self.words);
        }
        self.pmp = Pmp::new(&self.words);
        self.words[PC] = boot.entry & !1;
        self.words[A0] = self.bus.index() as u64;
        for (register, argument) in (A1..).zip(boot.arguments) {
            self.words[register] = argument;
        }
        if self.bus.shared().state() != HartState::Started {
            self.activity = Activity::Stopped;
        }
        self.refresh();
        // From here on fences are its business. It has translated nothing yet.
        self.bus.shared().fences.unpark();
    }

    /// The privilege mode.
    pub fn mode(&self) -> Mode {
        Mode::from_bits(self.words[MODE]).unwrap_or(Mode::User)
    }

    /// Computes what follows from the registers anew, after they have changed.
    pub(super) fn refresh(&mut self) {
        let (mode, status) = (self.mode(), self.status());
        let view = View::of(mode, status);
        if view != self.view {
            self.view = view;
            self.drop_reservation();
        }
        let context = Context { mode: mode as u32, enables: self.enables(mode, status) };
        self.context = context.bits() | self.debugger.context_bits();
        if self.deliverable().is_some() {
            self.bus.platform().make_due();
        }
    }

    /// Makes the next SC fail. It compares addresses as the guest's code sees them, and values with what LR has read: so this
    /// is done wherever an address may come to mean something else, and where others may have changed memory and changed
    /// it back.
    pub(super) fn drop_reservation(&mut self) {
        self.words[RESERVED_ADDRESS] = u64::MAX;
    }

    fn enables(&self, mode: Mode, status: Status) -> Enables {
        let machine = mode == Mode::Machine;
        let supervisor_may = |trapped| mode == Mode::Supervisor && !status.contains(trapped);
        let mut allowed = Environment::from_bits_retain(self.words[MENVCFG]);
        if mode == Mode::User {
            allowed &= Environment::from_bits_retain(self.words[SENVCFG]);
        }
        let mut enables = Enables::empty();
        enables.set(Enables::FLOAT, status.intersects(Status::FS));
        enables.set(Enables::FLOAT_DIRTY, status.contains(Status::FS));
        enables.set(Enables::ROUNDING, self.words[FRM] <= 4);
        enables.set(Enables::SFENCE_VMA, machine || supervisor_may(Status::TVM));
        enables.set(Enables::SRET, machine || supervisor_may(Status::TSR));
        enables.set(Enables::WFI, machine || supervisor_may(Status::TW));
        enables.set(Enables::CBO_INVAL, machine || allowed.intersects(Environment::CBIE));
        enables.set(Enables::CBO_CLEAN, machine || allowed.contains(Environment::CBCFE));
        enables.set(Enables::CBO_ZERO, machine || allowed.contains(Environment::CBZE));
        enables
    }

    /// The entries of physical memory protection have changed.
    pub(super) fn pmp_changed(&mut self) {
        self.pmp = Pmp::new(&self.words);
        self.forget_all();
    }
}

impl<P: Platform> Guest for Hart<P> {
    const PC: Var = Var(PC as u8);
    const INSTRET: Var = Var(INSTRET as u8);
    const RESERVATION: [Var; 2] = [Var(RESERVED_ADDRESS as u8), Var(RESERVED_VALUE as u8)];
    const VIEWS: usize = View::COUNT;

    fn vars(&mut self) -> &mut Words {
        &mut self.words
    }

    fn physical(&self) -> &impl Physical {
        &self.bus
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn translation_context(&self) -> u32 {
        self.context | Context::FLOAT_READY | Context::MAY_DECLINE
    }

    /// No breakpoints have ever been set: what a count of changes stands for is another in another run.
    fn has_lasting_context(&self) -> bool {
        self.debugger.context_bits() == 0
    }

    fn rounding(&self) -> Rounding {
        rounding_of(self.words[FRM])
    }

    fn float_ready(&self) -> bool {
        self.context & Context::FLOAT_READY == Context::FLOAT_READY && self.words[FRM] != NEAREST_AWAY
    }

    fn view(&self) -> usize {
        self.view as usize
    }

    fn space(&self) -> u64 {
        match self.view {
            View::Machine => Satp::BARE,
            _ => self.code_space(),
        }
    }

    /// That of modes below machine mode, which the context tells from it.
    fn code_space(&self) -> u64 {
        Satp(self.words[SATP]).space()
    }

    #[inline]
    fn wants_attention(&self) -> bool {
        self.bus.platform().is_due()
    }

    fn attend(&mut self) -> Attention {
        self.attend_to_all()
    }

    fn take_flush(&mut self) -> Flush {
        core::mem::take(&mut self.flush)
    }

    fn code_epoch(&self) -> u64 {
        self.code_epoch
    }

    fn translate(&mut self, address: u64, len: u64, access: Access) -> Result<Translation, Exception> {
        self.translate_in_view(address, len, access)
    }

    fn access_fault(&self, address: u64, access: Access) -> Exception {
        exception::access_fault(address, access)
    }

    fn misaligned(&self, address: u64, _size: Size, access: Access, atomic: bool) -> Result<(), Exception> {
        if atomic { Err(exception::misaligned(address, access)) } else { Ok(()) }
    }

    fn lift_in(
        &mut self,
        context: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut Code<'_, Self>,
    ) -> Result<(), Exception> {
        match self.debugged(pc, max) {
            Ok(max) => {
                let context = Context::from_bits(context);
                lift_block(pc, max, context, block, |address| code.read(self, address))
            }
            Err(breakpoint) => {
                *block = breakpoint;
                Ok(())
            }
        }
    }

    fn call(&mut self, function: u16, a: u64, b: u64) -> Result<u64, Exception> {
        self.call_function(function, a, b)
    }

    fn float(&mut self, op: FloatOp, rounding: u8, operands: [u64; 3]) -> u64 {
        let mode = if rounding == DYNAMIC { self.words[FRM] } else { rounding.into() };
        let mut context = float::Context::new(rounding_of(mode), NanRule::Canonical);
        let result = context.execute(op, operands);
        self.words[FFLAGS] |= u64::from(context.flags.bits());
        result
    }

    fn raise(&mut self, exception: Exception) {
        self.exception(exception.cause, exception.value);
    }
}

/// The rounding mode that says that `frm` has it (Unprivileged ISA, table 25).
const DYNAMIC: u8 = 7;

/// The rounding mode RMM, which A64 has in single instructions only.
const NEAREST_AWAY: u64 = 4;

/// The rounding mode of this number. Those that are reserved don't come here: with them, instructions are
/// illegal.
const fn rounding_of(number: u64) -> Rounding {
    match number {
        1 => Rounding::TowardZero,
        2 => Rounding::Down,
        3 => Rounding::Up,
        NEAREST_AWAY => Rounding::NearestAway,
        _ => Rounding::NearestEven,
    }
}
