//! Where blocks end, jumps and branches, and what is true of every block.

use proptest::prelude::*;

use super::machine::Machine;
use super::*;
use crate::ir::Inst;

const NOP: u32 = 0x0000_0013;
const C_NOP: u32 = 0x0001;

#[test]
fn a_block_goes_on_until_the_code_does_not() {
    // c.nop; nop; then the fetch fails, which is the next block's matter.
    let block = lift(ALL, &[C_NOP, NOP]);
    assert_eq!(block.end, Terminator::Jump { target: PC + 6 });
    assert_eq!(block.len, 6);
    assert_eq!(block.starts.iter().map(|start| start.offset).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_failed_fetch_of_the_first_instruction_is_raised() {
    let none = lift_at(PC, 1, ALL, &[]);
    assert_eq!(none, Err(Exception { value: PC, ..FETCH }));
    // The second half of an instruction: the address is that of the part (Privileged ISA, "Machine Trap
    // Value").
    let half = lift_block(PC, 1, ALL, &mut Block::default(), |address| match address {
        PC => Ok(NOP as u16),
        _ => Err(Exception { value: address, ..FETCH }),
    });
    assert_eq!(half, Err(Exception { value: PC + 2, ..FETCH }));
}

#[test]
fn a_block_has_as_many_instructions_as_are_asked_for() {
    for max in [1, 2, 5] {
        let block = lift_at(PC, max, ALL, &[C_NOP; 10]).unwrap();
        assert_eq!(block.starts.len(), max);
        assert_eq!(block.end, Terminator::Jump { target: PC + 2 * max as u64 });
    }
    let block = lift_at(PC, usize::MAX, ALL, &[C_NOP; 100]).unwrap();
    assert_eq!(block.starts.len(), Builder::MAX_INSTRUCTIONS);
}

#[test]
fn a_block_lies_in_one_page_unless_its_only_instruction_straddles_two() {
    let last = PC + PAGE - 2;
    let straddling = lift_at(last, usize::MAX, ALL, &[NOP, NOP]).unwrap();
    assert_eq!((straddling.len, straddling.end), (4, Terminator::Jump { target: last + 4 }));
    let before = lift_at(last - 2, usize::MAX, ALL, &[C_NOP, NOP]).unwrap();
    assert_eq!((before.len, before.end), (2, Terminator::Jump { target: last }));
    let up_to_the_end = lift_at(last - 2, usize::MAX, ALL, &[NOP, NOP]).unwrap();
    assert_eq!((up_to_the_end.len, up_to_the_end.end), (4, Terminator::Jump { target: last + 2 }));
    let at_the_top = lift_at(0xffff_ffff_ffff_fffc, usize::MAX, ALL, &[NOP, NOP]).unwrap();
    assert_eq!((at_the_top.len, at_the_top.end), (4, Terminator::Jump { target: 0 }));
}

/// Executes one instruction with x5 = `a`, x6 = `b`: where it goes, and x1 and x5 afterwards.
fn jump(word: u32, a: u64, b: u64) -> (Option<u64>, u64, u64) {
    let mut machine = Machine::new();
    machine.vars[5] = a;
    machine.vars[6] = b;
    let next = machine.run(&lift(ALL, &[word, NOP]));
    (next, machine.vars[1], machine.vars[5])
}

#[test]
fn jumps_link_and_go() {
    assert_eq!(jump(0xffdf_f0ef, 0, 0), (Some(PC - 4), PC + 4, 0)); // jal ra, -4
    assert_eq!(jump(0xb7fd, 7, 0), (Some(PC - 18), 0, 7)); // c.j -18
    assert_eq!(jump(0xffe2_80e7, 0x1001, 0), (Some(0xffe), PC + 4, 0x1001)); // jalr ra, -2(t0)
    // The base is read before the link is written.
    assert_eq!(jump(0x0042_82e7, 0x1000, 0), (Some(0x1004), 0, PC + 4)); // jalr t0, 4(t0)
    assert_eq!(jump(0x9282, 0x2001, 0), (Some(0x2000), PC + 2, 0x2001)); // c.jalr t0
    assert_eq!(jump(0x8282, 0x2000, 0), (Some(0x2000), 0, 0x2000)); // c.jr t0
}

#[test]
fn a_jump_behind_the_upper_half_of_its_target_is_direct() {
    let auipc = |rd: u32| 0x2000 | rd << 7 | 0x17;
    let jalr = |rd: u32, rs1: u32| 0x00d << 20 | rs1 << 15 | rd << 7 | 0x67;
    let far = Terminator::Jump { target: PC + 0x200c };
    // call, tail, and what sets its own base.
    for (rd, base) in [(1, 1), (0, 6), (5, 5)] {
        let block = lift(ALL, &[auipc(base), jalr(rd, base)]);
        assert_eq!(block.end, far);
        let mut machine = Machine::new();
        machine.run(&block);
        assert_eq!(machine.vars[rd as usize], if rd == 0 { 0 } else { PC + 8 });
    }
    // Another base, x0, and one that may have been changed since.
    for code in [&[auipc(6), jalr(1, 7)][..], &[auipc(0), jalr(1, 0)], &[auipc(6), NOP, jalr(1, 6)]] {
        assert!(matches!(lift(ALL, code).end, Terminator::Indirect { .. }));
    }
}

#[test]
fn branches_compare() {
    const MINUS: u64 = u64::MAX;
    // funct3, and whether it is taken for (1, 1), (1, 2), (2, 1), (-1, 1), (1, -1).
    let cases = [
        (0, [true, false, false, false, false]),
        (1, [false, true, true, true, true]),
        (4, [false, true, false, true, false]),
        (5, [true, false, true, false, true]),
        (6, [false, true, false, false, true]),
        (7, [true, false, true, true, false]),
    ];
    let operands = [(1, 1), (1, 2), (2, 1), (MINUS, 1), (1, MINUS)];
    for (funct3, expected) in cases {
        for ((a, b), taken) in operands.into_iter().zip(expected) {
            let word = 0x0062_8463 | funct3 << 12; // b?? t0, t1, 8
            let target = if taken { PC + 8 } else { PC + 4 };
            assert_eq!(jump(word, a, b).0, Some(target), "function {funct3} on {a:#x}, {b:#x}");
        }
    }
}

fn context() -> impl Strategy<Value = Context> {
    (prop::sample::select(alloc::vec![0, 1, 3]), any::<u32>())
        .prop_map(|(mode, bits)| Context { mode, enables: Enables::from_bits_truncate(bits) })
}

/// What an instruction of the intermediate representation changes, unless it is a store.
fn result(inst: &Inst) -> Option<Var> {
    match *inst {
        Inst::Constant { dst, .. }
        | Inst::Unary { dst, .. }
        | Inst::Binary { dst, .. }
        | Inst::Compare { dst, .. }
        | Inst::Select { dst, .. }
        | Inst::Load { dst, .. }
        | Inst::LoadReserved { dst, .. }
        | Inst::StoreConditional { dst, .. }
        | Inst::Atomic { dst, .. }
        | Inst::Float { dst, .. }
        | Inst::Call { dst, .. } => Some(dst),
        Inst::Store { .. } | Inst::Fence | Inst::Decline { .. } => None,
    }
}

fn may_raise(inst: &Inst) -> bool {
    match *inst {
        Inst::Call { function, .. } => function != Call::FloatDirty.number(),
        Inst::Load { .. }
        | Inst::Store { .. }
        | Inst::LoadReserved { .. }
        | Inst::StoreConditional { .. }
        | Inst::Atomic { .. } => true,
        _ => false,
    }
}

/// A word that has good chances to be an instruction: random words seldom are.
fn word() -> impl Strategy<Value = u32> {
    let opcodes = [0u32, 1, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 16, 20, 24, 25, 27, 28];
    let full = (any::<u32>(), prop::sample::select(opcodes.to_vec()))
        .prop_map(|(word, opcode)| word & !0x7f | opcode << 2 | 3);
    let float = any::<u32>().prop_map(|word| word & 0xf1ff_ffff & !0x7f | 0x53);
    prop_oneof![any::<u32>(), full, float]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn every_block_is_well_formed(words in prop::collection::vec(word(), 1..20), context in context()) {
        let block = lift(context, &words);
        prop_assert!(!block.starts.is_empty());
        for (number, start) in block.starts.iter().enumerate() {
            let end = block.starts.get(number + 1).map_or(block.insts.len(), |next| next.inst.into());
            let insts = &block.insts[usize::from(start.inst)..end];
            let mut changed = false;
            for inst in insts {
                prop_assert!(!(changed && may_raise(inst)), "raises after a change: {insts:?}");
                if let Some(var) = result(inst) {
                    prop_assert!(var.0 != 0 && var.0 < Var::FIRST_SCRATCH, "{inst:?}");
                    changed |= !var.is_temporary();
                }
            }
        }
    }
}
