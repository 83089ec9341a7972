//! Address spaces: the same address is other code.

use super::super::paging::{ALL, GLOBAL, Space, USER};
use super::faults::{enter_supervisor, map_identically};
use super::*;

/// Where the code is that changes, and what it may be: functions that add different numbers to a0.
const VIRTUAL: u64 = 0x4000_0000;
const CODE: [u64; 2] = [RAM + 0x6000, RAM + 0x7000];
const ADDED: [u64; 2] = [1, 1000];
const TABLES: [u64; 2] = [RAM + 0x8000, RAM + 0x1_0000];

/// A program that has both versions of the code; `rest` is executed in supervisor mode. The same pages, with these flags, are
/// in two address spaces.
fn prepare(flags: u64, rest: impl Fn(&mut Program, &Board, &mut [Space; 2])) -> Arc<Board> {
    let board = Board::new(1);
    let mut spaces = TABLES.map(Space::new);
    for (space, code) in spaces.iter_mut().zip(CODE) {
        map_identically(space, &board, flags);
        space.map(&board, VIRTUAL, code, 0, flags);
    }
    let mut program = start();
    let handler = program.label();
    enter_supervisor(&mut program, spaces[0].satp(1), handler);
    program.li(A0, 0).li(A1, OFTEN).li(S1, VIRTUAL);
    rest(&mut program, &board, &mut spaces);
    end(&mut program);
    let here = program.bound();
    program.bind(handler).jump(here);
    for (code, added) in CODE.into_iter().zip(ADDED) {
        program.skip_to(code);
        program.words(&[addi(A0, A0, added as i32), RET]);
    }
    board.load(RAM, &program.finish());
    board
}

const SATP: u32 = 0x180;
const EXPECTED: u64 = OFTEN * (ADDED[0] + ADDED[1]);

#[test]
fn address_spaces_are_switched_without_fences() {
    for flags in [ALL, ALL | GLOBAL] {
        let (hart, ..) = check(|| {
            prepare(ALL, |program, board, spaces| {
                // What is at VIRTUAL is never global.
                spaces.iter_mut().for_each(|space| map_identically(space, board, flags));
                program.li(S0, spaces[0].satp(1)).li(A2, spaces[1].satp(2));
                let head = program.bound();
                program.words(&[
                    csrrw(ZERO, SATP, S0),
                    jalr(RA, S1, 0),
                    csrrw(ZERO, SATP, A2),
                    jalr(RA, S1, 0),
                ]);
                program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
            })
        });
        assert_eq!(x(&hart, A0), EXPECTED);
    }
}

#[test]
fn address_spaces_of_one_number_are_switched_with_fences() {
    let (hart, ..) = check(|| {
        prepare(ALL, |program, _, spaces| {
            program.li(S0, spaces[0].satp(7)).li(A2, spaces[1].satp(7)).li(T1, 7);
            let head = program.bound();
            // SFENCE.VMA of all, and of the number.
            program.words(&[csrrw(ZERO, SATP, S0), SFENCE_VMA, jalr(RA, S1, 0)]);
            program.words(&[csrrw(ZERO, SATP, A2), SFENCE_VMA | T1 << 20, jalr(RA, S1, 0)]);
            program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
        })
    });
    assert_eq!(x(&hart, A0), EXPECTED);
}

/// Where a function is whose last instruction but one lies on two pages: the first one is always the same.
const STRADDLING: u64 = 0x5000_0ff6;
const FIRST: u64 = RAM + 0x3_0000;
const SECOND: [u64; 2] = [RAM + 0x3_2000, RAM + 0x3_4000];

/// Puts the function there.
fn put_straddling(board: &Board, spaces: &mut [Space; 2], flags: u64) {
    let page = STRADDLING & !0xfff;
    for ((space, second), added) in spaces.iter_mut().zip(SECOND).zip(ADDED) {
        space.map(board, page, FIRST, 0, flags);
        space.map(board, page + 0x1000, second, 0, flags);
        let [nop, added, ret] = [NOP, addi(A0, A0, added as i32), RET].map(u32::to_le_bytes);
        board.load(FIRST + 0xff6, &[&nop, &nop, &added[..2]].concat());
        board.load(second, &[&added[2..], &ret].concat());
    }
}

#[test]
fn an_instruction_goes_on_on_another_page_in_each_address_space() {
    let (hart, ..) = check(|| {
        prepare(ALL, |program, board, spaces| {
            put_straddling(board, spaces, ALL);
            program.li(S0, spaces[0].satp(1)).li(A2, spaces[1].satp(2)).li(S1, STRADDLING);
            let head = program.bound();
            program.words(&[csrrw(ZERO, SATP, S0), jalr(RA, S1, 0), csrrw(ZERO, SATP, A2), jalr(RA, S1, 0)]);
            program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
        })
    });
    assert_eq!(x(&hart, A0), EXPECTED);
}

