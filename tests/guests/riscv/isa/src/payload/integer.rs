//! RV64I: computation.

use super::check::{Checks, binary, immediate, unary};

/// A 32-bit result, sign-extended.
const fn word(value: u32) -> u64 {
    value as i32 as i64 as u64
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    registers(checks);
    immediates(checks);
    upper(checks);
    zero_register(checks);
}

fn registers(checks: &mut Checks) {
    binary!(checks, "add", |a, b| a.wrapping_add(b));
    binary!(checks, "sub", |a, b| a.wrapping_sub(b));
    binary!(checks, "sll", |a, b| a << (b & 63));
    binary!(checks, "srl", |a, b| a >> (b & 63));
    binary!(checks, "sra", |a, b| (a as i64 >> (b & 63)) as u64);
    binary!(checks, "slt", |a, b| ((a as i64) < b as i64) as u64);
    binary!(checks, "sltu", |a, b| (a < b) as u64);
    binary!(checks, "and", |a, b| a & b);
    binary!(checks, "or", |a, b| a | b);
    binary!(checks, "xor", |a, b| a ^ b);
    binary!(checks, "addw", |a, b| word((a as u32).wrapping_add(b as u32)));
    binary!(checks, "subw", |a, b| word((a as u32).wrapping_sub(b as u32)));
    binary!(checks, "sllw", |a, b| word((a as u32) << (b & 31)));
    binary!(checks, "srlw", |a, b| word((a as u32) >> (b & 31)));
    binary!(checks, "sraw", |a, b| word((a as i32 >> (b & 31)) as u32));
}

fn immediates(checks: &mut Checks) {
    immediate!(checks, "addi", [0, 1, 2047, -1, -2048], |a, i| a.wrapping_add(i as u64));
    immediate!(checks, "slti", [0, 1, 2047, -1, -2048], |a, i| ((a as i64) < i) as u64);
    immediate!(checks, "sltiu", [0, 1, 2047, -1, -2048], |a, i| (a < i as u64) as u64);
    immediate!(checks, "andi", [0, 1, 2047, -1, -2048], |a, i| a & i as u64);
    immediate!(checks, "ori", [0, 1, 2047, -1, -2048], |a, i| a | i as u64);
    immediate!(checks, "xori", [0, 1, 2047, -1, -2048], |a, i| a ^ i as u64);
    immediate!(checks, "slli", [0, 1, 31, 32, 63], |a, i| a << i);
    immediate!(checks, "srli", [0, 1, 31, 32, 63], |a, i| a >> i);
    immediate!(checks, "srai", [0, 1, 31, 32, 63], |a, i| (a as i64 >> i) as u64);
    immediate!(checks, "addiw", [0, 1, 2047, -1, -2048], |a, i| word((a as u32).wrapping_add(i as u32)));
    immediate!(checks, "slliw", [0, 1, 31], |a, i| word((a as u32) << i));
    immediate!(checks, "srliw", [0, 1, 31], |a, i| word(a as u32 >> i));
    immediate!(checks, "sraiw", [0, 1, 31], |a, i| word((a as i32 >> i) as u32));
}

fn upper(checks: &mut Checks) {
    unary!(checks, "lui {d}, 1 # {a}", "lui 1", |_a| 0x1000);
    unary!(checks, "lui {d}, 0x7ffff # {a}", "lui 0x7ffff", |_a| 0x7fff_f000);
    unary!(checks, "lui {d}, 0x80000 # {a}", "lui 0x80000", |_a| 0xffff_ffff_8000_0000);
    // The distance of two instructions four bytes apart, less what they add.
    let distance: u64;
    // SAFETY: the instructions read and write registers only.
    unsafe {
        core::arch::asm!(
            ".option push",
            ".option norvc",
            "auipc {d}, 0",
            "auipc {e}, 0xfffff",
            ".option pop",
            "sub {d}, {e}, {d}",
            d = out(reg) distance,
            e = out(reg) _,
        );
    }
    checks.equal("auipc", distance, 0xffff_ffff_ffff_f004);
}

/// What is written to x0 is lost.
fn zero_register(checks: &mut Checks) {
    unary!(checks, "add zero, {a}, {a}\nmv {d}, zero", "add to zero", |_a| 0);
    unary!(checks, "lw zero, 0(sp)\nadd {d}, {a}, zero", "lw to zero", |a| a);
}
