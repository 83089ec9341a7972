//! EL2's side against made-up engines.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use polyvisor_cell_abi::{CodePages, JitStatistics, Question, RecordingHeader, Report, WriteLog};
use proptest::prelude::*;

use super::*;
use crate::hostile::Arena;
use crate::mm::addr::PAGE_SIZE;
use crate::mm::guest_memory::test::TestMemory;
use crate::mm::guest_ram::Watcher;

/// The page as the engine reads it.
fn info(memory: &TestMemory) -> CellInfo {
    let bytes = memory.bytes(Ipa(abi::PRIVATE), size_of::<CellInfo>() as u64);
    // SAFETY: plain numbers, of which every value is possible, and as many bytes as they have.
    unsafe { bytes.as_ptr().cast::<CellInfo>().read_unaligned() }
}

fn cell() -> TestMemory {
    let memory = TestMemory::new(Ipa(abi::PRIVATE), 2 * PAGE_SIZE);
    memory.zero(Ipa(abi::PRIVATE), 2 * PAGE_SIZE).unwrap();
    memory
}

#[test]
fn the_engine_reads_what_was_prepared() {
    let memory = cell();
    let start = Start {
        harts: 3,
        ram: (Ipa(0x8000_0000), 0x1000_0000),
        gic: 2,
        mode: riscv::MACHINE,
        entry: Ipa(0x8020_0000),
        arguments: [0x8700_0000, 0x8800_0000],
        translation: abi::Translation::LockStep,
        store: 0x3000,
        recording: 1 << 20,
    };
    prepare(&memory, &start).unwrap();
    let info = info(&memory);
    assert_eq!((info.magic, info.version, info.harts), (abi::MAGIC, abi::VERSION, 3));
    assert_eq!((info.ram_base, info.ram_size), (0x8000_0000, 0x1000_0000));
    assert_eq!((info.private_size, info.gic_version), (private_size(3, 1 << 20), 2));
    assert_eq!((info.store_size, info.recording_size), (0x3000, 1 << 20));
    assert_eq!((info.boot_mode, info.entry), (riscv::MACHINE, 0x8020_0000));
    assert_eq!(info.arguments, [0x8700_0000, 0x8800_0000]);
    assert_eq!(abi::Translation::from_bits(info.translation), Some(abi::Translation::LockStep));
}

#[test]
fn a_recording_is_told_as_far_as_there_is_one() {
    let memory = cell();
    let (start, size) = (Ipa(abi::PRIVATE + PAGE_SIZE), PAGE_SIZE);
    assert_eq!(recording(&memory, start, size), None);
    let write = |words| {
        let header = RecordingHeader { features: 1, words, blocks: 7, full: false };
        let bytes: Vec<u8> = header.encode().iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(start, &bytes).unwrap();
        header
    };
    let header = write(100);
    let found = recording(&memory, start, size).unwrap();
    let crc = crc32fast::hash(&memory.bytes(start, 400));
    assert_eq!((found.header, found.bytes, found.crc), (header, 400, crc));
    assert_eq!(found.pieces.iter().map(|(_, len)| len).sum::<u64>(), 400);
    // An engine may say anything.
    write(u32::MAX);
    assert_eq!(recording(&memory, start, size).unwrap().bytes, size);
}

#[test]
fn registers_are_where_the_engine_says() {
    let memory = cell();
    assert_eq!(registers(&memory, 1), None, "address 0 is the guest's, not the cell's");
    let state = abi::PRIVATE + PAGE_SIZE;
    memory.write(hart_at(1, offset_of!(HartInfo, state)), &state.to_le_bytes()).unwrap();
    set_registers(&memory, 1, [(riscv::PC, 0x8000_1234), (riscv::X + 5, 7)].into_iter()).unwrap();
    let found = registers(&memory, 1).unwrap();
    assert_eq!((found[riscv::PC], found[riscv::X + 5], found[riscv::X + 6]), (0x8000_1234, 7, 0));
    assert_eq!(registers(&memory, 0), None);
}

#[test]
fn an_engine_that_names_memory_which_is_not_its_own_gets_nothing() {
    let memory = cell();
    let end = abi::PRIVATE + 2 * PAGE_SIZE;
    for state in [0x8000_0000, abi::IMAGE, end - 8, end, u64::MAX - 7, u64::MAX] {
        memory.write(hart_at(0, offset_of!(HartInfo, state)), &state.to_le_bytes()).unwrap();
        assert_eq!(registers(&memory, 0), None, "{state:#x}");
        assert_eq!(set_registers(&memory, 0, [(riscv::PC, 1)].into_iter()), None, "{state:#x}");
        assert!(message(&memory, state, 100).contains("does not say why"), "{state:#x}");
    }
}

