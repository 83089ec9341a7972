//! Translation with all checks.

use super::*;
use crate::interp::{Flush, Translation};
use crate::memory::Access;
use crate::riscv::csr::number::*;

const TABLE: u64 = RAM + 0x1000;
const SV39: u64 = 8 << 60;
const MPRV: u64 = 1 << 17;
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
const MPP_SUPERVISOR: u64 = 1 << 11;

/// A hart whose page tables map a user page (all rights), an executable one, and a kernel superpage.
fn paged() -> TestHart {
    let mut hart = hart(Mode::Machine);
    hart.set(PMPADDR0, u64::MAX);
    hart.set(PMPCFG0, 0x1f);
    hart.set(SATP, SV39 | TABLE >> 12);
    let entry = |address: u64, flags: u64| address >> 12 << 10 | flags;
    hart.poke(TABLE, entry(TABLE + 0x1000, 1));
    hart.poke(TABLE + 0x1000, entry(TABLE + 0x2000, 1));
    hart.poke(TABLE + 0x1008, entry(RAM, 0xcf));
    hart.poke(TABLE + 0x2008, entry(RAM + 0x8000, 0xdf));
    hart.poke(TABLE + 0x2010, entry(RAM + 0x9000, 0x59));
    hart
}

const USER_PAGE: u64 = 0x1000;
const USER_CODE: u64 = 0x2000;
const KERNEL: u64 = 0x20_0000;

fn rights(hart: &mut TestHart, address: u64) -> [bool; 3] {
    [Access::Load, Access::Store, Access::Fetch].map(|access| hart.translate(address, 2, access).is_ok())
}

#[test]
fn rights_follow_mode_sum_mxr_and_mprv() {
    let mut hart = paged();
    let (all, none) = ([true; 3], [false; 3]);
    // Machine mode sees physical addresses: here, nothing is protected.
    assert_eq!(rights(&mut hart, 0x1234_5678_9abc_def0), all);
    for (mode, status, [page, code, kernel]) in [
        (Mode::User, 0, [all, [false, false, true], none]),
        (Mode::User, MXR, [all, [true, false, true], none]),
        (Mode::Supervisor, 0, [none, none, all]),
        (Mode::Supervisor, SUM, [[true, true, false], none, all]),
        (Mode::Supervisor, SUM | MXR, [[true, true, false], [true, false, false], all]),
        // Data as user mode, as supervisor mode; code as machine mode.
        (Mode::Machine, MPRV, [all, [false, false, true], [false, false, true]]),
        (Mode::Machine, MPRV | MPP_SUPERVISOR, [[false, false, true], [false, false, true], all]),
        (Mode::Machine, MPRV | MPP_SUPERVISOR | SUM, [all, [false, false, true], all]),
    ] {
        hart.enter(Mode::Machine);
        hart.set(MSTATUS, status);
        hart.enter(mode);
        let found = [USER_PAGE, USER_CODE, KERNEL].map(|address| rights(&mut hart, address));
        assert_eq!(found, [page, code, kernel], "{mode:?} {status:#x}");
    }
}

#[test]
fn views_are_told_apart_and_other_modes_data_is_not_remembered() {
    let mut hart = paged();
    let mut views = HashSet::new();
    let mut view = |hart: &mut TestHart, mode, status| {
        hart.set(MSTATUS, status);
        hart.enter(mode);
        let new = views.insert(hart.view());
        hart.enter(Mode::Machine);
        new
    };
    assert!(view(&mut hart, Mode::User, 0) && !view(&mut hart, Mode::User, SUM));
    assert!(view(&mut hart, Mode::Supervisor, 0) && view(&mut hart, Mode::Supervisor, SUM));
    assert!(view(&mut hart, Mode::Machine, 0) && !view(&mut hart, Mode::Machine, MPRV | 3 << 11));
    assert!(view(&mut hart, Mode::Machine, MPRV));
    let data = hart.translate(USER_PAGE + 8, 2, Access::Load).unwrap();
    let page =
        Translation { address: RAM + 0x8008, load: true, store: true, fetch: false, whole_page: false };
    assert_eq!(data, page);
    let code = hart.translate(USER_PAGE, 2, Access::Fetch).unwrap();
    let same = Translation { address: USER_PAGE, load: false, store: false, fetch: true, whole_page: true };
    assert_eq!(code, same);
}

