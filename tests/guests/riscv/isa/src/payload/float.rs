//! F and D: results, flags and rounding modes.

use core::arch::asm;

use super::check::Checks;

mod conversions;

/// Rounding modes.
const RNE: u64 = 0;
const RTZ: u64 = 1;
const RDN: u64 = 2;
const RUP: u64 = 3;
const RMM: u64 = 4;
/// Flags.
const NX: u64 = 1;
const UF: u64 = 2;
const OF: u64 = 4;
const DZ: u64 = 8;
const NV: u64 = 16;

/// Doubles.
const ONE: u64 = d(1.0);
const NEXT: u64 = ONE + 1;
const MINUS: u64 = 1 << 63;
const LARGEST: u64 = d(f64::MAX);
const NORMAL: u64 = d(f64::MIN_POSITIVE);
const TINY: u64 = 1;
const INFINITY: u64 = d(f64::INFINITY);
const QUIET: u64 = 0x7ff8_0000_0000_0000;
const PAYLOAD: u64 = 0xfff8_0000_0000_1234;
const SIGNALLING: u64 = 0x7ff0_0000_0000_0001;
/// Half of the distance of 1 and [`NEXT`].
const HALF: u64 = d(1.0 / 9_007_199_254_740_992.0);
/// Singles, boxed.
const S_QUIET: u64 = single(0x7fc0_0000);
const S_SIGNALLING: u64 = single(0x7f80_0001);
const S_LARGEST: u64 = s(f32::MAX);
const S_INFINITY: u64 = s(f32::INFINITY);

const fn d(value: f64) -> u64 {
    value.to_bits()
}

const fn s(value: f32) -> u64 {
    single(value.to_bits())
}

/// A single as it is in a register.
const fn single(bits: u32) -> u64 {
    0xffff_ffff << 32 | bits as u64
}

/// A rounding mode, operands, the result and the flags.
type Case = (u64, [u64; 3], u64, u64);

/// Checks an instruction whose result goes to ft0 or, as `{d}`, to an integer register.
macro_rules! float {
    (integer $checks:expr, $text:literal, $($case:expr),* $(,)?) => {
        float!(@cases $checks, $text, "", $($case),*)
    };
    (@cases $checks:expr, $text:literal, $result:literal, $($case:expr),*) => {{
        const CASES: &[Case] = &[$($case),*];
        for &(mode, [a, b, c], want, raised) in CASES {
            let (got, flags): (u64, u64);
            // SAFETY: the instructions read and write registers only.
            unsafe {
                asm!(
                    "fmv.d.x ft0, {a}",
                    "fmv.d.x ft1, {b}",
                    "fmv.d.x ft2, {c}",
                    "fsrm {mode}",
                    "fsflags zero",
                    $text,
                    "frflags {flags}",
                    "fsrm zero",
                    $result,
                    a = in(reg) a,
                    b = in(reg) b,
                    c = in(reg) c,
                    mode = in(reg) mode,
                    d = out(reg) got,
                    flags = out(reg) flags,
                    out("ft0") _,
                    out("ft1") _,
                    out("ft2") _,
                );
            }
            let name = format_args!("{}, mode {mode}, {a:#x} {b:#x} {c:#x}", $text);
            $checks.equal(name, got, want);
            $checks.equal(format_args!("{name}: flags"), flags, raised);
        }
    }};
    ($checks:expr, $text:literal, $($case:expr),* $(,)?) => {
        float!(@cases $checks, $text, "fmv.x.d {d}, ft0", $($case),*)
    };
}

use float;

/// Checks them all.
pub fn check(checks: &mut Checks) {
    sums(checks);
    products(checks);
    quotients(checks);
    roots(checks);
    fused(checks);
    singles(checks);
    boxes(checks);
    extremes(checks);
    comparisons(checks);
    classes(checks);
    signs(checks);
    conversions::check(checks);
    static_modes(checks);
}

