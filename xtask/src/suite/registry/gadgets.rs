//! The small virtio devices, and drivers that mean harm.

use std::{mem, thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    super::{
        host::FileSystem,
        script::{Dialogue, Subject, Test},
    },
    LINUX_PROMPT, MONITOR, at, storage,
};
use crate::{disk::Layout, qemu::Machine};

pub fn tests() -> Vec<Test> {
    vec![small(), hostile(2), hostile(3)]
}

fn small() -> Test {
    const BALLOON: u64 = 64 << 20;
    /// What the guest uses for a moment.
    const USED: u64 = 96 << 20;
    const MANIFEST: &str = r#"
        [[vm]]
        name = "box"
        guest = "linux-6.12"
        memory = "384M"
        rng = true
        balloon = true

        [[vm]]
        name = "idle"
        guest = "work"
        append = "mode=idle"
        memory = "32M"
    "#;
    Test::new(
        "virtio-small",
        "a guest gets random numbers; what it does not need and what is in its balloon is the machine's until it wants \
         it back",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        at(dialogue, "box", |dialogue| {
            dialogue.shell("grep -q virtio_rng /sys/class/misc/hw_random/rng_current")?;
            dialogue.line("head -c 256 /dev/hwrng | hexdump -ve '4/4 \"%08x\" \"\\n\"' | sort -u | wc -l")?;
            dialogue.expect(r"\n16\r?\n")?;
            dialogue.expect(LINUX_PROMPT).map(drop)
        })?;
        settle(dialogue)?;
        let returned = balloon(dialogue, "returned")?;
        ensure!(returned > 2 * USED, "the machine has only {returned} bytes back of what the guest does not use");
        let unused = dialogue.free_memory()?;
        at(dialogue, "box", |dialogue| {
            dialogue.shell("dd if=/dev/zero of=/tmp/fill bs=1M count=96 2>/dev/null").map(drop)
        })?;
        let used = dialogue.free_memory()?;
        ensure!(unused.saturating_sub(used) > USED / 2, "{unused} bytes were free, and now {used}");
        at(dialogue, "box", |dialogue| dialogue.shell("rm /tmp/fill").map(drop))?;
        dialogue.await_that("the machine has back what the guest has freed", |dialogue| {
            Ok(dialogue.free_memory()?.saturating_sub(used) > USED / 2)
        })?;

        settle(dialogue)?;
        let free = guest_free(dialogue)?;
        dialogue.ask("balloon box 64M")?;
        dialogue.await_that("the balloon is full", |dialogue| Ok(balloon(dialogue, "actual")? == BALLOON))?;
        dialogue.await_that("the guest lacks what is in the balloon", |dialogue| {
            Ok(guest_free(dialogue)? < free - BALLOON / 2)
        })?;
        dialogue.ask("balloon box 0")?;
        dialogue.await_that("the balloon is empty", |dialogue| Ok(balloon(dialogue, "actual")? == 0))?;
        dialogue.await_that("the guest has back what was in the balloon", |dialogue| {
            Ok(guest_free(dialogue)? > free - BALLOON / 4)
        })?;
        at(dialogue, "box", |dialogue| {
            dialogue.shell("head -c 24m /dev/urandom >/tmp/a && cp /tmp/a /tmp/b && cmp /tmp/a /tmp/b").map(drop)
        })
    })
    .line("poweroff")
    .off()
}

/// Waits until Linux in the VM `box` has reported what it does not use. Meanwhile, it does not count that as free.
fn settle(dialogue: &mut Dialogue) -> Result<()> {
    /// Longer than Linux waits before it reports more.
    const REPORT: Duration = Duration::from_secs(3);
    let mut before = None;
    dialogue.await_that("the guest has reported what it does not use", |dialogue| {
        thread::sleep(REPORT);
        let returned = Some(balloon(dialogue, "returned")?);
        Ok(returned == mem::replace(&mut before, returned))
    })
}

/// What the monitor tells of the balloon of the VM `box`.
fn balloon(dialogue: &mut Dialogue, what: &str) -> Result<u64> {
    dialogue.ask("balloon box")?[what].as_u64().context("the balloon does not tell")
}

/// Bytes that Linux in the VM `box` has for nothing yet.
fn guest_free(dialogue: &mut Dialogue) -> Result<u64> {
    at(dialogue, "box", |dialogue| {
        dialogue.line("awk '/MemFree/ { print \"free\", $2 }' /proc/meminfo")?;
        let text = dialogue.expect(r"free \d+\r?\n")?;
        dialogue.expect(LINUX_PROMPT)?;
        Ok(text.trim().trim_start_matches("free ").parse::<u64>()? << 10)
    })
}

/// Two million operations; the devices of the VM that is attacked from are all of those that there are.
fn hostile(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        disks = ["disk.img"]
        when-all-off = "stay"

        [[switch]]
        name = "lan"

        [[vm]]
        name = "good"
        guest = "linux-6.12"
        append = "console=ttyAMA0 root=/dev/vda"
        memory = "256M"

        [[vm.disk]]
        name = "root"
        physical = "disk0"
        partition = { label = "root" }

        [[vm.net]]
        switch = "lan"

        [[vm]]
        name = "work"
        guest = "work"
        append = "rounds=1000"
        memory = "64M"

        [[vm]]
        name = "bad"
        guest = "hostile"
        append = "mode=virtio seed=4 ops=500000"
        vcpus = 4
        memory = "64M"
        rng = true
        balloon = true
        vsock = 5
        consoles = 2

        [[vm.disk]]
        name = "memory"
        size = "4M"

        [[vm.disk]]
        name = "physical"
        physical = "disk0"
        partition = { label = "data" }
        queues = 4

        [[vm.net]]
        switch = "lan"
        queues = 4

        [[vm.net]]
        switch = "lan"
    "#;
    Test::new(
        format!("virtio-hostile-gic{gic}"),
        format!(
            "two million things that no driver should do, done from four vCPUs to every kind of virtio device, harm \
             neither Polyvisor nor another VM (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .image("disk.img", Layout::Gpt)
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        dialogue.attach("good")?;
        dialogue.expect(LINUX_PROMPT)?;
        storage::fill(dialogue)?;
        storage::check(dialogue)?;
        dialogue.line("poweroff")?;
        dialogue.expect("VM good is off")?;
        dialogue.detach()?;
        for (vm, wanted) in [("bad", "hostile: survived 2000000 operations"), ("work", "work: done, 0 errors")] {
            dialogue.await_state(vm, "stopped")?;
            let log = dialogue.ask(&format!("log {vm} 20"))?;
            ensure!(log.as_str().is_some_and(|log| log.contains(wanted)), "VM {vm} ends with {log}");
        }
        Ok(())
    })
    .count(r"hostile: (LEAK|BROKEN)", 0)
    .line("poweroff")
    .off()
    .inspected(|files, _| FileSystem::in_partition(&files.join("disk.img"), "root")?.is_clean())
}
