//! What guest code compiles to, instruction by instruction: `budgets.txt`, made from the pieces of code in `guest.txt`.
//!
//! A change of the code generator shows there, and so in review. `UPDATE_BUDGETS=1 cargo test -p polyvisor-emu budgets`
//! writes the table anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

use crate::interp::Exception;
use crate::ir::{Block, Terminator};
use crate::jit::compile::{Compiler, Features};
use crate::riscv::lift::lift_block;
use crate::riscv::{Context, Enables, decode, layout};

/// Where the pieces of code lie.
const PC: u64 = 0x1_0000;
/// The word that says whether floating-point code may run.
const FLOAT_READY: u8 = 231;
const CONTEXT: Context = Context { mode: 0, enables: Enables::all() };

/// A piece of guest code.
struct Piece<'a> {
    name: &'a str,
    /// In the order of memory.
    parcels: Vec<u16>,
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# ") {
            pieces.push(Piece { name, parcels: Vec::new() });
            continue;
        }
        let hex = line.split(' ').next().unwrap();
        let word = u32::from_str_radix(hex, 16).unwrap();
        let parcels = &mut pieces.last_mut().unwrap().parcels;
        parcels.push(word as u16);
        if hex.len() == 8 {
            parcels.push((word >> 16) as u16);
        }
    }
    pieces
}

impl Piece<'_> {
    fn lift(&self, pc: u64, max: usize) -> Option<Block> {
        let code = |address: u64| {
            let index = address.wrapping_sub(PC) / 2;
            self.parcels.get(index as usize).copied().ok_or(Exception { cause: 0, value: 0 })
        };
        let mut block = Block::default();
        lift_block(pc, max, CONTEXT, &mut block, code).ok()?;
        Some(block)
    }

    /// As many rounds of a loop as the name says; conditional branches forward are not taken.
    fn trace(&self) -> Vec<Block> {
        let rounds = self.name.split_once(" iteration").and_then(|(name, _)| name.rsplit(' ').next());
        let rounds: usize = rounds.map_or(1, |rounds| rounds.parse().unwrap());
        let (mut parts, mut at, mut round): (Vec<Block>, _, _) = (Vec::new(), PC, 1);
        while let Some(block) = self.lift(at, 64) {
            let next =
                match block.end {
                    Terminator::Branch { taken, otherwise, .. } => {
                        if taken < block.pc + u64::from(block.len) { taken } else { otherwise }
                    }
                    Terminator::Jump { target } => target,
                    _ => 0,
                };
            parts.push(block);
            round += usize::from(next == PC);
            if round > rounds || next == 0 {
                break;
            }
            at = next;
        }
        parts
    }

    fn disassembly(&self, parts: &[Block]) -> String {
        let mut text = String::new();
        for part in parts {
            for start in &part.starts {
                let pc = part.pc + u64::from(start.offset);
                let index = (pc - PC) as usize / 2;
                let word = u32::from(self.parcels[index])
                    | u32::from(self.parcels.get(index + 1).copied().unwrap_or(0)) << 16;
                let word = if word & 3 == 3 { word } else { word & 0xffff };
                let instruction = decode::decode(word).unwrap();
                writeln!(text, "  {:#07x}  {}", pc, instruction).unwrap();
            }
        }
        text
    }
}

/// What a word is, as assembly.
fn disassemble(word: u32) -> String {
    let bytes = word.to_le_bytes();
    match InstDecoder::default().decode(&mut U8Reader::new(&bytes)) {
        Ok(instruction) => std::format!("{instruction}"),
        Err(_) => std::format!(".word {word:#010x}"),
    }
}

/// The loop that code closes, if it does: how many instructions a pass through it has, and how many of the guest's.
fn closed_loop(words: &[u32]) -> Option<(usize, u32)> {
    // ADD and ADDS of a constant to x18.
    let counts = |word: u32| word & 0xdfc0_03ff == 0x9100_0252;
    words.iter().enumerate().skip(1).find_map(|(index, &word)| {
        let distance = match word >> 24 {
            // B.cond; TBZ and TBNZ of a bit from 32 on.
            0x54 => (word << 8).cast_signed() >> 13,
            0xb6 | 0xb7 => (word << 13).cast_signed() >> 18,
            _ => return None,
        };
        let count = words[..index].iter().rev().find(|&&word| counts(word)).map(|word| word >> 10 & 0xfff)?;
        (distance < 0).then_some((1 + distance.unsigned_abs() as usize, count))
    })
}

fn table() -> String {
    let mut text = String::new();
    for piece in pieces(include_str!("guest.txt")) {
        let features = Features { lse: !piece.name.contains("without LSE"), pmull: true };
        let mut compiler = Compiler::new(layout::layout(FLOAT_READY, FLOAT_READY + 1), features);
        let parts = piece.trace();
        let compiled = compiler.compile(&parts, &mut |_| Some(5)).unwrap();
        let (words, guests) = (compiled.words.to_vec(), compiled.guest_instructions as usize);
        let main = compiler.output.main;
        write!(
            text,
            "# {}: {main} for {guests}, {:.2} each; {} words out of line",
            piece.name,
            main as f64 / guests as f64,
            words.len() - main,
        )
        .unwrap();
        match closed_loop(&words[..main]) {
            Some((words, guests)) => {
                let each = words as f64 / f64::from(guests);
                writeln!(text, "; the loop: {words} for {guests}, {each:.2} each").unwrap();
            }
            None => text.push('\n'),
        }
        text.push_str(&piece.disassembly(&parts));
        for (index, &word) in words.iter().enumerate() {
            if index == main {
                writeln!(text, "    --").unwrap();
            }
            writeln!(text, "    {:3}  {}", index, disassemble(word)).unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn budgets() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("jit/compile/tests/budgets.txt");
    let table = table();
    if std::env::var_os("UPDATE_BUDGETS").is_some() {
        fs::write(path, table).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    let line = table.lines().zip(expected.lines()).position(|(new, old)| new != old);
    assert!(
        table == expected,
        "budgets.txt differs from line {:?}; the new one:\n{table}",
        line.map(|line| line + 1)
    );
}
