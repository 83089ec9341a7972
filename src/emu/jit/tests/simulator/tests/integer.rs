use super::*;

/// What two registers give, by an instruction on X0 and X1.
fn binary(n: u64, m: u64, write: impl FnOnce(&mut Assembler)) -> u64 {
    let mut simulator = Simulator::new();
    (simulator.x[0], simulator.x[1]) = (n, m);
    simulator.compute(write);
    simulator.x[2]
}

/// Both widths of an operation.
fn by_width(b: Bits, n: u64, m: u64, narrow: fn(u32, u32) -> u32, wide: fn(u64, u64) -> u64) -> u64 {
    match b {
        Bits::W32 => narrow(n as u32, m as u32).into(),
        Bits::W64 => wide(n, m),
    }
}

fn shifted(b: Bits, shift: Shift, value: u64, amount: u8) -> u64 {
    match shift {
        Shift::Lsl => by_width(b, value, amount.into(), |n, m| n << (m % 32), |n, m| n << (m % 64)),
        Shift::Lsr => by_width(b, value, amount.into(), |n, m| n >> (m % 32), |n, m| n >> (m % 64)),
        Shift::Asr => by_width(
            b,
            value,
            amount.into(),
            |n, m| (n as i32 >> (m % 32)) as u32,
            |n, m| (n as i64 >> (m % 64)) as u64,
        ),
        Shift::Ror => by_width(b, value, amount.into(), u32::rotate_right, |n, m| n.rotate_right(m as u32)),
    }
}

