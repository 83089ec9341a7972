//! Random programs: what is translated ends as what is interpreted, to the last bit and instruction.
//!
//! A program has a page for each of its functions, and data; some accesses are to what does not exist. A trap handler goes on
//! behind what has raised an exception, and adds up the traps' causes, values and addresses, so that they are compared, too.

mod generate;
mod hostile;

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;

use polyvisor_cell_abi::riscv::{F, WORDS, X as REGISTERS};
use proptest::prelude::*;

use self::generate::{
    COUNTERS, Choice, FUNCTIONS, HANDLER, Means, OF_FUNCTIONS, ROUNDS, Source, emit, source,
};
use super::board::{Board, END, Place, RAM, RAM_SIZE};
use super::machine::{Jit, Options, Saved, interpret};
use super::paging::{ALL, GLOBAL, Space};
use super::program::*;
use crate::jit::compile::Features;
use crate::riscv::Hart;

/// Where things are in RAM: the start, the trap handler, what that keeps, page tables, the program, its functions, data.
const HANDLER_AT: u64 = RAM + 0x800;
const LOG: u64 = RAM + 0x1000;
const TABLES: u64 = RAM + 0x2000;
const MAIN: u64 = RAM + 0x6000;
const FUNCTION: u64 = RAM + 0x1_8000;
const FUNCTION_SIZE: u64 = 0x4000;
const REGISTERS_AT: u64 = RAM + 0x2_8000;
const DATA: u64 = RAM + 0x2_c000;
/// How often all is executed: so often that most of it is translated.
const REPEAT: u64 = 40;
/// Where supervisor mode sees RAM.
const KERNEL: u64 = 0xffff_ffc0_0000_0000;

/// Whether there is translation of addresses, and with how many marked global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paging {
    Bare,
    Sv39 { global: bool },
}

/// What there is to a run.
#[derive(Debug, Clone, Copy)]
struct Setting {
    paging: Paging,
    /// How often, in terms of [`Board::time`], the timer interrupts.
    interrupts: Option<u64>,
}

impl Setting {
    /// Where the program sees a place in RAM.
    fn seen(&self, address: u64) -> u64 {
        match self.paging {
            Paging::Bare => address,
            Paging::Sv39 { .. } => address | KERNEL,
        }
    }

    /// The number of a CSR of the mode that the program runs in, which is given as machine mode's.
    fn csr(&self, machine: u32) -> u32 {
        match self.paging {
            Paging::Bare => machine,
            Paging::Sv39 { .. } => machine - 0x200,
        }
    }

    fn load(&self, source: &Source) -> Arc<Board> {
        let board = Board::new(1);
        let main = self.seen(MAIN + source.offset);
        board.load(RAM, &self.start(main));
        board.load(HANDLER_AT, &self.handler());
        let registers = source.registers.iter().flat_map(|value| value.to_le_bytes());
        board.load(REGISTERS_AT, &registers.collect::<Vec<u8>>());
        self.map(&board);
        // Functions are far enough away for all of the program, and each other.
        let mut program = Program::new(main);
        let functions: [Label; FUNCTIONS] = core::array::from_fn(|_| program.label());
        self.program(&mut program, source, &functions);
        for (index, (function, body)) in (0..).zip(functions.iter().zip(&source.functions)) {
            let at = self.seen(FUNCTION + FUNCTION_SIZE * index) + ((source.offset * (index + 3)) & 0xffe);
            program.skip_to(at);
            program.bind(*function);
            emit(&mut program, body, OF_FUNCTIONS);
            program.word(RET);
        }
        assert!(program.here() < self.seen(REGISTERS_AT), "a program that is too large");
        board.load(MAIN + source.offset, &program.finish());
        board
    }

    /// Page tables: RAM at [`KERNEL`] and above, page by page; the first 2 MiB where they are.
    fn map(&self, board: &Board) {
        let Paging::Sv39 { global } = self.paging else { return };
        let flags = if global { ALL | GLOBAL } else { ALL };
        let mut space = Space::new(TABLES);
        space.map(board, 0, 0, 1, flags);
        for address in (RAM..RAM + RAM_SIZE).step_by(0x1000) {
            space.map(board, self.seen(address), address, 0, flags);
        }
    }

