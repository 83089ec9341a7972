//! Loads and stores, aligned and not.

use core::arch::asm;

use super::check::Checks;

/// Around the end of a page.
#[repr(C, align(4096))]
struct Pages([u8; 8192]);

/// The byte at every place of the memory that is accessed: all differ, and half have their sign bit set.
fn pattern(place: usize) -> u8 {
    (place as u8).wrapping_mul(0x9d) ^ 0x5a
}

macro_rules! load {
    ($checks:expr, $memory:expr, $name:literal, $size:literal, |$value:ident| $model:expr) => {
        for place in 4080..4104_usize {
            let address = $memory.0.as_ptr().wrapping_add(place);
            let got: u64;
            // SAFETY: the bytes are in the array.
            unsafe { asm!(concat!($name, " {}, 0({})"), out(reg) got, in(reg) address, options(readonly)) };
            let $value = (0..$size).fold(0, |value, i| value | u64::from(pattern(place + i)) << (8 * i));
            $checks.equal(format_args!("{} at {place}", $name), got, $model);
        }
    };
}

macro_rules! store {
    ($checks:expr, $memory:expr, $name:literal, $size:literal) => {
        for place in 4080..4104_usize {
            let address = $memory.0.as_mut_ptr().wrapping_add(place);
            let value = 0x8796_a5b4_c3d2_e1f0_u64;
            // SAFETY: the bytes are in the array.
            unsafe { asm!(concat!($name, " {}, 0({})"), in(reg) value, in(reg) address) };
            let right = (place - 8..place + 16).filter(|&at| {
                let want = match at.checked_sub(place) {
                    Some(i) if i < $size => (value >> (8 * i)) as u8,
                    _ => pattern(at),
                };
                $memory.0.get(at) == Some(&want)
            });
            $checks.equal(format_args!("{} at {place}: bytes that are right", $name), right.count() as u64, 24);
            $memory.fill();
        }
    };
}

impl Pages {
    fn fill(&mut self) {
        for (place, byte) in self.0.iter_mut().enumerate() {
            *byte = pattern(place);
        }
    }
}

/// Checks them all, at every place around the end of a page.
pub fn check(checks: &mut Checks) {
    let mut memory = Pages([0; 8192]);
    memory.fill();
    load!(checks, memory, "lb", 1, |value| value as i8 as u64);
    load!(checks, memory, "lbu", 1, |value| value);
    load!(checks, memory, "lh", 2, |value| value as i16 as u64);
    load!(checks, memory, "lhu", 2, |value| value);
    load!(checks, memory, "lw", 4, |value| value as i32 as u64);
    load!(checks, memory, "lwu", 4, |value| value);
    load!(checks, memory, "ld", 8, |value| value);
    store!(checks, memory, "sb", 1);
    store!(checks, memory, "sh", 2);
    store!(checks, memory, "sw", 4);
    store!(checks, memory, "sd", 8);
    floats(checks);
    offsets(checks);
}

/// FLW boxes what it loads; FSW stores the lower half whatever the upper is.
fn floats(checks: &mut Checks) {
    let memory = [0x8796_a5b4_c3d2_e1f0_u64, 0];
    let (single, double, stored): (u64, u64, u64);
    // SAFETY: the addresses are in the array, which is written through a pointer to it.
    unsafe {
        asm!(
            "flw ft0, 4({memory})",
            "fmv.x.d {single}, ft0",
            "fld ft0, 0({memory})",
            "fmv.x.d {double}, ft0",
            "fsw ft0, 9({memory})",
            "ld {stored}, 8({memory})",
            memory = in(reg) &raw const memory,
            single = out(reg) single,
            double = out(reg) double,
            stored = out(reg) stored,
            out("ft0") _,
        );
    }
    checks.equal("flw", single, 0xffff_ffff_8796_a5b4);
    checks.equal("fld", double, 0x8796_a5b4_c3d2_e1f0);
    checks.equal("fsw", stored, 0xc3_d2e1_f000);
}

/// Offsets are signed.
fn offsets(checks: &mut Checks) {
    let memory: [u64; 513] = core::array::from_fn(|i| i as u64);
    let (low, high): (u64, u64);
    // SAFETY: the addresses are in the array.
    unsafe {
        asm!(
            "ld {low}, -2048({middle})",
            "ld {high}, 2040({middle})",
            middle = in(reg) memory.as_ptr().wrapping_add(256),
            low = out(reg) low,
            high = out(reg) high,
            options(readonly),
        );
    }
    checks.equal("ld with the lowest offset", low, 0);
    checks.equal("ld with the highest offset", high, 511);
}
