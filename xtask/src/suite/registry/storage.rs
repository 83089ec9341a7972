//! Disks: in memory and physical, and what is on them when a machine has ended well or badly.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::{
    super::{
        host::FileSystem,
        script::{Dialogue, Subject, Test},
    },
    LINUX_PROMPT, LINUX_READY, MONITOR, at,
};
use crate::{disk::Layout, qemu::Machine};

pub fn tests() -> Vec<Test> {
    vec![in_memory(2), in_memory(3), physical("mmio", 2), physical("pci", 3), power_cut(), boot()]
}

/// Makes thousands of small files and a copy of a tree on the root file system, and notes what is in them. What is read
/// back later comes from the disk.
pub fn fill(dialogue: &mut Dialogue) -> Result<()> {
    dialogue.shell("grep -q '^/dev/vda / ext4' /proc/mounts")?;
    dialogue.shell("mkdir /many /copy; tar -C / -cf - lib bin sbin | tar -C /copy -xf -")?;
    dialogue.shell(
        "for d in $(seq 20); do mkdir /many/$d; for f in $(seq 100); do echo $d $f >/many/$d/$f; done; done",
    )?;
    dialogue.shell("find /many /copy -type f -exec sha256sum {} + >/sums; sync")?;
    dialogue.shell("rm -r /many/7; echo 3 >/proc/sys/vm/drop_caches")?;
    dialogue.shell("for f in $(seq 100); do mkdir -p /many/7; echo 7 $f >/many/7/$f; done; sync").map(drop)
}

/// What was noted is what is there, and nothing complained.
pub fn check(dialogue: &mut Dialogue) -> Result<()> {
    dialogue.shell("echo 3 >/proc/sys/vm/drop_caches; sha256sum -c /sums >/dev/null")?;
    let text =
        dialogue.shell("echo sums $(wc -l </sums), complaints $(dmesg | grep -ciE 'error|warning|bug:')")?;
    let sums = Regex::new(r"sums (\d+), complaints 0")?.captures(&text).map(|found| found[1].parse::<u32>());
    ensure!(sums.context("complaints, or no sums")?? > 2000, "too few files: {text}");
    Ok(())
}

