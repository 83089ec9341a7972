//! Random pieces of code: registers move, boxes close, checks are put off, accesses fault, and none of it may be seen.

use std::vec::Vec;

use super::operations::{BOX, Random, encode, operations};
use super::*;
use crate::ir::{FloatKind, FloatOp, Format};

/// Floating-point registers that are used, two of which live in memory.
const FLOATS: [u32; 6] = [10, 11, 12, 13, 29, 30];

fn any(random: &mut Random, of: &[u32]) -> u32 {
    of[random.below(of.len() as u64) as usize]
}

/// An instruction. Half of them are for one format, so that there is something to compute with.
fn instruction(random: &mut Random, all: &[FloatOp], format: Format) -> u32 {
    let mut f = || any(random, &FLOATS);
    let [rd, rs1, rs2, rs3] = [f(), f(), f(), f()];
    let is_double = u32::from(format == Format::Double);
    let width = 2 + is_double;
    let sign = |rm: u32, rs2: u32| 0x2000_0053 | is_double << 25 | rs2 << 20 | rs1 << 15 | rm << 12 | rd << 7;
    let offset = (random.below(64) * 4) as u32;
    let base = any(random, &[5, 6, 14]);
    match random.below(20) {
        // FLW, FLD; FSW, FSD; ADDI.
        0..=2 => offset << 20 | base << 15 | width << 12 | rd << 7 | 0x07,
        3..=5 => offset >> 5 << 25 | rs2 << 20 | base << 15 | width << 12 | (offset & 31) << 7 | 0x27,
        6 => 8 << 20 | 5 << 15 | 5 << 7 | 0x13,
        7 => (-16i32 as u32) << 20 | 14 << 15 | 14 << 7 | 0x13,
        // FSGNJ and its like, also with the same register twice.
        8 => sign(random.below(3) as u32, rs2),
        9 => sign(random.below(3) as u32, rs1),
        // FMV.X.W, FMV.X.D; FMV.W.X, FMV.D.X; FLI.
        10 => 0xe000_0053 | is_double << 25 | rs1 << 15 | any(random, &[10, 7]) << 7,
        11 => 0xf000_0053 | is_double << 25 | any(random, &[0, 10, 7]) << 15 | rd << 7,
        12 => 0xf010_0053 | is_double << 25 | (random.below(32) as u32) << 15 | rd << 7,
        // What may underflow.
        13..=16 => {
            let kinds = [FloatKind::Mul, FloatKind::MulAdd, FloatKind::NegMulAdd, FloatKind::Div];
            let kind = kinds[random.below(4) as usize];
            encode(FloatOp { kind, format }, 7, [rd, rs1, rs2, rs3])
        }
        17 => encode(FloatOp { kind: FloatKind::Add, format }, 7, [rd, rs1, rs2, rs3]),
        _ => {
            let op = all[random.below(all.len() as u64) as usize];
            let to_integer = matches!(
                op.kind,
                FloatKind::Equal
                    | FloatKind::Less
                    | FloatKind::LessEqual
                    | FloatKind::LessQuiet
                    | FloatKind::LessEqualQuiet
                    | FloatKind::ToInteger(_)
            );
            let from_integer = matches!(op.kind, FloatKind::FromInteger(_));
            let rd = if to_integer { any(random, &[0, 10, 7]) } else { rd };
            let rs1 = if from_integer { any(random, &[10, 7]) } else { rs1 };
            let rm = if matches!(op.kind, FloatKind::ToInteger(_)) { 1 } else { 7 };
            encode(op, rm, [rd, rs1, rs2, rs3])
        }
    }
}

#[test]
fn random_code_does_what_its_instructions_do_one_by_one() {
    let mut random = Random(666);
    let all: Vec<_> = operations().collect();
    let (mut executed, mut faulted, mut whole) = (0, 0, 0);
    for _ in 0..SEQUENCES {
        let format = if random.below(2) == 0 { Format::Single } else { Format::Double };
        let other = if format == Format::Single { Format::Double } else { Format::Single };
        let mut words = Vec::new();
        for _ in 0..1 + random.below(30) {
            let format = if random.below(20) == 0 { other } else { format };
            words.push(instruction(&mut random, &all, format));
        }
        let block = lift(0x1000, &words);
        let code = compile(&block);
        for _ in 0..8 {
            let frm = if code.needs == Needs::Nearest { 0 } else { random.below(4) as u8 };
            let mut guest = Guest::new(frm);
            let number = |random: &mut Random| match (random.below(3), format) {
                (0, Format::Double) => random.number(format),
                (0, Format::Single) => BOX | random.number(format),
                (_, Format::Double) => random.small(format)[random.below(3) as usize],
                (_, Format::Single) => BOX | random.small(format)[random.below(3) as usize],
            };
            for register in FLOATS {
                guest.vars[register as usize + 32] = number(&mut random);
            }
            for at in (0..DATA_BYTES).step_by(8) {
                let bits = number(&mut random);
                let bits = if format == Format::Single { bits << 32 | bits & !BOX } else { bits };
                guest.memory[at..at + 8].copy_from_slice(&bits.to_le_bytes());
            }
            guest.vars[5] = DATA + 4 * random.below(1000);
            guest.vars[6] = DATA + 8 * random.below(1000);
            guest.vars[7] = random.next();
            guest.vars[10] = number(&mut random);
            // Sometimes too near to the end.
            guest.vars[14] = DATA + DATA_BYTES as u64 - 512 + 8 * random.below(64);
            let done = check(&block, &code, &guest);
            executed += done;
            whole += usize::from(done == words.len());
            faulted += usize::from(done < code.compiled);
        }
    }
    assert!(
        executed > 40 * SEQUENCES && faulted > SEQUENCES / 8 && whole > SEQUENCES,
        "{executed} {faulted} {whole}"
    );
}

const SEQUENCES: usize = 1000;