fn sums(checks: &mut Checks) {
    float!(
        checks,
        "fadd.d ft0, ft0, ft1",
        (RNE, [d(1.0), d(2.0), 0], d(3.0), 0),
        (RNE, [ONE, HALF, 0], ONE, NX),
        (RTZ, [ONE, HALF, 0], ONE, NX),
        (RDN, [ONE, HALF, 0], ONE, NX),
        (RUP, [ONE, HALF, 0], NEXT, NX),
        (RMM, [ONE, HALF, 0], NEXT, NX),
        (RNE, [NEXT, HALF, 0], NEXT + 1, NX),
        (RNE, [ONE | MINUS, HALF | MINUS, 0], ONE | MINUS, NX),
        (RTZ, [ONE | MINUS, HALF | MINUS, 0], ONE | MINUS, NX),
        (RDN, [ONE | MINUS, HALF | MINUS, 0], NEXT | MINUS, NX),
        (RUP, [ONE | MINUS, HALF | MINUS, 0], ONE | MINUS, NX),
        (RMM, [ONE | MINUS, HALF | MINUS, 0], NEXT | MINUS, NX),
        (RNE, [LARGEST, LARGEST, 0], INFINITY, OF | NX),
        (RTZ, [LARGEST, LARGEST, 0], LARGEST, OF | NX),
        (RDN, [LARGEST, LARGEST, 0], LARGEST, OF | NX),
        (RUP, [LARGEST, LARGEST, 0], INFINITY, OF | NX),
        (RMM, [LARGEST, LARGEST, 0], INFINITY, OF | NX),
        (RDN, [LARGEST | MINUS, LARGEST | MINUS, 0], INFINITY | MINUS, OF | NX),
        (RUP, [LARGEST | MINUS, LARGEST | MINUS, 0], LARGEST | MINUS, OF | NX),
        (RNE, [INFINITY, ONE, 0], INFINITY, 0),
        (RNE, [INFINITY, INFINITY | MINUS, 0], QUIET, NV),
        (RNE, [PAYLOAD, ONE, 0], QUIET, 0),
        (RNE, [ONE, SIGNALLING, 0], QUIET, NV),
        (RNE, [ONE, ONE | MINUS, 0], 0, 0),
        (RDN, [ONE, ONE | MINUS, 0], MINUS, 0),
        (RNE, [MINUS, MINUS, 0], MINUS, 0),
        (RNE, [MINUS, 0, 0], 0, 0),
        (RNE, [TINY, TINY, 0], 2, 0),
        (RNE, [NORMAL - 1, TINY, 0], NORMAL, 0),
    );
    float!(
        checks,
        "fsub.d ft0, ft0, ft1",
        (RNE, [d(1.0), d(2.0), 0], d(-1.0), 0),
        (RNE, [INFINITY, INFINITY, 0], QUIET, NV),
        (RNE, [0, 0, 0], 0, 0),
        (RDN, [0, 0, 0], MINUS, 0),
        (RNE, [0, PAYLOAD, 0], QUIET, 0),
        (RNE, [NORMAL, TINY, 0], NORMAL - 1, 0),
    );
}

fn products(checks: &mut Checks) {
    float!(
        checks,
        "fmul.d ft0, ft0, ft1",
        (RNE, [d(3.0), d(-0.5), 0], d(-1.5), 0),
        (RNE, [NORMAL, d(0.5), 0], NORMAL >> 1, 0),
        (RNE, [TINY, d(0.5), 0], 0, UF | NX),
        (RTZ, [TINY, d(0.5), 0], 0, UF | NX),
        (RUP, [TINY, d(0.5), 0], TINY, UF | NX),
        (RMM, [TINY, d(0.5), 0], TINY, UF | NX),
        (RDN, [TINY, d(-0.5), 0], TINY | MINUS, UF | NX),
        (RNE, [3, d(0.5), 0], 2, UF | NX),
        // Tiny or not is said of the result after rounding.
        (RNE, [NEXT, NORMAL - 1, 0], NORMAL, NX),
        (RNE, [ONE - 1, NORMAL, 0], NORMAL, UF | NX),
        (RNE, [LARGEST, d(2.0), 0], INFINITY, OF | NX),
        (RTZ, [LARGEST, d(-2.0), 0], LARGEST | MINUS, OF | NX),
        (RNE, [INFINITY, 0, 0], QUIET, NV),
        (RNE, [INFINITY, ONE | MINUS, 0], INFINITY | MINUS, 0),
        (RNE, [0, ONE | MINUS, 0], MINUS, 0),
        (RNE, [d(0.1), d(0.1), 0], 0x3f84_7ae1_47ae_147c, NX),
        (RTZ, [d(0.1), d(0.1), 0], 0x3f84_7ae1_47ae_147b, NX),
    );
}

