//! Data processing of general-purpose registers.

use yaxpeax_arm::armv8::a64::{Opcode, Operand, SizeCode};

use super::*;

const ALU: [(Alu, &str); 12] = [
    (Alu::Add, "add"),
    (Alu::Adds, "adds"),
    (Alu::Sub, "sub"),
    (Alu::Subs, "subs"),
    (Alu::And, "and"),
    (Alu::Ands, "ands"),
    (Alu::Orr, "orr"),
    (Alu::Eor, "eor"),
    (Alu::Bic, "bic"),
    (Alu::Bics, "bics"),
    (Alu::Orn, "orn"),
    (Alu::Eon, "eon"),
];

const SHIFTS: [(Shift, &str); 4] =
    [(Shift::Lsl, "lsl"), (Shift::Lsr, "lsr"), (Shift::Asr, "asr"), (Shift::Ror, "ror")];

const EXTENDS: [(Extend, &str); 8] = [
    (Extend::Uxtb, "uxtb"),
    (Extend::Uxth, "uxth"),
    // The disassembler prints `lsl` also where no operand is a stack pointer. The other register's name tells these apart.
    (Extend::Uxtw, "lsl"),
    (Extend::Uxtx, "lsl"),
    (Extend::Sxtb, "sxtb"),
    (Extend::Sxth, "sxth"),
    (Extend::Sxtw, "sxtw"),
    (Extend::Sxtx, "sxtx"),
];

