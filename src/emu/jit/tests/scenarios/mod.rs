//! Programs that are hard on a JIT. Most end in the state that they end in in the interpreter.

mod changes;
mod devices;
mod faults;
mod float;
mod harts;
mod lockstep;
mod spaces;
mod stops;

use alloc::sync::Arc;

use super::board::{Board, END, Place, RAM, RAM_SIZE};
use super::machine::{Jit, Options, Saved, interpret};
use super::program::*;
use crate::riscv::Hart;

/// How often something is done that is to be translated.
const OFTEN: u64 = 200;

/// A program at the start of RAM.
const fn start() -> Program {
    Program::new(RAM)
}

/// Ends the machine.
fn end(program: &mut Program) {
    program.li(T0, END).word(sw(ZERO, T0, 0));
    let here = program.bound();
    program.jump(here);
}

fn board(program: &Program) -> Arc<Board> {
    let board = Board::new(1);
    board.load(RAM, &program.finish());
    board
}

/// A board that is made by `make` twice: what runs on one is translated, on the other interpreted. All that can be seen in the
/// end is the same.
fn compare(options: Options, make: impl Fn() -> Arc<Board>) -> (Hart<Place>, Arc<Board>, Jit) {
    let [one, other] = [make(), make()];
    let jit = Jit::new(&one, options);
    let (hart, interpreted) = (jit.run(&one, 0), interpret(&other, 0));
    let (registers, expected) = (hart.registers(), interpreted.registers());
    for word in 0..128 {
        assert_eq!(registers[word], expected[word], "word {word}");
    }
    let [memory, expected] = [&one, &other].map(|board| board.words(RAM..RAM + RAM_SIZE));
    if let Some(index) = memory.iter().zip(&expected).position(|(found, expected)| found != expected) {
        panic!("at {:#x}: {:#x}, not {:#x}", RAM + 8 * index as u64, memory[index], expected[index]);
    }
    assert_eq!(*one.written.lock().unwrap(), *other.written.lock().unwrap());
    assert!(jit.report.mismatches.lock().unwrap().is_empty());
    assert!(jit.counts().blocks > 0, "nothing was translated");
    (hart, one, jit)
}

/// [`compare`], as code is translated by default, and in lock-step.
fn check(make: impl Fn() -> Arc<Board>) -> (Hart<Place>, Arc<Board>, Jit) {
    compare(Options { lockstep: true, ..Options::default() }, &make);
    compare(Options::default(), make)
}

fn x(hart: &Hart<Place>, register: X) -> u64 {
    hart.registers()[polyvisor_cell_abi::riscv::X + register as usize]
}

#[test]
fn a_loop_is_translated_and_stays_there() {
    let mut program = start();
    program.li(A0, 0).li(A1, 1000);
    let head = program.bound();
    program.words(&[add(A0, A0, A1), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head);
    end(&mut program);
    let (hart, _, jit) = check(|| board(&program));
    assert_eq!(x(&hart, A0), 500_500);
    let entered = jit.report.entered.load(core::sync::atomic::Ordering::SeqCst);
    assert!(entered < 10, "entered {entered} times");
}

#[test]
fn a_function_on_another_page_is_called_and_returns_without_the_runtime() {
    let mut program = start();
    let function = program.label();
    program.li(A0, 0).li(A1, 2000);
    let head = program.bound();
    program.jal(RA, function).word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.skip_to(RAM + 0x3000);
    program.bind(function).words(&[add(A0, A0, A1), RET]);
    let (hart, _, jit) = check(|| board(&program));
    assert_eq!(x(&hart, A0), 2001 * 1000);
    let entered = jit.report.entered.load(core::sync::atomic::Ordering::SeqCst);
    assert!(entered < 20, "entered {entered} times");
}

/// An instruction lies half on one page, half on the next.
#[test]
fn a_loop_crosses_pages_in_the_middle_of_an_instruction() {
    const C_NOP: u16 = 1;
    for at in [0xff6, 0xffa, 0xffc, 0xffe] {
        let mut program = start();
        program.li(A0, 0).li(A1, OFTEN);
        let head = program.label();
        program.jump(head).skip_to(RAM + at);
        program.bind(head).half(C_NOP);
        program.words(&[add(A0, A0, A1), addi(A1, A1, -1)]).half(C_NOP).branch(NE, A1, ZERO, head);
        end(&mut program);
        let (hart, ..) = check(|| board(&program));
        assert_eq!(x(&hart, A0), OFTEN * (OFTEN + 1) / 2);
    }
}
