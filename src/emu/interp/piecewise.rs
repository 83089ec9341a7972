//! What another back end needs that executes a part of the guest's code itself, and leaves the rest to the interpreter.
//!
//! Its loop is [`Interpreter::run`]'s: [`Interpreter::synchronise`], then [`Guest::attend`] if the guest wants attention and
//! [`Interpreter::synchronise`] again, then a piece of guest code.

use super::fetch::Place;
use super::guest::{Exception, Guest};
use super::mapping::Mapping;
use super::{Found, Interpreter, Outcome};

impl<G: Guest, M: Mapping> Interpreter<G, M> {
    /// How data is reached.
    pub fn mapping(&mut self) -> &mut M {
        &mut self.mapping
    }

    /// In an interpreter of [`Exits::Counted`](super::Exits::Counted), executes from the program counter on, until a block is
    /// [`Outcome::Hot`], or something else has to be done. Exceptions are raised, by fetches as well. `before` is what this has
    /// returned last if nothing has happened since, else [`Outcome::Left`].
    pub fn run_cold(&mut self, guest: &mut G, before: Outcome) -> Outcome {
        self.proceed(guest, before)
    }

    /// The same, but executes at least the block at the program counter, however hot.
    pub fn run_hot(&mut self, guest: &mut G) -> Outcome {
        match self.next(guest) {
            // Behind what counts.
            Ok(Found::Block(number)) => return self.carry_out(guest, self.cache.code(number) + 1),
            Ok(Found::Once(code)) => self.carry_out_once(guest, code),
            Err(exception) => guest.raise(exception),
        }
        Outcome::Left
    }

    /// Executes one guest instruction at the program counter, which is lifted for this. Exceptions are raised.
    pub fn step_once(&mut self, guest: &mut G) {
        let pc = guest.vars()[usize::from(G::PC.0)];
        match self.once(guest, pc) {
            Ok(code) => self.carry_out_once(guest, code),
            Err(exception) => guest.raise(exception),
        }
    }

    /// Where the instruction at `pc` lies.
    ///
    /// # Errors
    /// The exception that fetching it raises.
    pub fn fetch_place(&mut self, guest: &mut G, pc: u64) -> Result<Place, Exception> {
        self.fetch.translate(guest, pc)
    }
}
