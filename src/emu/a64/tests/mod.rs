//! Every encoding, as a disassembler that shares nothing with the assembler reads it.

mod branches;
mod float;
mod immediates;
mod integer;
mod memory;
mod registers;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use proptest::{prelude::*, sample::select};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction};

use super::*;
use crate::memory::Size;

fn decode(word: u32) -> Instruction {
    let bytes = word.to_le_bytes();
    InstDecoder::default()
        .decode(&mut U8Reader::new(&bytes))
        .unwrap_or_else(|e| panic!("{word:#010x}: {e:?}"))
}

/// The words that `write` emits, finished.
fn assemble(write: impl FnOnce(&mut Assembler)) -> Vec<u32> {
    let mut assembler = Assembler::new();
    write(&mut assembler);
    assembler.finish().unwrap();
    assembler.words().to_vec()
}

/// The one instruction that `write` emits, as text.
fn text(write: impl FnOnce(&mut Assembler)) -> String {
    let words = assemble(write);
    assert_eq!(words.len(), 1);
    decode(words[0]).to_string()
}

#[track_caller]
fn check(write: impl FnOnce(&mut Assembler), expected: &str) {
    assert_eq!(text(write), expected);
}

/// The name of a register. 31 has a table of its own (`registers`).
fn name(b: Bits, x: X) -> String {
    let letter = match b {
        Bits::W32 => 'w',
        Bits::W64 => 'x',
    };
    format!("{letter}{}", x.number())
}

/// An instruction's operand that is a signed offset or nothing at all.
fn offset(imm: i64) -> String {
    match imm {
        0 => String::new(),
        1.. => format!(", #{imm:#x}"),
        _ => format!(", #-{:#x}", -imm),
    }
}

fn x() -> impl Strategy<Value = X> {
    (0..=30u8).prop_map(X::new)
}

fn v() -> impl Strategy<Value = V> {
    (0..=31u8).prop_map(V::new)
}

fn bits() -> impl Strategy<Value = Bits> {
    select(&[Bits::W32, Bits::W64])
}

fn size() -> impl Strategy<Value = Size> {
    select(&[Size::Byte, Size::Half, Size::Word, Size::Double])
}

const CONDITIONS: [(Cond, &str); 14] = [
    (Cond::Eq, "eq"),
    (Cond::Ne, "ne"),
    (Cond::Hs, "hs"),
    (Cond::Lo, "lo"),
    (Cond::Mi, "mi"),
    (Cond::Pl, "pl"),
    (Cond::Vs, "vs"),
    (Cond::Vc, "vc"),
    (Cond::Hi, "hi"),
    (Cond::Ls, "ls"),
    (Cond::Ge, "ge"),
    (Cond::Lt, "lt"),
    (Cond::Gt, "gt"),
    (Cond::Le, "le"),
];

fn cond() -> impl Strategy<Value = (Cond, &'static str)> {
    select(&CONDITIONS)
}
