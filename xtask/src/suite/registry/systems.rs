//! Real systems, alone on the machine.

use std::fs;

use anyhow::ensure;

use super::{
    super::{
        host::{self, FileSystem},
        script::{Subject, Test, TestGuest},
    },
    BANNER, LINUX_PROMPT, LINUX_READY,
};
use crate::{
    disk::Layout,
    guests::{DEFAULT_KERNEL, Guests},
    paths::Paths,
    qemu::Machine,
    size::Size,
};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![bare_linux()];
    tests.extend(linux());
    tests.extend([u_boot(), u_boot_disk(), installer()]);
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

/// The checksum that U-Boot computes is that of what the host finds on the disk.
fn u_boot_disk() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        disks = ["disk.img"]

        [[vm]]
        name = "boot"
        guest = "u-boot"
        memory = "256M"

        [[vm.disk]]
        name = "disk"
        physical = "disk0"
    "#;
    Test::new(
        "u-boot-disk",
        "U-Boot finds the virtio disk, lists its partitions and files, and reads one of them right",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .image("disk.img", Layout::Gpt)
    .expect(r"Hit any key to stop autoboot")
    .line("")
    .expect(r"=> ")
    .line("virtio scan; virtio info")
    .expect(r"Device 0: QEMU VirtIO Block Device")
    .line("part list virtio 0")
    .expect("\"root\"")
    .expect("\"data\"")
    .line("ls virtio 0:1 /boot")
    .expect(r"initrd\.img")
    .line("load virtio 0:1 ${kernel_addr_r} /boot/initrd.img && crc32 ${kernel_addr_r} ${filesize}")
    .expect(r"==> [0-9a-f]{8}")
    .line("poweroff")
    .off()
    .inspected(|files, console| {
        let root = FileSystem::in_partition(&files.join("disk.img"), "root")?;
        let file = fs::read(root.copy("/boot")?.join("initrd.img"))?;
        let wanted = format!("==> {:08x}", crc32fast::hash(&file));
        ensure!(console.contains(&wanted), "U-Boot's checksum is not {wanted}");
        Ok(())
    })
}

/// What stands before a prompt of the installer's, of which a menu is one with the front end "text".
const INSTALLER_PROMPT: &str = r"(?s).*?Prompt: '\?' for help[^>\n]*>";

/// The installer's network image has no driver for virtio disks. It would fetch one from a mirror, and gets it from
/// the test here.
fn installer() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        net = "user"
        disks = ["disk.img"]

        [[switch]]
        name = "lan"
        uplink = "nic0"

        [[vm]]
        name = "box"
        guest = "installer"
        append = "console=ttyAMA0 priority=low DEBIAN_FRONTEND=text ---"
        memory = "768M"

        [[vm.disk]]
        name = "disk"
        physical = "disk0"

        [[vm.net]]
        switch = "lan"
    "#;
    Test::new(
        "installer",
        "Debian's unmodified installer comes to its menu, gets an address by DHCP, and finds the disk",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .image("disk.img", Layout::Gpt)
    .expect(r"Debian installer main menu")
    .expect(r"5: Configure the network")
    .expect(INSTALLER_PROMPT)
    .line("5")
    .talk(|dialogue| {
        // It asks for a name when it has an address.
        while !dialogue.expect(INSTALLER_PROMPT)?.contains("Hostname") {
            dialogue.line("")?;
        }
        // Ctrl-A 2: the second window, a shell behind the Enter key.
        dialogue.keys("\x012")?;
        dialogue.expect(r"2\*shell")?;
        dialogue.line("")?;
        dialogue.expect(r"built-in shell")?;
        dialogue.line("ip -o -4 address show eth0")?;
        dialogue.expect(r"inet 10\.0\.2\.\d+")?;
        let paths = Paths::find()?;
        let port = host::serve(fs::read(Guests::new(&paths).module(DEFAULT_KERNEL, "virtio_blk.ko.xz")?)?)?;
        dialogue.line(&format!(
            "cd /tmp; wget -q http://10.0.2.2:{port}/virtio_blk.ko.xz && insmod virtio_blk.ko.xz"
        ))?;
        dialogue.line("cat /proc/partitions")?;
        dialogue.expect(r"vda2").map(drop)
    })
}
