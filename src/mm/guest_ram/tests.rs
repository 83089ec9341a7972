use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use proptest::prelude::*;

use super::super::addr::{GIB, PhysAddr};
use super::super::frames::{Frames, Owner};
use super::*;

struct TestRegime;

impl Tlb for TestRegime {
    fn invalidate(&self, _: u64, _: u64) {}
    fn publish(&self) {}
}

impl Stage2Regime for TestRegime {
    fn ram(&self) -> Attributes {
        Attributes(0b11 << 6)
    }
    fn rom(&self) -> Attributes {
        Attributes(0b01 << 6)
    }
    fn flush(&self, _: *const u8, _: usize) {}
}

/// Frames are counted for the whole machine, so these tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn memory(areas: &[(Ipa, u64, Kind)]) -> Result<GuestRam<TestRegime>, ReserveError> {
    GuestRam::reserve(Tables::new(40, 1, TestRegime).unwrap(), areas)
}

fn read<const N: usize>(memory: &GuestRam<TestRegime>, ipa: Ipa) -> [u8; N] {
    let mut bytes = [0xee; N];
    memory.pin().read(ipa, &mut bytes).unwrap();
    bytes
}

const RAM: Ipa = Ipa(GIB);

#[test]
fn memory_is_mapped_when_touched_and_zero_after_clearing() {
    let _alone = alone();
    let memory = memory(&[(Ipa(0), CHUNK, Kind::Rom), (RAM, 3 * CHUNK, Kind::Ram)]).unwrap();
    assert_eq!(memory.populated(), 0);
    assert_eq!(memory.fault_in(Ipa(GIB + CHUNK)), Ok(Found::Memory(Kind::Ram)));
    assert_eq!(memory.fault_in(Ipa(0x100)), Ok(Found::Memory(Kind::Rom)));
    assert_eq!(memory.fault_in(Ipa(GIB + 3 * CHUNK)), Ok(Found::Nothing));
    assert_eq!(memory.populated(), 2 * CHUNK);
    let mapped = memory.with_tables(|tables| tables.translate(GIB + CHUNK)).unwrap();
    assert_eq!(mapped.leaf_size, CHUNK);

    let across = Ipa(GIB + 2 * CHUNK - 3);
    memory.pin().write(across, b"secret").unwrap();
    assert_eq!(&read(&memory, across), b"secret");
    memory.clear().unwrap();
    assert_eq!(memory.populated(), 0);
    assert_eq!(read(&memory, across), [0; 6]);
    assert_eq!(memory.ram(), &[RAM..Ipa(GIB + 3 * CHUNK)]);
}

