use super::*;

const DATA: u64 = 0x2000;
const GUEST: u64 = 0x4000;

/// 64 bytes of the program's own, and 64 of a guest's, which count from 0x80 on.
fn memory() -> Regions {
    Regions::default().with(DATA, vec![0; 64], false).with(GUEST, (0x80..0xc0).collect(), true)
}

fn simulator() -> Simulator {
    let mut simulator = Simulator::new();
    (simulator.x[0], simulator.x[1]) = (GUEST, DATA);
    simulator
}

#[test]
fn a_loop_calls_a_function() {
    let mut simulator = Simulator::new();
    let stop = simulator.execute(&mut Regions::default(), |a| {
        let (top, function) = (a.label(), a.label());
        a.mov_imm(r(0), 10);
        a.bind(top);
        a.bl(function);
        assert!(a.alu_imm(Alu::Subs, Bits::W64, r(0), r(0), 1));
        a.b_cond(Cond::Ne, top);
        a.hvc(3);
        a.bind(function);
        a.alu(Alu::Add, Bits::W64, r(1), r(1), r(0));
        a.ret(r(30));
    });
    assert_eq!((stop, simulator.x[1], simulator.executed), (Stop::HypervisorCall(3), 55, 51));
}

#[test]
fn branches_test_registers() {
    let mut simulator = Simulator::new();
    simulator.x[..3].copy_from_slice(&[1 << 32, 1 << 40, 0x8]);
    let stop = simulator.execute(&mut Regions::default(), |a| {
        let wrong = a.label();
        for taken in [
            (|a: &mut Assembler, l| a.cbz(Bits::W32, r(0), l)) as fn(&mut Assembler, Label),
            |a, l| a.cbnz(Bits::W64, r(0), l),
            |a, l| a.tbnz(r(1), 40, l),
            |a, l| a.tbz(r(2), 2, l),
            |a, l| {
                a.adr(r(5), l);
                a.br(r(5));
            },
        ] {
            let next = a.label();
            taken(a, next);
            a.brk(1);
            a.bind(next);
        }
        a.cbz(Bits::W64, r(0), wrong);
        a.cbnz(Bits::W32, r(0), wrong);
        a.tbz(r(1), 40, wrong);
        a.tbnz(r(2), 2, wrong);
        a.brk(0);
        a.bind(wrong);
        a.brk(2);
    });
    assert_eq!(stop, Stop::Break(0));
}

#[test]
fn the_machine_stops_where_code_ends_and_where_it_is_none() {
    let mut simulator = Simulator::new();
    assert_eq!(simulator.execute(&mut Regions::default(), |a| a.nop()), Stop::Left);
    assert_eq!(simulator.pc, CODE + 4);
    assert_eq!(simulator.execute(&mut Regions::default(), |a| a.word(0)), Stop::Undefined(0));
    let endless = |a: &mut Assembler| {
        let top = a.label();
        a.bind(top);
        a.b(top);
    };
    assert_eq!(simulator.execute(&mut Regions::default(), endless), Stop::Limit);
}

#[test]
fn loads_extend() {
    let mut simulator = simulator();
    let stop = simulator.execute(&mut memory(), |a| {
        for (t, size, ext, imm) in [
            (2, Size::Byte, Ext::Zero, 1),
            (3, Size::Half, Ext::SignTo32, 2),
            (4, Size::Word, Ext::SignTo64, 4),
            (5, Size::Double, Ext::Zero, 3),
        ] {
            assert!(a.load(Mode::Normal, size, ext, r(t), r(0), imm));
            assert!(a.load(Mode::Unprivileged, size, ext, r(t + 10), r(0), imm));
        }
        a.mov_imm(r(6), -2i64 as u64);
        assert!(a.alu_imm(Alu::Add, Bits::W64, r(7), r(0), 16));
        a.load_reg(Size::Word, Ext::Zero, r(7), r(7), r(6), Extend::Sxtw, true);
    });
    assert_eq!(stop, Stop::Left);
    let expected = [0x81, 0xffff_8382, 0xffff_ffff_8786_8584, 0x8a89_8887_8685_8483];
    assert_eq!(simulator.x[2..6], expected);
    assert_eq!(simulator.x[12..16], expected);
    assert_eq!(simulator.x[7], 0x8b8a_8988);
}

#[test]
fn a_fault_leaves_everything_as_it_was() {
    for (address, allowed) in [(GUEST + 56, true), (GUEST + 57, false), (DATA, false), (0, false)] {
        for store in [false, true] {
            let mut simulator = simulator();
            simulator.x[2] = address;
            let before = simulator.clone();
            let stop = simulator.execute(&mut memory(), |a| {
                a.nop();
                let encoded = if store {
                    a.store(Mode::Unprivileged, Size::Double, r(2), r(2), 0)
                } else {
                    a.load(Mode::Unprivileged, Size::Double, Ext::Zero, r(2), r(2), 0)
                };
                assert!(encoded);
            });
            if allowed {
                assert_eq!(stop, Stop::Left);
            } else {
                let access = if store { Access::Store } else { Access::Load };
                assert_eq!(stop, Stop::Fault { address, access, unprivileged: true });
                assert_eq!(simulator, Simulator { pc: CODE + 4, executed: 1, ..before });
            }
        }
    }
    let mut simulator = simulator();
    simulator.x[2] = DATA + 56;
    let stop = simulator.execute(&mut memory(), |a| assert!(a.ldp(r(3), r(4), r(2), 0, Index::Post)));
    assert_eq!(stop, Stop::Fault { address: DATA + 64, access: Access::Load, unprivileged: false });
    assert_eq!(simulator.x[2..5], [DATA + 56, 0, 0]);
}

