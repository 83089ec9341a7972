//! Several VMs, and the operator at the monitor.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    super::script::{Dialogue, Subject, Test},
    BANNER, LINUX_PROMPT, LINUX_READY, MONITOR,
};
use crate::qemu::Machine;

/// How long Debian systems may take to their shells that boot side by side.
const BOOT: Duration = Duration::from_secs(240);

pub fn tests() -> Vec<Test> {
    vec![several_vms(), two_vms_on_a_pi(), four_vms()]
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

/// QEMU leaves 960 MiB of RAM to what it loads there.
fn two_vms_on_a_pi() -> Test {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "pi"
        guest = "linux-6.12"
        vcpus = 2
        memory = "256M"

        [[vm]]
        name = "pie"
        guest = "linux-6.12"
        memory = "256M"
    "#;
    Test::new(
        "raspi4b-two-vms",
        "two Debian VMs boot on a Raspberry Pi 4, and one operator drives both",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine::raspi4b())
    .expect(MONITOR)
    .talk(|dialogue| {
        for (index, (name, number)) in [("pi", 2222), ("pie", 1111)].into_iter().enumerate() {
            // Back to the monitor first; not at the end, for the machine switches itself off with its last VM.
            if index > 0 {
                dialogue.keys("\x1d")?;
            }
            dialogue.attach(name)?;
            dialogue.expect_within(LINUX_READY, BOOT)?;
            dialogue.expect(LINUX_PROMPT)?;
            shell(dialogue, &format!("echo $(({number} * 3))"), &format!(r"\b{}\b", number * 3))?;
            dialogue.line("poweroff")?;
            dialogue.expect(&format!("VM {name} is off"))?;
        }
        Ok(())
    })
    .off()
}

/// The example of the documentation, which is to hold what it promises.
fn four_vms() -> Test {
    Test::new(
        "operator-four-vms",
        "four Debian VMs share four CPUs, and one operator drives them all; three that are busy leave the \
         fourth responsive",
        Subject::Manifest(include_str!("../../../../docs/examples/four-vms.toml").to_owned()),
    )
    .expect(MONITOR)
    // Whose line it is stands before it, in the VM's colour.
    .expect(r"web(\x1b\[[0-9;]*m)?\| \[ +\d+\.\d+\] ")
    .talk(boot_all)
    .talk(look_around)
    .talk(load_three)
    .line("poweroff")
    .off()
}

/// The VMs of the example: name, and vCPUs.
const FOUR: [(&str, u32); 4] = [("front", 1), ("web", 2), ("batch", 4), ("build", 1)];

/// Types `command` at the shell of the VM to which the operator is attached; `answer` is not part of it.
fn shell(dialogue: &mut Dialogue, command: &str, answer: &str) -> Result<()> {
    dialogue.line(command)?;
    dialogue.expect(answer)?;
    dialogue.expect(LINUX_PROMPT).map(drop)
}

fn boot_all(dialogue: &mut Dialogue) -> Result<()> {
    dialogue.ask("watch off")?;
    for (number, (name, vcpus)) in (1..).zip(FOUR) {
        dialogue.attach(name)?;
        dialogue.expect_within(&format!(r"guest ready: Linux [^\n]*, {vcpus} CPUs"), BOOT)?;
        dialogue.expect(LINUX_PROMPT)?;
        shell(dialogue, &format!("echo $(({number} * 1111))"), &format!(r"\b{}\b", number * 1111))?;
        dialogue.detach()?;
    }
    Ok(())
}

/// Every command that looks at something has an answer, and the answer is right where that can be known.
fn look_around(dialogue: &mut Dialogue) -> Result<()> {
    let vms: Vec<_> = dialogue.vms()?.into_iter().map(|vm| (vm.name, vm.state, vm.vcpus)).collect();
    let wanted = FOUR.map(|(name, vcpus)| (name.to_owned(), "running".to_owned(), vcpus));
    ensure!(vms == wanted, "`list` shows {vms:?}");

    let info = dialogue.ask("info")?;
    ensure!(info["cpus"] == 4 && info["vms_running"] == 4, "`info` shows {info}");
    let sched = dialogue.ask("sched")?;
    ensure!(sched.as_array().map(Vec::len) == Some(4), "`sched` shows {sched}");
    let stats = dialogue.ask("stats")?;
    let ran = |vm: &serde_json::Value| vm["run"].as_u64() > Some(0) && vm["exits"].as_u64() > Some(0);
    ensure!(
        stats.as_array().is_some_and(|vms| vms.len() == 4 && vms.iter().all(ran)),
        "`stats` shows {stats}"
    );
    let stats = dialogue.ask("stats web")?;
    let vcpus = stats["vcpus"].as_array().map(Vec::len);
    ensure!(vcpus == Some(2) && stats["vm"]["name"] == "web", "`stats web` shows {stats}");
    let regs = dialogue.ask("regs batch.3")?;
    ensure!(regs["general"]["pc"] != "0x0", "`regs batch.3` shows {regs}");
    // The kernel's own address of what it runs, which its tables translate.
    let pc = regs["general"]["pc"].as_str().context("pc is no string")?;
    let code = dialogue.ask(&format!("mem batch.3 {pc} 4"))?;
    ensure!(code["bytes"].as_str().is_some_and(|bytes| bytes.len() == 8), "`mem` shows {code}");
    let trace = dialogue.ask("trace front 5")?;
    let decoded = trace
        .as_array()
        .is_some_and(|exits| exits.len() == 5 && exits.iter().all(|exit| exit["cause"] != ""));
    ensure!(decoded, "`trace front 5` shows {trace}");
    let tree = dialogue.ask("tree build")?;
    ensure!(tree.as_str().is_some_and(|tree| tree.contains("linux,dummy-virt")), "`tree build` shows {tree}");
    let log = dialogue.ask("log")?;
    ensure!(
        log.as_str().is_some_and(|log| log.contains("VM batch starts: 4 vCPUs, 1024 MiB")),
        "`log` shows {log}"
    );
    let log = dialogue.ask("log web 5")?;
    ensure!(log.as_str().is_some_and(|log| log.contains("2222")), "`log web 5` shows {log}");
    let top = dialogue.ask("top 1")?;
    ensure!(top.is_object(), "`top 1` shows {top}");

    // For eyes: tables, help, abbreviations.
    dialogue.line("lis")?;
    dialogue.expect(r"#  NAME +STATE +ARCH +VCPUS[^\n]*\n[^\n]*front[^\n]*running")?;
    dialogue.line("help console")?;
    dialogue.expect(r"console VM[^:]*(:PORT[^:]*)?: attaches you to a VM's serial console")?;
    let refusal = dialogue.command("start front")?;
    ensure!(refusal.is_err_and(|why| why.contains("the VM is running")), "a VM that runs was started");
    Ok(())
}

/// As many endless loops as the other VMs have vCPUs.
fn load_three(dialogue: &mut Dialogue) -> Result<()> {
    for (name, vcpus) in FOUR.into_iter().skip(1) {
        dialogue.attach(name)?;
        for _ in 0..vcpus {
            dialogue.line("while :; do :; done &")?;
            dialogue.expect(LINUX_PROMPT)?;
        }
        dialogue.detach()?;
    }
    let running = |dialogue: &mut Dialogue, name: &str| -> Result<u64> {
        let stats = dialogue.ask(&format!("stats {name}"))?;
        let vcpus = stats["vcpus"].as_array().context("no vCPUs")?;
        Ok(vcpus.iter().filter_map(|vcpu| vcpu["run"].as_u64()).sum())
    };
    let mut before = Vec::new();
    for (name, _) in FOUR {
        before.push(running(dialogue, name)?);
    }
    dialogue.attach("front")?;
    for number in 3..20 {
        shell(dialogue, &format!("echo $(({number} * 1001))"), &format!(r"\b{}\b", number * 1001))?;
    }
    dialogue.detach()?;
    for ((name, _), before) in FOUR.into_iter().zip(before).skip(1) {
        ensure!(running(dialogue, name)? > before, "{name} has starved");
    }
    Ok(())
}
