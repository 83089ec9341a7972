//! RISC-V guests: payloads, real systems, and what they have to do with their neighbours.

use std::{cmp::Reverse, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{
    super::script::{Dialogue, Subject, Test, Translations},
    BANNER, LINUX_PROMPT, LINUX_READY, MONITOR, at,
};
use crate::qemu::Machine;

/// What Debian's kernel for RISC-V is called.
const KERNEL: &str = "linux-6.12-riscv64";
/// The command line of a kernel that needs no modules: loading them takes longer than all that is before.
const APPEND: &str = "append = \"console=ttyS0 modules=none\"";
/// How long U-Boot may take to answer; the test is slow.
const ANSWER: Duration = Duration::from_secs(2);

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for gic in [2, 3] {
        tests.extend([hello(gic), isa(gic, "off"), isa(gic, "on"), reset(gic), hostile(gic)]);
    }
    tests.extend([isa(3, "lockstep"), linux_in_lockstep()]);
    tests.extend([saved_translations(), damaged_translations(), foreign_translations()]);
    tests.extend([u_boot(), linux(), opensbi(), newest(), demo(), virtio()]);
    tests.into_iter().map(Test::slow).collect()
}

/// One VM that boots `guest`, and these lines of its manifest.
fn alone(guest: &str, settings: &str) -> Subject {
    Subject::Manifest(format!("[[vm]]\nname = \"box\"\nguest = \"{guest}\"\n{settings}"))
}

fn hello(gic: u8) -> Test {
    Test::new(
        format!("riscv-hello-gic{gic}"),
        format!(
            "a program in machine mode runs beside nothing else, prints, and switches its VM off (GICv{gic})"
        ),
        alone("riscv-hello", "bios = \"none\"\nmemory = \"64M\""),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(r"hello from RV64\w*C")
    .off()
}

fn isa(gic: u8, jit: &str) -> Test {
    Test::new(
        format!("riscv-isa-{jit}-gic{gic}"),
        format!("a hart does what the RISC-V specifications say, instruction by instruction (GICv{gic}, jit {jit})"),
        alone("riscv-isa", &format!("bios = \"none\"\njit = \"{jit}\"\nmemory = \"64M\"")),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(r"isa: [1-9]\d* passed, 0 failed")
    .off()
}

fn reset(gic: u8) -> Test {
    const RESETS: u32 = 50;
    Test::new(
        format!("riscv-reset-gic{gic}"),
        format!("harts that reset their VM at once, while others sleep, never keep it from starting afresh (GICv{gic})"),
        alone("riscv-reset", "bios = \"none\"\nvcpus = 4\nmemory = \"64M\""),
    )
    .on(Machine { gic, ..Machine::virt() })
    .talk(|dialogue| {
        (0..RESETS).try_for_each(|_| dialogue.expect(r"reset: from the first instruction").map(drop))?;
        dialogue.detach()
    })
    .line("poweroff")
    .off()
    .count(BANNER, 1)
}

/// U-Boot above the built-in SBI and as firmware, and what an operator does with its VM.
fn u_boot() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        when-all-off = "stay"

        [[vm]]
        name = "supervisor"
        guest = "u-boot-smode-riscv64"
        memory = "128M"

        [[vm]]
        name = "machine"
        guest = "u-boot-riscv64"
        memory = "128M"
    "#;
    Test::new(
        "riscv-u-boot",
        "U-Boot runs unmodified in supervisor and in machine mode; its VM is paused, goes on, is destroyed, and \
         starts again",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        for vm in ["machine", "supervisor"] {
            dialogue.attach(vm)?;
            calculate(dialogue)?;
            dialogue.detach()?;
        }
        dialogue.ask("pause supervisor")?;
        dialogue.await_state("supervisor", "paused")?;
        let registers = dialogue.ask("regs supervisor")?;
        ensure!(registers["system"]["instret"].is_string(), "`regs supervisor` shows {registers}");
        dialogue.ask("resume supervisor")?;
        dialogue.await_state("supervisor", "running")?;
        let jit = &dialogue.ask("jit supervisor")?["jit"];
        let executed = jit["instructions"].as_u64().unwrap_or_default();
        // `--jit` may have it otherwise.
        ensure!(jit["mode"] == "off" || executed > 1_000_000, "`jit supervisor` shows {jit}");
        dialogue.attach("supervisor")?;
        calculate(dialogue)?;
        dialogue.detach()?;
        dialogue.ask("destroy supervisor")?;
        dialogue.await_state("supervisor", "defined")?;
        dialogue.ask("start supervisor")?;
        dialogue.await_state("supervisor", "running")?;
        dialogue.attach("supervisor")?;
        calculate(dialogue)?;
        // By the SBI, and by the test finisher.
        dialogue.line("poweroff")?;
        dialogue.expect(r"VM supervisor is off")?;
        dialogue.detach()?;
        dialogue.attach("machine")?;
        calculate(dialogue)?;
        dialogue.line("reset")?;
        dialogue.expect(r"U-Boot 20\d\d")?;
        calculate(dialogue)?;
        dialogue.detach()
    })
    .line("poweroff")
    .off()
    .count(BANNER, 1)
}

