//! The dialogue with the operator.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::command::{self, Failure, JSON, Outcome};
use super::complete::complete;
use super::editor::{COLUMNS, Edit, Editor};
use super::keys::{ESCAPE, Key, Keys};
use super::mux::{Mux, Port, View};
use super::plain::{Lines, Progress};
use super::report::{Report, json, text};
use super::style;
use super::top::{PERIOD, Sample};
use crate::vm::operator::{Line, Operator};

/// Bytes that are taken in one go, so that a long paste leaves the control plane time for other things.
const GULP: usize = 256;
/// Bytes that may wait for a guest to take them.
const TYPED: usize = 256;
/// How long an attached guest may take none of as many before they are dropped, so that Ctrl-] gets through;
/// in microseconds.
const PATIENCE: u64 = 1_000_000;
/// How long a line that a guest has not ended is held back, in microseconds.
const HOLD: u64 = 200_000;
/// Longest answer in bytes.
const ANSWER: usize = 256 << 10;

/// Whom the operator is talking to.
enum Mode {
    /// The monitor.
    Prompt,
    /// A VM, on this channel.
    Attached(usize),
    /// Nobody: `top` is shown.
    Top(Top),
}

struct Top {
    before: Sample,
    /// When the next refresh is due.
    due: u64,
    /// How many refreshes are left, if that is limited.
    left: Option<u64>,
    json: bool,
}

/// The operator's session.
pub struct Monitor<'m, P> {
    mux: &'m Mux<P>,
    mode: Mode,
    keys: Keys,
    editor: Editor,
    /// The last key was a TAB that did not help.
    tabbed: bool,
    /// Output, some of which waits for room.
    output: String,
    /// How many bytes of it the terminal has.
    sent: usize,
    /// What was typed on each channel and not taken yet.
    typed: Vec<VecDeque<u8>>,
    /// Since when what was typed for the attached VM has been waiting, with no room for more.
    stuck: Option<u64>,
    /// The channel that the operator was attached to last.
    last: Option<usize>,
    /// Of each channel, whether its output is shown at the prompt.
    watched: Vec<bool>,
    /// When lines that were held back are to be looked at.
    poll: Option<u64>,
}

impl<'m, P: Port> Monitor<'m, P> {
    /// A session on `mux`: attached to its VM if there is only one, else at the prompt.
    pub fn new(mux: &'m Mux<P>) -> Self {
        let watched: Vec<bool> = mux.lines().map(|line| line.port.is_none()).collect();
        let count = watched.iter().filter(|uart| **uart).count();
        let mut monitor = Self {
            mux,
            mode: Mode::Prompt,
            keys: Keys::default(),
            editor: Editor::default(),
            tabbed: false,
            output: String::new(),
            sent: 0,
            typed: mux.lines().map(|_| VecDeque::new()).collect(),
            stuck: None,
            last: None,
            watched,
            poll: None,
        };
        if count == 1 {
            monitor.mode = Mode::Attached(0);
            mux.set_view(0, View::Raw);
        } else {
            monitor.set_views();
            monitor.print(&format!("{count} VMs. Type help for the commands; TAB completes them.\n"));
        }
        monitor
    }

    /// Does what there is to do, at `now` in microseconds since the machine started, and says when it is to
    /// be called again at the latest.
    pub fn serve(&mut self, operator: &dyn Operator, now: u64) -> Option<u64> {
        self.mux.relieve().for_each(|line| operator.output_ready(line));
        let mut left = GULP;
        loop {
            self.deliver(operator);
            if !self.flush() || self.is_stuck(now) {
                break;
            }
            if left == 0 {
                self.mux.port().notify();
                break;
            }
            let Some(byte) = self.mux.port().take_input() else { break };
            left -= 1;
            self.take(operator, byte);
        }
        self.refresh(operator, now);
        self.poll(now);
        self.flush();
        let refresh = match &self.mode {
            Mode::Top(top) => Some(top.due),
            _ => None,
        };
        let patience = self.stuck.map(|since| since.saturating_add(PATIENCE));
        [self.poll, refresh, patience].into_iter().flatten().min()
    }

    /// Offers the VMs what was typed for them.
    fn deliver(&mut self, operator: &dyn Operator) {
        for (line, typed) in self.mux.lines().zip(&mut self.typed) {
            while let Some(&byte) = typed.front()
                && operator.type_into(line, byte)
            {
                typed.pop_front();
            }
        }
    }

    /// Whether the attached VM is to take something before there is room for more. What it does not take for
    /// too long is dropped.
    fn is_stuck(&mut self, now: u64) -> bool {
        let Mode::Attached(channel) = self.mode else {
            self.stuck = None;
            return false;
        };
        let Some(typed) = self.typed.get_mut(channel).filter(|typed| typed.len() >= TYPED) else {
            self.stuck = None;
            return false;
        };
        let since = *self.stuck.get_or_insert(now);
        if now.saturating_sub(since) < PATIENCE {
            return true;
        }
        typed.clear();
        self.stuck = None;
        self.mux.port().terminal(|terminal| terminal.ring());
        false
    }

