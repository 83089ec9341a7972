//! Code that changes.

use super::*;

/// `addi a0, a0, 0`: its number is changed.
const PATCHED: u32 = addi(A0, A0, 0);

/// Changes an instruction `rounds` times, and executes it `times` times each: in the loop that does so, or in a function at
/// this address.
fn patching(function: Option<u64>, rounds: u64, times: u64) -> Program {
    let mut program = start();
    let (head, again, patched) = (program.label(), program.label(), program.label());
    program.li(A0, 0).li(A1, rounds).li(A2, PATCHED.into()).la(S1, patched).bind(head);
    program.words(&[andi(T1, A1, 15), slli(T1, T1, 20), add(T1, T1, A2), sw(T1, S1, 0), FENCE_I]);
    program.li(T2, times).bind(again);
    match function {
        None => program.bind(patched).word(PATCHED),
        Some(_) => program.jal(RA, patched),
    };
    program.word(addi(T2, T2, -1)).branch(NE, T2, ZERO, again);
    program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end(&mut program);
    if let Some(address) = function {
        program.skip_to(address);
        program.bind(patched).words(&[PATCHED, RET]);
    }
    program
}

fn sum(rounds: u64, times: u64) -> u64 {
    (1..=rounds).map(|round| round % 16 * times).sum()
}

#[test]
fn a_loop_changes_itself() {
    let program = patching(None, 40, 50);
    let (hart, _, jit) = check(|| board(&program));
    assert_eq!(x(&hart, A0), sum(40, 50));
    assert!(jit.counts().invalidated > 0);
}

#[test]
fn code_on_another_page_is_changed() {
    for address in [RAM + 0x2000, RAM + 0x2ffc, RAM + 0x2ffe] {
        let program = patching(Some(address), 40, 50);
        let (hart, _, jit) = check(|| board(&program));
        assert_eq!(x(&hart, A0), sum(40, 50));
        assert!(jit.counts().invalidated > 0);
    }
}

#[test]
fn code_far_from_where_its_block_begins_is_changed() {
    let mut program = start();
    let (head, again, function, patched) =
        (program.label(), program.label(), program.label(), program.label());
    program.li(A0, 0).li(A1, 40).li(A2, PATCHED.into()).la(S1, patched).bind(head);
    program.words(&[andi(T1, A1, 15), slli(T1, T1, 20), add(T1, T1, A2), sw(T1, S1, 0), FENCE_I]);
    program.li(T2, 50).bind(again).jal(RA, function);
    program.word(addi(T2, T2, -1)).branch(NE, T2, ZERO, again);
    program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.skip_to(RAM + 0x2000);
    program.bind(function).jal(ZERO, patched);
    program.skip_to(RAM + 0x2900);
    program.bind(patched).words(&[PATCHED, RET]);
    let (hart, _, jit) = check(|| board(&program));
    assert_eq!(x(&hart, A0), sum(40, 50));
    assert!(jit.counts().invalidated > 0);
}

/// Calls a function `rounds` times, and stores to its page each time.
fn storing_beside_code(rounds: u64) -> u64 {
    let mut program = start();
    let (head, function, data) = (program.label(), program.label(), program.label());
    program.li(A0, 0).li(A1, rounds).la(S1, data).bind(head);
    program.words(&[sw(A1, S1, 0), lw(T0, S1, 0), add(A0, A0, T0)]).jal(RA, function);
    program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    end(&mut program);
    program.skip_to(RAM + 0x2000);
    program.bind(function).words(&[addi(A0, A0, 1), RET]);
    program.skip_to(RAM + 0x2800);
    program.bind(data).word(0);
    let (hart, _, jit) = check(|| board(&program));
    assert_eq!(x(&hart, A0), rounds * (rounds + 1) / 2 + rounds);
    jit.counts().invalidated
}

