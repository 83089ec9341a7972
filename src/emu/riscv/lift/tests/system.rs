//! Privileged instructions: what is legal, and which calls of the hart they are.

use polyvisor_cell_abi::riscv::{SUPERVISOR, USER};

use super::machine::Machine;
use super::*;

/// The calls of a lone instruction with t0 = 0x50 and t1 = 0x60, and how its block ends.
fn calls(context: Context, word: u32) -> (Vec<(u16, u64, u64)>, Terminator) {
    let mut machine = Machine::new();
    machine.vars[5] = 0x50;
    machine.vars[6] = 0x60;
    let block = lift(context, &[word, 0x0001]);
    machine.run(&block);
    (machine.calls, block.end)
}

fn is_legal(context: Context, word: u32) -> bool {
    let (calls, end) = calls(context, word);
    let illegal = calls == [(Call::Illegal.number(), word.into(), 0)];
    assert!(!illegal || end == Terminator::Leave);
    !illegal
}

const RESUME: Terminator = Terminator::Resume { target: PC + 4 };
const GO_ON: Terminator = Terminator::Jump { target: PC + 6 };

#[test]
fn each_is_its_call() {
    let cases = [
        (0x0000_0073, Call::Ecall, 0, 0, Terminator::Leave),
        (0x0010_0073, Call::Ebreak, 0, 0, Terminator::Leave),
        (0x3020_0073, Call::Mret, 0, 0, Terminator::Leave),
        (0x1020_0073, Call::Sret, 0, 0, Terminator::Leave),
        (0x1050_0073, Call::Wfi, 0, 0, RESUME),
        (0x00d0_0073, Call::WaitReservation, 0, 0, RESUME),
        (0x01d0_0073, Call::WaitReservation, 0, 0, RESUME),
        (0x0000_100f, Call::FenceCode, 0, 0, RESUME),
        (0x1200_0073, Call::FenceAll, 0, 0, RESUME),
        (0x1202_8073, Call::FencePage, 0x50, 0, RESUME),
        (0x1260_0073, Call::FenceSpace, 0, 0x60, RESUME),
        (0x1262_8073, Call::FencePageSpace, 0x50, 0x60, RESUME),
        (0x1662_8073, Call::FencePageSpace, 0x50, 0x60, RESUME), // sinval.vma t0, t1
        (0x0002_a00f, Call::CacheBlock, 0x50, 0, GO_ON),         // cbo.inval (t0)
        (0x0012_a00f, Call::CacheBlock, 0x50, 0, GO_ON),         // cbo.clean (t0)
        (0x0022_a00f, Call::CacheBlock, 0x50, 0, GO_ON),         // cbo.flush (t0)
        (0xffff_ffff, Call::Illegal, u64::MAX, 0, Terminator::Leave), // its low half counts
    ];
    for (word, call, a, b, end) in cases {
        assert_eq!(calls(ALL, word), (alloc::vec![(call.number(), a, b)], end), "{word:#010x}");
    }
    // The trap value of a compressed instruction is 16 bits.
    assert_eq!(calls(ALL, 0x8000).0, [(Call::Illegal.number(), 0x8000, 0)]);
}

#[test]
fn legality_depends_on_the_mode_and_what_is_enabled() {
    let none = Enables::empty();
    let context = |mode, enables| Context { mode, enables };
    let governed = [
        (0x1020_0073, Enables::SRET),
        (0x1050_0073, Enables::WFI),
        (0x1200_0073, Enables::SFENCE_VMA),
        (0x1600_0073, Enables::SFENCE_VMA),
        (0x0002_a00f, Enables::CBO_INVAL),
        (0x0012_a00f, Enables::CBO_CLEAN),
        (0x0022_a00f, Enables::CBO_CLEAN),
        (0x0042_a00f, Enables::CBO_ZERO),
    ];
    for (word, enable) in governed {
        assert!(is_legal(context(MACHINE, none), word), "{word:#010x}");
        for mode in [USER, SUPERVISOR] {
            assert!(is_legal(context(mode, enable), word), "{word:#010x} in mode {mode}");
            assert!(!is_legal(context(mode, !enable), word), "{word:#010x} in mode {mode}");
        }
    }
    for (mode, mret, sfence_w_inval) in
        [(USER, false, false), (SUPERVISOR, false, true), (MACHINE, true, true)]
    {
        assert_eq!(is_legal(context(mode, Enables::all()), 0x3020_0073), mret);
        assert_eq!(is_legal(context(mode, none), 0x1800_0073), sfence_w_inval);
        assert_eq!(is_legal(context(mode, none), 0x1810_0073), sfence_w_inval);
    }
}

#[test]
fn csr_instructions_read_and_write_as_their_operands_say() {
    let cases = [
        (0x3042_9373, Call::CsrWrite, 0x50, RESUME), // csrrw t1, mie, t0
        (0x3040_1073, Call::CsrWrite, 0, RESUME),    // csrrw zero, mie, zero
        (0x3042_a373, Call::CsrSet, 0x50, RESUME),
        (0x3042_b373, Call::CsrClear, 0x50, RESUME),
        (0x3040_2373, Call::CsrRead, 0, GO_ON),
        (0x3040_2073, Call::CsrRead, 0, GO_ON), // csrrs zero, mie, zero
        (0x3040_3373, Call::CsrRead, 0, GO_ON),
        (0x304f_d373, Call::CsrWrite, 31, RESUME),
        (0x3040_5373, Call::CsrWrite, 0, RESUME),
        (0x304f_e373, Call::CsrSet, 31, RESUME),
        (0x304f_f373, Call::CsrClear, 31, RESUME),
        (0x3040_6373, Call::CsrRead, 0, GO_ON),
        (0x3040_7373, Call::CsrRead, 0, GO_ON),
    ];
    for (word, call, a, end) in cases {
        let expected = (call.number(), a, u64::from(word));
        assert_eq!(calls(ALL, word), (alloc::vec![expected], end), "{word:#010x}");
        assert_eq!(super::super::super::csr_number(word.into()), 0x304);
    }
    // The result goes to the destination.
    let mut machine = Machine::new();
    machine.run(&lift(ALL, &[0x3042_9373]));
    assert_eq!(machine.vars[6], 0xca11);
}
