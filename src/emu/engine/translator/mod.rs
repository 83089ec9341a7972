//! The translator on this hart: JIT and interpreter, and what harts share of them.

mod code;
mod cpu;
mod mapping;
mod protection;
mod report;
mod saved;

pub use report::report;

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::Ordering::Release;

use polyvisor_cell_abi::{CellInfo, JitStatistics, Overflow, PAGE, Translation};
use polyvisor_emu::interp::{Exits, Interpreter};
use polyvisor_emu::jit::cache::Cache;
use polyvisor_emu::jit::compile::Compiler;
use polyvisor_emu::jit::runtime::Runtime;
use polyvisor_emu::jit::shared::Shared;
use polyvisor_emu::riscv::{self, Hart};
use polyvisor_emu::shadow::{CodePages, Shadow, Table};
use spin::{Once, mutex::SpinMutex};

use self::code::Code;
use self::cpu::{HartCpu, features};
use self::mapping::Hardware;
use self::protection::Protected;
use crate::{address::physical_address, cell, cpu::Relax, fatal, machine::Machine, shadow::Cpu, stage1};

/// Bytes of the interpreter's code for each hart. Beside the JIT, too: what is forgotten is counted from the start.
const CODE: usize = 12 << 20;
/// Shadow tables for each hart: 4 MiB.
const TABLES: u32 = 1024;

/// What all harts share of the JIT.
type Jit = Shared<Code, Protected, Relax>;
static JIT: Once<Arc<Jit>> = Once::new();
/// Where all harts' shadow tables are, and which pages must not be written.
static CODE_PAGES: Once<Arc<CodePages>> = Once::new();
/// Where translated code is executed.
static WINDOW: Once<Range<u64>> = Once::new();

/// How code is executed.
fn translation(cell: &CellInfo) -> Translation {
    match Translation::from_bits(cell.translation) {
        Some(translation) => translation,
        None => fatal::stop(format_args!("no way to execute code: {}", cell.translation)),
    }
}

/// Sets up what harts share.
pub fn init(cell: &CellInfo) {
    let harts = cell::harts(cell);
    let ram = cell.ram_base..cell.ram_base.saturating_add(cell.ram_size);
    let tables = Table::allocate(TABLES as usize * harts);
    let physical = physical_address(tables.as_ptr() as u64);
    let pages = CODE_PAGES.call_once(|| Arc::new(CodePages::new(ram.clone(), tables, physical)));
    if translation(cell) == Translation::Off {
        return;
    }
    let code = Code::new();
    let leave = cpu::leave();
    WINDOW.call_once(|| code.range());
    let miss = code.range().start;
    let cache = Cache::new(code, &leave, ram);
    let features = features();
    let compiler = Compiler::new(riscv::LAYOUT.clone(), features);
    let protection = Protected::new(cell, pages.clone());
    let jit = Shared::new(cache, compiler, protection, harts, miss);
    let jit = match (saved::recording(cell, features), saved::store(cell, features)) {
        (Some(recording), _) => jit.with_recording(recording),
        (None, Some(store)) => jit.with_store(store),
        (None, None) => jit,
    };
    let jit = JIT.call_once(|| Arc::new(jit));
    cell.statistics.store(physical_address(jit.statistics() as *const JitStatistics as u64), Release);
}

/// Whether translated code is executed at `address`.
pub fn is_translated(address: u64) -> bool {
    WINDOW.get().is_some_and(|window| window.contains(&address))
}

/// An interrupt has found the hart executing translated code at `address`.
pub fn sample(address: u64) {
    if let Some(jit) = JIT.get() {
        jit.sample(address);
    }
}

/// Writes `len` bytes of the guest's RAM at the guest-physical `address` by `write`.
pub fn writing(address: u64, len: u64, write: &mut dyn FnMut()) {
    match JIT.get() {
        Some(jit) => jit.writing(address, len, write),
        None => write(),
    }
}

/// Runs `hart`, whose number is `index`, until the guest has ended its machine.
pub fn run(hart: &mut Hart<Machine>, cell: &CellInfo, index: usize) {
    let shadow =
        CODE_PAGES.get().and_then(|pages| Shadow::new(Cpu, pages.clone(), TABLES, stage1::engine_entry()));
    let Some(shadow) = shadow else { fatal::stop(format_args!("no tables for hart {index}")) };
    let mapping = Hardware(shadow);
    match JIT.get() {
        None => Interpreter::with(CODE, mapping, Exits::Linked).run(hart),
        Some(jit) => {
            let interpreter = Interpreter::with(CODE, mapping, Exits::Counted);
            let lockstep = translation(cell) == Translation::LockStep;
            Runtime::new(interpreter, HartCpu, jit.clone(), &riscv::LAYOUT, index, lockstep).run(hart);
        }
    }
}

/// How far the log of what EL2 has written is read.
static LOG: SpinMutex<u64, Relax> = SpinMutex::new(0);

/// EL2's devices may have written code: what was translated of those pages is forgotten.
fn read_log(time: u64) {
    let (Some(jit), cell) = (JIT.get(), cell::info()) else { return };
    let mut cursor = LOG.lock();
    let page = |page: u32| jit.written(cell.ram_base + u64::from(page) * PAGE, time);
    if let Err(Overflow) = cell.written.read(&mut cursor, page) {
        jit.all_written(time);
    }
}
