//! Accesses to memory: sizes, misalignment, pages, devices, atomics.

use super::toy::{DEVICE, Page, RAM, RESERVATION, ToyGuest};
use crate::interp::{Exception, Flush, Interpreter};
use crate::ir::{AtomicOp, Inst, Order, Value, Var};
use crate::memory::{Physical, Size};

const SIZES: [Size; 4] = [Size::Byte, Size::Half, Size::Word, Size::Double];
/// A variable for addresses, for results, for values.
const ADDRESS: Var = Var(1);
const RESULT: Var = Var(2);
const VALUE: Var = Var(3);
/// Two pages behind each other, of which the second is elsewhere in RAM.
const FIRST: u64 = RAM + 0x10_000;
const SECOND: u64 = FIRST + 0x1000;
const ELSEWHERE: u64 = RAM + 0x20_000;

struct Machine {
    guest: ToyGuest,
    interpreter: Interpreter<ToyGuest>,
    next: u64,
}

impl Machine {
    fn new() -> Self {
        let mut guest = ToyGuest::new();
        guest.map(SECOND, ELSEWHERE);
        Self { guest, interpreter: Interpreter::new(1 << 20), next: RAM + 0x1000 }
    }

    /// Executes an instruction of its own; the exception, if it raises one.
    fn execute(&mut self, inst: Inst, address: u64) -> Option<Exception> {
        self.guest.vars[1] = address;
        self.guest.put(self.next, &[inst], None);
        self.guest.raised.clear();
        self.guest.run(&mut self.interpreter, self.next);
        self.next += 8;
        self.guest.raised.first().map(|raised| raised.0)
    }

    fn load(&mut self, size: Size, signed: bool, address: u64) -> Result<u64, Exception> {
        let inst =
            Inst::Load { size, signed, order: Order::Acquire, dst: RESULT, base: ADDRESS.into(), offset: -5 };
        let exception = self.execute(inst, address.wrapping_add(5));
        exception.map_or(Ok(self.guest.vars[2]), Err)
    }

    fn store(&mut self, size: Size, address: u64, value: u64) -> Result<(), Exception> {
        self.guest.vars[3] = value;
        let inst =
            Inst::Store { size, order: Order::Release, base: ADDRESS.into(), offset: 9, value: VALUE.into() };
        self.execute(inst, address.wrapping_sub(9)).map_or(Ok(()), Err)
    }

    fn byte(&self, address: u64) -> u8 {
        let ram = self.guest.machine.ram();
        ram.read(if address >= SECOND { address - SECOND + ELSEWHERE } else { address }).unwrap()
    }

    fn fill(&self) {
        for at in 0..16 {
            let address = SECOND - 8 + at;
            let physical = if at < 8 { address } else { ELSEWHERE + at - 8 };
            self.guest.machine.ram().write(physical, 0x79 + at as u8).unwrap();
        }
    }
}

fn extend(value: u64, size: Size, signed: bool) -> u64 {
    let shift = 64 - 8 * size.bytes() as u32;
    if signed { ((value << shift) as i64 >> shift) as u64 } else { value << shift >> shift }
}

#[test]
fn loads_of_every_size_and_alignment() {
    let mut machine = Machine::new();
    machine.fill();
    for warm in [false, true] {
        for (size, signed) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            for address in SECOND - 8..=SECOND + 8 - size.bytes() {
                let expected = (0..size.bytes())
                    .rev()
                    .fold(0, |value, at| value << 8 | u64::from(machine.byte(address + at)));
                if !warm {
                    machine.guest.flush = Flush::All;
                }
                let loaded = machine.load(size, signed, address);
                assert_eq!(loaded, Ok(extend(expected, size, signed)), "{size:?} {address:#x}");
            }
        }
    }
}

#[test]
fn stores_of_every_size_and_alignment_touch_only_their_bytes() {
    const VALUE: u64 = 0x1122_3344_5566_7788;
    let mut machine = Machine::new();
    for warm in [false, true] {
        for size in SIZES {
            for address in SECOND - 8..=SECOND + 8 - size.bytes() {
                machine.fill();
                if !warm {
                    machine.guest.flush = Flush::All;
                }
                machine.store(size, address, VALUE).unwrap();
                for at in 0..16 {
                    let here = SECOND - 8 + at;
                    let expected = match here.checked_sub(address) {
                        Some(byte) if byte < size.bytes() => VALUE.to_le_bytes()[byte as usize],
                        _ => 0x79 + at as u8,
                    };
                    assert_eq!(machine.byte(here), expected, "{size:?} {address:#x}");
                }
            }
        }
    }
}