    /// Takes what the operator has typed.
    fn take(&mut self, operator: &dyn Operator, byte: u8) {
        if let Mode::Attached(channel) = self.mode {
            match byte {
                ESCAPE => self.detach(),
                _ => self.type_for(channel, byte),
            }
            return;
        }
        let Some(key) = self.keys.push(byte) else { return };
        match self.mode {
            Mode::Top(_) => self.leave_top(),
            _ => self.press(operator, key),
        }
    }

    fn type_for(&mut self, channel: usize, byte: u8) {
        if let Some(typed) = self.typed.get_mut(channel).filter(|typed| typed.len() < TYPED) {
            typed.push_back(byte);
        }
    }

    fn press(&mut self, operator: &dyn Operator, key: Key) {
        let tabbed = core::mem::take(&mut self.tabbed);
        match key {
            Key::Tab => self.complete(operator, tabbed),
            Key::Cancel => {
                self.editor.clear();
                self.print("^C\n");
            }
            Key::Redraw => self.mux.port().terminal(|terminal| {
                // Hidden, it is shown anew with the next output.
                terminal.show(b"");
            }),
            Key::Escape => match self.last.filter(|_| self.editor.line().is_empty()) {
                Some(channel) => {
                    self.print("\n");
                    self.type_for(channel, ESCAPE);
                    self.attach(channel);
                }
                None => self.ring(),
            },
            _ => match self.editor.press(key) {
                Edit::Done => {}
                Edit::Refused => self.ring(),
                Edit::Entered(line) => self.enter(operator, &line),
            },
        }
    }

    fn ring(&self) {
        self.mux.port().terminal(|terminal| terminal.ring());
    }

    /// Completes the word before the cursor as far as it is unambiguous; the second time, shows how it may go
    /// on.
    fn complete(&mut self, operator: &dyn Operator, again: bool) {
        let completion = complete(operator, self.editor.before_cursor());
        if !completion.rest.is_empty() {
            self.editor.insert(&completion.rest);
            return;
        }
        if !again || completion.candidates.is_empty() {
            self.tabbed = true;
            self.ring();
            return;
        }
        let width = completion.candidates.iter().map(String::len).max().unwrap_or(0) + 2;
        let mut list = String::from("\n");
        for row in completion.candidates.chunks((COLUMNS / width).max(1)) {
            let row: String = row.iter().map(|word| format!("{word:width$}")).collect();
            list.push_str(row.trim_end());
            list.push('\n');
        }
        self.print(&list);
    }

    /// Carries out a line.
    fn enter(&mut self, operator: &dyn Operator, line: &str) {
        self.print("\n");
        // Now, for carrying it out may be logged.
        self.send();
        let is_json = |word: &&str| *word == JSON;
        let json = line.split_ascii_whitespace().any(|word| is_json(&word));
        let words: Vec<&str> = line.split_ascii_whitespace().filter(|word| !is_json(word)).collect();
        match command::run(operator, &words) {
            Ok(outcome) => self.enact(operator, outcome, json),
            Err(failure) => self.answer(Err(failure), json),
        }
    }

    fn enact(&mut self, operator: &dyn Operator, outcome: Outcome, json: bool) {
        let report = match outcome {
            Outcome::Report(report) => report,
            Outcome::Log(line, lines) => Report::Text(self.log(line, lines)),
            Outcome::Colour(coloured) => {
                self.mux.set_coloured(coloured);
                Report::Done
            }
            Outcome::Watch(vms) => {
                for (line, watched) in self.mux.lines().zip(&mut self.watched) {
                    let chosen = vms.as_ref().is_none_or(|vms| vms.contains(&line.vm));
                    *watched = chosen && line.port.is_none();
                }
                self.set_views();
                Report::Done
            }
            Outcome::Attach(line) => {
                if let Some(channel) = self.mux.find(line) {
                    if !json {
                        self.print(&format!("[{}: Ctrl-] leaves it]\n", self.mux.name(channel)));
                    }
                    self.attach(channel);
                }
                Report::Done
            }
            Outcome::Top(count) => {
                let before = Sample::take(operator);
                let due = operator.now().saturating_add(PERIOD);
                let left = count.or(json.then_some(1));
                self.mode = Mode::Top(Top { before, due, left, json });
                self.set_views();
                if !json {
                    self.print("measuring for a second; any key ends it\n");
                }
                return;
            }
        };
        self.answer(Ok(report), json);
    }

    /// The last lines of a VM, or of EL2 itself. A VM's are freed of what may upset the terminal.
    fn log(&self, line: Option<Line>, count: usize) -> String {
        let bytes = match line {
            Some(line) => {
                self.mux.find(line).map_or_else(Vec::new, |channel| self.mux.scrollback(channel, count))
            }
            None => self.mux.log(count),
        };
        let mut lines = Lines::default();
        let mut text = String::with_capacity(bytes.len());
        for byte in bytes {
            if lines.push(byte) == Progress::Ended {
                text.push_str(&String::from_utf8_lossy(lines.current()));
                text.push('\n');
                lines.clear();
            }
        }
        text.push_str(&String::from_utf8_lossy(lines.current()));
        text
    }

