//! The date: from the machine's real-time clock where it has one, else counted from its start.

use spin::Once;

use super::board::Board;
use crate::arch::aarch64::timer;
use crate::devices::clock::{Clock, NANOSECONDS};

/// Nanoseconds since 1970 at the physical counter's zero.
static EPOCH: Once<u64> = Once::new();

/// Reads the machine's clock, a PL031 (DDI 0224), once; from then on the physical counter tells the time.
pub fn init(board: &Board) {
    const DATA_REGISTER: u64 = 0x000;
    EPOCH.call_once(|| match &board.rtc {
        Some(rtc) => {
            // SAFETY: the devicetree names it, and the layout has mapped it.
            let now = unsafe { ((rtc.start.0 + DATA_REGISTER) as *const u32).read_volatile() };
            (u64::from(now) * NANOSECONDS).saturating_sub(nanoseconds_since_boot())
        }
        None => 0,
    });
}

fn nanoseconds_since_boot() -> u64 {
    timer::microseconds_since_boot().saturating_mul(1000)
}

/// The wall clock that guests' real-time clocks start from.
pub struct WallClock;

impl Clock for WallClock {
    fn nanoseconds(&self) -> u64 {
        EPOCH.get().copied().unwrap_or(0).saturating_add(nanoseconds_since_boot())
    }
}