/// Has U-Boot add two numbers, as soon as it listens: before, it takes any key for a wish not to boot, and what its console
/// has shown earlier ends in a prompt, too.
fn calculate(dialogue: &mut Dialogue) -> Result<()> {
    const TRIES: usize = 20;
    let number = fastrand::u32(1..1 << 30);
    for _ in 0..TRIES {
        dialogue.line("")?;
        dialogue.line(&format!("setexpr sum {number:x} + 1; printenv sum"))?;
        if dialogue.expect_within(&format!("sum={:x}", number + 1), ANSWER).is_ok() {
            return Ok(());
        }
    }
    bail!("U-Boot does not answer")
}

fn linux() -> Test {
    Test::new(
        "riscv-linux",
        "Debian's unmodified riscv64 kernel boots on four harts above the built-in SBI, starts again at its own \
         reboot, and powers off",
        alone(KERNEL, &format!("vcpus = 4\n{APPEND}")),
    )
    .expect(r"guest ready: Linux [^\n]*, 4 CPUs")
    .expect(LINUX_PROMPT)
    .line("uname -m; cat /sys/devices/system/cpu/online")
    .expect(r"riscv64\r?\n0-3\r?\n")
    .expect(LINUX_PROMPT)
    .line("reboot -f")
    .expect(r"guest ready: Linux [^\n]*, 4 CPUs")
    .expect(LINUX_PROMPT)
    .talk(|dialogue| {
        dialogue.shell("i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done")?;
        dialogue.detach()?;
        hot_blocks(dialogue, "box")?;
        dialogue.attach("box")
    })
    .line("poweroff")
    .off()
    .count(BANNER, 1)
}

fn linux_in_lockstep() -> Test {
    Test::new(
        "riscv-linux-lockstep",
        "each block that Debian's riscv64 kernel and its shell execute while they boot does what it must, the first times \
         that it is executed",
        alone(KERNEL, &format!("jit = \"lockstep\"\n{APPEND}")),
    )
    .expect(LINUX_PROMPT)
    .talk(|dialogue| {
        dialogue.detach()?;
        let jit = &dialogue.ask("jit box")?["jit"];
        let compared = jit["comparisons"].as_u64().unwrap_or_default();
        ensure!(jit["mismatches"] == 0 && compared > 100_000, "`jit box` shows {jit}");
        dialogue.attach("box")
    })
    .line("poweroff")
    .off()
}

