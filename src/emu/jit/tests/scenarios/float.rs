//! Floating point beside integers, and where accesses fault.

use super::faults::demanding_with;
use super::*;

/// mstatus.FS, or sstatus.FS: initial.
const INITIAL: u64 = 1 << 13;
const MSTATUS: u32 = 0x300;
const SSTATUS: u32 = 0x100;
const FFLAGS: u32 = 0x001;

/// Integers below 2^52 are the bits of subnormal numbers, so FADD adds them.
#[test]
fn a_copy_in_a_register_of_the_other_kind_stays_what_it_was() {
    // gp, fa0 and fa1, ft8 and ft9: the ones among them that a host register holds, and those that are in memory.
    const GP: X = 3;
    for (source, [one, other]) in [(A1, [10, 11]), (A1, [28, 29]), (GP, [10, 11]), (GP, [28, 29])] {
        let (hart, _, jit) = check(|| {
            let mut program = start();
            let data = program.label();
            program.li(T0, INITIAL).word(csrrs(ZERO, MSTATUS, T0)).la(S0, data).li(A0, 0).li(A2, 0);
            program.li(source, OFTEN).word(fmv_to_float(12, ZERO));
            let head = program.bound();
            // There, back, and there again.
            program.words(&[
                fmv_to_float(one, source),
                fmv_to_integer(T1, one),
                fmv_to_float(other, T1),
                addi(source, source, -1),
            ]);
            // Neither knows of the change, nor of what becomes of the copy between.
            program.words(&[add(A0, A0, T1), fadd(12, 12, one), fmv_to_integer(T1, one), add(A0, A0, T1)]);
            program.words(&[addi(T1, T1, 1), fsd(other, S0, 0), ld(T2, S0, 0), add(A0, A0, T2)]);
            program.words(&[fmv_to_float(one, T1), fadd(12, 12, one)]).branch(NE, source, ZERO, head);
            program.word(fmv_to_integer(A2, 12));
            end(&mut program);
            program.skip_to(RAM + 0x3000);
            program.bind(data);
            board(&program)
        });
        let sum = OFTEN * (OFTEN + 1) / 2;
        assert_eq!((x(&hart, A0), x(&hart, A2)), (3 * sum, 2 * sum + OFTEN));
        let entered = jit.report.entered.load(core::sync::atomic::Ordering::SeqCst);
        assert!(entered < 20, "entered {entered} times");
    }
}

/// Whether a product has underflowed is asked late, but before an access whose fault shows the flags.
#[test]
fn an_underflow_is_seen_by_the_handler_of_a_fault_behind_it() {
    // ft0 is next to the smallest normal number, ft1 is a half.
    let before = [
        addi(T0, ZERO, 1),
        slli(T0, T0, 13),
        csrrs(ZERO, SSTATUS, T0),
        slli(T0, T0, 52 - 13),
        addi(T0, T0, 1),
        fmv_to_float(0, T0),
        addi(T0, ZERO, 0x3fe),
        slli(T0, T0, 52),
        fmv_to_float(1, T0),
        addi(8, ZERO, 0),
    ];
    // The handler collects the flags, and clears them.
    let handling = [csrrw(T2, FFLAGS, ZERO), fmv_to_float(9, T2), fadd(8, 8, 9)];
    for access in [sd(A0, S0, 8), ld(A0, S0, 8), amo(0, 3, A0, S0, A1), fsd(2, S0, 8), fld(2, S0, 8)] {
        let body = [fmul(2, 0, 1), addi(A0, A0, 3), access, addi(S0, S0, 64)];
        let (hart, ..) = check(|| demanding_with(0, &before, &body, &handling));
        // Underflow and inexact, for each of the pages.
        let flags = hart.registers()[polyvisor_cell_abi::riscv::F + 8];
        assert_eq!(flags, 3 * 8, "{access:#x}");
    }
}
