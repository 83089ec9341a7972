//! Branches, labels, literals, and instructions of the system.

use super::*;

/// The text of the first word, which refers to a label as many words away.
fn referring(words: i64, write: impl FnOnce(&mut Assembler, Label)) -> Result<String, OutOfRange> {
    let mut a = Assembler::with_room(1 << 19);
    let label = a.label();
    let at = if words < 0 {
        a.bind(label);
        (0..-words).for_each(|_| a.nop());
        let at = a.here();
        write(&mut a, label);
        at
    } else {
        write(&mut a, label);
        (1..words).for_each(|_| a.nop());
        a.bind(label);
        0
    };
    a.finish()?;
    Ok(decode(a.words()[at]).to_string())
}

/// A distance in words, as the disassembler prints it.
fn distance(words: i64) -> String {
    let sign = if words < 0 { '-' } else { '+' };
    format!("${sign}{:#x}", 4 * words.unsigned_abs())
}

proptest! {
    #[test]
    fn labels(words in -300..300i64, b in bits(), r in x(), (c, c_name) in cond(), bit in 0..64u8) {
        prop_assume!(words != 0);
        let (to, name) = (distance(words), name(b, r));
        let check = |write: &dyn Fn(&mut Assembler, Label), expected: String| {
            assert_eq!(referring(words, write), Ok(expected));
        };
        check(&|a, l| a.b(l), format!("b {to}"));
        check(&|a, l| a.bl(l), format!("bl {to}"));
        check(&|a, l| a.b_cond(c, l), format!("b.{c_name} {to}"));
        check(&|a, l| a.cbz(b, r, l), format!("cbz {name}, {to}"));
        check(&|a, l| a.cbnz(b, r, l), format!("cbnz {name}, {to}"));
        let tested = super::name(if bit < 32 { Bits::W32 } else { Bits::W64 }, r);
        check(&|a, l| a.tbz(r, bit, l), format!("tbz {tested}, #{bit:#x}, {to}"));
        check(&|a, l| a.tbnz(r, bit, l), format!("tbnz {tested}, #{bit:#x}, {to}"));
        check(&|a, l| a.adr(r, l), format!("adr x{}, {to}", r.number()));
    }

    #[test]
    fn registers(r in x()) {
        let r_name = name(Bits::W64, r);
        check(|a| a.br(r), &format!("br {r_name}"));
        check(|a| a.blr(r), &format!("blr {r_name}"));
        prop_assume!(r.number() != 30);
        check(|a| a.ret(r), &format!("ret {r_name}"));
    }

    #[test]
    fn branch_words(from in 0..1i64 << 40, words in -0x200_0000..0x200_0000i64) {
        let word = branch(from, from + words).unwrap();
        prop_assert_eq!(decode(word).to_string(), format!("b {}", distance(words)));
    }

    #[test]
    fn system(r in x(), imm: u16) {
        let name = name(Bits::W64, r);
        for (register, register_name) in
            [(System::Nzcv, "s3_3_c4_c2_0"), (System::Fpcr, "s3_3_c4_c4_0"), (System::Fpsr, "s3_3_c4_c4_1")]
        {
            check(|a| a.mrs(r, register), &format!("mrs {name}, {register_name}"));
            // The disassembler loses a bit of MSR's register. Bit 21 is all that tells the two apart (C6.2, MSR).
            let words = assemble(|a| {
                a.mrs(r, register);
                a.msr(register, r);
            });
            prop_assert_eq!(words[1], words[0] ^ 1 << 21);
        }
        check(|a| a.brk(imm), &format!("brk #{imm:#x}"));
        check(|a| a.hvc(imm), &format!("hvc #{imm:#x}"));
    }
}

#[test]
fn return_to_the_link_register() {
    check(|a| a.ret(X::new(30)), "ret");
}