#[test]
fn a_store_beside_code_leaves_it_alone_and_many_are_of_a_page_that_changes() {
    assert_eq!(storing_beside_code(70), 0);
    assert!((1..10).contains(&storing_beside_code(200)));
}

#[test]
fn a_page_that_changes_all_the_time_is_left_to_the_interpreter() {
    let program = patching(None, 300, 40);
    let (_, _, jit) = compare(Options::default(), || board(&program));
    let counts = jit.counts();
    assert!(counts.invalidated < 60, "{counts:?}");
}

/// Stores by code that is cold itself, of all sizes and kinds, around a page with hot code.
#[test]
fn code_is_changed_by_the_interpreter() {
    // What is at the function: `addi a0, a0, 0x123`, `ret`. In each case one more is added.
    let function = RAM + 0x2000;
    let cases: [&[u32]; 5] = [
        &[lw(T0, S1, 0), add(T0, T0, A2), sw(T0, S1, 0)],
        // Its upper half.
        &[load(5, T0, S1, 2), addi(T0, T0, 0x10), store(1, T0, S1, 2)],
        // From the page before into it.
        &[lw(T0, S1, 0), add(T0, T0, A2), slli(T0, T0, 32), sd(T0, S1, -4)],
        // AMOADD.W; then LR.W and SC.W.
        &[amo(0, 2, ZERO, S1, A2)],
        &[amo(2, 2, T0, S1, ZERO), add(T0, T0, A2), amo(3, 2, T1, S1, T0)],
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let mut program = start();
        let (first, second, patched) = (program.label(), program.label(), program.label());
        program.li(A0, 0).li(A1, OFTEN).li(A2, 1 << 20).la(S1, patched).bind(first);
        program.jal(RA, patched).word(addi(A1, A1, -1)).branch(NE, A1, ZERO, first);
        program.words(case);
        program.word(FENCE_I).li(A1, OFTEN).bind(second);
        program.jal(RA, patched).word(addi(A1, A1, -1)).branch(NE, A1, ZERO, second);
        end(&mut program);
        program.skip_to(function);
        program.bind(patched).words(&[addi(A0, A0, 0x123), RET]);
        let (hart, _, jit) = check(|| board(&program));
        assert_eq!(x(&hart, A0), OFTEN * (0x123 + 0x124), "case {index}");
        assert!(jit.counts().invalidated > 0, "case {index}");
    }
}

/// The same, where what stores is translated.
#[test]
fn code_is_changed_by_translated_code() {
    let cases: [&[u32]; 4] = [
        &[sw(T1, S1, 0)],
        &[slli(T1, T1, 32), sd(T1, S1, -4)],
        // AMOSWAP.W; LR.W and SC.W.
        &[amo(1, 2, ZERO, S1, T1)],
        &[amo(2, 2, ZERO, S1, ZERO), amo(3, 2, ZERO, S1, T1)],
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let mut program = start();
        let (head, cold, on, patched) = (program.label(), program.label(), program.label(), program.label());
        // For so long the store goes elsewhere.
        program.li(A0, 0).li(A1, OFTEN).li(A2, PATCHED.into()).la(S1, cold).la(S0, patched).bind(head);
        program.words(&[andi(T1, A1, 15), slli(T1, T1, 20), add(T1, T1, A2)]);
        program.words(case);
        program.word(FENCE_I).jal(RA, patched);
        program.li(T1, OFTEN - 50).branch(NE, A1, T1, on).word(addi(S1, S0, 0)).bind(on);
        program.word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
        end(&mut program);
        program.skip_to(RAM + 0x2000);
        program.bind(patched).words(&[PATCHED, RET]);
        program.skip_to(RAM + 0x4000);
        program.bind(cold).word(NOP);
        let (hart, _, jit) = check(|| board(&program));
        let expected = (1..OFTEN - 50).map(|round| round % 16).sum::<u64>();
        assert_eq!(x(&hart, A0), expected, "case {index}");
        assert!(jit.counts().invalidated > 0, "case {index}");
    }
}
