//! What the optimiser makes of small blocks. That it changes no meaning, the interpreter's random blocks show.

use std::string::{String, ToString};
use std::vec::Vec;

use super::Optimiser;
use crate::ir::{BinaryOp, Block, Builder, Condition, Terminator, UnaryOp, Var, Vars, Width};
use crate::memory::Size;

const X1: Var = Var(1);
const X2: Var = Var(2);
const X3: Var = Var(3);

fn lines(build: impl FnOnce(&mut Builder<'_>) -> Terminator) -> Vec<String> {
    let mut block = Block::default();
    let mut builder = Builder::new(&mut block, 0x1000);
    builder.instruction(4);
    let end = build(&mut builder);
    builder.finish(end);
    Optimiser::new(0..0, Vars::NONE).optimise(&mut block);
    assert!(block.starts.iter().all(|start| usize::from(start.inst) <= block.insts.len()));
    block.insts.iter().map(ToString::to_string).chain([block.end.to_string()]).collect()
}

#[test]
fn an_address_in_two_instructions_is_a_constant() {
    let block = lines(|block| {
        block.set(X1, 0x5000_0000);
        block.instruction(4);
        block.binary(BinaryOp::Add, Width::W64, X1, X1, -8);
        block.instruction(4);
        block.load(Size::Double, false, X2, X1, 4);
        Terminator::Resume { target: 0 }
    });
    assert_eq!(block, ["g1 = move 0x4ffffff8", "g2 = load.u64 [0x4ffffff8 + 4]", "resume 0x0"]);
}

#[test]
fn a_jump_to_a_constant_is_direct() {
    let block = lines(|block| {
        block.set(X1, 0x5000);
        block.instruction(4);
        let target = block.temporary();
        block.binary(BinaryOp::Add, Width::W64, target, X1, 0x11);
        block.binary(BinaryOp::And, Width::W64, target, target, !1);
        block.set(X1, 0x1008);
        Terminator::Indirect { target }
    });
    assert_eq!(block, ["g1 = move 0x1008", "jump 0x5010"]);
}

#[test]
fn copies_are_looked_through_until_either_changes() {
    let block = lines(|block| {
        block.set(X2, X1);
        block.binary(BinaryOp::Add, Width::W64, X3, X2, X2);
        block.binary(BinaryOp::Add, Width::W64, X1, X1, 1);
        block.binary(BinaryOp::Xor, Width::W64, X3, X3, X2);
        Terminator::Leave
    });
    assert_eq!(block, ["g2 = move g1", "g3 = add g1, g1", "g1 = add g1, 1", "g3 = xor g3, g2", "leave"]);
}

#[test]
fn what_an_exception_or_a_call_may_show_stays() {
    for call in [false, true] {
        let block = lines(|block| {
            let t0 = block.temporary();
            block.set(t0, 5);
            block.set(X1, 5);
            if call {
                block.call(1, X3, 0, 0);
            } else {
                block.load(Size::Byte, false, X3, X2, 0);
            }
            block.set(X1, 6);
            block.set(X1, 7);
            Terminator::Leave
        });
        let access = if call { "g3 = call 1 0, 0" } else { "g3 = load.u8 [g2]" };
        assert_eq!(block, ["g1 = move 5", access, "g1 = move 7", "leave"]);
    }
}

#[test]
fn behind_a_call_nothing_is_known() {
    let block = lines(|block| {
        let t0 = block.temporary();
        block.set(t0, 5);
        block.set(X1, 6);
        block.call(1, X3, 0, 0);
        block.binary(BinaryOp::Add, Width::W64, X2, X1, t0);
        Terminator::Leave
    });
    assert_eq!(block, ["t0 = move 5", "g1 = move 6", "g3 = call 1 0, 0", "g2 = add g1, t0", "leave"]);
}

#[test]
fn what_decides_is_decided() {
    let block = lines(|block| {
        block.set(X1, 1);
        block.select(X2, X1, X3, 0);
        block.compare(Condition::Less, X3, X1, 2);
        block.unary(UnaryOp::Move, Width::S32, X3, X3);
        Terminator::Branch {
            condition: Condition::Equal,
            a: X3.into(),
            b: X1.into(),
            taken: 0x10,
            otherwise: 0x20,
        }
    });
    assert_eq!(block, ["g1 = move 1", "g2 = move g3", "g3 = move 1", "jump 0x10"]);
}

#[test]
fn nothing_is_nothing() {
    let block = lines(|block| {
        block.binary(BinaryOp::Add, Width::W64, X1, X1, 0);
        block.binary(BinaryOp::Or, Width::S32, X2, 0, X2);
        block.binary(BinaryOp::And, Width::W64, X3, X1, 0);
        Terminator::Leave
    });
    assert_eq!(block, ["g2 = move.s32 g2", "g3 = move 0", "leave"]);
}

#[test]
fn copies_between_registers_of_different_kinds_stay_what_they_are() {
    let mut block = Block::default();
    let mut builder = Builder::new(&mut block, 0x1000);
    builder.instruction(4);
    builder.set(X2, X1);
    builder.binary(BinaryOp::Add, Width::W64, X3, X2, 1);
    builder.finish(Terminator::Indirect { target: X2 });
    Optimiser::new(1..2, Vars::NONE).optimise(&mut block);
    assert_eq!(block.insts.iter().map(ToString::to_string).nth(1).unwrap(), "g3 = add g2, 1");
    assert_eq!(block.end, Terminator::Indirect { target: X2 });
}
