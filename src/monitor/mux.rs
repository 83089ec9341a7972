//! The guests' serial lines on one terminal.
//!
//! Each VM has a channel for its UART, and one for each port of its virtio console. A channel's last output is always kept, and reaches the terminal in one of two ways: as it
//! is, where the operator is attached to the VM, or line by line behind the VM's name, where several are
//! watched. A guest is held back only while the operator is attached to it: what nobody asked for in
//! particular is dropped when the terminal's line is too slow, and a mark says so.
//!
//! Locks: a channel, then the terminal. A guest's UART model has its own lock when it calls [`Mux::transmit`],
//! so nothing here calls a model: those to call are returned ([`Mux::relieve`]).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use super::plain::{Lines, Progress};
use super::style;
use crate::platform::ring::Ring;
use crate::platform::terminal::Terminal;
use crate::vm::bundle::Colour;
use crate::vm::operator::Line;

/// Bytes of each VM's output that are kept.
pub const SCROLLBACK: usize = 16 << 10;
/// Bytes that an attached guest may be ahead of the terminal before it is held back. Far less than is kept,
/// so that nothing is lost.
const BACKLOG: u64 = 4096;
/// What is shown again of earlier output when the operator attaches, in lines and in bytes.
const TAIL: (usize, u64) = (24, 2048);

/// The physical console, as the multiplexer and the monitor use it.
pub trait Port: Sync {
    /// Lets `write` write to the terminal.
    fn terminal<R>(&self, write: impl FnOnce(&mut Terminal) -> R) -> R;

    /// Takes a byte that the operator has typed.
    fn take_input(&self) -> Option<u8>;

    /// Has the control plane call the monitor soon. Only takes note, for locks are held.
    fn notify(&self);
}

/// How a VM's output reaches the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Not at all.
    Hidden,
    /// Line by line, behind its name.
    Lines,
    /// As it is.
    Raw,
}

struct State {
    view: View,
    scrollback: Ring<Box<[u8]>>,
    /// How far the scroll-back has been sent, where the view is raw.
    sent: u64,
    /// The guest was held back.
    held: bool,
    lines: Lines,
    /// The line has grown since [`Mux::poll`].
    grown: bool,
    /// Lines that were dropped since one was shown.
    dropped: u32,
}

/// A VM's serial line.
struct Channel {
    line: Line,
    name: String,
    colour: Colour,
    state: Mutex<State>,
}

impl Channel {
    fn new(line: Line, name: String, colour: Colour) -> Self {
        Self {
            line,
            name,
            colour,
            state: Mutex::new(State {
                view: View::Hidden,
                scrollback: Ring::new(alloc::vec![0; SCROLLBACK].into_boxed_slice()),
                sent: 0,
                held: false,
                lines: Lines::default(),
                grown: false,
                dropped: 0,
            }),
        }
    }
}

/// All of them. They go by their index.
pub struct Mux<P> {
    port: P,
    channels: Vec<Channel>,
    coloured: AtomicBool,
    /// [`Mux::poll`] is to be called after a while.
    polled: AtomicBool,
}

