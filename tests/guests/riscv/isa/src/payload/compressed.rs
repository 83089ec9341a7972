//! C: each compressed instruction.

use super::{
    check::Checks,
    trap::{BREAKPOINT, ILLEGAL, Mode, run, snippet},
};

/// Runs compressed code; a0 is what it is about.
macro_rules! compressed {
    ($checks:expr, $name:literal, [$($argument:expr),*], [$($line:literal),*], $want:expr) => {{
        let code = snippet!(".option rvc", $($line,)* ".option norvc");
        let trap = run(Mode::Machine, code, [$($argument),*]);
        $checks.equal(concat!($name, ": cause"), trap.cause, Mode::Machine.call());
        $checks.equal($name, trap.a[0], $want);
    }};
}

/// Checks them all.
pub fn check(checks: &mut Checks) {
    computation(checks);
    memory(checks);
    control(checks);
    traps(checks);
}

fn computation(checks: &mut Checks) {
    compressed!(checks, "c.li", [0], ["c.li a0, -32"], -32_i64 as u64);
    compressed!(checks, "c.lui", [0], ["c.lui a0, 0xfffe0"], 0xffff_ffff_fffe_0000);
    compressed!(checks, "c.addi", [40], ["c.addi a0, -32"], 8);
    compressed!(checks, "c.addiw", [0x7fff_ffff], ["c.addiw a0, 1"], 0xffff_ffff_8000_0000);
    compressed!(checks, "c.mv", [1, 2], ["c.mv a0, a1"], 2);
    compressed!(checks, "c.add", [1, 2], ["c.add a0, a1"], 3);
    compressed!(checks, "c.sub", [1, 2], ["c.sub a0, a1"], u64::MAX);
    compressed!(checks, "c.and", [6, 3], ["c.and a0, a1"], 2);
    compressed!(checks, "c.or", [6, 3], ["c.or a0, a1"], 7);
    compressed!(checks, "c.xor", [6, 3], ["c.xor a0, a1"], 5);
    compressed!(checks, "c.addw", [0x7fff_ffff, 1], ["c.addw a0, a1"], 0xffff_ffff_8000_0000);
    compressed!(checks, "c.subw", [0x1_0000_0000, 1], ["c.subw a0, a1"], u64::MAX);
    compressed!(checks, "c.andi", [0xff], ["c.andi a0, -16"], 0xf0);
    compressed!(checks, "c.slli", [3], ["c.slli a0, 62"], 3 << 62);
    compressed!(checks, "c.srli", [u64::MAX], ["c.srli a0, 62"], 3);
    compressed!(checks, "c.srai", [1 << 63], ["c.srai a0, 62"], -2_i64 as u64);
    compressed!(checks, "c.nop", [1], ["c.nop"], 1);
    // The stack pointer comes back from the frame.
    compressed!(
        checks,
        "c.addi16sp, c.addi4spn",
        [0],
        ["mv a1, sp", "c.addi16sp sp, -512", "c.addi4spn a0, sp, 1020", "sub a0, a0, a1"],
        508
    );
}

