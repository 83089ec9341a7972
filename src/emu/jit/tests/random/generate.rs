//! Programs of random instructions, with loops, branches, calls and indirect jumps, all of which end.

use alloc::vec::Vec;
use core::fmt;

use proptest::prelude::*;

use crate::jit::tests::program::*;
use crate::riscv::decode::{self, Instruction, decode};

/// Where data is: a pointer to the middle of two pages; one for accesses by the stack pointer; one at the end of RAM, behind
/// which there is nothing.
const POINTERS: [X; 3] = [S0, SP, S1];
/// Counters of loops, those of functions last, and of the rounds of all.
pub const COUNTERS: [X; 3] = [T0, 23, 24];
pub const ROUNDS: X = 27;
/// What the trap handler has for itself.
pub const HANDLER: X = 31;
/// For addresses that are computed.
const COMPUTED: X = 4;
/// How many functions there are.
pub const FUNCTIONS: usize = 3;
/// How far branches reach, nearly.
const REACH: u64 = 4000;

const RESERVED: [X; 9] = [RA, SP, S0, S1, COUNTERS[0], COUNTERS[1], COUNTERS[2], ROUNDS, HANDLER];

/// An instruction, shown as assemblers write it.
#[derive(Clone, Copy)]
pub struct Coded(u32);

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match decode(self.0) {
            Some(instruction) => write!(f, "{:#x}: {instruction}", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// A piece of a program.
#[derive(Debug, Clone)]
pub enum Item {
    One(Coded),
    /// A branch over some of it.
    Skip(u32, X, X, Vec<Item>),
    /// So often.
    Loop(u8, Vec<Item>),
    /// With a pointer moved there and back.
    Moved(X, i32, Vec<Item>),
    /// An access to an address that depends on a register: an instruction with [`COMPUTED`] as its base.
    At(X, Coded),
    /// A call of a function by its number: by JAL or JALR.
    Call(usize, bool),
    /// A jump by a register to what comes next.
    Jump,
    /// An LR, and an SC to the same address.
    Reserve(u32, X, X, X),
}

/// What may be in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub float: bool,
    /// What tells how many instructions were executed, or that a trap was in between.
    pub exact: bool,
}

fn free(rd: X) -> bool {
    !RESERVED.contains(&rd)
}

/// Whether the instruction has a place in a program as it is.
fn is_admissible(word: u32, choice: Choice) -> bool {
    let Some(instruction) = decode(word) else { return false };
    let is_pointer = |x: decode::X| POINTERS.contains(&x.number().into());
    let x_free = |x: decode::X| free(x.number().into());
    match instruction {
        Instruction::Lui { rd, .. }
        | Instruction::Auipc { rd, .. }
        | Instruction::Op { rd, .. }
        | Instruction::Unary { rd, .. } => x_free(rd),
        Instruction::Load { rd, rs1, .. } => x_free(rd) && is_pointer(rs1),
        Instruction::Store { rs1, .. } => is_pointer(rs1),
        Instruction::Amo { rd, rs1, .. } => x_free(rd) && is_pointer(rs1),
        Instruction::Fence { .. } => true,
        Instruction::FloatLoad { rs1, .. } | Instruction::FloatStore { rs1, .. } => {
            choice.float && is_pointer(rs1)
        }
        Instruction::FloatCompute { .. }
        | Instruction::FloatFromX { .. }
        | Instruction::FloatSign { .. }
        | Instruction::MoveFromX { .. }
        | Instruction::FloatConstant { .. } => choice.float,
        Instruction::FloatToX { rd, .. } | Instruction::MoveToX { rd, .. } => choice.float && x_free(rd),
        _ => false,
    }
}

fn x() -> impl Strategy<Value = X> {
    0u32..31
}

fn pointer() -> impl Strategy<Value = X> {
    prop_oneof![4 => Just(S0), 1 => Just(SP), 1 => Just(S1)]
}

fn free_x() -> impl Strategy<Value = X> {
    x().prop_filter("reserved", |&rd| free(rd))
}

/// An offset: mostly a small and aligned one.
fn offset() -> impl Strategy<Value = i32> {
    prop_oneof![4 => (-32..32).prop_map(|words| 8 * words), 1 => -2048..2048]
}

/// Integer computations.
fn integer() -> impl Strategy<Value = u32> {
    let opcode = prop::sample::select(&[0x13, 0x13, 0x1b, 0x33, 0x33, 0x3b, 0x37, 0x17][..]);
    let funct7 =
        prop::sample::select(&[0u32, 0, 0, 1, 4, 5, 7, 0x10, 0x14, 0x20, 0x24, 0x30, 0x34, 0x35][..]);
    (opcode, funct7, x(), x(), 0u32..8, free_x())
        .prop_map(|(opcode, funct7, rs2, rs1, funct3, rd)| r(funct7, rs2, rs1, funct3, rd, opcode))
}

fn access() -> impl Strategy<Value = u32> {
    prop_oneof![
        (0u32..7, free_x(), pointer(), offset()).prop_map(|(size, rd, rs1, at)| load(size, rd, rs1, at)),
        (0u32..4, x(), pointer(), offset()).prop_map(|(size, rs2, rs1, at)| store(size, rs2, rs1, at)),
    ]
}

/// The functions of AMOs.
fn funct5() -> impl Strategy<Value = u32> {
    prop::sample::select(&[0u32, 1, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c][..])
}

fn atomic() -> impl Strategy<Value = u32> {
    (funct5(), 0u32..4, 2u32..4, free_x(), pointer(), x())
        .prop_map(|(funct5, order, size, rd, rs1, rs2)| amo(funct5, size, rd, rs1, rs2) | order << 25)
}

fn float() -> impl Strategy<Value = u32> {
    let rounding = prop_oneof![4 => Just(7u32), 1 => 0u32..5];
    let fused = prop::sample::select(&[0x43u32, 0x47, 0x4b, 0x4f][..]);
    let funct5 = prop::sample::select(&[0u32, 1, 2, 3, 4, 5, 8, 0xb, 0x14, 0x18, 0x1a, 0x1c, 0x1e][..]);
    let rs2 = prop_oneof![x(), 0u32..6];
    prop_oneof![
        4 => (funct5, 0u32..2, rs2, x(), prop_oneof![rounding.clone(), 0u32..4], free_x())
            .prop_map(|(funct5, format, rs2, rs1, funct3, rd)| r(funct5 << 2 | format, rs2, rs1, funct3, rd, 0x53)),
        2 => (prop::bool::ANY, 0u32..2, x(), free_x())
            .prop_map(|(to_x, format, rs1, rd)| r(if to_x { 0x70 } else { 0x78 } | format, 0, rs1, 0, rd, 0x53)),
        1 => (x(), 0u32..2, x(), x(), rounding, x(), fused)
            .prop_map(|(rs3, format, rs2, rs1, funct3, rd, opcode)| r(rs3 << 2 | format, rs2, rs1, funct3, rd, opcode)),
        2 => (2u32..4, x(), pointer(), offset())
            .prop_map(|(size, rd, rs1, at)| load(size, rd, rs1, at) & !0x7f | 0x07),
        2 => (2u32..4, x(), pointer(), offset())
            .prop_map(|(size, rs2, rs1, at)| store(size, rs2, rs1, at) & !0x7f | 0x27),
    ]
}

/// What the interpreter executes: registers of floating point, the count of instructions, fences, traps.
fn system(choice: Choice) -> impl Strategy<Value = u32> {
    let float = prop_oneof![
        (1u32..4, free_x(), x()).prop_map(|(csr, rd, rs1)| csrrw(rd, csr, rs1)),
        (1u32..4, free_x()).prop_map(|(csr, rd)| csrrs(rd, csr, ZERO)),
        // A rounding mode.
        (0u32..5).prop_map(|mode| csrrw(ZERO, 2, mode) | 4 << 12),
    ];
    let exact = prop::sample::select(&[ECALL, EBREAK][..]);
    // What `sstatus`, `sscratch`, `sepc`, `scause` and `stval` hold; often no more than whether interrupts are enabled.
    let register = prop::sample::select(&[0x100u32, 0x140, 0x141, 0x142, 0x143][..]);
    let operand = prop_oneof![2 => (1u32..4, x()), 1 => (5u32..8, 0u32..32), 2 => (6u32..8, Just(2))];
    let privileged = (register, operand, free_x())
        .prop_map(|(csr, (funct3, source), rd)| csrrw(rd, csr, source) & !(7 << 12) | funct3 << 12);
    let count = free_x().prop_map(|rd| csrrs(rd, 0xc02, ZERO));
    let fence = prop::sample::select(&[FENCE_I, SFENCE_VMA, NOP][..]);
    (float, exact, count, fence, privileged, 0..8).prop_map(
        move |(float, exact, count, fence, privileged, which)| match which {
            0 if choice.exact => exact,
            4 | 5 if choice.exact => privileged,
            1 if choice.exact => count,
            2 | 3 if choice.float => float,
            _ => fence,
        },
    )
}

fn one(word: u32) -> Item {
    Item::One(Coded(word))
}

fn single(choice: Choice) -> BoxedStrategy<Item> {
    let checked = move |words: BoxedStrategy<u32>| {
        words.prop_filter("not admissible", move |&word| is_admissible(word, choice)).prop_map(one)
    };
    let compressed = any::<u16>().prop_filter("not admissible", move |&parcel| {
        decode::length(parcel) == 2 && is_admissible(parcel.into(), choice)
    });
    let computed = prop_oneof![
        (0u32..7, free_x()).prop_map(|(size, rd)| load(size, rd, COMPUTED, 8)),
        (0u32..4, x()).prop_map(|(size, rs2)| store(size, rs2, COMPUTED, 8)),
        (funct5(), 2u32..4, free_x(), x())
            .prop_map(|(funct5, size, rd, rs2)| amo(funct5, size, rd, COMPUTED, rs2)),
    ];
    let floats = if choice.float { 5 } else { 0 };
    prop_oneof![
        10 => checked(integer().boxed()),
        5 => checked(access().boxed()),
        2 => checked(atomic().boxed()),
        floats => checked(float().boxed()),
        1 => system(choice).prop_map(one),
        5 => compressed.prop_map(|parcel| one(parcel.into())),
        2 => (x(), computed).prop_map(|(x, word)| Item::At(x, Coded(word))),
        1 => (0..FUNCTIONS, any::<bool>()).prop_map(|(function, far)| Item::Call(function, far)),
        1 => Just(Item::Jump),
        u32::from(choice.exact) => (2u32..4, free_x(), free_x(), x())
            .prop_map(|(size, old, rd, rs2)| Item::Reserve(size, old, rd, rs2)),
    ]
    .boxed()
}

/// How many instructions a function executes at most, and a round of the main program, about.
const LONGEST_FUNCTION: u64 = 200;
const LONGEST: u64 = 10_000;

/// How many instructions a piece executes, about.
fn length(items: &[Item]) -> u64 {
    let lengths = items.iter().map(|item| match item {
        Item::One(_) => 1,
        Item::Skip(.., body) | Item::Moved(.., body) => 2 + length(body),
        Item::Loop(count, body) => u64::from(*count) * (2 + length(body)),
        Item::At(..) | Item::Jump | Item::Reserve(..) => 3,
        Item::Call(..) => LONGEST_FUNCTION / 2,
    });
    lengths.sum()
}

/// A piece of a program, of a bounded length.
fn items(choice: Choice, longest: u64) -> impl Strategy<Value = Vec<Item>> {
    let item = single(choice).prop_recursive(3, 48, 8, |item| {
        let body = prop::collection::vec(item, 1..8);
        let condition = prop::sample::select(&[0u32, 1, 4, 5, 6, 7][..]);
        prop_oneof![
            (condition, x(), x(), body.clone())
                .prop_map(|(condition, a, b, body)| Item::Skip(condition, a, b, body)),
            (1u8..6, body.clone()).prop_map(|(count, body)| Item::Loop(count, body)),
            (prop::sample::select(&[S0, SP][..]), -40i32..40, body)
                .prop_map(|(pointer, by, body)| Item::Moved(pointer, by * 4, body)),
        ]
    });
    prop::collection::vec(item, 1..24).prop_filter("too long", move |items| length(items) <= longest)
}

/// What pieces may use.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Counters for loops, and for those in them.
    pub counters: &'a [X],
    pub functions: &'a [Label],
}

