//! Interrupts, timers and sleep.

use super::*;
use crate::interp::Attention;
use crate::riscv::csr::number::*;

const MIE_BIT: u64 = 1 << 3;
const SIE_BIT: u64 = 1 << 1;
const CLINT: u64 = 0x200_0000;
const MTIMECMP: u64 = CLINT + 0x4000;
const STCE: u64 = 1 << 63;

#[test]
fn the_most_urgent_one_is_taken_at_its_vector() {
    let mut hart = hart(Mode::Machine);
    hart.set(MTVEC, 0x2001);
    hart.set(MIE, 0xaaa);
    hart.surroundings().world.lines.store(3, Ordering::Relaxed);
    hart.physical().write(CLINT, Size::Word, 1).unwrap();
    hart.set(MIP, 0x22);
    hart.attend();
    assert_eq!(hart.pc(), RAM, "machine mode has not enabled any");
    hart.set(MSTATUS, MIE_BIT);
    assert!(hart.wants_attention());
    for (number, clear) in [(11u64, true), (3, true), (9, true), (1, false), (5, false)] {
        hart.attend();
        assert_eq!((hart.pc(), hart.csrr(MCAUSE)), (0x2000 + 4 * number, Ok(1 << 63 | number)));
        match number {
            3 => hart.physical().write(CLINT, Size::Word, 0).unwrap(),
            _ if clear => {
                hart.surroundings()
                    .world
                    .lines
                    .fetch_and(if number == 11 { 2 } else { 0 }, Ordering::Relaxed);
            }
            _ => drop(hart.csr(Call::CsrClear, MIP, 1 << number)),
        }
        hart.set(MSTATUS, MIE_BIT);
    }
}

#[test]
fn delegated_ones_wait_for_supervisor_mode_and_others_do_not() {
    let mut hart = hart(Mode::Machine);
    hart.set(MTVEC, 0x2000);
    hart.set(STVEC, 0x1000);
    hart.set(MIDELEG, 0x200);
    hart.set(MIE, 0x202);
    hart.surroundings().world.lines.store(2, Ordering::Relaxed);
    hart.set(MSTATUS, MIE_BIT);
    hart.attend();
    assert_eq!(hart.pc(), RAM, "never in a more privileged mode");
    hart.enter(Mode::Supervisor);
    hart.attend();
    assert_eq!(hart.pc(), RAM, "SIE is clear");
    hart.set(MIP, 2);
    hart.attend();
    assert_eq!(
        (hart.mode(), hart.pc()),
        (Mode::Machine, 0x2000),
        "not delegated: enabled in lower modes whatever MIE is"
    );
    hart.set(MIP, 0);
    hart.enter(Mode::User);
    hart.attend();
    assert_eq!(
        (hart.mode(), hart.pc()),
        (Mode::Supervisor, 0x1000),
        "enabled in lower modes whatever SIE is"
    );
    assert_eq!(hart.csrr(SCAUSE), Ok(1 << 63 | 9));
    hart.csr(Call::CsrSet, SSTATUS, SIE_BIT).unwrap();
    hart.attend();
    assert_eq!(hart.csrr(SEPC), Ok(0x1000));
}

#[test]
fn wfi_sleeps_until_the_timer_that_comes_first() {
    let mut hart = hart(Mode::Machine);
    hart.set(MIE, 0xa0);
    hart.set(MENVCFG, STCE);
    hart.physical().write(MTIMECMP, Size::Double, 5000).unwrap();
    hart.set(STIMECMP, 3000);
    hart.execute(Call::Wfi).unwrap();
    assert!(hart.wants_attention());
    assert_eq!(hart.attend(), Attention::Go);
    assert_eq!(hart.surroundings().time(), 3000);
    assert_eq!(hart.csrr(MIP), Ok(0x20));
    // What has expired is no deadline any more: the hart is not kept busy.
    assert!(!hart.wants_attention() && hart.surroundings().deadline.get() == 5000);
    // WFI goes on, and without interrupts enabled none is taken.
    assert_eq!((hart.pc(), hart.surroundings().slept.get()), (RAM, 1));
    hart.execute(Call::Wfi).unwrap();
    hart.attend();
    assert_eq!(hart.surroundings().slept.get(), 1, "one is pending still");
    hart.set(STIMECMP, u64::MAX);
    hart.execute(Call::Wfi).unwrap();
    hart.attend();
    assert_eq!((hart.surroundings().time(), hart.csrr(MIP)), (5000, Ok(0x80)));
}

#[test]
fn the_clint_is_laid_out_as_software_expects() {
    let harts = machine(2, Mode::Machine);
    let bus = harts[0].physical();
    bus.write(CLINT + 4, Size::Word, 0xffff_fffe).unwrap();
    assert_eq!(bus.read(CLINT + 4, Size::Word), Some(0));
    bus.write(CLINT + 4, Size::Word, 0xffff_ffff).unwrap();
    assert_eq!(bus.read(CLINT + 4, Size::Word), Some(1));
    assert!(harts[1].bus.shared().msip() && !harts[0].bus.shared().msip());
    assert!(harts[1].wants_attention());
    assert_eq!(bus.read(MTIMECMP + 8, Size::Double), Some(u64::MAX));
    bus.write(MTIMECMP + 12, Size::Word, 7).unwrap();
    assert_eq!(bus.read(MTIMECMP + 8, Size::Double), Some(0x7_ffff_ffff));
    assert_eq!(bus.read(MTIMECMP + 8, Size::Word), Some(0xffff_ffff));
    assert_eq!(bus.read(CLINT + 0xbff8, Size::Double), Some(1000));
    bus.write(CLINT + 0xbff8, Size::Double, 1).unwrap();
    assert_eq!(bus.read(CLINT + 0xbffc, Size::Word), Some(0));
    // Harts that are not there, and the rest: zero. Behind it: the platform's.
    assert_eq!(bus.read(MTIMECMP + 16, Size::Double), Some(0));
    assert_eq!(bus.read(CLINT + 8, Size::Word), Some(0));
    assert_eq!(bus.read(CLINT + 0x1_0000, Size::Word), None);
    for offset in 0..0x1_0000 {
        bus.write(CLINT + offset, Size::Byte, 0xff);
        let _ = bus.read(CLINT + offset, Size::Double);
    }
}
