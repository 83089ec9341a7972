//! The ARM PrimeCell GPIO (PL061), DDI 0190, as QEMU's `virt` has it: eight lines, each an input with an interrupt
//! or an output. Its owner drives the inputs by [`Pl061::set_input`]. Nothing is connected to the outputs.
//!
//! As in QEMU's model, an interrupt once raised stays until the guest clears it, also that of a line whose level
//! raises it; and what drives a line does not reach it while the line is an output.
//!
//! Locks: the model drives its [`IrqLine`] with its own lock held; the controller may not call back.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice},
    irq::IrqLine,
};
use crate::persist::{Persist, RestoreError};

/// The size of the register block in bytes.
pub const SIZE: u64 = 0x1000;

/// `GPIOPeriphID0` to `3` (part 0x061, Arm, r0) and `GPIOPCellID0` to `3`.
const IDS: [u8; 8] = [0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Register offsets (DDI 0190, chapter 3).
mod reg {
    /// The last word of `GPIODATA`, of which bits 9:2 of the address are a mask of the lines.
    pub const DATA_END: u64 = 0x3fc;
    pub const DIR: u64 = 0x400;
    pub const IS: u64 = 0x404;
    pub const IBE: u64 = 0x408;
    pub const IEV: u64 = 0x40c;
    pub const IE: u64 = 0x410;
    pub const RIS: u64 = 0x414;
    pub const MIS: u64 = 0x418;
    pub const IC: u64 = 0x41c;
    pub const AFSEL: u64 = 0x420;
    pub const PERIPH_ID0: u64 = 0xfe0;
}

/// The whole of what is saved. Bit n of each is line n's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pl061State {
    /// The levels of the lines.
    data: u8,
    /// The levels that the edge detector saw last.
    seen: u8,
    /// Lines that are outputs.
    direction: u8,
    /// Lines whose level interrupts, and not an edge.
    sense: u8,
    /// Lines of which either edge interrupts.
    both_edges: u8,
    /// Lines whose rising edge, or high level, interrupts, and not the other one.
    event: u8,
    /// Lines whose interrupt reaches the interrupt line.
    mask: u8,
    /// Interrupts that have been raised.
    raw: u8,
    /// Lines that a peripheral drives; there is none.
    alternate: u8,
}

impl Pl061State {
    /// Raises the interrupts of edges and levels.
    fn detect(&mut self) {
        let active = !(self.data ^ self.event);
        let changed = (self.seen ^ self.data) & !self.direction;
        if changed != 0 {
            self.seen = self.data;
            self.raw |= changed & !self.sense & (self.both_edges | active);
        }
        self.raw |= active & self.sense;
    }