    /// Prints what came of a command.
    fn answer(&mut self, result: Result<Report, Failure>, json: bool) {
        let text = rendered(&result, json, self.mux.is_coloured());
        let text = match text.len() {
            ..=ANSWER => text,
            length => {
                let failure = Failure(format!("the answer has {length} bytes, {ANSWER} are possible"));
                rendered(&Err(failure), json, false)
            }
        };
        self.print(&text);
    }

    /// Appends to the output, which goes on behind the line that was edited.
    fn print(&mut self, text: &str) {
        if self.output.is_empty() {
            self.mux.port().terminal(|terminal| terminal.release());
        }
        self.output.push_str(text);
    }

    /// Queues for the terminal what it has room for. Returns whether nothing is left.
    fn send(&mut self) -> bool {
        while let Some(rest @ [_, ..]) = self.output.as_bytes().get(self.sent..) {
            let sent = self.mux.port().terminal(|terminal| terminal.text(rest));
            if sent == 0 {
                return false;
            }
            self.sent += sent;
        }
        self.output = String::new();
        self.sent = 0;
        true
    }

    /// Queues for the terminal what it has room for, and shows what is to be at its bottom. Returns whether
    /// nothing is left.
    fn flush(&mut self) -> bool {
        if !self.send() {
            return false;
        }
        match self.mode {
            Mode::Prompt => {
                let image = self.editor.image();
                self.mux.port().terminal(|terminal| terminal.show(image.as_bytes()))
            }
            Mode::Attached(channel) => {
                // Not before: what it has to say comes behind what the monitor had.
                self.mux.set_view(channel, View::Raw);
                true
            }
            Mode::Top(_) => true,
        }
    }

    /// Attaches the operator to a channel, behind what the monitor has to say.
    fn attach(&mut self, channel: usize) {
        self.mode = Mode::Attached(channel);
        self.last = Some(channel);
        self.set_views();
    }

    fn detach(&mut self) {
        if let Mode::Attached(channel) = self.mode {
            self.last = Some(channel);
        }
        self.mode = Mode::Prompt;
        self.stuck = None;
        self.keys = Keys::default();
        self.set_views();
        // The guest may have left the terminal in any colour.
        self.print(if self.mux.is_coloured() { style::RESET } else { "" });
        self.print("\n");
    }

    /// Shows or hides the VMs' output as the mode wants it. That of the VM that is being attached is shown
    /// later.
    fn set_views(&self) {
        for (channel, &watched) in self.watched.iter().enumerate() {
            let view = match self.mode {
                Mode::Prompt if watched => View::Lines,
                _ => View::Hidden,
            };
            self.mux.set_view(channel, view);
        }
    }

    fn leave_top(&mut self) {
        self.mode = Mode::Prompt;
        self.set_views();
    }

    /// Shows the rates of `top` if they are due, and the terminal has taken the ones before.
    fn refresh(&mut self, operator: &dyn Operator, now: u64) {
        let Mode::Top(top) = &mut self.mode else { return };
        if now < top.due {
            return;
        }
        top.due = now.saturating_add(PERIOD);
        if !self.output.is_empty() {
            return;
        }
        let sample = Sample::take(operator);
        let report = sample.since(&top.before, !top.json);
        top.before = sample;
        let json = top.json;
        top.left = top.left.map(|left| left.saturating_sub(1));
        let ends = top.left == Some(0);
        if !json && self.mux.is_coloured() {
            // To the first row, and erases all below it (ECMA-48, CUP and ED).
            self.print("\x1b[H\x1b[J");
        }
        self.answer(Ok(report), json);
        if ends {
            self.leave_top();
        }
    }

    /// Shows lines that were held back for long enough.
    fn poll(&mut self, now: u64) {
        if self.poll.is_some_and(|due| due <= now) {
            self.poll = None;
            self.mux.poll();
        }
        if self.poll.is_none() && self.mux.wants_poll() {
            self.poll = Some(now.saturating_add(HOLD));
        }
    }
}

/// An answer as it is printed.
fn rendered(result: &Result<Report, Failure>, as_json: bool, coloured: bool) -> String {
    let mut out = String::new();
    match (result, as_json) {
        (Ok(report), false) => text::report(&mut out, report, coloured),
        (Err(failure), false) => {
            for line in failure.0.lines() {
                let _ = writeln!(out, "error: {line}");
            }
        }
        (Ok(report), true) => {
            out.push_str("{\"ok\":true,\"result\":");
            json::report(&mut out, report);
            out.push_str("}\n");
        }
        (Err(failure), true) => {
            out.push_str("{\"ok\":false,\"error\":");
            json::string(&mut out, &failure.0);
            out.push_str("}\n");
        }
    }
    out
}
