//! Translations that were saved.

use alloc::{sync::Arc, vec, vec::Vec};

use polyvisor_cell_abi::{RecordingHeader, StoreHeader, Unfit};
use proptest::prelude::*;

use super::board::{Act, Board, END, RAM};
use super::machine::{ENGINE, Jit, Options, Saved, checksum};
use super::program::*;
use crate::interp::Key;
use crate::jit::compile::Features;
use crate::jit::store::{Buffers, Malformed, Store, assemble};
use crate::jit::trace::Source;

/// Where a function is.
const FUNCTION: u64 = RAM + 0x2000;

/// Calls a function on another page, which adds `step`, a hundred times, and does what `after` says each time.
fn program(step: i32, after: &[u32]) -> Arc<Board> {
    let mut program = Program::new(RAM);
    let function = program.label();
    program.li(A0, 0).li(A1, 100).li(A2, FUNCTION);
    let head = program.bound();
    program.jal(RA, function).words(after).word(addi(A1, A1, -1)).branch(NE, A1, ZERO, head);
    program.li(T0, END).word(sw(ZERO, T0, 0));
    let here = program.bound();
    program.jump(here);
    program.skip_to(FUNCTION);
    program.bind(function).words(&[addi(A0, A0, step), RET]);
    let board = Board::new(1);
    board.load(RAM, &program.finish());
    board
}

/// Runs it: what A0 is in the end, and how many blocks were translated and recalled.
fn run(board: &Arc<Board>, saved: Saved, features: Features) -> (u64, (u64, u64), Jit) {
    let jit = Jit::new(board, Options { saved, features, ..Options::default() });
    let hart = jit.run(board, 0);
    (hart.registers()[polyvisor_cell_abi::riscv::X + A0 as usize], jit.origins(), jit)
}

fn record(board: &Arc<Board>, features: Features) -> &'static [u32] {
    run(board, Saved::Record(1 << 12), features).2.store()
}

#[test]
fn a_second_run_translates_nothing() {
    let store = record(&program(3, &[]), Features::default());
    let (sum, (translated, recalled), jit) = run(&program(3, &[]), Saved::Store(store), Features::default());
    assert_eq!((sum, translated), (300, 0));
    let (stored, changed) = (&jit.shared.statistics().stored, &jit.shared.statistics().changed);
    assert_eq!(stored.load(core::sync::atomic::Ordering::SeqCst), recalled);
    assert_eq!(changed.load(core::sync::atomic::Ordering::SeqCst), 0);
    // What comes from a store can be listed like all else: the same slots make the same code.
    let slots: Vec<_> = Store::open(store, Features::default()).unwrap().slots().collect();
    assert!(slots.iter().any(|(target, _)| *target == FUNCTION), "{slots:x?}");
    for (number, (target, context)) in (0..).zip(slots) {
        assert_eq!(jit.shared.slot(target, context), Some(number));
    }
}

#[test]
fn code_that_is_another_is_not_taken() {
    let store = record(&program(3, &[]), Features::default());
    let (sum, (translated, recalled), jit) = run(&program(5, &[]), Saved::Store(store), Features::default());
    assert_eq!(sum, 500);
    assert!(translated > 0 && recalled > 0, "the function has changed, and the loop has not");
    assert!(jit.shared.statistics().changed.load(core::sync::atomic::Ordering::SeqCst) > 0);
}

#[test]
fn code_that_changes_is_found_in_each_of_its_forms() {
    // The function's number is alternately 1 and 2: `addi a0, a0, 1` ^ `addi a0, a0, 2`.
    let flip = [lw(T0, A2, 0), xor(T0, T0, T1), sw(T0, A2, 0), FENCE_I];
    let flipping = || {
        let mut words: Vec<u32> = vec![addi(T1, ZERO, 3), slli(T1, T1, 20)];
        words.extend(flip);
        program(1, &words)
    };
    let store = record(&flipping(), Features::default());
    let (sum, (translated, recalled), _) = run(&flipping(), Saved::Store(store), Features::default());
    assert_eq!((sum, translated), (150, 0));
    let blocks = Store::open(store, Features::default()).unwrap().blocks();
    assert!(recalled > blocks.into(), "{recalled} of {blocks}: they come and go");
}

#[test]
fn a_cpu_that_has_less_takes_none() {
    let (all, none) = (Features { lse: true, pmull: true }, Features::default());
    let store = record(&program(3, &[]), all);
    assert!(
        Store::open(store, none).is_none() && Store::open(store, Features { lse: true, ..none }).is_none()
    );
    let (sum, (translated, recalled), _) = run(&program(3, &[]), Saved::Store(store), none);
    assert!((sum, recalled) == (300, 0) && translated > 0);
    // One that has more does.
    let store = record(&program(3, &[]), none);
    assert_eq!(run(&program(3, &[]), Saved::Store(store), all).1.0, 0);
}

