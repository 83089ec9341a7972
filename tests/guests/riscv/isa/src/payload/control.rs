//! RV64I: branches and jumps.

use core::arch::asm;

use super::check::{Checks, binary};

/// Checks a branch: forwards, over an instruction.
macro_rules! branch {
    ($checks:expr, $name:literal, |$a:ident, $b:ident| $model:expr) => {
        binary!(
            $checks,
            concat!("li {d}, 1\n", $name, " {a}, {b}, 9f\nli {d}, 0\n9:"),
            $name,
            |$a, $b| $model as u64
        )
    };
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    branch!(checks, "beq", |a, b| a == b);
    branch!(checks, "bne", |a, b| a != b);
    branch!(checks, "blt", |a, b| (a as i64) < b as i64);
    branch!(checks, "bge", |a, b| a as i64 >= b as i64);
    branch!(checks, "bltu", |a, b| a < b);
    branch!(checks, "bgeu", |a, b| a >= b);
    backwards(checks);
    jumps(checks);
}

fn backwards(checks: &mut Checks) {
    let sum: u64;
    // SAFETY: the instructions read and write registers only, and branch among themselves.
    unsafe {
        asm!(
            "9: add {sum}, {sum}, {count}",
            "addi {count}, {count}, -1",
            "bnez {count}, 9b",
            sum = inout(reg) 0_u64 => sum,
            count = inout(reg) 1000_u64 => _,
        );
    }
    checks.equal("a loop of 1000 rounds", sum, 500_500);
}

fn jumps(checks: &mut Checks) {
    let (link, target): (u64, u64);
    // SAFETY: the instructions read and write registers only, and jump among themselves.
    unsafe {
        asm!(
            ".option push",
            ".option norvc",
            "la {target}, 8f",
            // The lowest bit of the sum is ignored; link and base may be the same register.
            "addi t1, {target}, -15",
            "mv {link}, t1",
            "jalr {link}, 16({link})",
            "8: sub {link}, {link}, {target}",
            "jal t0, 7f",
            "6: li {link}, -1",
            "7: la t1, 6b",
            "sub {target}, t0, t1",
            ".option pop",
            link = out(reg) link,
            target = out(reg) target,
            out("t0") _,
            out("t1") _,
        );
    }
    checks.equal("jalr: link", link, 0);
    checks.equal("jal: link", target, 0);
}
