//! Several guests, EL2 and the operator on one screen.

use super::*;
use crate::vm::operator::Line;

fn three() -> Session {
    Session::new(&["web", "db1", "db2"])
}

#[test]
fn a_single_vm_has_the_console_to_itself() {
    let mut session = Session::new(&["only"]);
    assert_eq!(session.screen.bytes, b"");
    session.output(0, "raw \x1b[31mbytes\x1b[0m\r\nlogin: ");
    assert_eq!(session.screen.bytes, b"raw \x1b[31mbytes\x1b[0m\r\nlogin: ");
    session.keys("root\r\x03");
    assert_eq!(session.machine.typed.borrow()[0], b"root\r\x03");
    session.log("[    1.000000] polyvisor: hello");
    assert_eq!(session.tail(3), ["login: ", "[    1.000000] polyvisor: hello", ""].map(str::trim_end));
    session.keys("\x1d");
    assert!(session.shows("", 0));
}

#[test]
fn lines_of_several_vms_appear_above_the_prompt() {
    let mut session = three();
    session.keys("list\x1b[D");
    session.output(0, "from ");
    session.output(1, "\x1b[2J\x1b[31mother\x1b[0m\r\n");
    session.output(0, "web\r\n\r\nmore\r\n");
    session.log("[    2.000000] polyvisor: a line");
    let expected =
        ["db1| other", "web| from web", "web| more", "[    2.000000] polyvisor: a line", "polyvisor> list"];
    assert_eq!(session.tail(5), expected);
    assert!(session.shows("list", 3));
    assert!(session.screen.coloured.contains("db1webweb"));
}

#[test]
fn a_line_without_an_end_shows_after_a_while() {
    let mut session = three();
    session.output(2, "login: ");
    assert_eq!(session.tail(1), ["polyvisor>"]);
    session.pass(100_000);
    assert_eq!(session.tail(1), ["polyvisor>"]);
    session.pass(500_000);
    assert_eq!(session.tail(2), ["db2| login: ", "polyvisor>"].map(str::trim_end));
    session.output(2, "root\n");
    assert_eq!(session.tail(2), ["db2| root", "polyvisor>"]);
    session.pass(500_000);
    assert_eq!(session.due, None, "nothing is held back, so nobody is to look");
}

#[test]
fn only_the_watched_are_shown() {
    let mut session = three();
    session.command("watch web db2");
    for vm in 0..3 {
        session.output(vm, "a line\n");
    }
    assert_eq!(session.tail(3), ["web| a line", "db2| a line", "polyvisor>"]);
    session.command("watch off");
    session.output(0, "a line\n");
    assert_eq!(session.tail(1), ["polyvisor>"]);
    assert!(session.command("log db1") == "a line\n", "what was not shown is kept");
    session.command("watch on");
    session.output(1, "another\n");
    assert_eq!(session.tail(2), ["db1| another", "polyvisor>"]);
}

#[test]
fn attaching_shows_the_last_lines_and_passes_bytes_both_ways() {
    let mut session = three();
    session.output(1, "booted\r\nlogin: ");
    session.keys("console db1\r");
    assert_eq!(session.tail(3), ["[db1: Ctrl-] leaves it]", "booted", "login:"]);
    session.output(0, "not now\n");
    session.keys("root\r");
    session.output(1, "root\r\n# ");
    assert_eq!(session.machine.typed.borrow()[1], b"root\r");
    assert_eq!(session.tail(2), ["login: root", "#"]);
    session.keys("\x1d");
    assert!(session.shows("", 0));
    session.output(0, "now\n");
    assert_eq!(session.tail(3), ["#", "web| now", "polyvisor>"]);
    // Twice Ctrl-]: once to leave, once for the guest.
    session.keys("\x1d");
    assert_eq!(session.machine.typed.borrow()[1], b"root\r\x1d");
    assert_eq!(session.tail(2), ["login: root", "#"], "its last lines are shown again");
    session.keys("x");
    assert_eq!(session.machine.typed.borrow()[1], b"root\r\x1dx");
}

#[test]
fn ctrl_bracket_means_nothing_in_a_line() {
    let mut session = three();
    session.keys("\x1dab\x1d");
    assert!(session.shows("ab", 2));
    assert_eq!(session.screen.bells, 2);
}

