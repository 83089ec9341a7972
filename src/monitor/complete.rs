//! Completion of what is being typed.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::command::{self, Argument, COMMANDS, JSON};
use crate::vm::operator::Operator;

/// How a word can go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// What all candidates have in common behind what has been typed; with a space where there is but one.
    pub rest: String,
    /// The whole words.
    pub candidates: Vec<String>,
}

/// How `text`, the line up to the cursor, can go on.
pub fn complete(operator: &dyn Operator, text: &str) -> Completion {
    let (before, stem) = text.rsplit_once(' ').unwrap_or(("", text));
    let mut candidates = words(operator, before, stem);
    candidates.retain(|word| word.starts_with(stem));
    let Some((first, others)) = candidates.split_first() else {
        return Completion { rest: String::new(), candidates };
    };
    let common = others.iter().fold(first.as_str(), |common, word| {
        let length = common.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
        common.get(..length).unwrap_or_default()
    });
    let mut rest = common.get(stem.len()..).unwrap_or_default().to_owned();
    if others.is_empty() {
        rest.push(' ');
    }
    Completion { rest, candidates }
}

/// The words that may follow `before`, whether or not they begin with `stem`.
fn words(operator: &dyn Operator, before: &str, stem: &str) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let names = || COMMANDS.iter().map(|command| command.name.to_owned()).collect();
    if stem.starts_with('-') {
        return owned(&[JSON]);
    }
    let typed: Vec<&str> = before.split_ascii_whitespace().filter(|&word| word != JSON).collect();
    let Some((name, typed)) = typed.split_first() else { return names() };
    let Ok(command) = command::find(name) else { return Vec::new() };
    let vm = || typed.last().and_then(|word| command::resolve::vm(operator, word).ok());
    match command.argument(typed.len()) {
        Some(Argument::Vm(words)) => {
            let vms = operator.vms().into_iter().map(|vm| vm.name);
            vms.chain(owned(words)).collect()
        }
        Some(Argument::Word(words)) => owned(words),
        Some(Argument::Command) => names(),
        Some(Argument::Disk) => {
            let disks = vm().map_or_else(Vec::new, |vm| operator.disks(vm));
            disks.into_iter().map(|disk| disk.name).collect()
        }
        Some(Argument::Net) => {
            let count = vm().map_or(0, |vm| operator.nets(vm).len());
            (0..count).map(|number| number.to_string()).collect()
        }
        Some(Argument::Switch) => operator.switches().into_iter().map(|switch| switch.name).collect(),
        Some(Argument::Number) | None => Vec::new(),
    }
}