#[test]
fn a_store_on_two_pages_finds_all_faults_first() {
    let mut machine = Machine::new();
    machine.fill();
    let read_only = Page { physical: ELSEWHERE, load: true, store: false, fetch: false };
    machine.guest.pages.insert(SECOND, Some(read_only));
    for _ in 0..2 {
        let fault = machine.store(Size::Double, SECOND - 4, 0);
        assert_eq!(fault, Err(Exception { cause: 12, value: SECOND }));
        assert_eq!(machine.byte(SECOND - 1), 0x80);
        assert_eq!(machine.load(Size::Word, false, SECOND), Ok(0x8483_8281));
    }
    // The first page's fault is told first.
    machine.guest.pages.insert(FIRST, None);
    machine.guest.flush = Flush::page(FIRST, None);
    let fault = machine.store(Size::Double, SECOND - 4, 0);
    assert_eq!(fault, Err(Exception { cause: 12, value: SECOND - 4 }));
    let fault = machine.load(Size::Half, false, SECOND - 1);
    assert_eq!(fault, Err(Exception { cause: 11, value: SECOND - 1 }));
}

#[test]
fn misaligned_accesses_raise_where_the_guest_says_so() {
    let mut machine = Machine::new();
    machine.guest.misaligned = false;
    assert!(machine.load(Size::Double, false, FIRST).is_ok());
    let fault = machine.load(Size::Double, false, FIRST + 1);
    assert_eq!(fault, Err(Exception { cause: 31, value: FIRST + 1 }));
    assert_eq!(machine.store(Size::Half, FIRST + 1, 0), Err(Exception { cause: 32, value: FIRST + 1 }));
    assert!(machine.load(Size::Byte, false, FIRST + 1).is_ok());
}

#[test]
fn devices_get_each_access_in_its_size() {
    let mut machine = Machine::new();
    for _ in 0..2 {
        assert_eq!(machine.load(Size::Half, true, DEVICE), Ok(0xffff_ffff_ffff_8788));
        machine.store(Size::Word, DEVICE, 0x12345).unwrap();
    }
    let accesses = [(DEVICE, Size::Half, None), (DEVICE, Size::Word, Some(0x12345))].repeat(2);
    assert_eq!(*machine.guest.machine.device.borrow(), accesses);
    // Nobody, and not in pieces.
    let nobody = Exception { cause: 21, value: DEVICE + 8 };
    assert_eq!(machine.load(Size::Word, false, DEVICE + 8), Err(nobody));
    let pieces = Exception { cause: 22, value: DEVICE + 1 };
    assert_eq!(machine.store(Size::Word, DEVICE + 1, 0), Err(pieces));
    assert_eq!(machine.guest.machine.device.borrow().len(), 4);
}

#[test]
fn accesses_at_the_ends_of_ram_and_of_the_address_space() {
    let mut machine = Machine::new();
    let end = RAM + super::toy::RAM_LEN;
    assert!(machine.load(Size::Double, false, end - 8).is_ok());
    assert_eq!(machine.load(Size::Double, false, end - 4), Err(Exception { cause: 21, value: end - 4 }));
    let last = u64::MAX - 3;
    assert_eq!(machine.load(Size::Double, false, last), Err(Exception { cause: 21, value: last }));
    machine.guest.map(u64::MAX - 0xfff, FIRST);
    machine.guest.map(0, ELSEWHERE);
    machine.store(Size::Double, last, 0x1122_3344_5566_7788).unwrap();
    assert_eq!(machine.load(Size::Double, false, last), Ok(0x1122_3344_5566_7788));
}

