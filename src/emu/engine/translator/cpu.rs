//! The CPU as the JIT sees it.

use alloc::vec::Vec;

use aarch64_cpu::registers::{ID_AA64ISAR0_EL1, Readable};
use polyvisor_cell_abi::{FEATURE_LSE, FEATURE_PMULL, cpu_features};
use polyvisor_emu::a64::{Assembler, Ext, Mode, X};
use polyvisor_emu::float::{Flags, Rounding};
use polyvisor_emu::interp::Key;
use polyvisor_emu::jit::compile::{Features, Home};
use polyvisor_emu::jit::lockstep::Mismatch;
use polyvisor_emu::jit::runtime::{Cpu, Left};
use polyvisor_emu::jit::words::{FAULT_SYNDROME, FLOAT_TEMPORARIES, LEAVE};
use polyvisor_emu::memory::Size;
use polyvisor_emu::riscv::LAYOUT;

use crate::{cell, fatal, gic::Gic, jit, jit::Floats, timer};

/// The hart's.
pub struct HartCpu;

/// What the compiler may use.
pub fn features() -> Features {
    let has = cpu_features(ID_AA64ISAR0_EL1.get());
    Features { lse: has & FEATURE_LSE != 0, pmull: has & FEATURE_PMULL != 0 }
}

/// The first routine in the code's memory: the way out, which goes on at the address in [`LEAVE`].
pub fn leave() -> Vec<u32> {
    let (mut asm, x17) = (Assembler::new(), X::new(17));
    asm.load(Mode::Normal, Size::Double, Ext::Zero, x17, X::SP, 8 * LEAVE as i64);
    asm.br(x17);
    asm.words().to_vec()
}

impl HartCpu {
    fn left(words: &[u64; 256], outcome: jit::Outcome) -> Left {
        /// ESR_EL1.ISS.WnR: it was a write.
        const WRITE: u64 = 1 << 6;
        /// DFSC: translation, access flag and permission faults, at levels 0 to 3 (D24.2.40).
        const FIRST: u64 = 0b00_0100;
        const LAST: u64 = 0b00_1111;
        if outcome.fault == 0 {
            return Left::Exit(outcome.exit);
        }
        let syndrome = words[FAULT_SYNDROME];
        let mappable = (FIRST..=LAST).contains(&(syndrome & 0x3f));
        Left::Fault { store: syndrome & WRITE != 0, mappable }
    }

    /// FPSR's cumulative bits IOC, DZC, OFC, UFC and IXC (0 to 4) as the guest's flags.
    fn flags(status: u64) -> Flags {
        let mut flags = Flags::empty();
        for (bit, flag) in [Flags::NV, Flags::DZ, Flags::OF, Flags::UF, Flags::NX].into_iter().enumerate() {
            flags.set(flag, status >> bit & 1 != 0);
        }
        flags
    }
}

impl Cpu for HartCpu {
    fn enter(&mut self, vars: &mut [u64; 256], code: u64) -> Left {
        let outcome = jit::enter(vars, code);
        Self::left(vars, outcome)
    }

    fn resume(&mut self, vars: &mut [u64; 256]) -> Left {
        let outcome = jit::resume(vars);
        Self::left(vars, outcome)
    }

    fn leave_routine(&self) -> u64 {
        jit::leave_routine()
    }

    fn load_float(&mut self, vars: &[u64; 256], rounding: Rounding) {
        /// FPCR.DN: a NaN that results is the default one. RMode is in bits 23:22.
        const DEFAULT_NAN: u64 = 1 << 25;
        const MODE: u32 = 22;
        // RN, RP, RM and RZ (C5.2.9).
        let mode = match rounding {
            Rounding::NearestEven | Rounding::NearestAway => 0,
            Rounding::Up => 1,
            Rounding::Down => 2,
            Rounding::TowardZero => 3,
        };
        let mut floats = Floats { control: DEFAULT_NAN | mode << MODE, ..Floats::default() };
        for (global, home) in LAYOUT.homes.iter().enumerate() {
            if let Home::V(register) = home
                && let Some(place) = floats.registers.get_mut(usize::from(register.number()))
            {
                *place = vars[global];
            }
        }
        jit::load_floats(&floats);
    }

    fn save_float(&mut self, vars: &mut [u64; 256]) {
        let floats = jit::save_floats();
        for (global, home) in LAYOUT.homes.iter().enumerate() {
            if let Home::V(register) = home
                && let Some(value) = floats.registers.get(usize::from(register.number()))
            {
                vars[global] = *value;
            }
        }
        let temporaries = floats.registers.iter().skip(29);
        vars.iter_mut().skip(FLOAT_TEMPORARIES).zip(temporaries).for_each(|(word, value)| *word = *value);
        vars[usize::from(LAYOUT.float_flags.0)] |= u64::from(Self::flags(floats.status).bits());
    }

    fn code_changed(&mut self, time: u64) {
        super::read_log(time);
    }

    fn now(&self) -> u64 {
        timer::now()
    }

    fn kick(&self, hart: usize) {
        Gic::new(cell::info().gic_version).kick(hart);
    }

    fn lost(&self, code: u64) -> ! {
        fatal::stop(format_args!("translated code was left at {code:#x}, which is no way out"))
    }

    fn mismatch(&self, key: Key, mismatch: Mismatch) {
        fatal::stop(format_args!(
            "lock-step: the block at {:#x} (physical {:#x}): {mismatch:x?}",
            key.pc, key.physical
        ));
    }
}
