//! The functions of SBI 0.1 that small systems still use (SBI, chapter 5). They answer in a0 only.

use super::super::hart::Hart;
use super::super::platform::{Platform, Shutdown};
use super::extension;

/// -1: there is no character, or it could not be written.
const NONE: u64 = u64::MAX;

impl<P: Platform> Hart<P> {
    /// The answer, if `number` is one of them.
    pub(super) fn sbi_legacy(&mut self, number: u64, argument: u64) -> Option<u64> {
        Some(match number {
            extension::SET_TIMER => {
                self.set_timer(argument);
                0
            }
            extension::CONSOLE_PUTCHAR => self.console_put(argument as u8).map_or(NONE, |()| 0),
            extension::CONSOLE_GETCHAR => self.console_get().map_or(NONE, u64::from),
            extension::SHUTDOWN => {
                self.end(Shutdown::Off);
                0
            }
            _ => return None,
        })
    }
}
