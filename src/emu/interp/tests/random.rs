//! Random programs: the interpreter, with its optimiser, links and caches, ends where a naive evaluator of the IR does; and
//! where single steps do, which are neither optimised nor linked.

use std::vec::Vec;

use proptest::prelude::*;

use super::toy::{self, Function, INSTRET, PC, RAM, ToyGuest};
use crate::interp::{Attention, Exception, Exits, Guest, Interpreter, Outcome, Tlb};
use crate::ir::{
    AtomicOp, BinaryOp, Condition, FloatKind, FloatOp, Format, Inst, Order, Terminator, UnaryOp, Value, Var,
    Width, eval,
};
use crate::memory::{Physical, Size};

/// Where programs start: some are on two pages.
const START: u64 = RAM + 0x1fd0;
/// A page of data; the next one is not mapped.
const DATA: u64 = RAM + 0x10_000;
const BOUNDARY: u64 = DATA + 0x1000;
/// Registers, one of which counts rounds.
const REGISTERS: u8 = 6;
const ROUNDS: Var = Var(7);

fn register() -> impl Strategy<Value = Var> {
    (0..REGISTERS).prop_map(Var)
}

fn constant() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..4,
        Just(u64::MAX),
        any::<i32>().prop_map(|value| value as u64),
        any::<u32>().prop_map(u64::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![3 => register().prop_map(Value::Var), 1 => constant().prop_map(|constant| Value::Const(constant as i32))]
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(&[Size::Byte, Size::Half, Size::Word, Size::Double])
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(&[Order::Relaxed, Order::Acquire, Order::Release, Order::AcquireRelease])
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(&[Width::W64, Width::S32, Width::U32])
}

fn condition() -> impl Strategy<Value = Condition> {
    use Condition::{AboveEqual, Below, Equal, GreaterEqual, Less, NotEqual};
    prop::sample::select(&[Equal, NotEqual, Less, GreaterEqual, Below, AboveEqual])
}

/// What only computes. `t` is a temporary that has been set.
fn pure() -> impl Strategy<Value = Inst> {
    use BinaryOp::{
        Add, And, AndNot, DivUnsigned, Mul, Or, Rem, RotateRight, ShiftLeft, ShiftRightSigned, Sub, Xor,
    };
    let binary =
        [Add, Sub, And, Or, Xor, AndNot, ShiftLeft, ShiftRightSigned, RotateRight, Mul, DivUnsigned, Rem];
    let unary = [UnaryOp::Move, UnaryOp::SwapBytes, UnaryOp::SignExtend16, UnaryOp::UnboxSingle];
    let condition = condition();
    prop_oneof![
        (prop::sample::select(unary.to_vec()), width(), register(), value())
            .prop_map(|(op, width, dst, a)| Inst::Unary { op, width, dst, a }),
        (register(), constant()).prop_map(|(dst, value)| Inst::Constant { dst, value }),
        (register(), value()).prop_map(|(dst, a)| Inst::Unary {
            op: UnaryOp::Move,
            width: Width::W64,
            dst,
            a
        }),
        (prop::sample::select(binary.to_vec()), width(), register(), value(), value())
            .prop_map(|(op, width, dst, a, b)| Inst::Binary { op, width, dst, a, b }),
        (condition, register(), value(), value()).prop_map(|(condition, dst, a, b)| Inst::Compare {
            condition,
            dst,
            a,
            b
        }),
        (register(), register(), value(), value()).prop_map(|(dst, test, a, b)| Inst::Select {
            dst,
            test,
            a,
            b
        }),
    ]
}

