//! Translation with all checks.

use super::*;
use crate::interp::{CHUNK, Flush, Translation};
use crate::memory::Access;
use crate::riscv::csr::number::*;
use crate::riscv::words::RESERVED_ADDRESS;

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
    let page = Translation {
        address: RAM + 0x8008,
        load: true,
        store: true,
        fetch: false,
        user: true,
        global: false,
        level: 0,
        whole_page: false,
        whole_chunk: false,
    };
    assert_eq!(data, page);
    let code = hart.translate(USER_PAGE, 2, Access::Fetch).unwrap();
    let same = Translation {
        address: USER_PAGE,
        load: false,
        store: false,
        fetch: true,
        user: false,
        global: false,
        level: 0,
        whole_page: true,
        whole_chunk: true,
    };
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
    let code = hart.translate(USER_CODE, 2, Access::Fetch).unwrap();
    assert!(code.whole_page && !code.whole_chunk);
    // Of a large page, what it does not cut.
    hart.enter(Mode::Supervisor);
    for (address, whole_chunk) in [(KERNEL, false), (KERNEL + CHUNK, true)] {
        let data = hart.translate(address, 8, Access::Store).unwrap();
        assert!(data.whole_page && data.whole_chunk == whole_chunk, "{address:#x}");
    }
    hart.enter(Mode::User);
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
    assert_eq!((hart.take_flush(), hart.take_flush()), (Flush::page(0x1000, None), Flush::Nothing));
    page(&mut hart, 0x1000);
    page(&mut hart, 0x2000);
    assert_eq!(hart.take_flush(), Flush::All);
    hart.call(Call::FencePageSpace.number(), 0x1234, 0xa_0003).unwrap();
    assert_eq!(hart.take_flush(), Flush::page(0x1000, Some(3)));
    hart.call(Call::FenceSpace.number(), 0, 0xa_0003).unwrap();
    assert_eq!(hart.take_flush(), Flush::Space(3));
    hart.execute(Call::FenceAll).unwrap();
    assert_eq!(hart.take_flush(), Flush::All);
    for (number, value, forget) in [
        (SSTATUS, SUM, Flush::Nothing),
        (SSTATUS, MXR, Flush::All),
        (SSTATUS, MXR, Flush::Nothing),
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
fn pages_tell_whose_they_are_and_how_large() {
    let mut hart = paged();
    hart.poke(TABLE + 0x2008, (RAM + 0x8000) >> 12 << 10 | 0xff);
    let mut of = |mode, address| {
        hart.enter(mode);
        let page = hart.translate(address, 2, Access::Fetch).unwrap();
        (page.user, page.global, page.level)
    };
    assert_eq!(of(Mode::User, USER_PAGE), (true, true, 0));
    assert_eq!(of(Mode::User, USER_CODE), (true, false, 0));
    assert_eq!(of(Mode::Supervisor, KERNEL), (false, false, 1));
    assert_eq!(of(Mode::Machine, KERNEL), (false, false, 0));
}

#[test]
fn address_spaces_are_those_of_the_mode_that_accesses() {
    let mut hart = paged();
    let satp = SV39 | TABLE >> 12;
    let mut of = |mode, status, satp| {
        hart.enter(Mode::Machine);
        hart.set(MSTATUS, status);
        hart.set(SATP, satp);
        hart.enter(mode);
        (hart.space(), hart.code_space())
    };
    let user = of(Mode::User, 0, satp);
    assert_eq!(user.0, user.1);
    assert_eq!(of(Mode::Supervisor, SUM, satp), user);
    assert_ne!(of(Mode::User, 0, satp | 1 << 44).0, user.0);
    let machine = of(Mode::Machine, 0, satp);
    // Code of machine mode is told from others by the context.
    assert_eq!((machine.0 == user.0, machine.1), (false, user.1));
    assert_eq!(of(Mode::Machine, MPRV, satp), user);
    // Without translation all are the same, whatever else is in satp.
    assert_eq!(of(Mode::User, 0, 1 << 44), (machine.0, machine.0));
}

#[test]
fn a_reservation_ends_where_its_address_may_mean_something_else() {
    let mut hart = paged();
    hart.enter(Mode::Supervisor);
    let mut keeps = |call: Call, number, value| {
        hart.words[RESERVED_ADDRESS] = KERNEL | 3;
        hart.call(call.number(), value, word(number)).unwrap();
        hart.words[RESERVED_ADDRESS] != u64::MAX
    };
    let mut keeps_written = |number, value| keeps(Call::CsrWrite, number, value);
    assert!(keeps_written(SSTATUS, 3 << 13) && keeps_written(FCSR, 1));
    assert!(!keeps_written(SSTATUS, SUM) && keeps_written(SSTATUS, SUM) && !keeps_written(SSTATUS, MXR));
    assert!(!keeps_written(SATP, SV39 | 1 << 44 | TABLE >> 12));
    assert!(keeps(Call::FenceCode, 0, 0) && !keeps(Call::FenceAll, 0, 0) && !keeps(Call::Sret, 0, 0));
}

#[test]
fn cache_blocks_need_any_right_to_data() {
    let mut hart = paged();
    hart.enter(Mode::User);
    let cache_block = Call::CacheBlock.number();
    assert_eq!(hart.call(cache_block, USER_PAGE, 0), Ok(0));
    assert_eq!(hart.call(cache_block, USER_CODE + 5, 0), Err(Exception { cause: 15, value: USER_CODE + 5 }));
}