/// The means of functions, which call none.
pub const OF_FUNCTIONS: Means<'static> = Means { counters: &[COUNTERS[2]], functions: &[] };

/// Appends items.
pub fn emit(program: &mut Program, items: &[Item], means: Means<'_>) {
    for item in items {
        match item {
            &Item::One(Coded(word)) if decode::length(word as u16) == 2 => {
                program.half(word as u16);
            }
            &Item::One(Coded(word)) => {
                program.word(word);
            }
            Item::Skip(condition, a, b, body) => {
                let (on, behind) = (program.label(), program.label());
                let before = program.clone();
                program.branch(*condition, *a, *b, behind);
                emit(program, body, means);
                if program.here() - before.here() >= REACH {
                    *program = before;
                    program.branch(*condition, *a, *b, on).jump(behind).bind(on);
                    emit(program, body, means);
                }
                program.bind(behind);
            }
            Item::Loop(count, body) => match means.counters.split_first() {
                Some((&counter, counters)) => {
                    let behind = program.label();
                    program.word(addi(counter, ZERO, (*count).into()));
                    let head = program.bound();
                    emit(program, body, Means { counters, ..means });
                    program.word(addi(counter, counter, -1));
                    if program.here() - program.address(head) < REACH {
                        program.branch(NE, counter, ZERO, head);
                    } else {
                        program.branch(EQ, counter, ZERO, behind).jump(head);
                    }
                    program.bind(behind);
                }
                None => emit(program, body, means),
            },
            Item::Moved(pointer, by, body) => {
                program.word(addi(*pointer, *pointer, *by));
                emit(program, body, means);
                program.word(addi(*pointer, *pointer, -by));
            }
            &Item::At(x, Coded(word)) => {
                program.words(&[andi(COMPUTED, x, 0x7f8), add(COMPUTED, COMPUTED, S0), word]);
            }
            &Item::Call(function, far) => match means.functions.get(function) {
                Some(&function) if far => {
                    program.la(COMPUTED, function).word(jalr(RA, COMPUTED, 0));
                }
                Some(&function) => {
                    program.jal(RA, function);
                }
                None => {}
            },
            Item::Jump => {
                let next = program.label();
                program.la(COMPUTED, next).word(jalr(ZERO, COMPUTED, 0)).bind(next);
            }
            &Item::Reserve(size, old, rd, rs2) => {
                program.words(&[amo(2, size, old, S0, ZERO), amo(3, size, rd, S0, rs2)]);
            }
        }
    }
}

