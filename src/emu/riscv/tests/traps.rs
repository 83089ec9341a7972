//! Exceptions and returns.

use super::*;
use crate::riscv::csr::number::*;
use crate::riscv::exception::cause;
use crate::riscv::words::{RESERVED_ADDRESS, X};

const SIE: u64 = 1 << 1;
const MPP_SUPERVISOR: u64 = 1 << 11;

#[test]
fn a_machine_starts_as_it_is_told() {
    let harts = machine(2, Mode::Machine);
    for (index, hart) in harts.iter().enumerate() {
        assert_eq!((hart.mode(), hart.pc()), (Mode::Machine, RAM));
        assert_eq!(hart.registers()[X + 10..X + 13], [index as u64, 0x1111, 0x2222]);
    }
    let harts = machine(2, Mode::Supervisor);
    assert_eq!(harts[0].mode(), Mode::Supervisor);
    assert!(harts[1].bus.cluster().hart(2).is_none());
}

#[test]
fn what_is_delegated_goes_to_supervisor_mode_unless_it_comes_from_machine_mode() {
    let mut hart = hart(Mode::Machine);
    hart.set(MEDELEG, 1 << cause::LOAD_PAGE);
    hart.set(STVEC, 0x1001);
    hart.set(MTVEC, 0x2001);
    hart.set(MSTATUS, SIE);
    let fault = Exception { cause: cause::LOAD_PAGE, value: 0xdead };

    hart.enter(Mode::User);
    hart.words[RESERVED_ADDRESS] = RAM;
    hart.raise(fault);
    // Exceptions have no entries of their own in a table of vectors.
    assert_eq!((hart.mode(), hart.pc()), (Mode::Supervisor, 0x1000));
    assert_eq!(hart.csrr(SEPC), Ok(RAM));
    assert_eq!(hart.csrr(SCAUSE), Ok(13));
    assert_eq!(hart.csrr(STVAL), Ok(0xdead));
    assert_eq!(hart.csrr(SSTATUS).unwrap() & 0x122, 1 << 5, "SPIE is the old SIE, SPP is user mode");
    assert_eq!(hart.registers()[RESERVED_ADDRESS], u64::MAX);
    hart.execute(Call::Sret).unwrap();
    assert_eq!((hart.mode(), hart.pc()), (Mode::User, RAM));

    hart.enter(Mode::Machine);
    hart.raise(fault);
    assert_eq!((hart.mode(), hart.pc()), (Mode::Machine, 0x2000));
    assert_eq!(hart.csrr(MCAUSE), Ok(13));
    assert_eq!(hart.csrr(MSTATUS).unwrap() & 3 << 11, 3 << 11);
}

#[test]
fn illegal_instructions_tell_their_bits() {
    let mut hart = hart(Mode::Machine);
    hart.enter(Mode::User);
    let illegal = |value| Err(Exception { cause: cause::ILLEGAL_INSTRUCTION, value });
    assert_eq!(hart.csrr(SSTATUS), illegal(word(SSTATUS)));
    assert_eq!(hart.csr(Call::CsrSet, 0x9ff, 0), illegal(word(0x9ff)));
    assert_eq!(hart.call(Call::Illegal.number(), 0x1234, 0), illegal(0x1234));
}

#[test]
fn calls_and_breakpoints_tell_where_they_come_from() {
    let mut hart = hart(Mode::Machine);
    for (mode, cause) in [(Mode::User, 8), (Mode::Supervisor, 9), (Mode::Machine, 11)] {
        hart.enter(mode);
        assert_eq!(hart.execute(Call::Ecall), Err(Exception { cause, value: 0 }));
        assert_eq!(hart.execute(Call::Ebreak), Err(Exception { cause: 3, value: RAM }));
    }
}

#[test]
fn mret_goes_to_the_mode_before() {
    let mut hart = hart(Mode::Machine);
    hart.set(MEPC, RAM + 0x103);
    hart.set(MSTATUS, MPP_SUPERVISOR | 1 << 17 | 1 << 7);
    hart.execute(Call::Mret).unwrap();
    assert_eq!((hart.mode(), hart.pc()), (Mode::Supervisor, RAM + 0x102));
    hart.enter(Mode::Machine);
    // MIE from MPIE, MPIE set, MPP the least mode, no MPRV.
    assert_eq!(hart.csrr(MSTATUS).unwrap() & 0xfff_ffff, 1 << 3 | 1 << 7);
}

#[test]
fn atomic_accesses_must_be_aligned_and_others_need_not() {
    use crate::memory::Access;
    let hart = hart(Mode::Machine);
    assert_eq!(hart.misaligned(3, Size::Word, Access::Store, false), Ok(()));
    let exception = |cause| Err(Exception { cause, value: 3 });
    assert_eq!(hart.misaligned(3, Size::Word, Access::Load, true), exception(4));
    assert_eq!(hart.misaligned(3, Size::Word, Access::Store, true), exception(6));
}