#[test]
fn pages_are_remembered_until_they_are_flushed() {
    let mut machine = Machine::new();
    machine.load(Size::Word, false, FIRST).unwrap();
    machine.guest.translated = 0;
    machine.load(Size::Word, false, FIRST + 4).unwrap();
    machine.load(Size::Half, false, FIRST + 9).unwrap();
    machine.store(Size::Half, FIRST + 9, 1).unwrap();
    assert_eq!(machine.guest.translated, 0);
    machine.guest.map(FIRST, ELSEWHERE);
    machine.guest.flush = Flush::page(FIRST + 0x123, None);
    machine.store(Size::Word, FIRST, 0xabcd).unwrap();
    assert_eq!(machine.guest.translated, 1);
    assert_eq!(machine.load(Size::Word, false, SECOND), Ok(0xabcd));
}

#[test]
fn views_have_pages_of_their_own() {
    let mut machine = Machine::new();
    machine.guest.machine.ram().write(FIRST, 0x11_u8).unwrap();
    machine.guest.machine.ram().write(ELSEWHERE, 0x22_u8).unwrap();
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x11));
    machine.guest.context = 1;
    machine.guest.map(FIRST, ELSEWHERE);
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x22));
    machine.guest.context = 0;
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x11));
}

#[test]
fn a_flush_of_one_page_is_one_of_all_if_it_may_be_of_a_larger_one() {
    for (level, address, expected) in
        [(0, SECOND, 0), (1, SECOND, 1), (1, SECOND ^ 1 << 21, 0), (2, SECOND ^ 1 << 21, 1)]
    {
        let mut machine = Machine::new();
        machine.guest.level = level;
        machine.load(Size::Word, false, FIRST).unwrap();
        machine.guest.flush = Flush::page(address, None);
        machine.guest.translated = 0;
        machine.guest.level = 0;
        machine.load(Size::Word, false, FIRST).unwrap();
        // Code is translated anew, too.
        assert_eq!(machine.guest.translated, 2 * expected, "{level} {address:#x}");
    }
}

#[test]
fn another_address_space_is_translated_anew() {
    let mut machine = Machine::new();
    machine.guest.machine.ram().write(FIRST, 0x11_u8).unwrap();
    machine.guest.machine.ram().write(ELSEWHERE, 0x22_u8).unwrap();
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x11));
    machine.guest.space = 1;
    machine.guest.map(FIRST, ELSEWHERE);
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x22));
    machine.guest.space = 0;
    machine.guest.pages.remove(&FIRST);
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x11));
    // A view that was not used in the other one.
    machine.guest.context = 1;
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x11));
    machine.guest.context = 0;
    machine.guest.space = 2;
    machine.guest.map(FIRST, ELSEWHERE);
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x22));
    machine.guest.context = 1;
    assert_eq!(machine.load(Size::Byte, false, FIRST), Ok(0x22));
}

#[test]
fn reservations() {
    let mut machine = Machine::new();
    let reserve = |size| Inst::LoadReserved {
        size,
        order: Order::AcquireRelease,
        dst: RESULT,
        address: ADDRESS.into(),
    };
    let conditional = |size, value: i32| Inst::StoreConditional {
        size,
        order: Order::Relaxed,
        dst: RESULT,
        address: ADDRESS.into(),
        value: Value::Const(value),
    };
    let word = FIRST + 4;
    machine.store(Size::Word, word, 0x8000_0001).unwrap();
    machine.execute(reserve(Size::Word), word);
    assert_eq!(machine.guest.vars[2], 0xffff_ffff_8000_0001);
    assert_eq!(machine.guest.vars[usize::from(RESERVATION[0].0)], word | Size::Word as u64);
    machine.execute(conditional(Size::Word, 7), word);
    assert_eq!(machine.guest.vars[2], 0);
    assert_eq!(machine.load(Size::Word, false, word), Ok(7));
    // Once only.
    machine.execute(conditional(Size::Word, 8), word);
    assert_eq!(machine.guest.vars[2], 1);
    // Another address, another size, another value.
    for (address, size, write) in
        [(FIRST + 8, Size::Double, None), (FIRST, Size::Word, None), (FIRST, Size::Double, Some(0xff))]
    {
        machine.execute(reserve(Size::Double), FIRST);
        if let Some(value) = write {
            machine.store(Size::Byte, FIRST, value).unwrap();
        }
        machine.execute(conditional(size, 9), address);
        assert_eq!(machine.guest.vars[2], 1);
        assert_eq!(machine.guest.vars[usize::from(RESERVATION[0].0)], u64::MAX);
    }
    // The same bytes under another address are not the same.
    machine.execute(reserve(Size::Double), SECOND);
    machine.execute(conditional(Size::Double, 10), ELSEWHERE);
    assert_eq!((machine.guest.vars[2], machine.byte(SECOND)), (1, 0));
    let misaligned = machine.execute(reserve(Size::Double), FIRST + 4);
    assert_eq!(misaligned, Some(Exception { cause: 31, value: FIRST + 4 }));
    let device = machine.execute(reserve(Size::Word), DEVICE);
    assert_eq!(device, Some(Exception { cause: 21, value: DEVICE }));
}

