//! Operands and results in host registers.
//!
//! Globals are where the layout says. The IR's temporaries, constants, and what instructions need in between, share the three
//! registers of [`TEMPORARIES`]; what was there stays known until somebody else needs the register. If all are taken, one of
//! the IR's temporaries goes to its word in memory.

use super::emitter::Emitter;
use super::extension::{Shape, bit};
use super::layout::{Home, TEMPORARIES, WORDS};
use crate::a64::{Ext, Mode, X};
use crate::ir::{Value, Var};
use crate::memory::Size;

/// How much of an operand is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The low 32 bits; those above may be anything.
    Low,
    /// All that is known of it: it may be pending ([`Facts`](super::extension::Facts)).
    Raw,
    /// All 64.
    Full,
}

/// What one of the registers in [`TEMPORARIES`] holds a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    /// A global whose home is memory.
    Global(Var),
    /// The sum of a register and a constant.
    Sum(X, i64),
}

/// The registers in [`TEMPORARIES`]: a bit for each.
const SHARED: u32 = {
    let [a, b, c] = TEMPORARIES;
    bit(a) | bit(b) | bit(c)
};

/// How many temporaries of the IR there are.
const TEMPORARY_VARS: usize = (Var::FIRST_SCRATCH - Var::FIRST_TEMPORARY) as usize;

/// The number of a temporary among them.
fn number_of(temporary: Var) -> usize {
    usize::from(temporary.0) % TEMPORARY_VARS
}

/// What the registers are used for.
#[derive(Debug)]
pub struct Registers {
    /// Which of [`TEMPORARIES`] the step that is being emitted has claimed: a bit for each.
    claimed: u8,
    /// Which temporaries of the IR are in them.
    owners: [Option<Var>; TEMPORARIES.len()],
    pub holds: [Holds; TEMPORARIES.len()],
    /// Registers that `holds` may be about, since they hold something or sums are of them: a bit for each.
    involved: u32,
    /// Temporaries of the IR that have a value: a bit for each. What no register has is in its word, extended.
    live: u64,
    /// By the number of the temporary: how often it will still be used.
    uses: [u8; TEMPORARY_VARS],
    /// By the number of the register: the constant that it holds, if `known` has its bit.
    pub constants: [u64; 32],
    pub known: u32,
    /// Which one to take next.
    turn: usize,
}

impl Registers {
    pub const fn new() -> Self {
        Self {
            claimed: 0,
            owners: [None; TEMPORARIES.len()],
            holds: [Holds::Nothing; TEMPORARIES.len()],
            involved: 0,
            live: 0,
            uses: [0; TEMPORARY_VARS],
            constants: [0; 32],
            known: 0,
            turn: 0,
        }
    }

    /// Whether nobody has the register of this index.
    fn is_free(&self, index: usize) -> bool {
        self.claimed >> index & 1 == 0 && self.owners[index].is_none()
    }

    /// Which register a temporary of the IR is in.
    fn index_of(&self, temporary: Var) -> Option<usize> {
        self.owners.iter().position(|&owner| owner == Some(temporary))
    }

    /// The constant that a register is known to hold.
    pub fn constant(&self, x: X) -> Option<u64> {
        let number = usize::from(x.number() & 31);
        (self.known >> number & 1 != 0).then(|| self.constants[number])
    }

    /// A register that holds a constant which `fits`.
    pub fn find_constant(&self, mut fits: impl FnMut(u64) -> bool) -> Option<X> {
        let mut known = self.known;
        while known != 0 {
            let number = known.trailing_zeros();
            known &= known - 1;
            if fits(self.constants[number as usize & 31]) {
                return Some(X::new(number as u8));
            }
        }
        None
    }

    /// No register is known to hold a constant any more.
    pub const fn forget_constants(&mut self) {
        self.known = 0;
    }

    /// Which of [`TEMPORARIES`] it is.
    pub fn index(x: X) -> Option<usize> {
        TEMPORARIES.iter().position(|&temporary| temporary == x)
    }
}

