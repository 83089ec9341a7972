//! The supervisor binary interface, for guests that start in supervisor mode: what firmware in machine mode
//! would do.
//!
//! A call has the extension's number in a7, the function's in a6, and arguments from a0 on; a0 and a1 are the
//! answer (SBI, chapter 3). Machine mode itself is never entered: all exceptions are delegated but the
//! environment call, which comes here.

mod base;
mod console;
mod harts;
mod legacy;
mod pmu;
mod power;
mod rfence;

use super::csr::{DELEGABLE, Environment};
use super::hart::Hart;
use super::interrupt::Interrupts;
use super::mode::Mode;
use super::platform::Platform;
use super::pmp;
use super::words::{
    A0, A1, A6, A7, MCOUNTEREN, MEDELEG, MENVCFG, MIDELEG, MODE, PMPADDR, SCOUNTEREN, STIMECMP, Words,
};

/// The numbers of extensions that are there.
mod extension {
    pub const SET_TIMER: u64 = 0x00;
    pub const CONSOLE_PUTCHAR: u64 = 0x01;
    pub const CONSOLE_GETCHAR: u64 = 0x02;
    pub const SHUTDOWN: u64 = 0x08;
    pub const BASE: u64 = 0x10;
    pub const TIME: u64 = 0x5449_4d45;
    pub const IPI: u64 = 0x73_5049;
    pub const RFENCE: u64 = 0x5246_4e43;
    pub const HSM: u64 = 0x48_534d;
    pub const SRST: u64 = 0x5352_5354;
    pub const PMU: u64 = 0x50_4d55;
    pub const DBCN: u64 = 0x4442_434e;
    pub const SUSP: u64 = 0x5355_5350;

    /// All of them.
    pub const ALL: [u64; 13] = [
        SET_TIMER,
        CONSOLE_PUTCHAR,
        CONSOLE_GETCHAR,
        SHUTDOWN,
        BASE,
        TIME,
        IPI,
        RFENCE,
        HSM,
        SRST,
        PMU,
        DBCN,
        SUSP,
    ];
}

/// Why a call has failed (SBI, table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
enum Error {
    Failed = -1,
    NotSupported = -2,
    InvalidParam = -3,
    Denied = -4,
    InvalidAddress = -5,
    AlreadyAvailable = -6,
    AlreadyStarted = -7,
    AlreadyStopped = -8,
    NoSharedMemory = -9,
}

/// The value that a call returns.
type Answer = Result<u64, Error>;

/// A call: the function's number, and the arguments.
#[derive(Debug, Clone, Copy)]
struct Request {
    function: u64,
    arguments: [u64; 6],
}

/// Makes the registers what firmware leaves behind: as OpenSBI, but that exceptions that it would only hand
/// on go to supervisor mode directly.
pub fn prepare(words: &mut Words) {
    words[MODE] = Mode::Supervisor.bits();
    words[MEDELEG] = DELEGABLE;
    words[MIDELEG] = Interrupts::SUPERVISOR.bits();
    words[MCOUNTEREN] = 0x7;
    words[SCOUNTEREN] = 0x7;
    words[MENVCFG] = Environment::MACHINE.bits();
    words[STIMECMP] = u64::MAX;
    // One entry permits everything: NAPOT with all ones, RWX.
    words[PMPADDR] = pmp::ADDRESS_BITS;
    pmp::write_config(words, 0, 0x1f);
}

impl<P: Platform> Hart<P> {
    /// Answers the call that the registers make.
    pub(super) fn sbi_call(&mut self) {
        let mut arguments = [0; 6];
        arguments.copy_from_slice(&self.words[A0..A6]);
        let request = Request { function: self.words[A6], arguments };
        let extension = self.words[A7];
        if let Some(answer) = self.sbi_legacy(extension, arguments[0]) {
            self.words[A0] = answer;
            return;
        }
        let answer = match extension {
            extension::BASE => base::call(request),
            extension::TIME => self.sbi_time(request),
            extension::IPI => self.sbi_ipi(request),
            extension::RFENCE => self.sbi_rfence(request),
            extension::HSM => match self.sbi_hsm(request) {
                Some(answer) => answer,
                None => return,
            },
            extension::SRST => self.sbi_reset(request),
            extension::PMU => self.sbi_pmu(request),
            extension::DBCN => self.sbi_console(request),
            extension::SUSP => match self.sbi_suspend(request) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            _ => Err(Error::NotSupported),
        };
        let (error, value) = match answer {
            Ok(value) => (0, value),
            Err(error) => (error as i64, 0),
        };
        self.words[A0] = error.cast_unsigned();
        self.words[A1] = value;
    }

    /// TIME (SBI, chapter 6).
    fn sbi_time(&mut self, request: Request) -> Answer {
        if request.function != 0 {
            return Err(Error::NotSupported);
        }
        self.set_timer(request.arguments[0]);
        Ok(0)
    }

    fn set_timer(&mut self, time: u64) {
        self.words[STIMECMP] = time;
        self.find_interrupts();
        self.refresh();
    }

    /// IPI (SBI, chapter 7).
    fn sbi_ipi(&mut self, request: Request) -> Answer {
        if request.function != 0 {
            return Err(Error::NotSupported);
        }
        let [mask, base, ..] = request.arguments;
        let harts = self.hart_mask(mask, base)?;
        for hart in (0..self.bus.cluster().harts()).filter(|hart| harts & 1 << hart != 0) {
            self.bus.cluster().shared(hart).send_ipi();
            self.bus.notify(hart);
        }
        Ok(0)
    }

    /// The harts that a call is about (SBI, 3.1).
    fn hart_mask(&self, mask: u64, base: u64) -> Result<u32, Error> {
        let all = (1u64 << self.bus.cluster().harts()) - 1;
        let harts = match base {
            u64::MAX => Some(all),
            _ if mask == 0 => Some(0),
            // Nothing may be shifted out.
            0..64 => Some(mask << base).filter(|harts| harts >> base == mask),
            _ => None,
        };
        harts.filter(|harts| harts & !all == 0).map(|harts| harts as u32).ok_or(Error::InvalidParam)
    }
}
