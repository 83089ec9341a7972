//! Blocks: how they are found, linked and forgotten; exceptions, attention and single steps.

use std::vec::Vec;

use super::toy::{Function, HANDLER, INSTRET, PC, RAM, ToyGuest, call, constant};
use crate::interp::{Attention, Exception, Exits, Flush, Guest, HOT, Interpreter, Outcome, Tlb};
use crate::ir::{BinaryOp, Condition, Inst, Order, Terminator, Var, Width};
use crate::memory::Size;

fn add(var: u8, by: u64) -> Inst {
    let var = Var(var);
    Inst::Binary { op: BinaryOp::Add, width: Width::W64, dst: var, a: var.into(), b: constant(by) }
}

fn set(var: u8, value: u64) -> Inst {
    Inst::Constant { dst: Var(var), value }
}

fn jump(target: u64) -> Option<Terminator> {
    Some(Terminator::Jump { target })
}

fn until(var: u8, end: u64, taken: u64, otherwise: u64) -> Option<Terminator> {
    let (a, b) = (Var(var).into(), constant(end));
    Some(Terminator::Branch { condition: Condition::NotEqual, a, b, taken, otherwise })
}

fn load(dst: u8, base: u64) -> Inst {
    Inst::Load {
        size: Size::Double,
        signed: false,
        order: Order::Relaxed,
        dst: Var(dst),
        base: constant(base),
        offset: 0,
    }
}

const FAR: u64 = RAM + 0x5000;

fn leave() -> Option<Terminator> {
    Some(Terminator::Leave)
}

fn machine() -> (ToyGuest, Interpreter<ToyGuest>) {
    (ToyGuest::new(), Interpreter::new(1 << 20))
}

/// A loop of two linked blocks and one on another page: 3 + 4 instructions per round.
fn looping(guest: &mut ToyGuest, rounds: u64) {
    guest.put(RAM, &[add(1, 1)], None);
    guest.put(RAM + 4, &[add(2, 2)], None);
    guest.put(RAM + 8, &[], jump(RAM + 0x20));
    guest.put(RAM + 0x20, &[add(3, 3)], None);
    guest.put(RAM + 0x24, &[], jump(FAR));
    guest.put(FAR, &[set(128, RAM + 0x40)], Some(Terminator::Indirect { target: Var(9) }));
    guest.put(RAM + 0x40, &[], until(1, rounds, RAM, RAM + 0x80));
    guest.vars[9] = RAM + 0x40;
}

#[test]
fn a_loop_is_lifted_once_and_counted_exactly() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 1000);
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.vars[1..4], [1000, 2000, 3000]);
    // The last one is the stop.
    assert_eq!(guest.instret(), 7 * 1000 + 1);
    assert_eq!(guest.lifted, [RAM, RAM + 0x20, FAR, RAM + 0x40, RAM + 0x80]);
    assert_eq!(guest.pc(), RAM + 0x80);
    assert!(guest.translated < 10);
}

#[test]
fn attention_is_given_between_linked_blocks() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 3);
    // The first round links; then each block is asked after.
    guest.run(&mut interpreter, RAM);
    guest.attended.clear();
    guest.vars[1] = 0;
    guest.vars[usize::from(INSTRET.0)] = 0;
    guest.attention = std::vec![Attention::Go; 12];
    guest.run(&mut interpreter, RAM);
    let round = [(0, 0), (0x20, 3), (0x5000, 5), (0x40, 6)].map(|(pc, count)| (RAM + pc, count));
    let rounds: Vec<_> = (0..3).flat_map(|n| round.map(|(pc, count)| (pc, count + 7 * n))).collect();
    assert_eq!(guest.attended[..12], rounds);
    assert_eq!(guest.vars[1], 3);
}

#[test]
fn stepping_executes_one_instruction_at_a_time() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 2);
    guest.put(RAM + 0x80, &[load(5, RAM)], None);
    for cached in [false, true] {
        guest.vars[1] = 0;
        if cached {
            guest.run(&mut interpreter, RAM);
        }
        guest.vars[1] = 0;
        guest.vars[usize::from(INSTRET.0)] = 0;
        guest.attended.clear();
        guest.attention = std::vec![Attention::Step; 8];
        guest.run(&mut interpreter, RAM);
        let stops = [0, 4, 8, 0x20, 0x24, 0x5000, 0x40, 0, 4].map(|pc| RAM + pc);
        let stops: Vec<_> = stops.into_iter().zip(0..).collect();
        assert_eq!(guest.attended, stops, "cached: {cached}");
    }
}

#[test]
fn a_step_into_an_exception_stops_at_the_handler() {
    let (mut guest, mut interpreter) = machine();
    guest.pages.insert(0x5000, None);
    guest.put(RAM, &[load(5, 0x5000)], None);
    guest.attention = std::vec![Attention::Step];
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.attended, [(RAM, 0), (HANDLER, 0)]);
}