proptest! {
    #[test]
    fn shifted_registers(
        (op, op_name) in select(&ALU), b in bits(), d in x(), n in x(), m in x(),
        (shift, shift_name) in select(&SHIFTS), amount in 1..64u8,
    ) {
        let (rd, rn, rm) = (name(b, d), name(b, n), name(b, m));
        check(|a| a.alu(op, b, d, n, m), &format!("{op_name} {rd}, {rn}, {rm}"));
        let arithmetic = matches!(op, Alu::Add | Alu::Adds | Alu::Sub | Alu::Subs);
        let amount = amount % b.count();
        prop_assume!(amount != 0 && !(arithmetic && shift == Shift::Ror));
        check(
            |a| a.alu_shift(op, b, d, n, m, shift, amount),
            &format!("{op_name} {rd}, {rn}, {rm}, {shift_name} #{amount}"),
        );
    }

    #[test]
    fn extended_registers(
        (op, op_name) in select(&ALU[..4]), b in bits(), d in x(), n in x(), m in x(),
        (extend, extend_name) in select(&EXTENDS), amount in 1..=4u8,
    ) {
        // An extension from 64 bits to 32 is one from 32.
        prop_assume!(b == Bits::W64 || !matches!(extend, Extend::Uxtx | Extend::Sxtx));
        let from = if matches!(extend, Extend::Uxtx | Extend::Sxtx) { Bits::W64 } else { Bits::W32 };
        check(
            |a| a.alu_extend(op, b, d, n, m, extend, amount),
            &format!("{op_name} {}, {}, {}, {extend_name} #{amount}", name(b, d), name(b, n), name(from, m)),
        );
    }

    #[test]
    fn products_and_quotients(b in bits(), d in x(), n in x(), m in x(), addend in x()) {
        let (rd, rn, rm, ra) = (name(b, d), name(b, n), name(b, m), name(b, addend));
        check(|a| a.madd(b, d, n, m, addend), &format!("madd {rd}, {rn}, {rm}, {ra}"));
        check(|a| a.msub(b, d, n, m, addend), &format!("msub {rd}, {rn}, {rm}, {ra}"));
        check(|a| a.mul(b, d, n, m), &format!("mul {rd}, {rn}, {rm}"));
        check(|a| a.udiv(b, d, n, m), &format!("udiv {rd}, {rn}, {rm}"));
        check(|a| a.sdiv(b, d, n, m), &format!("sdiv {rd}, {rn}, {rm}"));
        let (xd, xn, xm, xa) =
            (name(Bits::W64, d), name(Bits::W64, n), name(Bits::W64, m), name(Bits::W64, addend));
        let (wn, wm) = (name(Bits::W32, n), name(Bits::W32, m));
        check(|a| a.smulh(d, n, m), &format!("smulh {xd}, {xn}, {xm}"));
        check(|a| a.umulh(d, n, m), &format!("umulh {xd}, {xn}, {xm}"));
        check(|a| a.smaddl(d, n, m, addend), &format!("smaddl {xd}, {wn}, {wm}, {xa}"));
        check(|a| a.umaddl(d, n, m, addend), &format!("umaddl {xd}, {wn}, {wm}, {xa}"));
    }

    #[test]
    fn one_operand(b in bits(), d in x(), n in x()) {
        let (rd, rn) = (name(b, d), name(b, n));
        check(|a| a.mov(b, d, n), &format!("mov {rd}, {rn}"));
        check(|a| a.clz(b, d, n), &format!("clz {rd}, {rn}"));
        check(|a| a.cls(b, d, n), &format!("cls {rd}, {rn}"));
        check(|a| a.rbit(b, d, n), &format!("rbit {rd}, {rn}"));
        check(|a| a.rev(b, d, n), &format!("rev {rd}, {rn}"));
        check(|a| a.rev16(b, d, n), &format!("rev16 {rd}, {rn}"));
    }

    #[test]
    fn conditions(
        b in bits(), d in x(), n in x(), m in x(), (c, c_name) in cond(), imm in 0..32u8, nzcv in 0..16u8,
    ) {
        let (rd, rn, rm) = (name(b, d), name(b, n), name(b, m));
        check(|a| a.cmp(b, n, m), &format!("cmp {rn}, {rm}"));
        check(|a| a.tst(b, n, m), &format!("tst {rn}, {rm}"));
        check(|a| a.ccmp(b, n, m, nzcv, c), &format!("ccmp {rn}, {rm}, #{nzcv:#x}, {c_name}"));
        check(|a| a.ccmp_imm(b, n, imm, nzcv, c), &format!("ccmp {rn}, #{imm:#x}, #{nzcv:#x}, {c_name}"));
        check(|a| a.cset(b, d, c), &format!("cset {rd}, {c_name}"));
        prop_assume!(n != m);
        check(|a| a.csel(b, d, n, m, c), &format!("csel {rd}, {rn}, {rm}, {c_name}"));
        check(|a| a.csinc(b, d, n, m, c), &format!("csinc {rd}, {rn}, {rm}, {c_name}"));
        check(|a| a.csinv(b, d, n, m, c), &format!("csinv {rd}, {rn}, {rm}, {c_name}"));
        check(|a| a.csneg(b, d, n, m, c), &format!("csneg {rd}, {rn}, {rm}, {c_name}"));
    }

    #[test]
    fn bit_fields(b in bits(), d in x(), n in x(), immr in 0..64u8, imms in 0..64u8) {
        let (immr, imms) = (immr % b.count(), imms % b.count());
        let size = if b == Bits::W64 { SizeCode::X } else { SizeCode::W };
        let read = |write: &dyn Fn(&mut Assembler)| {
            let instruction = decode(assemble(write)[0]);
            assert_eq!(instruction.operands[0], Operand::Register(size, d.number().into()));
            assert_eq!(instruction.operands[1], Operand::Register(size, n.number().into()));
            let immediate = |operand| match operand {
                Operand::Immediate(imm) => imm as u8,
                other => panic!("{other:?}"),
            };
            (instruction.opcode, immediate(instruction.operands[2]), immediate(instruction.operands[3]))
        };
        prop_assert_eq!(read(&|a| a.ubfm(b, d, n, immr, imms)), (Opcode::UBFM, immr, imms));
        prop_assert_eq!(read(&|a| a.sbfm(b, d, n, immr, imms)), (Opcode::SBFM, immr, imms));
        prop_assert_eq!(read(&|a| a.bfm(b, d, n, immr, imms)), (Opcode::BFM, immr, imms));
        if immr <= imms {
            let width = imms - immr + 1;
            prop_assert_eq!(read(&|a| a.ubfx(b, d, n, immr, width)), (Opcode::UBFM, immr, imms));
            prop_assert_eq!(read(&|a| a.sbfx(b, d, n, immr, width)), (Opcode::SBFM, immr, imms));
        }
    }

    #[test]
    fn shifts(b in bits(), d in x(), n in x(), m in x(), (shift, shift_name) in select(&SHIFTS), amount in 0..64u8) {
        let (rd, rn, rm) = (name(b, d), name(b, n), name(b, m));
        check(|a| a.shift(shift, b, d, n, m), &format!("{shift_name} {rd}, {rn}, {rm}"));
        let within = amount % b.count();
        prop_assume!(within != 0);
        check(|a| a.shift_imm(shift, b, d, n, amount), &format!("{shift_name} {rd}, {rn}, #{within:#x}"));
        prop_assume!(n != m);
        check(|a| a.extr(b, d, n, m, amount), &format!("extr {rd}, {rn}, {rm}, #{within:#x}"));
    }

    #[test]
    fn extensions(d in x(), n in x()) {
        let (xd, wd, wn) = (name(Bits::W64, d), name(Bits::W32, d), name(Bits::W32, n));
        check(|a| a.sxtb(d, n), &format!("sxtb {xd}, {wn}"));
        check(|a| a.sxth(d, n), &format!("sxth {xd}, {wn}"));
        check(|a| a.sxtw(d, n), &format!("sxtw {xd}, {wn}"));
        check(|a| a.uxtb(d, n), &format!("uxtb {wd}, {wn}"));
        check(|a| a.uxth(d, n), &format!("uxth {wd}, {wn}"));
    }
}

#[test]
fn a_shift_by_nothing_changes_nothing() {
    let (d, n) = (X::new(1), X::new(2));
    check(|a| a.shift_imm(Shift::Lsl, Bits::W64, d, n, 64), "lsr x1, x2, #0x0");
    check(|a| a.shift_imm(Shift::Asr, Bits::W32, d, n, 32), "asr w1, w2, #0x0");
    check(|a| a.shift_imm(Shift::Ror, Bits::W32, d, n, 32), "ror w1, w2, #0x0");
}

#[test]
fn inverted_conditions_are_neighbours() {
    for pair in CONDITIONS.chunks(2) {
        assert_eq!(pair[0].0.invert(), pair[1].0);
        assert_eq!(pair[1].0.invert(), pair[0].0);
    }
}