impl Emitter<'_> {
    /// One of [`TEMPORARIES`], until the end of the step. What it held is lost.
    pub fn claim(&mut self) -> X {
        let index = self.free_register();
        let x = TEMPORARIES[index % TEMPORARIES.len()];
        self.forget_register(x, Shape::Wide);
        self.registers.owners[index % TEMPORARIES.len()] = None;
        self.registers.claimed |= 1 << index;
        x
    }

    /// Ends the claim on a register before the step does.
    pub fn unclaim(&mut self, x: X) {
        if let Some(index) = Registers::index(x) {
            self.registers.claimed &= !(1 << index);
        }
    }

    /// What the registers in [`TEMPORARIES`] hold is not known any more.
    pub fn forget_temporaries(&mut self) {
        TEMPORARIES.into_iter().for_each(|x| self.forget_register(x, Shape::Wide));
    }

    fn free_register(&mut self) -> usize {
        let registers = &mut self.registers;
        let count = TEMPORARIES.len();
        let free = |&index: &usize| registers.is_free(index);
        // Such as nobody has use for, if there is one.
        let empty = |&index: &usize| {
            registers.holds[index] == Holds::Nothing && registers.constant(TEMPORARIES[index]).is_none()
        };
        let order = || (0..count).map(|step| (registers.turn + step) % count);
        if let Some(index) = (0..count).filter(free).find(empty).or_else(|| order().find(free)) {
            registers.turn = (index + 1) % count;
            return index;
        }
        for (index, &register) in TEMPORARIES.iter().enumerate().take(count) {
            if let Some(var) = self.registers.owners[index]
                && !self.step.effects.operands().any(|operand| operand == var)
            {
                self.spill(register, var);
                return index;
            }
        }
        self.decline();
        0
    }

    fn spill(&mut self, x: X, var: Var) {
        self.extend(x);
        self.store_word(x, var);
    }

    /// Ends what `x` was known to hold: it is of this shape.
    #[inline]
    pub fn forget_register(&mut self, x: X, shape: Shape) {
        self.facts.set(x, shape);
        self.registers.known &= !bit(x);
        if self.registers.involved & bit(x) != 0 {
            self.registers.involved &= !bit(x);
            self.forget_held(x);
        }
    }

    /// Ends what `x` holds a copy of, and what registers hold that is a sum of `x`.
    #[inline(never)]
    fn forget_held(&mut self, x: X) {
        if let Some(index) = Registers::index(x) {
            self.registers.holds[index] = Holds::Nothing;
        }
        for holds in &mut self.registers.holds {
            if matches!(*holds, Holds::Sum(base, _) if base == x) {
                *holds = Holds::Nothing;
            }
        }
    }

    /// Ends the step: what it claimed is free again, and so are temporaries that nobody uses any more.
    pub fn release(&mut self) {
        self.release_claims();
        if self.registers.live == 0 {
            return;
        }
        let effects = &self.step.effects;
        for var in effects.operands() {
            if var.is_temporary() && Some(var) != effects.dst {
                self.use_up(var);
            }
        }
    }

    /// A temporary of the IR has been used.
    fn use_up(&mut self, var: Var) {
        let uses = &mut self.registers.uses[number_of(var)];
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.drop_temporary(var);
        }
    }

    /// Ends all claims, before the step does.
    pub fn release_claims(&mut self) {
        self.registers.claimed = 0;
    }

    fn drop_temporary(&mut self, var: Var) {
        self.registers.live &= !(1 << number_of(var));
        if let Some(index) = self.registers.index_of(var) {
            self.registers.owners[index] = None;
        }
    }

    /// A register with the operand.
    #[inline]
    pub fn source(&mut self, value: Value, need: Need) -> X {
        self.at_hand(value, need).unwrap_or_else(|| self.bring(value, need))
    }

    /// [`Emitter::source`] if there is nothing to do for it.
    #[inline]
    pub fn at_hand(&self, value: Value, need: Need) -> Option<X> {
        if let Value::Var(var) = value
            && let Some(x) = self.home(var)
            && (need != Need::Full || !self.facts.is_pending(x))
        {
            return Some(x);
        }
        None
    }

    /// [`Emitter::source`] if there is something to do for it.
    #[inline(never)]
    fn bring(&mut self, value: Value, need: Need) -> X {
        let x = match value {
            Value::Const(constant) => return self.constant(constant as u64, need),
            Value::Var(var) if var.is_temporary() => self.temporary(var),
            Value::Var(var) => match self.layout.home(var) {
                Home::X(x) => x,
                Home::Memory => self.copy(var),
                Home::V(_) => {
                    // What floating-point code has there is moved by floating-point code only.
                    self.decline();
                    X::ZR
                }
            },
        };
        if need == Need::Full {
            self.extend(x);
        }
        x
    }

    /// A register with a temporary of the IR.
    fn temporary(&mut self, var: Var) -> X {
        if let Some(index) = self.registers.index_of(var) {
            return TEMPORARIES[index];
        }
        // If it is not set yet, anything will do.
        let x = self.claim();
        self.load_word(x, var);
        self.own(x, var);
        x
    }

    fn own(&mut self, x: X, var: Var) {
        if let Some(index) = Registers::index(x) {
            self.registers.claimed &= !(1 << index);
            self.registers.owners[index] = Some(var);
            self.registers.live |= 1 << number_of(var);
        }
    }

    /// A copy of a global whose home is memory.
    fn copy(&mut self, var: Var) -> X {
        let held = self.registers.holds.iter().position(|&holds| holds == Holds::Global(var));
        if let Some(index) = held {
            self.hold(index);
            return TEMPORARIES[index];
        }
        let x = self.claim();
        self.load_word(x, var);
        self.remember(x, Holds::Global(var));
        x
    }

    /// Keeps a register from being claimed during this step.
    pub fn hold(&mut self, index: usize) {
        if self.registers.owners.get(index).is_some_and(Option::is_none) {
            self.registers.claimed |= 1 << index;
        }
    }

    pub fn remember(&mut self, x: X, holds: Holds) {
        self.registers.involved |= bit(x);
        if let Holds::Sum(base, _) = holds {
            self.registers.involved |= bit(base);
        }
        if let Some(index) = Registers::index(x) {
            self.registers.holds[index] = holds;
        }
    }

    /// Sign-extends what `x` holds, if that is pending.
    pub fn extend(&mut self, x: X) {
        if self.facts.is_pending(x) {
            self.asm.sxtw(x, x);
            self.facts.extended(x);
        }
    }

    /// The register of a variable's own, if it is a global that has one.
    #[inline]
    pub fn home(&self, var: Var) -> Option<X> {
        match self.layout.home(var) {
            Home::X(x) => Some(x),
            _ => None,
        }
    }

    /// Where the result for `dst` is to be computed; then [`Emitter::finish`].
    pub fn target(&mut self, dst: Var) -> X {
        self.home(dst).unwrap_or_else(|| self.claim())
    }

    /// `x`, which [`Emitter::target`] has given, holds the result for `dst`.
    pub fn finish(&mut self, dst: Var, x: X, shape: Shape) {
        if SHARED & bit(x) != 0 {
            return self.keep(dst, x, shape);
        }
        self.forget_register(x, shape);
    }

    /// `x` holds the result for `dst`, which has no register of its own.
    #[inline(never)]
    fn keep(&mut self, dst: Var, x: X, shape: Shape) {
        self.forget_register(x, shape);
        if !dst.is_temporary() {
            self.extend(x);
            return self.store_global(x, dst);
        }
        self.drop_temporary(dst);
        if self.step.uses > 0 {
            self.own(x, dst);
            self.registers.uses[number_of(dst)] = self.step.uses;
        }
    }

    /// `dst`, a global whose home is memory, = `x`.
    pub fn store_global(&mut self, x: X, dst: Var) {
        for holds in &mut self.registers.holds {
            if *holds == Holds::Global(dst) {
                *holds = Holds::Nothing;
            }
        }
        self.store_word(x, dst);
        self.remember(x, Holds::Global(dst));
    }

    /// Whether a variable is in memory only.
    pub fn is_in_memory(&self, var: Var) -> bool {
        !var.is_temporary() && self.home(var).is_none() && !self.registers.holds.contains(&Holds::Global(var))
    }

    /// `x` = the word of a variable.
    pub fn load_word(&mut self, x: X, var: Var) {
        self.asm.load(Mode::Normal, Size::Double, Ext::Zero, x, WORDS, 8 * i64::from(var.0));
    }

    /// The word of a variable = `x`.
    pub fn store_word(&mut self, x: X, var: Var) {
        self.asm.store(Mode::Normal, Size::Double, x, WORDS, 8 * i64::from(var.0));
    }
}