    fn read(&self, register: u64) -> u8 {
        match register {
            ..=reg::DATA_END => self.data & lines(register),
            reg::DIR => self.direction,
            reg::IS => self.sense,
            reg::IBE => self.both_edges,
            reg::IEV => self.event,
            reg::IE => self.mask,
            reg::RIS => self.raw,
            reg::MIS => self.raw & self.mask,
            reg::AFSEL => self.alternate,
            reg::PERIPH_ID0.. => {
                let index = register.saturating_sub(reg::PERIPH_ID0) / 4;
                IDS.get(index as usize).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u8) {
        match register {
            ..=reg::DATA_END => self.set_lines(lines(register) & self.direction, value),
            reg::DIR => self.direction = value,
            reg::IS => self.sense = value,
            reg::IBE => self.both_edges = value,
            reg::IEV => self.event = value,
            reg::IE => self.mask = value,
            reg::IC => self.raw &= !value,
            reg::AFSEL => self.alternate = value,
            _ => {}
        }
    }

    /// Gives the lines in `mask` the levels in `levels`.
    fn set_lines(&mut self, mask: u8, levels: u8) {
        self.data = self.data & !mask | levels & mask;
    }
}

/// The lines that the address of an access to `GPIODATA` names.
fn lines(register: u64) -> u8 {
    (register >> 2) as u8
}

/// A PL061 with its interrupt line.
pub struct Pl061 {
    state: Mutex<Pl061State>,
    irq: IrqLine,
}

impl Pl061 {
    /// A GPIO controller whose lines are inputs, and low.
    pub fn new(irq: IrqLine) -> Self {
        Self { state: Mutex::new(Pl061State::default()), irq }
    }

    /// Drives `line`, 0 to 7, from outside. Nothing happens to a line that is an output or does not exist.
    pub fn set_input(&self, line: u8, level: bool) {
        let mask = 1_u8.checked_shl(line.into()).unwrap_or(0);
        let levels = if level { u8::MAX } else { 0 };
        self.with_state(|state| state.set_lines(mask & !state.direction, levels));
    }

    /// What a reboot does.
    pub fn reset(&self) {
        self.with_state(|state| *state = Pl061State::default());
    }

    /// Lets `access` change the state, and then drives the interrupt line.
    fn with_state<T>(&self, access: impl FnOnce(&mut Pl061State) -> T) -> T {
        let mut state = self.state.lock();
        let result = access(&mut state);
        state.detect();
        self.irq.set(state.raw & state.mask != 0);
        result
    }
}

impl MmioDevice for Pl061 {
    /// Registers are a byte wide: what lies behind it in its word is zero.
    fn read(&self, access: Access) -> u64 {
        if access.offset.is_multiple_of(4) { self.state.lock().read(access.offset).into() } else { 0 }
    }

    /// A write that does not begin at a register is ignored.
    fn write(&self, access: Access, value: u64) {
        if access.offset.is_multiple_of(4) {
            self.with_state(|state| state.write(access.offset, value as u8));
        }
    }
}

impl Persist for Pl061 {
    type State = Pl061State;

    fn save(&self) -> Pl061State {
        *self.state.lock()
    }

    /// Every state is possible.
    fn restore(&mut self, state: &Pl061State) -> Result<(), RestoreError> {
        self.with_state(|current| *current = *state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::devices::{bus::Width, irq::IrqController};

    #[derive(Default)]
    struct Wire(AtomicBool);

    impl IrqController for Wire {
        fn set_level(&self, pin: u32, level: bool) {
            assert_eq!(pin, 39);
            self.0.store(level, Ordering::SeqCst);
        }
    }

    struct Bench {
        wire: Arc<Wire>,
        gpio: Pl061,
    }

    impl Bench {
        fn new() -> Self {
            let wire = Arc::new(Wire::default());
            Self { gpio: Pl061::new(IrqLine::new(wire.clone(), 39)), wire }
        }

        fn read(&self, offset: u64) -> u64 {
            self.gpio.read(Access { offset, width: Width::Word, vcpu: 0 })
        }

        fn write(&self, offset: u64, value: u64) {
            self.gpio.write(Access { offset, width: Width::Word, vcpu: 0 }, value);
        }

        fn line(&self) -> bool {
            self.wire.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn it_says_what_it_is() {
        let ids: Vec<u64> = (0xfd0..0x1000).step_by(4).map(|offset| Bench::new().read(offset)).collect();
        assert_eq!(ids, [0, 0, 0, 0, 0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    }

    /// As Linux' gpio-pl061 and gpio-keys set it up.
    #[test]
    fn a_key_interrupts_when_it_is_pressed_and_when_it_is_released() {
        const KEY: u64 = 1 << 3;
        let bench = Bench::new();
        bench.write(reg::DIR, 0);
        bench.write(reg::IBE, KEY);
        bench.gpio.set_input(3, true);
        assert_eq!((bench.line(), bench.read(reg::RIS), bench.read(reg::MIS)), (false, KEY, 0));
        bench.write(reg::IC, KEY);
        bench.write(reg::IE, KEY);
        assert!(!bench.line(), "an edge that was cleared does not come back");
        for level in [false, true] {
            bench.gpio.set_input(3, level);
            assert!(bench.line());
            assert_eq!(bench.read(reg::MIS), KEY);
            assert_eq!(bench.read(KEY << 2), if level { KEY } else { 0 });
            bench.write(reg::IC, KEY);
            assert!(!bench.line());
            bench.gpio.set_input(3, level);
            assert!(!bench.line(), "no edge");
        }
        bench.gpio.set_input(8, true);
        bench.gpio.reset();
        assert_eq!(bench.gpio.save(), Pl061State::default());
    }

    #[test]
    fn the_address_of_data_is_a_mask() {
        let bench = Bench::new();
        bench.write(reg::DIR, 0xf0);
        bench.write(0x3fc, 0xff);
        assert_eq!(bench.read(0x3fc), 0xf0, "inputs are not written");
        bench.write(0x30 << 2, 0x0f);
        assert_eq!((bench.read(0x3fc), bench.read(0x40 << 2), bench.read(0)), (0xc0, 0x40, 0));
        bench.gpio.set_input(7, false);
        assert_eq!(bench.read(0x3fc), 0xc0, "outputs are not driven");
        bench.gpio.write(Access { offset: 0x401, width: Width::Byte, vcpu: 0 }, 0xff);
        assert_eq!(bench.read(reg::DIR), 0xf0, "no register begins there");
        let access = Access { offset: 0x401, width: Width::Half, vcpu: 0 };
        assert_eq!(bench.gpio.read(access), 0);
    }

    /// One line by itself, said in words.
    #[derive(Debug, Default, Clone, Copy)]
    struct Line {
        level: bool,
        seen: bool,
        output: bool,
        by_level: bool,
        both: bool,
        high: bool,
        raised: bool,
    }

    impl Line {
        fn update(&mut self) {
            let edge = self.level != self.seen && !self.output && !self.by_level;
            let active = self.level == self.high;
            self.raised |= edge && (self.both || active) || self.by_level && active;
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Input(u8, bool),
        Write(u64, u8),
        SaveAndRestore,
    }

    fn step() -> impl Strategy<Value = Step> {
        let register = prop_oneof![
            (0..0x100_u64).prop_map(|mask| mask * 4),
            prop::sample::select(&[reg::DIR, reg::IS, reg::IBE, reg::IEV, reg::IE, reg::IC][..]),
        ];
        prop_oneof![
            (0..8_u8, any::<bool>()).prop_map(|(line, level)| Step::Input(line, level)),
            (register, any::<u8>()).prop_map(|(register, value)| Step::Write(register, value)),
            Just(Step::SaveAndRestore),
        ]
    }

    proptest! {
        #[test]
        fn each_line_is_a_line_by_itself(steps in prop::collection::vec(step(), 0..100)) {
            let (mut bench, mut lines, mut enabled) = (Bench::new(), [Line::default(); 8], 0);
            for step in steps {
                match step {
                    Step::Input(line, level) => bench.gpio.set_input(line, level),
                    Step::Write(register, value) => bench.write(register, value.into()),
                    Step::SaveAndRestore => {
                        let saved = postcard::to_allocvec(&bench.gpio.save()).unwrap();
                        bench = Bench::new();
                        bench.gpio.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
                    }
                }
                let any_input_changed = {
                    for (number, line) in (0..8).zip(&mut lines) {
                        match step {
                            Step::Input(which, level) if which == number && !line.output => line.level = level,
                            Step::Write(register, value) => {
                                let bit = value >> number & 1 != 0;
                                match register {
                                    reg::DIR => line.output = bit,
                                    reg::IS => line.by_level = bit,
                                    reg::IBE => line.both = bit,
                                    reg::IEV => line.high = bit,
                                    reg::IC => line.raised &= !bit,
                                    reg::IE => enabled = value,
                                    _ if register >> (2 + number) & 1 != 0 && line.output => line.level = bit,
                                    _ => {}
                                }
                            }
                            _ => {}
                        }
                        line.update();
                    }
                    lines.iter().any(|line| line.level != line.seen && !line.output)
                };
                if any_input_changed {
                    // QEMU's detector takes in all lines, outputs too, when an input has changed.
                    lines.iter_mut().for_each(|line| line.seen = line.level);
                }
                let gather = |of: fn(&Line) -> bool| {
                    (0..8).zip(&lines).fold(0, |sum, (number, line)| sum | u64::from(of(line)) << number)
                };
                prop_assert_eq!(bench.read(0x3fc), gather(|line| line.level));
                prop_assert_eq!(bench.read(reg::RIS), gather(|line| line.raised));
                prop_assert_eq!(bench.read(reg::MIS), bench.read(reg::RIS) & u64::from(enabled));
                prop_assert_eq!(bench.line(), bench.read(reg::MIS) != 0);
            }
        }
    }
}
