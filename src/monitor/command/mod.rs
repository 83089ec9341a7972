//! The operator's commands: what they are called, what they take, and what they do.

mod control;
mod device;
mod help;
mod inspect;
mod jit;
pub mod resolve;
mod table;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::report::Report;
use crate::vm::operator::{Line, Operator, Refusal};

pub use inspect::{activity, total as total_exits};
pub use table::COMMANDS;

/// A command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What it takes, for [`Command::usage`].
    pub arguments: &'static str,
    /// What it takes, one after the other.
    pub takes: &'static [Argument],
    /// How many of these must be there.
    pub required: usize,
    /// The last one may come several times.
    pub repeats: bool,
    /// What it does, in half a line.
    pub help: &'static str,
    /// What else there is to know.
    pub more: &'static str,
    /// It must be typed in full, for it cannot be taken back.
    pub in_full: bool,
    /// Carries it out. The number of words has been checked.
    pub run: fn(&dyn Operator, &[&str]) -> Result<Outcome, Failure>,
}

/// What a word after the command stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A VM, or one of these words.
    Vm(&'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A command.
    Command,
    /// A number, or an address.
    Number,
    /// A disk of the VM before it.
    Disk,
    /// A network device of the VM before it, by number.
    Net,
    /// A switch.
    Switch,
}

/// What the monitor is to do.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Show this.
    Report(Report),
    /// Attach the operator to this line.
    Attach(Line),
    /// Show the output of these VMs line by line; of all, where there is no choice.
    Watch(Option<Vec<usize>>),
    /// Show the last lines of output on a line, or of EL2 itself.
    Log(Option<Line>, usize),
    /// Show the rates of CPU use this many times, or until a key is pressed.
    Top(Option<u64>),
    /// Use colours, or do not.
    Colour(bool),
}

/// Why a command was not carried out, in one line for each thing that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Failure {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.0)
    }
}

/// The word that asks for JSON, wherever it stands.
pub const JSON: &str = "--json";

impl Command {
    /// How it is called.
    pub fn usage(&self) -> String {
        match self.arguments {
            "" => self.name.into(),
            arguments => format!("{} {arguments}", self.name),
        }
    }

    /// What the word at `index` behind its name stands for, if there may be one.
    pub fn argument(&self, index: usize) -> Option<Argument> {
        match self.takes.get(index) {
            None if self.repeats => self.takes.last().copied(),
            argument => argument.copied(),
        }
    }
}

/// Finds the command that `word` names or abbreviates.
///
/// # Errors
/// [`Failure`], with what might have been meant.
pub fn find(word: &str) -> Result<&'static Command, Failure> {
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        return Ok(command);
    }
    let fitting: Vec<&Command> = COMMANDS.iter().filter(|command| command.name.starts_with(word)).collect();
    let names = || resolve::alternatives(fitting.iter().map(|command| command.name));
    match *fitting {
        [command] if command.in_full => Err(Failure(format!("{} must be typed in full", command.name))),
        [command] => Ok(command),
        [] => {
            let near = COMMANDS.iter().map(|command| command.name);
            let near: Vec<&str> = near.filter(|name| resolve::is_near(word, name)).collect();
            Err(Failure(match *near {
                [] => format!("{} is no command: expected one that help shows", resolve::quoted(word)),
                _ => format!(
                    "{} is no command: is {} meant?",
                    resolve::quoted(word),
                    resolve::alternatives(near.into_iter())
                ),
            }))
        }
        _ => Err(Failure(format!("{} is ambiguous: is {} meant?", resolve::quoted(word), names()))),
    }
}

/// Carries out a command line without its [`JSON`].
///
/// # Errors
/// [`Failure`] where it cannot be carried out.
pub fn run(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let Some((name, words)) = words.split_first() else { return Ok(Outcome::Report(Report::Done)) };
    let command = find(name)?;
    if words.len() < command.required || (words.len() > command.takes.len() && !command.repeats) {
        return Err(Failure(format!("expected: {}", command.usage())));
    }
    (command.run)(operator, words)
}
