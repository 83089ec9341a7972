//! The payloads of `tests/guests`, alone on the machine.

use anyhow::{Context, bail, ensure};
use regex::Regex;

use super::{
    super::script::{Subject, Test, TestGuest},
    BANNER, HELLO_PROMPT,
};
use crate::qemu::Machine;

/// The payloads of `tests/guests` judge themselves; their last line says how it went.
pub fn tests() -> Vec<Test> {
    let versions = [2, 3].map(|gic| (format!("gic{gic}"), Machine { gic, ..Machine::virt() }));
    let mut tests = Vec::new();
    for (name, machine) in versions {
        tests.push(
            Test::new(
                format!("selftest-{name}"),
                format!("what a guest can check of its machine is as the architecture says ({name})"),
                Subject::Guest(TestGuest { vcpus: 2, ..TestGuest::new("selftest") }),
            )
            .on(machine.clone())
            .expect(r"selftest: [1-9]\d* passed, 0 failed")
            .off(),
        );
        tests.push(
            Test::new(
                format!("hostile-{name}"),
                format!("a guest that attacks its hypervisor in every way it can ends by itself ({name})"),
                Subject::Guest(TestGuest::new("hostile").append("mode=all seed=1")),
            )
            .on(machine)
            .expect(r"hostile: survived [1-9]\d* operations")
            .off()
            .count(r"hostile: LEAK", 0)
            .count(BANNER, 1),
        );
    }
    tests.push(
        Test::new(
            "isolation",
            "a guest reaches no RAM but its own, whether by load, store, execution or page-table walk",
            // The machine's RAM reaches from 1 to 3 GiB; the guest's own ends at 1.25 GiB.
            Subject::Guest(TestGuest::new("probe").append("target=0x50000000+0x70000000")),
        )
        .expect(r"probe: 0 reached, [1-9]\d* refused")
        .off(),
    );
    tests.push(reset_storm());
    tests.push(
        Test::new(
            "guest-reset",
            "a guest's reset starts the VM afresh each time, and only the VM",
            Subject::Guest(TestGuest::new("hello")),
        )
        .expect(HELLO_PROMPT)
        .talk(|dialogue| {
            (0..3).try_for_each(|_| {
                dialogue.line("reset")?;
                dialogue.expect(r"Hello!")?;
                dialogue.expect(HELLO_PROMPT).map(drop)
            })
        })
        .line("off")
        .off()
        .count(BANNER, 1),
    );
    tests
}

/// Whoever resets while the others are on their way in or out must find them all. How often they did, and how much was
/// said about it, is in the log for which the operator asks meanwhile.
fn reset_storm() -> Test {
    const RESETS: u64 = 300;
    /// Log lines that a VM may cause at once; after that it is one in a second.
    const BURST: usize = 5;
    Test::new(
        "reset-storm",
        "four vCPUs that reset their VM at once, again and again, never keep it from starting afresh, nor the \
         operator from his answers, nor fill the log",
        Subject::Guest(TestGuest { vcpus: 4, ..TestGuest::new("reset") }),
    )
    .expect("VM reset resets")
    .talk(|dialogue| {
        dialogue.detach()?;
        let line = Regex::new(r"\[ *(\d+)\.\d+\] polyvisor: VM reset resets(?: \((\d+) lines? )?")?;
        let (mut log, mut seconds) = (String::new(), Vec::new());
        dialogue.await_that("that many resets", |dialogue| {
            log = dialogue.ask("log polyvisor 1000")?.as_str().context("the log is no text")?.to_owned();
            seconds.clear();
            let mut resets = 0;
            for found in line.captures_iter(&log) {
                seconds.push(found[1].parse::<usize>()?);
                resets += 1 + found.get(2).map_or(Ok(0), |left_out| left_out.as_str().parse::<u64>())?;
            }
            Ok(resets >= RESETS)
        })?;
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { bail!("no resets") };
        // One more, since a line is dated a little after it was admitted.
        let allowed = BURST + (last - first) + 1;
        ensure!(seconds.len() <= allowed, "the log has {} lines on resets, not {allowed}", seconds.len());
        ensure!(Regex::new(BANNER)?.find_iter(&log).count() == 1, "Polyvisor itself has started again");
        Ok(())
    })
}