/// What comes first in an instruction, if anything: accesses and calls.
fn first() -> impl Strategy<Value = Inst> {
    let address = prop_oneof![20 => 0_u64..0x40, 10 => 0xff0_u64..0xff8, 1 => 0xff8_u64..0x1008];
    let address = address.prop_map(|offset| DATA + offset).boxed();
    let place = (address.clone(), -16_i32..16)
        .prop_map(|(address, offset)| (toy::constant(address.wrapping_sub(offset as u64)), offset));
    let aligned = address.prop_map(|address| toy::constant(address & !7)).boxed();
    let atomic_size = prop::sample::select(&[Size::Word, Size::Double]).boxed();
    prop_oneof![
        4 => (size(), any::<bool>(), order(), register(), place.clone())
            .prop_map(|(size, signed, order, dst, (base, offset))| {
                Inst::Load { size, signed, order, dst, base, offset }
            }),
        4 => (size(), order(), place, value())
            .prop_map(|(size, order, (base, offset), value)| Inst::Store { size, order, base, offset, value }),
        1 => (prop::sample::select(&AtomicOp::ALL), atomic_size.clone(), register(), aligned.clone(), value())
            .prop_map(|(op, size, dst, address, value)| {
                Inst::Atomic { op, size, order: Order::Acquire, dst, address, value }
            }),
        1 => (atomic_size.clone(), register(), aligned.clone())
            .prop_map(|(size, dst, address)| Inst::LoadReserved { size, order: Order::Relaxed, dst, address }),
        1 => (atomic_size, register(), aligned, value()).prop_map(|(size, dst, address, value)| {
            Inst::StoreConditional { size, order: Order::Relaxed, dst, address, value }
        }),
        1 => (register(), value(), value()).prop_map(|(dst, a, b)| {
            Inst::Call { function: Function::Add as u16, dst, a, b }
        }),
        1 => (register(), value())
            .prop_map(|(dst, a)| Inst::Call { function: Function::Note as u16, dst, a, b: Value::ZERO }),
        1 => (register(), value(), value(), value(), prop::sample::select(&FloatKind::ALL)).prop_map(
            |(dst, a, b, c, kind)| {
                let op = FloatOp { kind, format: Format::Double };
                Inst::Float { op, rounding: 7, dst, a, b, c }
            }
        ),
        1 => Just(Inst::Fence),
    ]
}

#[derive(Debug, Clone)]
enum End {
    Jump(usize),
    Branch(Condition, Value, Value, usize),
    Indirect(usize),
}

/// An instruction: what it does, whether its first result goes through a temporary, and where it leads.
fn instruction() -> impl Strategy<Value = (Vec<Inst>, Option<End>)> {
    let skip = 1_usize..5;
    let end = prop_oneof![
        skip.clone().prop_map(End::Jump),
        skip.clone().prop_map(End::Indirect),
        (condition(), value(), value(), skip)
            .prop_map(|(condition, a, b, skip)| End::Branch(condition, a, b, skip)),
    ];
    let insts = (prop::option::of(first()), prop::collection::vec(pure(), 0..3), any::<bool>());
    let insts = insts.prop_map(|(first, pure, temporary)| {
        let mut insts: Vec<Inst> = first.into_iter().chain(pure).collect();
        if let (true, Some(&Inst::Binary { op, width, dst, a, b })) = (temporary, insts.last()) {
            insts.pop();
            let t = Var(Var::FIRST_TEMPORARY);
            insts.push(Inst::Binary { op, width, dst: t, a, b });
            insts.push(Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a: t.into() });
        }
        insts
    });
    (insts, prop::option::weighted(0.3, end))
}

type Program = Vec<(Vec<Inst>, Option<End>)>;

fn guest(program: &Program, registers: &[u64]) -> ToyGuest {
    let mut guest = ToyGuest::new();
    guest.vars[..registers.len()].copy_from_slice(registers);
    guest.pages.insert(BOUNDARY, None);
    let address = |index: usize| START + 4 * index.min(program.len()) as u64;
    for (index, (insts, end)) in program.iter().enumerate() {
        let mut insts = insts.clone();
        let target = Var(Var::FIRST_TEMPORARY + 1);
        let end = end.clone().map(|end| match end {
            End::Jump(skip) => Terminator::Jump { target: address(index + skip) },
            End::Branch(condition, a, b, skip) => Terminator::Branch {
                condition,
                a,
                b,
                taken: address(index + skip),
                otherwise: address(index + 1),
            },
            End::Indirect(skip) => {
                // Not a constant that the optimiser sees.
                let (a, b) = (Var(8).into(), toy::constant(address(index + skip)));
                insts.push(Inst::Binary { op: BinaryOp::Add, width: Width::W64, dst: target, a, b });
                Terminator::Indirect { target }
            }
        });
        guest.put(address(index), &insts, end);
    }
    let (a, b) = (Value::Var(ROUNDS), Value::Const(1));
    let count = Inst::Binary { op: BinaryOp::Add, width: Width::W64, dst: ROUNDS, a, b };
    let b = Value::Const(3);
    let (taken, otherwise) = (START, START + 0x800);
    let end = Terminator::Branch { condition: Condition::Below, a, b, taken, otherwise };
    guest.put(address(program.len()), &[count], Some(end));
    guest.vars[usize::from(PC.0)] = START;
    guest
}

