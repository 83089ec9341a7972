//! Tests.

mod vectors;

use alloc::string::ToString;

use proptest::prelude::*;

use super::{Instruction, decode, length};

fn text(word: u32) -> alloc::string::String {
    decode(word).map_or("illegal".to_string(), |instruction| instruction.to_string())
}

#[test]
fn full_instructions_are_what_llvm_says() {
    for &(word, expected) in vectors::FULL {
        assert_eq!(text(word), expected, "{word:#010x}");
        assert_eq!(length(word as u16), 4);
    }
}

#[test]
fn compressed_instructions_are_what_llvm_says() {
    for &(parcel, expected) in vectors::COMPRESSED {
        assert_eq!(text(u32::from(parcel)), expected, "{parcel:#06x}");
        assert_eq!(length(parcel), 2);
    }
}

#[test]
fn reserved_encodings_are_illegal() {
    let reserved = [
        (0x0000, "the defined illegal instruction"),
        (0x0004, "C.ADDI4SPN without an immediate"),
        (0x8000, "quadrant 0, function 4"),
        (0x2001, "C.ADDIW to x0"),
        (0x6081 & !0x0080 | 0x0080, "C.LUI without an immediate"),
        (0x6101, "C.ADDI16SP without an immediate"),
        (0x9c41, "MISC-ALU, 1 1 2"),
        (0x9c61, "MISC-ALU, 1 1 3"),
        (0x4002, "C.LWSP to x0"),
        (0x6002, "C.LDSP to x0"),
        (0x8002, "C.JR to x0"),
        (0x0000_001f, "an instruction of 48 bits"),
        (0xffff_ffff, "an instruction of 192 bits and more"),
        (0x0200_101b, "SLLIW by 32"),
        (0x0400_1013, "SLLI by 64"),
        (0x1010_202f, "LR.W with a source"),
        (0x0000_502f & !0x7000, "an AMO of bytes"),
        (0x0015_5053, "FADD.S with rounding mode 5"),
        (0x0015_6053, "FADD.S with rounding mode 6"),
        (0x0415_0053, "FADD.H"),
        (0x4000_7053, "FCVT.S.S"),
        (0x4210_7053, "FCVT.D.D"),
        (0xc284_2053, "FCVTMOD.W.D that does not round towards zero"),
        (0x0815_403b, "PACKW, of which ZEXT.H is the part that exists"),
        (0x0020_0073, "URET"),
        (0x3020_0173, "MRET with a destination"),
        (0x1030_0073, "a hypervisor's instruction"),
        (0x0000_4073, "SYSTEM, function 4"),
        (0x0000_2083 | 0x7000, "LOAD, function 7"),
        (0x0030_200f, "CBO, function 3"),
        (0x0000_0057, "a vector instruction"),
    ];
    for (word, what) in reserved {
        assert_eq!(decode(word), None, "{what}: {word:#010x}");
    }
}

/// Unprivileged ISA, "Memory Ordering Instructions": "base implementations shall ignore these fields"; the
/// same for FENCE.I.
#[test]
fn reserved_fields_of_fences_are_ignored() {
    assert_eq!(decode(0xf330_8f8f & !0x0f00_0000), Some(Instruction::Fence { before: 0, after: 3 }));
    assert_eq!(decode(0xfff0_9f8f), Some(Instruction::FenceI));
}

/// How many of the 49152 parcels are instructions; all of them were compared with LLVM once.
#[test]
fn no_other_compressed_instruction_is_legal() {
    let legal = (0..=u16::MAX).filter(|&parcel| length(parcel) == 2 && decode(u32::from(parcel)).is_some());
    assert_eq!(legal.count(), 46_743);
}

proptest! {
    #[test]
    fn every_word_is_an_instruction_or_illegal(word: u32, upper: u16) {
        // Not a word makes it panic, and neither does its text.
        let instruction = decode(word);
        prop_assert!(instruction.is_none_or(|instruction| !instruction.to_string().is_empty()));
        if length(word as u16) == 2 {
            prop_assert_eq!(decode(word & 0xffff | u32::from(upper) << 16), instruction);
        }
    }
}