fn memory(checks: &mut Checks) {
    let memory = [0_u64, 0x8000_0000_8000_0001, 0, 0];
    let at = (&raw const memory).addr() as u64;
    compressed!(checks, "c.lw", [at], ["c.lw a0, 8(a0)"], 0xffff_ffff_8000_0001);
    compressed!(checks, "c.ld", [at], ["c.ld a0, 8(a0)"], 0x8000_0000_8000_0001);
    compressed!(checks, "c.sw", [at, u64::MAX], ["c.sw a1, 16(a0)", "ld a0, 16(a0)"], 0xffff_ffff);
    compressed!(checks, "c.sd", [at, u64::MAX], ["c.sd a1, 24(a0)", "ld a0, 24(a0)"], u64::MAX);
    compressed!(checks, "c.fld", [at], ["c.fld fa0, 8(a0)", "fmv.x.d a0, fa0"], 0x8000_0000_8000_0001);
    compressed!(checks, "c.fsd", [at, 5], ["fmv.d.x fa0, a1", "c.fsd fa0, 16(a0)", "ld a0, 16(a0)"], 5);
    compressed!(
        checks,
        "c.lwsp, c.swsp",
        [0x9000_0000],
        ["addi sp, sp, -256", "c.swsp a0, 252(sp)", "c.lwsp a0, 252(sp)"],
        0xffff_ffff_9000_0000
    );
    compressed!(
        checks,
        "c.ldsp, c.sdsp",
        [0x9000_0000],
        ["addi sp, sp, -512", "c.sdsp a0, 504(sp)", "c.ldsp a0, 504(sp)"],
        0x9000_0000
    );
    compressed!(
        checks,
        "c.fldsp, c.fsdsp",
        [77],
        [
            "addi sp, sp, -512",
            "fmv.d.x fa0, a0",
            "c.fsdsp fa0, 504(sp)",
            "c.fldsp fa1, 504(sp)",
            "fmv.x.d a0, fa1"
        ],
        77
    );
}

fn control(checks: &mut Checks) {
    compressed!(checks, "c.j", [1], ["c.j 9f", "c.li a0, 0", "9:"], 1);
    compressed!(checks, "c.beqz, taken", [0], ["c.beqz a0, 9f", "c.li a0, 2", "9:"], 0);
    compressed!(checks, "c.beqz, not taken", [1], ["c.beqz a0, 9f", "c.li a0, 2", "9:"], 2);
    compressed!(checks, "c.bnez, taken", [1], ["c.bnez a0, 9f", "c.li a0, 2", "9:"], 1);
    compressed!(checks, "c.bnez, not taken", [0], ["c.bnez a0, 9f", "c.li a0, 2", "9:"], 2);
    compressed!(checks, "c.jr", [0], ["la a1, 9f", "c.jr a1", "c.li a0, 2", "9:"], 0);
    compressed!(
        checks,
        "c.jalr",
        [0],
        ["la a1, 9f", "c.jalr a1", "8: c.li a0, 2", "9: la a1, 8b", "sub a0, ra, a1"],
        0
    );
    // An instruction of four bytes need not begin at a multiple of four.
    compressed!(
        checks,
        "a mix of lengths",
        [1],
        ["c.nop", "lui a0, 5", "c.addi a0, 1", "addi a0, a0, 2"],
        0x5003
    );
}

fn traps(checks: &mut Checks) {
    let ebreak =
        run(Mode::Machine, snippet!(".option rvc", "c.nop", "c.ebreak", "c.nop", ".option norvc"), []);
    checks.equal("c.ebreak: cause", ebreak.cause, BREAKPOINT);
    checks.equal("c.ebreak: pc", ebreak.offset, 2);
    let cases = [
        ("all zeros", snippet!(".2byte 0, 1"), 0),
        ("c.addi4spn without offset", snippet!(".2byte 0x0004, 1"), 0x0004),
        ("c.lwsp to x0", snippet!(".2byte 0x4002, 1"), 0x4002),
        ("c.ldsp to x0", snippet!(".2byte 0x6002, 1"), 0x6002),
        ("c.jr to x0", snippet!(".2byte 0x8002, 1"), 0x8002),
        ("c.addiw to x0", snippet!(".2byte 0x2001, 1"), 0x2001),
        ("c.addi16sp without offset", snippet!(".2byte 0x6101, 1"), 0x6101),
        ("a reserved encoding", snippet!(".2byte 0x8000, 1"), 0x8000),
    ];
    for (name, code, bits) in cases {
        let trap = run(Mode::Machine, code, []);
        checks.equal(format_args!("{name}: cause"), trap.cause, ILLEGAL);
        checks.equal(format_args!("{name}: tval"), trap.value, bits);
        checks.equal(format_args!("{name}: pc"), trap.offset, 0);
    }
}
