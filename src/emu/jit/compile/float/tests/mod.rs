//! Floating-point code is compiled from guest instructions, executed by the simulator, and compared with what the
//! intermediate representation says and [`crate::float`] computes: every bit of registers, memory and flags.

mod budget;
mod exits;
mod operations;
mod sequences;

use std::vec::Vec;

use super::*;
use crate::a64::{Alu, V};
use crate::float::{Context, Flags, NanRule, Rounding};
use crate::interp::Exception;
use crate::ir::{BinaryOp, Block, Inst, Optimiser, Vars, Width, eval};
use crate::jit::tests::simulator::{Regions, Simulator, Stop};
use crate::memory::Size;
use crate::riscv::{self, Enables, lift::lift_block};

const F0: u8 = 32;
const FFLAGS: u8 = 66;
const SCRATCH: u8 = 200;
/// Where translated code, the hart's words and the guest's memory are.
const CODE: u64 = 0x100_0000;
const WORDS: u64 = 0x200_0000;
const DATA: u64 = 0x1_0000;
const DATA_BYTES: usize = 0x4000;

/// Variables that live in memory: x6, x7 and the last floating-point registers.
fn home(var: Var) -> Home {
    match var.0 {
        6 | 7 => Home::Memory,
        1..32 if var.0 < 16 => Home::X(X::new(var.0)),
        F0..61 => Home::V(V::new(var.0 - F0)),
        _ => Home::Memory,
    }
}

/// The part of a compiler that floating point needs.
#[derive(Default)]
struct Compiler {
    asm: Assembler,
    /// Where code leaves for the interpreter: before which guest instruction, with what pending.
    leaves: Vec<(Label, usize, Pending)>,
    /// Words that may fault, in which guest instruction, with what pending.
    faults: Vec<(usize, usize, Pending)>,
    /// The guest instruction that is being compiled.
    at: usize,
    /// The last constant that a register was set to.
    constant: Option<(Var, u64)>,
}

impl Surroundings for Compiler {
    fn asm(&mut self) -> &mut Assembler {
        &mut self.asm
    }

    fn home(&self, var: Var) -> Home {
        home(var)
    }

    fn source(&mut self, value: Value, _bits: Bits, scratch: X) -> X {
        match value {
            Value::Const(0) => return X::ZR,
            Value::Const(constant) => self.asm.mov_imm(scratch, constant as u64),
            Value::Var(var) => match home(var) {
                Home::X(x) => return x,
                Home::V(_) => panic!("{var:?} is no integer"),
                Home::Memory => {
                    assert!(self.asm.load(
                        crate::a64::Mode::Normal,
                        Size::Double,
                        crate::a64::Ext::Zero,
                        scratch,
                        X::SP,
                        registers::word(var)
                    ));
                }
            },
        }
        scratch
    }

    fn target(&mut self, dst: Var, scratch: X) -> X {
        match home(dst) {
            Home::X(x) if !dst.is_temporary() => x,
            _ => scratch,
        }
    }

    fn computed(&mut self, dst: Var, register: X, bits: Bits) {
        if bits == Bits::W32 {
            self.asm.sxtw(register, register);
        }
        if home(dst) == Home::Memory && !dst.is_temporary() {
            let mode = crate::a64::Mode::Normal;
            assert!(self.asm.store(mode, Size::Double, register, X::SP, registers::word(dst)));
        }
    }

    fn constant(&self, var: Var) -> Option<u64> {
        self.constant.filter(|&(of, _)| of == var).map(|(_, constant)| constant)
    }

    fn may_fault(&mut self, pending: Pending) {
        self.faults.push((self.asm.here(), self.at, pending));
    }

    fn interpret(&mut self, pending: Pending) -> Label {
        let label = self.asm.label();
        self.leaves.push((label, self.at, pending));
        label
    }
}

/// Lifts instructions.
fn lift(pc: u64, words: &[u32]) -> Block {
    let context = riscv::Context { mode: 0, enables: Enables::all() };
    let fetch = |address: u64| {
        let index = address.wrapping_sub(pc) / 4;
        let word = words.get(index as usize).ok_or(Exception { cause: 1, value: address })?;
        Ok((word >> (8 * (address & 2))) as u16)
    };
    let mut block = Block::default();
    lift_block(pc, words.len(), context, &mut block, fetch).unwrap();
    let mut optimiser = Optimiser::new(0..0, Vars::NONE);
    for inst in &mut block.insts {
        optimiser.improve(inst);
    }
    block
}

