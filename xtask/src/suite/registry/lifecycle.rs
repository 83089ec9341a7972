//! The lives of VMs, in the operator's hands.

use anyhow::ensure;

use super::{
    super::script::{Dialogue, Subject, Test, TestGuest},
    BANNER, HELLO_PROMPT, LINUX_PROMPT, MONITOR,
};

pub fn tests() -> Vec<Test> {
    vec![watchdog(), crash(), crash_powers_off(), restart(), cycles(), random(), stop()]
}

/// Three small VMs, none of which ends by itself: one that waits for keys, one that works without end, and one
/// whose vCPUs reset it whenever they can.
const THREE: &str = r#"
    [machine]
    memory = "1G"
    when-all-off = "stay"

    [[vm]]
    name = "desk"
    guest = "hello"
    memory = "64M"

    [[vm]]
    name = "work"
    guest = "work"
    append = "mode=check rounds=0"
    vcpus = 2
    memory = "64M"

    [[vm]]
    name = "reset"
    guest = "reset"
    vcpus = 4
    memory = "64M"
"#;

/// What the operator types, and how often compared to the others: so that VMs are in all states.
const ORDERS: [&str; 14] = [
    "start", "start", "start", "start", "resume", "resume", "resume", "pause", "pause", "reset", "stop",
    "kill", "create", "destroy",
];

fn random() -> Test {
    Test::new(
        "lifecycle-random",
        "a thousand random orders for three VMs: nothing leaks, nothing hangs",
        Subject::Manifest(THREE.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        dialogue.await_all("running")?;
        dialogue.destroy_all()?;
        let mut random = fastrand::Rng::with_seed(3);
        dialogue.costs_no_memory(|dialogue| {
            for _ in 0..1000 {
                let order = random.choice(ORDERS).unwrap_or_default();
                let vm = random.choice(["desk", "work", "reset"]).unwrap_or_default();
                if let Err(why) = dialogue.command(&format!("{order} {vm}"))? {
                    ensure!(why.starts_with("the VM is "), "`{order} {vm}` is refused: {why}");
                }
            }
            dialogue.destroy_all()
        })?;
        dialogue.ask("start all")?;
        dialogue.await_all("running")?;
        dialogue.attach("desk")?;
        dialogue.line("good morning")?;
        dialogue.expect(r"`good morning` is no command here")?;
        dialogue.expect(HELLO_PROMPT)?;
        dialogue.detach()
    })
    .count(BANNER, 1)
    .line("poweroff")
    .off()
}

fn cycles() -> Test {
    Test::new(
        "lifecycle-cycles",
        "a VM that is created and destroyed a thousand times costs no memory",
        Subject::Manifest(THREE.to_owned()),
    )
    .expect(MONITOR)
    .talk(|dialogue| {
        dialogue.ask("watch off")?;
        dialogue.destroy_all()?;
        dialogue.costs_no_memory(|dialogue| {
            for _ in 0..40 {
                // What was loaded and touched is to be given back too.
                dialogue.ask("start work")?;
                dialogue.await_state("work", "running")?;
                dialogue.ask("destroy work")?;
                dialogue.await_state("work", "defined")?;
                for _ in 0..24 {
                    dialogue.ask("create work")?;
                    dialogue.ask("destroy work")?;
                }
            }
            dialogue.await_all("defined")
        })
    })
    .line("poweroff")
    .off()
}

fn watchdog() -> Test {
    Test::new(
        "watchdog",
        "a CPU that is stuck in EL2 is reported, and the others go on",
        Subject::Guest(TestGuest::new("hello")),
    )
    .arguments("crash=stuck")
    .expect(HELLO_PROMPT)
    .expect(r"CPU 1 has been stuck in EL2 for \d+ s, with no vCPU loaded")
    .line("good morning")
    .expect(r"`good morning` is no command here")
    .line("off")
    .expect(r"VM hello is off")
}

/// Two VMs of which one is told to lose its exception vectors.
fn two(on_crash: &str) -> Subject {
    Subject::Manifest(format!(
        r#"
        [machine]
        memory = "512M"

        [[vm]]
        name = "left"
        guest = "hello"
        memory = "64M"
        on-crash = {on_crash}

        [[vm]]
        name = "right"
        guest = "hello"
        memory = "64M"
    "#
    ))
}

/// A VM's console, where the built-in guest answers.
fn greet(dialogue: &mut Dialogue, vm: &str, greeting: &str) -> anyhow::Result<()> {
    dialogue.attach(vm)?;
    dialogue.line(greeting)?;
    dialogue.expect(&format!("`{greeting}` is no command here"))?;
    dialogue.detach()
}

