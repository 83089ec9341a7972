//! Compiled code in the simulator, between a guest's state before and after.

use std::vec::Vec;

use proptest::prelude::*;

use super::reference::Reference;
use crate::ir::{Block, Var};
use crate::jit::compile::layout::{Home, Layout};
use crate::jit::compile::{Compiled, Compiler, ExitKind, Features};
use crate::jit::tests::simulator::{Memory, Regions, Simulator, Stop};
use crate::memory::Size;
use crate::riscv::layout::layout;

/// Where the code lies.
const CODE: u64 = 0x7000_0000_0000;
/// Where the hart's words are.
const WORDS: u64 = 0x8100_0000_0000;
/// The base of the tables: all empty, so that everything misses.
const TABLES: u64 = 0x8200_0000_0000;
/// Bytes of the tables: below the base, with a pair for odd targets, and above.
const TABLES_BELOW: usize = 0x8_0010;
const TABLES_ABOVE: usize = 0x8000;
const DUE: u64 = 1 << 63;
const FLOAT_READY: u8 = 231;
/// The globals of which these tests know: registers and the reservation.
const GLOBALS: core::ops::Range<usize> = 1..72;

/// Where the guest may have data, and what is there.
pub const DATA: u64 = 0x20_0000;
pub const DATA_SIZE: usize = 0x1000;

/// A way to run a trace.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub features: Features,
    /// Whether the hart is wanted; then the unchecked entry is taken, since nothing is executed otherwise.
    pub due: bool,
    /// How many guest instructions are retired before.
    pub retired: u64,
}

/// Compiles and executes a trace of the program that consists of `blocks`, and checks that the state in which it is left is one that the guest has been in. Returns
/// how many guest instructions were executed.
pub fn check(parts: &[Block], blocks: &[Block], vars: [u64; 256], run: Run) -> Result<u64, TestCaseError> {
    let layout = layout(FLOAT_READY, FLOAT_READY + 1);
    let mut compiler = Compiler::new(layout.clone(), run.features);
    let Some(compiled) = compiler.compile(parts, &mut |target| (target & 0x1000 != 0).then_some(3)) else {
        return Ok(0);
    };
    let data: Vec<u8> = (0..DATA_SIZE).map(|at| (at * 7) as u8).collect();
    let guest = Regions::default().with(DATA, data, true);
    let words: Vec<u8> = vars.iter().flat_map(|word| word.to_le_bytes()).collect();
    let memory = guest.clone().with(WORDS, words, false).with(TABLES - TABLES_BELOW as u64, tables(), false);
    let mut machine = Machine { layout: &layout, compiled: &compiled, memory, simulator: Simulator::new() };
    let left = machine.run(&vars, run)?;
    let pc = left.pc;
    let total = left.retired.wrapping_sub(run.retired);
    let mut reference = Reference { vars, memory: guest, pc: parts[0].pc, retired: 0, blocks };
    while reference.retired < total {
        prop_assert_eq!(reference.step(), Ok(()), "at {:#x}, after {}", reference.pc, reference.retired);
    }
    prop_assert_eq!(pc, reference.pc, "after {}, {:?}", total, left);
    for global in GLOBALS {
        if global != usize::from(layout.instret.0) {
            let home = layout.homes[global];
            prop_assert_eq!(
                left.vars[global],
                reference.vars[global],
                "g{}, in {:?}, {:x?}",
                global,
                home,
                left
            );
        }
    }
    prop_assert_eq!(&machine.memory.0[0], &reference.memory.0[0]);
    if left.faulted {
        prop_assert!(reference.step().is_err(), "a fault at {:#x}", pc);
    }
    Ok(total)
}

/// Tables that know nothing: slots lead to nowhere, and no address has the tag that an entry has, or, if it is odd, is that of
/// an entry's code.
fn tables() -> Vec<u8> {
    let indirect = core::iter::repeat_n([1, 0xbad0], TABLES_BELOW / 16).flatten();
    let slots = core::iter::repeat_n(u64::MAX, TABLES_ABOVE / 8);
    indirect.chain(slots).flat_map(u64::to_le_bytes).collect()
}

/// The guest's state where code has been left.
#[derive(Debug)]
struct Left {
    vars: [u64; 256],
    pc: u64,
    retired: u64,
    faulted: bool,
}