/// All of a program that is random.
#[derive(Debug, Clone)]
pub struct Source {
    pub main: Vec<Item>,
    pub functions: Vec<Vec<Item>>,
    /// Where in its page it starts.
    pub offset: u64,
    pub registers: Vec<u64>,
}

/// A number that is likely to be a special one.
fn value() -> BoxedStrategy<u64> {
    let float = prop::sample::select(
        &[
            0x3ff0_0000_0000_0000u64,
            0xffff_ffff_3f80_0000,
            0xffff_ffff_7f7f_ffff,
            0xffff_ffff_0080_0000,
            0x7ff8_0000_0000_0000,
            0x0010_0000_0000_0000,
        ][..],
    );
    prop_oneof![
        any::<u64>(),
        0u64..16,
        any::<i32>().prop_map(|value| value as u64),
        any::<u32>().prop_map(u64::from),
        float
    ]
    .boxed()
}

pub fn source(choice: Choice) -> impl Strategy<Value = Source> {
    (
        items(choice, LONGEST),
        prop::collection::vec(items(choice, LONGEST_FUNCTION), FUNCTIONS),
        0u64..2048,
        prop::collection::vec(value(), 64),
    )
        .prop_map(|(main, functions, offset, registers)| Source {
            main,
            functions,
            offset: 2 * offset,
            registers,
        })
}