fn crash() -> Test {
    Test::new(
        "lifecycle-crash",
        "a VM that cannot go on is reported and held to be looked at; the other one goes on, and it can start \
         again",
        two(r#""stop""#),
    )
    .expect(MONITOR)
    .line("console left")
    .expect(HELLO_PROMPT)
    .line("lose")
    .expect(r"VM left crashed on vCPU 0: it cannot fetch its own exception vector at 0x[0-9a-f]+: ")
    .expect(r"\n  pc  [0-9a-f]{16}  sp  [0-9a-f]{16}  pstate [0-9a-f]{8}\r?\n  x0 ")
    .expect(r"  vbar_el1 +[0-9a-f]{16}\r?\n")
    .expect(r"  called from:\r?\n    [0-9a-f]{16}\r?\n")
    .expect(r"  last exits:\r?\n +\d+\.\d{6} [0-9a-f]{16} instruction abort")
    .keys("\x1d")
    .talk(|dialogue| {
        let vm = dialogue.vm("left")?;
        ensure!(vm.state == "crashed", "the VM is {}", vm.state);
        ensure!(vm.reason.is_some_and(|why| why.contains("exception vector")), "`list` does not say why");
        let regs = dialogue.ask("regs left")?;
        let (pc, vbar) = (&regs["general"]["pc"], &regs["system"]["vbar_el1"]);
        ensure!(pc.is_string() && vbar.is_string(), "`regs left` shows {regs}");
        dialogue.ask("trace left")?;
        greet(dialogue, "right", "still there")?;
        dialogue.ask("reset left")?;
        dialogue.await_state("left", "running")?;
        greet(dialogue, "left", "back again")
    })
    .line("poweroff")
    .off()
    .count(BANNER, 1)
}

fn crash_powers_off() -> Test {
    Test::new(
        "lifecycle-on-crash",
        "the crash of a VM that the machine is there for switches the machine off",
        two(r#""poweroff""#),
    )
    .expect(MONITOR)
    .line("console left")
    .expect(HELLO_PROMPT)
    .line("lose")
    .expect(r"VM left has ended, the machine is switched off")
    .off()
}

fn restart() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        memory = "512M"

        [[vm]]
        name = "brief"
        guest = "work"
        append = "mode=none"
        memory = "32M"
        on-stop = { restart = "50ms" }

        [[vm]]
        name = "frail"
        guest = "hello"
        memory = "64M"
        on-crash = { restart = "50ms" }
    "#;
    Test::new(
        "lifecycle-restart",
        "a VM that ends by itself starts again, after a delay that grows, until the operator stops it",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(r"VM brief starts again in 50 ms")
    .expect(r"VM brief starts again in 100 ms")
    .expect(r"VM brief starts again in 200 ms")
    .expect(r"VM brief starts again in 400 ms")
    .talk(|dialogue| {
        dialogue.ask("kill brief")?;
        dialogue.await_state("brief", "stopped")?;
        let restarts = dialogue.vm("brief")?.restarts;
        ensure!(restarts >= 4, "`list` shows {restarts} restarts");
        dialogue.attach("frail")?;
        dialogue.line("lose")?;
        dialogue.expect(r"VM frail starts again in 50 ms")?;
        dialogue.expect(r"Hello!")?;
        dialogue.detach()?;
        greet(dialogue, "frail", "back again")?;
        let now = dialogue.vm("brief")?;
        ensure!(
            (now.state.as_str(), now.restarts) == ("stopped", restarts),
            "the VM that was stopped is {now:?}"
        );
        Ok(())
    })
    .line("poweroff")
    .off()
}

fn stop() -> Test {
    const MANIFEST: &str = r#"
        [machine]
        memory = "1G"
        when-all-off = "stay"

        [[vm]]
        name = "polite"
        guest = "linux-6.12"
        memory = "512M"

        [[vm]]
        name = "deaf"
        guest = "hello"
        memory = "64M"
    "#;
    Test::new(
        "lifecycle-stop",
        "Debian shuts down when the operator asks it to; a guest that does not listen is switched off",
        Subject::Manifest(MANIFEST.to_owned()),
    )
    .expect(MONITOR)
    .line("console polite")
    .expect(LINUX_PROMPT)
    .keys("\x1d")
    .line("stop polite")
    .expect(r"init: the power button")
    .expect(r"reboot: Power down")
    .expect(r"VM polite is off")
    .talk(|dialogue| {
        dialogue.await_state("polite", "stopped")?;
        dialogue.ask("stop deaf")?;
        let state = dialogue.vm("deaf")?.state;
        ensure!(state == "stopping", "the guest that does not listen is {state}");
        dialogue.ask("kill deaf")?;
        dialogue.await_state("deaf", "stopped")?;
        // The machine stays on for its operator.
        dialogue.ask("start deaf")?;
        dialogue.await_state("deaf", "running")?;
        greet(dialogue, "deaf", "hello again")
    })
    .line("poweroff")
    .off()
}