#[test]
fn a_message_has_neither_control_characters_nor_an_end_to_come() {
    let memory = cell();
    memory.write(Ipa(abi::PRIVATE), b"one\n\x1b[2J\x07two\xff").unwrap();
    assert_eq!(message(&memory, abi::PRIVATE, 13), "one\n [2J two\u{fffd}");
    assert_eq!(message(&memory, abi::PRIVATE, u64::MAX).len() as u64, abi::MAX_MESSAGE + 2);
}

#[test]
fn breakpoints_are_told_before_their_count_and_a_change() {
    let memory = cell();
    let points = [Point::Execution(0x8000_0004), Point::Execution(0x8000_0010)];
    debug(&memory, 2, Some(Setup { points: &points, step: true })).unwrap();
    let mut told = info(&memory);
    assert_eq!(*told.breakpoint_generation.get_mut(), 1);
    assert_eq!(*told.breakpoint_count.get_mut(), 2);
    assert_eq!([0, 1].map(|at: usize| *told.breakpoints[at].get_mut()), [0x8000_0004, 0x8000_0010]);
    assert_eq!(*told.hart[2].requests.get_mut(), abi::Requests::STEP);
    debug(&memory, 1, Some(Setup { points: &points, step: false })).unwrap();
    assert_eq!(*info(&memory).breakpoint_generation.get_mut(), 1, "they have not changed");
    debug(&memory, 2, None).unwrap();
    let mut told = info(&memory);
    assert_eq!((*told.breakpoint_generation.get_mut(), *told.breakpoint_count.get_mut()), (2, 0));
    assert_eq!(*told.hart[2].requests.get_mut(), 0);
}

/// Private memory that the engine has at hand, too.
struct Shared(Arena);

impl Shared {
    /// Where the engine keeps the bits of two words of pages.
    const BITS: u64 = PAGE_SIZE;

    fn new() -> Self {
        let memory = Arena::new(Ipa(abi::PRIVATE), 2 * PAGE_SIZE);
        let shared = Self(memory);
        shared.log().code_pages.store(abi::PRIVATE + Self::BITS, Ordering::Relaxed);
        shared
    }

    fn at<T>(&self, offset: u64) -> &T {
        let slice = self.0.slice(Ipa(abi::PRIVATE + offset), size_of::<T>() as u64).unwrap();
        assert!(slice.len() >= size_of::<T>());
        // SAFETY: as many bytes as it has, aligned, and atomic where they change.
        unsafe { &*slice.as_ptr().cast::<T>() }
    }

    fn log(&self) -> &WriteLog {
        self.at(offset_of!(CellInfo, written) as u64)
    }

    fn report(&self) -> &Report {
        self.at(offset_of!(CellInfo, report) as u64)
    }

    /// Tells EL2 where the statistics are.
    fn tell_statistics(&self, address: u64) {
        let told = self.at::<AtomicU64>(offset_of!(CellInfo, statistics) as u64);
        told.store(address, Ordering::Relaxed);
    }

    fn code(&self) -> CodePages<'_> {
        CodePages::new(self.at::<[AtomicU64; 2]>(Self::BITS))
    }
}

const RAM: Ipa = Ipa(0x8000_0000);

#[test]
fn pages_with_code_that_were_written_are_logged() {
    let shared = Shared::new();
    const NONE: [u32; 0] = [];
    let (code, writes) = (shared.code(), Writes::new(RAM));
    let mut cursor = 0;
    let mut logged = |from: u64, len: u64| {
        writes.written(&shared.0, Ipa(RAM.0.wrapping_add(from)), len);
        let mut pages = Vec::new();
        shared.log().read(&mut cursor, |page| pages.push(page)).unwrap();
        pages
    };
    [1, 3, 64].into_iter().for_each(|page| code.set(page));
    assert_eq!(logged(0, 5 * PAGE_SIZE), [1, 3]);
    assert_eq!(logged(2 * PAGE_SIZE - 1, 1), [1]);
    assert_eq!(logged(2 * PAGE_SIZE - 1, 2), [1]);
    assert_eq!(logged(4 * PAGE_SIZE - 1, 61 * PAGE_SIZE), [3, 64]);
    code.clear(3);
    assert_eq!(logged(3 * PAGE_SIZE, 8), NONE, "no code any more");
    assert_eq!(logged(0_u64.wrapping_sub(8), 8), NONE, "below RAM");
    shared.log().code_pages.store(0, Ordering::Relaxed);
    assert_eq!(logged(PAGE_SIZE, 8), NONE, "nothing is translated");
}

