//! How a debugger's wishes look to the CPU: breakpoint instructions, and breakpoint and watchpoint registers (DDI
//! 0487 D2.8, D2.9, D2.10).

use arrayvec::ArrayVec;

use super::syndrome::{ExceptionClass, Syndrome};
use crate::vm::debug::{Access, Point, Stop};

/// The immediate of the debugger's BRK instructions, which tells them from the guest's own. No compiler or kernel is
/// known to use it.
pub const IMMEDIATE: u16 = 0x5056;

/// `BRK #IMMEDIATE` (C6.2).
pub const INSTRUCTION: [u8; 4] = (0xd420_0000 | (IMMEDIATE as u32) << 5).to_le_bytes();

/// Most breakpoints, and most watchpoints, that the architecture has names for.
const MAX: usize = 16;

/// What the debugger is told of a debug exception that was routed to EL2, with `FAR_EL2` for a watchpoint. `None`: it
/// is the guest's own, or none.
pub fn stop(syndrome: Syndrome, address: u64) -> Option<Stop> {
    match syndrome.class() {
        ExceptionClass::BRK64 if syndrome.imm16() == IMMEDIATE => Some(Stop::Breakpoint),
        ExceptionClass::BREAKPOINT_LOWER => Some(Stop::Execution),
        ExceptionClass::WATCHPOINT_LOWER => Some(Stop::Watch { address }),
        ExceptionClass::SOFTWARE_STEP_LOWER => Some(Stop::Stepped),
        _ => None,
    }
}

/// A value register and its control register.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pair {
    /// `DBGBVR<n>_EL1` or `DBGWVR<n>_EL1`.
    pub value: u64,
    /// `DBGBCR<n>_EL1` or `DBGWCR<n>_EL1`.
    pub control: u64,
}

/// The registers that make a CPU look out for a set of points, at EL1 and EL0. Those that are not listed are to be
/// zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// Breakpoints, by number.
    pub breakpoints: ArrayVec<Pair, MAX>,
    /// Watchpoints, by number.
    pub watchpoints: ArrayVec<Pair, MAX>,
}

/// E: enabled; PMC or PAC: at EL1 and EL0, with HMC and SSC zero (D2.9 and D2.10, execution conditions).
const ENABLED: u64 = 1 | 0b11 << 1;
/// `DBGBCR.BAS`: an A64 instruction.
const INSTRUCTION_BYTES: u64 = 0xf << 5;
/// Shift of `DBGWCR.LSC`.
const LSC: u32 = 3;
/// Shift of `DBGWCR.BAS`.
const BAS: u32 = 5;
/// Shift of `DBGWCR.MASK`.
const MASK: u32 = 24;
/// `DBGWCR.MASK` covers 8 bytes to 2 GiB.
const MASKABLE: core::ops::RangeInclusive<u64> = 8..=1 << 31;

impl Registers {
    /// The registers for `points` on a CPU with so many breakpoints and watchpoints; `None` where they do not
    /// suffice.
    pub fn new(points: &[Point], breakpoints: usize, watchpoints: usize) -> Option<Self> {
        let mut registers = Self::default();
        for point in points {
            match *point {
                Point::Execution(address) => {
                    // The bits above the widest virtual address repeat its sign (RESS).
                    let value = ((address << 11) as i64 >> 11) as u64 & !0b11;
                    let pair = Pair { value, control: ENABLED | INSTRUCTION_BYTES };
                    registers.breakpoints.try_push(pair).ok()?;
                }
                Point::Watch { address, length, access } => registers.watch(address, length, access)?,
            }
        }
        let suffice =
            registers.breakpoints.len() <= breakpoints && registers.watchpoints.len() <= watchpoints;
        suffice.then_some(registers)
    }