struct Machine<'a> {
    layout: &'a Layout,
    compiled: &'a Compiled<'a>,
    memory: Regions,
    simulator: Simulator,
}

impl Machine<'_> {
    fn run(&mut self, vars: &[u64; 256], run: Run) -> Result<Left, TestCaseError> {
        for (global, home) in self.layout.homes.iter().enumerate() {
            if let Home::X(x) = home {
                self.simulator.x[usize::from(x.number())] = vars[global];
            }
        }
        self.simulator.sp = WORDS;
        self.simulator.x[18] = run.retired | if run.due { DUE } else { 0 };
        self.simulator.x[28] = TABLES;
        for temporary in [16, 17, 30] {
            self.simulator.x[temporary] = 0xdead_beef_dead_beef;
        }
        self.simulator.pc = if run.due { CODE + 4 } else { CODE };
        let words = self.compiled.words;
        let code = |address: u64| {
            let index = address.wrapping_sub(CODE) / 4;
            if self.compiled.exits.iter().any(|exit| exit.kind.is_call() && u64::from(exit.stub) == index) {
                // A call of something far away, by way of its placeholder.
                return None;
            }
            words.get(index as usize).copied()
        };
        let mut rounds = 0;
        let stop = loop {
            match self.simulator.run(&code, &mut self.memory, 2000) {
                // It loops: the hart is wanted now.
                Stop::Limit if rounds == 0 => {
                    rounds += 1;
                    self.simulator.x[18] |= DUE;
                }
                stop => break stop,
            }
        };
        let index = self.simulator.pc.wrapping_sub(CODE) / 4;
        match stop {
            Stop::Left if index < words.len() as u64 => self.exit(index as u16),
            // BLR or BR to what the tables hold, which is nowhere.
            Stop::Left => {
                let stub = self.simulator.x[30].wrapping_sub(CODE) / 4;
                prop_assert!(self.simulator.pc == u64::MAX, "{:#x}", self.simulator.pc);
                self.exit(stub as u16 - 1)
            }
            Stop::Fault { .. } => self.fault(index as u16),
            stop => Err(TestCaseError::fail(std::format!("{stop:?} at {index}"))),
        }
    }

    fn exit(&mut self, stub: u16) -> Result<Left, TestCaseError> {
        let number = self.compiled.words[usize::from(stub) + 1];
        let exit = self.compiled.exits[number as usize];
        prop_assert_eq!(exit.stub, stub);
        if let Some(branch) = exit.branch {
            let word = self.compiled.words[usize::from(branch)];
            prop_assert_eq!(word, crate::a64::branch(branch.into(), stub.into()).unwrap());
        }
        let pc = match exit.kind {
            ExitKind::Jump { target, .. } | ExitKind::FarMiss { target, .. } => target,
            ExitKind::Indirect => self.simulator.x[16],
            ExitKind::Interpret { pc } | ExitKind::Attention { pc } | ExitKind::Float { pc } => pc,
        };
        Ok(Left { vars: self.vars(0), pc, retired: self.simulator.x[18] & !DUE, faulted: false })
    }

    fn fault(&mut self, word: u16) -> Result<Left, TestCaseError> {
        let faults = self.compiled.faults;
        prop_assert!(faults.is_sorted_by_key(|fault| fault.word));
        let fault = faults.iter().find(|fault| fault.word == word);
        let fault = fault.ok_or_else(|| TestCaseError::fail(std::format!("no entry for {word}")))?;
        // All parts are on one page.
        let page = super::programs::START & !0xfff;
        let retired = (self.simulator.x[18] & !DUE).wrapping_add(fault.retired.into());
        let pc = page | u64::from(fault.offset);
        Ok(Left { vars: self.vars(fault.pending), pc, retired, faulted: true })
    }

    /// The guest's registers, of which some must still be extended.
    fn vars(&mut self, pending: u32) -> [u64; 256] {
        let mut vars = [0; 256];
        for global in GLOBALS {
            vars[global] = match self.layout.home(Var(global as u8)) {
                Home::X(x) => {
                    let value = self.simulator.x[usize::from(x.number())];
                    if pending >> x.number() & 1 != 0 { value as i32 as u64 } else { value }
                }
                _ => self.memory.load(WORDS + 8 * global as u64, Size::Double, false).unwrap(),
            };
        }
        vars
    }
}