fn quotients(checks: &mut Checks) {
    float!(
        checks,
        "fdiv.d ft0, ft0, ft1",
        (RNE, [d(6.0), d(3.0), 0], d(2.0), 0),
        (RNE, [d(1.0), d(3.0), 0], 0x3fd5_5555_5555_5555, NX),
        (RTZ, [d(1.0), d(3.0), 0], 0x3fd5_5555_5555_5555, NX),
        (RDN, [d(1.0), d(-3.0), 0], 0xbfd5_5555_5555_5556, NX),
        (RUP, [d(1.0), d(3.0), 0], 0x3fd5_5555_5555_5556, NX),
        (RMM, [d(1.0), d(3.0), 0], 0x3fd5_5555_5555_5555, NX),
        (RNE, [ONE, 0, 0], INFINITY, DZ),
        (RNE, [ONE, MINUS, 0], INFINITY | MINUS, DZ),
        (RNE, [0, 0, 0], QUIET, NV),
        (RNE, [INFINITY, INFINITY, 0], QUIET, NV),
        (RNE, [INFINITY, 0, 0], INFINITY, 0),
        (RNE, [ONE, INFINITY | MINUS, 0], MINUS, 0),
        (RNE, [SIGNALLING, 0, 0], QUIET, NV),
        (RNE, [NORMAL, d(2.0), 0], NORMAL >> 1, 0),
        (RNE, [TINY, d(3.0), 0], 0, UF | NX),
        (RNE, [LARGEST, d(0.5), 0], INFINITY, OF | NX),
    );
}

fn roots(checks: &mut Checks) {
    float!(
        checks,
        "fsqrt.d ft0, ft0",
        (RNE, [d(4.0), 0, 0], d(2.0), 0),
        (RNE, [d(2.0), 0, 0], 0x3ff6_a09e_667f_3bcd, NX),
        (RTZ, [d(2.0), 0, 0], 0x3ff6_a09e_667f_3bcc, NX),
        (RUP, [d(2.0), 0, 0], 0x3ff6_a09e_667f_3bcd, NX),
        (RNE, [MINUS, 0, 0], MINUS, 0),
        (RNE, [ONE | MINUS, 0, 0], QUIET, NV),
        (RNE, [INFINITY, 0, 0], INFINITY, 0),
        (RNE, [INFINITY | MINUS, 0, 0], QUIET, NV),
        (RNE, [PAYLOAD, 0, 0], QUIET, 0),
        (RNE, [TINY, 0, 0], 0x1e60_0000_0000_0000, 0),
    );
}