#[test]
fn barriers() {
    check(|a| a.nop(), "nop");
    check(|a| a.isb(), "isb");
    check(|a| a.dmb(Barrier::Ish), "dmb ish");
    check(|a| a.dmb(Barrier::IshLd), "dmb ishld");
    check(|a| a.dmb(Barrier::IshSt), "dmb ishst");
}

#[test]
fn branches_reach_as_far_as_their_fields() {
    let x0 = X::new(0);
    assert_eq!(referring(0x1fff, |a, l| a.tbz(x0, 0, l)).unwrap(), "tbz w0, #0x0, $+0x7ffc");
    assert_eq!(referring(0x2000, |a, l| a.tbz(x0, 0, l)), Err(OutOfRange));
    assert_eq!(referring(-0x2000, |a, l| a.tbz(x0, 0, l)).unwrap(), "tbz w0, #0x0, $-0x8000");
    assert_eq!(referring(-0x2001, |a, l| a.tbz(x0, 0, l)), Err(OutOfRange));
    assert_eq!(referring(0x3_ffff, |a, l| a.adr(x0, l)).unwrap(), "adr x0, $+0xffffc");
    assert_eq!(referring(0x4_0000, |a, l| a.adr(x0, l)), Err(OutOfRange));
    assert_eq!(referring(-0x4_0000, |a, l| a.b_cond(Cond::Eq, l)).unwrap(), "b.eq $-0x100000");
    assert_eq!(referring(-0x4_0001, |a, l| a.b_cond(Cond::Eq, l)), Err(OutOfRange));
    assert_eq!(branch(0, 0x200_0000), None);
    assert_eq!(branch(0, -0x200_0001), None);
}

#[test]
fn code_without_room_is_an_error() {
    let mut a = Assembler::with_room(0x100);
    (0..0x100).for_each(|_| a.nop());
    assert_eq!(a.finish(), Ok(()));
    (0..0x1000).for_each(|_| a.nop());
    assert_eq!(a.finish(), Err(OutOfRange));
    a.clear();
    assert_eq!(a.finish(), Ok(()));
    let label = a.label();
    a.bind(label);
    assert_eq!((0..0x10_0000).map(|_| a.label()).count(), 0x10_0000);
    assert_eq!(a.finish(), Ok(()));
    let unknown = a.label();
    a.b(unknown);
    assert_eq!(a.finish(), Err(OutOfRange));
}

#[test]
fn a_label_that_is_never_bound_is_an_error() {
    let mut a = Assembler::new();
    let label = a.label();
    a.b(label);
    assert_eq!(a.at(label), None);
    assert_eq!(a.finish(), Err(OutOfRange));
}

#[test]
fn literals_lie_behind_the_code_and_are_kept_once() {
    let mut a = Assembler::new();
    for (t, value) in [(0, 0x0123_4567_89ab_cdef), (1, 7), (2, 0x0123_4567_89ab_cdef)] {
        a.ldr_literal(X::new(t), value);
    }
    let end = a.label();
    a.bind(end);
    assert_eq!(a.at(end), Some(3));
    a.finish().unwrap();
    let code: Vec<_> = a.words()[..3].iter().map(|&word| decode(word).to_string()).collect();
    assert_eq!(code, ["ldr x0, $+0x10", "ldr x1, $+0x14", "ldr x2, $+0x8"]);
    assert_eq!(a.words()[3..], [0, 0x89ab_cdef, 0x0123_4567, 7, 0]);
}

#[test]
fn an_assembler_is_used_again() {
    let mut a = Assembler::new();
    let label = a.label();
    a.b(label);
    a.ldr_literal(X::new(0), 1);
    a.clear();
    let label = a.label();
    a.bind(label);
    a.nop();
    a.b(label);
    a.finish().unwrap();
    assert_eq!(a.words(), [0xd503_201f, 0x17ff_ffff]);
    a.patch(0, 5);
    a.patch(2, 6);
    assert_eq!(a.words(), [5, 0x17ff_ffff]);
}
