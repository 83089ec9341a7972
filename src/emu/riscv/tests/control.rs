//! Control and status registers.

use proptest::prelude::*;

use super::*;
use crate::ir::{Block, Inst};
use crate::riscv::csr::number::*;
use crate::riscv::words::{FFLAGS as FFLAGS_WORD, FRM as FRM_WORD, INSTRET as INSTRET_WORD};

const FS_INITIAL: u64 = 1 << 13;
const TVM: u64 = 1 << 20;
const STCE: u64 = 1 << 63;

#[test]
fn registers_belong_to_modes() {
    let mut hart = hart(Mode::Machine);
    for (mode, [user, supervisor, machine]) in [
        (Mode::User, [true, false, false]),
        (Mode::Supervisor, [true, true, false]),
        (Mode::Machine, [true, true, true]),
    ] {
        hart.set(MSTATUS, FS_INITIAL);
        hart.enter(mode);
        assert_eq!(hart.csrr(FRM).is_ok(), user);
        assert_eq!(hart.csrr(SATP).is_ok(), supervisor);
        assert_eq!(hart.csrr(MHARTID).is_ok(), machine);
        // A hypervisor's, and one that nobody has.
        assert!(hart.csrr(0x200).is_err() && hart.csrr(0x3ff).is_err() && hart.csrr(PMPCFG0 + 1).is_err());
    }
    // The highest two bits say that it cannot be written.
    assert!(hart.csr(Call::CsrSet, MHARTID, 0).is_err());
    assert!(hart.csr(Call::CsrWrite, CYCLE, 0).is_err());
}

#[test]
fn misa_says_what_there_is() {
    let mut hart = hart(Mode::Machine);
    assert_eq!(hart.csrr(MISA), Ok(0x8000_0000_0014_112f));
    hart.set(MISA, 0);
    assert_eq!(hart.csrr(MISA), Ok(0x8000_0000_0014_112f));
}

#[test]
fn floating_point_registers_need_floating_point() {
    let mut hart = hart(Mode::Machine);
    assert!(hart.csrr(FCSR).is_err() && hart.csr(Call::CsrWrite, FFLAGS, 1).is_err());
    hart.set(MSTATUS, FS_INITIAL);
    assert_eq!(hart.csr(Call::CsrWrite, FCSR, 0x1ff), Ok(0));
    assert_eq!((hart.words[FRM_WORD], hart.words[FFLAGS_WORD]), (7, 0x1f));
    assert_eq!(hart.csrr(MSTATUS).unwrap() >> 63, 1, "the state is dirty");
    assert_eq!(hart.csr(Call::CsrClear, FFLAGS, 0x10), Ok(0x1f));
    assert_eq!(hart.csrr(FCSR), Ok(0xef));
    assert!(!Context::from_bits(hart.context()).enables.contains(Enables::ROUNDING));
    hart.set(FRM, 4);
    assert!(Context::from_bits(hart.context()).enables.contains(Enables::ROUNDING));
}

#[test]
fn counters_are_enabled_from_above() {
    let mut hart = hart(Mode::Machine);
    hart.enter(Mode::Supervisor);
    assert!(hart.csrr(TIME).is_err());
    hart.set(MCOUNTEREN, u64::MAX);
    assert_eq!(hart.csrr(TIME), Ok(1000));
    assert!(hart.csrr(CYCLE + 3).is_err(), "counts nothing, and cannot be enabled");
    hart.enter(Mode::User);
    assert!(hart.csrr(TIME).is_err());
    hart.set(SCOUNTEREN, 2);
    assert!(hart.csrr(TIME).is_ok() && hart.csrr(CYCLE).is_err());
    hart.enter(Mode::Machine);
    assert_eq!((hart.csrr(CYCLE + 3), hart.csrr(MHPMCOUNTER31)), (Ok(0), Ok(0)));
}

#[test]
fn a_counter_can_be_set_and_stopped() {
    let mut hart = hart(Mode::Machine);
    hart.words[INSTRET_WORD] = 50;
    hart.set(MINSTRET, 1000);
    // The write is instruction 51.
    hart.words[INSTRET_WORD] = 51;
    assert_eq!((hart.csrr(INSTRET), hart.csrr(CYCLE)), (Ok(1000), Ok(51)));
    hart.set(MCOUNTINHIBIT, u64::MAX);
    assert_eq!(hart.csrr(MCOUNTINHIBIT), Ok(5));
    hart.words[INSTRET_WORD] = 100;
    assert_eq!((hart.csrr(INSTRET), hart.csrr(CYCLE)), (Ok(1000), Ok(51)));
    hart.set(MCOUNTINHIBIT, 1);
    hart.words[INSTRET_WORD] = 107;
    assert_eq!((hart.csrr(INSTRET), hart.csrr(CYCLE)), (Ok(1007), Ok(51)));
}

#[test]
fn supervisor_registers_can_be_kept_from_supervisor_mode() {
    let mut hart = hart(Mode::Machine);
    hart.set(MSTATUS, TVM);
    hart.set(MCOUNTEREN, 2);
    hart.enter(Mode::Supervisor);
    assert!(hart.csrr(SATP).is_err() && hart.csrr(STIMECMP).is_err());
    assert!(!Context::from_bits(hart.context()).enables.contains(Enables::SFENCE_VMA));
    hart.set(MSTATUS, 0);
    hart.set(MENVCFG, STCE);
    assert!(hart.csrr(SATP).is_ok() && hart.csrr(STIMECMP).is_ok());
    hart.set(MCOUNTEREN, 0);
    assert!(hart.csrr(STIMECMP).is_err());
}

