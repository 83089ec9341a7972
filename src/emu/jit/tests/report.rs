//! What an operator is told of blocks.

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use polyvisor_cell_abi::{HotBlock, Question};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

use super::board::{Board, RAM};
use super::machine::{Jit, Options};
use super::program::*;
use crate::jit::report;
use crate::memory::Size;
use crate::riscv::Riscv;

/// Where the loop is that is translated.
const HEAD: u64 = RAM + 0x1000;

/// `lui t2, 0x12345`.
const LUI_T2: u32 = 0x1234_5000 | T2 << 7 | 0x37;

/// A machine whose loop at [`HEAD`] has been executed.
fn machine() -> (Arc<Board>, Jit) {
    let mut program = Program::new(RAM);
    let head = program.label();
    program.li(A0, 0).li(A1, 1000).li(A2, RAM + 0x8000).jal(ZERO, head);
    program.skip_to(HEAD);
    program.bind(head);
    program
        .words(&[LUI_T2, addi(T2, T2, 0x678), ld(T1, A2, 0), add(A0, A0, T2), addi(A1, A1, -1)])
        .branch(NE, A1, ZERO, head);
    program.li(T0, super::board::END).word(sw(ZERO, T0, 0));
    let here = program.bound();
    program.jump(here);
    let board = Board::new(1);
    board.load(RAM, &program.finish());
    let jit = Jit::new(&board, Options::default());
    jit.run(&board, 0);
    (board, jit)
}

fn ask(board: &Board, jit: &Jit, question: Question) -> String {
    report::answer::<Riscv, _, _, _>(&jit.shared, board.ram(), question)
}

/// The addresses of the words of the block at `pc`.
fn words(jit: &Jit, pc: u64) -> Vec<u64> {
    jit.shared.with(|cache| {
        let block = *cache.blocks().find(|block| block.key.pc == pc).unwrap();
        let entry = cache.entry(cache.find(block.key).unwrap());
        (0..u64::from(block.words())).map(|word| entry + 4 * word).collect()
    })
}

#[test]
fn the_blocks_with_the_most_samples_are_the_hottest() {
    let (board, jit) = machine();
    assert_eq!(ask(&board, &jit, Question::Top(5)), "0\n", "nobody has looked");
    let code = words(&jit, HEAD);
    for &address in code.iter().chain(&code) {
        jit.shared.sample(address);
    }
    // What is no block's does not count.
    for address in [0, code[0] - 0x10_0000, u64::MAX] {
        jit.shared.sample(address);
    }
    let answer = ask(&board, &jit, Question::Top(5));
    let (all, blocks) = answer.split_once('\n').unwrap();
    let blocks: Vec<HotBlock> = blocks.lines().map(|line| line.parse().unwrap()).collect();
    let [block] = blocks[..] else { panic!("{answer}") };
    assert_eq!(all, block.samples.to_string());
    assert_eq!(block.samples as usize, 2 * code.len());
    assert_eq!((block.pc, block.physical, block.code as usize), (HEAD, HEAD, 4 * code.len()));
    assert!(ask(&board, &jit, Question::Top(0)).lines().count() == 1);
}

#[test]
fn a_block_is_listed_with_the_words_of_each_instruction() {
    let (board, jit) = machine();
    let listing = ask(&board, &jit, Question::Block(HEAD));
    let text: Vec<&str> = listing.lines().filter(|line| !line.starts_with("    +")).collect();
    assert!(text[0].starts_with("block 0x80001000, physical 0x80001000, context "), "{listing}");
    let entry = text.iter().position(|&line| line == "entry").unwrap();
    let loop_once = [
        "0x80001000: lui t2, 0x12345",
        "0x80001004: addi t2, t2, 1656",
        "0x80001008: ld t1, 0(a2)",
        "0x8000100c: add a0, a0, t2",
        "0x80001010: addi a1, a1, -1",
        "0x80001014: bne a1, zero, . - 20",
    ];
    assert_eq!(text[entry + 1..entry + 7], loop_once, "{listing}");
    // Each word is there once, but for the numbers of exits.
    let words = words(&jit, HEAD);
    let lines: Vec<&str> = listing.lines().filter(|line| line.starts_with("    +")).collect();
    let exits = lines.iter().filter(|line| line.contains("; out")).count();
    assert!(exits > 0, "{listing}");
    let literals: Vec<&str> = lines.iter().filter_map(|line| line.split(" .quad ").nth(1)).collect();
    assert_eq!(literals, ["0000000012345678"], "{listing}");
    let padding = words.len() - (lines.len() + exits + literals.len());
    assert!(padding < 2, "{listing}");
    assert!(lines.windows(2).all(|pair| pair[0][..9] < pair[1][..9]), "{listing}");
    // The guest's load is the first thing that the load is.
    let loads = listing.split("0x80001008: ld t1, 0(a2)\n").nth(1).unwrap();
    let word = u32::from_str_radix(&loads.trim_start()[6..14], 16).unwrap().to_le_bytes();
    let instruction = InstDecoder::default().decode(&mut U8Reader::new(&word)).unwrap();
    assert!(instruction.to_string().starts_with("ldtr "), "{instruction} in {listing}");
}

#[test]
fn an_instruction_is_found_in_the_middle_of_its_block() {
    let (board, jit) = machine();
    let whole = ask(&board, &jit, Question::Block(HEAD));
    assert_eq!(ask(&board, &jit, Question::Block(HEAD + 8)).split('\n').next(), whole.split('\n').next());
    for address in [HEAD + 2, HEAD + 0x1000, RAM - 2, 0, u64::MAX] {
        let answer = ask(&board, &jit, Question::Block(address));
        assert!(answer.starts_with("no translated code"), "{address:#x}: {answer}");
    }
}

#[test]
fn code_that_has_changed_behind_a_block_is_listed_without_claims() {
    let (board, jit) = machine();
    // Not by a hart: nobody has told.
    let host = board.ram().host(HEAD + 4, 4).unwrap();
    // SAFETY: RAM, aligned, and no hart runs.
    unsafe { Size::Word.store(host, u64::from(EBREAK)) };
    let listing = ask(&board, &jit, Question::Block(HEAD));
    assert!(listing.contains("0x80001004: ebreak") && !listing.contains("entry\n"), "{listing}");
}