fn fused(checks: &mut Checks) {
    // (1 + e)(1 - e) - 1 = -e^2, with one rounding.
    const E2: u64 = d(f64::EPSILON * f64::EPSILON);
    const BELOW: u64 = d(1.0 - f64::EPSILON);
    float!(
        checks,
        "fmadd.d ft0, ft0, ft1, ft2",
        (RNE, [d(2.0), d(3.0), d(4.0)], d(10.0), 0),
        (RNE, [NEXT, BELOW, ONE | MINUS], E2 | MINUS, 0),
        (RNE, [INFINITY, 0, PAYLOAD], QUIET, NV),
        (RNE, [INFINITY, ONE, INFINITY | MINUS], QUIET, NV),
        (RNE, [ONE, ONE, PAYLOAD], QUIET, 0),
        (RNE, [ONE, ONE, ONE | MINUS], 0, 0),
        (RDN, [ONE, ONE, ONE | MINUS], MINUS, 0),
        (RNE, [LARGEST, d(2.0), LARGEST | MINUS], LARGEST, 0),
        (RNE, [LARGEST, d(2.0), INFINITY | MINUS], INFINITY | MINUS, 0),
        (RNE, [TINY, TINY, ONE], ONE, NX),
        (RUP, [TINY, TINY, ONE], NEXT, NX),
        (RNE, [TINY, TINY, TINY], TINY, UF | NX),
    );
    float!(checks, "fmsub.d ft0, ft0, ft1, ft2", (RNE, [d(2.0), d(3.0), d(4.0)], d(2.0), 0));
    float!(checks, "fnmsub.d ft0, ft0, ft1, ft2", (RNE, [d(2.0), d(3.0), d(4.0)], d(-2.0), 0));
    float!(
        checks,
        "fnmadd.d ft0, ft0, ft1, ft2",
        (RNE, [d(2.0), d(3.0), d(4.0)], d(-10.0), 0),
        (RNE, [ONE, ONE, ONE | MINUS], 0, 0),
        (RUP, [ONE, HALF, ONE], ONE | MINUS, NX),
        (RDN, [ONE, HALF, ONE], NEXT | MINUS, NX),
    );
}

fn singles(checks: &mut Checks) {
    float!(
        checks,
        "fadd.s ft0, ft0, ft1",
        (RNE, [s(1.0), s(2.0), 0], s(3.0), 0),
        (RNE, [s(1.0), s(1.0 / 16_777_216.0), 0], s(1.0), NX),
        (RUP, [s(1.0), s(1.0 / 16_777_216.0), 0], s(1.0) + 1, NX),
        (RMM, [s(1.0), s(1.0 / 16_777_216.0), 0], s(1.0) + 1, NX),
        (RNE, [S_LARGEST, S_LARGEST, 0], S_INFINITY, OF | NX),
        (RTZ, [S_LARGEST, S_LARGEST, 0], S_LARGEST, OF | NX),
        (RNE, [S_SIGNALLING, s(1.0), 0], S_QUIET, NV),
    );
    float!(checks, "fsub.s ft0, ft0, ft1", (RNE, [s(1.0), s(2.0), 0], s(-1.0), 0));
    float!(
        checks,
        "fmul.s ft0, ft0, ft1",
        (RNE, [s(0.1), s(0.1), 0], single(0x3c23_d70b), NX),
        (RTZ, [s(0.1), s(0.1), 0], single(0x3c23_d70a), NX),
        (RNE, [single(1), s(0.5), 0], single(0), UF | NX),
        (RNE, [s(1.0) + 1, single(0x007f_ffff), 0], single(0x0080_0000), NX),
    );
    float!(
        checks,
        "fdiv.s ft0, ft0, ft1",
        (RNE, [s(1.0), s(3.0), 0], single(0x3eaa_aaab), NX),
        (RDN, [s(1.0), s(3.0), 0], single(0x3eaa_aaaa), NX),
        (RNE, [s(1.0), s(0.0), 0], S_INFINITY, DZ),
    );
    float!(
        checks,
        "fsqrt.s ft0, ft0",
        (RNE, [s(2.0), 0, 0], single(0x3fb5_04f3), NX),
        (RUP, [s(2.0), 0, 0], single(0x3fb5_04f4), NX),
        (RNE, [s(-1.0), 0, 0], S_QUIET, NV),
    );
    float!(checks, "fmadd.s ft0, ft0, ft1, ft2", (RNE, [s(2.0), s(3.0), s(4.0)], s(10.0), 0));
    float!(checks, "fmsub.s ft0, ft0, ft1, ft2", (RNE, [s(2.0), s(3.0), s(4.0)], s(2.0), 0));
    float!(checks, "fnmsub.s ft0, ft0, ft1, ft2", (RNE, [s(2.0), s(3.0), s(4.0)], s(-2.0), 0));
    float!(checks, "fnmadd.s ft0, ft0, ft1, ft2", (RNE, [s(2.0), s(3.0), s(4.0)], s(-10.0), 0));
}