fn saved_translations() -> Test {
    Test::new(
        "riscv-aot-linux",
        "a boot of Debian's riscv64 kernel with the translations of another one translates next to nothing",
        alone(KERNEL, &format!("vcpus = 2\ntranslations = \"translations\"\n{APPEND}")),
    )
    .translations(Translations::Recorded(LINUX_PROMPT))
    .expect(LINUX_PROMPT)
    .talk(|dialogue| {
        dialogue.detach()?;
        let jit = &dialogue.ask("jit box")?["jit"];
        let count = |key: &str| jit[key].as_u64().unwrap_or_default();
        let (translated, recalled) = (count("blocks"), count("recalled_blocks"));
        ensure!(count("stored_blocks") > 10_000 && recalled > 10_000, "`jit box` shows {jit}");
        ensure!(
            translated * 100 <= recalled,
            "{translated} blocks were translated, and {recalled} were not: {jit}"
        );
        dialogue.attach("box")
    })
    .line("poweroff")
    .off()
}

/// Translations that cannot be used: the guest does not care.
fn unusable_translations(name: &str, proves: &str, translations: Translations, warning: &str) -> Test {
    let settings = "bios = \"none\"\nmemory = \"64M\"\ntranslations = \"translations\"";
    Test::new(name, proves, alone("riscv-hello", settings))
        .translations(translations)
        .expect(&format!("VM box: its saved translations are not used: {warning}"))
        .expect(r"hello from RV64\w*C")
        .off()
}

fn damaged_translations() -> Test {
    unusable_translations(
        "riscv-aot-damaged",
        "saved translations with a flipped bit are found out, and their guest runs without them",
        Translations::Damaged,
        "they are corrupt: CRC-32 is 0x[0-9a-f]{8} instead of 0x[0-9a-f]{8}",
    )
}

fn foreign_translations() -> Test {
    unusable_translations(
        "riscv-aot-foreign",
        "saved translations of another engine are found out, and their guest runs without them",
        Translations::Foreign,
        r"they were made with the engine (07){8}\.\.\., and this one is [0-9a-f]{16}\.\.\.",
    )
}

/// What the engine of `vm`, whose guest has been busy, tells of the code that it has executed most.
fn hot_blocks(dialogue: &mut Dialogue, vm: &str) -> Result<()> {
    let top = dialogue.ask(&format!("jit {vm} top 5"))?;
    let blocks = top.as_array().map_or(&[][..], Vec::as_slice);
    let number = |block: &Value, key: &str| block[key].as_u64().unwrap_or_default();
    ensure!(
        (1..=5).contains(&blocks.len())
            && blocks.iter().all(|block| number(block, "samples") > 0 && number(block, "code") > 0)
            && blocks.is_sorted_by_key(|block| Reverse(number(block, "samples"))),
        "`jit {vm} top` shows {top}"
    );
    let address = blocks[0]["address"].as_str().unwrap_or_default();
    let listing = dialogue.ask(&format!("jit {vm} block {address}"))?;
    let listing = listing.as_str().unwrap_or_default();
    let begins = listing.starts_with(&format!("block {address}, physical 0x"));
    let guest = listing.lines().any(|line| line.starts_with(&format!("{address}: ")));
    ensure!(begins && guest && listing.contains("    +0000 "), "`jit {vm} block {address}` shows {listing}");
    Ok(())
}

fn opensbi() -> Test {
    Test::new(
        "riscv-opensbi",
        "Debian's OpenSBI runs unmodified in machine mode, and Debian's kernel on two harts above it (GICv2)",
        alone(KERNEL, &format!("vcpus = 2\nbios = \"opensbi-dynamic\"\n{APPEND}")),
    )
    .on(Machine { gic: 2, ..Machine::virt() })
    .expect(r"OpenSBI v\d")
    .expect(r"guest ready: Linux [^\n]*, 2 CPUs")
    .expect(LINUX_PROMPT)
    .line("poweroff")
    .off()
}

