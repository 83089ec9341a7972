//! A toy guest: its code is numbers, of 4 bytes each at even addresses, of instructions that a test gives as IR.

use std::cell::RefCell;
use std::collections::HashMap;
use std::vec::Vec;

use crate::float::Rounding;
use crate::interp::{Attention, Code, Exception, Flush, Guest, Interpreter, Translation};
use crate::ir::{Block, Builder, FloatOp, Inst, Terminator, Value, Var};
use crate::memory::{Access, Physical, Ram, Size};

/// Where its RAM starts.
pub const RAM: u64 = 0x4000_0000;
/// Bytes of RAM.
pub const RAM_LEN: u64 = 64 << 12;
/// A device: one register, at this guest-physical address.
pub const DEVICE: u64 = 0x1000_0000;
/// The program counter.
pub const PC: Var = Var(64);
/// The count of retired instructions.
pub const INSTRET: Var = Var(65);
/// What is reserved.
pub const RESERVATION: [Var; 2] = [Var(66), Var(67)];
/// Where an exception leads to.
pub const HANDLER: u64 = RAM + 0x100;

/// What the toy's calls do.
#[derive(Debug, Clone, Copy)]
#[repr(u16)]
pub enum Function {
    /// a + b.
    Add,
    /// Raises the exception a, of value b.
    Raise,
    /// The page of a is to be forgotten.
    FlushPage,
    /// Everything is to be forgotten.
    FlushAll,
    /// Code may have changed.
    FenceCode,
    /// The context becomes a.
    Context,
    /// Notes a, the program counter and the count of instructions.
    Note,
    /// Wants attention, which returns.
    Stop,
}

/// A toy instruction.
#[derive(Debug, Clone)]
pub struct Toy {
    pub insts: Vec<Inst>,
    pub end: Option<Terminator>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub physical: u64,
    pub load: bool,
    pub store: bool,
    pub fetch: bool,
}

/// Memory and the device.
pub struct Machine {
    _memory: Vec<u64>,
    ram: Ram,
    pub device: RefCell<Vec<(u64, Size, Option<u64>)>>,
    /// What [`Physical::writing`] was told.
    pub written: RefCell<Vec<(u64, u64)>>,
}

impl Physical for Machine {
    fn ram(&self) -> Ram {
        self.ram
    }

    fn writing(&self, address: u64, len: u64, write: &mut dyn FnMut()) {
        self.written.borrow_mut().push((address, len));
        write();
    }

    fn read(&self, address: u64, size: Size) -> Option<u64> {
        (address == DEVICE).then(|| {
            self.device.borrow_mut().push((address, size, None));
            0x8182_8384_8586_8788 & (u64::MAX >> (64 - 8 * size.bytes()))
        })
    }

    fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        (address == DEVICE).then(|| self.device.borrow_mut().push((address, size, Some(value))))
    }
}

pub struct ToyGuest {
    pub vars: [u64; 256],
    pub machine: Machine,
    pub instructions: Vec<Toy>,
    /// Pages that are not mapped to themselves.
    pub pages: HashMap<u64, Option<Page>>,
    pub context: u32,
    pub space: u64,
    pub epoch: u64,
    pub flush: Flush,
    pub stop: bool,
    /// What [`Guest::attend`] answers, from the end on; [`Attention::Return`] when there is nothing left.
    pub attention: Vec<Attention>,
    /// The program counter and count of instructions at each [`Guest::attend`].
    pub attended: Vec<(u64, u64)>,
    pub notes: Vec<(u64, u64, u64)>,
    pub raised: Vec<(Exception, u64, u64)>,
    pub lifted: Vec<u64>,
    pub translated: usize,
    pub misaligned: bool,
    pub whole_pages: bool,
    /// [`Translation::level`] of all pages.
    pub level: u8,
    /// Whether a block ends where a page does.
    pub respects_pages: bool,
}

