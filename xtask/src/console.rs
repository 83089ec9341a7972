//! A machine's console: everything it prints is kept, searched for patterns, and answered.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use regex::bytes::Regex;
use rustix::process::{Pid, Signal, kill_process};

use crate::{process::shown, symbolize::PANIC};

/// How long a machine may stay silent, after it began to print a panic, before the report counts as complete.
const PANIC_SILENCE: Duration = Duration::from_millis(700);
/// How long QEMU gets to end by itself when it is asked to.
const TERMINATION: Duration = Duration::from_secs(3);

/// Where the machine's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// From our own standard input; on a terminal QEMU makes it raw and passes every key on.
    Inherited,
    /// From [`Console::send`].
    Scripted,
}

/// What ended a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The pattern was seen; the text that it matched.
    Match(String),
    /// The machine is off.
    Exit(ExitStatus),
    /// The hypervisor panicked; its report is in the transcript.
    Panic,
    /// Nothing of that within the time.
    Timeout,
}

/// A running machine.
pub struct Console {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    transcript: Vec<u8>,
    /// Everything before this was matched already.
    cursor: usize,
    log: File,
    echo: bool,
    panicked: bool,
}

impl Console {
    /// Starts `command`, keeps what it prints in the file `log` and, with `echo`, prints it too.
    pub fn start(mut command: Command, input: Input, log: &Path, echo: bool) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(if input == Input::Inherited { Stdio::inherit() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(&command)))?;
        let (sender, output) = mpsc::channel();
        let stdout = child.stdout.take().context("QEMU has no output")?;
        let stderr = child.stderr.take().context("QEMU has no error output")?;
        forward(stdout, sender.clone());
        forward(stderr, sender);
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, output, transcript: Vec::new(), cursor: 0, log, echo, panicked: false })
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the console's input is not ours")?;
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .context("the machine takes no input any more")
    }

    /// Waits for `pattern` (if any) in what was printed since the last match, but not beyond `deadline`.
    pub fn wait(&mut self, pattern: Option<&Regex>, deadline: Option<Instant>) -> Result<Event> {
        loop {
            if let Some(found) = pattern.and_then(|pattern| pattern.find(&self.transcript[self.cursor..])) {
                let text = String::from_utf8_lossy(found.as_bytes()).into_owned();
                self.cursor += found.end();
                return Ok(Event::Match(text));
            }
            if self.panicked {
                while self.receive(Some(Instant::now() + PANIC_SILENCE))? == Received::Output {}
                return Ok(Event::Panic);
            }
            match self.receive(deadline)? {
                Received::Output => {}
                Received::Silence => return Ok(Event::Timeout),
                Received::End => return Ok(Event::Exit(self.child.wait()?)),
            }
        }
    }

    /// Whether the hypervisor has panicked.
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    /// Everything printed so far.
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.transcript).into_owned()
    }

    /// Asks QEMU to end, so that it gives the terminal back as it was, and makes it end if it doesn't.
    pub fn stop(&mut self) -> Result<()> {
        // QEMU says that it was terminated, which is no news.
        self.echo = false;
        if self.child.try_wait()?.is_none() {
            if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
                // It may have ended meanwhile; the wait below sees that.
                let _ = kill_process(pid, Signal::TERM);
            }
            let deadline = Instant::now() + TERMINATION;
            while self.receive(Some(deadline))? == Received::Output {}
            if self.child.try_wait()?.is_none() {
                self.child.kill()?;
            }
        }
        self.child.wait()?;
        Ok(())
    }

    /// Ends QEMU at once, whatever it has left to do.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Takes the next piece of output.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<Received> {
        let received = match deadline {
            Some(deadline) => self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => self.output.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(bytes) => {
                self.log.write_all(&bytes)?;
                if self.echo {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(&bytes)?;
                    stdout.flush()?;
                }
                // A line may come in pieces: look at the last one from its start.
                let line =
                    self.transcript.iter().rposition(|&byte| is_line_end(byte)).map_or(0, |end| end + 1);
                self.transcript.extend_from_slice(&bytes);
                self.panicked |= shows_panic(&self.transcript[line..]);
                Ok(Received::Output)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Received::Silence),
            Err(RecvTimeoutError::Disconnected) => Ok(Received::End),
        }
    }
}

impl Drop for Console {
    /// No machine outlives its console.
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.stop();
    }
}

/// Whether a line of `text` begins as a panic report does. One that is merely quoted within a line does not
/// count.
fn shows_panic(text: &[u8]) -> bool {
    text.split(|&byte| is_line_end(byte)).any(|line| line.starts_with(PANIC.as_bytes()))
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// What came of waiting for output.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    Output,
    Silence,
    End,
}

/// Reads `source` to its end on a thread of its own.
fn forward(mut source: impl Read + Send + 'static, sender: mpsc::Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(script: &str) -> (Console, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let console = Console::start(command, Input::Scripted, &directory.path().join("log"), false).unwrap();
        (console, directory)
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(10))
    }

    fn pattern(text: &str) -> Regex {
        Regex::new(text).unwrap()
    }

    #[test]
    fn a_dialogue_is_matched_in_order_and_logged() {
        let (mut console, directory) = console("printf 'one two '; read line; echo got $line; exit 3");
        assert_eq!(console.wait(Some(&pattern("t.o")), soon()).unwrap(), Event::Match("two".to_owned()));
        console.send("input\n").unwrap();
        assert_eq!(
            console.wait(Some(&pattern("got input")), soon()).unwrap(),
            Event::Match("got input".to_owned())
        );
        // What came before the last match is not matched again.
        let Event::Exit(status) = console.wait(Some(&pattern("one")), soon()).unwrap() else {
            unreachable!()
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(std::fs::read_to_string(directory.path().join("log")).unwrap(), "one two got input\n");
    }

    #[test]
    fn silence_times_out_and_the_machine_is_stopped() {
        let (mut console, _directory) = console("exec sleep 1000");
        let start = Instant::now();
        let deadline = Some(start + Duration::from_millis(50));
        assert_eq!(console.wait(Some(&pattern("x")), deadline).unwrap(), Event::Timeout);
        console.stop().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_panic_is_reported_whole() {
        let (mut console, _directory) = console(
            "printf 'x\\npolyv'; sleep 0.1; echo isor panic: why
             sleep 0.2; echo polyvisor backtrace: 0x10; exec sleep 1000",
        );
        assert_eq!(console.wait(None, soon()).unwrap(), Event::Panic);
        assert!(console.transcript().contains("0x10"));
    }

    #[test]
    fn a_quoted_panic_is_none() {
        let (mut console, _directory) = console("echo guest said: polyvisor panic: why; exit 0");
        let Event::Exit(status) = console.wait(None, soon()).unwrap() else { unreachable!() };
        assert!(status.success());
    }
}
