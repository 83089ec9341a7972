//! The cache: by examples, and compared with a naive one.

use alloc::{sync::Arc, vec, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use proptest::prelude::*;

use super::machine::{CODE, Code};
use crate::interp::Key;
use crate::jit::cache::{BlockId, Cache, ExitId};
use crate::jit::compile::float::Pending;
use crate::jit::compile::{Compiled, Exit, ExitKind, Fault};

const RAM: u64 = 0x8000_0000;
const PAGES: u64 = 16;
/// What a test's block has before its exits, and the words of each exit: a branch, the stub, its number.
const BODY: usize = 2;
const EXIT: usize = 3;
const NOP: u32 = 0xd503_201f;
const FIXED: [u32; 2] = [1, 2];

fn key(pc: u64) -> Key {
    Key { physical: RAM | pc & 0xffff, pc, context: 3 }
}

const fn jump(target: u64) -> ExitKind {
    ExitKind::Jump { target, backward: false }
}

/// A cache, and what a CPU sees of it.
struct Machine {
    cache: Cache<Code>,
    executed: Arc<[AtomicU32]>,
}

impl Machine {
    fn new(words: usize) -> Self {
        let code = Code::new(words, |word| word);
        let executed = code.executed();
        Self { cache: Cache::new(code, &FIXED, RAM..RAM + PAGES * 4096), executed }
    }

    /// Adds a block with these exits, and an instruction that may fault at its first word.
    fn insert(&mut self, key: Key, kinds: &[ExitKind]) -> Option<BlockId> {
        let mut words = vec![NOP; BODY];
        let mut exits = Vec::new();
        for (number, &kind) in (0..).zip(kinds) {
            let at = words.len() as u16;
            let linkable = matches!(kind, ExitKind::Jump { .. });
            exits.push(Exit { branch: linkable.then_some(at), stub: at + 1, kind });
            // `b . + 4`, `bl .`, the number.
            words.extend([0x1400_0001, 0x9400_0000, number]);
        }
        let offset = (key.pc & 0xfff) as u16;
        let faults =
            [Fault { word: 1, offset: offset + 4, retired: 1, pending: 6, floats: Pending::default() }];
        let compiled = Compiled {
            words: &words,
            faults: &faults,
            exits: &exits,
            guest_instructions: 5,
            code: 0,
            starts: &[],
            main: 0,
            uses_float: false,
        };
        self.cache.insert(key, &compiled)
    }

    /// The index of a block's first word.
    fn start(&self, block: BlockId) -> usize {
        ((self.cache.entry(block) - CODE) / 4) as usize
    }

    /// The index of the branch of a block's exit.
    fn branch(&self, block: BlockId, exit: usize) -> usize {
        self.start(block) + BODY + EXIT * exit
    }

    /// Where a branch leads, with or without link.
    fn target(&self, word: usize) -> usize {
        let code = self.executed[word].load(SeqCst);
        assert_eq!(code >> 26 & 0x1f, 5, "no branch: {code:#x}");
        word.wrapping_add_signed(((code << 6).cast_signed() >> 6) as isize)
    }

    /// Follows an exit, as far as to what identifies it.
    fn leave(&mut self, block: BlockId, exit: usize) -> ExitId {
        let branch = self.branch(block, exit);
        assert_eq!((self.target(branch), self.target(branch + 1)), (branch + 1, 0), "to the stub, and out");
        self.cache.exit_at(CODE + 4 * (branch as u64 + 2)).unwrap()
    }
}

#[test]
fn a_block_is_found_by_all_of_its_key() {
    let mut machine = Machine::new(1000);
    let key = key(0x1000);
    let block = machine.insert(key, &[]).unwrap();
    assert_eq!(machine.cache.find(key), Some(block));
    let others = [
        Key { physical: key.physical + 0x1000, ..key },
        Key { pc: key.pc + 0x10_0000, ..key },
        Key { context: 2, ..key },
    ];
    assert_eq!(others.map(|other| machine.cache.find(other)), [None; 3]);
    assert_eq!(machine.cache.block(block).unwrap().instructions, 5);
    assert_eq!((machine.start(block), machine.executed[0].load(SeqCst)), (FIXED.len(), FIXED[0]));
}

#[test]
fn addresses_lead_back_to_blocks_exits_and_guest_instructions() {
    let mut machine = Machine::new(1000);
    let blocks =
        [0x1000, 0x1100, 0x1200].map(|pc| machine.insert(key(pc), &[jump(0), ExitKind::Indirect]).unwrap());
    assert!(machine.cache.insert_untranslated(key(0x1300)).is_some());
    let last = machine.insert(key(0x1400), &[jump(7)]).unwrap();
    for block in blocks.into_iter().chain([last]) {
        let entry = machine.cache.entry(block);
        let found = [0, 4, 8, 16].map(|offset| machine.cache.containing(entry + offset));
        assert_eq!(found, [Some(block); 4]);
        assert!(machine.cache.locate(entry).is_none());
        let place = machine.cache.locate(entry + 4).unwrap();
        let pc = machine.cache.block(block).unwrap().key.pc;
        assert_eq!((place.pc, place.retired, place.pending), (pc + 4, 1, 6));
    }
    let exit = machine.leave(last, 0);
    assert_eq!(machine.cache.exit(exit), Some(jump(7)));
    let exit = machine.leave(blocks[1], 0);
    assert_eq!(machine.cache.exit(exit), Some(jump(0)));
    let stub = CODE + 4 * (machine.branch(blocks[1], 1) as u64 + 2);
    let exit = machine.cache.exit_at(stub).unwrap();
    assert_eq!(machine.cache.exit(exit), Some(ExitKind::Indirect));
    // The fixed routines, what nothing has been written to, and what is not in the cache at all.
    for address in [CODE, CODE + 4 * 900, CODE + 4 * 1000, CODE - 4, 0, u64::MAX] {
        assert_eq!((machine.cache.containing(address), machine.cache.exit_at(address)), (None, None));
    }
}

#[test]
fn links_forwards_pass_the_check_and_links_backwards_make_it() {
    let mut machine = Machine::new(1000);
    let backward = ExitKind::Jump { target: 0x1000, backward: true };
    let one = machine.insert(key(0x1000), &[jump(0x1100)]).unwrap();
    let two = machine.insert(key(0x1100), &[backward]).unwrap();
    let (forwards, backwards) = (machine.leave(one, 0), machine.leave(two, 0));
    machine.cache.link(forwards, two);
    machine.cache.link(backwards, one);
    assert_eq!(machine.target(machine.branch(one, 0)), machine.start(two) + 1);
    assert_eq!(machine.target(machine.branch(two, 0)), machine.start(one));
    assert_eq!(machine.cache.counts().links, 2);
}

#[test]
fn only_jumps_are_linked_and_only_to_their_targets() {
    let mut machine = Machine::new(1000);
    let one = machine.insert(key(0x1000), &[jump(0x1100), ExitKind::Interpret { pc: 0x1100 }]).unwrap();
    let two = machine.insert(key(0x1100), &[]).unwrap();
    let three = machine.insert(key(0x1200), &[]).unwrap();
    let exit = machine.leave(one, 0);
    machine.cache.link(exit, three);
    let stub = CODE + 4 * (machine.branch(one, 1) as u64 + 2);
    let other = machine.cache.exit_at(stub).unwrap();
    machine.cache.link(other, two);
    assert_eq!(machine.cache.counts().links, 0);
    // A block that is no more.
    machine.cache.invalidate_page(RAM + 0x1000, |_, _| {});
    machine.cache.link(exit, two);
    assert_eq!(machine.cache.counts().links, 0);
    machine.leave(one, 0);
}

#[test]
fn an_invalidated_page_is_not_entered_any_more() {
    let mut machine = Machine::new(1000);
    let blocks = [0x1000, 0x1ffe, 0x2000].map(|pc| machine.insert(key(pc), &[jump(0x1ffe)]).unwrap());
    // From a page that stays, too: the same code may be mapped twice.
    for block in blocks {
        let exit = machine.leave(block, 0);
        machine.cache.link(exit, blocks[1]);
    }
    let entries = blocks.map(|block| machine.cache.entry(block));
    let mut gone = Vec::new();
    machine.cache.invalidate_page(RAM + 0x1abc, |block, entry| gone.push((block.key.pc, entry)));
    gone.sort_unstable();
    assert_eq!(gone, [(0x1000, entries[0]), (0x1ffe, entries[1])]);
    let found = [0x1000, 0x1ffe, 0x2000].map(|pc| machine.cache.find(key(pc)).is_some());
    assert_eq!(found, [false, false, true]);
    for block in blocks {
        machine.leave(block, 0);
    }
    // Who is still in there finds out where it is.
    assert!(machine.cache.locate(entries[0] + 4).is_some());
    assert!(!machine.cache.has_blocks_on(RAM + 0x1000) && machine.cache.has_blocks_on(RAM + 0x2fff));
    assert_eq!(machine.cache.pages_with_blocks().collect::<Vec<_>>(), [RAM + 0x2000]);
    // What is translated anew is linked anew.
    let new = machine.insert(key(0x1ffe), &[]).unwrap();
    let exit = machine.leave(blocks[2], 0);
    machine.cache.link(exit, new);
    assert_eq!(machine.target(machine.branch(blocks[2], 0)), machine.start(new) + 1);
}

#[test]
fn what_is_made_of_other_code_of_the_page_stays() {
    let mut machine = Machine::new(1000);
    let places = [0x1000, 0x103e, 0x1040, 0x1ffe, 0x2040];
    let blocks = places.map(|pc| machine.insert(key(pc), &[jump(0x1000)]).unwrap());
    let mut changed = |at: u64, len: u64| {
        let mut gone = Vec::new();
        let bytes = RAM + at..=RAM + at + len - 1;
        machine.cache.invalidate(RAM + 0x1000, bytes, |block, _| gone.push(block.key.pc));
        gone.sort_unstable();
        gone
    };
    assert!(changed(0x1080, 0xf00).is_empty());
    // An instruction goes on behind the first piece.
    assert_eq!(changed(0x1041, 1), [0x103e, 0x1040]);
    // Bytes of a page before and behind do not count.
    assert_eq!(changed(0xff8, 9), [0x1000]);
    assert_eq!(changed(0x1ff8, 16), [0x1ffe]);
    assert!(changed(0x1000, 0x1000).is_empty());
    assert_eq!(machine.cache.find(key(0x2040)), Some(blocks[4]));
    assert!(!machine.cache.has_blocks_on(RAM + 0x1000));
}

#[test]
fn a_full_cache_starts_afresh() {
    let mut machine = Machine::new(100);
    let count = (0..).map_while(|index| machine.insert(key(index * 16), &[jump(0)])).count();
    assert!((10..20).contains(&count), "{count} blocks");
    let generation = machine.cache.generation();
    assert_eq!(machine.cache.insert_untranslated(key(0x8000)).is_some(), count < 16);
    machine.cache.clear();
    assert_ne!(machine.cache.generation(), generation);
    assert!(machine.cache.find(key(0)).is_none() && !machine.cache.has_blocks_on(RAM));
    let block = machine.insert(key(0), &[jump(0)]).unwrap();
    assert_eq!(machine.start(block), FIXED.len());
}

#[test]
fn what_is_not_ram_has_no_blocks() {
    let mut machine = Machine::new(1000);
    for physical in [0, RAM - 4, RAM + PAGES * 4096, u64::MAX] {
        let key = Key { physical, ..key(0x1000) };
        assert!(machine.insert(key, &[]).is_none() && !machine.cache.has_blocks_on(physical));
        machine.cache.invalidate_page(physical, |_, _| panic!("there is none"));
    }
}

#[test]
fn what_cannot_be_translated_is_remembered_until_it_changes() {
    let mut machine = Machine::new(1000);
    let block = machine.cache.insert_untranslated(key(0x1000)).unwrap();
    assert_eq!(machine.cache.find(key(0x1000)), Some(block));
    assert_eq!(machine.cache.block(block).unwrap().instructions, 0);
    // It has no code that could be entered.
    let other = machine.insert(key(0x1100), &[jump(0x1000)]).unwrap();
    let exit = machine.leave(other, 0);
    machine.cache.link(exit, block);
    machine.leave(other, 0);
    machine.cache.invalidate_page(RAM + 0x1000, |_, _| {});
    assert_eq!(machine.cache.find(key(0x1000)), None);
}

/// What is done to a cache.
#[derive(Debug, Clone)]
enum Action {
    /// A block at the place of this number is added, with jumps to others.
    Insert(u64, Vec<u64>),
    /// The exit of a block, both by number, is linked to the block that it leads to.
    Link(usize, usize),
    Invalidate(u64),
    Clear,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0u64..16, prop::collection::vec(0u64..16, 0..3)).prop_map(|(place, to)| Action::Insert(place, to)),
        16 => (any::<usize>(), 0usize..3).prop_map(|(block, exit)| Action::Link(block, exit)),
        2 => (0u64..4).prop_map(Action::Invalidate),
        1 => Just(Action::Clear),
    ]
}

