//! Control and status registers.

use super::{
    check::Checks,
    trap::{ILLEGAL, Mode, clear, read, run, set, snippet, write},
};

/// mstatus.FS and SD.
const FS: u64 = 3 << 13;
const SD: u64 = 1 << 63;

/// Checks them all.
pub fn check(checks: &mut Checks) {
    instructions(checks);
    identity(checks);
    fields(checks);
    refused(checks);
    counters(checks);
    floating_point_state(checks);
}

fn instructions(checks: &mut Checks) {
    let trap = run(
        Mode::Machine,
        snippet!(
            "csrw sscratch, a0",
            "csrrw a0, sscratch, a1",
            "csrrs a1, sscratch, a2",
            "csrrc a2, sscratch, a3",
            "csrrwi a3, sscratch, 31",
            "csrrsi a4, sscratch, 8",
            "csrrci a5, sscratch, 9",
            "csrr a6, sscratch",
            "csrrwi zero, sscratch, 5",
            "csrr a7, sscratch",
        ),
        [0xaaaa, 0xff00, 0x00f0, 0xf000],
    );
    checks.equal("csrrw", trap.a[0], 0xaaaa);
    checks.equal("csrrs", trap.a[1], 0xff00);
    checks.equal("csrrc", trap.a[2], 0xfff0);
    checks.equal("csrrwi", trap.a[3], 0x0ff0);
    checks.equal("csrrsi", trap.a[4], 31);
    checks.equal("csrrci", trap.a[5], 31);
    checks.equal("what they leave", trap.a[6], 22);
    checks.equal("csrrwi to x0", trap.a[7], 5);
}

fn identity(checks: &mut Checks) {
    let misa = read!("misa");
    checks.equal("misa.MXL", misa >> 62, 2);
    for letter in *b"IMAFDCSU" {
        checks.equal(format_args!("misa.{}", char::from(letter)), misa >> (letter - b'A') & 1, 1);
    }
    checks.equal("mhartid", read!("mhartid"), 0);
    checks.equal("mstatus.UXL, SXL", read!("mstatus") >> 32 & 0xf, 0b1010);
}

/// Fields that hold only what they may.
fn fields(checks: &mut Checks) {
    let old = write!("sepc", 0x8000_0002_u64);
    checks.equal("sepc", read!("sepc"), 0x8000_0002);
    write!("sepc", old);
    // sstatus is a view of mstatus.
    set!("sstatus", 1_u64 << 18);
    checks.equal("sstatus.SUM sets mstatus.SUM", read!("mstatus") >> 18 & 1, 1);
    clear!("mstatus", 1_u64 << 18);
    checks.equal("mstatus.SUM clears sstatus.SUM", read!("sstatus") >> 18 & 1, 0);
    checks.equal("sstatus hides MPP", read!("sstatus") >> 11 & 3, 0);
    // sie is what mideleg shows of mie.
    write!("mideleg", 0x222_u64);
    write!("mie", 0xaaa_u64);
    checks.equal("sie shows what is delegated", read!("sie"), 0x222);
    write!("sie", 0_u64);
    checks.equal("sie changes mie", read!("mie"), 0x888);
    write!("mie", 0_u64);
    write!("mideleg", 0_u64);
    // A mode that does not exist is not taken.
    write!("satp", 5_u64 << 60);
    checks.equal("satp: a reserved mode", read!("satp"), 0);
}

