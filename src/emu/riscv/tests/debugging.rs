//! Stops for the debugger.

use polyvisor_cell_abi::Requests;

use super::*;
use crate::interp::{Attention, Code, Interpreter};
use crate::ir::{Block, Inst, Terminator};
use crate::riscv::words::{INSTRET, MENVCFG, MIE, MIP, MODE, MSTATUS, SATP, X};

const NOP: u32 = 0x13;

fn lift(hart: &mut TestHart, pc: u64) -> Block {
    let mut fetch = |_: &mut TestHart, address: u64| Ok((NOP >> (8 * (address % 4))) as u16);
    let mut block = Block::default();
    hart.lift(pc, 8, &mut block, &mut Code::new(&mut fetch)).unwrap();
    block
}

#[test]
fn a_hart_stops_when_asked_and_steps() {
    let mut hart = hart(Mode::Machine);
    assert_eq!(hart.attend(), Attention::Go);
    hart.surroundings().world.requests.store(Requests::STOP, Ordering::Relaxed);
    hart.surroundings().after_stop.set(Requests::STEP);
    assert_eq!(hart.attend(), Attention::Step);
    hart.surroundings().after_stop.set(0);
    assert_eq!(hart.attend(), Attention::Go);
    assert_eq!(hart.attend(), Attention::Go);
    assert_eq!(*hart.surroundings().world.stops.lock().unwrap(), [StopReason::Asked, StopReason::Stepped]);
}

#[test]
fn a_step_of_wfi_does_not_wait() {
    let mut hart = hart(Mode::Machine);
    hart.surroundings().world.requests.store(Requests::STEP, Ordering::Relaxed);
    assert_eq!(hart.attend(), Attention::Step);
    hart.execute(Call::Wfi).unwrap();
    hart.surroundings().after_stop.set(Requests::STEP);
    assert_eq!(hart.attend(), Attention::Step);
    assert_eq!(
        (hart.surroundings().slept.get(), hart.surroundings().world.stops.lock().unwrap().len()),
        (0, 1)
    );
}

#[test]
fn breakpoints_start_blocks_of_their_own_and_are_not_passed() {
    let mut hart = hart(Mode::Machine);
    hart.attend();
    let before = hart.context();
    assert_eq!(lift(&mut hart, RAM).starts.len(), 8);
    hart.surroundings().world.breakpoints.lock().unwrap().insert(RAM + 8);
    hart.surroundings().world.generation.store(1, Ordering::Relaxed);
    hart.attend();
    assert_ne!(hart.context(), before, "blocks from before are not used");
    assert_eq!(Context::from_bits(hart.context()), Context::from_bits(before));
    assert_eq!(lift(&mut hart, RAM).starts.len(), 1);
    let block = lift(&mut hart, RAM + 8);
    let [Inst::Call { function, .. }] = block.insts[..] else { panic!("{block:?}") };
    assert_eq!(block.end, Terminator::Leave);
    hart.words[PC] = RAM + 8;
    hart.call(function, 0, 0).unwrap();
    assert!(hart.wants_attention());
    assert_eq!(hart.attend(), Attention::Go);
    assert_eq!(*hart.surroundings().world.stops.lock().unwrap(), [StopReason::Breakpoint]);
    assert!(lift(&mut hart, RAM + 8).starts.is_empty());
}

#[test]
fn a_stop_that_is_asked_for_again_comes_before_the_next_instruction() {
    let hart = count(3, |surroundings| {
        surroundings.world.requests.store(Requests::STOP, Ordering::Relaxed);
        surroundings.after_stop.set(Requests::STOP);
    });
    assert_eq!(*hart.surroundings().world.stops.lock().unwrap(), [StopReason::Asked; 3]);
    assert_eq!((hart.pc(), hart.words[INSTRET]), (RAM, 0));
}

#[test]
fn a_hart_that_is_off_stays_where_it_is_when_it_steps() {
    let mut harts = machine(2, Mode::Supervisor);
    let mut hart = harts.remove(1);
    hart.surroundings().world.requests.store(Requests::STEP, Ordering::Relaxed);
    hart.surroundings().patience.set(1);
    let before = hart.pc();
    assert_eq!(hart.attend(), Attention::Return);
    assert_eq!(*hart.surroundings().world.stops.lock().unwrap(), [StopReason::Stepped]);
    assert_eq!((hart.pc(), hart.surroundings().slept.get()), (before, 0));
}

#[test]
fn registers_are_legal_after_a_stop() {
    let mut hart = hart(Mode::Machine);
    hart.words[X] = 7;
    hart.words[MODE] = 2;
    hart.words[MSTATUS] = u64::MAX;
    hart.words[MIE] = u64::MAX;
    hart.words[MIP] = u64::MAX;
    hart.words[SATP] = u64::MAX;
    hart.words[MENVCFG] = 0x20;
    hart.surroundings().world.requests.store(Requests::STOP, Ordering::Relaxed);
    hart.attend();
    assert_eq!((hart.words[X], hart.words[MODE], hart.words[MSTATUS]), (0, 0, 0x8000_000a_007e_79aa));
    assert_eq!((hart.words[MIE], hart.words[MIP], hart.words[SATP], hart.words[MENVCFG]), (0xaaa, 0, 0, 0));
}

/// Counts in x5, four times in each round of five instructions.
const COUNT: [u32; 5] = [0x0012_8293, 0x0012_8293, 0x0012_8293, 0x0012_8293, 0xff1f_f06f];

/// Executes [`COUNT`] until the debugger has been called `stops` times.
fn count(stops: usize, prepare: impl FnOnce(&Surroundings)) -> TestHart {
    let mut hart = hart(Mode::Machine);
    for (address, word) in (RAM..).step_by(4).zip(COUNT) {
        hart.surroundings().ram().write(address, word).unwrap();
    }
    hart.surroundings().patience.set(stops);
    prepare(hart.surroundings());
    Interpreter::new(1 << 20).run(&mut hart);
    hart
}

#[test]
fn a_program_stops_at_a_breakpoint_however_often_it_is_let_go() {
    let hart = count(3, |surroundings| {
        surroundings.world.breakpoints.lock().unwrap().insert(RAM + 8);
        surroundings.world.generation.store(1, Ordering::Relaxed);
    });
    assert_eq!(*hart.surroundings().world.stops.lock().unwrap(), [StopReason::Breakpoint; 3]);
    assert_eq!((hart.pc(), hart.words[X + 5], hart.words[INSTRET]), (RAM + 8, 2, 2));
}

#[test]
fn a_program_is_stepped_instruction_by_instruction() {
    let hart = count(8, |surroundings| {
        surroundings.world.requests.store(Requests::STOP, Ordering::Relaxed);
        surroundings.after_stop.set(Requests::STEP);
    });
    let stops = hart.surroundings().world.stops.lock().unwrap().clone();
    assert_eq!((stops[0], &stops[1..]), (StopReason::Asked, &[StopReason::Stepped; 7][..]));
    assert_eq!((hart.pc(), hart.words[X + 5], hart.words[INSTRET]), (RAM + 8, 6, 7));
}
