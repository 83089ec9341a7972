//! How RISC-V guests' code is executed.

use polyvisor_cell_abi::{JitStatistics, Question};

use super::{Failure, Outcome, resolve};
use crate::monitor::report::{Column, Report, Table, Value};
use crate::vm::bundle::Jit;
use crate::vm::operator::{JitStatus, Operator};

/// How it is called.
pub const JIT: &str = "VM [top [N] | block ADDRESS]";

/// Blocks that `top` shows where no number is given, and at most.
const BLOCKS: u64 = 10;
const MAX_BLOCKS: u64 = 1000;

/// The command `jit`.
pub fn jit(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let vm = resolve::vm(operator, words.first().copied().unwrap_or_default())?;
    let question = match *words.get(1..).unwrap_or_default() {
        [] => {
            return operator.jit(vm).map(|status| Outcome::Report(overview(&status))).map_err(Failure::from);
        }
        ["top"] => Question::Top(BLOCKS),
        ["top", count] => Question::Top(resolve::count(count, MAX_BLOCKS)?),
        ["block", address] => Question::Block(resolve::number(address)?),
        _ => return Err(Failure(alloc::format!("expected jit {JIT}"))),
    };
    let mut answer = operator.ask_engine(vm, question)?;
    answer.push('\n');
    Ok(Outcome::Report(Report::Text(answer)))
}

fn overview(status: &JitStatus) -> Report {
    let mode = match status.mode {
        Jit::On => "on",
        Jit::Off => "off",
        Jit::LockStep => "lockstep",
    };
    let general = [("mode", Value::text(mode)), ("instructions", Value::Count(status.retired))];
    let Some(counters) = &status.statistics else {
        return Report::Sections(alloc::vec![("jit", Report::Fields(general.into()))]);
    };
    // The two are not of the same moment.
    let compiled = status.retired.saturating_sub(counters.interpreted);
    let per_entry = compiled.checked_div(counters.entries).map_or(Value::Absent, Value::Count);
    let fields = [
        ("compiled", Value::share(compiled, status.retired)),
        ("interpreted", Value::Count(counters.interpreted)),
        ("interpretations", Value::Count(counters.interpretations)),
        ("entries", Value::Count(counters.entries)),
        ("instructions_per_entry", per_entry),
        ("blocks", Value::Count(counters.blocks)),
        ("block_instructions", Value::Count(counters.instructions)),
        ("translating", Value::Time(status.translating)),
        ("links", Value::Count(counters.links)),
        ("code", Value::Bytes(counters.code)),
        ("code_capacity", Value::Bytes(counters.capacity)),
        ("cache_recycles", Value::Count(counters.recycles)),
        ("invalidated_blocks", Value::Count(counters.invalidated_blocks)),
        ("invalidated_pages", Value::Count(counters.invalidated_pages)),
        ("comparisons", Value::Count(counters.comparisons)),
        ("mismatches", Value::Count(counters.mismatches)),
    ];
    Report::Sections(alloc::vec![
        ("jit", Report::Fields(general.into_iter().chain(fields).collect())),
        ("exits", Report::Table(exits(counters))),
    ])
}

/// Why translated code was left.
fn exits(counters: &JitStatistics<u64>) -> Table {
    const COLUMNS: &[Column; 3] =
        &[Column::new("cause", "LEFT FOR"), Column::new("count", "TIMES"), Column::new("share", "SHARE")];
    let causes = [
        ("unlinked jump", counters.unlinked),
        ("far jump missed", counters.far_misses),
        ("indirect jump missed", counters.indirect_misses),
        ("interpreter", counters.interpret),
        ("attention", counters.attention),
        ("fault, mapping filled", counters.faults_filled),
        ("fault, interpreted", counters.faults_interpreted),
    ];
    let total = causes.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let row = |(cause, count)| [Value::text(cause), Value::Count(count), Value::share(count, total)];
    Table::new(COLUMNS, causes.into_iter().map(row))
}
