//! The stub's state machine: what comes in on the line and what happens to the VM, one at a time.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use gdbstub::common::Signal;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine as Machine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;

use super::debuggee::Debuggee;
use super::frame::{self, Event, MAX_PACKET, Reader};
use super::session::{Session, thread};
use crate::vm::debug::{Access, Stop};

/// Longest reply: a packet's worth of memory in hexadecimal, with its frame and an acknowledgement.
const MAX_REPLY: usize = 2 * MAX_PACKET + 8;
/// The packet with which every debugger begins.
const GREETING: &[u8] = b"$qSupported";
/// A request to switch the VM off that wants an answer, unlike `k`.
const POLITE_KILL: &[u8] = b"$vKill";

/// Puts bytes on the line, all of them or none.
pub type Transmit = Box<dyn FnMut(&[u8]) + Send>;

/// A gdb stub for the VM `D`.
///
/// A serial line does not tell that the debugger has gone, or that another one has come. A session begins with the
/// packet that gdb always sends first: it holds the VM, and starts over. A session that does not end properly
/// leaves the VM as it is, until the next one or [`Stub::detach`].
pub struct Stub<D: Debuggee> {
    session: Session<D>,
    /// `None` before the first session, and while it is at work.
    machine: Option<Machine<'static, Session<D>, Reply>>,
    reader: Reader,
    /// The last packet, in case it gets lost.
    sent: Vec<u8>,
    send: Transmit,
    /// Why the VM cannot go on, if it cannot.
    ended: Option<(usize, Stop)>,
}

impl<D: Debuggee> Stub<D> {
    /// A stub for `vm`, which goes on as it is until a debugger says something. What `send`
    /// cannot take is lost, and the debugger asks for it again.
    pub fn new(vm: D, send: Transmit) -> Self {
        Self {
            session: Session::new(vm),
            machine: None,
            reader: Reader::new(),
            sent: Vec::new(),
            send,
            ended: None,
        }
    }

    /// The VM.
    pub fn debuggee(&mut self) -> &mut D {
        &mut self.session.vm
    }