fn refused(checks: &mut Checks) {
    let cases = [
        ("a write to a read-only CSR", Mode::Machine, snippet!("csrw mhartid, a0"), 0xf145_1073),
        ("a CSR that does not exist", Mode::Machine, snippet!("csrr a0, 0x5ff"), 0x5ff0_2573),
        ("mstatus from S", Mode::Supervisor, snippet!("csrr a0, mstatus"), 0x3000_2573),
        ("mscratch from U", Mode::User, snippet!("csrr a0, mscratch"), 0x3400_2573),
        ("sscratch from U", Mode::User, snippet!("csrw sscratch, a0"), 0x1405_1073),
        ("a write to cycle", Mode::Machine, snippet!("csrrsi a0, cycle, 1"), 0xc000_e573),
    ];
    for (name, mode, code, bits) in cases {
        let trap = run(mode, code, []);
        checks.equal(format_args!("{name}: cause"), trap.cause, ILLEGAL);
        checks.equal(format_args!("{name}: tval"), trap.value, bits);
        checks.equal(format_args!("{name}: pc"), trap.offset, 0);
    }
    let trap = run(Mode::Machine, snippet!("csrrs a0, mhartid, zero", "csrrci a0, mhartid, 0"), []);
    checks.equal("reading a read-only CSR", trap.cause, Mode::Machine.call());
}

fn counters(checks: &mut Checks) {
    let (cycle, retired, time) = (read!("mcycle"), read!("minstret"), read!("time"));
    checks.equal("time goes on", u64::from((0..1_000_000).any(|_| read!("time") > time)), 1);
    checks.equal("mcycle goes on", u64::from(read!("mcycle") > cycle), 1);
    checks.equal("minstret goes on", u64::from(read!("minstret") > retired), 1);
    // Lower modes see what those above them let through.
    let cases = [
        ("time from S", Mode::Supervisor, 0_u64, 0_u64, false),
        ("time from S", Mode::Supervisor, 2, 0, true),
        ("time from U", Mode::User, 2, 0, false),
        ("time from U", Mode::User, 0, 2, false),
        ("time from U", Mode::User, 2, 2, true),
    ];
    let before = (read!("mcounteren"), read!("scounteren"));
    for (name, mode, machine, supervisor, works) in cases {
        write!("mcounteren", machine);
        write!("scounteren", supervisor);
        let want = if works { mode.call() } else { ILLEGAL };
        let name = format_args!("{name}, mcounteren {machine}, scounteren {supervisor}");
        checks.equal(name, run(mode, snippet!("rdtime a0"), []).cause, want);
    }
    write!("mcounteren", before.0);
    write!("scounteren", before.1);
}

fn floating_point_state(checks: &mut Checks) {
    let trap = run(
        Mode::Machine,
        snippet!(
            "fscsr a0, a1",
            "frcsr a2",
            "frrm a3",
            "frflags a4",
            "fsrmi a5, 1",
            "fsflagsi a6, 2",
            "frcsr a7",
            "fscsr zero"
        ),
        [0, 0xff],
    );
    checks.equal("fcsr", trap.a[2], 0xff);
    checks.equal("frm", trap.a[3], 7);
    checks.equal("fflags", trap.a[4], 0x1f);
    checks.equal("fsrm returns the old one", trap.a[5], 7);
    checks.equal("fsflags returns the old ones", trap.a[6], 0x1f);
    checks.equal("fcsr is made of both", trap.a[7], 0x22);
    clear!("mstatus", FS);
    let cases = [
        ("fadd.d", snippet!("fadd.d ft0, ft0, ft0"), 0x0200_7053),
        ("fld", snippet!("fld ft0, 0(sp)"), 0x0001_3007),
        ("fmv.x.w", snippet!("fmv.x.w a0, ft0"), 0xe000_0553),
        ("frflags", snippet!("frflags a0"), 0x0010_2573),
    ];
    for (name, code, bits) in cases {
        let trap = run(Mode::Machine, code, []);
        checks.equal(format_args!("{name} with FS off: cause"), trap.cause, ILLEGAL);
        checks.equal(format_args!("{name} with FS off: tval"), trap.value, bits);
    }
    // Initial; then a write makes it dirty.
    set!("mstatus", 1_u64 << 13);
    let clean = run(Mode::Machine, snippet!("fmv.x.d a0, ft0"), []);
    checks.equal("FS after a read", clean.status & (FS | SD), 1 << 13);
    let dirty = run(Mode::Machine, snippet!("fmv.d.x ft0, a0"), []);
    checks.equal("FS after a write", dirty.status & (FS | SD), FS | SD);
}
