//! SBI.

use super::*;
use crate::interp::{Attention, Flush};
use crate::riscv::csr::number::*;
use crate::riscv::words::{A0, A1, A6, A7, INSTRET as INSTRET_WORD};

const BASE: u64 = 0x10;
const TIMER: u64 = 0x5449_4d45;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;
const HSM: u64 = 0x48_534d;
const SRST: u64 = 0x5352_5354;
const PMU: u64 = 0x50_4d55;
const DBCN: u64 = 0x4442_434e;
const SUSP: u64 = 0x5355_5350;

fn ecall(hart: &mut TestHart, extension: u64, function: u64, arguments: &[u64]) -> (i64, u64) {
    hart.words[A7] = extension;
    hart.words[A6] = function;
    hart.words[A0..A0 + arguments.len()].copy_from_slice(arguments);
    hart.execute(Call::Ecall).unwrap();
    (hart.words[A0].cast_signed(), hart.words[A1])
}

#[test]
fn base_tells_what_there_is() {
    let mut hart = hart(Mode::Supervisor);
    assert_eq!(ecall(&mut hart, BASE, 0, &[]), (0, 2 << 24));
    assert_eq!(hart.pc(), RAM + 4);
    for extension in [BASE, TIMER, IPI, RFENCE, HSM, SRST, PMU, DBCN, SUSP] {
        assert_eq!(ecall(&mut hart, BASE, 3, &[extension]), (0, 1), "{extension:#x}");
    }
    assert_eq!(ecall(&mut hart, BASE, 3, &[0x535345]), (0, 0));
    assert_eq!(ecall(&mut hart, BASE, 7, &[]).0, -2);
    assert_eq!(ecall(&mut hart, 0x535345, 0, &[]).0, -2);
}

#[test]
fn user_mode_does_not_reach_it() {
    let mut hart = hart(Mode::Supervisor);
    hart.csr(Call::CsrWrite, STVEC, 0x1000).unwrap();
    hart.enter(Mode::User);
    let call = hart.execute(Call::Ecall).unwrap_err();
    assert_eq!(call.cause, 8);
    hart.raise(call);
    assert_eq!((hart.mode(), hart.pc()), (Mode::Supervisor, 0x1000));
}

#[test]
fn supervisor_mode_has_what_firmware_prepares() {
    let mut hart = hart(Mode::Supervisor);
    use crate::memory::Access;
    assert!(hart.translate(RAM, 2, Access::Store).unwrap().whole_page);
    assert!(hart.csrr(TIME).is_ok() && hart.csrr(STIMECMP).is_ok() && hart.csrr(CYCLE).is_ok());
    hart.csr(Call::CsrWrite, STVEC, 0x1000).unwrap();
    hart.raise(Exception { cause: 2, value: 1 });
    assert_eq!((hart.mode(), hart.pc()), (Mode::Supervisor, 0x1000));
}

#[test]
fn the_timer_interrupts() {
    let mut hart = hart(Mode::Supervisor);
    hart.csr(Call::CsrWrite, STVEC, 0x1000).unwrap();
    hart.csr(Call::CsrWrite, SIE, 0x20).unwrap();
    assert_eq!(ecall(&mut hart, TIMER, 0, &[2000]), (0, 0));
    hart.attend();
    assert_eq!(hart.surroundings().deadline.get(), 2000);
    hart.surroundings().world.time.store(2000, Ordering::Relaxed);
    hart.attend();
    assert_eq!(hart.csrr(SIP), Ok(0x20));
    hart.csr(Call::CsrSet, SSTATUS, 2).unwrap();
    hart.attend();
    assert_eq!((hart.pc(), hart.csrr(SCAUSE)), (0x1000, Ok(1 << 63 | 5)));
    assert_eq!(ecall(&mut hart, TIMER, 0, &[u64::MAX]), (0, 0));
    assert_eq!(hart.csrr(SIP), Ok(0));
}

