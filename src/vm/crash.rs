//! What is said about a VM that has crashed, so that its author finds out why.

use super::instance::Vm;
use super::vcpu::Regs;
use crate::arch::aarch64::vcpu::trace;
use crate::platform::console::Line;

/// How many of the last exits are shown.
const EXITS: usize = 8;

/// Prints the registers of `vcpu`, which has stopped, where it was, and its last exits.
pub fn report(vm: &Vm, vcpu: usize) {
    let Some(task) = vm.task(vcpu) else { return };
    let slot = task.vcpu();
    let Some(vcpu) = slot.as_ref() else { return };
    let regs = vcpu.regs();
    let x: &[u64] = match &regs {
        Regs::Aarch64 { x, sp, pc, pstate } => {
            Line::print(format_args!("  pc  {pc:016x}  sp  {sp:016x}  pstate {pstate:08x}"));
            x
        }
        Regs::Riscv64 { x, pc, mode } => {
            Line::print(format_args!("  pc  {pc:016x}  mode {mode}"));
            x
        }
    };
    for (row, registers) in x.chunks(3).enumerate() {
        let mut line = heapless::String::<80>::new();
        for (column, value) in registers.iter().enumerate() {
            // Three registers are shorter than a line.
            let _ = core::fmt::Write::write_fmt(
                &mut line,
                format_args!("  x{:<2} {value:016x}", row * 3 + column),
            );
        }
        Line::print(format_args!("{line}"));
    }
    for (name, value) in vcpu.system_registers().iter().filter(|(name, _)| IMPORTANT.contains(name)) {
        Line::print(format_args!("  {name:<10} {value:016x}"));
    }
    Line::print(format_args!("  called from:"));
    for address in vcpu.backtrace() {
        Line::print(format_args!("    {address:016x}"));
    }
    Line::print(format_args!("  last exits:"));
    let exits = task.shared.trace.entries();
    let skipped = exits.size_hint().1.unwrap_or(0).saturating_sub(EXITS);
    for exit in exits.skip(skipped).map(trace::describe) {
        let (seconds, rest) = (exit.time / 1_000_000, exit.time % 1_000_000);
        Line::print(format_args!("    {seconds:5}.{rest:06} {:016x} {}", exit.pc, exit.cause));
    }
}

/// The system registers that tell most about a guest that has gone astray.
const IMPORTANT: [&str; 17] = [
    "sctlr_el1",
    "ttbr0_el1",
    "ttbr1_el1",
    "vbar_el1",
    "esr_el1",
    "far_el1",
    "elr_el1",
    "mstatus",
    "mtvec",
    "mepc",
    "mcause",
    "mtval",
    "satp",
    "stvec",
    "sepc",
    "scause",
    "stval",
];
