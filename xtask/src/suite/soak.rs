//! `cargo xtask soak`: a riscv64 Debian on four harts under a mixed load, for as long as one likes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polyvisor::vm::bundle::Jit;
use serde_json::Value;

use super::{
    Prepared, Workshop,
    registry::{at, workload},
    script::{Dialogue, Test},
};
use crate::{
    console::{Console, Input},
    firmware,
    paths::Paths,
    progress::note,
};

/// How many harts the guest has.
const HARTS: u32 = 4;
/// How long a round may take: an interpreter's, on a machine that has other things to do.
const ROUND: Duration = Duration::from_secs(3600);
/// What the guest's shell learns first. Each job checks what it has done; a round is all of them at once.
const LESSONS: [&str; 9] = [
    "workload text 4000 >/tmp/text; sort /tmp/text >/tmp/sorted",
    r#"gzipping() { gzip -c /tmp/text >/tmp/text.gz && gunzip -c /tmp/text.gz | cmp - /tmp/text; }"#,
    r#"bzipping() { bzip2 -c /tmp/text >/tmp/text.bz2 && bunzip2 -c /tmp/text.bz2 | cmp - /tmp/text; }"#,
    r#"sorting() { sort -r /tmp/text | sort | cmp - /tmp/sorted; }"#,
    r#"counting() { [ "$(awk '{ n[$1]++ } END { for (w in n) s += n[w]; print s }' /tmp/text)" = 4000 ]; }"#,
    r#"forking() { i=0; while [ $i -lt 150 ]; do [ "$(echo $i | sed s/^/x/)" = x$i ] || return; i=$((i+1)); done; }"#,
    "working() { workload core 2 && workload float 1 && workload memory 1; }",
    "shaking() { workload self-modifying 1 && workload atomics 1 && workload litmus 4; }",
    r#"round() { jobs=; for job in gzipping bzipping sorting counting forking working shaking; do
       $job >/tmp/$job.log 2>&1 && echo right >/tmp/$job.end & jobs="$jobs $!"; done; wait $jobs;
       for job in gzipping bzipping sorting counting forking working shaking; do
       grep -q right /tmp/$job.end && rm /tmp/$job.end || { echo "WRONG: $job"; cat /tmp/$job.log; return 1; }; done; }"#,
];

/// Rounds until the time is over, and what the translator says of itself before and behind them.
///
/// # Errors
/// The first result that is wrong.
pub fn run(paths: &Paths, time: Duration, jit: Jit) -> Result<()> {
    let firmware = firmware::build(paths)?;
    let proves = "whatever is executed for a long time, its results are right";
    let test = workload::linux("soak", proves, HARTS, jit).slow();
    let Prepared { command, log, .. } = Workshop::setup(paths, &firmware, None)?.prepare(&test)?;
    let mut console = Console::start(command, Input::Scripted, &log, false)?;
    let result = soak(&test, &mut console, time);
    console.stop()?;
    result.with_context(|| format!("the console is in {}", log.display()))
}

fn soak(test: &Test, console: &mut Console, time: Duration) -> Result<()> {
    test.play(console, None)?;
    let mut dialogue = Dialogue::new(console);
    dialogue.detach()?;
    report(&mut dialogue)?;
    let started = Instant::now();
    at(&mut dialogue, workload::VM, |dialogue| {
        for lesson in LESSONS {
            dialogue.shell_within(&joined(lesson), ROUND)?;
        }
        let mut rounds = 0;
        while started.elapsed() < time {
            let round = Instant::now();
            dialogue.shell_within("(round)", ROUND)?;
            rounds += 1;
            let (seconds, minutes) = (round.elapsed().as_secs(), started.elapsed().as_secs() / 60);
            note(format!("round {rounds} is right, and took {seconds} s; {minutes} minutes are over"));
        }
        Ok(())
    })?;
    report(&mut dialogue)
}

/// Shows what the translator says of itself.
fn report(dialogue: &mut Dialogue) -> Result<()> {
    let statistics: Value = dialogue.ask(&format!("jit {}", workload::VM))?;
    note(format!("jit: {statistics}"));
    Ok(())
}

/// A lesson in one line.
fn joined(lesson: &str) -> String {
    lesson.split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}
