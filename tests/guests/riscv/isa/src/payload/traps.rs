//! Exceptions of one mode, and what mtval says of them.

use super::{
    check::Checks,
    trap::{BREAKPOINT, FETCH_ACCESS, ILLEGAL, LOAD_ACCESS, Mode, STORE_ACCESS, Trap, run, snippet},
};

/// Where there is nothing.
const NOTHING: u64 = 0x10;
/// mstatus.TVM, TW and TSR.
const TVM: u64 = 1 << 20;
const TW: u64 = 1 << 21;
const TSR: u64 = 1 << 22;

fn expect(checks: &mut Checks, name: &str, trap: &Trap, cause: u64, offset: u64, value: u64) {
    checks.equal(format_args!("{name}: cause"), trap.cause, cause);
    checks.equal(format_args!("{name}: pc"), trap.offset, offset);
    checks.equal(format_args!("{name}: tval"), trap.value, value);
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    calls(checks);
    illegal(checks);
    privileged(checks);
    machine_return(checks);
    nowhere(checks);
    precise(checks);
}

fn calls(checks: &mut Checks) {
    for (name, mode) in
        [("ecall from U", Mode::User), ("ecall from S", Mode::Supervisor), ("ecall from M", Mode::Machine)]
    {
        let trap = run(mode, snippet!("nop"), []);
        expect(checks, name, &trap, mode.call(), 4, 0);
        checks.equal(format_args!("{name}: mstatus.MPP"), trap.status >> 11 & 3, mode as u64);
        checks.equal(format_args!("{name}: mstatus.MIE"), trap.status >> 3 & 1, 0);
    }
    let code = snippet!("nop", "ebreak");
    let trap = run(Mode::User, code, []);
    checks.equal("ebreak: cause", trap.cause, BREAKPOINT);
    checks.equal("ebreak: pc", trap.offset, 4);
    // Zero, or the address.
    checks.equal("ebreak: tval", u64::from([0, code + 4].contains(&trap.value)), 1);
}

fn illegal(checks: &mut Checks) {
    let cases = [
        ("all ones", snippet!(".4byte 0xffffffff"), 0xffff_ffff),
        ("an opcode that is not used", snippet!(".4byte 0x0000006b"), 0x6b),
        ("a load of no width", snippet!(".4byte 0x00007003"), 0x7003),
        ("a branch on no condition", snippet!(".4byte 0x00002063"), 0x2063),
        ("a jalr with a function", snippet!(".4byte 0x00001067"), 0x1067),
        ("a shift by 64 of a word", snippet!(".4byte 0x0200151b"), 0x0200_151b),
        ("an AMO of a reserved kind", snippet!(".4byte 0x2800202f"), 0x2800_202f),
        ("a reserved rounding mode", snippet!(".4byte 0x02005053"), 0x0200_5053),
        ("a float format that is not there", snippet!(".4byte 0x06000053"), 0x0600_0053),
    ];
    for (name, code, bits) in cases {
        expect(checks, name, &run(Mode::User, code, []), ILLEGAL, 0, bits);
    }
    let dynamic = run(Mode::Machine, snippet!("fsrmi 5", "fadd.d ft0, ft0, ft0"), []);
    expect(checks, "a reserved dynamic rounding mode", &dynamic, ILLEGAL, 4, 0x0200_7053);
    run(Mode::Machine, snippet!("fsrmi 0"), []);
}

fn privileged(checks: &mut Checks) {
    let cases = [
        ("sret from U", Mode::User, 0, snippet!("sret"), 0x1020_0073),
        ("sret from S with TSR", Mode::Supervisor, TSR, snippet!("sret"), 0x1020_0073),
        ("sfence.vma from U", Mode::User, 0, snippet!("sfence.vma"), 0x1200_0073),
        ("sfence.vma from S with TVM", Mode::Supervisor, TVM, snippet!("sfence.vma"), 0x1200_0073),
        ("satp from S with TVM", Mode::Supervisor, TVM, snippet!("csrr a0, satp"), 0x1800_2573),
        ("wfi from S with TW", Mode::Supervisor, TW, snippet!("wfi"), 0x1050_0073),
    ];
    for (name, mode, status, code, bits) in cases {
        super::trap::set!("mstatus", status);
        expect(checks, name, &run(mode, code, []), ILLEGAL, 0, bits);
        super::trap::clear!("mstatus", status);
    }
}

/// QEMU's mtval for MRET is that of an instruction before.
fn machine_return(checks: &mut Checks) {
    for mode in [Mode::User, Mode::Supervisor] {
        let trap = run(mode, snippet!("mret"), []);
        checks.equal("mret of a lower mode: cause", trap.cause, ILLEGAL);
        checks.equal("mret of a lower mode: pc", trap.offset, 0);
    }
}

/// Accesses where there is nothing.
fn nowhere(checks: &mut Checks) {
    let at = [NOTHING, 7];
    expect(checks, "a load", &run(Mode::Machine, snippet!("ld a1, 8(a0)"), at), LOAD_ACCESS, 0, NOTHING + 8);
    expect(
        checks,
        "a store",
        &run(Mode::Machine, snippet!("sb a1, -1(a0)"), at),
        STORE_ACCESS,
        0,
        NOTHING - 1,
    );
    expect(checks, "an lr", &run(Mode::Machine, snippet!("lr.w a1, (a0)"), at), LOAD_ACCESS, 0, NOTHING);
    expect(
        checks,
        "an AMO",
        &run(Mode::Machine, snippet!("amoadd.d a1, a1, (a0)"), at),
        STORE_ACCESS,
        0,
        NOTHING,
    );
    expect(
        checks,
        "a float load",
        &run(Mode::Machine, snippet!("flw ft0, 0(a0)"), at),
        LOAD_ACCESS,
        0,
        NOTHING,
    );
    let code = snippet!("jr a0");
    let fetch = run(Mode::Machine, code, at);
    expect(checks, "a fetch", &fetch, FETCH_ACCESS, NOTHING.wrapping_sub(code), NOTHING);
}

/// An instruction that traps has no effect, and those behind it none either.
fn precise(checks: &mut Checks) {
    let trap = run(Mode::Machine, snippet!("addi a1, a1, 1", "ld a0, 0(a0)", "addi a1, a1, 1"), [NOTHING, 0]);
    checks.equal("a load that traps leaves its register", trap.a[0], NOTHING);
    checks.equal("what is before it has happened, what is behind it has not", trap.a[1], 1);
}
