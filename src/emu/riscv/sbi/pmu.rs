//! PMU: the counters that exist, `cycle` and `instret` (SBI, chapter 11). A counter has the number of its bit
//! in `mcountinhibit`; number 1 would be `time`, which cannot be stopped and is none.

use super::super::csr::{Counter, number};
use super::super::hart::Hart;
use super::super::platform::Platform;
use super::super::words::{INSTRET, MCOUNTINHIBIT};
use super::{Answer, Error, Request};

/// One more than the highest number.
const COUNTERS: u64 = 3;
/// A counter has 64 bits: the field has one less.
const WIDTH: u64 = 63 << 12;

/// `event_idx` of what is counted: hardware general events, type 0.
const CPU_CYCLES: u64 = 1;
const INSTRUCTIONS: u64 = 2;

/// `config_flags`.
const SKIP_MATCH: u64 = 1 << 0;
const CLEAR_VALUE: u64 = 1 << 1;
const AUTO_START: u64 = 1 << 2;
/// `start_flags`.
const SET_INITIAL_VALUE: u64 = 1 << 0;
/// `start_flags` and `stop_flags`: through shared memory, of which there is none.
const SNAPSHOT: u64 = 1 << 1;

impl<P: Platform> Hart<P> {
    pub(super) fn sbi_pmu(&mut self, request: Request) -> Answer {
        let [first, mask, flags, third, ..] = request.arguments;
        match request.function {
            0 => Ok(COUNTERS),
            1 => {
                let counter = counter(first).ok_or(Error::InvalidParam)?;
                Ok((u64::from(number::CYCLE) + counter as u64) | WIDTH)
            }
            2 => self.configure(counters(first, mask)?, flags, third),
            3 => self.start_counters(counters(first, mask)?, flags, third),
            4 => self.stop_counters(counters(first, mask)?, flags),
            // There are no counters of firmware.
            5 | 6 => Err(Error::InvalidParam),
            _ => Err(Error::NotSupported),
        }
    }

    fn configure(&mut self, set: u64, flags: u64, event: u64) -> Answer {
        let fits = |counter: &Counter| {
            let counts = match counter {
                Counter::Cycle => CPU_CYCLES,
                Counter::Retired => INSTRUCTIONS,
            };
            set & counter.bit() != 0
                && (flags & SKIP_MATCH != 0 || event == counts && self.is_inhibited(*counter))
        };
        let counter = Counter::ALL.into_iter().find(fits).ok_or(Error::NotSupported)?;
        if flags & CLEAR_VALUE != 0 {
            self.set_count(counter, 0, self.words[INSTRET]);
        }
        if flags & AUTO_START != 0 {
            self.set_inhibited(self.words[MCOUNTINHIBIT] & !counter.bit());
        }
        Ok(counter as u64)
    }

    fn start_counters(&mut self, set: u64, flags: u64, value: u64) -> Answer {
        let inhibited = self.words[MCOUNTINHIBIT];
        if flags & SNAPSHOT != 0 {
            return Err(Error::NoSharedMemory);
        }
        if set & !inhibited != 0 {
            return Err(Error::AlreadyStarted);
        }
        self.set_inhibited(inhibited & !set);
        if flags & SET_INITIAL_VALUE != 0 {
            for counter in Counter::ALL.into_iter().filter(|counter| set & counter.bit() != 0) {
                self.set_count(counter, value, self.words[INSTRET]);
            }
        }
        Ok(0)
    }

    fn stop_counters(&mut self, set: u64, flags: u64) -> Answer {
        let inhibited = self.words[MCOUNTINHIBIT];
        if flags & SNAPSHOT != 0 {
            return Err(Error::NoSharedMemory);
        }
        if set & inhibited != 0 {
            return Err(Error::AlreadyStopped);
        }
        self.set_inhibited(inhibited | set);
        Ok(0)
    }
}

fn counter(index: u64) -> Option<Counter> {
    Counter::ALL.into_iter().find(|&counter| counter as u64 == index)
}

/// The counters that a call is about, as a mask. All must exist.
fn counters(base: u64, mask: u64) -> Result<u64, Error> {
    let all = Counter::ALL.iter().fold(0, |all, counter| all | counter.bit());
    let set = if base < 64 { mask << base } else { 0 };
    if base >= 64 || set >> base != mask || set & !all != 0 { Err(Error::InvalidParam) } else { Ok(set) }
}
