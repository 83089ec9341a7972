//! What is wrong, and what is said about it.

use anyhow::ensure;

use super::{
    super::script::{Damage, Devicetree, Subject, Test, TestGuest},
    BANNER, HELLO_PROMPT, MONITOR, STOPS, U_BOOT_PROMPT,
};
use crate::{
    guests::DEFAULT_KERNEL,
    qemu::{EntryLevel, Machine},
    size::Size,
};

pub fn tests() -> Vec<Test> {
    let mut tests = bad_inputs();
    tests.extend(crashes());
    tests.extend([engine_crash(2), engine_crash(3)]);
    tests
}

/// What EL2's own fatal errors look like to the person who has to find the cause.
fn crashes() -> Vec<Test> {
    let crash = |kind: &str, proves: &str, report: &str| {
        Test::new(format!("crash-{kind}"), proves, Subject::BuiltIn)
            .arguments(&format!("crash={kind}"))
            .expect(BANNER)
            .panics()
            .count(&format!(r"\npolyvisor panic: {report}"), 1)
            .count(r"\npolyvisor backtrace: 0x[0-9a-f]+ 0x[0-9a-f]+", 1)
    };
    vec![
        crash(
            "panic",
            "a panic says what and where",
            r"crash=panic was asked for \(src/platform/crash.rs:\d+",
        ),
        crash(
            "fault",
            "EL2's code is not writable, and the report has the cause in words and the registers",
            r"synchronous exception at 0x[0-9a-f]+: data abort [^\n]*: permission fault[^\n]*\n(?s:.*)  elr [0-9a-f]{16}",
        ),
        crash("overflow", "a stack that runs over meets its guard page and is told apart", r"stack overflow"),
    ]
}

/// A mistake in an engine, which is made on purpose, is its VM's crash.
fn engine_crash(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "desk"
        guest = "hello"

        [[vm]]
        name = "box"
        guest = "u-boot-riscv64"
        vcpus = 4
        memory = "128M"
        on-crash = { restart = "100ms" }
    "#;
    Test::new(
        format!("crash-engine-gic{gic}"),
        format!(
            "a RISC-V VM whose engine fails is reported with the registers of both, and starts again; another VM \
             does not notice (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.attach("box")?;
        dialogue.expect(U_BOOT_PROMPT)?;
        dialogue.detach()?;
        let refused = dialogue.command("fail desk")?;
        ensure!(refused.is_err(), "`fail desk` is obeyed: {refused:?}");
        // One that runs, and one that sleeps.
        for (hart, restarts) in [(0, 1), (2, 2)] {
            dialogue.line(&format!("fail box.{hart}"))?;
            dialogue.expect(&format!(
                r"VM box crashed on vCPU {hart}: engine, hart {hart}: exception at 0x[0-9a-f]+\r?\n"
            ))?;
            dialogue.expect(r"engine backtrace: 0x[0-9a-f]+ ")?;
            dialogue.expect(r"  esr 96\w+  far [0-9a-f]{16}")?;
            dialogue.expect(r"  x30 [0-9a-f]{16}")?;
            dialogue.expect(&format!("guest, hart {hart}: pc [0-9a-f]{{16}}  mode 3 "))?;
            dialogue.expect(r"  x31 [0-9a-f]{16}")?;
            dialogue.expect("VM box starts again in")?;
            dialogue.await_that("VM box has started again", |dialogue| {
                let vm = dialogue.vm("box")?;
                Ok(vm.state == "running" && vm.restarts == restarts)
            })?;
            // In its log are its earlier lives, too.
            dialogue.await_that("VM box has come to its prompt again", |dialogue| {
                let log = dialogue.ask("log box 1000")?.to_string();
                let lives: Vec<&str> = log.split("U-Boot 20").skip(1).collect();
                Ok(lives.len() == restarts as usize + 1 && lives.iter().all(|life| life.contains(U_BOOT_PROMPT)))
            })?;
        }
        let desk = dialogue.vm("desk")?;
        ensure!(desk.state == "running" && desk.restarts == 0, "VM desk has not been left alone: {desk:?}");
        dialogue.attach("desk")?;
        dialogue.line("good morning")?;
        dialogue.expect(r"`good morning` is no command here")?;
        dialogue.detach()
    })
    .line("poweroff")
    .off()
    .count(BANNER, 1)
    .count(r"VM desk crashed", 0)
}

/// What is wrong is said, and the machine ends instead of hanging.
fn bad_inputs() -> Vec<Test> {
    let hello = || TestGuest::new("hello");
    let at = |entry| Machine { entry, ..Machine::virt() };
    let damaged = |name: &str, what: &str, damage, error: &str| {
        Test::new(name, format!("{what} is refused with a reason"), Subject::Damaged(hello(), damage))
            .expect(error)
            .off()
    };
    vec![
        // Where PSCI is out of reach, because its conduit is not known or not ours, a machine stops without
        // powering off.
        Test::new("bad-el1", "entered at EL1, Polyvisor says how to start it", Subject::BuiltIn)
            .on(at(EntryLevel::El1))
            .expect(r"entered at EL1")
            .expect(r"virtualization=on")
            .expect(STOPS),
        Test::new(
            "entry-el3",
            "entered at EL3, Polyvisor drops to EL2 and runs",
            Subject::Reset(Devicetree::Sound),
        )
        .on(at(EntryLevel::El3))
        .expect(BANNER)
        .expect(HELLO_PROMPT),
        Test::new(
            "bad-devicetree-missing",
            "without a devicetree Polyvisor says so",
            Subject::Reset(Devicetree::Missing),
        )
        .expect(r"cannot start: no devicetree")
        .expect(STOPS),
        Test::new(
            "bad-devicetree-corrupt",
            "a corrupt devicetree is refused with a reason",
            Subject::Reset(Devicetree::Corrupt),
        )
        .expect(r"cannot start: corrupt devicetree")
        .expect(STOPS),
        damaged("bad-bundle-truncated", "a truncated bundle", Damage::Truncated, r"the bundle is truncated"),
        damaged(
            "bad-bundle-flipped",
            "a bundle with one wrong bit",
            Damage::BitFlipped,
            r"CRC-32 is 0x[0-9a-f]+ instead of",
        ),
        damaged("bad-bundle-replaced", "a file that is no bundle", Damage::Replaced, r"this is not a bundle"),
        Test::new(
            "bad-kernel-too-large",
            "a kernel that does not fit into its guest's RAM is refused with a reason",
            Subject::Guest(TestGuest::new(DEFAULT_KERNEL).memory(Size::mib(16))),
        )
        .expect(r"the kernel does not fit")
        .off(),
        Test::new(
            "bad-vcpus-too-many",
            "a guest with more vCPUs than its interrupt controller serves is refused with a reason",
            Subject::Guest(TestGuest { vcpus: 9, ..hello() }),
        )
        .on(Machine { gic: 2, ..Machine::virt() })
        .expect(r"9 vCPUs are asked for, at most 8 are possible with this GIC")
        .off(),
        Test::new(
            "bad-memory-too-large",
            "a guest with more RAM than the machine has is refused with a reason",
            Subject::Guest(hello().memory(Size::gib(64))),
        )
        .expect(r"guest memory are asked for, but the machine has")
        .off(),
    ]
}
