//! What a back end needs of the hart that it runs: the front end's half of the translator.

use super::flush::Flush;
use super::source::Code;
use crate::float::Rounding;
use crate::ir::{Block, FloatOp, Var};
use crate::memory::{Access, Physical, Size};

/// Why a guest instruction could not complete, as the guest's instruction set numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// RISC-V: the cause.
    pub cause: u64,
    /// RISC-V: the trap value.
    pub value: u64,
}

/// Where a guest-virtual address lies, and what may be done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub address: u64,
    /// The page may be read: an entry for loads may be made of this.
    pub load: bool,
    /// The page may be written, and is marked dirty already: an entry for stores may be made of this.
    pub store: bool,
    /// Instructions may be fetched from the page.
    pub fetch: bool,
    /// The page is user mode's (RISC-V: U). False where nothing is translated, as is `global`.
    pub user: bool,
    /// The same is true in every address space (RISC-V: G), whatever the current one is.
    pub global: bool,
    /// The size of the page that this is part of: 0 is 4096 bytes, each more is 512 times as much.
    pub level: u8,
    /// All this is true of the whole page of 4096 bytes, so that it may be remembered for the view (of data) or the context
    /// (of code) and the address space, until [`Guest::take_flush`] says otherwise.
    pub whole_page: bool,
    /// It is true of the whole [`CHUNK`], too, which the same entry of the guest's tables maps, at the same distance from
    /// where it lies: neighbours may be remembered along.
    pub whole_chunk: bool,
}

/// What may be remembered at once of a large page, in bytes, aligned to as many.
pub const CHUNK: u64 = 64 << 10;

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Execute on from the program counter.
    Go,
    /// Execute one guest instruction, then ask again.
    Step,
    /// Return from running.
    Return,
}

/// A hart, without the back end that executes for it.
pub trait Guest {
    /// The global that is the program counter. It is exact whenever [`Guest::attend`], [`Guest::raise`] or a
    /// [`Guest::call`] is called.
    const PC: Var;
    /// The global that counts retired instructions. Exact whenever the program counter is.
    const INSTRET: Var;
    /// The globals that hold what [`Inst::LoadReserved`](crate::ir::Inst::LoadReserved) has reserved and read: the
    /// guest-virtual address, with the access's [`Size`] as a number in its low two bits, or all ones if there is no
    /// reservation; and the value. The guest drops the reservation when the address may come to mean something else.
    const RESERVATION: [Var; 2];
    /// How many views of memory there are (see [`Guest::view`]).
    const VIEWS: usize;

    /// The globals and temporaries. Those from [`Var::FIRST_SCRATCH`] on are the back end's.
    fn vars(&mut self) -> &mut [u64; 256];

    /// Memory and devices.
    fn physical(&self) -> &impl Physical;

    /// What, beside its address, decides what code means: part of the key of a block. Changes only in [`Guest::call`],
    /// [`Guest::raise`] and [`Guest::attend`].
    fn context(&self) -> u32;

    /// A context in which what [`Guest::float_ready`] is about is as it mostly is: code that is lifted in it means what it does
    /// now, where that does not use floating point, or the guest is ready for it. For those to whom translating is dear.
    fn translation_context(&self) -> u32;

    /// Whether [`Guest::translation_context`] says all that decides how code is translated, in every run of every machine.
    fn has_lasting_context(&self) -> bool;

    /// Whether floating-point instructions mean what they do in [`Guest::translation_context`], and round as IEEE 754's
    /// basic modes do, but for ties away from zero. Changes when [`Guest::context`] may.
    fn float_ready(&self) -> bool;

    /// How floating-point operations round, unless they say otherwise. Changes when [`Guest::context`] may.
    fn rounding(&self) -> Rounding;

    /// With which rights data is accessed now: below [`Guest::VIEWS`]. What is remembered of translated addresses is
    /// remembered for each view. Changes when [`Guest::context`] may.
    fn view(&self) -> usize;

    /// In which address space data is accessed now: the same number, the same space. What is remembered of translated
    /// addresses holds in the space that it was translated in. Changes when [`Guest::context`] may. Bits 59 to 44 are the
    /// number by which [`Flush`] names it.
    fn space(&self) -> u64;

    /// The same of code: in one space, code of one context is found at one address at the same place. It is not that of data
    /// where data is accessed as another mode would.
    fn code_space(&self) -> u64;

    /// Whether the hart has something to do between two blocks ([`Guest::attend`]). Asked after every block: cheap.
    fn wants_attention(&self) -> bool;

    /// Does what there is to do between two blocks: requests of other harts and debuggers, interrupts, waiting for one. The
    /// program counter is exact, and may be changed.
    fn attend(&mut self) -> Attention;

    /// What must be forgotten of translated addresses since this was last asked. Asked after every [`Guest::call`] that a
    /// block ends behind, and after [`Guest::attend`].
    fn take_flush(&mut self) -> Flush;

    /// How often code may have been changed: a block that was lifted at another count is compared with memory before it
    /// is executed again. Changes only in [`Guest::call`], [`Guest::raise`] and [`Guest::attend`].
    fn code_epoch(&self) -> u64;

    /// Translates `address` in the current view by the guest's own tables, and checks the right to access the `len` bytes
    /// there, which lie on one page.
    ///
    /// # Errors
    /// The exception that the access raises.
    fn translate(&mut self, address: u64, len: u64, access: Access) -> Result<Translation, Exception>;

    /// What an access raises where [`Physical`] has nothing.
    fn access_fault(&self, address: u64, access: Access) -> Exception;

    /// Whether a misaligned access of this kind may be carried out (in pieces where it crosses a page); `Err` is what it
    /// raises.
    ///
    /// # Errors
    /// The exception that the access raises.
    fn misaligned(&self, address: u64, size: Size, access: Access, atomic: bool) -> Result<(), Exception>;

    /// Lifts the code at `pc` in the current context into `block`, as [`Guest::lift_in`] does.
    ///
    /// # Errors
    /// The exception that the fetch of the first instruction raises.
    fn lift(
        &mut self,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut Code<'_, Self>,
    ) -> Result<(), Exception> {
        self.lift_in(self.context(), pc, max, block, code)
    }

    /// Lifts the code at `pc` into `block`, as it is in `context`: the current one or [`Guest::translation_context`]. At most
    /// `max` guest instructions. A front end may read more of `code` than it uses. What the block was is forgotten, but for its
    /// buffers.
    ///
    /// # Errors
    /// The exception that the fetch of the first instruction raises.
    fn lift_in(
        &mut self,
        context: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut Code<'_, Self>,
    ) -> Result<(), Exception>;

    /// Carries out [`Inst::Call`](crate::ir::Inst::Call).
    ///
    /// # Errors
    /// The exception that the guest instruction raises.
    fn call(&mut self, function: u16, a: u64, b: u64) -> Result<u64, Exception>;

    /// Carries out [`Inst::Float`](crate::ir::Inst::Float).
    fn float(&mut self, op: FloatOp, rounding: u8, operands: [u64; 3]) -> u64;

    /// Takes `exception`, raised by the instruction at the program counter: changes the program counter.
    fn raise(&mut self, exception: Exception);
}
