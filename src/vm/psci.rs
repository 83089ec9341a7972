//! PSCI 1.1 (DEN 0022) and the part of SMCCC 1.1 (DEN 0028) that a VM is offered: a pure state machine over
//! the power states of its vCPUs.

use alloc::vec;
use alloc::vec::Vec;

/// Function identifiers. Those with bit 30 set take 64-bit arguments.
pub mod function {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    pub const PSCI_VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON_32: u32 = 0x8400_0003;
    pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const PSCI_FEATURES: u32 = 0x8400_000a;
    pub const SYSTEM_RESET2_32: u32 = 0x8400_0012;
    pub const CPU_SUSPEND_64: u32 = 0xc400_0001;
    pub const CPU_ON_64: u32 = 0xc400_0003;
    pub const AFFINITY_INFO_64: u32 = 0xc400_0004;
    pub const SYSTEM_RESET2_64: u32 = 0xc400_0012;
}
use function::*;

/// Return codes (5.2.2).
mod code {
    pub const SUCCESS: i64 = 0;
    pub const NOT_SUPPORTED: i64 = -1;
    pub const INVALID_PARAMETERS: i64 = -2;
    pub const ALREADY_ON: i64 = -4;
    pub const ON_PENDING: i64 = -5;
    pub const INVALID_ADDRESS: i64 = -9;
}

const VERSION_PSCI: i64 = 1 << 16 | 1;
const VERSION_SMCCC: i64 = 1 << 16 | 1;
/// MIGRATE_INFO_TYPE: there is no Trusted OS, so nothing needs migration.
const MIGRATION_NOT_REQUIRED: i64 = 2;
/// The affinity fields of an MPIDR; CPU_ON and AFFINITY_INFO want all other bits zero.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// CPU_SUSPEND: StateType of the original `power_state` format; the extended format is not announced.
const VALID_POWER_STATE: u32 = 0x0301_ffff;

/// What a vCPU starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Entry point.
    pub entry: u64,
    /// X0.
    pub context: u64,
}

/// The power state of a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// Switched on, but not yet running.
    Pending(Start),
    On,
}

/// What the VM does about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The caller goes on with this in x0.
    Return(i64),
    /// The vCPU of this index has been switched on and must be woken; the caller goes on with success.
    Started(usize),
    /// The caller sleeps until an interrupt is pending, then goes on with success.
    Suspend,
    /// The caller is off.
    Off,
    /// The VM is to be switched off.
    SystemOff,
    /// The VM is to be reset.
    SystemReset,
}

/// The power controller of one VM.
#[derive(Debug, Clone)]
pub struct Power {
    affinities: Vec<u64>,
    states: Vec<State>,
}

/// The arguments as the function takes them: a 32-bit call does not look at the upper halves (SMCCC 3.1).
fn widened(function: u32, arguments: [u64; 3]) -> [u64; 3] {
    let is_64_bit = function & 1 << 30 != 0;
    arguments.map(|argument| if is_64_bit { argument } else { argument & 0xffff_ffff })
}

/// Answers the calls that depend on nothing but their first argument, and so need no lock. `None`: see
/// [`Power::call`].
#[inline]
pub fn answer(function: u32, first: u64) -> Option<i64> {
    Some(match function {
        PSCI_VERSION => VERSION_PSCI,
        SMCCC_VERSION => VERSION_SMCCC,
        SMCCC_ARCH_FEATURES => match first as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => code::SUCCESS,
            _ => code::NOT_SUPPORTED,
        },
        PSCI_FEATURES => features(first as u32),
        MIGRATE_INFO_TYPE => MIGRATION_NOT_REQUIRED,
        _ => return None,
    })
}

impl Power {
    /// All vCPUs, of the given affinities, are off.
    pub fn new(affinities: Vec<u64>) -> Self {
        let states = vec![State::Off; affinities.len()];
        Self { affinities, states }
    }

    /// All vCPUs off, save the first, which is to start so.
    pub fn reset(&mut self, boot: Start) {
        self.states.fill(State::Off);
        if let Some(first) = self.states.first_mut() {
            *first = State::Pending(boot);
        }
    }

    /// Takes the order to start `vcpu`, if there is one; it is on from then.
    pub fn take_start(&mut self, vcpu: usize) -> Option<Start> {
        let state = self.states.get_mut(vcpu)?;
        let State::Pending(start) = *state else { return None };
        *state = State::On;
        Some(start)
    }

