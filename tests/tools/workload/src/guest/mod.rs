//! What runs in a guest only.

mod atomics;
mod litmus;
mod mapping;
mod measure;
mod program;
mod self_modifying;
mod threads;

use core::fmt;

use tool_support::{
    linux::{EINVAL, EIO, Errno, STDERR, STDOUT, say, write},
    start::Arguments,
};

use crate::{memory::text::Text, works::WORKS};
use measure::{Counter, Reading, measured};

/// How often things are done unless another number is given.
const WORK_ROUNDS: u32 = 4;
const LITMUS_ROUNDS: u32 = 20;
const ATOMICS_ROUNDS: u32 = 4;
const SELF_MODIFYING_ROUNDS: u32 = 4;
/// The seed of the text for other programs.
const TEXT: u64 = 41;

/// Does what the arguments say.
pub fn run(mut arguments: Arguments) -> Result<(), Errno> {
    let what = arguments.next().ok_or(EINVAL)?;
    match what {
        "scale" => {
            let threads = arguments.next().and_then(|number| number.parse().ok()).ok_or(EINVAL)?;
            measure::scale(threads, number(arguments.next(), WORK_ROUNDS)?)
        }
        "measure" => {
            let counter = Counter::of(threads::pin(0)?)?;
            measured(what, &counter, || program::run(arguments)).map(drop)
        }
        "litmus" => litmus::run(number(arguments.next(), LITMUS_ROUNDS)?),
        "atomics" => atomics::run(number(arguments.next(), ATOMICS_ROUNDS)?),
        "self-modifying" => self_modifying::run(number(arguments.next(), SELF_MODIFYING_ROUNDS)?),
        "text" => {
            let mut text = Text::new(TEXT);
            (0..number(arguments.next(), 0)?).try_for_each(|_| write(STDOUT, text.line()))
        }
        group => work(group, number(arguments.next(), WORK_ROUNDS)?),
    }
}

/// Does all the work of a group: once, so that what is translated is translated, and then for the record.
fn work(group: &str, rounds: u32) -> Result<(), Errno> {
    let counter = Counter::of(threads::pin(0)?)?;
    let mut total = Reading::default();
    for work in WORKS.iter().filter(|work| work.group == group) {
        measure::round(work)?;
        total += measured(work.name, &counter, || (0..rounds).try_for_each(|_| measure::round(work)))?;
    }
    if total == Reading::default() {
        return Err(EINVAL);
    }
    say(STDERR, format_args!("workload: all of {group}: ok, {total}"));
    Ok(())
}

fn number(argument: Option<&str>, usual: u32) -> Result<u32, Errno> {
    argument.map_or(Ok(usual), |number| number.parse().map_err(|_| EINVAL))
}

/// Says what is wrong if it is.
fn check(right: bool, what: fmt::Arguments<'_>) -> Result<(), Errno> {
    if right {
        return Ok(());
    }
    say(STDERR, format_args!("workload: WRONG: {what}"));
    Err(EIO)
}
