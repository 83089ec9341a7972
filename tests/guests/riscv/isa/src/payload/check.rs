//! Comparing what a hart did with what it should have done.

use core::fmt::Display;

use guest_riscv_support::println;

/// How many failures of a group are shown.
const SHOWN: u32 = 20;

/// Values that instructions are tried with: the ends of the ranges of each width, and what lies between.
pub const VALUES: [u64; COUNT] = [
    0,
    1,
    2,
    0x3f,
    0x7f,
    0x80,
    0x7fff,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    0xfedc_ba98_7654_3210,
    i64::MAX as u64,
    i64::MIN as u64,
    0xffff_ffff_8000_0000,
    u64::MAX - 1,
    u64::MAX,
];
const COUNT: usize = 19;

/// What a function of one of [`VALUES`] should return.
pub type Line = [u64; COUNT];
/// What a function of two of [`VALUES`] should return.
pub type Square = [Line; COUNT];

/// A group of checks, and how they went.
pub struct Checks {
    group: &'static str,
    passed: u32,
    failed: u32,
}

impl Checks {
    /// None yet.
    pub fn new(group: &'static str) -> Self {
        Self { group, passed: 0, failed: 0 }
    }

    /// Whether `got` is `want`.
    pub fn equal(&mut self, name: impl Display, got: u64, want: u64) {
        if got == want {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        if self.failed <= SHOWN {
            println!("FAIL {} {name}: got {got:#x} want {want:#x}", self.group);
        }
    }

    /// Whether `operation` of each of [`VALUES`] is as `want` says.
    pub fn line(&mut self, name: &str, operation: fn(u64) -> u64, want: &Line) {
        for (&a, &want) in VALUES.iter().zip(want) {
            self.equal(format_args!("{name} {a:#x}"), operation(a), want);
        }
    }

    /// Whether `operation` of each two of [`VALUES`] is as `want` says.
    pub fn square(&mut self, name: &str, operation: fn(u64, u64) -> u64, want: &Square) {
        for (&a, line) in VALUES.iter().zip(want) {
            for (&b, &want) in VALUES.iter().zip(line) {
                self.equal(format_args!("{name} {a:#x} {b:#x}"), operation(a, b), want);
            }
        }
    }

    /// Says how it went: how many passed, how many failed.
    pub fn finish(self) -> (u32, u32) {
        if self.failed == 0 {
            println!("ok {} ({} checks)", self.group, self.passed);
        } else {
            println!("FAIL {}: {} of {} checks", self.group, self.failed, self.passed + self.failed);
        }
        (self.passed, self.failed)
    }
}

/// Checks an instruction, or the instructions of a text, with one register operand.
macro_rules! unary {
    ($checks:expr, $name:literal, |$a:ident| $model:expr) => {
        unary!($checks, concat!($name, " {d}, {a}"), $name, |$a| $model)
    };
    ($checks:expr, $text:expr, $name:expr, |$a:ident| $model:expr) => {{
        const WANT: $crate::payload::check::Line = {
            let mut want = [0; _];
            let mut i = 0;
            while i < want.len() {
                let $a = $crate::payload::check::VALUES[i];
                want[i] = $model;
                i += 1;
            }
            want
        };
        let operation = |a: u64| {
            let d: u64;
            // SAFETY: the instruction reads and writes registers only.
            unsafe {
                core::arch::asm!(
                    ".option push",
                    ".option arch, +zba, +zbb, +zbc, +zbs, +zicond",
                    $text,
                    ".option pop",
                    d = out(reg) d,
                    a = in(reg) a,
                    options(pure, nomem, nostack),
                );
            }
            d
        };
        $checks.line($name, operation, &WANT);
    }};
}

/// Checks an instruction with a register and each of these immediate operands.
macro_rules! immediate {
    ($checks:expr, $name:literal, [$($immediate:literal),*], |$a:ident, $i:ident| $model:expr) => {$(
        unary!(
            $checks,
            concat!($name, " {d}, {a}, ", $immediate),
            concat!($name, " ", $immediate),
            |$a| {
                #[allow(unused)]
                let $i: i64 = $immediate;
                $model
            }
        );
    )*};
}

/// Checks an instruction, or the instructions of a text, with two register operands.
macro_rules! binary {
    ($checks:expr, $name:literal, |$a:ident, $b:ident| $model:expr) => {
        binary!($checks, concat!($name, " {d}, {a}, {b}"), $name, |$a, $b| $model)
    };
    ($checks:expr, $text:expr, $name:expr, |$a:ident, $b:ident| $model:expr) => {{
        const WANT: $crate::payload::check::Square = {
            let mut want = [[0; _]; _];
            let mut i = 0;
            while i < want.len() {
                let mut j = 0;
                while j < want.len() {
                    let $a = $crate::payload::check::VALUES[i];
                    let $b = $crate::payload::check::VALUES[j];
                    want[i][j] = $model;
                    j += 1;
                }
                i += 1;
            }
            want
        };
        let operation = |a: u64, b: u64| {
            let d: u64;
            // SAFETY: the instruction reads and writes registers only.
            unsafe {
                core::arch::asm!(
                    ".option push",
                    ".option arch, +zba, +zbb, +zbc, +zbs, +zicond",
                    $text,
                    ".option pop",
                    d = out(reg) d,
                    a = in(reg) a,
                    b = in(reg) b,
                    options(pure, nomem, nostack),
                );
            }
            d
        };
        $checks.square($name, operation, &WANT);
    }};
}

pub(super) use {binary, immediate, unary};
