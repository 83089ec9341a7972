//! The guest's registers, for the report of a failure of the engine.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Acquire;

use polyvisor_cell_abi::riscv::{CSR, CSRS, INSTRET, MODE, PC, WORDS, X};

use crate::{address::virtual_address, cell, fatal, fatal::Report};

/// Writes those of the guest's hart number `hart`, if it has got that far.
pub fn registers(mut out: &Report, hart: usize) -> fmt::Result {
    let state = cell::hart(hart).map_or(0, |hart| hart.state.load(Acquire));
    if state == 0 {
        return writeln!(out, "the guest has not started");
    }
    // SAFETY: the hart has put the address of its registers there. It is this hart, which does not run.
    let state = unsafe { (virtual_address(state) as *const [u64; WORDS]).read_volatile() };
    writeln!(
        out,
        "guest, hart {hart}: pc {:016x}  mode {}  instret {}",
        state[PC], state[MODE], state[INSTRET]
    )?;
    fatal::registers(out, &state[X..X + 32])?;
    let mut column = 0;
    // Most are zero, and say nothing.
    for (name, value) in CSRS.iter().zip(&state[CSR..]).filter(|(_, value)| **value != 0) {
        column = (column + 1) % 3;
        let end = if column == 0 { "\n" } else { "" };
        write!(out, "  {name} {value:x}{end}")?;
    }
    if column == 0 { Ok(()) } else { writeln!(out) }
}
