//! Commands and their answers.

use polyvisor_cell_abi::Question;
use vm_fdt::FdtWriter;

use super::*;
use crate::monitor::command::COMMANDS;
use crate::vm::lifecycle::State;
use crate::vm::operator::{DeviceOrder, Order};
use crate::vm::vcpu::ExitCounters;

fn three() -> Session {
    Session::new(&["web", "db1", "db2"])
}

#[test]
fn the_greeting_leads_to_help() {
    let mut session = three();
    assert_eq!(session.tail(2), ["3 VMs. Type help for the commands; TAB completes them.", "polyvisor>"]);
    let help = session.command("help");
    for command in COMMANDS {
        assert!(help.lines().any(|line| line.starts_with(command.name)), "{}", command.name);
    }
}

#[test]
fn the_list_is_a_table() {
    let mut session = three();
    session.machine.vms.borrow_mut()[1].state = State::Crashed;
    session.machine.vms.borrow_mut()[1].reason = Some("vCPU 0: SError at 0x4000".into());
    let expected = "\
#  NAME  STATE    ARCH   VCPUS  MEMORY  WEIGHT  UPTIME  RESTARTS
0  web   running  arm64      1    512M     100   1m23s         0
1  db1   crashed  arm64      2    512M     100   1m23s         0
2  db2   running  arm64      3    512M     100   1m23s         0

db1: vCPU 0: SError at 0x4000
";
    assert_eq!(session.command("list"), expected);
    assert!(session.screen.coloured.contains("webrunning"));
    session.command("colour off");
    session.screen.coloured.clear();
    session.command("list");
    assert_eq!(session.screen.coloured, "");
}

