//! How RISC-V guests' code is executed.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use polyvisor_cell_abi::{HotBlock, JitStatistics, Question};

use super::{Failure, Outcome, resolve};
use crate::mm::addr::PhysAddr;
use crate::monitor::report::{Column, Report, Table, Value};
use crate::vm::bundle::Jit;
use crate::vm::cell::Recording;
use crate::vm::operator::{JitStatus, Operator};

/// How it is called.
pub const JIT: &str = "VM [top [N] | block ADDRESS | recording]";

/// Blocks that `top` shows where no number is given, and at most.
const BLOCKS: u64 = 10;
const MAX_BLOCKS: u64 = 1000;

/// The command `jit`.
pub fn jit(operator: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let vm = resolve::vm(operator, words.first().copied().unwrap_or_default())?;
    let question = match *words.get(1..).unwrap_or_default() {
        [] => None,
        ["top"] => Some(Question::Top(BLOCKS)),
        ["top", count] => Some(Question::Top(resolve::count(count, MAX_BLOCKS)?)),
        ["recording"] => return Ok(Outcome::Report(recording(&operator.recording(vm)?))),
        ["block", address] => Some(Question::Block(resolve::number(address)?)),
        _ => return Err(Failure(format!("expected jit {JIT}"))),
    };
    let status = operator.jit(vm)?;
    let Some(question) = question else { return Ok(Outcome::Report(overview(&status))) };
    if status.mode == Jit::Off {
        return Err(Failure(String::from("its code is interpreted: nothing is compiled")));
    }
    let answer = operator.ask_engine(vm, question)?;
    Ok(Outcome::Report(match question {
        Question::Top(_) => Report::Table(
            hottest(&answer)
                .ok_or_else(|| Failure(String::from("the engine's answer is no table of blocks")))?,
        ),
        Question::Block(_) => Report::Text(answer),
    }))
}

/// The answer to [`Question::Top`] as a table; `None` where it is none.
fn hottest(answer: &str) -> Option<Table> {
    const COLUMNS: &[Column; 6] = &[
        Column::new("address", "ADDRESS"),
        Column::new("physical", "PHYSICAL"),
        Column::new("instructions", "INSTRUCTIONS"),
        Column::new("code", "CODE"),
        Column::new("samples", "SAMPLES"),
        Column::new("share", "SHARE"),
    ];
    let mut lines = answer.lines();
    let all: u64 = lines.next()?.parse().ok()?;
    let blocks: Result<Vec<HotBlock>, _> = lines.map(str::parse).collect();
    let row = |HotBlock { samples, pc, physical, instructions, code }: HotBlock| {
        let count = Value::Count(instructions.into());
        let share = Value::share(samples.into(), all);
        let (code, samples) = (Value::Bytes(code.into()), Value::Count(samples.into()));
        [Value::Hex(pc), Value::Hex(physical), count, code, samples, share]
    };
    Some(Table::new(COLUMNS, blocks.ok()?.into_iter().map(row)))
}

fn overview(status: &JitStatus) -> Report {
    let mode = match status.mode {
        Jit::On => "on",
        Jit::Off => "off",
        Jit::LockStep => "lockstep",
        Jit::Record => "record",
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
    let stored = [
        ("stored_blocks", Value::Count(counters.stored)),
        ("recalled_blocks", Value::Count(counters.recalled)),
        ("changed_blocks", Value::Count(counters.changed)),
    ];
    let recorded = [
        ("recorded_blocks", Value::Count(counters.recorded)),
        ("recording", Value::text(if counters.recording_full == 0 { "goes on" } else { "full" })),
    ];
    let saved: &[_] = match status.mode {
        Jit::Record => &recorded,
        _ if counters.stored != 0 => &stored,
        _ => &[],
    };
    let saved = saved.iter().cloned();
    Report::Sections(alloc::vec![
        ("jit", Report::Fields(general.into_iter().chain(fields).chain(saved).collect())),
        ("exits", Report::Table(exits(counters))),
    ])
}

/// Where a recording is, and what is in it.
fn recording(recording: &Recording) -> Report {
    const COLUMNS: &[Column; 2] = &[Column::new("address", "ADDRESS"), Column::new("bytes", "BYTES")];
    let Recording { header, bytes, crc, pieces } = recording;
    let fields = [
        ("blocks", Value::Count(header.blocks.into())),
        ("bytes", Value::Count(*bytes)),
        ("crc32", Value::Hex((*crc).into())),
        ("full", Value::Flag(header.full)),
    ];
    let row = |(address, bytes): &(PhysAddr, u64)| [Value::Hex(address.0), Value::Count(*bytes)];
    Report::Sections(alloc::vec![
        ("recording", Report::Fields(fields.into())),
        ("pieces", Report::Table(Table::new(COLUMNS, pieces.iter().map(row)))),
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
