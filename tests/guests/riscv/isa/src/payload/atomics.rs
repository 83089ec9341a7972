//! A: atomic operations, of one hart.

use core::arch::asm;

use super::{
    check::{Checks, VALUES},
    trap::{LOAD_ACCESS, LOAD_MISALIGNED, Mode, STORE_ACCESS, STORE_MISALIGNED, run, snippet},
};

/// What an AMO is made of: the instruction, and what it should leave in memory.
type Operation<T> = (&'static str, fn(&mut u64, u64) -> u64, fn(T, T) -> T);

macro_rules! operation {
    ($name:literal, $model:expr) => {
        (
            $name,
            |memory, operand| {
                let old: u64;
                // SAFETY: the instruction reads and writes the memory that it is given.
                unsafe {
                    asm!(concat!($name, " {}, {}, ({})"), out(reg) old, in(reg) operand, in(reg) &raw mut *memory);
                }
                old
            },
            $model,
        )
    };
}

const WORDS: [Operation<u32>; 9] = [
    operation!("amoswap.w", |_, b| b),
    operation!("amoadd.w.aq", |a, b| a.wrapping_add(b)),
    operation!("amoxor.w.rl", |a, b| a ^ b),
    operation!("amoand.w.aqrl", |a, b| a & b),
    operation!("amoor.w", |a, b| a | b),
    operation!("amomin.w", |a, b| if (a as i32) < b as i32 { a } else { b }),
    operation!("amomax.w", |a, b| if (a as i32) < b as i32 { b } else { a }),
    operation!("amominu.w", |a, b| if a < b { a } else { b }),
    operation!("amomaxu.w", |a, b| if a < b { b } else { a }),
];

const DOUBLES: [Operation<u64>; 9] = [
    operation!("amoswap.d", |_, b| b),
    operation!("amoadd.d.aq", |a, b| a.wrapping_add(b)),
    operation!("amoxor.d.rl", |a, b| a ^ b),
    operation!("amoand.d.aqrl", |a, b| a & b),
    operation!("amoor.d", |a, b| a | b),
    operation!("amomin.d", |a, b| if (a as i64) < b as i64 { a } else { b }),
    operation!("amomax.d", |a, b| if (a as i64) < b as i64 { b } else { a }),
    operation!("amominu.d", |a, b| if a < b { a } else { b }),
    operation!("amomaxu.d", |a, b| if a < b { b } else { a }),
];

/// Checks them all.
pub fn check(checks: &mut Checks) {
    let pairs = || VALUES.into_iter().flat_map(|a| VALUES.map(|b| (a, b)));
    for (name, operation, model) in WORDS {
        for (a, b) in pairs() {
            let mut memory = a;
            let old = operation(&mut memory, b);
            let want = a & !0xffff_ffff | u64::from(model(a as u32, b as u32));
            checks.equal(format_args!("{name} {a:#x} {b:#x}: old"), old, a as i32 as u64);
            checks.equal(format_args!("{name} {a:#x} {b:#x}: new"), memory, want);
        }
    }
    for (name, operation, model) in DOUBLES {
        for (a, b) in pairs() {
            let mut memory = a;
            let old = operation(&mut memory, b);
            checks.equal(format_args!("{name} {a:#x} {b:#x}: old"), old, a);
            checks.equal(format_args!("{name} {a:#x} {b:#x}: new"), memory, model(a, b));
        }
    }
    reservations(checks);
    misaligned(checks);
}

fn reservations(checks: &mut Checks) {
    let mut memory = [0x8000_0001_u64, 7];
    let at = (&raw mut memory).addr() as u64;
    let word =
        run(Mode::Machine, snippet!("lr.w a1, (a0)", "sc.w a2, a3, (a0)", "ld a3, 0(a0)"), [at, 0, 9, 5]);
    checks.equal("lr.w extends the sign", word.a[1], 0xffff_ffff_8000_0001);
    checks.equal("sc.w after lr.w", word.a[2], 0);
    checks.equal("sc.w stores", word.a[3], 5);
    let again = run(
        Mode::Machine,
        snippet!("lr.d a1, (a0)", "sc.d a2, a3, (a0)", "sc.d a4, a5, (a0)", "ld a6, 0(a0)"),
        [at, 0, 9, 6, 9, 7],
    );
    checks.equal("sc.d after lr.d", again.a[2], 0);
    checks.equal("sc.d: a reservation is used once", u64::from(again.a[4] != 0), 1);
    checks.equal("sc.d that fails does not store", again.a[6], 6);
    let other = run(
        Mode::Machine,
        snippet!("lr.d a1, (a0)", "li a4, 4096", "add a4, a0, a4", "sc.d a2, a3, (a4)"),
        [(&raw const PAGES).addr() as u64, 0, 0, 3],
    );
    checks.equal("sc.d elsewhere fails", u64::from(other.a[2] != 0), 1);
}

#[repr(align(4096))]
#[allow(dead_code)]
struct Pages([u8; 8192]);
static mut PAGES: Pages = Pages([0; 8192]);

/// A misaligned atomic access is refused, as misaligned or as one that the memory does not take. QEMU says of all of them
/// that they load.
fn misaligned(checks: &mut Checks) {
    let causes = [LOAD_MISALIGNED, LOAD_ACCESS, STORE_MISALIGNED, STORE_ACCESS];
    let memory = [0_u64; 2];
    let at = (&raw const memory).addr() as u64 + 2;
    let cases = [
        ("lr.w", snippet!("lr.w a1, (a0)")),
        ("lr.d", snippet!("lr.d a1, (a0)")),
        ("amoadd.w", snippet!("amoadd.w a1, a1, (a0)")),
        ("amoswap.d", snippet!("amoswap.d a1, a1, (a0)")),
    ];
    for (name, code) in cases {
        let trap = run(Mode::Machine, code, [at, 1]);
        checks.equal(format_args!("misaligned {name}: cause"), u64::from(causes.contains(&trap.cause)), 1);
        checks.equal(format_args!("misaligned {name}: tval"), trap.value, at);
        checks.equal(format_args!("misaligned {name}: pc"), trap.offset, 0);
    }
}