#[test]
fn a_store_is_sealed_for_its_engine() {
    let store = record(&program(3, &[]), Features::default());
    let bytes: Vec<u8> = store.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert!(bytes.len().is_multiple_of(4096));
    assert!(StoreHeader::check(&bytes, &ENGINE, 0, checksum).is_ok());
    let expected = [8; 32];
    let other = StoreHeader::check(&bytes, &expected, 0, checksum);
    assert_eq!(other, Err(Unfit::Engine { found: ENGINE, expected }));
}

/// What is lifted while breakpoints are set, or have been, is another thing in another run.
#[test]
fn what_a_debugger_has_had_to_do_with_is_neither_recorded_nor_recalled() {
    let debugged = |saved| {
        let board = program(3, &[]);
        board.debugger.set_breakpoint(FUNCTION);
        *board.debugger.acts.lock().unwrap() = vec![Act::Clear];
        let (sum, origins, jit) = run(&board, saved, Features::default());
        assert_eq!((sum, board.debugger.stops.lock().unwrap().len()), (300, 1));
        (origins, jit)
    };
    let (_, jit) = debugged(Saved::Record(1 << 12));
    assert!(jit.counts().blocks > 0);
    assert_eq!(Store::open(jit.store(), Features::default()).unwrap().blocks(), 0);
    let store = record(&program(3, &[]), Features::default());
    let ((translated, recalled), _) = debugged(Saved::Store(store));
    assert!(translated > 0 && recalled == 0, "{translated} translated, {recalled} recalled");
}

#[test]
fn a_recording_that_is_full_is_still_one() {
    let board = program(3, &[]);
    let all = run(&board, Saved::Record(1 << 12), Features::default()).2.shared.recorded().len();
    let mut most = 0;
    for words in RecordingHeader::WORDS..=all {
        let (sum, _, jit) = run(&program(3, &[]), Saved::Record(words), Features::default());
        assert_eq!(sum, 300);
        let full = jit.shared.statistics().recording_full.load(core::sync::atomic::Ordering::SeqCst);
        assert_eq!(full != 0, words < all, "{words} of {all}");
        let store = jit.store();
        let (sum, (_, recalled), _) = run(&program(3, &[]), Saved::Store(store), Features::default());
        assert!(sum == 300 && recalled >= most, "{words} words: {recalled} blocks");
        most = recalled;
    }
    assert!(most > 0);
}

#[test]
fn what_is_no_recording_is_refused() {
    let recording = run(&program(3, &[]), Saved::Record(1 << 12), Features::default()).2.shared.recorded();
    let refused = |words: &[u32]| assemble(words, ENGINE, checksum).unwrap_err();
    assert_eq!(refused(&[]), Malformed { word: 0 });
    assert_eq!(refused(&recording[..recording.len() - 1]), Malformed { word: 0 });
    let mut damaged = recording.clone();
    damaged[RecordingHeader::WORDS] += 1 << 20;
    assert_eq!(refused(&damaged), Malformed { word: RecordingHeader::WORDS });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a store's words are, looking for its blocks ends, and what is found keeps to its own words.
    #[test]
    fn a_damaged_store_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u32..32, any::<Option<u32>>()), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let board = program(3, &[]);
        let mut store = record(&board, Features::default()).to_vec();
        let used = store.iter().rposition(|word| *word != 0 && *word != store[store.len() - 1]).unwrap();
        for (index, bit, word) in damage {
            let at = index.index(used + 1);
            store[at] = word.unwrap_or(store[at] ^ 1 << bit);
        }
        if let Some(cut) = cut {
            store.truncate(cut.index(store.len()));
        }
        // As the header has it, so that the rest is looked at.
        let len = store.len() as u32;
        if let Some(place) = store.get_mut(12) {
            *place = len;
        }
        let Some(opened) = Store::open(&store, Features { lse: true, pmull: true }) else { return Ok(()) };
        prop_assert!(opened.slots().count() <= store.len());
        let mut buffers = Buffers::default();
        let mut blocks = 0;
        for pc in (RAM..RAM + 0x40).step_by(2).chain([FUNCTION]) {
            for context in (0..1 << 12).step_by(3) {
                for block in opened.candidates(pc, context) {
                    let key = Key { physical: pc, pc, context };
                    block.is_made_of(&Source { ram: board.ram(), key, second: Some(pc) });
                    let Some(compiled) = block.decode(&mut buffers) else { continue };
                    blocks += 1;
                    let words = compiled.words.len();
                    let exits = compiled.exits.iter().all(|exit| {
                        usize::from(exit.stub) + 1 < words
                            && exit.branch.is_none_or(|branch| usize::from(branch) < words)
                    });
                    let faults = compiled.faults.iter().all(|fault| usize::from(fault.word) < words);
                    prop_assert!(exits && faults, "{compiled:?}");
                }
            }
        }
        prop_assert!(blocks <= store.len() << 12);
    }
}