#[test]
fn every_answer_fits_the_screen_and_is_json_when_asked_for() {
    let long: &'static str = "a-name-of-sixty-three-bytes-is-the-longest-that-a-bundle-accepts";
    let mut session = Session::new(&["web", &long[..63], "db"]);
    session.machine.vms.borrow_mut()[0].memory = u64::MAX;
    session.machine.vms.borrow_mut()[0].uptime = u64::MAX;
    session.machine.vcpus.borrow_mut()[1][0].run = u64::MAX;
    session.machine.vcpus.borrow_mut()[1][0].exits.mmio = u64::MAX;
    session.machine.vcpus.borrow_mut()[0][0].exits = ExitCounters {
        calls: 10u64.pow(15),
        mmio: 10u64.pow(15),
        sysreg: 10u64.pow(15),
        interrupts: 10u64.pow(15),
        waits: 10u64.pow(15),
        faults: 10u64.pow(15),
        unclaimed: 10u64.pow(15),
        undefined: 10u64.pow(15),
    };
    let mut writer = FdtWriter::new().unwrap();
    let root = writer.begin_node("").unwrap();
    writer.property_array_u32("numbers", &[u32::MAX; 100]).unwrap();
    writer.end_node(root).unwrap();
    *session.machine.tree.borrow_mut() = writer.finish().unwrap();
    session.log("[    1.000000] polyvisor: a line");
    let mut commands = vec![
        "list",
        "stats",
        "stats all",
        "sched",
        "disk",
        "disk plug web root",
        "net web",
        "net link web 0 down",
        "switch",
        "switch lan",
        "balloon web",
        "balloon web 1M",
        "jit web",
        "jit db1",
        "jit db1 top",
        "info",
        "regs 1",
        "mem 0 1 100",
        "trace 0",
        "tree 0",
        "log",
        "log 1",
        "help",
        "start 0 1 2",
        "resume all",
        "watch off",
        "gdb off",
        "nonsense",
        "mem",
        "top 1",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    commands.extend(COMMANDS.iter().map(|command| format!("help {}", command.name)));
    for command in commands {
        let start = session.screen.lines().len();
        session.command(&command);
        session.pass(1_000_000);
        // A row that is full may have been wrapped.
        for line in &session.screen.lines()[start..] {
            assert!(line.chars().count() < 80 || line.starts_with("error: "), "{command}: {line}");
        }
        let start = session.screen.bytes.len();
        session.command(&format!("{command} --json"));
        session.pass(1_000_000);
        let output = String::from_utf8(session.screen.bytes[start..].to_vec()).unwrap();
        let lines: Vec<&str> = output.lines().filter(|line| line.starts_with('{')).collect();
        let [line] = *lines else { panic!("{command} --json answers {output}") };
        assert!(json::parse(line).is_ok(), "{command}: {:?} of {line}", json::parse(line));
        assert!(!line.contains('\x1b'), "{command}: {line:?}");
    }
}

#[test]
fn json_has_exact_values() {
    let mut session = three();
    let start = session.screen.bytes.len();
    session.command("--json list");
    let output = String::from_utf8_lossy(&session.screen.bytes[start..]).into_owned();
    let expected = r#"{"ok":true,"result":{"vms":[{"number":0,"name":"web","state":"running","arch":"arm64","vcpus":1,"dedicated":false,"memory":536870912,"populated":104857600,"weight":100,"uptime":83000000,"restarts":0,"reason":null},"#;
    assert!(output.contains(expected), "{output}");
}

#[test]
fn orders_go_to_all_that_are_named() {
    let mut session = three();
    assert_eq!(session.command("start db1 0"), "");
    assert_eq!(session.machine.orders.take(), [(1, Order::Start), (0, Order::Start)]);
    session.command("sto all");
    assert_eq!(session.machine.orders.take(), [(0, Order::Stop), (1, Order::Stop), (2, Order::Stop)]);
    session.command("kill w w web");
    assert_eq!(session.machine.orders.take(), [(0, Order::Kill)]);
    assert_eq!(
        session.command("resume web db2"),
        "error: web is not paused, it is running\nerror: db2 is not paused, it is running\n"
    );
}

#[test]
fn mistakes_are_answered_with_what_was_expected() {
    let mut session = three();
    for (command, expected) in [
        ("st web", "\"st\" is ambiguous: is start, stop or stats meant?"),
        ("strat web", "\"strat\" is no command: is start or stats meant?"),
        ("frobnicate", "\"frobnicate\" is no command: expected one that help shows"),
        ("start", "expected: start VM..."),
        ("list web", "expected: list"),
        ("start d", "\"d\" is ambiguous: is db1 or db2 meant?"),
        ("start mail", "no VM is called \"mail\": expected web, db1 or db2"),
        ("start 3", "there is no VM 3: expected 0 to 2"),
        ("regs db1.2", "db1 has no vCPU 2: expected 0 to 1"),
        ("mem web zero", "\"zero\" is no number: expected one like 42 or 0x2a"),
        ("mem web 0", "0x0 is not mapped"),
        ("mem web 16 5000", "5000 is out of range: expected 1 to 4096"),
        ("mem web 0xffffffffffffffff 2", "2 bytes from 0xffffffffffffffff on exceed the address space"),
        ("colour maybe", "expected on or off, not \"maybe\""),
        ("disk plug web swap", "the VM has no disk \"swap\": expected root or scratch"),
        ("disk plug web", "expected: disk [VM | plug|unplug VM NAME]"),
        ("net unplug web 2", "the VM has no network device 2: expected 0 to 1"),
        ("net link web 0 sideways", "expected: net link VM N up|down"),
        ("switch wan", "\"wan\" is no switch: expected lan or storage"),
        ("balloon web 1T", "\"1T\" is no size: expected one like 4096, 64M or 1G"),
        ("balloon web 513M", "537919488 bytes are more than the VM's memory, which is 536870912"),
        ("power", "poweroff must be typed in full"),
        ("tree web", "the devicetree is damaged: "),
    ] {
        let found = session.command(command);
        assert!(found.starts_with(&format!("error: {expected}")), "{command}: {found}");
        assert_eq!(found.lines().count(), 1, "{command}");
    }
    assert_eq!(session.machine.power.get(), None);
    session.command("reboot");
    assert_eq!(session.machine.power.get(), Some(true));
}

#[test]
fn a_vcpu_is_looked_at() {
    let mut session = three();
    let regs = session.command("regs db1.1");
    assert!(regs.starts_with("x0     0000000000000000  x1     0000000000000001"), "{regs}");
    assert!(regs.contains("pc     ffff800000000000\npstate 0000000000000001\n"), "{regs}");
    assert!(regs.ends_with("SCTLR_EL1 0000000030d00800  TTBR0_EL1 ffffffffffffffff\n"), "{regs}");
    let memory = session.command("mem db2.2 0x1041 4");
    assert_eq!(memory.trim_end(), "0000000000001041: 4344 4546                                CDEF");
    let memory = session.command("mem db2 p:0x41 2");
    assert_eq!(memory.trim_end(), "0000000000000041: 4142                                     AB");
    let trace = session.command("trace web 2");
    assert_eq!(trace.lines().last(), Some("0.000099  0x40080000  HVC #0, x0 = 0x63"));
    assert_eq!(trace.lines().count(), 3);
    session.command("gdb db2");
    assert_eq!(session.machine.debugged.get(), Some(Some(2)));
    session.command("gdb off");
    assert_eq!(session.machine.debugged.get(), Some(None));
    session.command("fail db2.1");
    assert_eq!(session.machine.failed.get(), Some((2, 1)));
}

#[test]
fn how_code_is_executed_is_shown_and_asked() {
    let mut session = three();
    assert_eq!(session.command("jit web"), "mode:          off\ninstructions:  50000\n");
    let found = session.command("jit db1");
    let squeezed: Vec<String> =
        found.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "compiled: 66.0%",
        "instructions per entry: 4",
        "translating: 1.234s",
        "code capacity: 3000",
        "mismatches: 19000",
        "unlinked jump 9000 10.7%",
        "fault, interpreted 15000 17.8%",
    ] {
        assert!(squeezed.contains(&line.to_owned()), "{line:?} in {found}");
    }
    let block = "0x80000000: addi x1, x1, 1\n    +0004 91000421\n";
    let top = "ADDRESS             PHYSICAL    INSTRUCTIONS  CODE  SAMPLES  SHARE\n\
               0xffffffff80001000  0x80201000            12   240        5  62.5%\n\
               0x10a4              0x8abcd0a4            64  1000        2  25.0%\n";
    for (command, question, answer) in [
        ("jit db2 top", Question::Top(10), top),
        ("jit db2 top 3", Question::Top(3), top),
        ("jit db2 block 0x8000_0002", Question::Block(0x8000_0002), block),
        ("jit db2 top 1000", Question::Top(1000), "error: the engine's answer is no table of blocks\n"),
    ] {
        assert_eq!(session.command(command), answer, "{command}");
        assert_eq!(session.machine.asked.take(), Some((2, question)));
    }
    let found = session.command("jit db2 top --json").replace('\n', "");
    let expected = r#"{"address":"0xffffffff80001000","physical":"0x80201000","instructions":12,"code":240,"#;
    assert!(found.contains(expected), "{found}");
    session.machine.asked.take();
    let recording = "blocks:  70\nbytes:   40000\ncrc32:   0x1234abcd\nfull:    yes\n\n\
                     ADDRESS     BYTES\n0x40001000  30000\n0x50000000  10000\n";
    assert_eq!(session.command("jit db2 recording"), recording);
    for (command, error) in [
        ("jit web recording", "VM web does not record its translations"),
        ("jit web top", "its code is interpreted: nothing is compiled"),
        ("jit db2 top 0", "0 is out of range: expected 1 to 1000"),
        ("jit db2 block", "expected jit VM [top [N] | block ADDRESS | recording]"),
        ("jit db2 all", "expected jit VM [top [N] | block ADDRESS | recording]"),
        ("jit db2 block here", "\"here\" is no number: expected one like 42 or 0x2a"),
    ] {
        assert_eq!(session.command(command), format!("error: {error}\n"), "{command}");
    }
    assert_eq!(session.machine.asked.take(), None);
}