    /// Answers the call `function` of the vCPU `caller`, which is none of those that [`answer`] knows.
    /// `is_memory` tells whether an entry point can be executed.
    pub fn call(
        &mut self,
        caller: usize,
        function: u32,
        arguments: [u64; 3],
        is_memory: impl FnOnce(u64) -> bool,
    ) -> Outcome {
        let [first, second, third] = widened(function, arguments);
        Outcome::Return(match function {
            CPU_ON_32 | CPU_ON_64 => {
                return self.cpu_on(first, Start { entry: second, context: third }, is_memory);
            }
            AFFINITY_INFO_32 | AFFINITY_INFO_64 => self.affinity_info(first, second),
            CPU_OFF => {
                if let Some(state) = self.states.get_mut(caller) {
                    *state = State::Off;
                }
                return Outcome::Off;
            }
            // A power-down request may be answered by a lesser state (5.4.2): registers are kept either way.
            CPU_SUSPEND_32 | CPU_SUSPEND_64 if first as u32 & !VALID_POWER_STATE != 0 => {
                code::INVALID_PARAMETERS
            }
            CPU_SUSPEND_32 | CPU_SUSPEND_64 => return Outcome::Suspend,
            SYSTEM_OFF => return Outcome::SystemOff,
            SYSTEM_RESET => return Outcome::SystemReset,
            // Type 0 is the architectural warm reset; nothing survives ours that a cold one would lose.
            SYSTEM_RESET2_32 | SYSTEM_RESET2_64 if first == 0 => return Outcome::SystemReset,
            SYSTEM_RESET2_32 | SYSTEM_RESET2_64 => code::INVALID_PARAMETERS,
            _ => code::NOT_SUPPORTED,
        })
    }

    /// The vCPU of exactly this affinity, in this VM.
    fn find(&self, affinity: u64) -> Option<usize> {
        self.affinities.iter().position(|&own| own == affinity)
    }

    fn cpu_on(&mut self, target: u64, start: Start, is_memory: impl FnOnce(u64) -> bool) -> Outcome {
        let Some(vcpu) = self.find(target) else { return Outcome::Return(code::INVALID_PARAMETERS) };
        match self.states.get_mut(vcpu) {
            Some(State::On) => Outcome::Return(code::ALREADY_ON),
            Some(State::Pending(_)) => Outcome::Return(code::ON_PENDING),
            Some(_) if start.entry & 3 != 0 || !is_memory(start.entry) => {
                Outcome::Return(code::INVALID_ADDRESS)
            }
            Some(state) => {
                *state = State::Pending(start);
                Outcome::Started(vcpu)
            }
            None => Outcome::Return(code::INVALID_PARAMETERS),
        }
    }

    /// 5.7.1: the state of a CPU, or with a level above 0 of a group of them: on if any is.
    fn affinity_info(&self, target: u64, level: u64) -> i64 {
        let ignored: u64 = match level {
            0 => 0,
            1 => 0xff,
            2 => 0xffff,
            3 => 0xff_ffff,
            _ => return code::INVALID_PARAMETERS,
        };
        if target & !AFFINITY != 0 {
            return code::INVALID_PARAMETERS;
        }
        let members = self.affinities.iter().zip(&self.states);
        let info = members.filter(|(own, _)| (*own ^ target) & !ignored == 0).map(|(_, state)| match state {
            State::On => 0,
            State::Off => 1,
            State::Pending(_) => 2,
        });
        // On (0) beats pending (2) beats off (1).
        info.min_by_key(|&info| [0, 2, 1].iter().position(|&order| order == info))
            .unwrap_or(code::INVALID_PARAMETERS)
    }
}