fn newest() -> Test {
    Test::new(
        "riscv-linux-newest",
        "the newest riscv64 kernel that Debian has boots to a shell",
        alone("linux-newest-riscv64", APPEND),
    )
    .expect(LINUX_READY)
    .expect(LINUX_PROMPT)
    .line("echo $((6 * 7))")
    .expect(r"\b42\b")
    .line("poweroff")
    .off()
}

/// What `cargo xtask run` starts.
fn demo() -> Test {
    Test::new(
        "riscv-demo",
        "an arm64 and a riscv64 Debian run side by side, and each says what it is",
        Subject::Manifest(include_str!("../../../../docs/examples/demo.toml").to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        for (vm, machine) in [("arm", "aarch64"), ("riscv", "riscv64")] {
            at(dialogue, vm, |dialogue| {
                dialogue.line("uname -m")?;
                dialogue.expect(&format!(r"{machine}\r?\n"))?;
                dialogue.expect(LINUX_PROMPT).map(drop)
            })?;
        }
        Ok(())
    })
    .line("poweroff")
    .off()
}

fn virtio() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        cpus = 4

        [[switch]]
        name = "lan"

        [[vm]]
        name = "arm"
        guest = "linux-6.12"
        memory = "256M"

        [[vm.net]]
        switch = "lan"

        [[vm]]
        name = "riscv"
        guest = "linux-6.12-riscv64"
        append = "console=ttyS0 modules=virtio_(mmio|blk|net)|failover"
        memory = "256M"

        [[vm.disk]]
        name = "scratch"
        size = "8M"

        [[vm.net]]
        switch = "lan"
    "#;
    Test::new(
        "riscv-virtio",
        "a riscv64 Debian reads from its disk what it has written there, and an arm64 Debian on the same switch \
         and it ping each other",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        at(dialogue, "arm", |dialogue| {
            dialogue.shell("ip address add 10.9.8.1/24 dev eth0; ip link set eth0 up").map(drop)
        })?;
        at(dialogue, "riscv", |dialogue| {
            dialogue.shell("ip address add 10.9.8.2/24 dev eth0; ip link set eth0 up")?;
            dialogue.shell("ping -c 5 -i 0.2 -s 1400 10.9.8.1 | grep -q ' 0% packet loss'")?;
            dialogue.shell("dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null")?;
            dialogue.shell("dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null")?;
            dialogue.shell("echo 3 >/proc/sys/vm/drop_caches")?;
            dialogue.shell("head -c 4194304 /dev/vda | cmp - /tmp/data").map(drop)
        })?;
        at(dialogue, "arm", |dialogue| {
            dialogue.shell("ping -c 5 -i 0.2 -s 1400 10.9.8.2 | grep -q ' 0% packet loss'").map(drop)
        })
    })
    .line("poweroff")
    .off()
}

fn hostile(gic: u8) -> Test {
    const MANIFEST: &str = r#"
        [machine]
        memory = "1G"

        [[switch]]
        name = "lan"

        [[vm]]
        name = "good"
        guest = "work"
        append = "rounds=0"
        vcpus = 2
        memory = "64M"

        [[vm]]
        name = "bad"
        guest = "riscv-hostile"
        append = "seed=7"
        bios = "none"
        vcpus = 4
        memory = "128M"

        [[vm.disk]]
        name = "scratch"
        size = "1M"

        [[vm.net]]
        switch = "lan"
    "#;
    Test::new(
        format!("riscv-hostile-gic{gic}"),
        format!(
            "a RISC-V guest whose harts run random code, on random page tables, with random CSRs, and reach for \
             random addresses ends by itself, and another VM's work is right meanwhile (GICv{gic})"
        ),
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .on(Machine { gic, ..Machine::virt() })
    .expect(r"hostile: survived [1-9]\d* operations")
    .expect(r"work: round [1-9]\d* ok")
    .count(r"work: ERROR", 0)
    .count(r"hostile: (LEAK|BROKEN)", 0)
    .count(r"VM bad crashed", 0)
    .line("poweroff")
    .off()
}
