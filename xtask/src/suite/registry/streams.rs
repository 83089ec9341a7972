//! Bytes between VMs, and between a VM and its operator, that are no network's: sockets and console ports.

use anyhow::{Result, ensure};

use super::{
    super::script::{Dialogue, Subject, Test},
    MONITOR, at, checksum,
};
use crate::qemu::Machine;

pub fn tests() -> Vec<Test> {
    vec![sockets(2), sockets(3), console()]
}

fn sockets(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        cpus = 2

        [[vm]]
        name = "left"
        guest = "linux-6.12"
        memory = "384M"
        vsock = 3

        [[vm.disk]]
        name = "tool"
        image = "vsock"

        [[vm]]
        name = "right"
        guest = "linux-6.12"
        memory = "384M"
        vsock = 4

        [[vm.disk]]
        name = "tool"
        image = "vsock"
    "#;
    Test::new(
        format!("vsock-two-guests-gic{gic}"),
        format!(
            "what two guests send each other through sockets arrives as it was sent, both ways at once and in packets; \
             nobody is there where nobody listens (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .tool("vsock")
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        // Left comes first, and right does not listen yet.
        let from_left = at(dialogue, "left", |dialogue| prepare(dialogue, "2 3 4 9"))?;
        let from_right = at(dialogue, "right", |dialogue| prepare(dialogue, "2 4 9"))?;
        at(dialogue, "left", |dialogue| dialogue.shell("vsock stream 4 </tmp/sent & sleep 0.1").map(drop))?;
        at(dialogue, "right", |dialogue| {
            dialogue.shell("vsock stream 3 </tmp/sent")?;
            arrived(dialogue, &from_left)
        })?;
        at(dialogue, "left", |dialogue| {
            arrived(dialogue, &from_right)?;
            listen(dialogue, "seqpacket")
        })?;
        at(dialogue, "right", |dialogue| dialogue.shell("vsock seqpacket 3 </tmp/sent").map(drop))?;
        at(dialogue, "left", |dialogue| {
            arrived(dialogue, &from_right)?;
            // 24 MiB by 64 KiB: packets stay apart.
            dialogue.shell("grep -qx '384 pieces' /tmp/said").map(drop)
        })
    })
    .line("poweroff")
    .off()
}

/// Has the guest make up what it will send and wait for a connection; the checksum. Nobody answers at `silent`.
fn prepare(dialogue: &mut Dialogue, silent: &str) -> Result<String> {
    dialogue.shell("cat /dev/vda >/bin/vsock; chmod +x /bin/vsock")?;
    dialogue
        .shell(&format!("! (for cid in {silent}; do vsock stream $cid </dev/null && exit; done; false)"))?;
    dialogue.shell("head -c 24m /dev/urandom >/tmp/sent")?;
    listen(dialogue, "stream")?;
    checksum(dialogue, "/tmp/sent")
}

/// Has the guest wait for a connection, in the background.
fn listen(dialogue: &mut Dialogue, kind: &str) -> Result<()> {
    dialogue.shell(&format!(
        "rm -f /tmp/end; (vsock {kind} >/tmp/received 2>/tmp/said; echo $? >/tmp/end) & sleep 0.1"
    ))?;
    dialogue.shell("until grep -q waiting /tmp/said; do :; done").map(drop)
}

/// The guest has received what has that checksum.
fn arrived(dialogue: &mut Dialogue, sum: &str) -> Result<()> {
    dialogue.shell("until [ -s /tmp/end ]; do :; done; grep -qx 0 /tmp/end")?;
    let received = checksum(dialogue, "/tmp/received")?;
    ensure!(received == sum, "what arrived is not what was sent");
    Ok(())
}

fn console() -> Test {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "box"
        guest = "linux-6.12"
        memory = "256M"
        consoles = 2

        [[vm]]
        name = "idle"
        guest = "work"
        append = "mode=idle"
        memory = "32M"
    "#;
    Test::new(
        "virtio-console",
        "the operator works at a shell on a guest's virtio console, and talks to a program at another port of it",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        at(dialogue, "box", |dialogue| {
            dialogue.shell("setsid sh -c 'exec sh -i </dev/hvc0 >/dev/hvc0 2>&1' & sleep 0.1")?;
            // More than is kept for the operator, who is not there.
            dialogue.shell("port=/dev/$(basename /sys/class/virtio-ports/*p1); seq 100000 >$port")?;
            dialogue.shell("(read line; echo \"$line indeed\") <>$port >&0 & sleep 0.1").map(drop)
        })?;
        let log = dialogue.ask("log box:1 1")?;
        ensure!(log.as_str().is_some_and(|log| log.contains("100000")), "the port's last line is {log}");
        dialogue.attach("box:1")?;
        dialogue.line("well")?;
        dialogue.expect("well indeed")?;
        dialogue.detach()?;
        dialogue.attach("box:0")?;
        dialogue.line("tty; echo $((6 * 7))")?;
        dialogue.expect("/dev/hvc0")?;
        dialogue.expect(r"\b42\b")?;
        dialogue.detach()
    })
    .line("poweroff")
    .off()
}