#[test]
fn faults_tell_what_was_wrong_and_where() {
    let mut hart = paged();
    hart.enter(Mode::Supervisor);
    let mut fault = |address, access| hart.translate(address, 2, access).unwrap_err();
    let exception = |cause, value| Exception { cause, value };
    assert_eq!(fault(0x5123, Access::Fetch), exception(12, 0x5123));
    assert_eq!(fault(0x5123, Access::Load), exception(13, 0x5123));
    assert_eq!(fault(0x5123, Access::Store), exception(15, 0x5123));
    // A table outside of RAM.
    hart.poke(TABLE + 0x1000, 0x1000_0000 >> 12 << 10 | 1);
    let mut fault = |access| hart.translate(USER_PAGE, 2, access).unwrap_err();
    assert_eq!(fault(Access::Fetch), exception(1, USER_PAGE));
    assert_eq!(fault(Access::Load), exception(5, USER_PAGE));
    assert_eq!(fault(Access::Store), exception(7, USER_PAGE));
}

#[test]
fn physical_memory_protection_covers_pages_and_tables() {
    let mut hart = paged();
    // Entry 0: 8 bytes at the beginning of the user page; entry 1: everything.
    hart.set(PMPADDR0 + 1, u64::MAX);
    hart.set(PMPADDR0, (RAM + 0x8000) >> 2);
    hart.set(PMPCFG0, 0x1f18);
    hart.enter(Mode::User);
    assert_eq!(hart.translate(USER_PAGE, 2, Access::Load).unwrap_err().cause, 5);
    assert!(!hart.translate(USER_PAGE + 8, 2, Access::Load).unwrap().whole_page);
    // An access that no entry covers alone fails.
    assert!(hart.translate(USER_PAGE + 8, 8, Access::Load).is_ok());
    assert_eq!(hart.translate(USER_PAGE + 4, 8, Access::Load).unwrap_err().cause, 5);
    assert!(hart.translate(USER_CODE, 2, Access::Fetch).unwrap().whole_page);
    // A table that may not be read.
    hart.set(PMPADDR0, (TABLE + 0x2000) >> 2 | 0x1ff);
    assert_eq!(
        hart.translate(USER_CODE, 2, Access::Fetch).unwrap_err(),
        Exception { cause: 1, value: USER_CODE }
    );
    // Without entries, nothing is permitted below machine mode.
    hart.set(PMPCFG0, 0);
    assert_eq!(hart.translate(USER_CODE, 2, Access::Fetch).unwrap_err().cause, 1);
}

#[test]
fn what_must_be_forgotten() {
    let mut hart = paged();
    hart.take_flush();
    hart.enter(Mode::Supervisor);
    let page = |hart: &mut TestHart, address| hart.call(Call::FencePage.number(), address, 0).unwrap();
    page(&mut hart, 0x1234);
    page(&mut hart, 0x1000);
    assert_eq!((hart.take_flush(), hart.take_flush()), (Flush::Page(0x1000), Flush::Nothing));
    page(&mut hart, 0x1000);
    page(&mut hart, 0x2000);
    assert_eq!(hart.take_flush(), Flush::All);
    // A page of a superpage stands for all of it.
    hart.translate(KERNEL + 0x3000, 2, Access::Load).unwrap();
    page(&mut hart, KERNEL);
    assert_eq!(hart.take_flush(), Flush::All);
    page(&mut hart, KERNEL);
    assert_eq!(hart.take_flush(), Flush::Page(KERNEL));
    for (number, value, forget) in [
        (SSTATUS, SUM, Flush::Nothing),
        (SSTATUS, MXR, Flush::All),
        (SSTATUS, MXR, Flush::Nothing),
        (SATP, SV39 | 0xff, Flush::All),
        (SATP, SV39 | 0xff, Flush::Nothing),
        (PMPADDR0, 0, Flush::All),
    ] {
        hart.set(number, value);
        assert_eq!(hart.take_flush(), forget, "{number:#x}");
    }
    let epoch = hart.code_epoch();
    hart.execute(Call::FenceCode).unwrap();
    assert_ne!(hart.code_epoch(), epoch);
}

#[test]
fn cache_blocks_need_any_right_to_data() {
    let mut hart = paged();
    hart.enter(Mode::User);
    let cache_block = Call::CacheBlock.number();
    assert_eq!(hart.call(cache_block, USER_PAGE, 0), Ok(0));
    assert_eq!(hart.call(cache_block, USER_CODE + 5, 0), Err(Exception { cause: 15, value: USER_CODE + 5 }));
}
