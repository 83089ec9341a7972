//! The Raspberry Pi's SD card.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use super::{
    super::{
        host::FileSystem,
        script::{Dialogue, Subject, Test},
    },
    BANNER, HELLO_PROMPT, LINUX_PROMPT, LINUX_READY,
};
use crate::{disk::Layout, qemu::Machine};

/// QEMU's card has this serial number. The guest is given the whole card, and finds the partitions itself.
const MANIFEST: &str = r#"
    [machine]
    disks = ["card.img"]

    [[vm]]
    name = "box"
    guest = "linux-6.12"
    append = "console=ttyAMA0 root=/dev/vda1"
    memory = "512M"

    [[vm.disk]]
    name = "card"
    physical = "0xdeadbeef"
"#;

pub fn tests() -> Vec<Test> {
    vec![on_the_card(), no_card()]
}

fn on_the_card() -> Test {
    Test::new(
        "raspi4b-sd-card",
        "a guest's root file system is on the SD card, and what it writes is there when it is off",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine::raspi4b())
    .image("card.img", Layout::Gpt)
    .expect(r"disk0: \d+ MiB, serial number 0xdeadbeef, interrupt 158")
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .talk(work)
    .line("poweroff")
    .off()
    .inspected(is_there)
}

/// Writes many files, and reads them back from the card.
fn work(dialogue: &mut Dialogue) -> Result<()> {
    dialogue.shell("grep -q '^/dev/vda1 / ext4' /proc/mounts")?;
    dialogue.shell("mkdir /many /copy; tar -C / -cf - lib bin sbin | tar -C /copy -xf -")?;
    dialogue.shell("for f in $(seq 200); do seq $f 1000 >/many/$f; done")?;
    dialogue.shell(
        "find /many /copy -type f -exec sha256sum {} + >/sums; sync; echo 3 >/proc/sys/vm/drop_caches",
    )?;
    dialogue.shell("sha256sum -c /sums >/dev/null").map(drop)
}

fn is_there(files: &Path, _: &str) -> Result<()> {
    let root = FileSystem::in_partition(&files.join("card.img"), "root")?;
    root.is_clean()?;
    let many = root.copy("/many")?;
    for number in 1..=200 {
        let wanted: String = (number..=1000).map(|line| format!("{line}\n")).collect();
        let found = fs::read(many.join(number.to_string()))?;
        ensure!(found == wanted.as_bytes(), "file {number} is not what was written");
    }
    Ok(())
}

fn no_card() -> Test {
    Test::new("raspi4b-no-sd-card", "an empty slot is nothing to complain about", Subject::BuiltIn)
        .on(Machine::raspi4b())
        .arguments("log=debug")
        .expect(BANNER)
        .expect(r"SD host controller at 0x0*fe300000: no SD card")
        .expect(r"SD host controller at 0x0*fe340000: no SD card")
        .expect(HELLO_PROMPT)
}
