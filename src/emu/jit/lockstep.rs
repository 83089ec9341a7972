//! Lock-step: what guest code must do, found out by evaluating it instruction by instruction, for comparison with what
//! its translation has done.
//!
//! The evaluation changes nothing: stores go to an overlay. It ends where something happens that cannot be undone or is not
//! the translation's: an atomic access, a call of the front end, an access that is not to RAM. The translation, which stops
//! after one pass through its trace, is then compared with the state after as many instructions as it has retired. An exception
//! is to be compared before anything is done about it.

use alloc::{collections::BTreeMap, vec::Vec};

use super::trace::Source;
use crate::interp::{Code, Guest};
use crate::ir::{Block, Condition, Inst, Terminator, Value, Var, eval};
use crate::memory::{Access, Physical, Size};

/// How many globals there are.
const GLOBALS: usize = Var::FIRST_TEMPORARY as usize;
const PAGE: u64 = 4096;

/// The state after some instructions.
type Snapshot = [u64; GLOBALS];

/// What code must do.
#[derive(Debug)]
pub struct Prediction {
    /// The count of retired instructions in front of it.
    retired: u64,
    /// The state after 0, 1, ... instructions.
    snapshots: Vec<Snapshot>,
    /// Bytes of RAM that are written, in order: after how many instructions, where, and what.
    stores: Vec<(usize, u64, u8)>,
    /// Bytes that are read from RAM.
    loads: Vec<(u64, u8)>,
}

/// Where translated code has done something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The global that is wrong, or the guest-physical address of a byte of RAM.
    pub place: Place,
    /// What must be there.
    pub expected: u64,
    /// What is there.
    pub found: u64,
    /// How many instructions were retired.
    pub instructions: usize,
}

/// A place in the guest's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A variable.
    Global(Var),
    /// A guest-physical address.
    Memory(u64),
}

/// Why an evaluation ends.
struct End;

/// Evaluates up to `max` instructions of `source` from the program counter on.
pub fn predict<G: Guest>(guest: &mut G, source: Source, max: usize) -> Prediction {
    let before = *guest.vars();
    let retired = before[usize::from(G::INSTRET.0)];
    let mut evaluation =
        Evaluation { guest, overlay: BTreeMap::new(), stores: Vec::new(), loads: Vec::new(), index: 0 };
    let mut snapshots = Vec::new();
    evaluation.snapshot(&mut snapshots);
    let start = before[usize::from(G::PC.0)];
    for index in 1..=max {
        evaluation.index = index;
        let pc = evaluation.vars()[usize::from(G::PC.0)];
        if (pc ^ start) & !(PAGE - 1) != 0 {
            break;
        }
        let kept = (evaluation.stores.len(), *evaluation.vars());
        let Some(block) = evaluation.lift(source, pc) else { break };
        if evaluation.block(&block).is_err() {
            evaluation.stores.truncate(kept.0);
            *evaluation.vars() = kept.1;
            break;
        }
        evaluation.snapshot(&mut snapshots);
    }
    let Evaluation { guest, stores, loads, .. } = evaluation;
    *guest.vars() = before;
    Prediction { retired, snapshots, stores, loads }
}

impl Prediction {
    /// Compares the state of `guest` with what it must be. `None` if that is not known: more instructions were retired than were
    /// evaluated, or somebody else has changed memory.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare<G: Guest>(&self, guest: &mut G) -> Option<Result<(), Mismatch>> {
        let found = *guest.vars();
        let instructions = found[usize::from(G::INSTRET.0)].wrapping_sub(self.retired) as usize;
        let expected = self.snapshots.get(instructions)?;
        let differing = expected.iter().zip(&found).position(|(expected, found)| expected != found);
        let mut mismatch = differing.map(|global| Mismatch {
            place: Place::Global(Var(global as u8)),
            expected: expected[global],
            found: found[global],
            instructions,
        });
        let mut last = BTreeMap::new();
        for &(index, address, byte) in &self.stores {
            if index <= instructions {
                last.insert(address, byte);
            }
        }
        let ram = guest.physical().ram();
        for (&address, &byte) in &last {
            let found = ram.read::<u8>(address)?;
            if found != byte && mismatch.is_none() {
                mismatch = Some(Mismatch {
                    place: Place::Memory(address),
                    expected: byte.into(),
                    found: found.into(),
                    instructions,
                });
            }
        }
        let Some(mismatch) = mismatch else { return Some(Ok(())) };
        // Another hart or a device may have been at work.
        let undisturbed = self.loads.iter().all(|(address, byte)| {
            last.contains_key(address) || ram.read::<u8>(*address).is_some_and(|found| found == *byte)
        });
        undisturbed.then_some(Err(mismatch))
    }
}

struct Evaluation<'a, G> {
    guest: &'a mut G,
    /// Bytes of RAM that have been written.
    overlay: BTreeMap<u64, u8>,
    stores: Vec<(usize, u64, u8)>,
    loads: Vec<(u64, u8)>,
    /// The number of the instruction, from 1.
    index: usize,
}