impl<P: Port> Mux<P> {
    /// Channels for VMs of these names and colours, and with so many console ports. First come the UARTs in the order of the
    /// VMs, and then the ports.
    pub fn new<'n>(port: P, vms: impl Iterator<Item = (&'n str, Colour, usize)> + Clone) -> Self {
        let uarts = vms
            .clone()
            .enumerate()
            .map(|(vm, (name, colour, _))| Channel::new(Line::uart(vm), name.into(), colour));
        let ports = vms.clone().enumerate().flat_map(|(vm, (name, colour, ports))| {
            (0..ports).map(move |port| {
                Channel::new(Line { vm, port: Some(port) }, format!("{name}:{port}"), colour)
            })
        });
        let channels = uarts.chain(ports).collect();
        Self { port, channels, coloured: AtomicBool::new(true), polled: AtomicBool::new(false) }
    }

    /// The channel of a line.
    pub fn find(&self, line: Line) -> Option<usize> {
        match line.port {
            None => Some(line.vm),
            Some(_) => self.channels.iter().position(|channel| channel.line == line),
        }
    }

    /// The lines, channel by channel.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.channels.iter().map(|channel| channel.line)
    }

    /// The physical console.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The name of a channel's VM, with the port.
    pub fn name(&self, channel: usize) -> &str {
        self.channels.get(channel).map_or("?", |channel| &channel.name)
    }

    /// Whether names are shown in colours.
    pub fn is_coloured(&self) -> bool {
        self.coloured.load(Ordering::Relaxed)
    }

    /// Shows names in colours, or does not.
    pub fn set_coloured(&self, coloured: bool) {
        self.coloured.store(coloured, Ordering::Relaxed);
    }

    /// Takes a byte from the guest on a channel. `false` where it is to be held back and offered again when
    /// [`Mux::relieve`] names the line.
    pub fn transmit(&self, channel: usize, byte: u8) -> bool {
        let Some(channel) = self.channels.get(channel) else { return true };
        let mut state = channel.state.lock();
        if state.view == View::Raw && state.scrollback.end() - state.sent >= BACKLOG {
            state.held = true;
            return false;
        }
        state.scrollback.push(byte);
        match state.view {
            View::Hidden => {}
            View::Raw => self.pump(&mut state),
            View::Lines => {
                if state.lines.push(byte) == Progress::Ended {
                    self.show_line(channel, &mut state);
                } else if !state.lines.current().is_empty() {
                    state.grown = true;
                    self.want_poll();
                }
            }
        }
        true
    }

    /// Sends of the scroll-back what the terminal takes.
    fn pump(&self, state: &mut State) {
        self.port.terminal(|terminal| {
            while let Some(byte) = state.scrollback.get(state.sent) {
                if !terminal.raw(byte) {
                    break;
                }
                state.sent += 1;
            }
        });
    }

    /// Shows the line that has been collected, or counts it as dropped. Empty lines are not shown.
    fn show_line(&self, channel: &Channel, state: &mut State) {
        if !state.lines.current().is_empty() {
            let shown = self.show_mark(channel, state) && self.print(channel, state.lines.current());
            if !shown {
                state.dropped = state.dropped.saturating_add(1);
                self.want_poll();
            }
        }
        state.lines.clear();
    }

    fn want_poll(&self) {
        if !self.polled.swap(true, Ordering::AcqRel) {
            self.port.notify();
        }
    }

    /// Says how many lines were dropped, if any, and whether there is nothing more to say.
    fn show_mark(&self, channel: &Channel, state: &mut State) -> bool {
        if state.dropped > 0 {
            let mut mark = heapless::String::<40>::new();
            // It has room for any number.
            let _ = write!(mark, "[{} lines dropped]", state.dropped);
            if !self.print(channel, mark.as_bytes()) {
                return false;
            }
            state.dropped = 0;
        }
        true
    }

    fn print(&self, channel: &Channel, line: &[u8]) -> bool {
        let (begin, end) = match self.is_coloured() {
            true => (style::colour(channel.colour), style::RESET),
            false => ("", ""),
        };
        self.port.terminal(|terminal| {
            let parts = [begin, &channel.name, end, "| "].map(str::as_bytes);
            let [begin, name, end, bar] = parts;
            terminal.line(&[begin, name, end, bar, line])
        })
    }

    /// Changes how the output of a channel is shown. Attaching shows its last lines again.
    pub fn set_view(&self, channel: usize, view: View) {
        let Some(channel) = self.channels.get(channel) else { return };
        let mut state = channel.state.lock();
        let before = core::mem::replace(&mut state.view, view);
        if before == view {
            return;
        }
        if before == View::Lines {
            self.show_line(channel, &mut state);
        }
        if view == View::Raw {
            let (lines, bytes) = TAIL;
            let end = state.scrollback.end();
            state.sent = state.scrollback.last_lines(lines).max(end.saturating_sub(bytes));
            self.pump(&mut state);
        }
    }

    /// Goes on with what waited for room. Returns the lines whose guests were held back and may go on; they are
    /// to be told.
    pub fn relieve(&self) -> impl Iterator<Item = Line> {
        self.channels.iter().filter_map(|channel| {
            let mut state = channel.state.lock();
            if state.view == View::Raw {
                self.pump(&mut state);
                if state.scrollback.end() - state.sent >= BACKLOG {
                    return None;
                }
            }
            core::mem::take(&mut state.held).then_some(channel.line)
        })
    }

    /// Whether [`Mux::poll`] is to be called after a while.
    pub fn wants_poll(&self) -> bool {
        self.polled.load(Ordering::Acquire)
    }

    /// Shows lines that have been unfinished for a while, such as prompts, and marks of dropped lines.
    pub fn poll(&self) {
        // Before the look: whoever begins a line behind it asks to be polled again.
        self.polled.store(false, Ordering::Release);
        let mut more = false;
        for channel in &self.channels {
            let mut state = channel.state.lock();
            if state.view != View::Lines {
                continue;
            }
            if core::mem::take(&mut state.grown) {
                more |= !state.lines.current().is_empty();
            } else {
                self.show_line(channel, &mut state);
            }
            more |= !self.show_mark(channel, &mut state);
        }
        if more {
            self.polled.store(true, Ordering::Release);
        }
    }

    /// The last `lines` lines of a channel's output.
    pub fn scrollback(&self, channel: usize, lines: usize) -> Vec<u8> {
        self.channels.get(channel).map_or_else(Vec::new, |channel| {
            let state = channel.state.lock();
            state.scrollback.since(state.scrollback.last_lines(lines)).collect()
        })
    }

    /// The last `lines` lines of EL2's own.
    pub fn log(&self, lines: usize) -> Vec<u8> {
        // Nothing is allocated with the terminal locked: the allocator may want to log.
        let mut copy = Vec::with_capacity(crate::platform::terminal::LOG);
        self.port.terminal(|terminal| copy.extend(terminal.log().since(terminal.log().last_lines(lines))));
        copy
    }
}