#[test]
fn the_page_that_an_instruction_goes_on_on_is_mapped_elsewhere() {
    for flags in [ALL, ALL | GLOBAL] {
        let (hart, _, jit) = check(|| {
            prepare(flags, |program, board, spaces| {
                put_straddling(board, spaces, flags);
                let entry = spaces[0].entry(board, STRADDLING + 0x1000, 0);
                let [one, other] = SECOND.map(|page| page >> 12 << 10 | flags);
                program
                    .li(S0, entry)
                    .li(A2, one)
                    .li(T2, one ^ other)
                    .li(S1, STRADDLING)
                    .li(T1, STRADDLING + 0x1000);
                let (head, again) = (program.bound(), program.label());
                // Often with each, so that what leads there is linked.
                program.li(T0, 40).bind(again);
                program.word(jalr(RA, S1, 0));
                program.word(addi(T0, T0, -1)).branch(NE, T0, ZERO, again);
                program.words(&[xor(A2, A2, T2), sd(A2, S0, 0), SFENCE_VMA | T1 << 15]);
                program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
            })
        });
        assert_eq!(x(&hart, A0), 20 * EXPECTED);
        let entered = jit.report.entered.load(core::sync::atomic::Ordering::SeqCst);
        assert!(entered < 20 * OFTEN, "entered {entered} times");
    }
}

/// The page at the address is changed, in hot code, and called directly and through a register, so that both kinds of entries
/// of jump tables have to go.
#[test]
fn a_page_is_mapped_elsewhere() {
    for (flags, by_number) in [(ALL, false), (ALL, true), (ALL | GLOBAL, false)] {
        let (hart, ..) = check(|| {
            prepare(flags, |program, board, spaces| {
                let entry = spaces[0].entry(board, VIRTUAL, 0);
                let [one, other] = CODE.map(|code| code >> 12 << 10 | flags);
                program.li(S0, entry).li(A2, one).li(T2, one ^ other).li(T1, 1);
                let head = program.bound();
                let number = if by_number { T1 } else { ZERO };
                program.words(&[
                    jalr(RA, S1, 0),
                    xor(A2, A2, T2),
                    sd(A2, S0, 0),
                    SFENCE_VMA | number << 20 | S1 << 15,
                ]);
                program.words(&[
                    jalr(RA, S1, 0),
                    xor(A2, A2, T2),
                    sd(A2, S0, 0),
                    SFENCE_VMA | number << 20 | S1 << 15,
                ]);
                program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
            })
        });
        assert_eq!(x(&hart, A0), EXPECTED, "{flags:#x} {by_number}");
    }
}

/// What is a superpage at one time is a page at another. The fence names another address of the superpage where that goes; where
/// it comes, there was no leaf that such a fence would be about.
#[test]
fn a_superpage_is_mapped_elsewhere() {
    // At a multiple of 2 MiB, so that the code is at the same offset as in RAM.
    const LARGE: u64 = 0x4020_0000;
    const CALLED: u64 = LARGE + CODE[0] - RAM;
    let (hart, ..) = check(|| {
        prepare(ALL, |program, board, spaces| {
            let superpage = RAM >> 12 << 10 | ALL;
            let entry = spaces[0].entry(board, LARGE, 1);
            spaces[0].map(board, CALLED, CODE[1], 0, ALL);
            let table = board.ram().read::<u64>(entry).unwrap();
            program
                .li(S0, entry)
                .li(A2, superpage)
                .li(T2, superpage ^ table)
                .li(S1, CALLED)
                .li(T1, LARGE + 0x1_0000);
            let head = program.bound();
            for fence in [SFENCE_VMA, SFENCE_VMA | T1 << 15] {
                program.words(&[sd(A2, S0, 0), fence, jalr(RA, S1, 0), xor(A2, A2, T2)]);
            }
            program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
        })
    });
    assert_eq!(x(&hart, A0), EXPECTED);
}

/// User mode calls supervisor mode in a loop.
#[test]
fn modes_are_changed_in_hot_code() {
    let make = || {
        let board = Board::new(1);
        let mut space = Space::new(TABLES[0]);
        map_identically(&mut space, &board, ALL);
        space.map(&board, VIRTUAL, CODE[0], 0, ALL | USER);
        let mut program = start();
        let (handler, out) = (program.label(), program.label());
        enter_supervisor(&mut program, space.satp(1), handler);
        program.li(A0, 0).li(A1, OFTEN).li(S1, VIRTUAL).word(csrrw(ZERO, 0x141, S1)).li(T0, 1 << 8);
        program.words(&[csrrc(ZERO, 0x100, T0), SRET]).bind(handler);
        program.branch(EQ, A1, ZERO, out).words(&[
            csrrs(T1, 0x141, ZERO),
            addi(T1, T1, 4),
            csrrw(ZERO, 0x141, T1),
        ]);
        program.words(&[csrrs(T1, 0x142, ZERO), add(A0, A0, T1), SRET]).bind(out);
        end(&mut program);
        program.skip_to(CODE[0]);
        let head = program.bound();
        program.words(&[ECALL, addi(A0, A0, 100), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head).word(ECALL);
        board.load(RAM, &program.finish());
        board
    };
    let (hart, ..) = check(make);
    assert_eq!(x(&hart, A0), OFTEN * 108);
}
