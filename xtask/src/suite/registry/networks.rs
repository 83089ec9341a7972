//! Networks: VMs among themselves, and with the outside.

use anyhow::ensure;
use sha2::{Digest, Sha256};

use super::{
    super::{
        host,
        script::{Subject, Test},
    },
    LINUX_PROMPT, LINUX_READY, MONITOR, at, checksum,
};
use crate::qemu::Machine;

pub fn tests() -> Vec<Test> {
    vec![two_guests(2), two_guests(3), uplink("mmio", 2), uplink("pci", 3), on_a_pi()]
}

/// Bytes that go from one guest to the other, in MiB.
const SENT: u32 = 100;

fn two_guests(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        cpus = 4

        [[switch]]
        name = "lan"

        [[vm]]
        name = "left"
        guest = "linux-6.12"
        vcpus = 2
        memory = "512M"

        [[vm.net]]
        switch = "lan"
        queues = 2

        [[vm]]
        name = "right"
        guest = "linux-6.12"
        vcpus = 2
        memory = "512M"

        [[vm.net]]
        switch = "lan"
        guard = true
    "#;
    Test::new(
        format!("net-two-guests-gic{gic}"),
        format!(
            "two guests on a switch ping each other, and {SENT} MiB arrive as they were sent (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(MONITOR)
    .talk(|dialogue| {
        let sum = at(dialogue, "left", |dialogue| {
            dialogue.shell("ip address add 10.9.8.1/24 dev eth0; ip link set eth0 up")?;
            dialogue.shell(&format!("dd if=/dev/urandom of=/tmp/data bs=1M count={SENT} 2>/dev/null"))?;
            dialogue.shell("httpd -h /tmp")?;
            checksum(dialogue, "/tmp/data")
        })?;
        at(dialogue, "right", |dialogue| {
            dialogue.shell("ip address add 10.9.8.2/24 dev eth0; ip link set eth0 up")?;
            dialogue.shell("ping -c 5 -i 0.1 -s 1400 10.9.8.1 | grep -q ' 0% packet loss'")?;
            dialogue.shell("wget -q -O /tmp/data http://10.9.8.1/data")?;
            ensure!(checksum(dialogue, "/tmp/data")? == sum, "what arrived is not what was sent");
            Ok(())
        })?;
        at(dialogue, "left", |dialogue| dialogue.shell("ping -c 2 -i 0.1 10.9.8.2").map(drop))
    })
    .line("poweroff")
    .off()
}

fn uplink(transport: &str, gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        net = "{}"

        [[switch]]
        name = "lan"
        uplink = "nic0"

        [[vm]]
        name = "box"
        guest = "linux-6.12"
        vcpus = 2
        memory = "512M"

        [[vm.net]]
        switch = "lan"
        guard = true
    "#;
    let card = if transport == "pci" { "user,pci" } else { "user" };
    Test::new(
        format!("net-uplink-{transport}"),
        format!(
            "a guest gets an address from outside by DHCP and what it fetches there is right \
             (virtio-{transport}, GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.replace("{}", card)),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .line("ip link set eth0 up; udhcpc -q -n -i eth0")
    .expect(r"dhcp: eth0 has 10\.0\.2\.\d+")
    .expect(LINUX_PROMPT)
    .talk(|dialogue| {
        let mut random = fastrand::Rng::with_seed(4);
        let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8 << 20).collect();
        let wanted: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let port = host::serve(content)?;
        // 10.0.2.2 is the host's loopback on QEMU's user network.
        dialogue.shell(&format!("wget -q -O /tmp/data http://10.0.2.2:{port}/"))?;
        ensure!(checksum(dialogue, "/tmp/data")? == wanted, "what arrived is not what was sent");
        Ok(())
    })
    .line("poweroff")
    .off()
}

/// A Raspberry Pi 4 has as many virtio devices as any machine, as long as they end in its memory.
fn on_a_pi() -> Test {
    const MANIFEST: &str = r#"
        [[switch]]
        name = "lan"

        [[vm]]
        name = "pi"
        guest = "linux-6.12"
        memory = "256M"

        [[vm.disk]]
        name = "scratch"
        size = "32M"

        [[vm.net]]
        switch = "lan"

        [[vm]]
        name = "pie"
        guest = "linux-6.12"
        memory = "256M"

        [[vm.net]]
        switch = "lan"
    "#;
    Test::new(
        "raspi4b-virtio",
        "on a Raspberry Pi 4, a guest makes a file system on a disk in memory and serves a file of it to another guest",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine::raspi4b())
    .expect(MONITOR)
    .talk(|dialogue| {
        let sum = at(dialogue, "pi", |dialogue| {
            dialogue.shell("mke2fs -F /dev/vda >/dev/null && mount -t ext4 /dev/vda /mnt")?;
            dialogue.shell("dd if=/dev/urandom of=/mnt/data bs=1M count=16 2>/dev/null")?;
            let sum = checksum(dialogue, "/mnt/data")?;
            dialogue.shell("umount /mnt && e2fsck -fn /dev/vda && mount -t ext4 /dev/vda /mnt")?;
            dialogue.shell("ip address add 10.9.8.1/24 dev eth0; ip link set eth0 up; httpd -h /mnt")?;
            Ok(sum)
        })?;
        at(dialogue, "pie", |dialogue| {
            dialogue.shell("ip address add 10.9.8.2/24 dev eth0; ip link set eth0 up")?;
            dialogue.shell("ping -c 3 10.9.8.1; wget -q -O /tmp/data http://10.9.8.1/data")?;
            ensure!(checksum(dialogue, "/tmp/data")? == sum, "what arrived is not what was on the disk");
            Ok(())
        })
    })
    .line("poweroff")
    .off()
}
