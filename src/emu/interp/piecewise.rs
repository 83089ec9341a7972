//! What another back end needs that executes a part of the guest's code itself, and leaves the rest to the interpreter.
//!
//! Its loop is [`Interpreter::run`]'s: [`Interpreter::synchronise`], then [`Guest::attend`] if the guest wants attention and
//! [`Interpreter::synchronise`] again, then a piece of guest code.

use super::fetch::Place;
use super::guest::{Exception, Guest};
use super::mapping::Mapping;
use super::{Found, Interpreter};

/// A block that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The guest-physical address of its code, if that lies on one page that is mapped as a whole: only then it may be
    /// remembered by its address.
    pub physical: Option<u64>,
    /// How often it was executed by [`Interpreter::run_block`] since it was made of this code, now included, as far as the
    /// count goes. 0 if it is not remembered.
    pub executed: u32,
}

impl<G: Guest, M: Mapping> Interpreter<G, M> {
    /// How data is reached.
    pub fn mapping(&mut self) -> &mut M {
        &mut self.mapping
    }

    /// Executes one block at the program counter, in an interpreter of [`Exits::Leaving`](super::Exits::Leaving). Exceptions
    /// are raised, by the fetch as well.
    pub fn run_block(&mut self, guest: &mut G) -> Ran {
        match self.next(guest) {
            Ok(Found::Block(number)) => {
                let record = self.cache.record(number);
                let physical =
                    record.filter(|record| record.second.is_none()).map(|record| record.key.physical);
                let ran = Ran { physical, executed: self.cache.count(number) };
                self.carry_out(guest, self.cache.code(number));
                return ran;
            }
            Ok(Found::Once(code)) => self.carry_out_once(guest, code),
            Err(exception) => guest.raise(exception),
        }
        Ran { physical: None, executed: 0 }
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

    /// Reads the 16 bits of code at `pc`, an even address; says where they lie.
    ///
    /// # Errors
    /// The exception that fetching them raises.
    pub fn fetch_code(&mut self, guest: &mut G, pc: u64) -> Result<(u16, Place), Exception> {
        self.fetch.read(guest, pc)
    }
}