#[test]
fn exceptions_are_precise() {
    let (mut guest, mut interpreter) = machine();
    guest.pages.insert(0x5000, None);
    guest.put(RAM, &[add(1, 1)], None);
    guest.put(RAM + 4, &[call(Function::Note, 1, 0)], None);
    guest.put(RAM + 8, &[], None);
    guest.put(RAM + 12, &[add(2, 1), call(Function::Add, 2, 0), load(3, 0x5000), add(3, 1)], None);
    guest.put(RAM + 16, &[add(4, 1)], None);
    guest.vars[3] = 7;
    guest.run(&mut interpreter, RAM);
    let fault = Exception { cause: 11, value: 0x5000 };
    assert_eq!(guest.raised, [(fault, RAM + 12, 3)]);
    assert_eq!(guest.notes, [(1, RAM + 4, 1)]);
    assert_eq!(guest.vars[1..5], [1, 1, 7, 0]);
    // Only the handler's stop counts besides.
    assert_eq!(guest.instret(), 4);

    guest.put(RAM + 0x40, &[add(1, 1)], None);
    guest.put(RAM + 0x44, &[call(Function::Raise, 99, 5)], leave());
    guest.run(&mut interpreter, RAM + 0x40);
    assert_eq!(guest.raised[1], (Exception { cause: 99, value: 5 }, RAM + 0x44, 5));
}

#[test]
fn a_call_in_a_block_is_counted_once() {
    let (mut guest, mut interpreter) = machine();
    for (at, insts) in [[add(1, 1)], [call(Function::Note, 1, 0)], [add(1, 1)], [call(Function::Note, 2, 0)]]
        .iter()
        .enumerate()
    {
        guest.put(RAM + 4 * at as u64, insts, None);
    }
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.notes, [(1, RAM + 4, 1), (2, RAM + 12, 3)]);
    assert_eq!(guest.instret(), 5);
}

#[test]
fn a_fetch_that_faults_raises() {
    let (mut guest, mut interpreter) = machine();
    guest.pages.insert(FAR, None);
    guest.put(RAM, &[], jump(FAR));
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.raised, [(Exception { cause: 10, value: FAR }, FAR, 1)]);
    // No RAM there.
    guest.put(RAM + 0x200, &[], jump(0x6000));
    guest.run(&mut interpreter, RAM + 0x200);
    assert_eq!(guest.raised[1].0, Exception { cause: 20, value: 0x6000 });
}

#[test]
fn changed_code_is_seen_after_a_fence_and_same_code_is_kept() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 10);
    guest.run(&mut interpreter, RAM);
    guest.lifted.clear();

    // A fence alone has blocks compared, not lifted.
    guest.epoch += 1;
    guest.vars[1] = 0;
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.lifted, []);

    let faster = guest.instruction(&[add(1, 2)], None);
    guest.put_number(RAM, faster);
    guest.vars[1] = 0;
    guest.run(&mut interpreter, RAM);
    assert_eq!((guest.lifted.len(), guest.vars[1]), (0, 10), "no fence, no change");
    guest.epoch += 1;
    guest.vars[1] = 0;
    guest.vars[2] = 0;
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.lifted, [RAM]);
    assert_eq!(guest.vars[1..3], [10, 10]);
}

#[test]
fn code_that_fences_itself_sees_what_it_has_stored() {
    let (mut guest, mut interpreter) = machine();
    let other = guest.instruction(&[add(1, 0x100)], None);
    guest.put(RAM, &[add(1, 1)], None);
    let store = Inst::Store {
        size: Size::Half,
        order: Order::Relaxed,
        base: constant(RAM),
        offset: 0,
        value: constant(other.into()),
    };
    guest.put(RAM + 4, &[store], None);
    guest.put(RAM + 8, &[call(Function::FenceCode, 0, 0)], Some(Terminator::Resume { target: RAM + 12 }));
    guest.put(RAM + 12, &[add(2, 1)], until(2, 2, RAM, RAM + 0x40));
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.vars[1], 0x101);
}

#[test]
fn a_flushed_page_is_translated_again() {
    let (mut guest, mut interpreter) = machine();
    // Page 5 holds another program than page 6; the guest's FAR shows one, then the other.
    guest.put(FAR, &[add(1, 1)], jump(RAM + 0x10));
    guest.put(FAR + 0x1000, &[add(1, 0x100)], jump(RAM + 0x10));
    guest.put(RAM, &[], jump(FAR));
    guest.put(RAM + 0x10, &[add(2, 1)], until(2, 2, RAM, RAM + 0x40));
    for (function, expected) in [(Function::FlushPage, 0x202), (Function::FlushAll, 0x202)] {
        guest.map(FAR, FAR);
        guest.flush = Flush::All;
        guest.vars[1..3].fill(0);
        guest.run(&mut interpreter, RAM);
        assert_eq!(guest.vars[1], 2);
        guest.map(FAR, FAR + 0x1000);
        guest.put(RAM + 0x80, &[call(function, FAR, 0)], Some(Terminator::Resume { target: RAM }));
        guest.epoch += 1;
        guest.vars[2] = 0;
        guest.run(&mut interpreter, RAM + 0x80);
        assert_eq!(guest.vars[1], expected, "{function:?}");
    }
}