    /// One register for a block of a power of two, else one for each doubleword (`DBGWCR<n>_EL1`, BAS and MASK).
    fn watch(&mut self, address: u64, length: u64, access: Access) -> Option<()> {
        let enabled = match access {
            Access::Read => ENABLED | 0b01 << LSC,
            Access::Write => ENABLED | 0b10 << LSC,
            Access::Any => ENABLED | 0b11 << LSC,
        };
        if length.is_power_of_two() && MASKABLE.contains(&length) && address.is_multiple_of(length) {
            let mask = if length == 8 { 0 } else { u64::from(length.trailing_zeros()) };
            let control = enabled | 0xff << BAS | mask << MASK;
            return self.watchpoints.try_push(Pair { value: address, control }).ok();
        }
        let end = address.checked_add(length)?;
        let mut from = address;
        while from < end {
            let doubleword = from & !7;
            let to = end.min(doubleword.saturating_add(8));
            let bytes = ((1 << (to - from)) - 1) << (from - doubleword);
            self.watchpoints.try_push(Pair { value: doubleword, control: enabled | bytes << BAS }).ok()?;
            from = to;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether an enabled watchpoint covers the byte, by the description of `DBGWCR<n>_EL1`.
    fn covers(pair: &Pair, byte: u64) -> bool {
        let mask = pair.control >> 24 & 0x1f;
        let selected = pair.control >> 5 & 0xff;
        match mask {
            0 => byte & !7 == pair.value && selected >> (byte & 7) & 1 != 0,
            _ => selected == 0xff && byte >> mask == pair.value >> mask,
        }
    }

    #[test]
    fn breakpoints_are_those_that_qemu_makes_for_kvm() {
        let points = [Point::Execution(0xffff_8000_1234_5678), Point::Execution(0x40_0000)];
        let registers = Registers::new(&points, 2, 0).unwrap();
        let pair = |value| Pair { value, control: 0x1e7 };
        assert_eq!(registers.breakpoints[..], [pair(0xffff_8000_1234_5678), pair(0x40_0000)]);
        assert_eq!(Registers::new(&points, 1, 4), None);
    }

    #[test]
    fn large_watchpoints_take_one_register() {
        let watch = |address, length| [Point::Watch { address, length, access: Access::Write }];
        let one = |address, length| Registers::new(&watch(address, length), 0, 1);
        let control = |registers: Option<Registers>| registers.unwrap().watchpoints[0].control;
        assert_eq!(control(one(0x1000, 8)), 0x1ff7);
        assert_eq!(control(one(0x1000, 0x1000)), 0x0c00_1ff7);
        assert_eq!(control(one(0x8000_0000, 1 << 31)), 0x1f00_1ff7);
        assert_eq!(one(0x1_0000_0000, 1 << 32), None);
        assert_eq!(one(0x1008, 16), None, "neither aligned nor small");
        assert_eq!(one(u64::MAX, 2), None);
        assert_eq!(one(0x1000, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn watchpoints_cover_what_was_asked_for(address in 0x1000u64..0x1100, length in 1u64..100) {
            let point = Point::Watch { address, length, access: Access::Any };
            let registers = Registers::new(&[point], 0, MAX).unwrap();
            for byte in 0xf80..0x1300 {
                let wanted = (address..address + length).contains(&byte);
                prop_assert_eq!(registers.watchpoints.iter().any(|pair| covers(pair, byte)), wanted, "{:#x}", byte);
            }
            for pair in &registers.watchpoints {
                prop_assert_eq!(pair.control & 0x1f, 0x1f);
            }
        }
    }

    #[test]
    fn debug_exceptions_are_told_apart() {
        let syndrome = |class: u64, iss: u64| Syndrome(class << 26 | 1 << 25 | iss);
        assert_eq!(stop(syndrome(0x3c, u64::from(IMMEDIATE)), 0), Some(Stop::Breakpoint));
        assert_eq!(stop(syndrome(0x3c, 0x800), 0), None, "Linux' BUG");
        assert_eq!(stop(syndrome(0x30, 0x22), 0), Some(Stop::Execution));
        assert_eq!(stop(syndrome(0x34, 0x62), 0x1234), Some(Stop::Watch { address: 0x1234 }));
        assert_eq!(stop(syndrome(0x32, 0x22), 0), Some(Stop::Stepped));
        assert_eq!(stop(syndrome(0x24, 0), 0), None);
    }
}
