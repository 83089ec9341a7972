//! Random programs in the intermediate representation.

use std::vec::Vec;

use proptest::prelude::*;

use super::machine::DATA;
use crate::ir::{
    AtomicOp, BinaryOp, Block, Builder, Condition, Inst, Order, Terminator, UnaryOp, Value, Var, Width,
};
use crate::memory::Size;

/// Where programs lie.
pub const START: u64 = 0x1_0100;
/// The global that holds [`DATA`], and is never written.
pub const BASE: Var = Var(2);
/// The registers that programs use: of both kinds of homes.
const REGISTERS: [u8; 10] = [1, 3, 5, 8, 10, 11, 12, 15, 30, 31];

fn register() -> impl Strategy<Value = Var> {
    prop::sample::select(&REGISTERS).prop_map(Var)
}

pub fn constant() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..4,
        Just(u64::MAX),
        Just(1 << 31),
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| (1 << bit) - 1),
        any::<i32>().prop_map(|value| value as u64),
        any::<u32>().prop_map(u64::from),
        (-2048_i64..2048).prop_map(|value| value as u64),
    ]
}

/// An operand: a register or constant, or one of the temporaries that the guest instruction has set.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Register(Var),
    Constant(u64),
    Temporary(u8),
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        4 => register().prop_map(Operand::Register),
        2 => constant().prop_map(Operand::Constant),
        4 => (0..6_u8).prop_map(Operand::Temporary),
    ]
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(&[Width::W64, Width::W64, Width::S32, Width::S32, Width::U32])
}

fn condition() -> impl Strategy<Value = Condition> {
    use Condition::{AboveEqual, Below, Equal, GreaterEqual, Less, NotEqual};
    prop::sample::select(&[Equal, NotEqual, Less, GreaterEqual, Below, AboveEqual])
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(&[
        Order::Relaxed,
        Order::Relaxed,
        Order::Acquire,
        Order::Release,
        Order::AcquireRelease,
    ])
}

/// What computes.
#[derive(Debug, Clone, Copy)]
enum Pure {
    Unary(UnaryOp, Width, Operand),
    Binary(BinaryOp, Width, Operand, Operand),
    Compare(Condition, Operand, Operand),
    Select(Operand, Operand, Operand),
}

fn pure() -> impl Strategy<Value = Pure> {
    use BinaryOp::*;
    let common = [Add, Sub, And, Or, Xor, ShiftLeft, ShiftRight, ShiftRightSigned, Mul];
    let rare = [
        AndNot,
        OrNot,
        XorNot,
        RotateRight,
        MulHigh,
        MulHighSignedUnsigned,
        MulHighUnsigned,
        Div,
        DivUnsigned,
        Rem,
        RemUnsigned,
        Min,
        MinUnsigned,
        Max,
        MaxUnsigned,
    ];
    let unary = [
        UnaryOp::Move,
        UnaryOp::Move,
        UnaryOp::LeadingZeros,
        UnaryOp::TrailingZeros,
        UnaryOp::CountOnes,
        UnaryOp::SwapBytes,
        UnaryOp::ReverseBitsInBytes,
        UnaryOp::SaturateBytes,
        UnaryOp::SignExtend8,
        UnaryOp::SignExtend16,
        UnaryOp::ZeroExtend8,
        UnaryOp::ZeroExtend16,
        UnaryOp::UnboxSingle,
    ];
    let shifts = prop::sample::select(&[ShiftLeft, ShiftRight, ShiftRightSigned]);
    let amount = (0..64_u64).prop_map(Operand::Constant);
    let ones = (1..64_u32).prop_map(|bits| Operand::Constant((1 << bits) - 1));
    prop_oneof![
        2 => (prop::sample::select(unary.to_vec()), width(), operand())
            .prop_map(|(op, width, a)| Pure::Unary(op, width, a)),
        5 => (prop::sample::select(common.to_vec()), width(), operand(), operand())
            .prop_map(|(op, width, a, b)| Pure::Binary(op, width, a, b)),
        3 => (shifts, width(), operand(), amount).prop_map(|(op, width, a, b)| Pure::Binary(op, width, a, b)),
        1 => (width(), operand(), ones).prop_map(|(width, a, b)| Pure::Binary(And, width, a, b)),
        2 => (prop::sample::select(rare.to_vec()), width(), operand(), operand())
            .prop_map(|(op, width, a, b)| Pure::Binary(op, width, a, b)),
        1 => (condition(), operand(), operand()).prop_map(|(condition, a, b)| Pure::Compare(condition, a, b)),
        1 => (operand(), operand(), operand()).prop_map(|(test, a, b)| Pure::Select(test, a, b)),
    ]
}

