//! `cargo xtask emu`: runs a bare RISC-V program on this machine, in the engine's translator.
//!
//! The machine has RAM, the CLINT, a 16550A that only transmits, the test finisher, and the host-target
//! interface (HTIF) if the program has the symbol `tohost`. All harts start in machine mode at the program's
//! entry.

mod htif;
mod machine;
mod platform;
mod program;
mod trace;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result};
use clap::Args;
use polyvisor_cell_abi::MAX_HARTS;
use polyvisor_emu::{
    interp::{Guest, Interpreter},
    riscv::Hart,
};

use self::{machine::Machine, platform::HartPlatform, program::Program, trace::Traced};
use crate::size::Size;

/// How many bytes of translated code each hart keeps.
const CODE_CACHE: usize = 16 << 20;

/// What `emu` can be asked for.
#[derive(Debug, Args)]
pub struct EmuOptions {
    /// The program, an ELF file for RISC-V of 64 bits
    file: PathBuf,
    /// How many harts
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=MAX_HARTS as i64))]
    harts: u8,
    /// RAM, such as 64M, from 0x80000000 on
    #[arg(long, value_name = "SIZE", default_value = "128M")]
    memory: Size,
    /// Print every block that is translated: its code, and what that means
    #[arg(long)]
    trace: bool,
}

/// Runs the program, and ends as it does.
pub fn run(options: &EmuOptions) -> Result<ExitCode> {
    let program = Program::read(&options.file)?;
    let machine = Machine::new(options.harts.into(), options.memory, program.entry(), program.htif());
    program.load(&machine.ram()).with_context(|| format!("cannot load {}", options.file.display()))?;
    let machine = Arc::new(machine);
    execute(&machine, options.trace);
    Ok(ExitCode::from(machine.status()))
}

/// Executes with a thread for each hart, until the program ends.
fn execute(machine: &Arc<Machine>, trace: bool) {
    thread::scope(|scope| {
        for index in 0..machine.cluster().harts() {
            scope.spawn(move || {
                let platform = HartPlatform::new(Arc::clone(machine), index);
                let cluster = Arc::clone(machine.cluster());
                match Hart::new(cluster, platform, index) {
                    Some(hart) if trace => interpret(Traced::new(hart, index, show)),
                    Some(hart) => interpret(hart),
                    None => {}
                }
            });
        }
    });
}

/// Shows a piece of the trace, beside the program's own output. Where that fails, nobody wants to know.
fn show(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn interpret<G: Guest>(mut hart: G) {
    Interpreter::new(CODE_CACHE).run(&mut hart);
}

#[cfg(test)]
mod tests {
    use super::{htif::Htif, machine::RAM_BASE, *};

    /// Where the tests' programs have their data.
    const DATA: u64 = 0x8000_1000;

    /// Runs a program that lies at the start of RAM; its status.
    fn status(harts: usize, program: &[u32]) -> u8 {
        let htif = Htif { tohost: DATA, fromhost: None };
        let machine = Arc::new(Machine::new(harts, Size::mib(1), RAM_BASE, Some(htif)));
        for (address, &word) in (RAM_BASE..).step_by(4).zip(program) {
            machine.ram().write(address, word).unwrap();
        }
        execute(&machine, false);
        machine.status()
    }

    #[test]
    fn the_test_finisher_ends_the_machine() {
        let program = |command: u32| {
            [
                0x0010_02b7,                             // lui t0, 0x100
                (command + 0x800) & 0xffff_f000 | 0x337, // lui t1, ...
                command << 20 | 0x0003_0313,             // addi t1, t1, ...
                0x0062_a023,                             // sw t1, 0(t0)
                0x0000_006f,                             // j .
            ]
        };
        assert_eq!(status(1, &program(0x5555)), 0);
        assert_eq!(status(1, &program(0x3_3333)), 3);
        // A process has no larger status.
        assert_eq!(status(1, &program(0x0100_3333)), 255);
    }

    #[test]
    fn the_host_target_interface_ends_the_machine() {
        let program = [
            0x0000_1297, // auipc t0, 1
            0x00b0_0313, // li t1, 11
            0x0062_b023, // sd t1, 0(t0)
            0x0000_006f, // j .
        ];
        assert_eq!(status(1, &program), 5);
        // All harts do that, and sleep.
        let program = [program[0], program[1], program[2], 0x1050_0073, 0xffdf_f06f];
        assert_eq!(status(3, &program), 5);
    }

    /// All count themselves. Hart 0 waits for the others, and then rings hart 1, which sleeps until then and
    /// ends it.
    #[test]
    fn harts_run_together() {
        let program = [
            0x0000_12b7, // lui t0, 1
            0x0000_0317, // auipc t1, 0
            0x0062_82b3, // add t0, t0, t1
            0x0042_8293, // addi t0, t0, 4
            0x0010_0313, // li t1, 1
            0x0062_a02f, // amoadd.w zero, t1, (t0)
            0xf140_23f3, // csrr t2, mhartid
            0x0203_9063, // bnez t2, others
            0x0002_ae03, // lw t3, 0(t0)
            0xffce_0e13, // addi t3, t3, -4
            0xfe0e_1ce3, // bnez t3, -8
            0x0200_02b7, // lui t0, 0x2000
            0x0062_a223, // sw t1, 4(t0)
            0x1050_0073, // sleep: wfi
            0xffdf_f06f, // j sleep
            0x3044_5073, // others: csrwi mie, 8
            0x1050_0073, // wfi
            0x0200_02b7, // lui t0, 0x2000
            0x0042_a303, // lw t1, 4(t0)
            0xfe03_04e3, // beqz t1, sleep
            0x0010_02b7, // lui t0, 0x100
            0x0007_3337, // lui t1, 0x73
            0x3333_0313, // addi t1, t1, 0x333
            0x0062_a023, // sw t1, 0(t0)
            0xfd5f_f06f, // j sleep
        ];
        assert_eq!(status(4, &program), 7);
    }
}
