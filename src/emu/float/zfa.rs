//! The constants of RISC-V's Zfa extension ("Load-Immediate Instructions").

use super::{Format, NanRule};

/// What `FLI` loads for `index`, the number of `rs1`. `None` if it is not below 32.
pub fn load_immediate<F: Format>(index: u8) -> Option<F::Bits> {
    // 1 + quarters / 4, times 2^exponent
    let number = |exponent: i32, quarters: u64| {
        let field = (exponent - F::MIN_EXPONENT + 1) as u64;
        field << F::FRACTION | quarters << (F::FRACTION - 2)
    };
    let magnitude = match index {
        0 => return Some(F::signed(true, number(0, 0))),
        1 => number(F::MIN_EXPONENT, 0),
        2 => number(-16, 0),
        3 => number(-15, 0),
        4 => number(-8, 0),
        5 => number(-7, 0),
        6 => number(-4, 0),
        7 => number(-3, 0),
        // 0.25 to 1.75 in steps of a quarter of their power of two.
        8..=19 => number(i32::from(index / 4) - 4, u64::from(index % 4)),
        20..=22 => number(1, u64::from(index % 4)),
        23 => number(2, 0),
        24 => number(3, 0),
        25 => number(4, 0),
        26 => number(7, 0),
        27 => number(8, 0),
        28 => number(15, 0),
        29 => number(16, 0),
        30 => F::INFINITY,
        31 => return Some(NanRule::Canonical.default_nan::<F>()),
        _ => return None,
    };
    Some(F::signed(false, magnitude))
}