/// An access, before anything else that a guest instruction does.
#[derive(Debug, Clone, Copy)]
enum Access {
    Load(Size, bool, Order, Operand, i32),
    Store(Size, Order, Operand, i32, Operand),
    Atomic(AtomicOp, Size, Order, Operand, Operand),
    LoadReserved(Size, Order, Operand),
    StoreConditional(Size, Order, Operand, Operand),
    Fence,
}

fn access() -> impl Strategy<Value = Access> {
    let size = prop::sample::select(&[Size::Byte, Size::Half, Size::Word, Size::Double]);
    let wide = prop::sample::select(&[Size::Word, Size::Double]).boxed();
    let base = prop_oneof![
        8 => Just(Operand::Register(BASE)),
        2 => (0..0x1000_u64).prop_map(|offset| Operand::Constant(DATA + offset)),
        1 => operand(),
    ]
    .boxed();
    let place = prop_oneof![
        8 => Just(Operand::Register(BASE)),
        2 => (0..0x200_u64).prop_map(|offset| Operand::Constant(DATA + 8 * offset)),
        1 => operand(),
    ]
    .boxed();
    let offset = prop_oneof![4 => 0..300_i32, 1 => -8..2047_i32, 1 => 0xf00..0x1010_i32].boxed();
    prop_oneof![
        4 => (size.clone(), any::<bool>(), order(), base.clone(), offset.clone())
            .prop_map(|(size, signed, order, base, offset)| Access::Load(size, signed, order, base, offset)),
        4 => (size, order(), base, offset, operand())
            .prop_map(|(size, order, base, offset, value)| Access::Store(size, order, base, offset, value)),
        1 => (prop::sample::select(&AtomicOp::ALL), wide.clone(), order(), place.clone(), operand())
            .prop_map(|(op, size, order, place, value)| Access::Atomic(op, size, order, place, value)),
        1 => (wide.clone(), order(), place.clone())
            .prop_map(|(size, order, place)| Access::LoadReserved(size, order, place)),
        1 => (wide, order(), place, operand())
            .prop_map(|(size, order, place, value)| Access::StoreConditional(size, order, place, value)),
        1 => Just(Access::Fence),
    ]
}

/// A guest instruction. Its results go to temporaries, those of the last steps to registers.
#[derive(Debug, Clone)]
pub struct Instruction {
    access: Option<(Access, Option<Var>)>,
    pure: Vec<(Pure, Option<Var>)>,
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let result = prop_oneof![2 => register().prop_map(Some), 1 => Just(None)].boxed();
    let access = prop::option::weighted(0.4, (access(), result));
    let pure = prop_oneof![
        4 => prop::collection::vec((pure(), register().prop_map(Some)), 0..2),
        2 => (prop::collection::vec((pure(), Just(None)), 0..4), pure(), register()).prop_map(
            |(mut steps, last, dst)| {
                steps.push((last, Some(dst)));
                steps
            }
        ),
    ];
    (access, pure).prop_map(|(access, mut pure)| {
        // What may raise comes before any change of a register: with another step behind, the result of the access is kept.
        let access = access.map(|(access, dst)| (access, if pure.is_empty() { dst } else { None }));
        pure.truncate(5);
        Instruction { access, pure }
    })
}

/// How a block ends. Targets are blocks, or elsewhere.
#[derive(Debug, Clone, Copy)]
enum End {
    Next,
    Jump(usize),
    Branch(Condition, Operand, Operand, usize),
    Indirect(Operand),
}

/// A program, and which way through it a trace takes.
#[derive(Debug, Clone)]
pub struct Program {
    blocks: Vec<(Vec<Instruction>, End)>,
    choices: Vec<bool>,
}

pub fn program() -> impl Strategy<Value = Program> {
    let end = prop_oneof![
        2 => Just(End::Next),
        2 => (0..7_usize).prop_map(End::Jump),
        6 => (condition(), operand(), operand(), 0..7_usize)
            .prop_map(|(condition, a, b, target)| End::Branch(condition, a, b, target)),
        1 => operand().prop_map(End::Indirect),
    ];
    let block = (prop::collection::vec(instruction(), 1..6), end);
    (prop::collection::vec(block, 1..4), prop::collection::vec(any::<bool>(), 0..6))
        .prop_map(|(blocks, choices)| Program { blocks, choices })
}

impl Program {
    /// Blocks are so far apart that they do not overlap.
    fn address(&self, block: usize) -> u64 {
        match block {
            block if block < self.blocks.len() => START + 0x100 * block as u64,
            // Elsewhere on the page, on pages with and without a slot.
            4 => START + 0x800,
            5 => START + 0x1000,
            _ => START + 0x2000,
        }
    }