#[test]
fn harts_start_and_are_interrupted_and_stop() {
    let [mut one, mut two] = <[TestHart; 2]>::try_from(machine(2, Mode::Supervisor)).ok().unwrap();
    assert_eq!(ecall(&mut one, HSM, 2, &[0]), (0, 0));
    assert_eq!(ecall(&mut one, HSM, 2, &[1]), (0, 1));
    assert_eq!(ecall(&mut one, HSM, 2, &[2]).0, -3);
    assert_eq!(ecall(&mut one, HSM, 0, &[2, RAM, 0]).0, -3);
    assert_eq!(ecall(&mut one, HSM, 0, &[1, 0x1000, 0]).0, -5);
    assert_eq!(ecall(&mut one, HSM, 0, &[1, RAM + 0x100, 77]), (0, 0));
    assert_eq!(ecall(&mut one, HSM, 2, &[1]), (0, 2));
    assert_eq!(ecall(&mut one, HSM, 0, &[1, RAM, 0]).0, -6);
    assert_eq!(two.attend(), Attention::Go);
    assert_eq!((two.mode(), two.pc(), two.words[A0], two.words[A1]), (Mode::Supervisor, RAM + 0x100, 1, 77));
    assert_eq!(ecall(&mut one, HSM, 2, &[1]), (0, 0));

    assert_eq!(ecall(&mut one, IPI, 0, &[1, 1]), (0, 0));
    assert!(two.wants_attention());
    two.attend();
    assert_eq!((two.csrr(SIP), one.csrr(SIP)), (Ok(2), Ok(0)));
    two.csr(Call::CsrClear, SIP, 2).unwrap();
    two.attend();
    assert_eq!(two.csrr(SIP), Ok(0));
    assert_eq!(ecall(&mut one, IPI, 0, &[0, u64::MAX]), (0, 0));
    one.attend();
    two.attend();
    assert_eq!((two.csrr(SIP), one.csrr(SIP)), (Ok(2), Ok(2)));
    for [mask, base] in [[4, 0], [1, 2], [1, 64], [2, 63], [1 << 63, 1]] {
        assert_eq!(ecall(&mut one, IPI, 0, &[mask, base]).0, -3, "{mask:#x} {base}");
    }

    assert_eq!(ecall(&mut one, SUSP, 0, &[0, RAM, 0]).0, -4, "the other one runs");
    two.words[A7] = HSM;
    two.words[A6] = 1;
    two.execute(Call::Ecall).unwrap();
    assert_eq!(ecall(&mut one, HSM, 2, &[1]), (0, 1));
    assert_eq!(ecall(&mut one, HSM, 0, &[1, RAM + 0x200, 78]), (0, 0));
    assert_eq!(two.attend(), Attention::Go);
    assert_eq!((two.pc(), two.words[A1]), (RAM + 0x200, 78));
}

#[test]
fn suspended_harts_wake() {
    let mut hart = hart(Mode::Supervisor);
    hart.csr(Call::CsrWrite, SIE, 0x20).unwrap();
    ecall(&mut hart, TIMER, 0, &[2000]);
    assert_eq!(ecall(&mut hart, HSM, 3, &[0, 0, 0]), (0, 0));
    assert_eq!(hart.attend(), Attention::Go);
    assert_eq!((hart.surroundings().time(), hart.pc()), (2000, RAM + 8));
    ecall(&mut hart, TIMER, 0, &[3000]);
    assert_eq!(ecall(&mut hart, HSM, 3, &[0x8000_0000, 0x1000, 5]).0, -5);
    assert_eq!(ecall(&mut hart, HSM, 3, &[1, RAM, 5]).0, -3);
    for (extension, function, kind) in [(HSM, 3, 0x8000_0000), (SUSP, 0, 0)] {
        hart.words[A1 - 1..A1 + 2].copy_from_slice(&[kind, RAM + 0x40, 5]);
        (hart.words[A7], hart.words[A6]) = (extension, function);
        hart.csr(Call::CsrSet, SSTATUS, 2).unwrap();
        hart.csr(Call::CsrWrite, SATP, 8 << 60 | 5).unwrap();
        hart.execute(Call::Ecall).unwrap();
        assert_eq!(hart.attend(), Attention::Go);
        assert_eq!((hart.surroundings().time(), hart.pc(), hart.words[A1]), (3000, RAM + 0x40, 5));
        assert_eq!((hart.csrr(SSTATUS).unwrap() & 2, hart.csrr(SATP)), (0, Ok(0)));
    }
    assert_eq!(ecall(&mut hart, SUSP, 0, &[1, RAM, 0]).0, -3);
}

#[test]
fn fences_reach_harts_that_are_asleep_when_they_wake() {
    let [mut one, mut two] = <[TestHart; 2]>::try_from(machine(2, Mode::Supervisor)).ok().unwrap();
    let epochs = [one.code_epoch(), two.code_epoch()];
    one.take_flush();
    two.take_flush();
    two.bus.shared().fences.park();
    assert_eq!(ecall(&mut one, RFENCE, 0, &[3, 0]), (0, 0));
    assert_eq!((one.code_epoch(), one.take_flush()), (epochs[0] + 1, Flush::Nothing));
    two.park(|_| ());
    assert_eq!(two.take_flush(), Flush::Nothing, "parking again says nothing about what came before");
    two.bus.shared().fences.park();
    assert_eq!(ecall(&mut one, RFENCE, 1, &[2, 0, 0x1000, 0x1000]), (0, 0));
    assert_eq!(one.take_flush(), Flush::Nothing, "not asked");
    assert!(two.bus.shared().fences.unpark());
    assert_eq!(ecall(&mut one, RFENCE, 2, &[1, 0, 0x1000, 0x1000, 9]), (0, 0));
    assert_eq!(one.take_flush(), Flush::page(0x1000, Some(9)));
    assert_eq!(ecall(&mut one, RFENCE, 3, &[1, 0, 0, 0]).0, -2);
    assert_eq!(ecall(&mut one, RFENCE, 0, &[4, 0]).0, -3);
}

