//! Harts that execute anything.

use std::vec::Vec;

use proptest::prelude::*;

use crate::riscv::hostile;

/// Major opcodes that have instructions (Unprivileged ISA, "RISC-V base opcode map").
const OPCODES: [u32; 18] = [
    0b00_000, 0b00_001, 0b00_011, 0b00_100, 0b00_101, 0b00_110, 0b01_000, 0b01_001, 0b01_011, 0b01_100,
    0b01_101, 0b01_110, 0b10_000, 0b10_100, 0b11_000, 0b11_001, 0b11_011, 0b11_100,
];
/// Fields above the registers that mean something in many of them.
const FUNCT7: [u32; 12] = [0x00, 0x01, 0x04, 0x05, 0x08, 0x09, 0x0c, 0x10, 0x14, 0x20, 0x24, 0x30];

fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(&OPCODES[..]);
    let funct7 = prop_oneof![prop::sample::select(&FUNCT7[..]), 0u32..128];
    prop_oneof![
        6 => (any::<u32>(), opcode, funct7)
            .prop_map(|(word, opcode, funct7)| (word & 0x1ff_ff80 | funct7 << 25 | opcode << 2 | 3).to_le_bytes().to_vec()),
        3 => any::<u16>().prop_map(|parcel| parcel.to_le_bytes().to_vec()),
        1 => any::<u32>().prop_map(|word| word.to_le_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// What the fuzzer does, for as long as a test may take.
    #[test]
    fn a_hostile_guest_is_survived(
        registers in proptest::collection::vec(any::<u8>(), 300),
        code in proptest::collection::vec(instruction(), 1..200),
    ) {
        hostile::run(&[registers, code.concat()].concat());
    }

    #[test]
    fn bytes_are_survived(input in proptest::collection::vec(any::<u8>(), 0..600)) {
        hostile::run(&input);
    }
}