#[test]
fn code_of_another_address_space_is_translated_again() {
    let (mut guest, mut interpreter) = machine();
    guest.put(FAR, &[add(1, 1)], jump(RAM + 0x40));
    guest.put(FAR + 0x1000, &[add(1, 0x100)], jump(RAM + 0x40));
    guest.put(RAM, &[], jump(FAR));
    for space in [0, 1, 0, 1] {
        guest.space = space;
        guest.map(FAR, FAR + 0x1000 * space);
        guest.run(&mut interpreter, RAM);
    }
    assert_eq!(guest.vars[1], 0x202);
}

#[test]
fn contexts_have_blocks_of_their_own() {
    let (mut guest, mut interpreter) = machine();
    guest.put(RAM, &[add(1, 1)], jump(FAR));
    guest.put(FAR, &[add(1, 1)], jump(RAM + 0x40));
    for context in [0, 1, 0, 1] {
        guest.context = context;
        guest.run(&mut interpreter, RAM);
    }
    assert_eq!(guest.lifted, [RAM, FAR, RAM + 0x40].repeat(2));
    assert_eq!(guest.vars[1], 8);
}

#[test]
fn an_instruction_on_two_pages_follows_both() {
    for respects_pages in [true, false] {
        let (mut guest, mut interpreter) = machine();
        guest.respects_pages = respects_pages;
        let at = FAR + 0xffe;
        // Its second half comes from page 6 or page 8, which make different numbers of it.
        let (one, other) = (3, 0x1_0003);
        guest.instructions.resize(0x1_0004, guest.instructions[0].clone());
        guest.instructions[one].insts = std::vec![add(1, 1)];
        guest.instructions[one].end = jump(RAM + 0x10);
        guest.instructions[other].insts = std::vec![add(1, 0x100)];
        guest.instructions[other].end = jump(RAM + 0x10);
        guest.put_number(at, one as u32);
        guest.machine_write(RAM + 0x8000, 1);
        // It is entered by a jump that could be linked.
        guest.put(RAM, &[], jump(FAR + 0xf00));
        guest.put(FAR + 0xf00, &[], jump(at - 4));
        guest.put(at - 4, &[add(3, 1)], None);
        guest.put(RAM + 0x10, &[add(2, 1)], until(2, 3, RAM, RAM + 0x40));
        guest.run(&mut interpreter, RAM);
        assert_eq!(guest.vars[1..4], [3, 3, 3]);

        guest.map(FAR + 0x1000, RAM + 0x8000);
        guest.flush = Flush::page(FAR + 0x1000, None);
        guest.vars[2] = 0;
        guest.run(&mut interpreter, RAM);
        assert_eq!(guest.vars[1..4], [0x303, 3, 6]);

        // Back: the first block is still there.
        guest.pages.clear();
        guest.flush = Flush::page(FAR + 0x1000, None);
        guest.vars[2] = 0;
        let lifted = guest.lifted.len();
        guest.run(&mut interpreter, RAM);
        assert_eq!((guest.vars[1], guest.lifted.len()), (0x306, lifted));

        // Not mapped: the instruction before is executed, this one raises.
        guest.pages.insert(FAR + 0x1000, None);
        guest.flush = Flush::page(FAR + 0x1000, None);
        guest.run(&mut interpreter, RAM);
        assert_eq!(guest.vars[3], 10);
        assert_eq!(guest.raised.len(), 1);
        assert_eq!(guest.raised[0].0, Exception { cause: 10, value: FAR + 0x1000 });
        assert_eq!(guest.raised[0].1, at);
    }
}

#[test]
fn pages_that_cannot_be_remembered_are_translated_each_time() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 5);
    guest.whole_pages = false;
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.vars[1..4], [5, 10, 15]);
    assert_eq!(guest.lifted.len(), 7 * 5 + 1);
}