#[test]
fn devices_are_looked_at_and_changed() {
    let mut session = three();
    let disks = "\
VM   NAME     IN   SIZE   MODE        REQUESTS  BYTES  ERRORS  BACKEND
web  root     yes  4096M  read-write        42     1M       0  disk0/root
web  scratch  no   4096M  read-write        42     1M       0  disk0/root
";
    let found = session.command("disk web");
    let squeeze = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(squeeze(&found), squeeze(disks), "{found}");
    let found = session.command("net web");
    assert!(squeeze(&found).contains(&"web 1 down lan 7 52:54:00:00:00:03 100 200 3".to_owned()), "{found}");
    let found = session.command("switch");
    assert!(squeeze(&found).contains(&"lan nic0 2 1 200 6".to_owned()), "{found}");
    let found = squeeze(&session.command("switch sto"));
    for line in ["web.0 - 100 62.5K 200 125K 3", "web.0 no room 1", "52:54:00:00:00:02 - web.0 1.500s"] {
        assert!(found.contains(&line.to_owned()), "{line:?} in {found:?}");
    }
    assert!(!found.iter().any(|line| line.contains("spoofed")), "{found:?}");
    let found = squeeze(&session.command("balloon db1"));
    for line in ["target: 256M", "actual: 128M", "returned: 126M", "guest free: 300M", "guest total: -"] {
        assert!(found.contains(&line.to_owned()), "{line:?} in {found:?}");
    }
    assert!(session.command("stats web").contains("disk0/root"));
    for command in [
        "disk plug db1 scratch",
        "disk unplug 0 root",
        "net plug db2 1",
        "net unplug web 0",
        "net link web 0 up",
        "net link web 1 down",
        "balloon db1 64M",
    ] {
        assert_eq!(session.command(command), "", "{command}");
    }
    let expected = [
        (1, DeviceOrder::Plug(1)),
        (0, DeviceOrder::Unplug(0)),
        (2, DeviceOrder::Plug(3)),
        (0, DeviceOrder::Unplug(2)),
        (0, DeviceOrder::Link(2, true)),
        (0, DeviceOrder::Link(3, false)),
        (1, DeviceOrder::Balloon(64 << 20)),
    ];
    assert_eq!(session.machine.device_orders.take(), expected);
    session.keys("disk plug web s\t");
    assert!(session.shows("disk plug web scratch ", 22));
    session.keys("\x15switch l\t");
    assert!(session.shows("switch lan ", 11));
    session.keys("\x15net link web \t\t");
    assert_eq!(session.tail(2), ["0  1", "polyvisor> net link web"]);
    session.keys("1 d\t");
    assert!(session.shows("net link web 1 down ", 20));
}