#[test]
fn memory_is_scrubbed_when_it_is_given_back() {
    let _alone = alone();
    for (cleared, released) in [(false, false), (true, false), (false, true), (true, true)] {
        let memory = memory(&[(RAM, CHUNK, Kind::Ram)]).unwrap();
        memory.pin().write(Ipa(GIB + 5000), b"secret").unwrap();
        let frame = memory.areas[0].chunks[0].frame().unwrap();
        if cleared {
            memory.clear().unwrap();
        }
        if released {
            memory.release(RAM).unwrap();
        }
        drop(memory);
        // SAFETY: on the host, free frames are ordinary memory, and no other test takes chunks now.
        let found = unsafe { core::slice::from_raw_parts(frame.as_ptr().add(5000), 6) };
        assert_eq!(found, [0; 6], "cleared before: {cleared}, released before: {released}");
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Witness(std::sync::Arc<Mutex<Vec<(u64, u64)>>>);

impl Watcher for Witness {
    fn written(&self, own: &dyn GuestMemory, ipa: Ipa, len: u64) {
        assert!(own.slice(OWN, 1).is_ok() && own.slice(RAM, 1).is_err());
        self.0.lock().unwrap().push((ipa.0, len));
    }
}

const OWN: Ipa = Ipa(2 * GIB);

#[test]
fn a_watcher_is_told_of_whatever_is_written_but_to_private_memory() {
    let _alone = alone();
    let witness = Witness::default();
    let told = witness.0.clone();
    let memory = memory(&[(RAM, 2 * CHUNK, Kind::Ram), (OWN, CHUNK, Kind::Private)]).unwrap();
    let memory = memory.watched(Box::new(witness));
    let expect = |expected: &[(u64, u64)]| assert_eq!(core::mem::take(&mut *told.lock().unwrap()), expected);
    let pinned = memory.pin();
    let piece = pinned.slice(Ipa(GIB + 0x1004), 0x100).unwrap();
    let (word, part) = (piece.store(4, 7_u32), piece.part(8, 16).unwrap());
    assert!(word && part.write(3, b"abc") && part.part(1, 2).unwrap().store(0, 7_u8));
    expect(&[(GIB + 0x1008, 4), (GIB + 0x100f, 3), (GIB + 0x100d, 1)]);
    part.clear();
    assert_eq!(part.copy_to(piece), 16);
    expect(&[(GIB + 0x100c, 16), (GIB + 0x1004, 16)]);
    assert!(!part.write(14, b"abc") && !piece.store(5, 7_u32) && piece.load::<u32>(4).is_some());
    pinned.read(RAM, &mut [0; 8]).unwrap();
    expect(&[]);
    pinned.write(Ipa(GIB + CHUNK - 1), b"ab").unwrap();
    memory.loading().zero(RAM, 64).unwrap();
    expect(&[(GIB + CHUNK - 1, 1), (GIB + CHUNK, 1), (GIB, 64)]);
    memory.pin_private().write(OWN, b"abc").unwrap();
    expect(&[]);
    drop(pinned);
    memory.release(RAM).unwrap();
    expect(&[(GIB, CHUNK)]);
}

#[test]
fn what_passes_the_end_is_refused_whole() {
    let _alone = alone();
    let memory = memory(&[(RAM, CHUNK, Kind::Ram)]).unwrap();
    let end = Ipa(GIB + CHUNK - 2);
    let pinned = memory.pin();
    assert_eq!(pinned.write(end, b"abc"), Err(MemoryError::Unbacked { ipa: end, len: 3 }));
    assert!(pinned.read(Ipa(u64::MAX), &mut [0; 2]).is_err());
}

#[test]
fn a_guest_larger_than_the_machine_is_refused_with_both_sizes() {
    let _alone = alone();
    let error = memory(&[(RAM, 1 << 45, Kind::Ram)]).err();
    assert!(
        matches!(error, Some(ReserveError::TooLarge { wanted, available }) if wanted == 1 << 45 && available < wanted)
    );
    assert_eq!(memory(&[(RAM, 4096, Kind::Ram)]).err(), Some(ReserveError::Size { found: 4096 }));
}

#[test]
fn a_chunk_is_given_back_only_whole_and_while_no_device_uses_memory() {
    let _alone = alone();
    let memory = memory(&[(Ipa(0), CHUNK, Kind::Rom), (RAM, 2 * CHUNK, Kind::Ram)]).unwrap();
    for ipa in [Ipa(0), Ipa(GIB + PAGE_SIZE), Ipa(GIB + 2 * CHUNK), Ipa(u64::MAX)] {
        assert_eq!(memory.release(ipa), Err(ReclaimError::Unbacked { ipa }));
    }
    let pinned = memory.pin();
    assert_eq!(memory.release(RAM), Err(ReclaimError::Pinned));
    drop(pinned);
    assert_eq!((memory.release(RAM), memory.release(RAM)), (Ok(()), Ok(())));
    assert_eq!((memory.returned(), memory.populated()), (CHUNK, 0));
}

#[test]
fn others_can_have_what_was_given_back_and_its_owner_goes_without_until_it_is_free() {
    let _alone = alone();
    let before = frames::in_use(Owner::Guest);
    let memory = memory(&[(RAM, 2 * CHUNK, Kind::Ram)]).unwrap();
    memory.fault_in(RAM).unwrap();
    memory.release(RAM).unwrap();
    assert_eq!(frames::in_use(Owner::Guest), before + CHUNK);
    assert_eq!(memory.with_tables(|tables| tables.translate(GIB)), None);

    let refused = frames::starving(|| (memory.fault_in(RAM), memory.pin().read(RAM, &mut [0])));
    assert!(matches!(refused.0, Err(TableError::OutOfFrames(_))));
    assert_eq!(refused.1, Err(MemoryError::OutOfFrames { ipa: RAM }));
    assert_eq!(memory.returned(), CHUNK);
    // What was not given back needs no free frame, for the tables exist.
    assert_eq!(memory.fault_in(RAM), Ok(Found::Memory(Kind::Ram)));
    assert_eq!((memory.returned(), memory.populated()), (0, CHUNK));
    drop(memory);
    assert_eq!(frames::in_use(Owner::Guest), before);
}

#[derive(Debug, Clone)]
enum Step {
    Touch(u64),
    Write(u64, u8),
    Release(u64),
    Clear,
    /// Somebody else takes a chunk for good, and fills it.
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..CHUNKS).prop_map(Step::Touch),
        6 => (0..CHUNKS, 1..=u8::MAX).prop_map(|(chunk, value)| Step::Write(chunk, value)),
        6 => (0..CHUNKS).prop_map(Step::Release),
        1 => Just(Step::Clear),
        2 => Just(Step::Take),
    ]
}