/// The steps of each instruction of a block.
fn instructions(block: &Block) -> impl Iterator<Item = &[Inst]> {
    let ends = block.starts.iter().skip(1).map(|start| start.inst.into()).chain([block.insts.len()]);
    block.starts.iter().zip(ends).map(|(start, end)| &block.insts[start.inst.into()..end])
}

/// Code, and what is known of it.
struct Code {
    words: Vec<u32>,
    /// The instructions that have been compiled.
    compiled: usize,
    needs: Needs,
    /// See [`Compiler::faults`].
    faults: Vec<(usize, usize, Pending)>,
    /// How many words come before those out of line.
    main: usize,
}

/// Compiles a block, up to the first instruction that is declined. It ends with `brk #1000`; it is left before instruction n by
/// `brk #n`.
fn compile(block: &Block) -> Code {
    let mut float = Float::new(F0..F0 + 32, Var(FFLAGS), Var(SCRATCH));
    float.start(block.pc);
    let mut c = Compiler::default();
    for insts in instructions(block) {
        let before = c.asm.here();
        let done = match Operation::of(&(F0..F0 + 32), insts) {
            Some(operation) => float.compile(&mut c, &operation),
            None => add(&mut float, &mut c, insts),
        };
        if !done {
            assert_eq!(c.asm.here(), before, "{insts:?}");
            break;
        }
        c.at += 1;
    }
    float.check(&mut c.asm, T0);
    float.pending().settle(&mut c.asm);
    c.asm.brk(1000);
    let main = c.asm.here();
    float.out_of_line(&mut c.asm);
    for (label, at, pending) in core::mem::take(&mut c.leaves) {
        c.asm.bind(label);
        pending.settle(&mut c.asm);
        c.asm.brk(at as u16);
    }
    c.asm.finish().unwrap();
    Code { words: c.asm.words().to_vec(), compiled: c.at, needs: float.needs(), faults: c.faults, main }
}

/// The only integer code that there is here: `x = x + constant` and `x = constant`.
fn add(float: &mut Float, c: &mut Compiler, insts: &[Inst]) -> bool {
    if let [Inst::Constant { dst, value }] = *insts
        && let Home::X(x) = home(dst)
    {
        c.asm.mov_imm(x, value);
        c.constant = Some((dst, value));
        float.changed(dst, None);
        return true;
    }
    let [Inst::Binary { op: BinaryOp::Add, width: Width::W64, dst, a: Value::Var(a), b: Value::Const(by) }] =
        *insts
    else {
        return false;
    };
    assert_eq!(dst, a);
    let Home::X(x) = home(dst) else { panic!("{dst:?}") };
    assert!(c.asm.alu_imm(Alu::Add, Bits::W64, x, x, by as u64));
    c.constant = None;
    float.changed(dst, Some((a, by.into())));
    true
}

/// The state of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guest {
    vars: [u64; 256],
    frm: u8,
    memory: Vec<u8>,
}

