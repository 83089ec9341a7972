//! HSM: harts that start, stop and sleep (SBI, chapter 9).

use super::super::cluster::HartState;
use super::super::hart::Hart;
use super::super::platform::Platform;
use super::super::system::Activity;
use super::{Answer, Error, Request};
use crate::memory::Physical;

/// `suspend_type`: registers are kept.
const RETENTIVE: u32 = 0;
/// `suspend_type`: the hart starts anew.
const NON_RETENTIVE: u32 = 0x8000_0000;

impl<P: Platform> Hart<P> {
    /// The answer; `None` if the call does not return.
    pub(super) fn sbi_hsm(&mut self, request: Request) -> Option<Answer> {
        let [first, address, opaque, ..] = request.arguments;
        Some(match request.function {
            0 => self.hart_start(first, address, opaque),
            1 => {
                self.sleep(Activity::Stopped, HartState::Stopped);
                return None;
            }
            2 => self.hart_status(first),
            3 => match first as u32 {
                RETENTIVE => {
                    self.sleep(Activity::Waiting, HartState::Suspended);
                    Ok(0)
                }
                NON_RETENTIVE => match self.suspend(address, opaque) {
                    Ok(()) => return None,
                    Err(error) => Err(error),
                },
                _ => Err(Error::InvalidParam),
            },
            _ => Err(Error::NotSupported),
        })
    }

    fn hart_start(&self, hart: u64, entry: u64, opaque: u64) -> Answer {
        let index = usize::try_from(hart).map_err(|_| Error::InvalidParam)?;
        let shared = self.bus.cluster().hart(index).ok_or(Error::InvalidParam)?;
        self.check_entry(entry)?;
        if !shared.start(entry, opaque) {
            return Err(Error::AlreadyAvailable);
        }
        self.bus.notify(index);
        Ok(0)
    }

    fn hart_status(&self, hart: u64) -> Answer {
        let shared = usize::try_from(hart).ok().and_then(|hart| self.bus.cluster().hart(hart));
        let state = match shared.ok_or(Error::InvalidParam)?.state() {
            HartState::StartClaimed => HartState::StartPending,
            state => state,
        };
        Ok(u64::from(state as u32))
    }

    /// Sleeps until an interrupt is pending, then starts in supervisor mode.
    pub(super) fn suspend(&mut self, resume: u64, opaque: u64) -> Result<(), Error> {
        self.check_entry(resume)?;
        self.sleep(Activity::Suspended { resume, opaque }, HartState::Suspended);
        Ok(())
    }

    fn sleep(&mut self, activity: Activity, state: HartState) {
        self.activity = activity;
        self.bus.shared().set_state(state);
        self.bus.platform().make_due();
    }

    /// Code must be in RAM.
    fn check_entry(&self, address: u64) -> Result<(), Error> {
        self.bus.ram().host(address, 2).map(|_| ()).ok_or(Error::InvalidAddress)
    }
}