#[test]
fn what_is_written_past_the_mapping_is_told() {
    let mut machine = Machine::new();
    let address = Value::Var(ADDRESS);
    let order = Order::Relaxed;
    let atomic = Inst::Atomic {
        op: AtomicOp::Add,
        size: Size::Word,
        order,
        dst: RESULT,
        address,
        value: VALUE.into(),
    };
    machine.execute(atomic, SECOND + 4);
    machine.execute(Inst::LoadReserved { size: Size::Double, order, dst: RESULT, address }, SECOND);
    let conditional =
        Inst::StoreConditional { size: Size::Double, order, dst: RESULT, address, value: VALUE.into() };
    machine.execute(conditional, SECOND);
    assert_eq!(machine.guest.vars[2], 0);
    // Reserved no longer: not written.
    machine.execute(conditional, SECOND);
    machine.store(Size::Half, SECOND + 1, 0).unwrap();
    machine.store(Size::Double, SECOND - 3, 0).unwrap();
    machine.store(Size::Byte, SECOND, 0).unwrap();
    machine.guest.flush = Flush::All;
    machine.store(Size::Byte, SECOND, 0).unwrap();
    machine.store(Size::Word, DEVICE, 0).unwrap();
    let pieces = [(SECOND - 3, 3), (ELSEWHERE, 5)];
    let written = [&[(ELSEWHERE + 4, 4), (ELSEWHERE, 8), (ELSEWHERE + 1, 2)][..], &pieces, &[(ELSEWHERE, 1)]];
    assert_eq!(*machine.guest.machine.written.borrow(), written.concat());
}

#[test]
fn atomic_operations() {
    let mut machine = Machine::new();
    let (old, value) = (0x8000_0000_8000_0003_u64, 0x0000_0001_7000_0001_u64);
    let (old32, value32) = (old as u32, value as u32);
    for op in AtomicOp::ALL {
        let (wide, narrow) = match op {
            AtomicOp::Swap => (value, value32),
            AtomicOp::Add => (old.wrapping_add(value), old32.wrapping_add(value32)),
            AtomicOp::And => (old & value, old32 & value32),
            AtomicOp::Or => (old | value, old32 | value32),
            AtomicOp::Xor => (old ^ value, old32 ^ value32),
            AtomicOp::Min | AtomicOp::MaxUnsigned => (old, old32),
            AtomicOp::Max | AtomicOp::MinUnsigned => (value, value32),
        };
        let inst = |size| Inst::Atomic {
            op,
            size,
            order: Order::AcquireRelease,
            dst: RESULT,
            address: ADDRESS.into(),
            value: VALUE.into(),
        };
        machine.store(Size::Double, FIRST, old).unwrap();
        machine.guest.vars[3] = value;
        machine.execute(inst(Size::Double), FIRST);
        assert_eq!(
            (machine.guest.vars[2], machine.load(Size::Double, false, FIRST)),
            (old, Ok(wide)),
            "{op:?}"
        );
        machine.store(Size::Double, FIRST, old).unwrap();
        machine.guest.vars[3] = value;
        machine.execute(inst(Size::Word), FIRST);
        assert_eq!(machine.guest.vars[2], 0xffff_ffff_8000_0003, "{op:?}");
        let expected = old >> 32 << 32 | u64::from(narrow);
        assert_eq!(machine.load(Size::Double, false, FIRST), Ok(expected), "{op:?}");
        let misaligned = machine.execute(inst(Size::Word), FIRST + 2);
        assert_eq!(misaligned, Some(Exception { cause: 32, value: FIRST + 2 }));
    }
}