/// A block as a naive cache has it: where it is, and where its exits lead: to which place, and to which block of which
/// number.
#[derive(Debug)]
struct Naive {
    id: BlockId,
    place: u64,
    valid: bool,
    exits: Vec<(u64, Option<usize>)>,
}

/// Four places on each of four pages.
const fn address(place: u64) -> u64 {
    0x1000 * (place / 4 + 1) + 0x40 * (place % 4)
}

proptest! {
    #[test]
    fn the_cache_is_what_a_naive_one_is(actions in prop::collection::vec(action(), 1..80)) {
        let mut machine = Machine::new(1 << 12);
        let mut naive: Vec<Naive> = Vec::new();
        for action in actions {
            match action {
                Action::Insert(place, to) => {
                    if naive.iter().any(|block| block.valid && block.place == place) {
                        continue;
                    }
                    let kinds: Vec<_> = to.iter().map(|&to| ExitKind::Jump { target: address(to), backward: to <= place }).collect();
                    let id = machine.insert(key(address(place)), &kinds).unwrap();
                    naive.push(Naive { id, place, valid: true, exits: to.into_iter().map(|to| (to, None)).collect() });
                }
                Action::Link(block, exit) => {
                    let Some(count) = core::num::NonZero::new(naive.len()) else { continue };
                    let block = block % count;
                    let Some(&(to, None)) = naive[block].exits.get(exit) else { continue };
                    let Some(target) = naive.iter().position(|block| block.valid && block.place == to) else { continue };
                    let id = machine.leave(naive[block].id, exit);
                    machine.cache.link(id, naive[target].id);
                    naive[block].exits[exit].1 = Some(target);
                }
                Action::Invalidate(page) => {
                    let mut gone = Vec::new();
                    machine.cache.invalidate_page(RAM + address(4 * page), |block, _| gone.push(block.key.pc));
                    let on_page = |block: &Naive| block.valid && block.place / 4 == page;
                    let mut expected: Vec<_> = naive.iter().filter(|block| on_page(block)).map(|block| address(block.place)).collect();
                    gone.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(gone, expected);
                    naive.iter_mut().filter(|block| on_page(block)).for_each(|block| block.valid = false);
                    let valid: Vec<bool> = naive.iter().map(|block| block.valid).collect();
                    for (_, target) in naive.iter_mut().flat_map(|block| &mut block.exits) {
                        *target = target.filter(|&target| valid[target]);
                    }
                }
                Action::Clear => {
                    machine.cache.clear();
                    naive.clear();
                }
            }
            for place in 0..16 {
                let expected = naive.iter().find(|block| block.valid && block.place == place).map(|block| block.id);
                prop_assert_eq!(machine.cache.find(key(address(place))), expected);
            }
            for block in &naive {
                for (index, &(to, target)) in block.exits.iter().enumerate() {
                    let branch = machine.branch(block.id, index);
                    let expected = match target {
                        Some(target) => machine.start(naive[target].id) + usize::from(to > block.place),
                        None => branch + 1,
                    };
                    prop_assert_eq!(machine.target(branch), expected);
                }
            }
        }
    }
}
