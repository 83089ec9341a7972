//! Every test under QEMU.

use anyhow::{Result, bail, ensure};

use super::script::{Damage, Devicetree, Dialogue, Subject, Test, TestGuest};
use super::subject::UBOOT_IMAGE;
use crate::{
    guests::DEFAULT_KERNEL,
    qemu::{EntryLevel, Machine},
    size::Size,
};

/// What Polyvisor prints first; once per machine, whatever its VMs do.
const BANNER: &str = r"polyvisor: Polyvisor \d+\.\d+\.\d+ on ";
/// What Polyvisor prints last when it cannot start.
const STOPS: &str = r"polyvisor stops\.";
/// The last line of the Linux guest's `/init` before its shell.
const LINUX_READY: &str = r"guest ready: Linux [^\n]*";
const LINUX_PROMPT: &str = r"guest:~# ";
/// The built-in guest's prompt.
const HELLO_PROMPT: &str = r"guest> ";

/// All tests, the quick ones first.
pub fn all() -> Vec<Test> {
    let mut tests = vec![built_in()];
    tests.extend(machines());
    tests.push(bare_linux());
    tests.push(several_vms());
    tests.extend(payloads());
    tests.extend(debuggers());
    tests.extend(bad_inputs());
    tests.extend(crashes());
    tests.push(booti());
    tests.extend(linux());
    tests.push(u_boot());
    tests
}

/// A hypervisor may be blamed for a test that fails only if this one passes.
fn bare_linux() -> Test {
    let guest = TestGuest::new(DEFAULT_KERNEL);
    Test::new(
        "rig-bare-linux",
        "the test rig itself boots a kernel to its shell with no hypervisor",
        Subject::Bare(guest),
    )
    .on(Machine { cpus: 2, memory: Size::mib(512), ..Machine::virt() })
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .line("echo $((6 * 7))")
    .expect(r"\b42\b")
    .line("poweroff")
    .off()
}

fn built_in() -> Test {
    greeting("built-in", "without a bundle the built-in guest shows life and answers typed lines")
        .count(BANNER, 1)
}

/// A dialogue with the built-in guest.
fn greeting(name: impl Into<String>, proves: impl Into<String>) -> Test {
    Test::new(name, proves, Subject::BuiltIn)
        .expect(BANNER)
        .expect(r"exception level +1")
        .expect(HELLO_PROMPT)
        .keys("good mor")
        .line("ning")
        .expect(r"`good morning` is no command here")
        .line("off")
        .off()
}

/// One image on every machine: shown with the smallest guest, which uses timer, interrupts and console too.
fn machines() -> Vec<Test> {
    let virt = Machine::virt();
    let cpu = |cpu: &str| (format!("cpu-{cpu}"), Machine { cpu: cpu.to_owned(), ..Machine::virt() });
    let mut machines: Vec<(String, Machine)> =
        ["cortex-a53", "cortex-a57", "cortex-a76", "neoverse-n1", "max"].map(cpu).into();
    machines.push(("gic2".to_owned(), Machine { gic: 2, ..virt.clone() }));
    machines.push((
        "gic2-max-8cpus".to_owned(),
        Machine { gic: 2, cpu: "max".to_owned(), cpus: 8, ..virt.clone() },
    ));
    machines.push(("1cpu".to_owned(), Machine { cpus: 1, ..virt.clone() }));
    machines.push(("8cpus".to_owned(), Machine { cpus: 8, ..virt.clone() }));
    machines.push(("512MiB".to_owned(), Machine { memory: Size::mib(512), ..virt.clone() }));
    machines.push(("8GiB".to_owned(), Machine { memory: Size::gib(8), ..virt }));
    machines.push(("raspi4b".to_owned(), Machine::raspi4b()));
    machines
        .into_iter()
        .map(|(name, machine)| {
            greeting(format!("machine-{name}"), format!("the same image runs on machine {name}")).on(machine)
        })
        .collect()
}

/// What a manifest describes is what runs.
fn several_vms() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        memory = "1G"

        [[vm]]
        name = "left"
        guest = "hello"
        memory = "64M"

        [[vm]]
        name = "right"
        guest = "selftest"
        vcpus = 2
        memory = "256M"
    "#;
    Test::new(
        "several-vms",
        "the VMs of a manifest start side by side",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(r"1024 MiB of RAM")
    .expect(r"VM left starts: 1 vCPUs, 64 MiB")
    .expect(r"VM right starts: 2 vCPUs, 256 MiB")
    .count(BANNER, 1)
}

