//! Real systems, alone on the machine.

use super::{
    super::script::{Subject, Test, TestGuest},
    BANNER, LINUX_PROMPT, LINUX_READY,
};
use crate::{guests::DEFAULT_KERNEL, qemu::Machine, size::Size};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![bare_linux()];
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
