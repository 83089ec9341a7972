//! Loads and stores.
//!
//! There is no unprivileged load of a SIMD&FP register. So these are privileged ones, of addresses that cannot be the
//! engine's: in the translation table that the engine is in, its addresses have bit 47 set, and those of the guest have it
//! clear; the other table's have bit 63 set. One bit of the base register is tested, once for all accesses from about there:
//! around the engine's half of the table there is nothing mapped for as far as an access gets from a base that has been
//! tested.

use super::registers::{Origin, V29};
use super::{Float, Operand, Surroundings, T0};
use crate::a64::{Alu, Bits, F, X};
use crate::ir::{Value, Var};

/// Bytes at both ends of the engine's addresses that are not mapped: [2^47, 2^47 + `GUARD`) and [2^48 - `GUARD`, 2^48).
pub const GUARD: u64 = 16 << 10;
/// How far a base may move before it is tested again: with the offset and the size of an access, less than [`GUARD`].
const REACH: i32 = 8 << 10;

/// The largest offset: what [`REACH`] leaves, and can be added in one instruction.
const FARTHEST: i32 = 4 << 10;

/// The base registers that have been tested, and how far they have moved since.
#[derive(Debug)]
pub struct Tested {
    moved: [Option<i32>; Var::FIRST_TEMPORARY as usize],
    /// The code's own addresses, and most likely its data's, have bit 63 set.
    high: bool,
}

impl Tested {
    pub const fn new() -> Self {
        Self { moved: [None; Var::FIRST_TEMPORARY as usize], high: false }
    }

    /// Forgets all, for a block at this address.
    pub fn start(&mut self, pc: u64) {
        self.forget();
        self.high = pc >> 63 != 0;
    }

    /// No base is tested any more.
    pub fn forget(&mut self) {
        self.moved.fill(None);
    }

    /// How many bases are tested.
    pub fn count(&self) -> u32 {
        self.moved.iter().flatten().count() as u32
    }

    /// See [`Float::changed`].
    pub fn changed(&mut self, var: Var, sum: Option<(Var, i64)>) {
        let moved = sum.and_then(|(of, by)| {
            let moved = self.moved.get(usize::from(of.0)).copied().flatten()?;
            moved.checked_add(i32::try_from(by).ok()?)
        });
        if let Some(place) = self.moved.get_mut(usize::from(var.0)) {
            *place = moved.filter(|moved| (-REACH..=REACH).contains(moved));
        }
    }

    /// Whether `var` need not be tested; it counts as tested then.
    fn test(&mut self, var: Var) -> bool {
        match self.moved.get_mut(usize::from(var.0)) {
            Some(moved) => moved.replace(moved.unwrap_or(0)).is_some(),
            None => false,
        }
    }
}

/// Whether an access at an address is none of the engine's memory.
fn is_guests(address: u64) -> bool {
    const LARGEST: u64 = 8;
    [address, address.wrapping_add(LARGEST)].iter().all(|address| address >> 47 != 1)
}

/// Whether there is code for an access so far from its base. One that is a constant has 32 bits, and so cannot be the engine's.
pub const fn is_near(offset: i32) -> bool {
    -FARTHEST <= offset && offset < FARTHEST
}

impl Float {
    pub(super) fn load(&mut self, c: &mut impl Surroundings, f: F, dst: Var, base: Value, offset: i32) {
        let [] = self.find(c, f, [], Some(dst));
        let (base, offset) = self.address(c, f, base, offset);
        let v = self.result(c, dst, 0, V29);
        c.may_fault(self.pending());
        c.asm().fload(f, v, base, offset);
        self.put(c, f, dst, v);
    }

    pub(super) fn store(&mut self, c: &mut impl Surroundings, f: F, base: Value, offset: i32, value: Var) {
        let whole = Operand { value: value.into(), boxed: false };
        let origin = match f {
            F::D => self.find(c, f, [whole], None)[0],
            F::S => self.origin(c, value),
        };
        if !matches!(origin, Origin::V(_)) {
            self.vacate(c.asm(), T0);
        }
        let (base, offset) = self.address(c, f, base, offset);
        let v = origin.bring(c.asm(), f, V29);
        c.may_fault(self.pending());
        c.asm().fstore(f, v, base, offset);
    }

    /// A base and an offset that can be encoded, which are the guest's. The base may be T0.
    fn address(&mut self, c: &mut impl Surroundings, f: F, base: Value, offset: i32) -> (X, i64) {
        let offset = i64::from(offset);
        self.check(c.asm(), T0);
        let var = match base {
            Value::Const(base) => {
                c.asm().mov_imm(T0, i64::from(base).wrapping_add(offset).cast_unsigned());
                return (T0, 0);
            }
            Value::Var(var) => var,
        };
        let register = c.source(base, Bits::W64, T0);
        let constant = c.constant(var).map(|base| base.wrapping_add_signed(offset));
        if !constant.is_some_and(is_guests) && !self.tested.test(var) {
            let engines = c.interpret(self.pending());
            if self.tested.high {
                c.asm().tbz(register, 63, engines);
            } else {
                c.asm().tbnz(register, 47, engines);
            }
        }
        if encodable(f, offset) {
            return (register, offset);
        }
        c.asm().alu_imm(Alu::Add, Bits::W64, T0, register, offset.cast_unsigned());
        (T0, 0)
    }
}

/// Whether a load or store has room for the offset (DDI 0487, C6.2, LDR and LDUR).
fn encodable(f: F, offset: i64) -> bool {
    let bytes = match f {
        F::S => 4,
        F::D => 8,
    };
    (-256..256).contains(&offset) || offset % bytes == 0 && (0..4096 * bytes).contains(&offset)
}
