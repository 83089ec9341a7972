use super::*;

const IOC: u64 = 1 << 0;
const DZC: u64 = 1 << 1;
const OFC: u64 = 1 << 2;
const UFC: u64 = 1 << 3;
const IXC: u64 = 1 << 4;

const DEFAULT_NAN: u64 = 0x7ff8_0000_0000_0000;
const SIGNALLING: u64 = 0x7ff0_0000_0000_0001;
const QUIET: u64 = 0xfff8_0000_0000_0001;

/// V3 and FPSR after an instruction on V0, V1 and V2.
fn apply(operands: [u64; 3], rounding: u64, write: impl FnOnce(&mut Assembler)) -> (u64, u64) {
    let mut simulator = Simulator::new();
    simulator.fpcr |= rounding << 22;
    for (v, operand) in simulator.v.iter_mut().zip(operands) {
        *v = u128::from(operand) | 0x5555 << 64;
    }
    simulator.compute(write);
    assert_eq!(simulator.v[3] >> 64, 0, "what is above the number becomes zero");
    (simulator.v[3] as u64, simulator.fpsr)
}

fn v(n: u8) -> V {
    V::new(n)
}

/// Doubles with exponents that meet, those at the edges, and any.
fn doubles() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (any::<u64>(), 1000..1050u64).prop_map(|(n, exponent)| n & !(0x7ff << 52) | exponent << 52),
        select(&[
            0,
            1,
            1 << 52,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            1 << 63,
            DEFAULT_NAN,
            SIGNALLING,
            QUIET
        ]),
    ]
}

