//! EL2's side against made-up engines.

use proptest::prelude::*;

use super::*;
use crate::mm::addr::PAGE_SIZE;
use crate::mm::guest_memory::test::TestMemory;

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
    };
    prepare(&memory, &start).unwrap();
    let info = info(&memory);
    assert_eq!((info.magic, info.version, info.harts), (abi::MAGIC, abi::VERSION, 3));
    assert_eq!((info.ram_base, info.ram_size), (0x8000_0000, 0x1000_0000));
    assert_eq!((info.private_size, info.gic_version), (private_size(3), 2));
    assert_eq!((info.boot_mode, info.entry), (riscv::MACHINE, 0x8020_0000));
    assert_eq!(info.arguments, [0x8700_0000, 0x8800_0000]);
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

proptest! {
    /// What the fuzzer does, for as long as a test may take.
    #[test]
    fn a_hostile_engine_is_survived(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        hostile::run(&input);
    }
}