#[test]
fn views_show_what_is_delegated() {
    let mut hart = hart(Mode::Machine);
    hart.set(MIE, u64::MAX);
    assert_eq!((hart.csrr(MIE), hart.csrr(SIE)), (Ok(0xaaa), Ok(0)));
    hart.set(MIDELEG, u64::MAX);
    assert_eq!((hart.csrr(MIDELEG), hart.csrr(SIE)), (Ok(0x222), Ok(0x222)));
    hart.enter(Mode::Supervisor);
    hart.csr(Call::CsrWrite, SIE, 0x20).unwrap();
    hart.enter(Mode::Machine);
    assert_eq!(hart.csrr(MIE), Ok(0x8a8));
    // Of the pending ones, supervisor mode changes only its software interrupt.
    hart.csr(Call::CsrSet, SIP, u64::MAX).unwrap();
    assert_eq!(hart.csrr(MIP), Ok(0x2));
    hart.csr(Call::CsrSet, MIP, u64::MAX).unwrap();
    assert_eq!(hart.csrr(MIP), Ok(0x222));
    hart.set(MIDELEG, 0x200);
    hart.csr(Call::CsrClear, SIP, u64::MAX).unwrap();
    assert_eq!(hart.csrr(SIP), Ok(0x200));
}

#[test]
fn a_devices_line_is_not_latched_by_changes_of_other_bits() {
    let mut hart = hart(Mode::Machine);
    hart.surroundings().world.lines.store(2, Ordering::Relaxed);
    hart.attend();
    assert_eq!(hart.csr(Call::CsrSet, MIP, 2), Ok(0x200));
    assert_eq!(hart.csrr(MIP), Ok(0x202));
    hart.surroundings().world.lines.store(0, Ordering::Relaxed);
    hart.attend();
    assert_eq!(hart.csrr(MIP), Ok(0x2));
}

#[test]
fn exits_need_their_enables() {
    let mut hart = hart(Mode::Machine);
    let enables = |hart: &TestHart| Context::from_bits(hart.context()).enables;
    assert!(
        enables(&hart).contains(Enables::CBO_ZERO | Enables::CBO_CLEAN | Enables::CBO_INVAL | Enables::SRET)
    );
    hart.enter(Mode::Supervisor);
    assert!(enables(&hart).contains(Enables::WFI | Enables::SRET | Enables::SFENCE_VMA));
    assert!(!enables(&hart).intersects(Enables::CBO_ZERO | Enables::CBO_CLEAN | Enables::CBO_INVAL));
    hart.set(MSTATUS, 7 << 20);
    hart.set(MENVCFG, 0xf0);
    assert!(!enables(&hart).intersects(Enables::WFI | Enables::SRET | Enables::SFENCE_VMA));
    assert!(enables(&hart).contains(Enables::CBO_ZERO | Enables::CBO_CLEAN | Enables::CBO_INVAL));
    hart.enter(Mode::User);
    assert!(!enables(&hart).intersects(Enables::CBO_ZERO | Enables::WFI | Enables::SRET));
    hart.set(SENVCFG, 0x80);
    assert!(enables(&hart).contains(Enables::CBO_ZERO) && !enables(&hart).contains(Enables::CBO_CLEAN));
}

#[test]
fn what_is_lifted_for_translation_has_floating_point() {
    const FADD_D: u32 = 0x0220_f053;
    let mut hart = hart(Mode::Machine);
    let lift = |hart: &mut TestHart, context| {
        let mut fetch = |_: &mut TestHart, address| Ok((FADD_D >> (8 * (address & 2))) as u16);
        let mut block = Block::default();
        hart.lift_in(context, RAM, 1, &mut block, &mut Code::new(&mut fetch)).unwrap();
        block
    };
    for (status, frm, ready) in [
        (0, 0, false),
        (1, 0, false),
        (3, 0, true),
        (3, 3, true),
        (3, 4, false),
        (3, 5, false),
        (3, 7, false),
    ] {
        hart.set(MSTATUS, 3 << 13);
        hart.set(FRM, frm);
        hart.set(MSTATUS, status << 13);
        assert_eq!(hart.float_ready(), ready, "{status} {frm}");
        let context = hart.translation_context();
        let translated = lift(&mut hart, context);
        assert!(matches!(translated.insts[..], [Inst::Float { .. }]), "{:?}", translated.insts);
        // Rounding to nearest, ties away, is no other code.
        let context = hart.context();
        assert_eq!(lift(&mut hart, context) == translated, ready || frm == 4, "{status} {frm}");
    }
    let context = hart.translation_context();
    hart.enter(Mode::User);
    assert_ne!(hart.translation_context(), context);
}

proptest! {
    /// Whatever is written, what is read back is legal: writing it again changes nothing.
    #[test]
    fn random_writes_leave_legal_values(
        writes in prop::collection::vec((0u16..0x1000, any::<u64>(), 0u16..3, 0u64..4), 1..50),
    ) {
        let mut hart = hart(Mode::Machine);
        for (number, value, call, mode) in writes {
            if let Some(mode) = Mode::from_bits(mode) {
                hart.enter(mode);
            }
            let call = [Call::CsrWrite, Call::CsrSet, Call::CsrClear][usize::from(call)];
            let _ = hart.csr(call, number, value);
            if matches!(number, MCYCLE | MINSTRET) {
                continue;
            }
            if let Ok(legal) = hart.csrr(number) && hart.csr(Call::CsrWrite, number, legal).is_ok() {
                prop_assert_eq!(hart.csrr(number), Ok(legal), "{:#x}", number);
            }
            prop_assert!(hart.view() < TestHart::VIEWS);
            hart.attend();
        }
    }
}