impl ToyGuest {
    pub fn new() -> Self {
        let mut memory = std::vec![0_u64; RAM_LEN as usize / 8];
        // SAFETY: the allocation is the machine's, and only accessed through this.
        let ram = unsafe { Ram::new(RAM, RAM_LEN, memory.as_mut_ptr().cast()) };
        let mut guest = Self {
            vars: [0; 256],
            machine: Machine {
                _memory: memory,
                ram,
                device: RefCell::default(),
                written: RefCell::default(),
            },
            instructions: Vec::new(),
            pages: HashMap::new(),
            context: 0,
            space: 0,
            epoch: 0,
            flush: Flush::Nothing,
            stop: false,
            attention: Vec::new(),
            attended: Vec::new(),
            notes: Vec::new(),
            raised: Vec::new(),
            lifted: Vec::new(),
            translated: 0,
            misaligned: true,
            whole_pages: true,
            level: 0,
            respects_pages: true,
        };
        guest.vars[usize::from(PC.0)] = RAM;
        guest.vars[usize::from(RESERVATION[0].0)] = u64::MAX;
        // Number 0 is what memory is full of.
        guest.instruction(&[call(Function::Stop, 0, 0)], Some(Terminator::Leave));
        guest
    }

    /// A new instruction; its number.
    pub fn instruction(&mut self, insts: &[Inst], end: Option<Terminator>) -> u32 {
        self.instructions.push(Toy { insts: insts.to_vec(), end });
        self.instructions.len() as u32 - 1
    }

    /// A new instruction at a guest-physical address.
    pub fn put(&mut self, address: u64, insts: &[Inst], end: Option<Terminator>) {
        let number = self.instruction(insts, end);
        self.put_number(address, number);
    }

    pub fn put_number(&mut self, address: u64, number: u32) {
        self.machine.ram.write(address, number as u16).unwrap();
        self.machine.ram.write(address + 2, (number >> 16) as u16).unwrap();
    }

    /// Writes 16 bits at a guest-physical address.
    pub fn machine_write(&mut self, address: u64, value: u16) {
        self.machine.ram.write(address, value).unwrap();
    }

    /// Runs from `pc` until [`Function::Stop`].
    pub fn run(&mut self, interpreter: &mut Interpreter<Self>, pc: u64) {
        self.vars[usize::from(PC.0)] = pc;
        interpreter.run(self);
    }

    pub fn pc(&self) -> u64 {
        self.vars[usize::from(PC.0)]
    }

    pub fn instret(&self) -> u64 {
        self.vars[usize::from(INSTRET.0)]
    }

    pub fn map(&mut self, address: u64, physical: u64) {
        self.pages.insert(address, Some(Page { physical, load: true, store: true, fetch: true }));
    }
}

/// An operand that is a constant of 32 bits.
pub fn constant(constant: u64) -> Value {
    Value::of_constant(constant).unwrap()
}

/// A call.
pub fn call(function: Function, a: u64, b: u64) -> Inst {
    Inst::Call { function: function as u16, dst: Var(150), a: constant(a), b: constant(b) }
}

fn exception(cause: u64, value: u64) -> Exception {
    Exception { cause, value }
}

impl Guest for ToyGuest {
    const PC: Var = PC;
    const INSTRET: Var = INSTRET;
    const RESERVATION: [Var; 2] = RESERVATION;
    const VIEWS: usize = 2;

    fn vars(&mut self) -> &mut [u64; 256] {
        &mut self.vars
    }

