//! Interrupts of machine mode: the CLINT's.

use super::{
    check::Checks,
    trap::{INTERRUPT, Mode, clear, read, run, set, snippet, write},
};

/// The CLINT's registers of hart 0.
const MSIP: *mut u32 = 0x200_0000 as *mut u32;
const MTIMECMP: *mut u64 = 0x200_4000 as *mut u64;
const MTIME: *const u64 = 0x200_bff8 as *const u64;
/// In mip and mie.
const SOFTWARE: u64 = 1 << 3;
const TIMER: u64 = 1 << 7;
/// The supervisor's timer, and menvcfg.STCE: it has a compare register.
const SUPERVISOR_TIMER: u64 = 1 << 5;
const STCE: u64 = 1 << 63;
/// mstatus.MPIE, which MRET makes MIE.
const MPIE: u64 = 1 << 7;

fn software(pending: bool) {
    // SAFETY: the CLINT is there on this machine, and does not touch memory.
    unsafe { MSIP.write_volatile(pending.into()) };
}

fn compare(time: u64) {
    // SAFETY: as above.
    unsafe { MTIMECMP.write_volatile(time) };
}

fn time() -> u64 {
    // SAFETY: as above.
    unsafe { MTIME.read_volatile() }
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    compare(u64::MAX);
    pending(checks);
    taken(checks);
    timer(checks);
    supervisor_timer(checks);
    write!("mie", 0_u64);
}

/// Waits for a change of mip.
fn becomes(bits: u64, want: u64) -> u64 {
    u64::from((0..1_000_000).any(|_| read!("mip") & bits == want))
}

fn pending(checks: &mut Checks) {
    software(true);
    checks.equal("MSIP is set by the CLINT", becomes(SOFTWARE, SOFTWARE), 1);
    clear!("mip", SOFTWARE);
    checks.equal("MSIP is not cleared in mip", becomes(SOFTWARE, SOFTWARE), 1);
    software(false);
    checks.equal("MSIP is cleared by the CLINT", becomes(SOFTWARE, 0), 1);
    compare(0);
    checks.equal("MTIP is set when time has come", becomes(TIMER, TIMER), 1);
    compare(u64::MAX);
    checks.equal("MTIP is cleared by a later time", becomes(TIMER, 0), 1);
    let (register, memory, again) = (read!("time"), time(), read!("time"));
    checks.equal("time is mtime", u64::from(register <= memory && memory <= again), 1);
}

/// Code that goes on until it is interrupted.
fn endless() -> u64 {
    snippet!("9: addi a0, a0, 1", "j 9b")
}

fn taken(checks: &mut Checks) {
    software(true);
    becomes(SOFTWARE, SOFTWARE);
    set!("mstatus", MPIE);
    write!("mie", 0_u64);
    checks.equal("not when masked", run(Mode::User, snippet!("nop"), []).cause, Mode::User.call());
    write!("mie", SOFTWARE);
    clear!("mstatus", MPIE);
    checks.equal("not in M without MIE", run(Mode::Machine, snippet!("nop"), []).cause, Mode::Machine.call());
    set!("mstatus", MPIE);
    let trap = run(Mode::Machine, endless(), []);
    checks.equal("in M with MIE: cause", trap.cause, INTERRUPT | 3);
    checks.equal("in M with MIE: at once", trap.offset, 0);
    checks.equal("in M with MIE: mtval", trap.value, 0);
    checks.equal("in M with MIE: MPIE", trap.status & MPIE, MPIE);
    clear!("mstatus", MPIE);
    for (name, mode) in [("in U", Mode::User), ("in S", Mode::Supervisor)] {
        checks.equal(format_args!("{name} always"), run(mode, endless(), []).cause, INTERRUPT | 3);
    }
    // Enabled by an instruction: taken behind it.
    clear!("mstatus", MPIE);
    let trap = run(Mode::Machine, snippet!("nop", "csrsi mstatus, 8", "nop", "nop"), []);
    checks.equal("enabled by csrsi: cause", trap.cause, INTERRUPT | 3);
    checks.equal("enabled by csrsi: pc", trap.offset, 8);
    // Software before timer.
    compare(0);
    becomes(TIMER, TIMER);
    write!("mie", SOFTWARE | TIMER);
    checks.equal("the software interrupt comes first", run(Mode::User, endless(), []).cause, INTERRUPT | 3);
    software(false);
    becomes(SOFTWARE, 0);
    checks.equal("then the timer's", run(Mode::User, endless(), []).cause, INTERRUPT | 7);
    compare(u64::MAX);
}

fn timer(checks: &mut Checks) {
    write!("mie", TIMER);
    for mode in [Mode::User, Mode::Supervisor] {
        let due = time() + 10_000;
        compare(due);
        let trap = run(mode, endless(), []);
        checks.equal("code that does not end is interrupted", trap.cause, INTERRUPT | 7);
        checks.equal("not early", u64::from(time() >= due), 1);
    }
    // WFI goes on when an interrupt is pending, even if it is not taken.
    clear!("mstatus", MPIE);
    let due = time() + 10_000;
    compare(due);
    let trap = run(Mode::Machine, snippet!("8: wfi", "csrr a0, mip", "andi a0, a0, 0x80", "beqz a0, 8b"), []);
    checks.equal("wfi", trap.cause, Mode::Machine.call());
    checks.equal("wfi: not early", u64::from(time() >= due), 1);
    compare(u64::MAX);
}

/// Sstc.
fn supervisor_timer(checks: &mut Checks) {
    set!("menvcfg", STCE);
    set!("mcounteren", 2_u64);
    // stimecmp
    write!("0x14d", u64::MAX);
    checks.equal("STIP is clear", becomes(SUPERVISOR_TIMER, 0), 1);
    write!("mideleg", SUPERVISOR_TIMER);
    write!("mie", SUPERVISOR_TIMER);
    write!("stvec", snippet!("csrr a2, scause", "li a3, -1", "csrw 0x14d, a3", "csrr a4, sip"));
    let trap = run(Mode::User, snippet!("csrr a0, 0x14d"), []);
    checks.equal("stimecmp is not for U", trap.cause, super::trap::ILLEGAL);
    let code = snippet!("rdtime a1", "add a1, a1, a0", "csrw 0x14d, a1", "csrsi sstatus, 2", "9: j 9b");
    let trap = run(Mode::Supervisor, code, [10_000]);
    checks.equal("the supervisor's timer: scause", trap.a[2], INTERRUPT | 5);
    checks.equal("the supervisor's timer: cleared by a later time", trap.a[4] & SUPERVISOR_TIMER, 0);
    clear!("menvcfg", STCE);
    write!("mideleg", 0_u64);
    let trap = run(Mode::Supervisor, snippet!("csrr a0, 0x14d"), []);
    checks.equal("stimecmp without STCE", trap.cause, super::trap::ILLEGAL);
}
