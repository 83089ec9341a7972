//! Physical memory protection.

use super::{
    check::Checks,
    trap::{FETCH_ACCESS, LOAD_ACCESS, Mode, STORE_ACCESS, clear, run, set, snippet, write},
};

/// mstatus.MPRV.
const MPRV: u64 = 1 << 17;
/// What entries say.
const R: u64 = 1;
const W: u64 = 2;
const X: u64 = 4;
const TOR: u64 = 1 << 3;
const NA4: u64 = 2 << 3;
const NAPOT: u64 = 3 << 3;

#[repr(C, align(4096))]
struct Page([u32; 1024]);
static mut PAGE: Page = Page([0; 1024]);

/// Lets supervisor and user mode reach everything, by the last of 16 entries.
pub fn open() {
    write!("pmpaddr15", u64::MAX);
    write!("pmpcfg2", (NAPOT | R | W | X) << 56);
}

/// Checks it.
pub fn check(checks: &mut Checks) {
    open();
    // The page begins with an ECALL.
    // SAFETY: nobody else uses it.
    unsafe { (&raw mut PAGE).cast::<u32>().write_volatile(0x73) };
    // SAFETY: it orders instruction fetches behind stores.
    unsafe { core::arch::asm!("fence.i") };
    let page = (&raw const PAGE).addr() as u64;
    for permissions in [0, R, R | W, R | X, R | W | X, X] {
        write!("pmpaddr0", page >> 2 | 0x1ff);
        write!("pmpcfg0", NAPOT | permissions);
        probe(checks, "NAPOT", page, permissions);
    }
    write!("pmpaddr0", page >> 2);
    write!("pmpaddr1", (page + 4096) >> 2);
    write!("pmpcfg0", (TOR | R) << 8);
    probe(checks, "TOR", page, R);
    write!("pmpcfg0", 0_u64);
    probe(checks, "off", page, R | W | X);
    smallest(checks, page);
}

/// Accesses the page from supervisor mode, and by MPRV.
fn probe(checks: &mut Checks, name: &str, page: u64, permissions: u64) {
    let call = Mode::Supervisor.call();
    let load = run(Mode::Supervisor, snippet!("lw a1, 8(a0)"), [page]);
    let want = if permissions & R != 0 { call } else { LOAD_ACCESS };
    checks.equal(format_args!("{name} {permissions:#b}: load"), load.cause, want);
    if want != call {
        checks.equal(format_args!("{name} {permissions:#b}: tval"), load.value, page + 8);
    }
    let store = run(Mode::Supervisor, snippet!("sw a1, 8(a0)"), [page, 1]);
    let want = if permissions & W != 0 { call } else { STORE_ACCESS };
    checks.equal(format_args!("{name} {permissions:#b}: store"), store.cause, want);
    let fetch = run(Mode::Supervisor, snippet!("jr a0"), [page]);
    let want = if permissions & X != 0 { call } else { FETCH_ACCESS };
    checks.equal(format_args!("{name} {permissions:#b}: fetch"), fetch.cause, want);
    // Machine mode is not bound, unless it acts for another.
    let machine = run(Mode::Machine, snippet!("sw a1, 8(a0)"), [page, 1]);
    checks.equal(format_args!("{name} {permissions:#b}: store from M"), machine.cause, Mode::Machine.call());
    let code =
        snippet!("li t0, 3 << 11", "csrc mstatus, t0", "li t0, 1 << 17", "csrs mstatus, t0", "lw a1, 8(a0)");
    let acting = run(Mode::Machine, code, [page]);
    clear!("mstatus", MPRV);
    let want = if permissions & R != 0 { Mode::Machine.call() } else { LOAD_ACCESS };
    checks.equal(format_args!("{name} {permissions:#b}: load from M for U"), acting.cause, want);
    set!("mstatus", 3_u64 << 11);
}

/// An entry of four bytes; an access that it matches only in part fails.
fn smallest(checks: &mut Checks, page: u64) {
    write!("pmpaddr0", (page + 16) >> 2);
    write!("pmpcfg0", NA4 | R);
    let store = |offset| run(Mode::User, snippet!("sw a1, 0(a0)"), [page + offset, 1]).cause;
    checks.equal("NA4: before", store(12), Mode::User.call());
    checks.equal("NA4: in", store(16), STORE_ACCESS);
    checks.equal("NA4: behind", store(20), Mode::User.call());
    let load = run(Mode::User, snippet!("ld a1, 0(a0)"), [page + 16]);
    checks.equal("NA4: a load of eight bytes", load.cause, LOAD_ACCESS);
    write!("pmpcfg0", 0_u64);
}
