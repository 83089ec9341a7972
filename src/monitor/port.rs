//! The one monitor of the machine, on the physical console.
//!
//! Everybody may call [`transmit`] and [`input_wanted`], on any CPU. [`serve`] is the control plane's alone.

use spin::{Mutex, Once};

use super::Monitor;
use super::mux::{Mux, Port};
use crate::platform::console;
use crate::platform::terminal::Terminal;
use crate::vm::bundle::Colour;
use crate::vm::operator::{Line, Operator};

/// The physical console.
struct Physical;

impl Port for Physical {
    fn terminal<R>(&self, write: impl FnOnce(&mut Terminal) -> R) -> R {
        console::terminal(write)
    }

    fn take_input(&self) -> Option<u8> {
        console::take_input()
    }

    fn notify(&self) {
        console::notify();
    }
}

static MUX: Once<Mux<Physical>> = Once::new();
/// Taken by the control plane only, so nobody ever waits for it.
static MONITOR: Mutex<Option<Monitor<'static, Physical>>> = Mutex::new(None);

/// Starts the monitor for VMs of these names and colours, and with so many console ports, which go by their position. `notifier`
/// is called
/// when [`serve`] is to be called soon: on any CPU, in an interrupt handler, or with locks held. It must only
/// take note.
pub fn start<'n>(vms: impl Iterator<Item = (&'n str, Colour, usize)> + Clone, notifier: fn()) {
    let mux = MUX.call_once(|| Mux::new(Physical, vms));
    *MONITOR.lock() = Some(Monitor::new(mux));
    console::listen(notifier);
    console::notify();
}

/// Takes bytes of the output on a line, and tells how many. The others are to be offered again after
/// [`Operator::output_ready`].
pub fn transmit(line: Line, bytes: &[u8]) -> usize {
    let channel = MUX.get().and_then(|mux| Some((mux, mux.find(line)?)));
    let take = |(mux, channel): (&Mux<_>, usize)| {
        bytes.iter().take_while(|byte| mux.transmit(channel, **byte)).count()
    };
    channel.map_or(bytes.len(), take)
}

/// A line of a VM, which refused a typed byte, has room again.
pub fn input_wanted() {
    console::notify();
}

/// Does what there is to do, at `now` in microseconds since the machine started, and says when it is to be
/// called again at the latest, whether or not it is asked for before.
pub fn serve(operator: &dyn Operator, now: u64) -> Option<u64> {
    MONITOR.try_lock()?.as_mut()?.serve(operator, now)
}
