//! The remote debugger.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{
    super::script::{Dialogue, Subject, Test, TestGuest},
    BANNER, HELLO_PROMPT,
};
use crate::qemu::Machine;

/// A debugger on the second serial line sees and steers a guest, which does not notice when it has gone.
pub fn tests() -> Vec<Test> {
    let test = |gic| {
        Test::new(
            format!("gdb-gic{gic}"),
            format!(
                "a debugger steps, sets breakpoints, interrupts, and leaves the guest unharmed (GICv{gic})"
            ),
            Subject::Guest(TestGuest::new("hello")),
        )
        .on(Machine { gic, ..Machine::virt() })
        .debugged("hello")
        .expect(HELLO_PROMPT)
        .talk(debug_hello)
        .line("off")
        .off()
        .count(BANNER, 1)
    };
    vec![test(2), test(3)]
}

/// Debugs a guest whose first instructions are nowhere executed twice.
fn debug_hello(dialogue: &mut Dialogue) -> Result<()> {
    const STEPS: usize = 8;
    /// More bytes than the loop has in which it waits for input.
    const LOOP: u64 = 64;
    /// More instructions than the guest executes in as many bytes, other than in a loop.
    const SETTLED: usize = 100;
    /// More time than a typed line takes to the guest's serial port.
    const ARRIVAL: Duration = Duration::from_millis(300);
    let mut gdb = dialogue.debugger()?;
    gdb.monitor("reset")?;
    let entry = gdb.pc()?;
    let path = (0..STEPS).map(|_| gdb.step()).collect::<Result<Vec<u64>>>()?;
    let [.., target, next] = *path else { bail!("no steps") };
    ensure!(path.iter().all(|pc| *pc != entry) && target + 4 == next, "{STEPS} steps led to {path:x?}");
    let instruction = gdb.memory(target, 4)?;

    for (point, reason) in [("Z0", "swbreak"), ("Z1", "hwbreak")] {
        gdb.monitor("reset")?;
        gdb.order(&format!("{point},{target:x},4"))?;
        ensure!(gdb.memory(target, 4)? == instruction, "a breakpoint shows in memory");
        let stop = gdb.run_to(reason)?;
        ensure!(stop == target, "{point} stopped at {stop:#x} instead of {target:#x}");
        gdb.order(&format!("z{},{target:x},4", &point[1..]))?;
        ensure!(gdb.step()? == next, "the step from {point} did not end at {next:#x}");
    }

    gdb.run()?;
    dialogue.expect(HELLO_PROMPT)?;
    gdb.interrupt()?;
    // It returns from printing its prompt, and then waits for its console in a loop.
    let (mut held, mut since) = (gdb.pc()?, 0);
    for step in 0.. {
        ensure!(step < 100 * SETTLED, "after {step} steps the guest does not wait for its console");
        let pc = gdb.step()?;
        if pc.abs_diff(held) >= LOOP {
            (held, since) = (pc, step);
        } else if step - since == SETTLED {
            break;
        }
    }
    // Once what is typed has arrived, an interrupt is pending; it stays there nevertheless, step by step.
    dialogue.line("help")?;
    let arrived = Instant::now() + ARRIVAL;
    while Instant::now() < arrived {
        let pc = gdb.step()?;
        ensure!(pc.abs_diff(held) < LOOP, "a step from {held:#x} led to {pc:#x}");
    }
    gdb.detach()?;
    dialogue.expect(r"switch the machine off")?;

    // The next debugger finds things as the last one has left them: in order.
    let mut gdb = dialogue.debugger()?;
    ensure!(gdb.memory(target, 4)? == instruction, "a breakpoint was left in memory");
    gdb.detach()
}