#[test]
fn blocks_are_left_to_others_when_they_are_hot() {
    let (mut guest, _) = machine();
    let mut interpreter = Interpreter::with(1 << 20, Tlb::new(ToyGuest::VIEWS), Exits::Counted);
    looping(&mut guest, u64::from(2 * HOT));
    let mut outcome = Outcome::Left;
    while outcome != Outcome::Hot {
        interpreter.synchronise(&mut guest);
        outcome = interpreter.run_cold(&mut guest, outcome);
    }
    // Nothing of the block has been executed for once more.
    assert_eq!((guest.pc(), guest.vars[1], guest.instret()), (RAM, HOT.into(), 7 * u64::from(HOT)));
    let before = guest.instret();
    assert_eq!((interpreter.run_cold(&mut guest, Outcome::Left), guest.instret()), (Outcome::Hot, before));
    // It is, if need be; and then the next one is hot.
    assert_eq!((interpreter.run_hot(&mut guest), guest.pc()), (Outcome::Hot, RAM + 0x20));
    // The same at another address, or made anew, is cold.
    guest.map(FAR, RAM);
    let mut run = |guest: &mut ToyGuest, pc| {
        guest.vars[usize::from(PC.0)] = pc;
        let changes = interpreter.synchronise(guest);
        (changes.code, interpreter.run_cold(guest, Outcome::Left) == Outcome::Hot && guest.pc() == pc)
    };
    guest.flush = Flush::page(FAR, None);
    assert_eq!(run(&mut guest, FAR), (false, false));
    guest.epoch += 1;
    assert_eq!(run(&mut guest, RAM), (true, true));
    guest.put(RAM, &[add(1, 5)], jump(RAM + 0x4000));
    guest.epoch += 1;
    assert_eq!(run(&mut guest, RAM), (true, false));
    // What cannot be fetched, or not be remembered, is never hot.
    guest.pages.insert(RAM + 0x3000, None);
    assert_eq!(run(&mut guest, RAM + 0x3000), (false, false));
    assert_eq!(guest.raised.len(), 1);
    guest.whole_pages = false;
    guest.flush = Flush::All;
    (0..=HOT).for_each(|_| assert!(!run(&mut guest, RAM + 0x20).1));
}

#[test]
fn an_instruction_can_be_executed_alone() {
    let (mut guest, mut interpreter) = machine();
    looping(&mut guest, 1);
    guest.pages.insert(0x5000, None);
    guest.put(RAM + 4, &[load(5, 0x5000)], None);
    interpreter.synchronise(&mut guest);
    interpreter.step_once(&mut guest);
    assert_eq!((guest.pc(), guest.instret(), guest.vars[1]), (RAM + 4, 1, 1));
    interpreter.step_once(&mut guest);
    assert_eq!((guest.pc(), guest.raised.len()), (HANDLER, 1));
}

#[test]
fn a_full_cache_starts_afresh() {
    let mut guest = ToyGuest::new();
    let mut interpreter = Interpreter::new(0);
    // More blocks than fit: each is one instruction, in all of memory, and jumps to the next; some links, some far jumps.
    let add = add(1, 1);
    let blocks = 8000;
    for at in 0..blocks {
        let address = RAM + 0x1000 + 8 * at;
        let end = if at + 1 == blocks { until(1, 3 * blocks, RAM + 0x1000, RAM) } else { jump(address + 8) };
        guest.put(address, &[add], end);
    }
    guest.run(&mut interpreter, RAM + 0x1000);
    assert_eq!(guest.vars[1], 3 * blocks);
    assert_eq!(guest.instret(), 3 * blocks + 1);
    assert_eq!(guest.lifted.len() as u64, 3 * blocks + 1);
}

#[test]
fn a_cache_that_started_afresh_remembers_no_jumps() {
    let mut guest = ToyGuest::new();
    let mut interpreter = Interpreter::new(0);
    // Each block goes to the next one through a hot one, which is remembered by its address.
    let (hot, first, blocks) = (RAM + 0x3_0002, RAM + 0x1000, 8000);
    for at in 0..blocks {
        guest.put(first + 8 * at, &[add(1, 1), add(9, 8)], jump(hot));
    }
    guest.put(hot, &[add(2, 1)], Some(Terminator::Indirect { target: Var(9) }));
    guest.vars[9] = first;
    guest.run(&mut interpreter, first);
    assert_eq!(guest.vars[1..3], [blocks, blocks]);
    assert!(guest.lifted.len() as u64 > blocks + 2, "it was never full");
    assert!((guest.lifted.len() as u64) < blocks + 100, "the hot block is lifted too often");
}

#[test]
fn the_program_counter_is_exact_in_calls() {
    let (mut guest, mut interpreter) = machine();
    guest.put(RAM, &[], None);
    guest.put(RAM + 4, &[call(Function::Note, 3, 0)], None);
    guest.put(RAM + 8, &[], jump(RAM + 0x20));
    guest.run(&mut interpreter, RAM);
    assert_eq!(guest.notes, [(3, RAM + 4, 1)]);
    assert_eq!(guest.vars[usize::from(PC.0)], RAM + 0x20);
}