/// Whatever the engine has translated when it has been told of a write is not older than that.
#[test]
fn no_write_is_missed_by_an_engine_that_translates_meanwhile() {
    const DEVICES: usize = 2;
    const ROUNDS: u64 = 200_000;
    let (shared, writes) = (Shared::new(), Writes::new(RAM));
    // A page of each device: what is there, and what the guest has been told of.
    let pages: [(AtomicU64, AtomicU64); DEVICES] = Default::default();
    std::thread::scope(|scope| {
        for (page, (memory, told)) in pages.iter().enumerate() {
            let (shared, writes) = (&shared, &writes);
            scope.spawn(move || {
                for version in 1..=ROUNDS {
                    memory.store(version, Ordering::Relaxed);
                    writes.written(&shared.0, Ipa(RAM.0 + page as u64 * PAGE_SIZE), 8);
                    told.store(version, Ordering::Relaxed);
                }
            });
        }
        let code = shared.code();
        let mut cursor = shared.log().end();
        let mut translated = [None; DEVICES];
        let mut least = [0; DEVICES];
        while least != [ROUNDS; DEVICES] {
            least = pages.each_ref().map(|(_, told)| told.load(Ordering::Relaxed));
            let mut changed = [false; DEVICES];
            if shared.log().read(&mut cursor, |page| changed[page as usize] = true).is_err() {
                changed = [true; DEVICES];
            }
            for page in 0..DEVICES {
                if changed[page] {
                    code.clear(page as u32);
                    translated[page] = None;
                }
                let version = *translated[page].get_or_insert_with(|| {
                    code.set(page as u32);
                    pages[page].0.load(Ordering::Relaxed)
                });
                assert!(version >= least[page], "page {page}: {version}, {} was told of", least[page]);
            }
        }
    });
}

#[test]
fn statistics_are_read_where_the_engine_says() {
    let shared = Shared::new();
    assert_eq!(statistics(&shared.0), None, "not told yet");
    let counters: &JitStatistics = shared.at(PAGE_SIZE + 8);
    counters.blocks.store(3, Ordering::Relaxed);
    counters.mismatches.store(7, Ordering::Relaxed);
    shared.tell_statistics(abi::PRIVATE + PAGE_SIZE + 8);
    let expected = JitStatistics { blocks: 3, mismatches: 7, ..JitStatistics::default() };
    assert_eq!(statistics(&shared.0), Some(expected));
    let end = abi::PRIVATE + 2 * PAGE_SIZE;
    for address in [abi::PRIVATE + PAGE_SIZE + 4, end - 8, end, 0x8000_0000, abi::IMAGE, u64::MAX - 7] {
        shared.tell_statistics(address);
        assert_eq!(statistics(&shared.0), None, "{address:#x}");
    }
}

#[test]
fn the_engine_answers_the_question_that_it_was_asked() {
    let shared = Shared::new();
    let report = shared.report();
    let first = ask(&shared.0, 2, Question::Top(5));
    assert_eq!(report.question(), (first, Some(Question::Top(5))));
    let requests: &AtomicU32 = shared.at(hart_at(2, offset_of!(HartInfo, requests)).0 - abi::PRIVATE);
    assert_eq!(requests.load(Ordering::Relaxed), abi::Requests::REPORT);
    assert_eq!(answer(&shared.0, first), None);

    let address = abi::PRIVATE + PAGE_SIZE;
    shared.0.write(Ipa(address), b"block\x1b[2J\n").unwrap();
    report.answer(first, address, 10);
    assert_eq!(answer(&shared.0, first).as_deref(), Some("block [2J"));
    let second = ask(&shared.0, 2, Question::Block(u64::MAX));
    assert_ne!(first, second);
    assert_eq!(report.question(), (second, Some(Question::Block(u64::MAX))));
    assert_eq!(answer(&shared.0, second), None, "that was the first one's");

    report.answer(second, address, u32::MAX);
    assert!(answer(&shared.0, second).unwrap().contains("lost"), "private memory ends before");
    report.answer(second, 0x8000_0000, 8);
    assert!(answer(&shared.0, second).unwrap().contains("lost"), "that is the guest's");
}

proptest! {
    /// What the fuzzer does, for as long as a test may take.
    #[test]
    fn a_hostile_engine_is_survived(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        hostile::run(&input);
    }
}
