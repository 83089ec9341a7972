//! The remote debugger.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{
    super::{
        remote::Remote,
        script::{Dialogue, Subject, Test, TestGuest},
    },
    BANNER, HELLO_PROMPT, U_BOOT_PROMPT,
};
use crate::qemu::Machine;

/// A debugger on the second serial line sees and steers a guest, which does not notice when it has gone.
pub fn tests() -> Vec<Test> {
    // On one CPU, harts that are halted are mostly in the middle of something.
    vec![arm64(2), arm64(3), riscv64(2, 1), riscv64(3, 4)]
}

fn arm64(gic: u8) -> Test {
    Test::new(
        format!("gdb-gic{gic}"),
        format!("a debugger steps, sets breakpoints, interrupts, and leaves the guest unharmed (GICv{gic})"),
        Subject::Guest(TestGuest::new("hello")),
    )
    .on(Machine { gic, ..Machine::virt() })
    .debugged("hello")
    .expect(HELLO_PROMPT)
    .talk(debug_hello)
    .line("off")
    .off()
    .count(BANNER, 1)
}

fn riscv64(gic: u8, cpus: u32) -> Test {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "box"
        guest = "u-boot-riscv64"
        vcpus = 2
        memory = "128M"
    "#;
    Test::new(
        format!("gdb-riscv-gic{gic}"),
        format!(
            "a debugger steps the harts of a RISC-V guest, sets breakpoints, changes registers, interrupts, and \
             leaves the guest unharmed (GICv{gic}, CPUs: {cpus})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, cpus, ..Machine::virt() })
    .debugged("box")
    .expect(U_BOOT_PROMPT)
    .talk(debug_u_boot)
    .line("poweroff")
    .off()
    .count(BANNER, 1)
}

/// An instruction that the guest executes once, soon after its first one, and the next one.
struct Target {
    address: u64,
    next: u64,
    instruction: Vec<u8>,
}

/// Steps and sets breakpoints at a guest's first instructions, none of which is executed twice. `software` is the reason
/// that is given for a stop at a breakpoint that needs no hardware.
fn debug_start(gdb: &mut Remote, software: &str) -> Result<Target> {
    const STEPS: usize = 8;
    gdb.monitor("reset")?;
    let entry = gdb.pc()?;
    let path = (0..STEPS).map(|_| gdb.step()).collect::<Result<Vec<u64>>>()?;
    let [.., address, next] = *path else { bail!("no steps") };
    let is_straight = address < next && next <= address + 4;
    ensure!(path.iter().all(|pc| *pc != entry) && is_straight, "{STEPS} steps led to {path:x?}");
    let instruction = gdb.memory(address, 4)?;
    for (point, reason) in [("Z0", software), ("Z1", "hwbreak")] {
        gdb.monitor("reset")?;
        gdb.order(&format!("{point},{address:x},4"))?;
        ensure!(gdb.memory(address, 4)? == instruction, "a breakpoint shows in memory");
        let stop = gdb.run_to(reason)?;
        ensure!(stop == address, "{point} stopped at {stop:#x} instead of {address:#x}");
        gdb.order(&format!("z{},{address:x},4", &point[1..]))?;
        let end = gdb.step()?;
        ensure!(end == next, "the step from {point} ended at {end:#x} instead of {next:#x}");
    }
    Ok(Target { address, next, instruction })
}

/// The next debugger finds things as the last one has left them: in order.
fn debug_again(dialogue: &Dialogue, target: &Target) -> Result<()> {
    let mut gdb = dialogue.debugger()?;
    ensure!(gdb.memory(target.address, 4)? == target.instruction, "a breakpoint was left in memory");
    gdb.detach()
}

/// Debugs the built-in guest.
fn debug_hello(dialogue: &mut Dialogue) -> Result<()> {
    /// More bytes than the loop has in which it waits for input.
    const LOOP: u64 = 64;
    /// More instructions than the guest executes in as many bytes, other than in a loop.
    const SETTLED: usize = 100;
    /// More time than a typed line takes to the guest's serial port.
    const ARRIVAL: Duration = Duration::from_millis(300);
    let mut gdb = dialogue.debugger()?;
    let target = debug_start(&mut gdb, "swbreak")?;
    ensure!(target.address + 4 == target.next, "not every instruction has 4 bytes");
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

    debug_again(dialogue, &target)
}

/// Debugs U-Boot in machine mode, whose second hart sleeps.
fn debug_u_boot(dialogue: &mut Dialogue) -> Result<()> {
    /// gdb's number of a register that U-Boot's first instructions do not use: t6.
    const REGISTER: u8 = 31;
    const STEPS: usize = 50;
    let mut gdb = dialogue.debugger()?;
    // The engine looks out for both.
    let target = debug_start(&mut gdb, "hwbreak")?;
    let value = "efcdab8967452301";
    gdb.order(&format!("P{REGISTER:x}={value}"))?;
    gdb.step()?;
    let found = gdb.ask(&format!("p{REGISTER:x}"))?;
    ensure!(found == value, "the register that was to be {value} is {found}");

    gdb.run()?;
    dialogue.expect(U_BOOT_PROMPT)?;
    gdb.interrupt()?;
    let path = (0..STEPS).map(|_| gdb.step()).collect::<Result<Vec<u64>>>()?;
    ensure!(path.iter().zip(&path[1..]).any(|(pc, next)| pc != next), "{STEPS} steps led nowhere");
    // The other hart goes on from WFI without an interrupt, and only by its step.
    let threads = gdb.ask("qfThreadInfo")?;
    ensure!(["p01.01", "p01.02"].iter().all(|hart| threads.contains(hart)), "the threads are {threads:?}");
    for _ in 0..STEPS {
        let stop = gdb.ask("vCont;s:p1.2")?;
        ensure!(stop.starts_with("T05") && stop.contains(".02"), "a step of hart 1 ended by {stop:?}");
    }
    gdb.detach()?;
    dialogue.line("echo $((0x21 + 0x15))")?;
    dialogue.expect(U_BOOT_PROMPT)?;
    debug_again(dialogue, &target)
}
