//! What a back end needs of the hart that it runs: the front end's half of the translator.

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
    /// All this is true of the whole page of 4096 bytes, so that it may be remembered until [`Guest::take_flush`] says
    /// otherwise.
    pub whole_page: bool,
}

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

/// What must be forgotten of translated addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flush {
    /// Nothing.
    #[default]
    Nothing,
    /// What was remembered of the page of this guest-virtual address.
    Page(u64),
    /// Everything.
    All,
}

/// A hart, without the back end that executes for it.
pub trait Guest {
    /// The global that is the program counter. It is exact whenever [`Guest::attend`], [`Guest::raise`] or a
    /// [`Guest::call`] is called.
    const PC: Var;
    /// The global that counts retired instructions. Exact whenever the program counter is.
    const INSTRET: Var;
    /// The globals that hold what [`Inst::LoadReserved`](crate::ir::Inst::LoadReserved) has reserved and read: the
    /// guest-physical address, with the access's [`Size`] as a number in its low two bits, or all ones if there is no
    /// reservation; and the value.
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

    /// With which rights and through which tables data is accessed now: below [`Guest::VIEWS`]. What is remembered of
    /// translated addresses is remembered for each view. Changes when [`Guest::context`] may.
    fn view(&self) -> usize;

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

    /// Lifts the code at `pc`. `code(address)` reads the 16 bits there, an even address, or says which exception the fetch
    /// raises; a front end may ask for more than it uses. At most `max` guest instructions.
    ///
    /// # Errors
    /// The exception that the fetch of the first instruction raises.
    fn lift(
        &mut self,
        pc: u64,
        max: usize,
        code: &mut dyn FnMut(&mut Self, u64) -> Result<u16, Exception>,
    ) -> Result<Block, Exception>;

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