/// Executes instruction by instruction, straight from the IR.
struct Naive(ToyGuest);

impl Naive {
    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Var(var) => self.0.vars[usize::from(var.0)],
            Value::Const(constant) => constant as u64,
        }
    }

    /// The bytes of an access, if all are mapped.
    fn bytes(&self, address: u64, size: Size, cause: u64) -> Result<Vec<u64>, Exception> {
        let bytes: Vec<u64> = (0..size.bytes()).map(|at| address + at).collect();
        match bytes.iter().find(|&&byte| byte >= BOUNDARY) {
            Some(&value) => Err(Exception { cause, value }),
            None => Ok(bytes),
        }
    }

    fn load(&self, address: u64, size: Size, signed: bool, cause: u64) -> Result<u64, Exception> {
        let ram = self.0.machine.ram();
        let bytes = self.bytes(address, size, cause)?;
        let value =
            bytes.iter().rev().fold(0, |value, &at| value << 8 | u64::from(ram.read::<u8>(at).unwrap()));
        let unused = 64 - 8 * size.bytes() as u32;
        Ok(if signed { ((value << unused) as i64 >> unused) as u64 } else { value })
    }

    fn store(&self, address: u64, size: Size, value: u64) -> Result<(), Exception> {
        let bytes = self.bytes(address, size, 12)?;
        for (&at, byte) in bytes.iter().zip(value.to_le_bytes()) {
            self.0.machine.ram().write(at, byte).unwrap();
        }
        Ok(())
    }

    fn inst(&mut self, inst: Inst) -> Result<(), Exception> {
        let dst = inst.effects().dst;
        let result = match inst {
            Inst::Constant { value, .. } => value,
            Inst::Unary { op, width, a, .. } => eval::unary(op, width, self.value(a)),
            Inst::Binary { op, width, a, b, .. } => eval::binary(op, width, self.value(a), self.value(b)),
            Inst::Compare { condition, a, b, .. } => {
                u64::from(eval::compare(condition, self.value(a), self.value(b)))
            }
            Inst::Select { test, a, b, .. } => self.value(if self.value(test.into()) != 0 { a } else { b }),
            Inst::Load { size, signed, base, offset, .. } => {
                self.load(self.value(base).wrapping_add(offset as u64), size, signed, 11)?
            }
            Inst::Store { size, base, offset, value, .. } => {
                self.store(self.value(base).wrapping_add(offset as u64), size, self.value(value))?;
                0
            }
            Inst::LoadReserved { size, address, .. } => {
                let address = self.value(address);
                let value = self.load(address, size, true, 11)?;
                let [reserved, read] = ToyGuest::RESERVATION.map(|var| usize::from(var.0));
                self.0.vars[reserved] = address | size as u64;
                self.0.vars[read] = value;
                value
            }
            Inst::StoreConditional { size, address, value, .. } => {
                let address = self.value(address);
                let old = self.load(address, size, true, 12)?;
                let [reserved, read] = ToyGuest::RESERVATION.map(|var| self.0.vars[usize::from(var.0)]);
                self.0.vars[usize::from(ToyGuest::RESERVATION[0].0)] = u64::MAX;
                let holds = reserved == address | size as u64 && read == old;
                if holds {
                    self.store(address, size, self.value(value))?;
                }
                u64::from(!holds)
            }
            Inst::Atomic { op, size, address, value, .. } => {
                let (address, mut value) = (self.value(address), self.value(value));
                let old = self.load(address, size, true, 12)?;
                if size == Size::Word {
                    value = value as i32 as u64;
                }
                // Sign-extended operands compare as the narrow ones do.
                let new = match op {
                    AtomicOp::Swap => value,
                    AtomicOp::Add => old.wrapping_add(value),
                    AtomicOp::And => old & value,
                    AtomicOp::Or => old | value,
                    AtomicOp::Xor => old ^ value,
                    AtomicOp::Min => (old as i64).min(value as i64) as u64,
                    AtomicOp::MinUnsigned => old.min(value),
                    AtomicOp::Max => (old as i64).max(value as i64) as u64,
                    AtomicOp::MaxUnsigned => old.max(value),
                };
                self.store(address, size, new)?;
                old
            }
            Inst::Fence | Inst::Decline { .. } => 0,
            Inst::Float { op, rounding, a, b, c, .. } => {
                let operands = [a, b, c].map(|operand| self.value(operand));
                self.0.float(op, rounding, operands)
            }
            Inst::Call { function, a, b, .. } => {
                let (a, b) = (self.value(a), self.value(b));
                self.0.call(function, a, b)?
            }
        };
        if let Some(dst) = dst {
            self.0.vars[usize::from(dst.0)] = result;
        }
        Ok(())
    }

    fn run(&mut self) {
        while !self.0.stop {
            let pc = self.0.pc();
            let number = self.0.machine.ram().read::<u16>(pc).unwrap();
            let toy = self.0.instructions[usize::from(number)].clone();
            if let Err(exception) = toy.insts.into_iter().try_for_each(|inst| self.inst(inst)) {
                self.0.raise(exception);
                continue;
            }
            self.0.vars[usize::from(INSTRET.0)] += 1;
            let next = match toy.end {
                None => pc + 4,
                Some(Terminator::Jump { target }) => target,
                Some(Terminator::Branch { condition, a, b, taken, otherwise }) => {
                    if eval::compare(condition, self.value(a), self.value(b)) { taken } else { otherwise }
                }
                Some(Terminator::Indirect { target }) => self.value(target.into()),
                Some(Terminator::Leave | Terminator::Resume { .. }) => pc,
            };
            self.0.vars[usize::from(PC.0)] = next;
        }
    }
}