fn features(function: u32) -> i64 {
    match function {
        PSCI_VERSION | SMCCC_VERSION | CPU_SUSPEND_32 | CPU_SUSPEND_64 | CPU_OFF | CPU_ON_32 | CPU_ON_64
        | AFFINITY_INFO_32 | AFFINITY_INFO_64 | MIGRATE_INFO_TYPE | SYSTEM_OFF | SYSTEM_RESET
        | SYSTEM_RESET2_32 | SYSTEM_RESET2_64 | PSCI_FEATURES => code::SUCCESS,
        _ => code::NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Start = Start { entry: 0x4008_0000, context: 7 };

    fn running() -> Power {
        let mut power = Power::new(vec![0, 1, 0x100]);
        power.reset(START);
        assert_eq!(power.take_start(0), Some(START));
        power
    }

    fn call(power: &mut Power, function: u32, arguments: [u64; 3]) -> Outcome {
        if let Some(result) = answer(function, arguments[0]) {
            return Outcome::Return(result);
        }
        power.call(0, function, arguments, |entry| entry >= 0x4000_0000)
    }

    fn on(power: &mut Power, target: u64) -> Outcome {
        call(power, CPU_ON_64, [target, START.entry, 9])
    }

    #[test]
    fn a_cpu_goes_off_pending_on_and_off_again() {
        let mut power = running();
        let info = |power: &mut Power, target| call(power, AFFINITY_INFO_64, [target, 0, 0]);
        assert_eq!(info(&mut power, 1), Outcome::Return(1));
        assert_eq!(on(&mut power, 1), Outcome::Started(1));
        assert_eq!(on(&mut power, 1), Outcome::Return(code::ON_PENDING));
        assert_eq!(info(&mut power, 1), Outcome::Return(2));
        assert_eq!(power.take_start(1), Some(Start { entry: START.entry, context: 9 }));
        assert_eq!(power.take_start(1), None);
        assert_eq!(on(&mut power, 1), Outcome::Return(code::ALREADY_ON));
        assert_eq!(info(&mut power, 1), Outcome::Return(0));
        assert_eq!(power.call(1, CPU_OFF, [0; 3], |_| true), Outcome::Off);
        assert_eq!(on(&mut power, 1), Outcome::Started(1));
    }

    #[test]
    fn hostile_arguments_get_the_specified_errors() {
        let mut power = running();
        for target in [2, 0x101, 1 << 24 | 1, 1 << 31, u64::MAX] {
            assert_eq!(on(&mut power, target), Outcome::Return(code::INVALID_PARAMETERS), "{target:#x}");
        }
        assert_eq!(call(&mut power, CPU_ON_64, [1, 0x1000, 0]), Outcome::Return(code::INVALID_ADDRESS));
        assert_eq!(call(&mut power, CPU_ON_64, [1, 0x4000_0002, 0]), Outcome::Return(code::INVALID_ADDRESS));
        assert_eq!(
            call(&mut power, CPU_SUSPEND_64, [u64::MAX, 0, 0]),
            Outcome::Return(code::INVALID_PARAMETERS)
        );
        assert_eq!(call(&mut power, AFFINITY_INFO_64, [0, 4, 0]), Outcome::Return(code::INVALID_PARAMETERS));
        assert_eq!(call(&mut power, 0xdead_beef, [0; 3]), Outcome::Return(code::NOT_SUPPORTED));
        assert_eq!(
            call(&mut power, SYSTEM_RESET2_64, [1 << 31, 0, 0]),
            Outcome::Return(code::INVALID_PARAMETERS)
        );
    }

    #[test]
    fn a_32_bit_call_ignores_upper_halves() {
        let mut power = running();
        let high = 0xffff_ffff_0000_0000;
        assert_eq!(call(&mut power, CPU_ON_32, [high | 1, high | START.entry, 0]), Outcome::Started(1));
    }

    #[test]
    fn a_group_is_on_if_any_of_it_is() {
        let mut power = running();
        assert_eq!(call(&mut power, AFFINITY_INFO_64, [0, 1, 0]), Outcome::Return(0));
        assert_eq!(call(&mut power, AFFINITY_INFO_64, [0x100, 1, 0]), Outcome::Return(1));
        assert_eq!(call(&mut power, AFFINITY_INFO_64, [0, 2, 0]), Outcome::Return(0));
    }

    #[test]
    fn what_is_announced_is_answered() {
        let mut power = running();
        assert_eq!(call(&mut power, PSCI_VERSION, [0; 3]), Outcome::Return(0x1_0001));
        assert_eq!(call(&mut power, SMCCC_VERSION, [0; 3]), Outcome::Return(0x1_0001));
        for function in [CPU_ON_64, SYSTEM_RESET, SMCCC_VERSION, SYSTEM_RESET2_64] {
            assert_eq!(call(&mut power, PSCI_FEATURES, [function.into(), 0, 0]), Outcome::Return(0));
        }
        assert_eq!(
            call(&mut power, PSCI_FEATURES, [0x8400_0005, 0, 0]),
            Outcome::Return(code::NOT_SUPPORTED)
        );
        assert_eq!(
            call(&mut power, SMCCC_ARCH_FEATURES, [0x8000_8000, 0, 0]),
            Outcome::Return(code::NOT_SUPPORTED)
        );
    }
}
