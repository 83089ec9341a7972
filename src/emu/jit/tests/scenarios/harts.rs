//! Several harts on one cache.

use alloc::vec::Vec;

use polyvisor_cell_abi::riscv::X as REGISTERS;

use super::super::paging::{ALL, Space};
use super::faults::map_identically;
use super::*;
use crate::jit::compile::Features;
use crate::riscv::Mode;

const HARTS: usize = 3;
const DATA: u64 = RAM + 0x2_0000;

/// Waits until all harts have come here; the last one ends the machine.
fn end_all(program: &mut Program) {
    let here = program.label();
    program.li(T0, DATA + 0x800).li(T1, 1).word(amo(0, 3, T1, T0, T1)).li(T0, HARTS as u64 - 1);
    program.bind(here).branch(NE, T1, T0, here);
    end(program);
}

fn machine(program: &Program, options: Options) -> (Arc<Board>, Jit) {
    let board = Board::new(HARTS);
    board.load(RAM, &program.finish());
    let jit = Jit::new(&board, options);
    (board, jit)
}

#[test]
fn harts_count_together() {
    for lse in [false, true] {
        let mut program = start();
        program.li(S0, DATA).li(A1, OFTEN).li(A0, 1);
        let (head, again) = (program.bound(), program.label());
        // AMOADD.D; then the same by LR.D and SC.D.
        program.word(amo(0, 3, ZERO, S0, A0)).word(addi(S0, S0, 8)).bind(again);
        program
            .words(&[amo(2, 3, T0, S0, ZERO), addi(T0, T0, 1), amo(3, 3, T1, S0, T0)])
            .branch(NE, T1, ZERO, again);
        program.words(&[addi(S0, S0, -8), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head);
        end_all(&mut program);
        let (board, jit) = machine(
            &program,
            Options { features: Features { lse, ..Features::default() }, ..Options::default() },
        );
        jit.run_all(&board);
        assert_eq!(board.words(DATA..DATA + 16), [OFTEN * HARTS as u64; 2]);
    }
}

/// Programs that do not fit into the cache together: it is emptied again and again, under harts that are in its code.
#[test]
fn a_small_cache_is_recycled_under_harts() {
    const BLOCKS: u64 = 60;
    let mut program = start();
    program.word(csrrs(T2, 0xf14, ZERO)).li(A0, 0).li(A1, 40);
    let (head, out) = (program.bound(), program.label());
    for block in 0..BLOCKS {
        let next = program.label();
        // Each has a way out.
        program
            .words(&[add(A0, A0, A1), addi(A0, A0, block as i32), xor(A0, A0, T2)])
            .branch(EQ, A0, ZERO, next);
        program.word(NOP);
        program.bind(next);
    }
    program.word(addi(A1, A1, -1)).branch(EQ, A1, ZERO, out).jump(head).bind(out);
    end_all(&mut program);
    let (board, jit) = machine(&program, Options { capacity: 500, ..Options::default() });
    let harts = jit.run_all(&board);
    let expected = |hart: u64| {
        (1..=40)
            .rev()
            .fold(0, |sum: u64, round| (0..BLOCKS).fold(sum, |sum, block| (sum + round + block) ^ hart))
    };
    let found: Vec<u64> = harts.iter().map(|registers| registers[REGISTERS + A0 as usize]).collect();
    assert_eq!(found, (0..HARTS as u64).map(expected).collect::<Vec<_>>());
    // How often depends on how many harts come along at the same time.
    assert!(jit.counts().recycled > 0, "{:?}", jit.counts());
}

/// Hart 0 changes a function that the others call all the time. What they see is never older than what they have seen.
#[test]
fn one_hart_changes_the_code_of_others() {
    const ROUNDS: u64 = 30;
    let mut program = start();
    let (others, patched, wrong) = (program.label(), program.label(), program.label());
    program.word(csrrs(T0, 0xf14, ZERO)).la(S1, patched).li(A0, 0).branch(NE, T0, ZERO, others);
    // Hart 0: every now and then.
    program.li(A1, ROUNDS).li(A2, addi(T1, ZERO, 0).into()).li(S0, 1 << 20);
    let (head, pause) = (program.bound(), program.label());
    program.words(&[add(A2, A2, S0), sw(A2, S1, 0), FENCE_I]).li(T0, 300).bind(pause);
    program.word(addi(T0, T0, -1)).branch(NE, T0, ZERO, pause);
    program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end_all(&mut program);
    // The others: until they have seen the last one.
    program.bind(others).li(A1, ROUNDS);
    let again = program.bound();
    program
        .word(FENCE_I)
        .jal(RA, patched)
        .branch(LT, T1, A0, wrong)
        .word(addi(A0, T1, 0))
        .branch(NE, A0, A1, again);
    end_all(&mut program);
    program.bind(wrong).li(A0, u64::MAX);
    end_all(&mut program);
    program.skip_to(RAM + 0x3000);
    program.bind(patched).words(&[addi(T1, ZERO, 0), RET]);
    let (board, jit) = machine(&program, Options::default());
    let harts = jit.run_all(&board);
    let found: Vec<u64> = harts[1..].iter().map(|registers| registers[REGISTERS + A0 as usize]).collect();
    assert_eq!(found, [ROUNDS; HARTS - 1]);
}

/// Extensions of SBI, and a mask of all harts.
const HSM: u64 = 0x48_534d;
const RFENCE: u64 = 0x5246_4e43;
const ALL_HARTS: u64 = (1 << HARTS) - 1;

/// Calls a function of SBI.
fn call(program: &mut Program, extension: u64, function: u64, arguments: &[(X, u64)]) {
    program.li(17, extension).li(16, function);
    for &(register, value) in arguments {
        program.li(register, value);
    }
    program.word(ECALL);
}

/// Starts the other harts at `other`.
fn start_others(program: &mut Program, other: Label) {
    program.la(S0, other);
    for hart in 1..HARTS as u64 {
        program.word(addi(A1, S0, 0));
        call(program, HSM, 0, &[(A0, hart)]);
    }
}

/// Hart 0 changes one of two pages, maps it where the other one was, has that fenced everywhere, and tells which round it is.
/// What the others execute there, dozens of times in each round, is never older than that.
#[test]
fn one_hart_maps_other_code_under_others() {
    const ROUNDS: u64 = 30;
    const VIRTUAL: u64 = 0x4000_0000;
    const CODE: [u64; 2] = [RAM + 0x6000, RAM + 0x7000];
    const FENCE: u32 = 0x0ff0_000f;
    let [s2, s3, s4, s5, s6] = [18, 19, 20, 21, 22];
    let board = Board::in_mode(HARTS, Mode::Supervisor);
    let mut space = Space::new(RAM + 0x8000);
    map_identically(&mut space, &board, ALL);
    space.map(&board, VIRTUAL, CODE[1], 0, ALL);
    let [one, other] = CODE.map(|page| page >> 12 << 10 | ALL);
    let mut program = start();
    let (others, wrong) = (program.label(), program.label());
    start_others(&mut program, others);
    program.li(T0, space.satp(1)).word(csrrw(ZERO, 0x180, T0)).li(S0, space.entry(&board, VIRTUAL, 0));
    program.li(S1, 1).li(s2, one).li(s3, one ^ other).li(s4, CODE[0]).li(s5, CODE[0] ^ CODE[1]);
    program.li(s6, addi(T1, ZERO, 0).into());
    let (head, pause) = (program.bound(), program.label());
    program.li(T0, 1 << 20).words(&[add(s6, s6, T0), sw(s6, s4, 0), xor(s4, s4, s5)]);
    call(&mut program, RFENCE, 0, &[(A0, ALL_HARTS), (A1, 0)]);
    program.words(&[sd(s2, S0, 0), xor(s2, s2, s3)]);
    call(&mut program, RFENCE, 1, &[(A0, ALL_HARTS), (A1, 0), (A2, VIRTUAL), (13, 4096)]);
    program.li(T0, DATA).words(&[sd(S1, T0, 0), ld(A0, T0, 8), addi(A0, A0, 50)]);
    // In the last round the others end.
    let last = program.label();
    program.li(T1, ROUNDS).branch(EQ, S1, T1, last);
    program.bind(pause).word(ld(A1, T0, 8)).branch(LT, A1, A0, pause).word(addi(S1, S1, 1)).jump(head);
    program.bind(last);
    end_all(&mut program);
    // The others: until they have seen the last one.
    program.bind(others).li(T0, space.satp(1)).word(csrrw(ZERO, 0x180, T0));
    program.li(S0, VIRTUAL).li(s2, DATA).li(s3, DATA + 8).li(s4, 1).li(s5, ROUNDS);
    let again = program.bound();
    program
        .words(&[ld(A0, s2, 0), FENCE, jalr(RA, S0, 0), amo(0, 3, ZERO, s3, s4)])
        .branch(LT, T1, A0, wrong)
        .branch(NE, T1, s5, again);
    program.word(addi(A2, T1, 0));
    end_all(&mut program);
    program.bind(wrong).li(A2, u64::MAX);
    end(&mut program);
    for code in CODE {
        program.skip_to(code);
        program.words(&[addi(T1, ZERO, 0), RET]);
    }
    board.load(RAM, &program.finish());
    let jit = Jit::new(&board, Options::default());
    let harts = jit.run_all(&board);
    let found: Vec<u64> = harts[1..].iter().map(|registers| registers[REGISTERS + A2 as usize]).collect();
    assert_eq!(found, [ROUNDS; HARTS - 1]);
}

/// A hart that waits for another one's fence does not keep that from emptying the cache.
#[test]
fn remote_fences_and_recycling_do_not_wait_for_each_other() {
    let mut program = start();
    let other = program.label();
    start_others(&mut program, other);
    program.bind(other).li(S1, 150);
    let (head, out) = (program.bound(), program.label());
    for number in 0..30 {
        let next = program.label();
        program.word(addi(A2, A2, number)).branch(EQ, A2, ZERO, next).word(NOP).bind(next);
    }
    call(&mut program, RFENCE, 0, &[(A0, ALL_HARTS), (A1, 0)]);
    program.word(addi(S1, S1, -1)).branch(EQ, S1, ZERO, out).jump(head).bind(out);
    end_all(&mut program);
    let board = Board::in_mode(HARTS, Mode::Supervisor);
    board.load(RAM, &program.finish());
    let jit = Jit::new(&board, Options { capacity: 250, ..Options::default() });
    jit.run_all(&board);
    assert!(jit.counts().recycled > 3, "{:?}", jit.counts());
}