fn check_same(one: &ToyGuest, other: &ToyGuest) -> Result<(), TestCaseError> {
    prop_assert_eq!(&one.vars[..128], &other.vars[..128]);
    prop_assert_eq!(&one.raised, &other.raised);
    prop_assert_eq!(&one.notes, &other.notes);
    let (ram, other) = (one.machine.ram(), other.machine.ram());
    for at in (DATA..BOUNDARY).step_by(8) {
        prop_assert_eq!(ram.read::<u64>(at), other.read::<u64>(at), "at {:#x}", at);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn programs_end_as_the_ir_says(
        program in prop::collection::vec(instruction(), 1..40),
        registers in prop::collection::vec(constant(), usize::from(REGISTERS)),
    ) {
        let mut naive = Naive(guest(&program, &registers));
        naive.run();

        let mut whole = guest(&program, &registers);
        Interpreter::new(1 << 16).run(&mut whole);
        check_same(&whole, &naive.0)?;

        let mut piecewise = guest(&program, &registers);
        let mut interpreter = Interpreter::with(1 << 16, Tlb::new(ToyGuest::VIEWS), Exits::Counted);
        let mut outcome = Outcome::Left;
        loop {
            interpreter.synchronise(&mut piecewise);
            if piecewise.wants_attention() {
                break;
            }
            outcome = match outcome {
                Outcome::Hot => interpreter.run_hot(&mut piecewise),
                before => interpreter.run_cold(&mut piecewise, before),
            };
        }
        check_same(&piecewise, &naive.0)?;

        let mut stepped = guest(&program, &registers);
        stepped.attention = std::vec![Attention::Step; naive.0.instret() as usize + naive.0.raised.len()];
        Interpreter::new(1 << 16).run(&mut stepped);
        check_same(&stepped, &naive.0)?;
    }
}
