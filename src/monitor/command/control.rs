//! Commands that change something.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Failure, Outcome, resolve};
use crate::monitor::report::Report;
use crate::vm::operator::{Operator, Order};

/// Lines that `log` shows where no number is given.
const LINES: u64 = 40;
/// Most lines that `log` shows: more than are kept.
const MAX_LINES: u64 = 10_000;
/// What `log` calls EL2.
pub const OWN: &str = "polyvisor";
/// Most times that `top` refreshes: a day.
const MAX_REFRESHES: u64 = 86_400;

/// Gives an order to each of the VMs; one that refuses does not keep it from the others.
pub fn order(operator: &dyn Operator, words: &[&str], order: Order) -> Result<Outcome, Failure> {
    let vms = resolve::vms(operator, words)?;
    let refusals: Vec<String> =
        vms.into_iter().filter_map(|vm| operator.order(vm, order).err()).map(|refusal| refusal.0).collect();
    match refusals.is_empty() {
        true => Ok(Outcome::Report(Report::Done)),
        false => Err(Failure(refusals.join("\n"))),
    }
}

pub fn console(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    resolve::line(operator, words.first().copied().unwrap_or_default()).map(Outcome::Attach)
}

pub fn watch(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    Ok(Outcome::Watch(match words {
        [] | ["on"] => None,
        ["off"] => Some(Vec::new()),
        _ => Some(resolve::vms(operator, words)?),
    }))
}

pub fn log(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let line = match *words {
        [] | [OWN, ..] => None,
        [line, ..] => Some(resolve::line(operator, line)?),
    };
    let lines = words.get(1).map_or(Ok(LINES), |word| resolve::count(word, MAX_LINES))?;
    Ok(Outcome::Log(line, lines as usize))
}

pub fn top(_: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let count = words.first().map(|word| resolve::count(word, MAX_REFRESHES)).transpose()?;
    Ok(Outcome::Top(count))
}

pub fn gdb(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let vm = match *words {
        ["off"] => None,
        _ => words.first().map(|vm| resolve::vm(operator, vm)).transpose()?,
    };
    operator.debug(vm)?;
    Ok(Outcome::Report(Report::Done))
}

pub fn fail(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let (vm, vcpu) = resolve::vcpu(operator, words.first().copied().unwrap_or_default())?;
    operator.fail_engine(vm, vcpu)?;
    Ok(Outcome::Report(Report::Done))
}

pub fn colour(_: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    match *words {
        ["on"] => Ok(Outcome::Colour(true)),
        ["off"] => Ok(Outcome::Colour(false)),
        _ => Err(Failure(format!("expected on or off, not {}", resolve::quoted(&words.join(" "))))),
    }
}

pub fn power(operator: &dyn Operator, restart: bool) -> Result<Outcome, Failure> {
    operator.power(restart);
    Ok(Outcome::Report(Report::Done))
}
