//! SSE as the judge of flags, rounding modes and x86's NaNs. Like RISC-V, it detects tininess after rounding.

use std::{arch::asm, is_x86_feature_detected};

use proptest::prelude::*;

use super::{doubles, singles};
use crate::float::{Context, Double, Flags, NanRule, Negate, Rounding, Single};

/// MXCSR with all exceptions masked (SDM, "MXCSR Control and Status Register"). It has no mode for ties away
/// from zero.
const MODES: [(Rounding, u32); 4] = [
    (Rounding::NearestEven, 0x1f80),
    (Rounding::Down, 0x3f80),
    (Rounding::Up, 0x5f80),
    (Rounding::TowardZero, 0x7f80),
];

/// The flags of MXCSR; a denormal operand is none of IEEE 754's.
fn flags(mxcsr: u32) -> Flags {
    [(0, Flags::NV), (2, Flags::DZ), (3, Flags::OF), (4, Flags::UF), (5, Flags::NX)]
        .into_iter()
        .filter_map(|(bit, flag)| (mxcsr >> bit & 1 != 0).then_some(flag))
        .collect()
}

/// A function that executes one instruction on three registers, of which the first is the destination, under
/// a value of MXCSR, and returns what the destination and MXCSR are then.
macro_rules! instruction {
    ($name:ident, $instruction:literal, $float:ty, $result:ty) => {
        fn $name(mxcsr: u32, a: $float, b: $float, c: $float) -> ($result, Flags) {
            let mut control = [mxcsr, 0];
            let result: $result;
            // SAFETY: the instructions touch the two registers that are declared, `control`, and MXCSR, which
            // they restore.
            unsafe {
                asm!(
                    "stmxcsr [{control} + 4]",
                    "ldmxcsr [{control}]",
                    $instruction,
                    "stmxcsr [{control}]",
                    "ldmxcsr [{control} + 4]",
                    control = in(reg) control.as_mut_ptr(),
                    in("xmm0") a,
                    lateout("xmm0") result,
                    in("xmm1") b,
                    in("xmm2") c,
                    options(nostack),
                );
            }
            (result, flags(control[0]))
        }
    };
}

// The fused instructions multiply their second operand by the first, and look for NaNs in that order.
instruction!(add_single, "addss xmm0, xmm1", f32, f32);
instruction!(sub_single, "subss xmm0, xmm1", f32, f32);
instruction!(mul_single, "mulss xmm0, xmm1", f32, f32);
instruction!(div_single, "divss xmm0, xmm1", f32, f32);
instruction!(sqrt_single, "sqrtss xmm0, xmm0", f32, f32);
instruction!(fused_single, "vfmadd213ss xmm0, xmm1, xmm2", f32, f32);
instruction!(widen, "cvtss2sd xmm0, xmm0", f32, f64);
instruction!(add_double, "addsd xmm0, xmm1", f64, f64);
instruction!(sub_double, "subsd xmm0, xmm1", f64, f64);
instruction!(mul_double, "mulsd xmm0, xmm1", f64, f64);
instruction!(div_double, "divsd xmm0, xmm1", f64, f64);
instruction!(sqrt_double, "sqrtsd xmm0, xmm0", f64, f64);
instruction!(fused_double, "vfmadd213sd xmm0, xmm1, xmm2", f64, f64);
instruction!(negated_double, "vfnmsub213sd xmm0, xmm1, xmm2", f64, f64);
instruction!(narrow, "cvtsd2ss xmm0, xmm0", f64, f32);

/// Compares an instruction with an operation in every mode that both have.
macro_rules! check {
    ($instruction:ident($a:ident, $b:ident, $c:ident), $operation:expr) => {
        for (rounding, mxcsr) in MODES {
            let (result, flags) = $instruction(mxcsr, $a, $b, $c);
            let mut context = Context::new(rounding, NanRule::FirstOperand);
            let actual = $operation(&mut context);
            let name = stringify!($instruction);
            prop_assert_eq!(actual, result.to_bits(), "{} {:?}: {:#x}", name, rounding, result.to_bits());
            prop_assert_eq!(context.flags, flags, "{} {:?}", name, rounding);
        }
    };
}

const NOT_NEGATED: Negate = Negate { product: false, addend: false };
const BOTH_NEGATED: Negate = Negate { product: true, addend: true };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn singles_are_sses(a in singles(), b in singles(), c in singles()) {
        let [x, y, z] = [a, b, c].map(f32::from_bits);
        check!(add_single(x, y, z), |k: &mut Context| k.add::<Single>(a, b));
        check!(sub_single(x, y, z), |k: &mut Context| k.sub::<Single>(a, b));
        check!(mul_single(x, y, z), |k: &mut Context| k.mul::<Single>(a, b));
        check!(div_single(x, y, z), |k: &mut Context| k.div::<Single>(a, b));
        check!(sqrt_single(x, y, z), |k: &mut Context| k.sqrt::<Single>(a));
        check!(widen(x, y, z), |k: &mut Context| k.convert::<Single, Double>(a));
        if is_x86_feature_detected!("fma") {
            check!(fused_single(x, y, z), |k: &mut Context| k.mul_add::<Single>(b, a, c, NOT_NEGATED));
        }
    }

    #[test]
    fn doubles_are_sses(a in doubles(), b in doubles(), c in doubles()) {
        let [x, y, z] = [a, b, c].map(f64::from_bits);
        check!(add_double(x, y, z), |k: &mut Context| k.add::<Double>(a, b));
        check!(sub_double(x, y, z), |k: &mut Context| k.sub::<Double>(a, b));
        check!(mul_double(x, y, z), |k: &mut Context| k.mul::<Double>(a, b));
        check!(div_double(x, y, z), |k: &mut Context| k.div::<Double>(a, b));
        check!(sqrt_double(x, y, z), |k: &mut Context| k.sqrt::<Double>(a));
        check!(narrow(x, y, z), |k: &mut Context| k.convert::<Double, Single>(a));
        if is_x86_feature_detected!("fma") {
            check!(fused_double(x, y, z), |k: &mut Context| k.mul_add::<Double>(b, a, c, NOT_NEGATED));
            check!(negated_double(x, y, z), |k: &mut Context| k.mul_add::<Double>(b, a, c, BOTH_NEGATED));
        }
    }
}