/// A single that is not boxed counts as the canonical NaN, except where bits are moved.
fn boxes(checks: &mut Checks) {
    const LOOSE: u64 = 0x3f80_0000;
    float!(checks, "fadd.s ft0, ft0, ft1", (RNE, [LOOSE, s(1.0), 0], S_QUIET, 0));
    float!(checks, "fsgnj.s ft0, ft0, ft1", (RNE, [LOOSE, s(-1.0), 0], single(0xffc0_0000), 0));
    float!(checks, "fcvt.d.s ft0, ft0", (RNE, [LOOSE, 0, 0], QUIET, 0));
    float!(checks, "fmin.s ft0, ft0, ft1", (RNE, [LOOSE, s(1.0), 0], s(1.0), 0));
    float!(integer checks, "feq.s {d}, ft0, ft0", (RNE, [LOOSE, 0, 0], 0, 0));
    float!(integer checks, "fclass.s {d}, ft0", (RNE, [LOOSE, 0, 0], 1 << 9, 0));
    float!(integer checks, "fmv.x.w {d}, ft0", (RNE, [0x1234_5678_8000_0000, 0, 0], 0xffff_ffff_8000_0000, 0));
    float!(checks, "li {d}, 0x3f800000\nfmv.w.x ft0, {d}", (RNE, [0, 0, 0], s(1.0), 0));
}

fn extremes(checks: &mut Checks) {
    float!(
        checks,
        "fmin.d ft0, ft0, ft1",
        (RNE, [d(1.0), d(2.0), 0], d(1.0), 0),
        (RNE, [0, MINUS, 0], MINUS, 0),
        (RNE, [MINUS, 0, 0], MINUS, 0),
        (RNE, [PAYLOAD, ONE, 0], ONE, 0),
        (RNE, [ONE, PAYLOAD, 0], ONE, 0),
        (RNE, [PAYLOAD, PAYLOAD, 0], QUIET, 0),
        (RNE, [SIGNALLING, ONE, 0], ONE, NV),
        (RNE, [INFINITY | MINUS, ONE, 0], INFINITY | MINUS, 0),
    );
    float!(
        checks,
        "fmax.d ft0, ft0, ft1",
        (RNE, [d(1.0), d(2.0), 0], d(2.0), 0),
        (RNE, [0, MINUS, 0], 0, 0),
        (RNE, [MINUS, 0, 0], 0, 0),
        (RNE, [PAYLOAD, SIGNALLING, 0], QUIET, NV),
    );
    float!(checks, "fmin.s ft0, ft0, ft1", (RNE, [s(0.0), s(-0.0), 0], s(-0.0), 0));
    float!(checks, "fmax.s ft0, ft0, ft1", (RNE, [S_SIGNALLING, s(1.0), 0], s(1.0), NV));
}