    /// What machine mode does first.
    fn start(&self, main: u64) -> Vec<u8> {
        let mut program = Program::new(RAM);
        program.li(T0, self.seen(HANDLER_AT)).word(csrrw(ZERO, self.csr(0x305), T0));
        // All counters for all modes, the supervisor's timer, floating point (initial), and all of memory.
        program.li(T0, 7).word(csrrw(ZERO, 0x306, T0)).li(T0, 1 << 63).word(csrrw(ZERO, 0x30a, T0));
        program.li(T0, u64::MAX).words(&[csrrw(ZERO, 0x3b0, T0)]).li(T0, 0x1f).word(csrrw(ZERO, 0x3a0, T0));
        if self.interrupts.is_some() {
            program.word(csrrw(ZERO, 0x14d, ZERO)).li(T0, 0x20).word(csrrw(ZERO, 0x304, T0));
        }
        program.li(T1, main).word(csrrw(ZERO, 0x341, T1));
        let mut status = 1 << 13 | 1 << 5 | 1 << 7 | 3 << 11;
        if let Paging::Sv39 { .. } = self.paging {
            program.li(T0, u64::MAX).words(&[csrrw(ZERO, 0x302, T0), csrrw(ZERO, 0x303, T0)]);
            program.li(T0, Space::new(TABLES).satp(5)).word(csrrw(ZERO, 0x180, T0));
            status = 1 << 13 | 1 << 5 | 1 << 11 | 2;
        }
        program.li(T0, status).words(&[csrrw(ZERO, 0x300, T0), MRET]);
        assert!(program.here() < HANDLER_AT);
        program.finish()
    }

    /// Goes on behind what has raised an exception; of interrupts, waits for the next one.
    fn handler(&self) -> Vec<u8> {
        const SAVED: X = 30;
        let [scratch, epc, cause, value] = [0x340, 0x341, 0x342, 0x343].map(|csr| self.csr(csr));
        let mut program = Program::new(self.seen(HANDLER_AT));
        let (short, out, interrupt) = (program.label(), program.label(), program.label());
        program.words(&[csrrw(ZERO, scratch, SAVED), csrrs(HANDLER, cause, ZERO)]);
        program.branch(LT, HANDLER, ZERO, interrupt).li(SAVED, self.seen(LOG));
        for (index, csr) in [cause, value, epc].into_iter().enumerate() {
            // AMOADD.D.
            program.words(&[
                csrrs(HANDLER, csr, ZERO),
                amo(0, 3, ZERO, SAVED, HANDLER),
                addi(SAVED, SAVED, 8),
            ]);
            assert!(index < 3);
        }
        // HANDLER is where it was.
        program.words(&[load(5, SAVED, HANDLER, 0), andi(SAVED, SAVED, 3), addi(SAVED, SAVED, -3)]);
        program.branch(NE, SAVED, ZERO, short).word(addi(HANDLER, HANDLER, 2)).bind(short);
        program.words(&[addi(HANDLER, HANDLER, 2), csrrw(ZERO, epc, HANDLER)]).bind(out);
        program.words(&[csrrs(SAVED, scratch, ZERO), addi(HANDLER, ZERO, 0)]);
        program.word(if self.paging == Paging::Bare { MRET } else { SRET }).bind(interrupt);
        let period = self.interrupts.unwrap_or(0) as i32;
        program.words(&[
            csrrs(HANDLER, 0xc01, ZERO),
            addi(HANDLER, HANDLER, period),
            csrrw(ZERO, 0x14d, HANDLER),
        ]);
        program.jump(out);
        program.finish()
    }

    /// Loads all registers but the trap handler's.
    fn registers(&self, program: &mut Program) {
        const LAST: X = 30;
        program.li(HANDLER, 0).li(LAST, self.seen(REGISTERS_AT));
        for register in 0..32 {
            // FLD.
            program.word(ld(register, LAST, 256 + 8 * register as i32) & !0x7f | 0x07);
        }
        for register in 1..=LAST {
            program.word(ld(register, LAST, 8 * register as i32));
        }
    }

    /// The main program.
    fn program(&self, program: &mut Program, source: &Source, functions: &[Label]) {
        self.registers(program);
        program.li(ROUNDS, REPEAT);
        let (head, out) = (program.bound(), program.label());
        program.li(S0, self.seen(DATA) + 0x1000).li(SP, self.seen(DATA) + 0x2800);
        program.li(S1, self.seen(RAM + RAM_SIZE) - 0x80);
        emit(program, &source.main, Means { counters: &COUNTERS[..2], functions });
        program.word(addi(ROUNDS, ROUNDS, -1)).branch(EQ, ROUNDS, ZERO, out).jump(head).bind(out);
        program.li(T0, END).word(sw(ZERO, T0, 0));
        let here = program.bound();
        program.jump(here);
    }
}

