//! Traps that are delegated to supervisor mode, and the way back.

use super::{
    check::Checks,
    trap::{BREAKPOINT, CALL, ILLEGAL, INTERRUPT, Mode, read, run, set, snippet, write},
};

/// Bits of mstatus.
const SIE: u64 = 1 << 1;
const SPIE: u64 = 1 << 5;
const SPP: u64 = 1 << 8;
/// Supervisor software interrupt, in mip, mie and mideleg.
const SSI: u64 = 1 << 1;

/// A handler that says in a2 to a5 what scause, sepc, stval and sstatus are.
fn handler() -> u64 {
    snippet!("csrr a2, scause", "csrr a3, sepc", "csrr a4, stval", "csrr a5, sstatus")
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    write!("stvec", handler());
    exceptions(checks);
    returns(checks);
    interrupts(checks);
}

fn exceptions(checks: &mut Checks) {
    write!("medeleg", 1 << CALL | 1 << ILLEGAL | 1_u64 << BREAKPOINT);
    let user = snippet!("nop");
    let trap = run(Mode::User, user, []);
    checks.equal("a delegated call ends in S", trap.cause, Mode::Supervisor.call());
    checks.equal("a delegated call: scause", trap.a[2], CALL);
    checks.equal("a delegated call: sepc", trap.a[3], user + 4);
    checks.equal("a delegated call: stval", trap.a[4], 0);
    checks.equal("a delegated call: sstatus.SPP", trap.a[5] & SPP, 0);
    let code = snippet!("nop", "csrr a0, mstatus");
    let trap = run(Mode::Supervisor, code, []);
    checks.equal("an illegal instruction of S: scause", trap.a[2], ILLEGAL);
    checks.equal("an illegal instruction of S: sepc", trap.a[3], code + 4);
    checks.equal("an illegal instruction of S: stval", trap.a[4], 0x3000_2573);
    checks.equal("an illegal instruction of S: sstatus.SPP", trap.a[5] & SPP, SPP);
    // Traps do not go to a lower mode.
    checks.equal("ebreak in M", run(Mode::Machine, snippet!("ebreak"), []).cause, BREAKPOINT);
    write!("medeleg", 0_u64);
}

fn returns(checks: &mut Checks) {
    let user = snippet!("addi a0, a0, 1");
    let code = snippet!("csrw sepc, a1", "li t0, 1 << 8", "csrc sstatus, t0", "sret");
    let trap = run(Mode::Supervisor, code, [1, user]);
    checks.equal("sret to U", trap.cause, Mode::User.call());
    checks.equal("sret to U: what ran there", trap.a[0], 2);
    // SPIE becomes SIE; then SPIE is set and SPP clear.
    let code =
        snippet!("csrw sepc, a1", "li t0, 1 << 8 | 1 << 5", "csrs sstatus, t0", "csrci sstatus, 2", "sret");
    let trap = run(Mode::Supervisor, code, [1, user]);
    checks.equal("sret to S", trap.cause, Mode::Supervisor.call());
    checks.equal("sret: sstatus", trap.status & (SIE | SPIE | SPP), SIE | SPIE);
}

fn interrupts(checks: &mut Checks) {
    write!("mideleg", SSI);
    write!("mie", SSI);
    set!("mip", SSI);
    checks.equal("sip.SSIP", read!("sip") & SSI, SSI);
    // Not to machine mode, and not to supervisor mode while it is disabled there.
    super::trap::clear!("mstatus", SIE);
    checks.equal("delegated, in M", run(Mode::Machine, snippet!("nop"), []).cause, Mode::Machine.call());
    let off = run(Mode::Supervisor, snippet!("nop"), []);
    checks.equal("disabled in S", off.a[2], 0);
    let code = snippet!("csrsi sstatus, 2", "nop", "nop", "li a2, 99");
    let on = run(Mode::Supervisor, code, []);
    checks.equal("enabled in S: scause", on.a[2], INTERRUPT | 1);
    checks.equal("enabled in S: sepc", on.a[3], code + 4);
    checks.equal("enabled in S: sstatus", on.a[5] & (SIE | SPIE | SPP), SPIE | SPP);
    // Always to supervisor mode from user mode.
    super::trap::clear!("mstatus", SIE);
    let code = snippet!("nop", "li a2, 99");
    let user = run(Mode::User, code, []);
    checks.equal("in U: scause", user.a[2], INTERRUPT | 1);
    checks.equal("in U: sepc", user.a[3], code);
    // Vectored: the cause times four behind the base.
    let vectors = snippet!("li a7, 10", "j 9f", "nop", "9: csrr a2, scause");
    write!("stvec", vectors | 1);
    let vectored = run(Mode::User, snippet!("li a2, 99"), []);
    checks.equal("vectored: scause", vectored.a[2], INTERRUPT | 1);
    checks.equal("vectored: not at the base", vectored.a[7], 0);
    write!("stvec", handler());
    super::trap::clear!("mip", SSI);
    write!("mie", 0_u64);
    write!("mideleg", 0_u64);
    checks.equal("no longer pending", run(Mode::User, snippet!("nop"), []).cause, Mode::User.call());
}
