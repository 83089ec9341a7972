//! Loads and stores.

use super::*;

const EXTENSIONS: [Ext; 3] = [Ext::Zero, Ext::SignTo32, Ext::SignTo64];

/// The end of a mnemonic.
fn letter(size: Size) -> &'static str {
    match size {
        Size::Byte => "b",
        Size::Half => "h",
        Size::Word | Size::Double => "",
    }
}

/// The register that holds a value of a size.
fn holder(size: Size, x: X) -> String {
    name(if size == Size::Double { Bits::W64 } else { Bits::W32 }, x)
}

/// The mnemonic of a load, with `middle` between `ld` and the letters for the extension, and its register.
fn load_name(middle: &str, size: Size, ext: Ext, t: X) -> (String, String) {
    let signed = match size {
        Size::Byte | Size::Half => ext != Ext::Zero,
        Size::Word => ext == Ext::SignTo64,
        Size::Double => false,
    };
    let suffix = match (signed, size) {
        (true, Size::Byte) => "sb",
        (true, Size::Half) => "sh",
        (true, _) => "sw",
        (false, _) => letter(size),
    };
    let wide = size == Size::Double || signed && ext == Ext::SignTo64;
    (format!("ld{middle}{suffix}"), name(if wide { Bits::W64 } else { Bits::W32 }, t))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn immediate_offsets(
        size in size(), ext in select(&EXTENSIONS), t in x(), n in x(),
        imm in prop_oneof![-0x200..0x200i64, 0..0x9000i64, any::<i64>()],
    ) {
        let bytes = size.bytes() as i64;
        let short = (-256..256).contains(&imm);
        let scaled = imm % bytes == 0 && (0..4096 * bytes).contains(&imm);
        let address = format!("[{}{}]", name(Bits::W64, n), offset(imm));
        let middle = match (scaled, short) {
            (true, _) => Some("r"),
            (_, true) => Some("ur"),
            _ => None,
        };
        for (mode, middle) in [(Mode::Normal, middle), (Mode::Unprivileged, short.then_some("tr"))] {
            let mut a = Assembler::new();
            let Some(middle) = middle else {
                prop_assert!(!a.load(mode, size, ext, t, n, imm));
                prop_assert!(!a.store(mode, size, t, n, imm));
                prop_assert_eq!(a.here(), 0);
                continue;
            };
            let (load, register) = load_name(middle, size, ext, t);
            check(|a| assert!(a.load(mode, size, ext, t, n, imm)), &format!("{load} {register}, {address}"));
            check(
                |a| assert!(a.store(mode, size, t, n, imm)),
                &format!("st{middle}{} {}, {address}", letter(size), holder(size, t)),
            );
        }
    }

    #[test]
    fn register_offsets(
        size in size(), ext in select(&EXTENSIONS), t in x(), n in x(), m in x(), scaled: bool,
        (extend, extend_name, from) in select(&[
            (Extend::Uxtw, "uxtw", Bits::W32),
            (Extend::Uxtx, "lsl", Bits::W64),
            (Extend::Sxtw, "sxtw", Bits::W32),
            (Extend::Sxtx, "sxtx", Bits::W64),
        ]),
    ) {
        let amount = if scaled { size as u8 } else { 0 };
        let how = match (extend, amount) {
            (Extend::Uxtx, 0) => String::new(),
            (Extend::Uxtw, 0) => ", uxtw".to_string(),
            _ => format!(", {extend_name} #{amount}"),
        };
        let address = format!("[{}, {}{how}]", name(Bits::W64, n), name(from, m));
        let (load, register) = load_name("r", size, ext, t);
        check(|a| a.load_reg(size, ext, t, n, m, extend, scaled), &format!("{load} {register}, {address}"));
        check(
            |a| a.store_reg(size, t, n, m, extend, scaled),
            &format!("str{} {}, {address}", letter(size), holder(size, t)),
        );
    }

    #[test]
    fn pairs(t1 in 0..31u8, t2 in 0..31u8, n in x(), imm in prop_oneof![-600..600i64, (-64..64i64).prop_map(|i| 8 * i)]) {
        let base = name(Bits::W64, n);
        for index in [Index::Offset, Index::Pre, Index::Post] {
            let address = match (index, imm) {
                (Index::Offset, _) => format!("[{base}{}]", offset(imm)),
                (Index::Pre, 0) => format!("[{base}, #0x0]!"),
                (Index::Pre, _) => format!("[{base}{}]!", offset(imm)),
                (Index::Post, 0) => format!("[{base}], #0x0"),
                (Index::Post, _) => format!("[{base}]{}", offset(imm)),
            };
            let (x1, x2, v1, v2) = (X::new(t1), X::new(t2), V::new(t1), V::new(t2));
            let mut a = Assembler::new();
            let encodable = imm % 8 == 0 && (-512..=504).contains(&imm);
            prop_assert_eq!(a.ldp(x1, x2, n, imm, index), encodable);
            prop_assert_eq!(a.stp(x1, x2, n, imm, index), encodable);
            prop_assert_eq!(a.fldp(v1, v2, n, imm, index), encodable);
            prop_assert_eq!(a.fstp(v1, v2, n, imm, index), encodable);
            let text: Vec<_> = a.words().iter().map(|&word| decode(word).to_string()).collect();
            let expected = ["ldp x", "stp x", "ldp d", "stp d"].map(|start| {
                let letter = &start[4..];
                format!("{start}{t1}, {letter}{t2}, {address}")
            });
            prop_assert_eq!(text, if encodable { expected.to_vec() } else { Vec::new() });
        }
    }

    #[test]
    fn numbers(t in v(), n in x(), imm in prop_oneof![-0x200..0x200i64, 0..0x9000i64]) {
        for (f, letter, bytes) in [(F::S, 's', 4), (F::D, 'd', 8)] {
            let middle = if imm % bytes == 0 && (0..4096 * bytes).contains(&imm) {
                "r"
            } else if (-256..256).contains(&imm) {
                "ur"
            } else {
                prop_assert!(!Assembler::new().fload(f, t, n, imm));
                prop_assert!(!Assembler::new().fstore(f, t, n, imm));
                continue;
            };
            let operands = format!("{letter}{}, [{}{}]", t.number(), name(Bits::W64, n), offset(imm));
            check(|a| assert!(a.fload(f, t, n, imm)), &format!("ld{middle} {operands}"));
            check(|a| assert!(a.fstore(f, t, n, imm)), &format!("st{middle} {operands}"));
        }
    }

    #[test]
    fn atomics(
        size in size(), s in x(), t in x(), n in x(),
        (order, order_name) in select(&[
            (Order::Relaxed, ""),
            (Order::Acquire, "a"),
            (Order::Release, "l"),
            (Order::AcquireRelease, "al"),
        ]),
    ) {
        let (rs, rt, letter) = (holder(size, s), holder(size, t), letter(size));
        let base = format!("[{}]", name(Bits::W64, n));
        for (op, op_name) in [
            (Rmw::Add, "ldadd"), (Rmw::Clr, "ldclr"), (Rmw::Eor, "ldeor"), (Rmw::Set, "ldset"), (Rmw::Smax, "ldsmax"),
            (Rmw::Smin, "ldsmin"), (Rmw::Umax, "ldumax"), (Rmw::Umin, "ldumin"), (Rmw::Swp, "swp"),
        ] {
            check(
                |a| a.rmw(op, size, order, s, t, n),
                &format!("{op_name}{order_name}{letter} {rs}, {rt}, {base}"),
            );
        }
        check(|a| a.cas(size, order, s, t, n), &format!("cas{order_name}{letter} {rs}, {rt}, {base}"));
        check(|a| a.load_exclusive(size, false, t, n), &format!("ldxr{letter} {rt}, {base}"));
        check(|a| a.load_exclusive(size, true, t, n), &format!("ldaxr{letter} {rt}, {base}"));
        let status = name(Bits::W32, s);
        check(|a| a.store_exclusive(size, false, s, t, n), &format!("stxr{letter} {status}, {rt}, {base}"));
        check(|a| a.store_exclusive(size, true, s, t, n), &format!("stlxr{letter} {status}, {rt}, {base}"));
        check(|a| a.load_acquire(size, t, n), &format!("ldar{letter} {rt}, {base}"));
        check(|a| a.store_release(size, t, n), &format!("stlr{letter} {rt}, {base}"));
    }
}
