//! Devices, and where there are none.

use super::super::board::UART;
use super::*;

#[test]
fn what_is_written_to_a_device_arrives_once_and_in_order() {
    let mut program = start();
    program.li(A1, OFTEN).li(S0, UART).li(A0, 0);
    let head = program.bound();
    program.words(&[sb(A1, S0, 0), load(4, T1, S0, 0), add(A0, A0, T1), addi(A1, A1, -1)]);
    program.branch(NE, A1, ZERO, head);
    end(&mut program);
    let (hart, board, jit) = check(|| board(&program));
    let expected: alloc::vec::Vec<u8> = (1..=OFTEN).rev().map(|number| number as u8).collect();
    assert_eq!((&*board.written.lock().unwrap(), x(&hart, A0)), (&expected, OFTEN * 0x55));
    // The device's page is mapped, be it by the interpreter: its accesses leave translated code no more.
    let resumed = jit.report.resumed.load(core::sync::atomic::Ordering::SeqCst);
    assert!(resumed < 5, "resumed {resumed} times");
}

#[test]
fn accesses_to_nothing_raise_exceptions_in_hot_code() {
    const NOTHING: u64 = 0x1800_0000;
    let mut program = start();
    let handler = program.label();
    program.la(T0, handler).word(csrrw(ZERO, 0x305, T0)).li(A0, 0).li(A1, OFTEN).li(S0, NOTHING).li(A2, 0);
    let head = program.bound();
    program.words(&[add(A0, A0, A1), ld(A0, S0, 8), add(A0, A0, A1), sd(A0, S0, 16), add(A0, A0, A1)]);
    program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.bind(handler);
    // The sum of causes and addresses; on behind the instruction.
    program.words(&[csrrs(T1, 0x342, ZERO), add(A2, A2, T1), csrrs(T1, 0x343, ZERO), add(A2, A2, T1)]);
    program.words(&[csrrs(T1, 0x341, ZERO), addi(T1, T1, 4), csrrw(ZERO, 0x341, T1), MRET]);
    let (hart, ..) = check(|| board(&program));
    assert_eq!(x(&hart, A0), 3 * OFTEN * (OFTEN + 1) / 2);
    assert_eq!(x(&hart, A2), OFTEN * (5 + 7 + 2 * NOTHING + 24));
}

/// The CLINT is not the platform's, but the hart's own: the runtime must not map it.
#[test]
fn a_hart_interrupts_itself_by_its_clint() {
    const MSIP: u64 = 0x200_0000;
    let mut program = start();
    let handler = program.label();
    program.la(T0, handler).word(csrrw(ZERO, 0x305, T0)).li(A0, 0).li(A1, OFTEN).li(S0, MSIP);
    program.li(T1, 8).words(&[csrrw(ZERO, 0x304, T1), csrrs(ZERO, 0x300, T1)]);
    let head = program.bound();
    // The interrupt is pending at the next look at the latest: before the branch is taken back.
    program.li(T1, 1).words(&[sw(T1, S0, 0), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.bind(handler).words(&[addi(A0, A0, 1), sw(ZERO, S0, 0), MRET]);
    let board = board(&program);
    let hart = Jit::new(&board, Options::default()).run(&board, 0);
    assert_eq!(x(&hart, A0), OFTEN);
}
