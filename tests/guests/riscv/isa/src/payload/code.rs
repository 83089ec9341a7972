//! Code that changes.

use core::arch::asm;

use super::{
    check::Checks,
    trap::{Mode, run},
};

/// Two pages of code.
#[repr(C, align(4096))]
struct Code([u16; 4096]);
static mut CODE: Code = Code([0; 4096]);

/// C.LI a0, `value`.
fn load(value: u16) -> u16 {
    0x4501 | (value & 0x1f) << 2
}
/// ECALL, in halves.
const ECALL: [u16; 2] = [0x0073, 0];

/// Places code at an index of [`CODE`] and returns its address.
fn place(index: usize, code: &[u16]) -> u64 {
    let start = (&raw mut CODE).cast::<u16>().wrapping_add(index);
    for (i, &half) in code.iter().enumerate() {
        // SAFETY: nobody else uses it, and callers stay inside.
        unsafe { start.wrapping_add(i).write_volatile(half) };
    }
    start.addr() as u64
}

fn fence() {
    // SAFETY: it orders instruction fetches behind stores.
    unsafe { asm!("fence.i") };
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    replaced(checks);
    across_pages(checks);
    by_itself(checks);
    many(checks);
}

/// FENCE.I shows what was written over code that has run.
fn replaced(checks: &mut Checks) {
    for round in 0..20 {
        let code = place(0, &[load(round), ECALL[0], ECALL[1]]);
        fence();
        checks.equal("code that was replaced", run(Mode::Machine, code, []).a[0], u64::from(round));
    }
}

/// An instruction whose halves lie in two pages, each of which changes.
fn across_pages(checks: &mut Checks) {
    // ADDI a0, zero, n
    for (index, upper) in [0x0010_u16, 0x0020, 0x7ff0].into_iter().enumerate() {
        let code = place(2047, &[0x0513, upper, ECALL[0], ECALL[1]]);
        fence();
        let want = [1, 2, 0x7ff];
        checks.equal("an instruction across pages", run(Mode::Machine, code, []).a[0], want[index]);
    }
    // Its first half becomes LUI a0.
    let code = place(2047, &[0x0537]);
    fence();
    checks.equal("its first half changed", run(Mode::Machine, code, []).a[0], 0x7ff0_0000);
}

/// Code that writes over what comes next.
fn by_itself(checks: &mut Checks) {
    // SH a1, 8(a0) in halves; FENCE.I in halves; C.LI a0, 1; ECALL
    let code = place(16, &[0x1423, 0x00b5, 0x100f, 0x0000, load(1), ECALL[0], ECALL[1]]);
    fence();
    for value in [1, 2, 3] {
        let got = run(Mode::Machine, code, [code, u64::from(load(value))]).a[0];
        checks.equal("code that changes itself", got, u64::from(value));
    }
}

/// More pieces of code than a small cache has room for, run twice.
fn many(checks: &mut Checks) {
    for start in 0..1000_usize {
        place(4 * start, &[load(start as u16 & 15), ECALL[0], ECALL[1]]);
    }
    fence();
    for start in (0..1000_usize).chain(0..1000) {
        let code = place(4 * start, &[]);
        checks.equal("much code", run(Mode::Machine, code, []).a[0], start as u64 & 15);
    }
}
