//! The monitor as an operator meets it: keys go in, a screen comes out.

mod dialogue;
pub mod json;
mod machine;
mod random;
mod screen;
mod shared;

use std::collections::VecDeque;

use machine::Machine;
use screen::Screen;
use spin::Mutex;

use super::Monitor;
use super::editor::PROMPT;
use super::mux::{Mux, Port};
use crate::platform::terminal::Terminal;
use crate::vm::operator::Operator;

/// A line to a terminal, which takes as many bytes as it is told to.
pub struct Line {
    terminal: Mutex<Terminal>,
    input: Mutex<VecDeque<u8>>,
    notified: Mutex<bool>,
}

impl Port for Line {
    fn terminal<R>(&self, write: impl FnOnce(&mut Terminal) -> R) -> R {
        write(&mut self.terminal.lock())
    }

    fn take_input(&self) -> Option<u8> {
        self.input.lock().pop_front()
    }

    fn notify(&self) {
        *self.notified.lock() = true;
    }
}

/// An operator's terminal on a made-up machine.
pub struct Session {
    machine: Machine,
    mux: &'static Mux<Line>,
    monitor: Monitor<'static, Line>,
    screen: Screen,
    /// What the monitor asked for.
    due: Option<u64>,
}

impl Session {
    /// A session on a machine with these VMs, with its greeting on the screen.
    pub fn new(names: &[&'static str]) -> Self {
        let machine = Machine::new(names);
        let line = Line {
            terminal: Mutex::new(Terminal::new()),
            input: Mutex::default(),
            notified: Mutex::new(false),
        };
        let mux = Mux::new(
            line,
            names.iter().zip(machine::COLOURS.iter().cycle().copied()).map(|(n, c)| (*n, c, machine::PORTS)),
        );
        let mux: &'static Mux<Line> = Box::leak(Box::new(mux));
        let monitor = Monitor::new(mux);
        let mut session = Self { machine, mux, monitor, screen: Screen::default(), due: None };
        session.settle();
        session
    }

    /// Sends at most `count` queued bytes to the screen. Returns how many.
    fn send(&mut self, count: usize) -> usize {
        let sent: Vec<u8> =
            self.mux.port().terminal(|terminal| (0..count).map_while(|_| terminal.pop()).collect());
        sent.iter().for_each(|&byte| self.screen.put(byte));
        if self.mux.port().terminal(Terminal::take_relief) {
            self.mux.port().notify();
        }
        sent.len()
    }

    fn serve(&mut self) {
        *self.mux.port().notified.lock() = false;
        self.due = self.monitor.serve(&self.machine, self.machine.now());
    }

    /// Lets everything happen that needs no time.
    fn settle(&mut self) {
        self.serve();
        for _ in 0..10_000 {
            let sent = self.send(usize::MAX);
            let notified = *self.mux.port().notified.lock();
            if sent == 0 && !notified {
                return;
            }
            self.serve();
        }
        panic!("the monitor does not come to rest");
    }

    /// Types `keys`.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        self.mux.port().input.lock().extend(keys.bytes());
        self.settle();
        self
    }

    /// Types a command and returns what it answers, up to the next prompt.
    pub fn command(&mut self, command: &str) -> String {
        let before = self.screen.lines().len();
        self.keys(command).keys("\r");
        let lines = self.screen.lines();
        let answer = &lines[before..lines.len().max(before + 1) - 1];
        answer.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Has the guest of `vm` write `text`. Returns how much of it was taken.
    pub fn output(&mut self, vm: usize, text: &str) -> usize {
        let taken = text.bytes().take_while(|&byte| self.mux.transmit(vm, byte)).count();
        self.settle();
        taken
    }

    /// EL2 logs `line`.
    pub fn log(&mut self, line: &str) {
        self.send(usize::MAX);
        self.mux.port().terminal(|terminal| {
            terminal.begin_line();
            line.bytes().for_each(|byte| {
                terminal.keep(byte);
                terminal.write(byte);
            });
            terminal.keep(b'\n');
            terminal.end_line();
        });
        self.settle();
    }

    /// Lets time pass, in microseconds, and calls the monitor when it has asked for it.
    pub fn pass(&mut self, time: u64) {
        let end = self.machine.now() + time;
        while let Some(due) = self.due.filter(|&due| due <= end) {
            self.machine.set_now(due);
            self.settle();
        }
        self.machine.set_now(end);
        self.settle();
    }

    /// The screen's last lines.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.screen.lines();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }

    /// Whether the bottom of the screen is the line that is being edited, with the cursor in its place.
    pub fn shows(&self, line: &str, cursor: usize) -> bool {
        self.tail(1) == [format!("{PROMPT}{line}").trim_end()]
            && self.screen.column() == PROMPT.len() + cursor
    }
}
