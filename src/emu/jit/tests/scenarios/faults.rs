//! Page faults in the middle of what is translated.

use super::super::paging::{ALL, Space};
use super::*;

/// Pages that are there only when they have been asked for, and how many of them; what they are then.
const VIRTUAL: u64 = 0x4000_0000;
const PAGES: u64 = 8;
const DATA: u64 = RAM + 0x1_8000;
const TABLES: u64 = RAM + 0x8000;
const DIRTY: u64 = 0x80;
const ACCESSED: u64 = 0x40;

/// Prepares supervisor mode, with all of RAM and devices where they are, and `handler` for all traps; the rest of the program
/// is executed there.
pub fn enter_supervisor(program: &mut Program, satp: u64, handler: Label) {
    let on = program.label();
    program.li(T0, u64::MAX).word(csrrw(ZERO, 0x3b0, T0)).li(T0, 0x1f).word(csrrw(ZERO, 0x3a0, T0));
    program.li(T0, u64::MAX).words(&[csrrw(ZERO, 0x302, T0), csrrw(ZERO, 0x303, T0)]);
    program.li(T0, satp).word(csrrw(ZERO, 0x180, T0)).la(T0, handler).word(csrrw(ZERO, 0x105, T0));
    program
        .li(T0, 1 << 11)
        .word(csrrw(ZERO, 0x300, T0))
        .la(T0, on)
        .words(&[csrrw(ZERO, 0x341, T0), MRET])
        .bind(on);
}

/// Maps RAM and [`END`] where they are.
pub fn map_identically(space: &mut Space, board: &Board, flags: u64) {
    for address in (RAM..RAM + RAM_SIZE).step_by(0x1000) {
        space.map(board, address, address, 0, flags);
    }
    space.map(board, END & !0xfff, END & !0xfff, 0, flags);
}

/// A program whose loop, `body`, advances s0 through [`VIRTUAL`]'s pages, which have `flags` at first, and which a handler
/// gives all flags when they are needed.
fn demanding(flags: u64, body: &[u32]) -> Arc<Board> {
    demanding_with(flags, &[], body, &[])
}

/// The same, but `before` comes before the loop, and `handling` in the handler.
pub fn demanding_with(flags: u64, before: &[u32], body: &[u32], handling: &[u32]) -> Arc<Board> {
    let mut program = start();
    let (handler, head) = (program.label(), program.label());
    enter_supervisor(&mut program, Space::new(TABLES).satp(1), handler);
    program
        .words(before)
        .li(S0, VIRTUAL)
        .li(A0, 1)
        .li(A1, VIRTUAL + (PAGES - 1) * 0x1000)
        .li(A2, 0)
        .bind(head);
    program.words(body).branch(GEU, A1, S0, head);
    end(&mut program);
    // The handler: the entry of the page of stval, which is the one of that number from s1 on, gets all flags.
    let board = Board::new(1);
    let mut space = Space::new(TABLES);
    map_identically(&mut space, &board, ALL);
    let entries = space.entry(&board, VIRTUAL, 0);
    program.bind(handler).words(handling).words(&[
        csrrs(T1, 0x143, ZERO),
        add(A2, A2, T1),
        csrrs(T2, 0x142, ZERO),
        add(A2, A2, T2),
    ]);
    program.li(T2, VIRTUAL).word(sub(T1, T1, T2)).words(&[srli(T1, T1, 12), slli(T1, T1, 3)]);
    program.li(S1, entries).words(&[add(S1, S1, T1), ld(T1, S1, 0), ori(T1, T1, ALL as i32), sd(T1, S1, 0)]);
    program.words(&[SFENCE_VMA, addi(A2, A2, 1), SRET]);
    board.load(RAM, &program.finish());
    for page in 0..PAGES {
        space.map(&board, VIRTUAL + page * 0x1000, DATA + page * 0x1000, 0, flags);
    }
    board
}

#[test]
fn pages_are_there_when_they_are_needed() {
    let body = [
        add(A0, A0, S0),
        sd(A0, S0, 8),
        xor(A0, A0, S0),
        sw(A0, S0, 16),
        ld(T1, S0, 8),
        addw(A0, A0, T1),
        addi(S0, S0, 48),
    ];
    let (hart, ..) = check(|| demanding(0, &body));
    assert_eq!(x(&hart, S0) & !0xfff, VIRTUAL + 0x1000 * (PAGES - 1));
    // Readable, not yet writable.
    check(|| demanding(ALL & !DIRTY, &body));
    check(|| demanding(ALL & !(DIRTY | ACCESSED), &body));
}

#[test]
fn an_access_to_two_pages_faults_on_either() {
    for step in [44, 20] {
        // Misaligned all the time, so some cross pages.
        let body = [addw(A0, A0, S0), sd(A0, S0, 1), ld(T1, S0, 3), add(A0, A0, T1), addi(S0, S0, step)];
        check(|| demanding(0, &body));
        check(|| demanding(ALL & !DIRTY, &body));
    }
}

#[test]
fn atomic_accesses_fault_like_others() {
    let body = [
        add(A0, A0, S0),
        amo(0, 3, T1, S0, A0),
        addw(A0, A0, T1),
        amo(0x14, 2, T1, S0, A0),
        amo(2, 3, T1, S0, ZERO),
        amo(3, 3, T2, S0, A0),
        add(A0, A0, T2),
        addi(S0, S0, 32),
    ];
    check(|| demanding(0, &body));
    check(|| demanding(ALL & !DIRTY, &body));
}

/// There is nothing to translate, nor to record.
#[test]
fn a_jump_to_where_no_ram_is_faults() {
    const NOWHERE: u64 = RAM - 0x1000;
    for saved in [Saved::Nothing, Saved::Record(1 << 12)] {
        let (hart, ..) = compare(Options { saved, ..Options::default() }, || {
            let mut program = start();
            let handler = program.label();
            program.la(T0, handler).word(csrrw(ZERO, 0x305, T0)).li(S0, NOWHERE).li(A0, 0).li(A1, OFTEN);
            let head = program.bound();
            program.words(&[jalr(RA, S0, 0), addi(A1, A1, -1)]).branch(NE, A1, ZERO, head);
            end(&mut program);
            program.bind(handler).words(&[
                csrrs(T1, 0x343, ZERO),
                add(A0, A0, T1),
                csrrw(ZERO, 0x341, RA),
                MRET,
            ]);
            board(&program)
        });
        assert_eq!(x(&hart, A0), OFTEN * NOWHERE);
    }
}
