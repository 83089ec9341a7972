//! The small virtio devices, and drivers that mean harm.

use anyhow::{Context, Result, ensure};

use super::{
    super::{
        host::FileSystem,
        script::{Dialogue, Subject, Test},
    },
    LINUX_PROMPT, MONITOR, storage,
};
use crate::{disk::Layout, qemu::Machine};

pub fn tests() -> Vec<Test> {
    vec![small(), hostile(2), hostile(3)]
}

fn small() -> Test {
    const BALLOON: u64 = 64 << 20;
    const MANIFEST: &str = r#"
        [machine]
        when-all-off = "stay"

        [[vm]]
        name = "box"
        guest = "linux-6.12"
        memory = "256M"
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
        "a guest gets random numbers, and a balloon takes memory from it, gives it to the machine, and gives it back",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        dialogue.attach("box")?;
        dialogue.expect(LINUX_PROMPT)?;
        dialogue.shell("grep -q virtio_rng /sys/class/misc/hw_random/rng_current")?;
        let bytes = dialogue.shell("echo different: $(dd if=/dev/hwrng bs=64 count=4 2>/dev/null | hexdump -ve '1/8 \"%x\\n\"' | sort -u | wc -l)")?;
        ensure!(bytes.contains("different: 32"), "those are not 256 random bytes: {bytes}");
        // What the guest has touched, and does not need.
        dialogue.shell("dd if=/dev/zero of=/tmp/fill bs=1M count=128 2>/dev/null; rm /tmp/fill")?;
        dialogue.detach()?;

        let (guest, machine) = (guest_free(dialogue)?, dialogue.free_memory()?);
        dialogue.ask("balloon box 64M")?;
        dialogue.await_that("the balloon is full", |dialogue| Ok(balloon(dialogue)? == BALLOON))?;
        let taken = guest.saturating_sub(guest_free(dialogue)?);
        ensure!(taken > BALLOON * 7 / 8, "the balloon has taken {taken} bytes of the guest's");
        let gained = dialogue.free_memory()?.saturating_sub(machine);
        ensure!(gained > BALLOON * 7 / 8, "the machine has {gained} bytes more");

        dialogue.ask("balloon box 0")?;
        dialogue.await_that("the balloon is empty", |dialogue| Ok(balloon(dialogue)? == 0))?;
        let left = guest.saturating_sub(guest_free(dialogue)?);
        ensure!(left < BALLOON / 8, "the guest has {left} bytes less than before");
        dialogue.attach("box")?;
        dialogue.shell("dd if=/dev/zero of=/tmp/fill bs=1M count=128 2>/dev/null; rm /tmp/fill")?;
        dialogue.detach()
    })
    .line("poweroff")
    .off()
}

/// Bytes in the balloon of the VM `box`.
fn balloon(dialogue: &mut Dialogue) -> Result<u64> {
    dialogue.ask("balloon box")?["actual"].as_u64().context("the balloon holds no number")
}

/// Bytes that Linux in the VM `box` has for nothing yet.
fn guest_free(dialogue: &mut Dialogue) -> Result<u64> {
    dialogue.attach("box")?;
    dialogue.line("awk '/MemFree/ { print \"free\", $2 }' /proc/meminfo")?;
    let text = dialogue.expect(r"free \d+")?;
    dialogue.expect(LINUX_PROMPT)?;
    dialogue.detach()?;
    Ok(text.trim_start_matches("free ").parse::<u64>()? << 10)
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
        append = "rounds=0"
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
        dialogue.attach("good")?;
        dialogue.expect(LINUX_PROMPT)?;
        storage::fill(dialogue)?;
        storage::check(dialogue)?;
        dialogue.line("poweroff")?;
        dialogue.expect("VM good is off")?;
        dialogue.detach()?;
        dialogue.await_state("bad", "off")?;
        let log = dialogue.ask("log bad 20")?;
        ensure!(log.as_str().is_some_and(|log| log.contains("hostile: survived 2000000 operations")), "{log}");
        let state = dialogue.vm("work")?.state;
        ensure!(state == "running", "the VM that works is {state}");
        dialogue.expect(r"work: round \d+ ok").map(drop)
    })
    .count(r"work: ERROR", 0)
    .count(r"hostile: (LEAK|BROKEN)", 0)
    .line("poweroff")
    .off()
    .inspected(|files, _| FileSystem::in_partition(&files.join("disk.img"), "root")?.is_clean())
}
