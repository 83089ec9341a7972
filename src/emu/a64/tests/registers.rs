//! Register 31: where it is the stack pointer, and where it is zero.

use super::*;

#[test]
fn register_31_is_what_the_operand_says() {
    let (r, z) = (X::new(1), X::ZR);
    let w = Bits::W64;
    check(|a| assert!(a.alu_imm(Alu::Add, w, X::SP, X::SP, 16)), "add sp, sp, #0x10");
    check(|a| assert!(a.alu_imm(Alu::Add, w, X::SP, r, 0)), "mov sp, x1");
    check(|a| assert!(a.alu_imm(Alu::Subs, w, r, X::SP, 16)), "subs x1, sp, #0x10");
    check(|a| assert!(a.cmp_imm(w, X::SP, 16)), "cmp sp, #0x10");
    check(|a| assert!(a.alu_imm(Alu::And, w, X::SP, r, 16)), "and sp, x1, #0x10");
    check(|a| assert!(a.tst_imm(w, r, 16)), "tst x1, #0x10");
    check(|a| a.alu_extend(Alu::Add, w, X::SP, X::SP, r, Extend::Uxtx, 0), "add sp, sp, x1");
    check(|a| a.alu_extend(Alu::Sub, w, r, X::SP, z, Extend::Sxtw, 2), "sub x1, sp, wzr, sxtw #2");
    check(|a| a.alu(Alu::Add, w, z, r, z), "add xzr, x1, xzr");
    check(|a| a.alu(Alu::Sub, w, r, z, r), "neg x1, x1");
    check(|a| a.alu(Alu::Orn, w, r, z, r), "mvn x1, x1");
    check(|a| a.mov(Bits::W32, r, z), "mov w1, wzr");
    check(|a| a.madd(w, r, r, z, r), "madd x1, x1, xzr, x1");
    check(|a| a.csel(w, z, r, z, Cond::Eq), "csel xzr, x1, xzr, eq");
    check(|a| assert!(a.store(Mode::Normal, Size::Double, z, X::SP, 8)), "str xzr, [sp, #0x8]");
    check(
        |a| assert!(a.load(Mode::Unprivileged, Size::Word, Ext::Zero, z, X::SP, 8)),
        "ldtr wzr, [sp, #0x8]",
    );
    check(|a| assert!(a.ldp(r, z, X::SP, -16, Index::Pre)), "ldp x1, xzr, [sp, #-0x10]!");
    check(|a| a.load_exclusive(Size::Double, false, z, X::SP), "ldxr xzr, [sp]");
    check(|a| a.rmw(Rmw::Add, Size::Double, Order::Relaxed, z, r, X::SP), "ldadd xzr, x1, [sp]");
    check(|a| a.cas(Size::Word, Order::Relaxed, z, z, X::SP), "cas wzr, wzr, [sp]");
    check(|a| a.fmov_from_x(F::D, V::new(3), z), "fmov d3, xzr");
}
