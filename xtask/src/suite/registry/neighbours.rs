//! VMs that share a machine: each gets what is its own, whatever the others do.

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::{
    super::script::{Dialogue, Subject, Test, TestGuest},
    LINUX_PROMPT,
};
use crate::{qemu::Machine, size::Size};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![weights(), left_in_memory()];
    for gic in [2, 3] {
        tests.push(hostile(gic));
        tests.push(timings(gic));
        tests.push(hotplug(gic));
    }
    tests
}

/// Work is counted in instructions here (`icount`), so that nothing else on the host can change the result.
fn weights() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        cpus = 1
        memory = "512M"

        [[vm]]
        name = "one"
        guest = "work"
        append = "mode=share name=one at=200 ms=800"
        memory = "32M"
        weight = 100

        [[vm]]
        name = "two"
        guest = "work"
        append = "mode=share name=two at=200 ms=800"
        memory = "32M"
        weight = 200

        [[vm]]
        name = "four"
        guest = "work"
        append = "mode=share name=four at=200 ms=800"
        memory = "32M"
        weight = 400
        vcpus = 2
    "#;
    Test::new(
        "share-by-weight",
        "three VMs with weights of 100, 200 and 400 get work done as 1 to 2 to 4, also by two vCPUs",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { icount: true, cpu: "max".to_owned(), ..Machine::virt() })
    .talk(|dialogue| {
        let line = Regex::new(r"work: (\w+) rounds (\d+) in")?;
        let mut per_weight = Vec::new();
        for _ in 0..3 {
            let text = dialogue.expect(line.as_str())?;
            let found = line.captures(&text).context("the line is not as expected")?;
            let weight = match &found[1] {
                "one" => 1,
                "two" => 2,
                _ => 4,
            };
            per_weight.push(found[2].parse::<u32>()? / weight);
        }
        let least = per_weight.iter().min().copied().unwrap_or(0);
        let fair = per_weight.iter().all(|&rounds| rounds > 100 && rounds - least <= least / 10);
        ensure!(fair, "for each 100 of their weights the VMs did {per_weight:?} rounds");
        Ok(())
    })
    .count(r"work: ERROR", 0)
    .off()
}

