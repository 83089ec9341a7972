//! Code that is anything, with registers that are anything: what is translated of it does what it must, and no harm.

use std::vec;

use super::*;

/// Major opcodes that have instructions (Unprivileged ISA, "RISC-V base opcode map").
const OPCODES: [u32; 18] = [
    0b00_000, 0b00_001, 0b00_011, 0b00_100, 0b00_101, 0b00_110, 0b01_000, 0b01_001, 0b01_011, 0b01_100,
    0b01_101, 0b01_110, 0b10_000, 0b10_100, 0b11_000, 0b11_001, 0b11_011, 0b11_100,
];
/// Fields above the registers that mean something in many of them.
const FUNCT7: [u32; 12] = [0x00, 0x01, 0x04, 0x05, 0x08, 0x09, 0x0c, 0x10, 0x14, 0x20, 0x24, 0x30];
/// Where the code is, again and again.
const CODE: core::ops::Range<u64> = RAM + 0x6000..RAM + RAM_SIZE;
/// When it ends, in terms of [`Board::time`].
const TIME: u64 = 3000;

fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(&OPCODES[..]);
    let funct7 = prop_oneof![prop::sample::select(&FUNCT7[..]), 0u32..128];
    prop_oneof![
        6 => (any::<u32>(), opcode, funct7).prop_map(|(word, opcode, funct7)| {
            (word & 0x1ff_ff80 | funct7 << 25 | opcode << 2 | 3).to_le_bytes().to_vec()
        }),
        3 => any::<u16>().prop_map(|parcel| parcel.to_le_bytes().to_vec()),
        1 => any::<u32>().prop_map(|word| word.to_le_bytes().to_vec()),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => CODE.prop_map(|address| address & !7),
        2 => CODE,
        1 => any::<u64>(),
        1 => 0u64..4096,
        1 => any::<u64>().prop_map(|value| 1 << 47 | value >> 17),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_code_is_translated_as_it_is_defined(
        code in prop::collection::vec(instruction(), 1..100),
        registers in prop::collection::vec(value(), 64),
        features in features(), paging in paging(), lockstep in any::<bool>(),
    ) {
        let setting = Setting { paging, interrupts: None };
        // Loads the registers, and goes to the code.
        let source = Source { main: vec![], functions: vec![], offset: 0, registers };
        let board = setting.load(&source);
        let bytes: Vec<u8> = code.concat();
        let bytes: Vec<u8> = bytes.into_iter().cycle().take((CODE.end - CODE.start) as usize).collect();
        let registers = board.words(REGISTERS_AT..REGISTERS_AT + 512);
        board.load(CODE.start, &bytes);
        let mut program = Program::new(setting.seen(MAIN));
        setting.registers(&mut program);
        board.load(MAIN, &program.finish());
        for (address, value) in (REGISTERS_AT..).step_by(8).zip(registers) {
            board.ram().write(address, value).unwrap();
        }
        board.at(TIME, Board::end);
        let jit = Jit::new(&board, Options { features, lockstep, ..Options::default() });
        let hart = jit.run(&board, 0);
        let mismatches = jit.report.mismatches.lock().unwrap();
        prop_assert!(mismatches.is_empty(), "{:x?}", mismatches);
        prop_assert_eq!(hart.registers()[REGISTERS], 0);
    }
}