/// The payloads of `tests/guests` judge themselves; their last line says how it went.
fn payloads() -> Vec<Test> {
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

/// Whoever resets while the others are on their way in or out must find them all.
fn reset_storm() -> Test {
    const RESETS: usize = 300;
    Test::new(
        "reset-storm",
        "four vCPUs that reset their VM at once, again and again, never keep it from starting afresh",
        Subject::Guest(TestGuest { vcpus: 4, ..TestGuest::new("reset") }),
    )
    .talk(|dialogue| (0..RESETS).try_for_each(|_| dialogue.expect("VM reset resets").map(drop)))
    .count(BANNER, 1)
}

/// A debugger on the second serial line sees and steers a guest, which does not notice when it has gone.
fn debuggers() -> Vec<Test> {
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
    // It waits for its console in a loop. With an interrupt pending it stays there nevertheless, step by step.
    dialogue.line("help")?;
    let held = gdb.pc()?;
    for _ in 0..STEPS {
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

fn linux() -> Vec<Test> {
    let subject = |name| Subject::Guest(TestGuest::new(name));
    let shell = |test: Test| {
        test.expect(LINUX_READY)
            .expect(LINUX_PROMPT)
            .line("echo $((6 * 7)); cat /proc/interrupts")
            .expect(r"\b42\b")
            .expect(r"arch_timer")
            .expect(LINUX_PROMPT)
            .line("poweroff")
            .off()
    };
    let boots =
        |name: &str, proves: &str, kernel| shell(Test::new(name, proves, subject(kernel)).expect(BANNER));
    let default = |name: &str, on: &str, machine: Machine| {
        let proves =
            format!("Debian's unmodified kernel boots to a shell, takes commands, and powers off ({on})");
        boots(name, &proves, DEFAULT_KERNEL).on(machine)
    };
    vec![
        default("linux-shell", "GICv3", Machine::virt()).count("KASLR enabled", 1),
        default("linux-gic2", "GICv2", Machine { gic: 2, ..Machine::virt() }),
        default("linux-raspi4b", "Raspberry Pi 4", Machine::raspi4b()),
        default(
            "linux-max",
            "every CPU feature that QEMU has",
            Machine { cpu: "max".to_owned(), ..Machine::virt() },
        ),
        default(
            "linux-cortex-a53",
            "Cortex-A53",
            Machine { cpu: "cortex-a53".to_owned(), ..Machine::virt() },
        ),
        boots("linux-6.1", "Debian 12's kernel boots to a shell", "linux-6.1"),
        boots("linux-newest", "the newest kernel that Debian has boots to a shell", "linux-newest"),
        boots("linux-cloud", "the cloud flavour boots to a shell", "linux-cloud"),
        boots("linux-rt", "the real-time flavour boots to a shell", "linux-rt"),
        Test::new(
            "linux-smp",
            "a guest with four vCPUs uses them all",
            Subject::Guest(TestGuest { vcpus: 4, ..TestGuest::new(DEFAULT_KERNEL) }),
        )
        .expect(r"guest ready: Linux [^\n]*, 4 CPUs")
        .expect(LINUX_PROMPT)
        .line("poweroff")
        .off(),
        Test::new(
            "linux-8G",
            "a guest gets more RAM than lies below 4 GiB",
            Subject::Guest(TestGuest::new(DEFAULT_KERNEL).memory(Size::gib(6))),
        )
        .on(Machine { memory: Size::gib(8), ..Machine::virt() })
        .expect(r"guest ready: Linux [^\n]*, \d CPUs, 6\d{6} kB")
        .expect(LINUX_PROMPT)
        .line("poweroff")
        .off(),
        Test::new(
            "linux-reboot",
            "a guest's reboot starts the VM afresh, and only the VM",
            subject(DEFAULT_KERNEL),
        )
        .expect(LINUX_PROMPT)
        .line("reboot")
        .expect(LINUX_READY)
        .expect(LINUX_PROMPT)
        .line("poweroff")
        .off()
        .count(BANNER, 1)
        .count(LINUX_READY, 2),
    ]
}

fn u_boot() -> Test {
    Test::new(
        "u-boot",
        "U-Boot for QEMU's virt runs unmodified to its prompt and takes commands",
        Subject::Guest(TestGuest::new("u-boot")),
    )
    .expect(r"U-Boot 20\d\d")
    .expect(r"Hit any key to stop autoboot")
    .line("")
    .expect(r"=> ")
    .line("printenv arch")
    .expect(r"arch=arm")
    .line("poweroff")
    .off()
}

/// The image is what U-Boot's `booti` takes, which loads it where it likes.
fn booti() -> Test {
    Test::new("entry-booti", "U-Boot loads the image by `booti`, and it runs", Subject::UBoot)
        .expect(r"Hit any key to stop autoboot")
        .line("")
        .expect(r"=> ")
        .line(&format!("booti {UBOOT_IMAGE:#x} - ${{fdtcontroladdr}}"))
        .expect(BANNER)
        .expect(HELLO_PROMPT)
        .line("off")
        .off()
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use regex::bytes::Regex;

    use super::{super::script::Step, *};

    #[test]
    fn every_test_has_a_name_of_its_own_and_proves_something() {
        let tests = all();
        let names: HashSet<_> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), tests.len());
        for test in &tests {
            assert!(!test.steps.is_empty() && test.proves.len() > 10, "{}", test.name);
            for step in &test.steps {
                if let Step::Expect(pattern, _) | Step::Count(pattern, _) = step {
                    assert!(Regex::new(pattern).is_ok(), "{pattern}");
                }
            }
            // The name is a file name too.
            assert!(
                test.name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
                "{}",
                test.name
            );
        }
    }
}