fn comparisons(checks: &mut Checks) {
    float!(
        integer checks,
        "feq.d {d}, ft0, ft1",
        (RNE, [ONE, ONE, 0], 1, 0),
        (RNE, [0, MINUS, 0], 1, 0),
        (RNE, [ONE, QUIET, 0], 0, 0),
        (RNE, [ONE, SIGNALLING, 0], 0, NV),
    );
    float!(
        integer checks,
        "flt.d {d}, ft0, ft1",
        (RNE, [ONE, NEXT, 0], 1, 0),
        (RNE, [ONE, ONE, 0], 0, 0),
        (RNE, [MINUS, 0, 0], 0, 0),
        (RNE, [INFINITY | MINUS, ONE | MINUS, 0], 1, 0),
        (RNE, [ONE, QUIET, 0], 0, NV),
    );
    float!(
        integer checks,
        "fle.d {d}, ft0, ft1",
        (RNE, [ONE, ONE, 0], 1, 0),
        (RNE, [NEXT, ONE, 0], 0, 0),
        (RNE, [QUIET, QUIET, 0], 0, NV),
    );
    float!(integer checks, "feq.s {d}, ft0, ft1", (RNE, [s(1.0), s(1.0), 0], 1, 0));
    float!(integer checks, "flt.s {d}, ft0, ft1", (RNE, [s(-1.0), s(1.0), 0], 1, 0));
    float!(integer checks, "fle.s {d}, ft0, ft1", (RNE, [s(1.0), S_QUIET, 0], 0, NV));
}

fn classes(checks: &mut Checks) {
    float!(
        integer checks,
        "fclass.d {d}, ft0",
        (RNE, [INFINITY | MINUS, 0, 0], 1, 0),
        (RNE, [ONE | MINUS, 0, 0], 1 << 1, 0),
        (RNE, [TINY | MINUS, 0, 0], 1 << 2, 0),
        (RNE, [MINUS, 0, 0], 1 << 3, 0),
        (RNE, [0, 0, 0], 1 << 4, 0),
        (RNE, [NORMAL - 1, 0, 0], 1 << 5, 0),
        (RNE, [NORMAL, 0, 0], 1 << 6, 0),
        (RNE, [INFINITY, 0, 0], 1 << 7, 0),
        (RNE, [SIGNALLING, 0, 0], 1 << 8, 0),
        (RNE, [PAYLOAD, 0, 0], 1 << 9, 0),
    );
    float!(
        integer checks,
        "fclass.s {d}, ft0",
        (RNE, [single(0x8000_0001), 0, 0], 1 << 2, 0),
        (RNE, [S_SIGNALLING, 0, 0], 1 << 8, 0),
    );
}

/// They keep a NaN's payload.
fn signs(checks: &mut Checks) {
    float!(checks, "fsgnj.d ft0, ft0, ft1", (RNE, [SIGNALLING, MINUS, 0], SIGNALLING | MINUS, 0));
    float!(
        checks,
        "fsgnjn.d ft0, ft0, ft1",
        (RNE, [ONE, MINUS, 0], ONE, 0),
        (RNE, [ONE, 0, 0], ONE | MINUS, 0)
    );
    float!(checks, "fsgnjx.d ft0, ft0, ft1", (RNE, [PAYLOAD, MINUS, 0], PAYLOAD & !MINUS, 0));
    float!(checks, "fsgnjn.s ft0, ft0, ft1", (RNE, [s(1.0), s(1.0), 0], s(-1.0), 0));
    float!(checks, "fsgnjx.s ft0, ft0, ft1", (RNE, [s(-1.0), s(-1.0), 0], s(1.0), 0));
}

/// The rounding mode of the instruction counts, not that of the register.
fn static_modes(checks: &mut Checks) {
    float!(checks, "fadd.d ft0, ft0, ft1, rne", (RUP, [ONE, HALF, 0], ONE, NX));
    float!(checks, "fadd.d ft0, ft0, ft1, rup", (RDN, [ONE, HALF, 0], NEXT, NX));
    float!(checks, "fadd.d ft0, ft0, ft1, rmm", (RDN, [ONE, HALF, 0], NEXT, NX));
    float!(checks, "fadd.d ft0, ft0, ft1, rdn", (RUP, [ONE, HALF, 0], ONE, NX));
    float!(integer checks, "fcvt.w.d {d}, ft0, rtz", (RUP, [d(2.5), 0, 0], 2, NX));
    float!(integer checks, "fcvt.l.s {d}, ft0, rdn", (RUP, [s(-2.5), 0, 0], -3_i64 as u64, NX));
}
