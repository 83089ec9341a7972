//! SRST and SUSP: the end of the machine, and its sleep (SBI, chapters 10 and 13).

use super::super::cluster::HartState;
use super::super::hart::Hart;
use super::super::platform::{Platform, Shutdown};
use super::{Answer, Error, Request};

/// The only `sleep_type` that is not the platform's.
const SUSPEND_TO_RAM: u32 = 0;

impl<P: Platform> Hart<P> {
    pub(super) fn sbi_reset(&mut self, request: Request) -> Answer {
        if request.function != 0 {
            return Err(Error::NotSupported);
        }
        let [kind, reason, ..] = request.arguments;
        // 1 is a failure of the system. Others are reserved, or somebody's.
        if reason as u32 > 1 {
            return Err(Error::InvalidParam);
        }
        self.end(match kind as u32 {
            0 => Shutdown::Off,
            1 | 2 => Shutdown::Reset,
            _ => return Err(Error::InvalidParam),
        });
        Ok(0)
    }

    /// Ends the machine.
    pub(super) fn end(&mut self, how: Shutdown) {
        let cluster = self.bus.cluster();
        cluster.shut_down(how);
        for hart in 0..cluster.harts() {
            self.bus.notify(hart);
        }
        self.bus.platform().shutdown(how);
    }

    /// Comes back only with an error.
    pub(super) fn sbi_suspend(&mut self, request: Request) -> Result<(), Error> {
        if request.function != 0 {
            return Err(Error::NotSupported);
        }
        let [kind, resume, opaque, ..] = request.arguments;
        if kind as u32 != SUSPEND_TO_RAM {
            return Err(Error::InvalidParam);
        }
        let cluster = self.bus.cluster();
        let others = (0..cluster.harts()).filter(|&hart| hart != self.bus.index());
        if others.map(|hart| cluster.shared(hart).state()).any(|state| state != HartState::Stopped) {
            return Err(Error::Denied);
        }
        self.suspend(resume, opaque)
    }
}
