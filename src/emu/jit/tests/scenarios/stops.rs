//! Interrupts and the debugger, where code does nothing but run.

use core::sync::atomic::Ordering::SeqCst;

use polyvisor_cell_abi::riscv::{INSTRET, PC};
use polyvisor_cell_abi::{Requests, StopReason};

use super::super::board::Act;
use super::*;

/// How many interrupts end the program, and after how long they come.
const INTERRUPTS: u64 = 5;
const PERIOD: i32 = 300;

/// A program that `rest` makes do the same for ever, with a timer.
fn endless(rest: impl Fn(&mut Program)) -> Program {
    let mut program = start();
    let (handler, out) = (program.label(), program.label());
    program.li(T0, 1 << 63).word(csrrw(ZERO, 0x30a, T0));
    program.la(T0, handler).words(&[csrrw(ZERO, 0x305, T0), csrrw(ZERO, 0x14d, ZERO)]);
    program
        .li(T0, 0x20)
        .word(csrrw(ZERO, 0x304, T0))
        .li(A2, INTERRUPTS + 1)
        .li(A0, 0)
        .li(T0, 8)
        .word(csrrs(ZERO, 0x300, T0));
    rest(&mut program);
    program.bind(handler).word(addi(A2, A2, -1)).branch(EQ, A2, ZERO, out);
    program.words(&[csrrs(T1, 0xc01, ZERO), addi(T1, T1, PERIOD), csrrw(ZERO, 0x14d, T1), MRET]).bind(out);
    end(&mut program);
    program
}

#[test]
fn endless_loops_are_interrupted() {
    let loops: [fn(&mut Program); 8] = [
        |program| {
            let head = program.bound();
            program.jump(head);
        },
        |program| {
            let head = program.bound();
            program.word(addi(A0, A0, 1)).jump(head);
        },
        // Long, so that it is not unrolled.
        |program| {
            let head = program.bound();
            program.words(&[addi(A0, A0, 1); 60]).jump(head);
        },
        // Not from its head on.
        |program| {
            let (head, middle) = (program.label(), program.label());
            program.jump(middle).bind(head).word(addi(A0, A0, 1)).bind(middle);
            program.branch(NE, A0, ZERO, head).branch(EQ, A0, ZERO, head);
        },
        // Through a register.
        |program| {
            let head = program.label();
            program.la(S0, head).bind(head).words(&[addi(A0, A0, 1), jalr(ZERO, S0, 0)]);
        },
        // From page to page.
        |program| {
            let (head, other) = (program.label(), program.label());
            program.bind(head).word(addi(A0, A0, 1)).jump(other);
            program.skip_to(RAM + 0x1800);
            program.bind(other).jump(head);
        },
        // Forwards, through a function.
        |program| {
            let (head, function) = (program.label(), program.label());
            program.bind(head).jal(RA, function).jump(head).bind(function).words(&[addi(A0, A0, 1), RET]);
        },
        // Backwards within traces, and forwards from trace to trace.
        |program| {
            let [low, high] = [(); 2].map(|()| [program.label(), program.label()]);
            program.jump(high[0]);
            program.bind(low[0]).word(addi(A0, A0, 1)).branch(NE, A0, ZERO, high[1]).word(addi(A1, A1, 1));
            program.bind(low[1]).word(addi(A0, A0, 1)).branch(NE, A0, ZERO, high[0]).word(addi(A1, A1, 1));
            program.bind(high[0]).jump(low[0]).bind(high[1]).jump(low[1]);
        },
    ];
    for (index, body) in loops.into_iter().enumerate() {
        let program = endless(body);
        for lockstep in [false, true] {
            let board = board(&program);
            let jit = Jit::new(&board, Options { lockstep, ..Options::default() });
            let hart = jit.run(&board, 0);
            assert_eq!(x(&hart, A2), 0, "loop {index}");
            assert!(jit.counts().blocks > 0 && board.time.load(SeqCst) < 100_000, "loop {index}");
        }
    }
}

/// Counts in a0, four times in each round of five instructions.
fn counting() -> Program {
    let mut program = start();
    let head = program.bound();
    program.words(&[addi(A0, A0, 1); 4]).jump(head);
    program
}

/// That the registers are those of a state between two instructions.
fn check_exact(hart: &Hart<Place>) {
    let [pc, count] = [PC, INSTRET].map(|word| hart.registers()[word]);
    assert_eq!(pc, RAM + 4 * (count % 5));
    assert_eq!(x(hart, A0), count / 5 * 4 + (count % 5).min(4));
}

#[test]
fn a_breakpoint_in_hot_code_is_reached_and_not_passed() {
    for offset in [0, 8, 16] {
        let board = board(&counting());
        board.debugger.acts.lock().unwrap().push(Act::Clear);
        board.at(500, move |board| {
            board.debugger.set_breakpoint(RAM + offset);
            board.kick(0);
        });
        board.at(1000, move |board| {
            board.debugger.set_breakpoint(RAM + offset);
            board.kick(0);
        });
        let jit = Jit::new(&board, Options::default());
        let hart = jit.run(&board, 0);
        assert_eq!(*board.debugger.stops.lock().unwrap(), [StopReason::Breakpoint; 2]);
        assert_eq!(hart.registers()[PC], RAM + offset);
        check_exact(&hart);
        assert!(hart.registers()[INSTRET] > 10_000, "it was not hot");
    }
}

#[test]
fn hot_code_is_stopped_and_stepped() {
    let board = board(&counting());
    *board.debugger.acts.lock().unwrap() = alloc::vec![Act::Step; 7];
    board.at(500, |board| {
        board.debugger.requests.store(Requests::STOP, SeqCst);
        board.kick(0);
    });
    let hart = Jit::new(&board, Options::default()).run(&board, 0);
    let stops = board.debugger.stops.lock().unwrap();
    assert_eq!((stops[0], &stops[1..]), (StopReason::Asked, &[StopReason::Stepped; 7][..]));
    check_exact(&hart);
}
