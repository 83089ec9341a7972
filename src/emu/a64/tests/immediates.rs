//! Immediates, and which numbers are such.

use std::collections::HashSet;

use super::*;

/// Every immediate of a logical instruction, by the definition in words.
fn bitmasks(width: u32) -> HashSet<u64> {
    let mut all = HashSet::new();
    for size in [2, 4, 8, 16, 32, 64].into_iter().filter(|&size| size <= width) {
        for ones in 1..size {
            for rotation in 0..size {
                let bit = |at: u32| u64::from((at + rotation) % size < ones) << at;
                all.insert((0..width).map(|at| bit(at % size) << (at - at % size)).sum());
            }
        }
    }
    all
}

/// The number that ends the text of an instruction.
fn last_number(text: &str) -> u64 {
    let digits = text.rsplit("#0x").next().unwrap();
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{text}"))
}

fn and(b: Bits, imm: u64) -> Option<String> {
    let mut a = Assembler::new();
    a.alu_imm(Alu::And, b, X::new(1), X::new(2), imm).then(|| decode(a.words()[0]).to_string())
}

#[test]
fn all_logical_immediates() {
    for (b, count) in [(Bits::W32, 1302), (Bits::W64, 5334)] {
        let all = bitmasks(b.count().into());
        assert_eq!(all.len(), count);
        let mask = u64::MAX >> (64 - b.count());
        for &imm in &all {
            assert_eq!(and(b, imm).as_deref().map(last_number), Some(imm), "{imm:#x}");
            for other in (0..b.count()).map(|bit| imm ^ 1 << bit) {
                assert_eq!(and(b, other).is_some(), all.contains(&(other & mask)), "{other:#x}");
            }
        }
        assert_eq!(and(b, 0), None);
        assert_eq!(and(b, mask), None);
    }
}

/// Numbers as they occur: small ones, few bits, runs of ones, with signs, with holes, and any.
fn numbers() -> impl Strategy<Value = u64> {
    let run = (0..64u32, 1..=64u32).prop_map(|(at, ones)| (u64::MAX >> (64 - ones)).rotate_left(at));
    let halves =
        (any::<u64>(), any::<u64>(), prop::array::uniform4(0..3u8)).prop_map(|(fill, sign, choice)| {
            let half = |at: usize| match choice[at] {
                0 => 0,
                1 => 0xffff,
                _ => fill >> (16 * at) & 0xffff,
            };
            (0..4).map(|at| half(at) << (16 * at)).sum::<u64>() ^ (sign & 1)
        });
    let sums = (any::<u32>(), any::<bool>(), 0..13u32).prop_map(|(n, negative, shift)| {
        let n = u64::from(n & 0x1fff) << shift;
        if negative { n.wrapping_neg() } else { n }
    });
    prop_oneof![run, halves, sums, any::<u64>(), any::<u32>().prop_map(u64::from)]
}

/// What the code puts into its register, as the disassembler reads it.
fn constant(words: &[u32]) -> u64 {
    let first = decode(words[0]).to_string();
    if let Some(distance) = first.strip_prefix("ldr x5, $+0x") {
        let at = usize::from_str_radix(distance, 16).unwrap() / 4;
        return u64::from(words[at]) | u64::from(words[at + 1]) << 32;
    }
    assert!(first.starts_with("mov x5, ") || first.starts_with("mov w5, "), "{first}");
    words[1..].iter().map(|&word| decode(word).to_string()).fold(last_number(&first), |value, next| {
        let (half, shift) =
            next.strip_prefix("movk x5, #0x").unwrap().split_once(", lsl #").unwrap_or((&next[12..], "0"));
        let (half, shift) = (u64::from_str_radix(half, 16).unwrap(), shift.parse::<u32>().unwrap());
        value & !(0xffff << shift) | half << shift
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16384))]

    #[test]
    fn constants(value in numbers()) {
        let words = assemble(|a| a.mov_imm(X::new(5), value));
        prop_assert_eq!(constant(&words), value);
        let halves: Vec<_> = (0..4).map(|at| (value >> (16 * at)) as u16).collect();
        let differing = |fill| halves.iter().filter(|&&half| half != fill).count();
        let one = differing(0) <= 1
            || differing(0xffff) <= 1
            || value >> 32 == 0 && (halves[0] == 0xffff || halves[1] == 0xffff)
            || and(Bits::W64, value).is_some()
            || value >> 32 == 0 && and(Bits::W32, value).is_some();
        let two = differing(0) == 2 || differing(0xffff) == 2;
        let expected = if one { 1 } else if two { 2 } else { 4 };
        prop_assert_eq!(words.len(), expected, "{:#x}", value);
    }

    #[test]
    fn wide_moves(b in bits(), d in x(), imm in 1..=u16::MAX, half in 0..4u8) {
        let shift = half * 16 % b.count();
        let rd = name(b, d);
        let (value, mask) = (u64::from(imm) << shift, u64::MAX >> (64 - b.count()));
        check(|a| a.movz(b, d, imm, shift), &format!("mov {rd}, #{value:#x}"));
        check(|a| a.movn(b, d, imm, shift), &format!("mov {rd}, #{:#x}", !value & mask));
        let lsl = if shift == 0 { String::new() } else { format!(", lsl #{shift}") };
        check(|a| a.movk(b, d, imm, shift), &format!("movk {rd}, #{imm:#x}{lsl}"));
    }

    #[test]
    fn sums(b in bits(), d in x(), n in x(), imm in numbers()) {
        let mask = u64::MAX >> (64 - b.count());
        for (op, name, opposite) in [
            (Alu::Add, "add", "sub"), (Alu::Sub, "sub", "add"), (Alu::Adds, "adds", "subs"), (Alu::Subs, "subs", "adds"),
        ] {
            let field = |imm: u64| match imm & mask {
                imm if imm < 0x1000 => Some(format!("#{imm:#x}")),
                imm if imm & !0xff_f000 == 0 => Some(format!("#{:#x}, lsl #12", imm >> 12)),
                _ => None,
            };
            let expected = field(imm).map(|field| (name, field))
                .or_else(|| field(imm.wrapping_neg()).map(|field| (opposite, field)));
            let mut a = Assembler::new();
            prop_assert_eq!(a.alu_imm(op, b, d, n, imm), expected.is_some());
            prop_assert_eq!(a.here(), usize::from(expected.is_some()));
            if let Some((name, field)) = expected {
                let (rd, rn) = (super::name(b, d), super::name(b, n));
                prop_assert_eq!(decode(a.words()[0]).to_string(), format!("{name} {rd}, {rn}, {field}"));
            }
        }
    }

    #[test]
    fn logic(b in bits(), d in x(), n in x(), imm in numbers()) {
        let mask = u64::MAX >> (64 - b.count());
        for (op, name, inverted) in [
            (Alu::And, "and", false), (Alu::Ands, "ands", false), (Alu::Orr, "orr", false), (Alu::Eor, "eor", false),
            (Alu::Bic, "and", true), (Alu::Bics, "ands", true), (Alu::Orn, "orr", true), (Alu::Eon, "eor", true),
        ] {
            let imm = if inverted { !imm } else { imm } & mask;
            let mut a = Assembler::new();
            let given = if inverted { !imm } else { imm };
            prop_assert_eq!(a.alu_imm(op, b, d, n, given), and(b, imm).is_some());
            if let Some(&word) = a.words().first() {
                let (rd, rn) = (super::name(b, d), super::name(b, n));
                prop_assert_eq!(decode(word).to_string(), format!("{name} {rd}, {rn}, #{imm:#x}"));
            }
        }
    }
}