    fn physical(&self) -> &impl Physical {
        &self.machine
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn translation_context(&self) -> u32 {
        self.context
    }

    fn has_lasting_context(&self) -> bool {
        true
    }

    fn rounding(&self) -> Rounding {
        Rounding::NearestEven
    }

    fn float_ready(&self) -> bool {
        true
    }

    fn view(&self) -> usize {
        self.context as usize % 2
    }

    fn space(&self) -> u64 {
        self.space
    }

    fn code_space(&self) -> u64 {
        self.space
    }

    fn wants_attention(&self) -> bool {
        self.stop || !self.attention.is_empty()
    }

    fn attend(&mut self) -> Attention {
        self.attended.push((self.pc(), self.instret()));
        self.stop = false;
        self.attention.pop().unwrap_or(Attention::Return)
    }

    fn take_flush(&mut self) -> Flush {
        core::mem::take(&mut self.flush)
    }

    fn code_epoch(&self) -> u64 {
        self.epoch
    }

    /// Exceptions of translation are 10, 11, 12 for fetches, loads, stores.
    fn translate(&mut self, address: u64, _: u64, access: Access) -> Result<Translation, Exception> {
        self.translated += 1;
        let page = address & !0xfff;
        let itself = Some(Page { physical: page, load: true, store: true, fetch: true });
        let page = self.pages.get(&page).copied().unwrap_or(itself);
        let found = page.filter(|page| match access {
            Access::Fetch => page.fetch,
            Access::Load => page.load,
            Access::Store => page.store,
        });
        let Some(Page { physical, load, store, fetch }) = found else {
            return Err(exception(10 + access as u64, address));
        };
        Ok(Translation {
            address: physical | address & 0xfff,
            load,
            store,
            fetch,
            user: false,
            global: false,
            level: self.level,
            whole_page: self.whole_pages,
            whole_chunk: false,
        })
    }

    fn access_fault(&self, address: u64, access: Access) -> Exception {
        exception(20 + access as u64, address)
    }

    fn misaligned(&self, address: u64, _: Size, access: Access, atomic: bool) -> Result<(), Exception> {
        if self.misaligned && !atomic { Ok(()) } else { Err(exception(30 + access as u64, address)) }
    }

    fn lift_in(
        &mut self,
        _: u32,
        pc: u64,
        max: usize,
        block: &mut Block,
        code: &mut Code<'_, Self>,
    ) -> Result<(), Exception> {
        self.lifted.push(pc);
        let mut builder = Builder::new(block, pc);
        loop {
            let at = builder.next_pc();
            let on = Terminator::Jump { target: at };
            if builder.is_full(max) || !builder.is_empty() && self.respects_pages && at & 0xfff == 0 {
                builder.finish(on);
                return Ok(());
            }
            let mut fetch = || {
                let low = code.read(self, at)?;
                Ok(u32::from(code.read(self, at.wrapping_add(2))?) << 16 | u32::from(low))
            };
            let number = match fetch() {
                Ok(number) => number,
                Err(exception) if builder.is_empty() => return Err(exception),
                Err(_) => {
                    builder.finish(on);
                    return Ok(());
                }
            };
            builder.instruction(4);
            let Toy { insts, end } = self.instructions[number as usize].clone();
            for inst in insts {
                builder.push(inst);
            }
            if let Some(end) = end {
                builder.finish(end);
                return Ok(());
            }
        }
    }

    fn call(&mut self, function: u16, a: u64, b: u64) -> Result<u64, Exception> {
        const FUNCTIONS: [Function; 8] = [
            Function::Add,
            Function::Raise,
            Function::FlushPage,
            Function::FlushAll,
            Function::FenceCode,
            Function::Context,
            Function::Note,
            Function::Stop,
        ];
        match FUNCTIONS[usize::from(function)] {
            Function::Add => return Ok(a.wrapping_add(b)),
            Function::Raise => return Err(exception(a, b)),
            Function::FlushPage => self.flush = Flush::page(a, None),
            Function::FlushAll => self.flush = Flush::All,
            Function::FenceCode => self.epoch += 1,
            Function::Context => self.context = a as u32,
            Function::Note => self.notes.push((a, self.pc(), self.instret())),
            Function::Stop => self.stop = true,
        }
        Ok(0)
    }

    fn float(&mut self, op: FloatOp, rounding: u8, [a, b, c]: [u64; 3]) -> u64 {
        let kind = crate::ir::FloatKind::ALL.iter().position(|&kind| kind == op.kind).unwrap() as u64;
        a ^ b.rotate_left(8)
            ^ c.rotate_left(16)
            ^ kind << 32
            ^ (op.format as u64) << 40
            ^ u64::from(rounding) << 48
    }

    fn raise(&mut self, exception: Exception) {
        self.raised.push((exception, self.pc(), self.instret()));
        self.vars[usize::from(PC.0)] = HANDLER;
    }
}