impl<G: Guest> Evaluation<'_, G> {
    fn vars(&mut self) -> &mut [u64; 256] {
        self.guest.vars()
    }

    fn snapshot(&mut self, snapshots: &mut Vec<Snapshot>) {
        if let Some(globals) = self.vars().first_chunk() {
            snapshots.push(*globals);
        }
    }

    fn lift(&mut self, source: Source, pc: u64) -> Option<Block> {
        let mut fetch = |guest: &mut G, address| {
            source.code(address).ok_or_else(|| guest.access_fault(address, Access::Fetch))
        };
        let (mut block, mut code) = (Block::default(), Code::new(&mut fetch));
        self.guest.lift_in(source.key.context, pc, 1, &mut block, &mut code).ok()?;
        Some(block)
    }

    fn value(&mut self, value: Value) -> u64 {
        match value {
            Value::Var(var) => self.vars()[usize::from(var.0)],
            Value::Const(constant) => constant as u64,
        }
    }

    fn set(&mut self, dst: Var, value: u64) {
        self.vars()[usize::from(dst.0)] = value;
    }

    fn block(&mut self, block: &Block) -> Result<(), End> {
        for inst in &block.insts {
            self.inst(inst)?;
        }
        let holds = |this: &mut Self, condition: Condition, a, b| {
            let (a, b) = (this.value(a), this.value(b));
            eval::compare(condition, a, b)
        };
        let pc = match block.end {
            Terminator::Jump { target } => target,
            Terminator::Branch { condition, a, b, taken, otherwise } => {
                if holds(self, condition, a, b) {
                    taken
                } else {
                    otherwise
                }
            }
            Terminator::Indirect { target } => self.value(target.into()),
            Terminator::Leave | Terminator::Resume { .. } => return Err(End),
        };
        self.set(G::PC, pc);
        let retired = &mut self.vars()[usize::from(G::INSTRET.0)];
        *retired = retired.wrapping_add(block.starts.len() as u64);
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), End> {
        match *inst {
            Inst::Constant { dst, value } => self.set(dst, value),
            Inst::Unary { op, width, dst, a } => {
                let a = self.value(a);
                self.set(dst, eval::unary(op, width, a));
            }
            Inst::Binary { op, width, dst, a, b } => {
                let (a, b) = (self.value(a), self.value(b));
                self.set(dst, eval::binary(op, width, a, b));
            }
            Inst::Compare { condition, dst, a, b } => {
                let (a, b) = (self.value(a), self.value(b));
                self.set(dst, u64::from(eval::compare(condition, a, b)));
            }
            Inst::Select { dst, test, a, b } => {
                let chosen = if self.value(test.into()) != 0 { a } else { b };
                let chosen = self.value(chosen);
                self.set(dst, chosen);
            }
            Inst::Load { size, signed, order: _, dst, base, offset } => {
                let address = self.value(base).wrapping_add(offset as i64 as u64);
                let value = self.load(address, size)?;
                let unused = 64 - 8 * size.bytes() as u32;
                let value = if signed { ((value << unused).cast_signed() >> unused) as u64 } else { value };
                self.set(dst, value);
            }
            Inst::Store { size, order: _, base, offset, value } => {
                let address = self.value(base).wrapping_add(offset as i64 as u64);
                let value = self.value(value);
                self.store(address, size, value)?;
            }
            Inst::Decline { test } if self.value(test) != 0 => return Err(End),
            Inst::Fence | Inst::Decline { .. } => {}
            Inst::Float { op, rounding, dst, a, b, c } => {
                let operands = [a, b, c].map(|operand| self.value(operand));
                let result = self.guest.float(op, rounding, operands);
                self.set(dst, result);
            }
            Inst::LoadReserved { .. }
            | Inst::StoreConditional { .. }
            | Inst::Atomic { .. }
            | Inst::Call { .. } => return Err(End),
        }
        Ok(())
    }

    /// The guest-physical address of a byte of RAM.
    fn translate(&mut self, address: u64, access: Access) -> Result<u64, End> {
        let translation = self.guest.translate(address, 1, access).map_err(|_| End)?;
        let is_ram = self.guest.physical().ram().host(translation.address, 1).is_some();
        if is_ram { Ok(translation.address) } else { Err(End) }
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, End> {
        let mut value = 0;
        for offset in (0..size.bytes()).rev() {
            let physical = self.translate(address.wrapping_add(offset), Access::Load)?;
            let byte = match self.overlay.get(&physical) {
                Some(byte) => *byte,
                None => {
                    let byte = self.guest.physical().ram().read::<u8>(physical).ok_or(End)?;
                    self.loads.push((physical, byte));
                    byte
                }
            };
            value = value << 8 | u64::from(byte);
        }
        Ok(value)
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), End> {
        let mut bytes = Vec::with_capacity(8);
        for offset in 0..size.bytes() {
            let physical = self.translate(address.wrapping_add(offset), Access::Store)?;
            bytes.push((physical, (value >> (8 * offset)) as u8));
        }
        for (physical, byte) in bytes {
            self.overlay.insert(physical, byte);
            self.stores.push((self.index, physical, byte));
        }
        Ok(())
    }
}