#[test]
fn pairs_move_the_base() {
    let mut simulator = simulator();
    simulator.sp = DATA + 32;
    (simulator.x[2], simulator.x[3]) = (5, 6);
    let mut memory = memory();
    let stop = simulator.execute(&mut memory, |a| {
        assert!(a.stp(r(2), r(3), X::SP, -16, Index::Pre));
        assert!(a.ldp(r(4), r(5), X::SP, 16, Index::Post));
        assert!(a.fldp(V::new(1), V::new(2), r(1), 16, Index::Offset));
        assert!(a.fstp(V::new(2), V::new(1), r(1), 0, Index::Offset));
        assert!(a.fload(F::D, V::new(3), r(1), 8));
        assert!(a.fstore(F::S, V::new(3), r(1), 1));
        assert!(a.load(Mode::Normal, Size::Double, Ext::Zero, r(6), r(1), 0));
    });
    assert_eq!((stop, simulator.sp), (Stop::Left, DATA + 32));
    assert_eq!(simulator.x[4..7], [5, 6, 0x506]);
    assert_eq!(simulator.v[1..4], [5, 6, 5]);
}

#[test]
fn atomics() {
    let cases: [(Rmw, u64, u64); 9] = [
        (Rmw::Add, 2, 0x01),
        (Rmw::Clr, 0x0f, 0xf0),
        (Rmw::Eor, 0x0f, 0xf0),
        (Rmw::Set, 0x100, 0xff),
        (Rmw::Smax, 1, 1),
        (Rmw::Smin, 1, 0xff),
        (Rmw::Umax, 1, 0xff),
        (Rmw::Umin, 1, 1),
        (Rmw::Swp, 7, 7),
    ];
    for (op, operand, expected) in cases {
        let mut simulator = simulator();
        simulator.x[2] = operand;
        let mut memory = memory();
        memory.0[0].bytes[..2].copy_from_slice(&[0xff, 0x33]);
        let rmw = |a: &mut Assembler| a.rmw(op, Size::Byte, Order::AcquireRelease, r(2), r(3), r(1));
        assert_eq!(simulator.execute(&mut memory, rmw), Stop::Left);
        assert_eq!((simulator.x[3], memory.0[0].bytes[0]), (0xff, expected as u8), "{op:?}");
        assert_eq!(memory.0[0].bytes[1], 0x33);
    }
    for (compared, swapped) in [(0x1_8786_8584, true), (0, false)] {
        let mut simulator = simulator();
        (simulator.x[2], simulator.x[3]) = (compared, 9);
        let mut memory = memory();
        let stop = simulator.execute(&mut memory, |a| {
            assert!(a.alu_imm(Alu::Add, Bits::W64, r(0), r(0), 4));
            a.cas(Size::Word, Order::Relaxed, r(2), r(3), r(0));
            a.load_acquire(Size::Word, r(4), r(0));
        });
        assert_eq!(stop, Stop::Left);
        assert_eq!(simulator.x[2], 0x8786_8584);
        assert_eq!(simulator.x[4], if swapped { 9 } else { 0x8786_8584 });
    }
    let mut simulator = simulator();
    simulator.x[1] += 2;
    let misaligned = Stop::Fault { address: DATA + 2, access: Access::Store, unprivileged: false };
    assert_eq!(simulator.execute(&mut memory(), |a| a.store_release(Size::Word, r(2), r(1))), misaligned);
}

#[test]
fn exclusive_stores_need_their_load() {
    for interfere in [false, true] {
        let mut simulator = simulator();
        let mut memory = memory();
        let load = |a: &mut Assembler| a.load_exclusive(Size::Double, true, r(2), r(1));
        let store = |a: &mut Assembler| a.store_exclusive(Size::Double, true, r(4), r(0), r(1));
        assert_eq!(simulator.execute(&mut memory, load), Stop::Left);
        if interfere {
            simulator.monitor = None;
        }
        assert_eq!(simulator.execute(&mut memory, store), Stop::Left);
        assert_eq!(simulator.x[4], u64::from(interfere));
        assert_eq!(simulator.execute(&mut memory, store), Stop::Left);
        assert_eq!(simulator.x[4], 1, "the mark is gone");
        let stored = memory.load(DATA, Size::Double, false);
        assert_eq!(stored, Ok(if interfere { 0 } else { GUEST }));
    }
}

#[test]
fn what_is_unpredictable_stops_the_machine() {
    for write in [
        (|a: &mut Assembler| assert!(a.ldp(r(2), r(2), r(1), 0, Index::Offset))) as fn(&mut Assembler),
        |a| assert!(a.ldp(r(1), r(2), r(1), 0, Index::Post)),
        |a| a.store_exclusive(Size::Word, false, r(2), r(2), r(1)),
        |a| a.store_exclusive(Size::Word, false, r(1), r(2), r(1)),
    ] {
        assert!(matches!(simulator().execute(&mut memory(), write), Stop::Undefined(_)));
    }
}

#[test]
fn read_only_memory_faults_stores() {
    let mut memory = memory();
    memory.0[1].writable = false;
    let stop =
        simulator().execute(&mut memory, |a| assert!(a.store(Mode::Unprivileged, Size::Byte, r(0), r(0), 0)));
    assert_eq!(stop, Stop::Fault { address: GUEST, access: Access::Store, unprivileged: true });
    assert_eq!(memory.store(GUEST, Size::Byte, false, 0), Err(Fault));
}