    fn block(&self, index: usize) -> Block {
        let (instructions, end) = &self.blocks[index];
        let mut block = Block::default();
        let builder = Builder::new(&mut block, self.address(index));
        let mut lift = Lift { block: builder, temporaries: Vec::new() };
        for (number, instruction) in instructions.iter().enumerate() {
            lift.block.instruction(if number % 3 == 0 { 2 } else { 4 });
            lift.temporaries.clear();
            lift.instruction(instruction);
        }
        let end = match *end {
            End::Next => Terminator::Jump { target: self.address(index + 1) },
            End::Jump(target) => Terminator::Jump { target: self.address(target) },
            End::Branch(condition, a, b, taken) => Terminator::Branch {
                condition,
                a: lift.operand(a),
                b: lift.operand(b),
                taken: self.address(taken),
                otherwise: self.address(index + 1),
            },
            End::Indirect(target) => {
                let target = lift.operand(target);
                let t = lift.block.temporary();
                lift.block.binary(BinaryOp::And, Width::W64, t, target, !1);
                Terminator::Indirect { target: t }
            }
        };
        lift.block.finish(end);
        block
    }

    /// The parts of a trace from the first block on.
    pub fn trace(&self) -> Vec<Block> {
        let mut parts = Vec::new();
        let mut choices = self.choices.iter();
        let mut at = Some(0);
        while let Some(index) = at.filter(|&index| index < self.blocks.len()) {
            parts.push(self.block(index));
            let Some(&choice) = choices.next() else { break };
            at = match self.blocks[index].1 {
                End::Next => Some(index + 1),
                End::Jump(target) => Some(target),
                End::Branch(.., target) => Some(if choice { target } else { index + 1 }),
                End::Indirect(_) => choice.then_some(index + 1),
            };
        }
        parts
    }

    /// All of the program, for who does not only follow the trace.
    pub fn all(&self) -> Vec<Block> {
        (0..self.blocks.len()).map(|index| self.block(index)).collect()
    }
}

struct Lift<'a> {
    block: Builder<'a>,
    temporaries: Vec<Var>,
}

impl Lift<'_> {
    fn operand(&mut self, operand: Operand) -> Value {
        match operand {
            Operand::Register(var) => var.into(),
            Operand::Constant(constant) => self.block.operand(constant),
            Operand::Temporary(index) => match self.temporaries.get(usize::from(index)) {
                Some(&var) => var.into(),
                None => Var(REGISTERS[usize::from(index)]).into(),
            },
        }
    }

    fn result(&mut self, dst: Option<Var>) -> Var {
        dst.unwrap_or_else(|| {
            let var = self.block.temporary();
            self.temporaries.push(var);
            var
        })
    }

    fn instruction(&mut self, instruction: &Instruction) {
        if let Some((access, dst)) = instruction.access {
            self.access(access, dst);
        }
        for &(pure, dst) in &instruction.pure {
            self.pure(pure, dst);
        }
    }

    fn access(&mut self, access: Access, dst: Option<Var>) {
        let inst = match access {
            Access::Load(size, signed, order, base, offset) => {
                let base = self.operand(base);
                Inst::Load { size, signed, order, dst: self.result(dst), base, offset }
            }
            Access::Store(size, order, base, offset, value) => {
                let (base, value) = (self.operand(base), self.operand(value));
                Inst::Store { size, order, base, offset, value }
            }
            Access::Atomic(op, size, order, address, value) => {
                let (address, value) = (self.operand(address), self.operand(value));
                Inst::Atomic { op, size, order, dst: self.result(dst), address, value }
            }
            Access::LoadReserved(size, order, address) => {
                let address = self.operand(address);
                Inst::LoadReserved { size, order, dst: self.result(dst), address }
            }
            Access::StoreConditional(size, order, address, value) => {
                let (address, value) = (self.operand(address), self.operand(value));
                Inst::StoreConditional { size, order, dst: self.result(dst), address, value }
            }
            Access::Fence => Inst::Fence,
        };
        self.block.push(inst);
    }

    fn pure(&mut self, pure: Pure, dst: Option<Var>) {
        match pure {
            Pure::Unary(op, width, a) => {
                let a = self.operand(a);
                let dst = self.result(dst);
                self.block.unary(op, width, dst, a);
            }
            Pure::Binary(op, width, a, b) => {
                let (a, b) = (self.operand(a), self.operand(b));
                let dst = self.result(dst);
                self.block.binary(op, width, dst, a, b);
            }
            Pure::Compare(condition, a, b) => {
                let (a, b) = (self.operand(a), self.operand(b));
                let dst = self.result(dst);
                self.block.compare(condition, dst, a, b);
            }
            Pure::Select(test, a, b) => {
                let (test, a, b) = (self.operand(test), self.operand(a), self.operand(b));
                let variable = self.block.temporary();
                self.block.set(variable, test);
                let dst = self.result(dst);
                self.block.select(dst, variable, a, b);
            }
        }
    }
}