    /// Takes what has come in on the line.
    pub fn input(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.reader.push(byte) {
                None => {}
                Some(Event::Damaged) => (self.send)(b"-"),
                Some(Event::Repeat) => (self.send)(&self.sent),
                Some(Event::Interrupt) => self.interrupt(),
                Some(Event::Packet(packet)) => {
                    let packet = packet.to_vec();
                    self.packet(&packet);
                }
            }
        }
    }

    /// Takes the news that `vcpu` has stopped, and why.
    pub fn stopped(&mut self, vcpu: usize, stop: Stop) {
        if self.machine.is_none() {
            return;
        }
        if stop == Stop::Reset {
            self.session.patches.forget();
        }
        if !self.session.running {
            // While the VM is held, another vCPU may have come to a stop as well. It will do so again when it goes
            // on, unless the VM has ended.
            return self.note_end(vcpu, stop);
        }
        self.session.focus = vcpu;
        self.session.halt();
        if let Stop::Crashed(why) = &stop {
            let text = format!("vCPU {vcpu} of {} has crashed: {why}\n", self.session.vm.name());
            self.print(&text);
        }
        self.report(self.reason(vcpu, &stop));
        self.note_end(vcpu, stop);
    }

    /// Keeps in mind that the VM cannot go on.
    fn note_end(&mut self, vcpu: usize, stop: Stop) {
        if matches!(stop, Stop::Off | Stop::Crashed(_)) {
            self.ended = Some((vcpu, stop));
        }
    }

    /// Ends the session from this side: the VM goes on without breakpoints.
    pub fn detach(&mut self) {
        if self.machine.take().is_some() {
            self.session.halt();
            self.session.end(Debuggee::detach);
        }
    }

    /// Ctrl-C. While the VM is held there is nothing to interrupt.
    fn interrupt(&mut self) {
        if self.machine.is_some() && self.session.running {
            self.session.halt();
            let tid = thread(self.session.focus);
            self.report(MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGINT });
        }
    }

    /// An undamaged packet.
    fn packet(&mut self, packet: &[u8]) {
        if packet.starts_with(GREETING) {
            self.begin();
        } else if self.machine.is_none() || self.session.running {
            // gdb awaits a stop now, and says nothing but Ctrl-C. Whoever does has not begun a session.
            return;
        }
        let Some(mut machine) = self.machine.take() else { return };
        for &byte in packet {
            let next = match machine {
                Machine::Idle(idle) => idle.incoming_data(&mut self.session, byte),
                Machine::Running(running) => running.incoming_data(&mut self.session, byte),
                // The packet is at its end.
                other => Ok(other),
            };
            match next {
                Ok(next) => machine = next,
                Err(error) => return self.fail(&error),
            }
        }
        self.settle(machine, packet);
        if self.session.running {
            self.ended = None;
        } else if let Some(Machine::Running(_)) = self.machine {
            // The VM was told to go on and could not.
            let (vcpu, stop) = self.ended.clone().unwrap_or((self.session.focus, Stop::Off));
            self.report(self.reason(vcpu, &stop));
        }
    }

    /// A debugger has come: whatever the last one has left is cleared.
    fn begin(&mut self) {
        self.session.halt();
        self.session.clear();
        self.machine = self.fresh();
    }

    fn fresh(&mut self) -> Option<Machine<'static, Session<D>, Reply>> {
        let stub = GdbStub::builder(Reply(Vec::new())).packet_buffer_size(MAX_PACKET).build();
        // Neither can fail with a buffer of its own and with support for breakpoints.
        stub.ok()?.run_state_machine(&mut self.session).ok()
    }

    /// `gdbstub` gives a session up at the first packet that it does not understand. Another one takes its place,
    /// which knows no more of the old one than gdb tells with every packet; gdb sends none that is not understood.
    fn fail<E: fmt::Display, F: fmt::Display>(&mut self, error: &GdbStubError<E, F>) {
        log::debug!("gdb: {error}");
        self.machine = self.fresh();
        (self.send)(b"+");
        self.transmit(frame::packet("E16"));
    }

    /// Reports a stop to the debugger, who waits for one.
    fn report(&mut self, reason: MultiThreadStopReason<u64>) {
        match self.machine.take() {
            Some(Machine::Running(running)) => match running.report_stop(&mut self.session, reason) {
                Ok(machine) => self.settle(machine, b""),
                Err(error) => self.fail(&error),
            },
            other => self.machine = other,
        }
    }

    /// Sends the reply to `packet`, and does what the end of a session asks for.
    fn settle(&mut self, mut machine: Machine<'static, Session<D>, Reply>, packet: &[u8]) {
        let mut reply = core::mem::take(match &mut machine {
            Machine::Idle(machine) => &mut machine.borrow_conn().0,
            Machine::Running(machine) => &mut machine.borrow_conn().0,
            Machine::CtrlCInterrupt(machine) => &mut machine.borrow_conn().0,
            Machine::Disconnected(machine) => &mut machine.borrow_conn().0,
        });
        let Machine::Disconnected(end) = machine else {
            self.machine = Some(machine);
            return self.transmit(reply);
        };
        if packet.starts_with(POLITE_KILL) {
            reply.extend(frame::packet("OK"));
        }
        self.transmit(reply);
        match end.get_reason() {
            DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => {
                self.machine = Some(end.return_to_idle());
            }
            DisconnectReason::Disconnect => self.session.end(Debuggee::detach),
            DisconnectReason::Kill => self.session.end(Debuggee::kill),
        }
    }

    /// Puts a reply on the line. It may be an acknowledgement alone, or one and a packet.
    fn transmit(&mut self, reply: Vec<u8>) {
        if reply.is_empty() {
            return;
        }
        (self.send)(&reply);
        if let Some(start) = reply.iter().position(|byte| *byte == b'$') {
            self.sent = reply;
            self.sent.drain(..start);
        }
    }

    /// Shows `text` to the person at the debugger, who waits for a stop.
    fn print(&mut self, text: &str) {
        let data =
            text.bytes().fold(alloc::string::String::from("O"), |data, byte| format!("{data}{byte:02x}"));
        self.transmit(frame::packet(&data));
    }

    /// `stop` in gdb's words.
    fn reason(&self, vcpu: usize, stop: &Stop) -> MultiThreadStopReason<u64> {
        let tid = thread(vcpu);
        let signal = |signal| MultiThreadStopReason::SignalWithThread { tid, signal };
        match stop {
            Stop::Breakpoint => MultiThreadStopReason::SwBreak(tid),
            Stop::Execution => MultiThreadStopReason::HwBreak(tid),
            Stop::Watch { address } => match self.session.watchpoint(*address) {
                Some((addr, access)) => MultiThreadStopReason::Watch {
                    tid,
                    kind: match access {
                        Access::Read => WatchKind::Read,
                        Access::Write => WatchKind::Write,
                        Access::Any => WatchKind::ReadWrite,
                    },
                    addr,
                },
                None => signal(Signal::SIGTRAP),
            },
            Stop::Stepped | Stop::Reset => signal(Signal::SIGTRAP),
            Stop::Paused => signal(Signal::SIGSTOP),
            Stop::Crashed(_) => signal(Signal::SIGABRT),
            Stop::Off => MultiThreadStopReason::Exited(0),
        }
    }
}

/// Where `gdbstub` writes its reply to a packet.
struct Reply(Vec<u8>);

/// A reply that is longer than any packet asks for that is well formed.
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reply is longer than {MAX_REPLY} bytes")
    }
}

impl Connection for Reply {
    type Error = TooLong;

    fn write(&mut self, byte: u8) -> Result<(), TooLong> {
        if self.0.len() >= MAX_REPLY {
            return Err(TooLong);
        }
        self.0.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TooLong> {
        Ok(())
    }
}