impl Guest {
    fn new(frm: u8) -> Self {
        Self { vars: [0; 256], frm, memory: std::vec![0; DATA_BYTES] }
    }

    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Var(var) => self.vars[usize::from(var.0)],
            Value::Const(constant) => constant as u64,
        }
    }

    fn bytes(&mut self, base: Value, offset: i32, size: Size) -> &mut [u8] {
        let address = self.value(base).wrapping_add_signed(offset.into());
        let start = (address - DATA) as usize;
        &mut self.memory[start..start + size.bytes() as usize]
    }

    /// What the intermediate representation says.
    fn step(&mut self, inst: Inst) {
        let (dst, value) = match inst {
            Inst::Constant { dst, value } => (dst, value),
            Inst::Unary { op, width, dst, a } => (dst, eval::unary(op, width, self.value(a))),
            Inst::Binary { op, width, dst, a, b } => {
                (dst, eval::binary(op, width, self.value(a), self.value(b)))
            }
            Inst::Load { size, signed: _, order: _, dst, base, offset } => {
                let mut value = [0; 8];
                value[..size.bytes() as usize].copy_from_slice(self.bytes(base, offset, size));
                (dst, u64::from_le_bytes(value))
            }
            Inst::Store { size, order: _, base, offset, value } => {
                let value = self.value(value).to_le_bytes();
                self.bytes(base, offset, size).copy_from_slice(&value[..size.bytes() as usize]);
                return;
            }
            Inst::Float { op, rounding, dst, a, b, c } => {
                let mode = if rounding == 7 { self.frm } else { rounding };
                let mut context = Context::new(ROUNDINGS[usize::from(mode)], NanRule::Canonical);
                let result = context.execute(op, [a, b, c].map(|operand| self.value(operand)));
                self.vars[usize::from(FFLAGS)] |= u64::from(context.flags.bits());
                (dst, result)
            }
            _ => panic!("{inst:?}"),
        };
        self.vars[usize::from(dst.0)] = value;
    }

    /// Executes code, and says how many guest instructions that were, and how many of the machine's.
    fn run(&mut self, code: &Code) -> (usize, u64) {
        let mut simulator = Simulator::new();
        // FPCR.RMode: to the nearest, up, down, towards zero.
        simulator.fpcr |= [0, 3, 2, 1][usize::from(self.frm)] << 22;
        simulator.sp = WORDS;
        // Whatever is in registers that are free.
        simulator.v = [0x5555_aaaa_5555_aaaa_7ff0_0000_0000_0001; 32];
        simulator.x = [0xdddd_dddd_dddd_dddd; 31];
        let words = self.vars.iter().flat_map(|word| word.to_le_bytes()).collect();
        for var in (0..128).map(Var) {
            match home(var) {
                Home::X(x) => simulator.x[usize::from(x.number())] = self.value(var.into()),
                Home::V(v) => simulator.v[usize::from(v.number())] = self.value(var.into()).into(),
                Home::Memory => {}
            }
        }
        let memory = core::mem::take(&mut self.memory);
        let mut regions = Regions::default().with(WORDS, words, false).with(DATA, memory, true);
        let fetch =
            |address: u64| code.words.get(usize::try_from(address.checked_sub(CODE)? / 4).ok()?).copied();
        simulator.pc = CODE;
        let executed = match simulator.run(&fetch, &mut regions, 10_000) {
            Stop::Break(1000) => code.compiled,
            Stop::Break(number) => number.into(),
            Stop::Fault { address, unprivileged: false, .. } if address >= DATA + DATA_BYTES as u64 - 8 => {
                let word = ((simulator.pc - CODE) / 4) as usize;
                let &(_, at, pending) = code.faults.iter().find(|(at, ..)| *at == word).unwrap();
                let mut v = simulator.v.map(|v| v as u64);
                pending.apply(&mut v);
                simulator.v = v.map(u128::from);
                at
            }
            stop => panic!("{stop:?}"),
        };
        for var in (0..128).map(Var) {
            let word = regions.0[0].bytes.chunks_exact(8).nth(var.0.into()).unwrap();
            self.vars[usize::from(var.0)] = match home(var) {
                Home::X(x) => simulator.x[usize::from(x.number())],
                Home::V(v) => simulator.v[usize::from(v.number())] as u64,
                Home::Memory => u64::from_le_bytes(word.try_into().unwrap()),
            };
        }
        self.memory = core::mem::take(&mut regions.0[1].bytes);
        assert_eq!(simulator.fpsr & 1 << 3, 0, "UFC is left");
        let order = [Flags::NV, Flags::DZ, Flags::OF, Flags::UF, Flags::NX];
        for (bit, flag) in order.into_iter().enumerate() {
            if simulator.fpsr >> bit & 1 != 0 {
                self.vars[usize::from(FFLAGS)] |= u64::from(flag.bits());
            }
        }
        (executed, simulator.executed)
    }

    /// Forgets temporaries, which nobody sees.
    fn without_temporaries(mut self) -> Self {
        self.vars[usize::from(Var::FIRST_TEMPORARY)..].fill(0);
        self
    }
}

const ROUNDINGS: [Rounding; 5] =
    [Rounding::NearestEven, Rounding::TowardZero, Rounding::Down, Rounding::Up, Rounding::NearestAway];

/// Executes a block both ways, and compares. Returns how many guest instructions were executed.
fn check(block: &Block, code: &Code, guest: &Guest) -> usize {
    let mut actual = guest.clone();
    let (executed, _) = actual.run(code);
    let mut expected = guest.clone();
    for &inst in instructions(block).take(executed).flatten() {
        expected.step(inst);
    }
    let (actual, expected) = (actual.without_temporaries(), expected.without_temporaries());
    if actual != expected {
        let different: Vec<_> = (0..128)
            .filter(|&var| actual.vars[var] != expected.vars[var])
            .map(|var| std::format!("g{var} = {:#x} but is {:#x}", expected.vars[var], actual.vars[var]))
            .collect();
        panic!("{different:?}\n{block}\n{:#x?}, frm {}", &guest.vars[..64], guest.frm);
    }
    executed
}