const CHUNKS: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Reserved,
    Mapped(u8),
    Returned,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Memory reads as what its own guest has written there since it last lost it, whatever is touched, given back,
    /// cleared and taken by others in between; no frame has two owners, and none is lost.
    #[test]
    fn memory_behaves_as_a_model_of_it(steps in prop::collection::vec(step(), 1..40)) {
        let _alone = alone();
        let before = frames::in_use(Owner::Guest);
        let memory = memory(&[(RAM, CHUNKS * CHUNK, Kind::Ram)]).unwrap();
        let at = |chunk: u64| Ipa(GIB + chunk * CHUNK);
        let mut model = [Expected::Reserved; CHUNKS as usize];
        let mut others: Vec<Frames> = Vec::new();
        for step in steps {
            match step {
                Step::Touch(chunk) => {
                    prop_assert_eq!(memory.fault_in(at(chunk)), Ok(Found::Memory(Kind::Ram)));
                    let slot = &mut model[chunk as usize];
                    if !matches!(slot, Expected::Mapped(_)) {
                        *slot = Expected::Mapped(0);
                    }
                }
                Step::Write(chunk, value) => {
                    memory.pin().write(at(chunk), &vec![value; CHUNK as usize]).unwrap();
                    model[chunk as usize] = Expected::Mapped(value);
                }
                Step::Release(chunk) => {
                    prop_assert_eq!(memory.release(at(chunk)), Ok(()));
                    model[chunk as usize] = Expected::Returned;
                }
                Step::Clear => {
                    memory.clear().unwrap();
                    for slot in &mut model {
                        if *slot != Expected::Returned {
                            *slot = Expected::Reserved;
                        }
                    }
                }
                Step::Take if others.len() < 8 => {
                    let frame = Frames::allocate(CHUNK, Owner::Guest).unwrap();
                    // SAFETY: the frame is owned.
                    unsafe { frame.as_ptr().write_bytes(0x5a, CHUNK as usize) };
                    others.push(frame);
                }
                Step::Take => {}
            }
            let count = |wanted: fn(&Expected) -> bool| model.iter().filter(|slot| wanted(slot)).count() as u64 * CHUNK;
            let returned = count(|slot| *slot == Expected::Returned);
            prop_assert_eq!(memory.returned(), returned);
            prop_assert_eq!(memory.populated(), count(|slot| matches!(slot, Expected::Mapped(_))));
            let held = (CHUNKS + others.len() as u64) * CHUNK - returned;
            prop_assert_eq!(frames::in_use(Owner::Guest), before + held);

            let mut owned: BTreeSet<PhysAddr> = others.iter().map(Frames::address).collect();
            for (chunk, slot) in (0u64..).zip(&model) {
                let mapped = memory.with_tables(|tables| tables.translate(at(chunk).0));
                let Expected::Mapped(value) = *slot else {
                    prop_assert_eq!(mapped, None);
                    continue;
                };
                prop_assert!(owned.insert(mapped.unwrap().output), "a frame has two owners");
                for offset in [0, 4095, CHUNK / 2, CHUNK - 1] {
                    prop_assert_eq!(read(&memory, Ipa(at(chunk).0 + offset)), [value]);
                }
            }
            for frame in &others {
                // SAFETY: as above.
                let ends = unsafe { [frame.as_ptr().read(), frame.as_ptr().add(CHUNK as usize - 1).read()] };
                prop_assert_eq!(ends, [0x5a; 2]);
            }
        }
        drop(memory);
        drop(others);
        prop_assert_eq!(frames::in_use(Owner::Guest), before);
    }
}