#[test]
fn top_shows_rates_until_a_key_is_pressed() {
    let mut session = three();
    session.keys("top\r");
    assert_eq!(session.tail(2), ["measuring for a second; any key ends it", ""]);
    session.machine.vcpus.borrow_mut()[0][0].run += 500_000;
    session.machine.vcpus.borrow_mut()[1][1].run += 250_000;
    session.machine.vcpus.borrow_mut()[0][0].exits.mmio += 77;
    session.output(0, "hidden meanwhile\n");
    session.pass(1_000_000);
    let screen = session.tail(11).join("\n");
    for line in [
        "NAME  VCPU  DOING           CPU  STEAL  EXITS/S  USED",
        "web      -  running       50.0%   0.0%       77  100M",
        "db1      -  running       25.0%   0.0%        0  100M",
        "db1      1  runs on CPU 1  25.0%   0.0%        0     -",
    ] {
        let line: Vec<&str> = line.split_whitespace().collect();
        let found = screen.lines().any(|row| row.split_whitespace().eq(line.iter().copied()));
        assert!(found, "{line:?} in\n{screen}");
    }
    session.keys("q");
    assert!(session.shows("", 0), "{:?}", session.tail(3));
    let before = session.screen.bytes.len();
    session.pass(5_000_000);
    assert_eq!(session.screen.bytes.len(), before);
    // A limited number ends by itself.
    session.keys("top 2\r");
    session.pass(2_000_000);
    assert!(session.shows("", 0), "{:?}", session.tail(3));
}

#[test]
fn completion_helps_as_far_as_it_can() {
    let mut session = three();
    session.keys("con\t");
    assert!(session.shows("console ", 8));
    session.keys("d\t");
    assert!(session.shows("console db", 10));
    let bells = session.screen.bells;
    session.keys("\t");
    assert_eq!(session.screen.bells, bells + 1);
    session.keys("\t");
    assert_eq!(session.tail(2), ["db1  db2", "polyvisor> console db"]);
    session.keys("2\t");
    assert!(session.shows("console db2 ", 12));
    session.keys("\x15watch o\t\t\t");
    assert_eq!(session.tail(2), ["on   off", "polyvisor> watch o"]);
    session.keys("\x15list --\t");
    assert!(session.shows("list --json ", 12));
    session.keys("\x15help pow\t");
    assert!(session.shows("help poweroff ", 14));
    session.keys("\x03");
    assert!(session.shows("", 0));
    assert_eq!(session.tail(2)[0], "polyvisor> help poweroff ^C");
}

#[test]
fn the_edited_line_is_shown_as_it_is() {
    let mut session = three();
    session.keys("lst\x1b[D\x1b[Di");
    assert!(session.shows("list", 2));
    session.keys("\x7f\x7f\x0c");
    assert!(session.shows("st", 0));
    session.keys("\x05art\x1b[D\x1b[D\x1b[D\x1b[3~\x1b[H");
    assert!(session.shows("strt", 0));
    session.keys("\x15\x1b[4~").keys(&"x".repeat(100));
    assert_eq!(session.tail(1)[0], format!("polyvisor> {}", "x".repeat(67)));
    session.keys(&"x".repeat(200));
    assert!(session.screen.bells >= 44);
    assert_eq!(session.tail(2)[0].len(), 54);
}

#[test]
fn an_answer_that_is_longer_than_the_queue_arrives_whole() {
    let mut session = three();
    for line in 0..500 {
        session.log(&format!("[    1.000000] polyvisor: line {line}"));
    }
    let log = session.command("log polyvisor 300");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 300);
    assert_eq!(
        (lines[0], lines[299]),
        ("[    1.000000] polyvisor: line 200", "[    1.000000] polyvisor: line 499")
    );
}
