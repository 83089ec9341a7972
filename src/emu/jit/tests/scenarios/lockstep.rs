//! Lock-step finds what is wrong.

use polyvisor_cell_abi::riscv::X as REGISTERS;

use super::*;
use crate::ir::Var;
use crate::jit::lockstep::Place as Where;

/// Where its loop is, if not elsewhere.
const LOOP: u64 = RAM + 0x80;

/// A program with a sum in a0, and in memory; its loop is `at` this address.
fn summing(at: u64) -> Program {
    let mut program = start();
    let (data, head) = (program.label(), program.label());
    program.la(S0, data).li(A0, 0).li(A1, OFTEN).jump(head).skip_to(at);
    program.bind(head).words(&[add(A0, A0, A1), sd(A0, S0, 0), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.skip_to(RAM + 0x3000);
    program.bind(data);
    program
}

/// Runs it with a CPU whose words are other ones than the compiler's.
fn run(corrupt: fn(u32) -> u32, lockstep: bool) -> Jit {
    run_beside(0, LOOP, corrupt, lockstep)
}

/// The same beside other harts, which are not started.
fn run_beside(others: usize, at: u64, corrupt: fn(u32) -> u32, lockstep: bool) -> Jit {
    let board = Board::new(1 + others);
    board.load(RAM, &summing(at).finish());
    let jit = Jit::new(&board, Options { corrupt, lockstep, ..Options::default() });
    jit.run(&board, 0);
    jit
}

#[test]
fn a_wrong_register_is_found() {
    // ADD (shifted register) of 64 bits becomes SUB (DDI 0487, C6.2).
    let corrupt = |word| if word & 0xff20_0000 == 0x8b00_0000 { word | 1 << 30 } else { word };
    let jit = run(corrupt, true);
    let mismatches = jit.report.mismatches.lock().unwrap();
    let (key, mismatch) = mismatches[0];
    assert_eq!(mismatch.place, Where::Global(Var(REGISTERS as u8 + A0 as u8)));
    assert!(
        (RAM..RAM + 0x100).contains(&key.pc)
            && mismatch.expected != mismatch.found
            && mismatch.instructions > 0
    );
    drop(mismatches);
    // Nobody looks otherwise.
    assert!(run(corrupt, false).report.mismatches.lock().unwrap().is_empty());
}

#[test]
fn a_wrong_byte_in_memory_is_found() {
    // STTR of 64 bits becomes STTRB (DDI 0487, C6.2).
    let jit = run(|word| if word & 0xffe0_0c00 == 0xf800_0800 { word & !(3 << 30) } else { word }, true);
    let mismatches = jit.report.mismatches.lock().unwrap();
    assert_eq!(mismatches[0].1.place, Where::Memory(RAM + 0x3001));
}

#[test]
fn beside_other_harts_a_difference_must_show_twice() {
    let corrupt = |word| if word & 0xff20_0000 == 0x8b00_0000 { word | 1 << 30 } else { word };
    let found = |jit: Jit| jit.report.mismatches.lock().unwrap().len();
    // The second one's sum lies on two pages.
    for at in [LOOP, RAM + 0xffe] {
        let [alone, beside] = [0, 1].map(|others| found(run_beside(others, at, corrupt, true)));
        assert!(0 < beside && beside < alone, "{at:#x}: {alone} alone, {beside} beside another one");
    }
}

#[test]
fn what_is_right_passes() {
    assert!(run(|word| word, true).report.mismatches.lock().unwrap().is_empty());
}