fn of(value: f64) -> u64 {
    if value.is_nan() { DEFAULT_NAN } else { value.to_bits() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn doubles_are_the_hosts(n in doubles(), m in doubles(), addend in doubles()) {
        let [a, b, c] = [n, m, addend].map(f64::from_bits);
        for (write, expected) in [
            (Assembler::fadd as fn(&mut Assembler, F, V, V, V), a + b),
            (Assembler::fsub, a - b),
            (Assembler::fmul, a * b),
            (Assembler::fdiv, a / b),
        ] {
            prop_assert_eq!(apply([n, m, 0], 0, |a| write(a, F::D, v(3), v(0), v(1))).0, of(expected));
        }
        for (write, expected) in [
            (Assembler::fmadd as fn(&mut Assembler, F, V, V, V, V), a.mul_add(b, c)),
            (Assembler::fmsub, (-a).mul_add(b, c)),
            (Assembler::fnmadd, (-a).mul_add(b, -c)),
            (Assembler::fnmsub, a.mul_add(b, -c)),
        ] {
            prop_assert_eq!(apply([n, m, addend], 0, |a| write(a, F::D, v(3), v(0), v(1), v(2))).0, of(expected));
        }
        prop_assert_eq!(apply([n, 0, 0], 0, |a| a.fsqrt(F::D, v(3), v(0))).0, of(a.sqrt()));
        prop_assert_eq!(apply([n, 0, 0], 0, |a| a.fneg(F::D, v(3), v(0))), (n ^ 1 << 63, 0));
        prop_assert_eq!(apply([n, 0, 0], 0, |a| a.fabs(F::D, v(3), v(0))), (n & !(1 << 63), 0));
        prop_assert_eq!(apply([n, 0, 0], 0, |a| a.fmov(F::D, v(3), v(0))), (n, 0));
        let single = if a.is_nan() { 0x7fc0_0000 } else { (a as f32).to_bits() };
        prop_assert_eq!(apply([n, 0, 0], 0, |a| a.fcvt(F::S, v(3), v(0))).0, u64::from(single));
        let (s, double) = (n as u32, f64::from(f32::from_bits(n as u32)));
        prop_assert_eq!(apply([s.into(), 0, 0], 0, |a| a.fcvt(F::D, v(3), v(0))).0, of(double));
    }

    #[test]
    fn singles_are_the_hosts(n: u32, m: u32) {
        let (a, b) = (f32::from_bits(n), f32::from_bits(m));
        for (write, expected) in [
            (Assembler::fadd as fn(&mut Assembler, F, V, V, V), a + b),
            (Assembler::fmul, a * b),
            (Assembler::fdiv, a / b),
        ] {
            let expected = if expected.is_nan() { 0x7fc0_0000 } else { expected.to_bits() };
            let operands = [u64::from(n) | 7 << 32, m.into(), 0];
            prop_assert_eq!(apply(operands, 0, |a| write(a, F::S, v(3), v(0), v(1))).0, u64::from(expected));
        }
    }

    #[test]
    fn comparisons(n in doubles(), m in doubles()) {
        let (a, b) = (f64::from_bits(n), f64::from_bits(m));
        for write in [Assembler::fcmp as fn(&mut Assembler, F, V, V), Assembler::fcmpe] {
            for (c, holds) in
                [(Cond::Eq, a == b), (Cond::Mi, a < b), (Cond::Ls, a <= b), (Cond::Gt, a > b), (Cond::Ge, a >= b)]
            {
                let (chosen, _) = apply([n, m, 0], 0, |a| {
                    write(a, F::D, v(0), v(1));
                    a.fcsel(F::D, v(3), v(0), v(1), c);
                });
                prop_assert_eq!(chosen, if holds { n } else { m });
            }
        }
    }

    #[test]
    fn integers(n in doubles(), integer in numbers(), b in bits()) {
        let a = f64::from_bits(n);
        let mut simulator = Simulator::new();
        simulator.v[0] = n.into();
        let mut convert = |round, signed| {
            simulator.compute(|a| a.fcvt_to_int(F::D, round, signed, b, r(2), v(0)));
            simulator.x[2]
        };
        for (round, rounded) in [
            (IntRound::N, a.round_ties_even()),
            (IntRound::P, a.ceil()),
            (IntRound::M, a.floor()),
            (IntRound::Z, a.trunc()),
            (IntRound::A, a.round()),
        ] {
            let (signed, unsigned) = match b {
                Bits::W32 => (rounded as i32 as u32 as u64, u64::from(rounded as u32)),
                Bits::W64 => (rounded as i64 as u64, rounded as u64),
            };
            prop_assert_eq!(convert(round, true), signed);
            prop_assert_eq!(convert(round, false), unsigned);
        }
        for signed in [true, false] {
            let expected = match (b, signed) {
                (Bits::W32, true) => f64::from(integer as i32),
                (Bits::W32, false) => f64::from(integer as u32),
                (Bits::W64, true) => integer as i64 as f64,
                (Bits::W64, false) => integer as f64,
            };
            let (number, _) = apply([0; 3], 0, |a| {
                a.mov_imm(r(0), integer);
                a.int_to_float(F::D, signed, b, v(3), r(0));
            });
            prop_assert_eq!(number, expected.to_bits());
        }
        for (round, rounded) in [
            (Frint::N, a.round_ties_even()),
            (Frint::P, a.ceil()),
            (Frint::M, a.floor()),
            (Frint::Z, a.trunc()),
            (Frint::A, a.round()),
            (Frint::X, a.round_ties_even()),
            (Frint::I, a.round_ties_even()),
        ] {
            let (result, fpsr) = apply([n, 0, 0], 0, |a| a.frint(F::D, round, v(3), v(0)));
            prop_assert_eq!(result, of(rounded));
            prop_assert_eq!(fpsr & IXC != 0, round == Frint::X && rounded != a && !a.is_nan());
        }
    }

    #[test]
    fn vectors(n: u128, m: u128, lane in 0..4u8, from in 0..4u8) {
        let mut simulator = Simulator::new();
        let run = |simulator: &mut Simulator, write: &dyn Fn(&mut Assembler)| {
            (simulator.v[0], simulator.v[1], simulator.v[3]) = (n, m, m);
            simulator.compute(write);
            simulator.v[3]
        };
        prop_assert_eq!(run(&mut simulator, &|a| a.orr_16b(v(3), v(0), v(1))), n | m);
        prop_assert_eq!(run(&mut simulator, &|a| a.movi_zero(v(3))), 0);
        let mut lanes: [u32; 4] = core::array::from_fn(|i| (m >> (32 * i)) as u32);
        lanes[usize::from(lane)] = (n >> (32 * from)) as u32;
        let expected = lanes.iter().rev().fold(0, |all, &lane| all << 32 | u128::from(lane));
        prop_assert_eq!(run(&mut simulator, &|a| a.ins_s(v(3), lane, v(0), from)), expected);
        let (lane, from) = (lane & 1, from & 1);
        let half = n >> (64 * from) & u128::from(u64::MAX);
        let expected = m & u128::from(u64::MAX) << (64 * (1 - lane)) | half << (64 * lane);
        prop_assert_eq!(run(&mut simulator, &|a| a.ins_d(v(3), lane, v(0), from)), expected);
        run(&mut simulator, &|a| a.umov_d(r(2), v(0), from));
        prop_assert_eq!(u128::from(simulator.x[2]), half);
        let ones = run(&mut simulator, &|a| {
            a.cnt_8b(v(3), v(0));
            a.addv_8b(v(3), v(3));
        });
        prop_assert_eq!(ones, u128::from((n as u64).count_ones()));
        let product = (0..64).filter(|i| m >> i & 1 != 0).fold(0, |p, i| p ^ (n & u128::from(u64::MAX)) << i);
        prop_assert_eq!(run(&mut simulator, &|a| a.pmull(v(3), v(0), v(1))), product);
    }
}

#[test]
fn exceptions_accumulate_in_fpsr() {
    let one = 1f64.to_bits();
    let two = |n, m, write: fn(&mut Assembler, F, V, V, V)| {
        apply([n, m, 0], 0, |a| write(a, F::D, v(3), v(0), v(1)))
    };
    assert_eq!(two(one, 0, Assembler::fdiv), (f64::INFINITY.to_bits(), DZC));
    assert_eq!(two(0, 0, Assembler::fdiv), (DEFAULT_NAN, IOC));
    assert_eq!(two(one, 3f64.to_bits(), Assembler::fdiv).1, IXC);
    assert_eq!(two(f64::MAX.to_bits(), f64::MAX.to_bits(), Assembler::fmul).1, OFC | IXC);
    assert_eq!(two(f64::MIN_POSITIVE.to_bits(), 0.3f64.to_bits(), Assembler::fmul).1, UFC | IXC);
    assert_eq!(two(f64::MIN_POSITIVE.to_bits(), 0.5f64.to_bits(), Assembler::fmul).1, 0, "exact");
    assert_eq!(two(QUIET, one, Assembler::fadd), (DEFAULT_NAN, 0));
    assert_eq!(two(SIGNALLING, one, Assembler::fadd), (DEFAULT_NAN, IOC));
    assert_eq!(two(0, f64::INFINITY.to_bits(), Assembler::fnmul), (DEFAULT_NAN | 1 << 63, IOC));
    assert_eq!(two(QUIET, one, Assembler::fmaxnm), (one, 0));
    assert_eq!(two(one, SIGNALLING, Assembler::fminnm), (DEFAULT_NAN, IOC));
    assert_eq!(two(QUIET, one, Assembler::fmin), (DEFAULT_NAN, 0));
    assert_eq!(two(0, 1 << 63, Assembler::fmax), (0, 0));
    let both = apply([one, 0, 3f64.to_bits()], 0, |a| {
        a.fdiv(F::D, v(3), v(0), v(1));
        a.fdiv(F::D, v(3), v(0), v(2));
    });
    assert_eq!(both.1, DZC | IXC);
}

#[test]
fn tininess_is_found_before_rounding() {
    // The smallest normal number less a quarter of the smallest subnormal one is rounded to the former.
    let (smallest, quarter) = (f64::MIN_POSITIVE.to_bits(), 0.25f64.to_bits());
    let (result, fpsr) = apply([1, quarter, smallest], 0, |a| a.fmsub(F::D, v(3), v(0), v(1), v(2)));
    assert_eq!((result, fpsr), (smallest, UFC | IXC));
    let (result, fpsr) = apply([1, quarter, smallest], 0, |a| a.fmadd(F::D, v(3), v(0), v(1), v(2)));
    assert_eq!((result, fpsr), (smallest, IXC));
}

#[test]
fn fpcr_rounds() {
    let third = |mode| apply([1f64.to_bits(), 3f64.to_bits(), 0], mode, |a| a.fdiv(F::D, v(3), v(0), v(1))).0;
    let down = 0x3fd5_5555_5555_5555;
    assert_eq!([0, 1, 2, 3].map(third), [down, down + 1, down, down]);
    let sum = |mode| apply([1 << 63 | 1, 1, 0], mode, |a| a.fadd(F::D, v(3), v(0), v(1))).0;
    assert_eq!([0, 1, 2, 3].map(sum), [0, 0, 1 << 63, 0]);
}

#[test]
fn conversions_to_integers_tell_what_does_not_fit() {
    for (value, integer, flags) in [
        (f64::NAN, 0, IOC),
        (1e10, 0xffff_ffff, IOC),
        (-1.0, 0, IOC),
        (-0.5, 0, IXC),
        (2.5, 2, IXC),
        (3.0, 3, 0),
    ] {
        let mut simulator = Simulator::new();
        simulator.v[0] = value.to_bits().into();
        simulator.compute(|a| a.fcvt_to_int(F::D, IntRound::Z, false, Bits::W32, r(2), v(0)));
        assert_eq!((simulator.x[2], simulator.fpsr), (integer, flags), "{value}");
    }
}

#[test]
fn immediates_and_moves() {
    assert_eq!(apply([0; 3], 0, |a| a.fmov_imm(F::D, v(3), 0x70)).0, 1f64.to_bits());
    assert_eq!(apply([0; 3], 0, |a| a.fmov_imm(F::D, v(3), 0x80)).0, (-2f64).to_bits());
    assert_eq!(apply([0; 3], 0, |a| a.fmov_imm(F::S, v(3), 0x08)).0, u64::from(3f32.to_bits()));
    let mut simulator = Simulator::new();
    simulator.x[1] = 0x1234_5678_9abc_def0;
    simulator.compute(|a| {
        a.fmov_from_x(F::S, v(3), r(1));
        a.fmov_to_x(F::D, r(2), v(3));
        a.fcmp_zero(F::D, v(3));
        a.msr(System::Fpsr, r(1));
        a.mrs(r(3), System::Fpsr);
        a.mrs(r(4), System::Nzcv);
        a.mrs(r(5), System::Fpcr);
    });
    assert_eq!(simulator.x[2..6], [0x9abc_def0, 0x1234_5678_9abc_def0, 2 << 28, 1 << 25]);
}
