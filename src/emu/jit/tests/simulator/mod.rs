//! A machine that executes A64, as far as [`crate::a64`] writes it, so that translated code is tested on any host.
//!
//! It decodes bit patterns after the tables of the Arm Architecture Reference Manual (DDI 0487, C4.1), and shares no line
//! with the assembler. What it does not know, and what the manual calls CONSTRAINED UNPREDICTABLE, stops it.

mod branch;
mod float;
mod immediate;
mod memory;
mod register;
mod tests;
mod vector;

pub use memory::{Fault, Memory, Regions};

use crate::memory::{Access, Size};

/// The state of the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulator {
    pub x: [u64; 31],
    pub sp: u64,
    pub v: [u128; 32],
    /// Four bits: N is 8, Z is 4, C is 2, V is 1.
    pub nzcv: u8,
    /// Only the rounding mode may differ from what [`Simulator::new`] sets.
    pub fpcr: u64,
    pub fpsr: u64,
    pub pc: u64,
    /// What an exclusive load has marked, and read. Whoever takes it away makes the exclusive store fail.
    pub monitor: Option<(u64, Size, u64)>,
    /// How many instructions were executed, not counting those that stopped the machine.
    pub executed: u64,
}

/// Why the machine stopped. The program counter is at the instruction that did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// There is no code at the program counter.
    Left,
    /// An access faulted. No register has changed, not even the base.
    Fault { address: u64, access: Access, unprivileged: bool },
    /// BRK.
    Break(u16),
    /// HVC.
    HypervisorCall(u16),
    /// As many instructions were executed as were allowed.
    Limit,
    /// This word is not an instruction, or one that the machine does not know.
    Undefined(u32),
}

/// What an instruction leads to: another address than the next one, or the end.
type Step = Result<Option<u64>, Stop>;

/// What is next to the processor.
struct Surroundings<'a, M> {
    code: &'a dyn Fn(u64) -> Option<u32>,
    memory: &'a mut M,
}

impl Simulator {
    /// All zero, but for FPCR.DN: NaN results are the default NaN.
    pub const fn new() -> Self {
        Self {
            x: [0; 31],
            sp: 0,
            v: [0; 32],
            nzcv: 0,
            fpcr: 1 << 25,
            fpsr: 0,
            pc: 0,
            monitor: None,
            executed: 0,
        }
    }

    /// Executes at most `limit` instructions. `code` tells the word at an address, also for loads of literals.
    pub fn run(&mut self, code: &dyn Fn(u64) -> Option<u32>, memory: &mut impl Memory, limit: u64) -> Stop {
        let mut surroundings = Surroundings { code, memory };
        for _ in 0..limit {
            let Some(word) = code(self.pc) else { return Stop::Left };
            match self.step(Word(word), &mut surroundings) {
                Ok(target) => self.pc = target.unwrap_or(self.pc.wrapping_add(4)),
                Err(stop) => return stop,
            }
            self.executed += 1;
        }
        Stop::Limit
    }

    /// C4.1, "A64 instruction set encoding".
    fn step<M: Memory>(&mut self, word: Word, surroundings: &mut Surroundings<'_, M>) -> Step {
        match word.field(25, 4) {
            0b1000 | 0b1001 => self.processing_immediate(word).map(|()| None),
            0b1010 | 0b1011 => self.branch(word),
            0b0100 | 0b0110 | 0b1100 | 0b1110 => self.load_store(word, surroundings).map(|()| None),
            0b0101 | 0b1101 => self.processing_register(word).map(|()| None),
            0b0111 | 0b1111 if word.field(29, 2) == 0 && word.field(28, 1) == 1 => {
                self.scalar_float(word).map(|()| None)
            }
            0b0111 | 0b1111 => self.vector(word).map(|()| None),
            _ => word.undefined(),
        }
    }

    /// A register, where 31 is zero.
    fn x(&self, n: u32) -> u64 {
        self.x.get(n as usize).copied().unwrap_or(0)
    }

    /// A register, where 31 is the stack pointer.
    fn x_or_sp(&self, n: u32) -> u64 {
        if n == 31 { self.sp } else { self.x(n) }
    }

    /// Writes a register, of which 31 does not exist.
    fn set_x(&mut self, n: u32, value: u64) {
        if let Some(x) = self.x.get_mut(n as usize) {
            *x = value;
        }
    }

    /// Writes a register, of which 31 is the stack pointer.
    fn set_x_or_sp(&mut self, n: u32, value: u64) {
        if n == 31 {
            self.sp = value;
        } else {
            self.set_x(n, value);
        }
    }

    /// Whether a condition holds (C1.2.4).
    fn holds(&self, condition: u32) -> bool {
        let [n, z, c, v] = [8, 4, 2, 1].map(|flag| self.nzcv & flag != 0);
        let positive = match condition >> 1 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            _ => return true,
        };
        positive == (condition & 1 == 0)
    }
}

/// An instruction.
#[derive(Debug, Clone, Copy)]
struct Word(u32);

impl Word {
    /// The `width` bits from the bit `at` on.
    const fn field(self, at: u32, width: u32) -> u32 {
        self.0 >> at & ((1 << width) - 1)
    }

    const fn bit(self, at: u32) -> bool {
        self.field(at, 1) != 0
    }

    /// The field as a signed number.
    const fn signed(self, at: u32, width: u32) -> i64 {
        ((self.0 << (32 - at - width)) as i32 >> (32 - width)) as i64
    }

    /// Whether the bits under `mask` are those of `pattern`.
    const fn is(self, mask: u32, pattern: u32) -> bool {
        self.0 & mask == pattern
    }

    /// `Rd` or `Rt`.
    const fn d(self) -> u32 {
        self.field(0, 5)
    }

    const fn n(self) -> u32 {
        self.field(5, 5)
    }

    /// `Ra` or `Rt2`.
    const fn a(self) -> u32 {
        self.field(10, 5)
    }

    /// `Rm` or `Rs`.
    const fn m(self) -> u32 {
        self.field(16, 5)
    }

    /// The width of the operation in bits, by `sf`.
    const fn width(self) -> u32 {
        if self.bit(31) { 64 } else { 32 }
    }

    const fn undefined<T>(self) -> Result<T, Stop> {
        Err(Stop::Undefined(self.0))
    }
}

/// The low `width` bits of `value`, 1..=64.
const fn low(value: u64, width: u32) -> u64 {
    value & (u64::MAX >> (64 - width))
}

/// The low `width` bits of `value`, 1..=64, sign-extended.
const fn sign_extended(value: u64, width: u32) -> u64 {
    ((value << (64 - width)) as i64 >> (64 - width)) as u64
}

/// `a` + `b` + `carry` in `width` bits, and its flags.
fn add_with_carry(width: u32, a: u64, b: u64, carry: bool) -> (u64, u8) {
    let (a, b) = (low(a, width), low(b, width));
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = low(sum as u64, width);
    let sign = |value: u64| value >> (width - 1) & 1 != 0;
    let overflow = sign(a) == sign(b) && sign(a) != sign(result);
    (result, flags(width, result) | u8::from(sum >> width != 0) << 1 | u8::from(overflow))
}

/// N and Z.
const fn flags(width: u32, result: u64) -> u8 {
    ((result >> (width - 1) & 1) as u8) << 3 | ((result == 0) as u8) << 2
}