#[test]
fn the_console_is_the_uart() {
    let mut hart = hart(Mode::Supervisor);
    hart.poke(RAM + 0x100, u64::from_le_bytes(*b"hello\n  "));
    assert_eq!(ecall(&mut hart, DBCN, 0, &[6, RAM + 0x100, 0]), (0, 6));
    assert_eq!(ecall(&mut hart, DBCN, 2, &[u64::from(b'!')]), (0, 0));
    assert_eq!(ecall(&mut hart, 1, 0, &[u64::from(b'?')]).0, 0);
    assert_eq!(*hart.surroundings().world.written.lock().unwrap(), *b"hello\n!?");
    hart.surroundings().world.typed.lock().unwrap().extend(*b"abc");
    assert_eq!(ecall(&mut hart, 2, 0, &[]).0, i64::from(b'a'));
    assert_eq!(ecall(&mut hart, DBCN, 1, &[100, RAM + 0x200, 0]), (0, 2));
    assert_eq!(hart.surroundings().ram().read::<u16>(RAM + 0x200), Some(u16::from_le_bytes(*b"bc")));
    assert_eq!(ecall(&mut hart, 2, 0, &[]).0, -1);
    for [len, low, high] in [[1, 0, 0], [1, RAM, 1], [u64::MAX, RAM, 0], [RAM_SIZE + 1, RAM, 0]] {
        assert_eq!(ecall(&mut hart, DBCN, 0, &[len, low, high]).0, -3);
        assert_eq!(ecall(&mut hart, DBCN, 1, &[len, low, high]).0, -3);
    }
    assert_eq!(ecall(&mut hart, DBCN, 0, &[RAM_SIZE, RAM, 0]), (0, 256), "the rest is for another call");
}

#[test]
fn the_machine_ends() {
    for (kind, how) in [(0, Shutdown::Off), (1, Shutdown::Reset), (2, Shutdown::Reset)] {
        let [mut one, mut two] = <[TestHart; 2]>::try_from(machine(2, Mode::Supervisor)).ok().unwrap();
        assert_eq!(ecall(&mut one, SRST, 0, &[3, 0]).0, -3);
        assert_eq!(ecall(&mut one, SRST, 0, &[0, 2]).0, -3);
        ecall(&mut one, SRST, 0, &[kind, 1]);
        assert_eq!(*one.surroundings().world.ended.lock().unwrap(), Some(how));
        assert!(two.wants_attention());
        assert_eq!((one.attend(), two.attend()), (Attention::Return, Attention::Return));
        assert_eq!(one.bus.cluster().shutdown(), Some(how));
    }
}

#[test]
fn counters_are_those_that_exist() {
    let mut hart = hart(Mode::Supervisor);
    assert_eq!(ecall(&mut hart, PMU, 0, &[]), (0, 3));
    assert_eq!(ecall(&mut hart, PMU, 1, &[0]), (0, 0x3fc00));
    assert_eq!(ecall(&mut hart, PMU, 1, &[2]), (0, 0x3fc02));
    assert_eq!(ecall(&mut hart, PMU, 1, &[1]).0, -3);
    assert_eq!(ecall(&mut hart, PMU, 2, &[0, 5, 0, 2, 0]).0, -2, "it runs");
    assert_eq!(ecall(&mut hart, PMU, 4, &[0, 5, 0]), (0, 0));
    assert_eq!(ecall(&mut hart, PMU, 4, &[0, 1, 0]).0, -8);
    assert_eq!(ecall(&mut hart, PMU, 2, &[0, 5, 2, 2, 0]), (0, 2));
    assert_eq!(ecall(&mut hart, PMU, 2, &[0, 5, 2, 3, 0]).0, -2, "cache references");
    hart.words[INSTRET_WORD] = 100;
    assert_eq!(hart.csrr(INSTRET), Ok(0));
    assert_eq!(ecall(&mut hart, PMU, 3, &[2, 1, 1, 50]), (0, 0));
    hart.words[INSTRET_WORD] = 110;
    assert_eq!(hart.csrr(INSTRET), Ok(60));
    assert_eq!(ecall(&mut hart, PMU, 3, &[2, 1, 0, 0]).0, -7);
    assert_eq!(ecall(&mut hart, PMU, 3, &[0, 1, 2, 0]).0, -9);
    for [base, mask] in [[1, 1], [64, 1], [63, 2], [0, 8]] {
        assert_eq!(ecall(&mut hart, PMU, 4, &[base, mask, 0]).0, -3);
    }
    assert_eq!(ecall(&mut hart, PMU, 5, &[0]).0, -3);
    assert_eq!(ecall(&mut hart, PMU, 7, &[0, 0, 0]).0, -2);
}