#[test]
fn an_attached_guest_is_held_back_and_nothing_is_lost() {
    let mut session = Session::new(&["only"]);
    let text: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let mut bytes = text.bytes().peekable();
    let mut held = 0;
    while bytes.peek().is_some() {
        while let Some(&byte) = bytes.peek()
            && session.mux.transmit(0, byte)
        {
            bytes.next();
        }
        held += 1;
        assert!(session.machine.ready.borrow().is_empty());
        while bytes.peek().is_some() && session.machine.ready.borrow().is_empty() {
            assert!(session.send(100) > 0, "the guest is held back for ever");
            if *session.mux.port().notified.lock() {
                session.serve();
            }
        }
        session.machine.ready.borrow_mut().clear();
    }
    session.settle();
    assert_eq!(session.screen.bytes, text.as_bytes());
    assert!(held > 3);
}

#[test]
fn leaving_lets_a_guest_go_on_that_was_held_back() {
    let mut session = Session::new(&["only"]);
    while session.mux.transmit(0, b'x') {}
    session.mux.port().input.lock().push_back(0x1d);
    session.serve();
    session.serve();
    assert_eq!(*session.machine.ready.borrow(), [Line::uart(0)]);
}

#[test]
fn a_watched_guest_never_waits_and_its_losses_are_counted() {
    let mut session = three();
    for number in 0..1000 {
        assert!(format!("line {number}\n").bytes().all(|byte| session.mux.transmit(0, byte)));
    }
    // The operator has room all the same: for keys and for answers.
    session.mux.port().input.lock().extend(b"info\rlist");
    session.serve();
    session.send(usize::MAX);
    assert!(session.screen.lines().contains(&"vms running:          3".to_owned()));
    assert!(session.shows("list", 4), "{:?}", session.tail(2));
    session.pass(1_000_000);
    let lines = session.screen.lines();
    let shown = lines.iter().filter(|line| line.starts_with("web| line")).count();
    let mark = lines.iter().find(|line| line.contains("dropped")).unwrap();
    assert_eq!(*mark, format!("web| [{} lines dropped]", 1000 - shown));
    assert_eq!(session.due, None);
}

#[test]
fn what_a_guest_does_not_take_waits_and_ctrl_bracket_gets_through() {
    let mut session = Session::new(&["only"]);
    session.machine.room.borrow_mut()[0] = 16;
    session.keys(&"x".repeat(400));
    assert_eq!(session.machine.typed.borrow()[0].len(), 16);
    // It takes more: what waited arrives, and no more is lost.
    session.machine.room.borrow_mut()[0] = 300;
    session.settle();
    assert_eq!(session.machine.typed.borrow()[0].len(), 316);
    session.machine.room.borrow_mut()[0] = 1000;
    session.settle();
    assert_eq!(session.machine.typed.borrow()[0].len(), 400);
    // It takes nothing any more.
    session.machine.room.borrow_mut()[0] = 0;
    session.keys(&"y".repeat(300)).keys("\x1d");
    assert!(!session.shows("", 0));
    session.pass(3_000_000);
    assert!(session.shows("", 0));
}

#[test]
fn output_that_waits_holds_input_back() {
    let mut session = three();
    for line in 0..500 {
        session.log(&format!("[    1.000000] polyvisor: line {line}"));
    }
    session.mux.port().input.lock().extend(b"log polyvisor 500\rlist\r");
    session.serve();
    assert!(!session.mux.port().input.lock().is_empty());
    session.settle();
    assert_eq!(session.tail(5)[0], "#  NAME  STATE    ARCH   VCPUS  MEMORY  WEIGHT  UPTIME  RESTARTS");
}

#[test]
fn console_ports_are_lines_of_their_own() {
    let mut session = Session::new(&["web", "db1", "db2"]);
    let line = Line { vm: 1, port: Some(1) };
    let port = session.mux.find(line).unwrap();
    session.output(port, "from the port\n");
    assert!(!session.tail(3).iter().any(|line| line.contains("from the port")), "not asked for");
    assert_eq!(session.command("log db1:1"), "from the port\n");
    assert_eq!(session.command("log db1:0"), "");
    session.keys("console db1:1\r").keys("hi");
    assert!(session.tail(2).iter().any(|line| line.contains("from the port")));
    assert_eq!(*session.machine.typed_into_ports.borrow(), [(line, b'h'), (line, b'i')]);
    assert_eq!(session.machine.typed.borrow()[1], b"");

    // The guest is held back on this line alone, and told when it may go on.
    while session.mux.transmit(port, b'x') {}
    assert!(session.mux.transmit(1, b'x'));
    session.settle();
    assert_eq!(*session.machine.ready.borrow(), [line]);

    session.keys("\x1d");
    let refused = "error: db1 has no console port 2: expected 0 to 1\n";
    assert_eq!(session.command("console db1:2"), refused);
}