/// That two runs have ended in the same way: in all registers, or only in those that computations leave their results in; and
/// in all data.
fn check_same(runs: [(&Hart<Place>, &Board); 2], all: bool) -> Result<(), TestCaseError> {
    let [one, other] = runs.map(|(hart, _)| hart.registers());
    let mut range = if all { 0..WORDS } else { REGISTERS..F + 32 };
    if let Some(word) = range.find(|&word| one[word] != other[word]) {
        prop_assert!(false, "word {}: {:#x}, interpreted {:#x}", word, one[word], other[word]);
    }
    let from = if all { RAM } else { REGISTERS_AT };
    let [one, other] = runs.map(|(_, board)| board.words(from..RAM + RAM_SIZE));
    if let Some(index) = one.iter().zip(&other).position(|(one, other)| one != other) {
        let address = from + 8 * index as u64;
        prop_assert!(false, "at {:#x}: {:#x}, interpreted {:#x}", address, one[index], other[index]);
    }
    Ok(())
}

/// Runs a program with `options`, and compares; the JIT.
fn check(source: &Source, setting: Setting, options: Options) -> Result<Jit, TestCaseError> {
    let (board, other) = (setting.load(source), Setting { interrupts: None, ..setting }.load(source));
    let jit = Jit::new(&board, options);
    let hart = jit.run(&board, 0);
    let mismatches = jit.report.mismatches.lock().unwrap();
    prop_assert!(mismatches.is_empty(), "lock-step: {:x?}", mismatches);
    drop(mismatches);
    let interpreted = interpret(&other, 0);
    let all = setting.interrupts.is_none();
    check_same([(&hart, &board), (&interpreted, &other)], all)?;
    prop_assert!(jit.counts().blocks > 0 && jit.report.entered.load(SeqCst) > 0, "nothing was translated");
    Ok(jit)
}

/// Records a program, then runs it with what was recorded: nothing is translated, and all is the same.
fn check_saved(source: &Source, setting: Setting, options: Options) -> Result<(), TestCaseError> {
    // A cache that is too small has things translated again and again, and each time they are recorded.
    let recorded = check(source, setting, Options { saved: Saved::Record(1 << 20), ..options })?;
    let store = recorded.store();
    for lockstep in [false, true] {
        let options = Options { saved: Saved::Store(store), lockstep, ..options };
        let (translated, recalled) = check(source, setting, options)?.origins();
        prop_assert!(recalled > 0, "nothing was found");
        prop_assert!(translated == 0 || setting.interrupts.is_some(), "{} translated", translated);
    }
    Ok(())
}

fn paging() -> impl Strategy<Value = Paging> {
    prop_oneof![Just(Paging::Bare), any::<bool>().prop_map(|global| Paging::Sv39 { global })]
}

fn features() -> impl Strategy<Value = Features> {
    any::<(bool, bool)>().prop_map(|(lse, pmull)| Features { lse, pmull })
}

const EXACT: Choice = Choice { float: true, exact: true };
const INTEGER: Choice = Choice { float: false, exact: true };
const INTERRUPTED: Choice = Choice { float: true, exact: false };

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_local_rejects: 1 << 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn integer_programs_end_as_in_the_interpreter(
        source in source(INTEGER), paging in paging(), features in features(),
    ) {
        let options = Options { features, ..Options::default() };
        check(&source, Setting { paging, interrupts: None }, options)?;
    }

    #[test]
    fn programs_end_as_in_the_interpreter(source in source(EXACT), paging in paging(), features in features()) {
        let options = Options { features, ..Options::default() };
        check(&source, Setting { paging, interrupts: None }, options)?;
    }

    #[test]
    fn programs_pass_in_lock_step(source in source(EXACT), paging in paging(), features in features()) {
        let options = Options { features, lockstep: true, ..Options::default() };
        check(&source, Setting { paging, interrupts: None }, options)?;
    }

    #[test]
    fn programs_end_alike_in_a_cache_that_is_too_small(source in source(EXACT), paging in paging()) {
        let options = Options { capacity: 1 << 13, ..Options::default() };
        check(&source, Setting { paging, interrupts: None }, options)?;
    }

    #[test]
    fn programs_end_alike_with_saved_translations(
        source in source(EXACT), paging in paging(), features in features(), is_small in any::<bool>(),
    ) {
        let capacity = if is_small { 1 << 13 } else { Options::default().capacity };
        let options = Options { features, capacity, ..Options::default() };
        check_saved(&source, Setting { paging, interrupts: None }, options)?;
    }

    #[test]
    fn interrupts_change_nothing_about_saved_translations(
        source in source(INTERRUPTED), paging in paging(), period in 50u64..400,
    ) {
        check_saved(&source, Setting { paging, interrupts: Some(period) }, Options::default())?;
    }

    #[test]
    fn interrupts_change_nothing(source in source(INTERRUPTED), paging in paging(), period in 50u64..400) {
        check(&source, Setting { paging, interrupts: Some(period) }, Options::default())?;
    }
}
