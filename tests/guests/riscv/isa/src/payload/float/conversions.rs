//! Conversions between formats, and to and from integers.

use core::arch::asm;

use super::{
    Case, Checks, INFINITY, MINUS, NV, NX, OF, PAYLOAD, QUIET, RDN, RMM, RNE, RTZ, RUP, S_INFINITY,
    S_LARGEST, S_QUIET, S_SIGNALLING, SIGNALLING, UF, d, float, s, single,
};

/// Checks them all.
pub fn check(checks: &mut Checks) {
    to_integers(checks);
    from_integers(checks);
    formats(checks);
}

fn to_integers(checks: &mut Checks) {
    const I32_MIN: u64 = i32::MIN as u64;
    float!(
        integer checks,
        "fcvt.w.d {d}, ft0",
        (RNE, [d(2.5), 0, 0], 2, NX),
        (RTZ, [d(2.5), 0, 0], 2, NX),
        (RDN, [d(-2.5), 0, 0], -3_i64 as u64, NX),
        (RUP, [d(2.5), 0, 0], 3, NX),
        (RMM, [d(2.5), 0, 0], 3, NX),
        (RNE, [d(3.5), 0, 0], 4, NX),
        (RNE, [d(2_147_483_647.0), 0, 0], i32::MAX as u64, 0),
        (RNE, [d(2_147_483_648.0), 0, 0], i32::MAX as u64, NV),
        (RTZ, [d(2_147_483_647.9), 0, 0], i32::MAX as u64, NX),
        (RNE, [d(-2_147_483_648.0), 0, 0], I32_MIN, 0),
        (RNE, [d(-2_147_483_649.0), 0, 0], I32_MIN, NV),
        (RNE, [INFINITY | MINUS, 0, 0], I32_MIN, NV),
        (RNE, [PAYLOAD, 0, 0], i32::MAX as u64, NV),
    );
    float!(
        integer checks,
        "fcvt.wu.d {d}, ft0",
        (RNE, [d(3_000_000_000.0), 0, 0], 3_000_000_000_u32 as i32 as u64, 0),
        (RNE, [d(4_294_967_296.0), 0, 0], u64::MAX, NV),
        (RNE, [d(-1.0), 0, 0], 0, NV),
        (RTZ, [d(-0.5), 0, 0], 0, NX),
        (RDN, [d(-0.5), 0, 0], 0, NV),
        (RNE, [QUIET, 0, 0], u64::MAX, NV),
    );
    float!(
        integer checks,
        "fcvt.l.d {d}, ft0",
        (RNE, [d(-1.5), 0, 0], -2_i64 as u64, NX),
        (RNE, [d(9_223_372_036_854_775_808.0), 0, 0], i64::MAX as u64, NV),
        (RNE, [d(-9_223_372_036_854_775_808.0), 0, 0], 1 << 63, 0),
        (RNE, [SIGNALLING, 0, 0], i64::MAX as u64, NV),
    );
    float!(
        integer checks,
        "fcvt.lu.d {d}, ft0",
        (RNE, [d(9_223_372_036_854_775_808.0), 0, 0], 1 << 63, 0),
        (RNE, [d(18_446_744_073_709_551_616.0), 0, 0], u64::MAX, NV),
        (RNE, [INFINITY | MINUS, 0, 0], 0, NV),
    );
    float!(integer checks, "fcvt.w.s {d}, ft0", (RUP, [s(1.1), 0, 0], 2, NX), (RNE, [S_QUIET, 0, 0], 0x7fff_ffff, NV));
    float!(integer checks, "fcvt.wu.s {d}, ft0", (RNE, [s(-1.0), 0, 0], 0, NV));
    float!(integer checks, "fcvt.l.s {d}, ft0", (RNE, [S_INFINITY, 0, 0], i64::MAX as u64, NV));
    float!(integer checks, "fcvt.lu.s {d}, ft0", (RNE, [s(1.5), 0, 0], 2, NX));
}

fn from_integers(checks: &mut Checks) {
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.d.l ft0, {d}",
        (RNE, [i64::MAX as u64, 0, 0], d(9_223_372_036_854_775_808.0), NX),
        (RTZ, [i64::MAX as u64, 0, 0], 0x43df_ffff_ffff_ffff, NX),
        (RNE, [1 << 63, 0, 0], d(-9_223_372_036_854_775_808.0), 0),
        (RNE, [0, 0, 0], 0, 0),
    );
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.d.lu ft0, {d}",
        (RNE, [u64::MAX, 0, 0], d(18_446_744_073_709_551_616.0), NX),
        (RDN, [u64::MAX, 0, 0], 0x43ef_ffff_ffff_ffff, NX),
    );
    float!(checks, "fmv.x.d {d}, ft0\nfcvt.d.w ft0, {d}", (RNE, [0x1234_0000_ffff_ffff, 0, 0], d(-1.0), 0),);
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.d.wu ft0, {d}",
        (RNE, [0x1234_0000_ffff_ffff, 0, 0], d(4_294_967_295.0), 0),
    );
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.s.w ft0, {d}",
        (RNE, [0x0100_0001, 0, 0], s(16_777_216.0), NX),
        (RUP, [0x0100_0001, 0, 0], s(16_777_218.0), NX),
    );
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.s.wu ft0, {d}",
        (RNE, [0xffff_ffff, 0, 0], s(4_294_967_296.0), NX)
    );
    float!(checks, "fmv.x.d {d}, ft0\nfcvt.s.l ft0, {d}", (RNE, [u64::MAX, 0, 0], s(-1.0), 0));
    // Rounded once, not first to a double.
    float!(
        checks,
        "fmv.x.d {d}, ft0\nfcvt.s.lu ft0, {d}",
        (RNE, [0x8000_0080_0000_0001, 0, 0], single(0x5f00_0001), NX),
    );
}

fn formats(checks: &mut Checks) {
    float!(
        checks,
        "fcvt.s.d ft0, ft0",
        (RNE, [d(1.5), 0, 0], s(1.5), 0),
        (RNE, [d(0.1), 0, 0], s(0.1), NX),
        (RTZ, [d(0.1), 0, 0], s(0.1) - 1, NX),
        (RNE, [d(1e300), 0, 0], S_INFINITY, OF | NX),
        (RTZ, [d(1e300), 0, 0], S_LARGEST, OF | NX),
        (RNE, [d(1e-300), 0, 0], single(0), UF | NX),
        (RUP, [d(1e-300), 0, 0], single(1), UF | NX),
        (RNE, [PAYLOAD, 0, 0], S_QUIET, 0),
        (RNE, [SIGNALLING, 0, 0], S_QUIET, NV),
        (RNE, [MINUS, 0, 0], s(-0.0), 0),
    );
    float!(
        checks,
        "fcvt.d.s ft0, ft0",
        (RNE, [s(1.5), 0, 0], d(1.5), 0),
        (RNE, [single(1), 0, 0], d(1.401_298_464_324_817e-45), 0),
        (RNE, [S_SIGNALLING, 0, 0], QUIET, NV),
        (RNE, [S_INFINITY, 0, 0], INFINITY, 0),
    );
}