fn hostile(gic: u8) -> Test {
    const ROUNDS_OF_QUESTIONS: usize = 4;
    const MANIFEST: &str = r#"
        [machine]
        memory = "1G"

        [[vm]]
        name = "good"
        guest = "work"
        append = "rounds=0"
        vcpus = 2
        memory = "64M"

        [[vm]]
        name = "bad"
        guest = "hostile"
        append = "mode=all seed=7 ops=5000 forever"
        vcpus = 4
        memory = "256M"
        on-stop = "restart"
        on-crash = { restart = "10ms" }
    "#;
    Test::new(
        format!("hostile-neighbour-gic{gic}"),
        format!(
            "while a VM attacks with all of its vCPUs, another one's work is right and the operator is answered \
             (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(r"hostile: mmio: [1-9]")
    .talk(|dialogue| {
        let mut answers = 0;
        for command in ["stats bad", "sched", "trace bad.1 3", "regs bad.3"].repeat(ROUNDS_OF_QUESTIONS) {
            match dialogue.command(command)? {
                Ok(_) => answers += 1,
                // The host may not have let that CPU run.
                Err(why) => ensure!(why.contains("has not left EL2"), "`{command}` is refused: {why}"),
            }
        }
        // Only `regs` has to wait for a vCPU to leave EL2.
        ensure!(answers >= 3 * ROUNDS_OF_QUESTIONS, "the monitor answered {answers} times");
        dialogue.expect(r"work: round [1-9]\d\d ok").map(drop)
    })
    .count(r"work: ERROR", 0)
    .count(r"hostile: (LEAK|BROKEN)", 0)
    .line("poweroff")
    .off()
}

/// Lateness is counted in instructions (`icount`), a thousand to a microsecond; a tick beside an idle VM is less than
/// one late.
///
/// The good VM must have the first CPU, and there must be just one more. Under `icount` QEMU lets one CPU after the
/// other execute so many instructions as are left until the next timer is due, divided by their number, and it is
/// the first CPU's turn when a timer is. A later CPU waits until those before it have used up their shares of the
/// time until the timer after that one, which is milliseconds, whatever they do: also bare.
fn timings(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        cpus = 2
        memory = "512M"

        [[vm]]
        name = "good"
        guest = "work"
        append = "rounds=500"
        memory = "64M"
        dedicated = true
        cpus = [0]

        [[vm]]
        name = "bad"
        guest = "hostile"
        append = "mode=all seed=7 ops=50 forever"
        vcpus = 4
        memory = "64M"
        on-stop = "restart"
        on-crash = { restart = "10ms" }
    "#;
    Test::new(
        format!("hostile-neighbour-timings-gic{gic}"),
        format!(
            "the timer of a VM that owns its CPU is never 5 us late while another VM attacks with all of its \
             vCPUs in every way it can (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, icount: true, cpu: "max".to_owned(), ..Machine::virt() })
    // Its last mode, twice: it has been through all of them while the good VM worked.
    .expect(r"hostile: hvc: [1-9]")
    .expect(r"hostile: hvc: [1-9]")
    .expect(r"work: done, 0 errors")
    .count(r"work: round \d+ ok, worst lateness [0-4] us", 500)
}

/// The kernel that comes and goes on its CPUs. The deadline server of newer ones, 6.12 among them, may still be
/// queued on a CPU that dies: on a busy host they warn "Dying CPU not properly vacated!", bare on QEMU as well.
const HOTPLUG_KERNEL: &str = "linux-6.1";

/// More vCPUs than CPUs, which come and go.
fn hotplug(gic: u8) -> Test {
    Test::new(
        format!("hotplug-gic{gic}"),
        format!(
            "Debian's kernel with eight vCPUs on two CPUs unplugs and replugs seven of them without a warning \
             (GICv{gic})"
        ),
        Subject::Guest(TestGuest { vcpus: 8, ..TestGuest::new(HOTPLUG_KERNEL) }),
    )
    .on(Machine { gic, cpus: 2, memory: Size::gib(1), ..Machine::virt() })
    .expect(r"guest ready: Linux [^\n]*, 8 CPUs")
    .expect(LINUX_PROMPT)
    .line("cd /sys/devices/system/cpu; all() { for i in 1 2 3 4 5 6 7; do echo $1 >cpu$i/online; done; }")
    .expect(LINUX_PROMPT.replace("~", "[^#]*").as_str())
    .line("for n in 1 2; do all 0; echo off $n: $(cat online); all 1; echo on $n: $(cat online); done")
    .expect(r"off 1: 0\r?\n")
    .expect(r"on 1: 0-7\r?\n")
    .expect(r"off 2: 0\r?\n")
    .expect(r"on 2: 0-7\r?\n")
    .line("echo complaints: $(dmesg | grep -ciE 'warning|bug:|stall|stuck|lockup|call trace')")
    .expect(r"complaints: 0\r?\n")
    .line("poweroff")
    .off()
}

/// RAM goes from one VM to the next.
fn left_in_memory() -> Test {
    // The machine has less RAM than the first VM and the last together.
    const MANIFEST: &str = r#"
        [machine]
        memory = "512M"
        when-all-off = "stay"

        [[vm]]
        name = "first"
        guest = "probe"
        append = "ram=mark"
        memory = "320M"

        [[vm]]
        name = "spy"
        guest = "probe"
        append = "target=0x42000000+0x1e000000"
        memory = "32M"
        autostart = false

        [[vm]]
        name = "next"
        guest = "probe"
        append = "ram=search"
        memory = "320M"
        autostart = false
    "#;
    Test::new(
        "isolation-of-vms",
        "what a VM writes is reached by no other, neither beside it nor after it",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(r"probe: marked 3[12]\d{4} KiB")
    .talk(|dialogue| {
        let marked = |dialogue: &mut Dialogue| -> Result<bool> {
            Ok(dialogue.ask("mem first p:0x4e000000 8")?["bytes"] == "5452414345204f46")
        };
        ensure!(marked(dialogue)?, "the first VM's mark is not where it should be");
        dialogue.ask("start spy")?;
        dialogue.expect(r"probe: 0 reached, [1-9]\d* refused")?;
        ensure!(marked(dialogue)?, "the spy has changed the first VM's mark");
        let refused = dialogue.command("start next")?;
        ensure!(refused.is_err(), "there is RAM for the next VM while the first one is there");
        dialogue.ask("destroy first")?;
        dialogue.await_state("first", "defined")?;
        dialogue.ask("start next")?;
        dialogue.expect(r"probe: 3[12]\d{4} KiB searched, 0 words are not zero").map(drop)
    })
    .line("poweroff")
    .off()
}