fn shift() -> impl Strategy<Value = Shift> {
    select(&[Shift::Lsl, Shift::Lsr, Shift::Asr, Shift::Ror])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn alu(n in numbers(), m in numbers(), b in bits(), shift in shift(), amount in 0..64u8) {
        let mask = u64::MAX >> (64 - b.count());
        for (op, expected) in [
            (Alu::Add, u64::wrapping_add as fn(u64, u64) -> u64),
            (Alu::Sub, u64::wrapping_sub),
            (Alu::Adds, u64::wrapping_add),
            (Alu::Subs, u64::wrapping_sub),
            (Alu::And, |n, m| n & m),
            (Alu::Ands, |n, m| n & m),
            (Alu::Orr, |n, m| n | m),
            (Alu::Eor, |n, m| n ^ m),
            (Alu::Bic, |n, m| n & !m),
            (Alu::Bics, |n, m| n & !m),
            (Alu::Orn, |n, m| n | !m),
            (Alu::Eon, |n, m| n ^ !m),
        ] {
            let arithmetic = matches!(op, Alu::Add | Alu::Adds | Alu::Sub | Alu::Subs);
            let shift = if arithmetic && shift == Shift::Ror { Shift::Asr } else { shift };
            let result = binary(n, m, |a| a.alu_shift(op, b, r(2), r(0), r(1), shift, amount));
            prop_assert_eq!(result, expected(n, shifted(b, shift, m, amount)) & mask, "{:?}", op);
        }
    }

    #[test]
    fn immediates(n in numbers(), imm in numbers(), b in bits()) {
        let mask = u64::MAX >> (64 - b.count());
        for (op, expected) in [
            (Alu::Add, n.wrapping_add(imm)),
            (Alu::Sub, n.wrapping_sub(imm)),
            (Alu::And, n & imm),
            (Alu::Orr, n | imm),
            (Alu::Eor, n ^ imm),
            (Alu::Bic, n & !imm),
        ] {
            let mut encodable = false;
            let result = binary(n, 0, |a| encodable = a.alu_imm(op, b, r(2), r(0), imm));
            prop_assert!(!encodable || result == expected & mask);
        }
    }

    #[test]
    fn constants(value in numbers(), ones in 1..64u32, at in 0..64u32, period in 1..=6u32) {
        let run = (u64::MAX >> (64 - ones) & (u64::MAX >> (64 - (1 << period)))).rotate_left(at);
        let repeated = (0..64 >> period).fold(0, |all, copy| all | run.rotate_left(copy << period));
        for value in [value, run, repeated] {
            prop_assert_eq!(binary(0, 0, |a| a.mov_imm(r(2), value)), value);
        }
    }

    #[test]
    fn conditions(n in numbers(), m in numbers(), b in bits(), otherwise in 0..16u8) {
        let (sn, sm) = match b {
            Bits::W32 => (i64::from(n as i32), i64::from(m as i32)),
            Bits::W64 => (n as i64, m as i64),
        };
        let (un, um) = match b {
            Bits::W32 => (u64::from(n as u32), u64::from(m as u32)),
            Bits::W64 => (n, m),
        };
        let difference = match b {
            Bits::W32 => (sn as i32).checked_sub(sm as i32).map(i64::from),
            Bits::W64 => sn.checked_sub(sm),
        };
        let negative = by_width(b, n, m, u32::wrapping_sub, u64::wrapping_sub) >> (b.count() - 1) != 0;
        for (c, holds) in [
            (Cond::Eq, un == um),
            (Cond::Hs, un >= um),
            (Cond::Mi, negative),
            (Cond::Vs, difference.is_none()),
            (Cond::Hi, un > um),
            (Cond::Ge, sn >= sm),
            (Cond::Gt, sn > sm),
        ] {
            for (c, holds) in [(c, holds), (c.invert(), !holds)] {
                let select = |write: fn(&mut Assembler, Bits, Cond)| binary(n, m, |a| {
                    a.cmp(b, r(0), r(1));
                    write(a, b, c);
                });
                let mask = u64::MAX >> (64 - b.count());
                prop_assert_eq!(select(|a, b, c| a.cset(b, r(2), c)), u64::from(holds));
                prop_assert_eq!(select(|a, b, c| a.csel(b, r(2), r(0), r(1), c)), if holds { un } else { um });
                let other = if holds { un } else { um.wrapping_add(1) & mask };
                prop_assert_eq!(select(|a, b, c| a.csinc(b, r(2), r(0), r(1), c)), other);
                let other = if holds { un } else { !um & mask };
                prop_assert_eq!(select(|a, b, c| a.csinv(b, r(2), r(0), r(1), c)), other);
                let other = if holds { un } else { um.wrapping_neg() & mask };
                prop_assert_eq!(select(|a, b, c| a.csneg(b, r(2), r(0), r(1), c)), other);
                let mut simulator = Simulator::new();
                (simulator.x[0], simulator.x[1]) = (n, m);
                simulator.compute(|a| {
                    a.cmp(b, r(0), r(1));
                    a.ccmp(b, r(1), r(1), otherwise, c);
                });
                prop_assert_eq!(simulator.nzcv, if holds { 0b0110 } else { otherwise });
            }
        }
    }

    #[test]
    fn products_and_quotients(n in numbers(), m in numbers(), addend in numbers(), b in bits()) {
        let ternary = |write: &dyn Fn(&mut Assembler)| {
            let mut simulator = Simulator::new();
            simulator.x[..4].copy_from_slice(&[n, m, 0, addend]);
            simulator.compute(write);
            simulator.x[2]
        };
        let mask = u64::MAX >> (64 - b.count());
        let product = n.wrapping_mul(m);
        prop_assert_eq!(ternary(&|a| a.madd(b, r(2), r(0), r(1), r(3))), addend.wrapping_add(product) & mask);
        prop_assert_eq!(ternary(&|a| a.msub(b, r(2), r(0), r(1), r(3))), addend.wrapping_sub(product) & mask);
        prop_assert_eq!(ternary(&|a| a.mul(b, r(2), r(0), r(1))), product & mask);
        prop_assert_eq!(
            ternary(&|a| a.smulh(r(2), r(0), r(1))),
            ((i128::from(n as i64) * i128::from(m as i64)) >> 64) as u64
        );
        prop_assert_eq!(ternary(&|a| a.umulh(r(2), r(0), r(1))), ((u128::from(n) * u128::from(m)) >> 64) as u64);
        let (sn, sm) = (i64::from(n as i32), i64::from(m as i32));
        prop_assert_eq!(ternary(&|a| a.smaddl(r(2), r(0), r(1), r(3))), addend.wrapping_add((sn * sm) as u64));
        let (un, um) = (u64::from(n as u32), u64::from(m as u32));
        prop_assert_eq!(ternary(&|a| a.umaddl(r(2), r(0), r(1), r(3))), addend.wrapping_add(un * um));
        let unsigned =
            by_width(b, n, m, |n, m| n.checked_div(m).unwrap_or(0), |n, m| n.checked_div(m).unwrap_or(0));
        prop_assert_eq!(ternary(&|a| a.udiv(b, r(2), r(0), r(1))), unsigned);
        let signed = by_width(
            b, n, m,
            |n, m| if m == 0 { 0 } else { (n as i32).wrapping_div(m as i32) as u32 },
            |n, m| if m == 0 { 0 } else { (n as i64).wrapping_div(m as i64) as u64 },
        );
        prop_assert_eq!(ternary(&|a| a.sdiv(b, r(2), r(0), r(1))), signed);
    }

    #[test]
    fn single_operands(n in numbers(), b in bits()) {
        let unary = |write: fn(&mut Assembler, Bits)| binary(n, 0, |a| write(a, b));
        let by_width = |narrow: fn(u32) -> u32, wide: fn(u64) -> u64| match b {
            Bits::W32 => narrow(n as u32).into(),
            Bits::W64 => wide(n),
        };
        prop_assert_eq!(unary(|a, b| a.mov(b, r(2), r(0))), by_width(|n| n, |n| n));
        prop_assert_eq!(
            unary(|a, b| a.clz(b, r(2), r(0))),
            by_width(u32::leading_zeros, |n| n.leading_zeros().into())
        );
        let cls = by_width(
            |n| (n ^ n << 1 | 1).leading_zeros(),
            |n| (n ^ n << 1 | 1).leading_zeros().into(),
        );
        prop_assert_eq!(unary(|a, b| a.cls(b, r(2), r(0))), cls);
        prop_assert_eq!(
            unary(|a, b| a.rbit(b, r(2), r(0))),
            by_width(u32::reverse_bits, u64::reverse_bits)
        );
        prop_assert_eq!(unary(|a, b| a.rev(b, r(2), r(0))), by_width(u32::swap_bytes, u64::swap_bytes));
        let rev16 = by_width(
            |n| n >> 8 & 0xff_00ff | (n & 0xff_00ff) << 8,
            |n| n >> 8 & 0x00ff_00ff_00ff_00ff | (n & 0x00ff_00ff_00ff_00ff) << 8,
        );
        prop_assert_eq!(unary(|a, b| a.rev16(b, r(2), r(0))), rev16);
        prop_assert_eq!(unary(|a, _| a.sxtb(r(2), r(0))), n as i8 as u64);
        prop_assert_eq!(unary(|a, _| a.sxth(r(2), r(0))), n as i16 as u64);
        prop_assert_eq!(unary(|a, _| a.sxtw(r(2), r(0))), n as i32 as u64);
        prop_assert_eq!(unary(|a, _| a.uxtb(r(2), r(0))), u64::from(n as u8));
        prop_assert_eq!(unary(|a, _| a.uxth(r(2), r(0))), u64::from(n as u16));
    }

    #[test]
    fn shifts_and_fields(
        n in numbers(), m in numbers(), b in bits(), shift in shift(), amount in 0..64u8, lsb in 0..64u8, length in 1..=64u8,
    ) {
        prop_assert_eq!(binary(n, 0, |a| a.shift_imm(shift, b, r(2), r(0), amount)), shifted(b, shift, n, amount));
        let by_register = binary(n, amount.into(), |a| a.shift(shift, b, r(2), r(0), r(1)));
        prop_assert_eq!(by_register, shifted(b, shift, n, amount));
        let mask = u64::MAX >> (64 - b.count());
        let lsb = lsb % b.count();
        let length = (length - 1) % (b.count() - lsb) + 1;
        let field = n >> lsb & u64::MAX >> (64 - length);
        prop_assert_eq!(binary(n, 0, |a| a.ubfx(b, r(2), r(0), lsb, length)), field);
        let signed = ((field << (64 - length)) as i64 >> (64 - length)) as u64;
        prop_assert_eq!(binary(n, 0, |a| a.sbfx(b, r(2), r(0), lsb, length)), signed & mask);
        // BFI.
        let hole = (u64::MAX >> (64 - length)) << lsb;
        let inserted = binary(n, m, |a| {
            a.mov(Bits::W64, r(2), r(1));
            a.bfm(b, r(2), r(0), (b.count() - lsb) % b.count(), length - 1);
        });
        prop_assert_eq!(inserted, (m & !hole | n << lsb & hole) & mask);
        let both = u128::from(n & mask) << b.count() | u128::from(m & mask);
        prop_assert_eq!(binary(n, m, |a| a.extr(b, r(2), r(0), r(1), lsb)), (both >> lsb) as u64 & mask);
    }

    #[test]
    fn extensions(n in numbers(), m in numbers(), amount in 0..=4u8) {
        for (extend, extended) in [
            (Extend::Uxtb, u64::from(m as u8)),
            (Extend::Uxth, u64::from(m as u16)),
            (Extend::Uxtw, u64::from(m as u32)),
            (Extend::Uxtx, m),
            (Extend::Sxtb, m as i8 as u64),
            (Extend::Sxth, m as i16 as u64),
            (Extend::Sxtw, m as i32 as u64),
            (Extend::Sxtx, m),
        ] {
            let sum = binary(n, m, |a| a.alu_extend(Alu::Add, Bits::W64, r(2), r(0), r(1), extend, amount));
            prop_assert_eq!(sum, n.wrapping_add(extended << amount));
        }
    }
}
