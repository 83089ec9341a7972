//! Floating-point and vectors.

use super::*;

fn format() -> impl Strategy<Value = (F, Bits, char)> {
    select(&[(F::S, Bits::W32, 's'), (F::D, Bits::W64, 'd')])
}

proptest! {
    #[test]
    fn arithmetic((f, _, letter) in format(), d in v(), n in v(), m in v(), addend in v(), (c, c_name) in cond()) {
        let [rd, rn, rm, ra] = [d, n, m, addend].map(|v| format!("{letter}{}", v.number()));
        for (emit, op) in [
            (Assembler::fmov as fn(&mut Assembler, F, V, V), "fmov"),
            (Assembler::fabs, "fabs"),
            (Assembler::fneg, "fneg"),
            (Assembler::fsqrt, "fsqrt"),
        ] {
            check(|a| emit(a, f, d, n), &format!("{op} {rd}, {rn}"));
        }
        for (emit, op) in [
            (Assembler::fadd as fn(&mut Assembler, F, V, V, V), "fadd"),
            (Assembler::fsub, "fsub"),
            (Assembler::fmul, "fmul"),
            (Assembler::fdiv, "fdiv"),
            (Assembler::fnmul, "fnmul"),
            (Assembler::fmax, "fmax"),
            (Assembler::fmin, "fmin"),
            (Assembler::fmaxnm, "fmaxnm"),
            (Assembler::fminnm, "fminnm"),
        ] {
            check(|a| emit(a, f, d, n, m), &format!("{op} {rd}, {rn}, {rm}"));
        }
        for (emit, op) in [
            (Assembler::fmadd as fn(&mut Assembler, F, V, V, V, V), "fmadd"),
            (Assembler::fmsub, "fmsub"),
            (Assembler::fnmadd, "fnmadd"),
            (Assembler::fnmsub, "fnmsub"),
        ] {
            check(|a| emit(a, f, d, n, m, addend), &format!("{op} {rd}, {rn}, {rm}, {ra}"));
        }
        check(|a| a.fcmp(f, n, m), &format!("fcmp {rn}, {rm}"));
        check(|a| a.fcmpe(f, n, m), &format!("fcmpe {rn}, {rm}"));
        check(|a| a.fcmp_zero(f, n), &format!("fcmp {rn}, #0.0"));
        check(|a| a.fcsel(f, d, n, m, c), &format!("fcsel {rd}, {rn}, {rm}, {c_name}"));
        for (round, suffix) in [
            (Frint::N, 'n'), (Frint::P, 'p'), (Frint::M, 'm'), (Frint::Z, 'z'), (Frint::A, 'a'), (Frint::X, 'x'),
            (Frint::I, 'i'),
        ] {
            check(|a| a.frint(f, round, d, n), &format!("frint{suffix} {rd}, {rn}"));
        }
    }

    #[test]
    fn conversions((f, same, letter) in format(), b in bits(), number in v(), integer in x(), other in v()) {
        let (rv, rx) = (format!("{letter}{}", number.number()), name(b, integer));
        for (round, mode) in
            [(IntRound::N, 'n'), (IntRound::P, 'p'), (IntRound::M, 'm'), (IntRound::Z, 'z'), (IntRound::A, 'a')]
        {
            check(|a| a.fcvt_to_int(f, round, true, b, integer, number), &format!("fcvt{mode}s {rx}, {rv}"));
            check(|a| a.fcvt_to_int(f, round, false, b, integer, number), &format!("fcvt{mode}u {rx}, {rv}"));
        }
        check(|a| a.int_to_float(f, true, b, number, integer), &format!("scvtf {rv}, {rx}"));
        check(|a| a.int_to_float(f, false, b, number, integer), &format!("ucvtf {rv}, {rx}"));
        let encoding = name(same, integer);
        check(|a| a.fmov_to_x(f, integer, number), &format!("fmov {encoding}, {rv}"));
        check(|a| a.fmov_from_x(f, number, integer), &format!("fmov {rv}, {encoding}"));
        let from = if f == F::S { 'd' } else { 's' };
        check(|a| a.fcvt(f, number, other), &format!("fcvt {rv}, {from}{}", other.number()));
    }

    #[test]
    fn immediates((f, _, letter) in format(), d in v(), imm: u8) {
        // C2.2.3: a sign, an exponent of -3..=4, four bits of fraction.
        let exponent = i32::from(imm >> 4 & 7 ^ 4) - 3;
        let magnitude = (1.0 + f64::from(imm & 15) / 16.0) * f64::from(exponent).exp2();
        let value = if imm & 0x80 == 0 { magnitude } else { -magnitude };
        let value = if value.fract() == 0.0 { format!("{value:.1}") } else { format!("{value}") };
        check(|a| a.fmov_imm(f, d, imm), &format!("fmov {letter}{}, #{value}", d.number()));
    }

    #[test]
    fn vectors(d in v(), n in v(), m in v(), integer in x(), lane in 0..4u8, from in 0..4u8) {
        let [rd, rn, rm] = [d, n, m].map(|v| format!("v{}", v.number()));
        check(|a| a.movi_zero(d), &format!("movi {rd}.2d, #0x0"));
        check(|a| a.ins_s(d, lane, n, from), &format!("mov {rd}.s[{lane}], {rn}.s[{from}]"));
        let (lane, from) = (lane & 1, from & 1);
        check(|a| a.ins_d(d, lane, n, from), &format!("mov {rd}.d[{lane}], {rn}.d[{from}]"));
        check(|a| a.umov_d(integer, n, lane), &format!("mov {}, {rn}.d[{lane}]", name(Bits::W64, integer)));
        check(|a| a.cnt_8b(d, n), &format!("cnt {rd}.8b, {rn}.8b"));
        check(|a| a.addv_8b(d, n), &format!("addv b{}, {rn}.8b", d.number()));
        check(|a| a.pmull(d, n, m), &format!("pmull {rd}.1q, {rn}.1d, {rm}.1d"));
        prop_assume!(n != m);
        check(|a| a.orr_16b(d, n, m), &format!("orr {rd}.16b, {rn}.16b, {rm}.16b"));
    }
}