fn in_memory(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "box"
        guest = "linux-6.12"
        append = "console=ttyAMA0 root=/dev/vda"
        vcpus = 2
        memory = "512M"

        [[vm.disk]]
        name = "root"
        image = "root.img"
    "#;
    Test::new(
        format!("virtio-disk-memory-gic{gic}"),
        format!("a guest works on a disk in memory and finds its work again after a reboot (GICv{gic})"),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .image("root.img", Layout::Root)
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .talk(fill)
    .line("reboot")
    .expect(r"root: clean")
    .expect(LINUX_PROMPT)
    .talk(check)
    .talk(|dialogue| dialogue.shell("mount -o remount,ro / && e2fsck -fn /dev/vda").map(drop))
    .line("poweroff")
    .off()
}

/// A machine with a disk on which a partition is the guest's root file system; `{}` is the disk's image.
const ON_A_PARTITION: &str = r#"
    [machine]
    disks = ["{}"]

    [[vm]]
    name = "box"
    guest = "linux-6.12"
    append = "console=ttyAMA0 root=/dev/vda"
    vcpus = 2
    memory = "512M"

    [[vm.disk]]
    name = "root"
    physical = "disk0"
    partition = { label = "root" }
"#;

fn physical(transport: &str, gic: u8) -> Test {
    let image = if transport == "pci" { "disk.img,pci" } else { "disk.img" };
    Test::new(
        format!("virtio-disk-physical-{transport}"),
        format!(
            "a guest works on a partition of the machine's disk, and its file system is sound when it is off \
             (virtio-{transport}, GICv{gic})"
        ),
        Subject::Manifest(ON_A_PARTITION.replace("{}", image)),
    )
    .on(Machine { gic, ..Machine::virt() })
    .image("disk.img", Layout::Gpt)
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .talk(fill)
    .talk(check)
    .line("poweroff")
    .off()
    .inspected(|files, _| {
        let root = FileSystem::in_partition(&files.join("disk.img"), "root")?;
        root.is_clean()?;
        let seventh = root.copy("/many")?.join("7/100");
        ensure!(fs::read(&seventh)? == b"7 100\n", "{} is not what the guest wrote", seventh.display());
        Ok(())
    })
}

/// Each file is the numbers from that of its name on.
fn power_cut() -> Test {
    Test::new(
        "power-cut",
        "what a guest has flushed to a physical disk is there after the machine has lost its power",
        Subject::Manifest(ON_A_PARTITION.replace("{}", "disk.img")),
    )
    .image("disk.img", Layout::Gpt)
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .line(
        "mkdir /cut; n=0; while :; do n=$((n + 1)); seq $n $((n + 999)) >/cut/$n; sync /cut/$n /cut; \
         echo flushed $n; done",
    )
    // The line of the one before is complete then.
    .expect(r"flushed 101\b")
    .power_cut()
    .inspected(nothing_is_lost)
}

fn nothing_is_lost(files: &Path, console: &str) -> Result<()> {
    let root = FileSystem::in_partition(&files.join("disk.img"), "root")?;
    root.recover()?;
    root.is_clean()?;
    let copy = root.copy("/cut")?;
    let flushed: Vec<u32> = Regex::new(r"flushed (\d+)\r?\n")?
        .captures_iter(console)
        .map(|found| found[1].parse())
        .collect::<Result<_, _>>()?;
    ensure!(flushed.len() >= 100, "only {} files were flushed", flushed.len());
    for number in flushed {
        let wanted: String = (number..number + 1000).map(|line| format!("{line}\n")).collect();
        let found =
            fs::read(copy.join(number.to_string())).with_context(|| format!("file {number} is lost"))?;
        ensure!(found == wanted.as_bytes(), "file {number} is not what was written");
    }
    Ok(())
}

/// A kernel of megabytes and its initrd are read from each file system that there is.
fn boot() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        disks = ["gpt.img", "fat.img", "boot.iso"]

        [[vm]]
        name = "gpt"
        kernel = { disk = "root", path = "/boot/vmlinuz" }
        initrd = { disk = "root", path = "/boot/initrd.img" }
        append = "console=ttyAMA0 root=/dev/vda"
        memory = "256M"

        [[vm.disk]]
        name = "root"
        physical = "disk0"
        partition = { label = "root" }

        [[vm]]
        name = "fat"
        kernel = { disk = "card", partition = { number = 1 }, path = "/boot/vmlinuz" }
        initrd = { disk = "card", partition = { number = 1 }, path = "/boot/initrd.img" }
        append = "console=ttyAMA0"
        memory = "256M"

        [[vm.disk]]
        name = "card"
        physical = "disk1"

        [[vm]]
        name = "iso"
        kernel = { disk = "cd", path = "/boot/vmlinuz" }
        initrd = { disk = "cd", path = "/boot/initrd.img" }
        append = "console=ttyAMA0"
        memory = "256M"

        [[vm.disk]]
        name = "cd"
        physical = "disk2"
        mode = "read-only"
    "#;
    Test::new(
        "boot-from-disks",
        "guests boot by kernels that are on their physical disks: in ext4 on a GPT's partition, in FAT on an MBR's, and \
         in ISO 9660",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .image("gpt.img", Layout::Gpt)
    .image("fat.img", Layout::Fat)
    .image("boot.iso", Layout::Iso)
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        for (vm, root) in [("gpt", "/dev/vda"), ("fat", "rootfs"), ("iso", "rootfs")] {
            at(dialogue, vm, |dialogue| dialogue.shell(&format!("grep -q '^{root} / ' /proc/mounts")).map(drop))?;
        }
        Ok(())
    })
    .line("poweroff")
    .off()
}
