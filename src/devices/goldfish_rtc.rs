//! The Goldfish real-time clock, as QEMU's riscv `virt` has it: it counts nanoseconds from the Unix epoch, in two
//! halves of 32 bits each. Reading the low half keeps the high half for the read that follows; writing the low half
//! of the alarm sets it.
//!
//! As with QEMU, an alarm stays at its moment when the guest sets the clock afterwards.
//!
//! The model has no timer. Its owner asks [`GoldfishRtc::next_alarm`] whenever it sets a timer of its own, and calls
//! [`GoldfishRtc::tick`] when that time has come. An early call does no harm, and a late one makes the interrupt
//! late.
//!
//! Locks: the model drives its [`IrqLine`] and reads its [`Clock`] with its own lock held; neither may call back.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice, Width},
    clock::Clock,
    irq::IrqLine,
};
use crate::persist::{Persist, RestoreError};

/// The size of the register block in bytes. As with QEMU, nothing answers in the rest of its page.
pub const SIZE: u64 = 0x24;

/// Register offsets.
mod reg {
    pub const TIME_LOW: u64 = 0x00;
    pub const TIME_HIGH: u64 = 0x04;
    pub const ALARM_LOW: u64 = 0x08;
    pub const ALARM_HIGH: u64 = 0x0c;
    pub const IRQ_ENABLED: u64 = 0x10;
    pub const CLEAR_ALARM: u64 = 0x14;
    pub const ALARM_STATUS: u64 = 0x18;
    pub const CLEAR_INTERRUPT: u64 = 0x1c;
}

/// The whole of what is saved. The time is not part of it: it goes on while a VM does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GoldfishRtcState {
    /// How far the guest's clock is ahead of the wall clock, in nanoseconds modulo 2^64.
    offset: u64,
    /// The high half of the time that was read last.
    time_high: u32,
    /// When to interrupt, on the guest's clock.
    alarm_time: u64,
    /// The moment on the wall clock, in nanoseconds, at which the alarm goes off; `None` while it is not set.
    alarm: Option<u64>,
    is_enabled: bool,
    is_pending: bool,
}

impl GoldfishRtcState {
    /// The guest's time at the wall-clock time `now`.
    fn time(&self, now: u64) -> u64 {
        now.wrapping_add(self.offset)
    }

    fn set_time(&mut self, time: u64, now: u64) {
        self.offset = time.wrapping_sub(now);
    }

    /// Sets the alarm; a time that is over goes off at once.
    fn arm(&mut self, now: u64) {
        let distance = self.alarm_time.saturating_sub(self.time(now));
        self.alarm = Some(now.saturating_add(distance));
    }

    /// Raises the interrupt if the alarm's time has come.
    fn advance(&mut self, now: u64) {
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            self.is_pending = true;
        }
    }

    fn interrupts(&self) -> bool {
        self.is_pending && self.is_enabled
    }

    fn read(&mut self, register: u64, now: u64) -> u32 {
        match register {
            reg::TIME_LOW => {
                let time = self.time(now);
                self.time_high = (time >> 32) as u32;
                time as u32
            }
            reg::TIME_HIGH => self.time_high,
            reg::ALARM_LOW => self.alarm_time as u32,
            reg::ALARM_HIGH => (self.alarm_time >> 32) as u32,
            reg::IRQ_ENABLED => self.is_enabled.into(),
            reg::ALARM_STATUS => self.alarm.is_some().into(),
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u32, now: u64) {
        match register {
            reg::TIME_LOW => self.set_time(with_low(self.time(now), value), now),
            reg::TIME_HIGH => self.set_time(with_high(self.time(now), value), now),
            reg::ALARM_LOW => {
                self.alarm_time = with_low(self.alarm_time, value);
                self.arm(now);
            }
            reg::ALARM_HIGH => self.alarm_time = with_high(self.alarm_time, value),
            reg::IRQ_ENABLED => self.is_enabled = value & 1 != 0,
            reg::CLEAR_ALARM => self.alarm = None,
            reg::CLEAR_INTERRUPT => self.is_pending = false,
            _ => {}
        }
    }
}

/// `value` with its low half replaced.
fn with_low(value: u64, low: u32) -> u64 {
    value >> 32 << 32 | u64::from(low)
}

/// `value` with its high half replaced.
fn with_high(value: u64, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(value as u32)
}

/// A Goldfish real-time clock with its interrupt line and the clock that it shows.
pub struct GoldfishRtc {
    state: Mutex<GoldfishRtcState>,
    irq: IrqLine,
    clock: Arc<dyn Clock>,
}

impl GoldfishRtc {
    /// A clock that shows the time of `clock`, with no alarm set.
    pub fn new(irq: IrqLine, clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::new(GoldfishRtcState::default()), irq, clock }
    }

    /// When, in nanoseconds of the [`Clock`], [`GoldfishRtc::tick`] should be called for the interrupt to come in
    /// time. `None` while there is no alarm that could interrupt.
    pub fn next_alarm(&self) -> Option<u64> {
        let state = self.state.lock();
        state.alarm.filter(|_| state.is_enabled)
    }

    /// Raises the interrupt if its time has come.
    pub fn tick(&self) {
        self.with_state(|_, _| ());
    }

    /// What a reboot does: keeps the time that the guest has set, and clears the alarm and the interrupt.
    pub fn reset(&self) {
        self.with_state(|state, _| {
            let GoldfishRtcState { offset, time_high, .. } = *state;
            *state = GoldfishRtcState { offset, time_high, ..GoldfishRtcState::default() };
        });
    }

    /// Lets `access` see the state as it is now, and then drives the interrupt line.
    fn with_state<T>(&self, access: impl FnOnce(&mut GoldfishRtcState, u64) -> T) -> T {
        let mut state = self.state.lock();
        let now = self.clock.nanoseconds();
        state.advance(now);
        let result = access(&mut state, now);
        state.advance(now);
        self.irq.set(state.interrupts());
        result
    }
}

impl MmioDevice for GoldfishRtc {
    /// Only words are registers.
    fn read(&self, access: Access) -> u64 {
        match access.width {
            Width::Word => self.with_state(|state, now| state.read(access.offset, now)).into(),
            _ => 0,
        }
    }

    fn write(&self, access: Access, value: u64) {
        if access.width == Width::Word {
            self.with_state(|state, now| state.write(access.offset, value as u32, now));
        }
    }
}

impl Persist for GoldfishRtc {
    type State = GoldfishRtcState;

    fn save(&self) -> GoldfishRtcState {
        *self.state.lock()
    }

    /// Every state is possible.
    fn restore(&mut self, state: &GoldfishRtcState) -> Result<(), RestoreError> {
        self.with_state(|current, _| *current = *state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::devices::{clock::NANOSECONDS, irq::IrqController};

    #[derive(Default)]
    struct World {
        now: AtomicU64,
        line: AtomicBool,
    }

    impl Clock for World {
        fn nanoseconds(&self) -> u64 {
            self.now.load(Ordering::SeqCst)
        }
    }

    impl IrqController for World {
        fn set_level(&self, pin: u32, level: bool) {
            assert_eq!(pin, 11);
            self.line.store(level, Ordering::SeqCst);
        }
    }

    /// 2026-01-01 and a bit.
    const NOW: u64 = 1_767_225_600_123_456_789;

    struct Bench {
        world: Arc<World>,
        rtc: GoldfishRtc,
    }

    impl Bench {
        fn new(now: u64) -> Self {
            let world = Arc::new(World { now: now.into(), ..World::default() });
            Self { rtc: GoldfishRtc::new(IrqLine::new(world.clone(), 11), world.clone()), world }
        }

        fn read(&self, offset: u64) -> u64 {
            self.rtc.read(Access { offset, width: Width::Word, vcpu: 0 })
        }

        fn write(&self, offset: u64, value: u64) {
            self.rtc.write(Access { offset, width: Width::Word, vcpu: 0 }, value & 0xffff_ffff);
        }

        fn time(&self) -> u64 {
            self.read(reg::TIME_LOW) | self.read(reg::TIME_HIGH) << 32
        }

        /// As Linux' rtc-goldfish does.
        fn set(&self, low: u64, high: u64, value: u64) {
            self.write(high, value >> 32);
            self.write(low, value);
        }

        fn set_alarm(&self, time: u64) {
            self.set(reg::ALARM_LOW, reg::ALARM_HIGH, time);
            self.write(reg::IRQ_ENABLED, 1);
        }

        fn line(&self) -> bool {
            self.world.line.load(Ordering::SeqCst)
        }

        fn advance_to(&self, now: u64) {
            self.world.now.store(now, Ordering::SeqCst);
            self.rtc.tick();
        }
    }

    #[test]
    fn the_halves_of_the_time_belong_together() {
        let bench = Bench::new(NOW);
        assert_eq!(bench.time(), NOW);
        bench.advance_to(0x1_ffff_ffff);
        assert_eq!(bench.read(reg::TIME_LOW), 0xffff_ffff);
        bench.advance_to(0x2_0000_0000);
        assert_eq!(bench.read(reg::TIME_HIGH), 1, "of the time whose low half was read");
    }

    #[test]
    fn a_guest_that_sets_its_clock_keeps_its_offset() {
        let bench = Bench::new(NOW);
        bench.set(reg::TIME_LOW, reg::TIME_HIGH, 5 * NANOSECONDS);
        bench.advance_to(NOW + 7);
        bench.rtc.reset();
        assert_eq!(bench.time(), 5 * NANOSECONDS + 7);
    }

    /// The alarm as Linux' rtc-goldfish uses it.
    #[test]
    fn the_alarm_interrupts_at_its_time() {
        let bench = Bench::new(NOW);
        bench.set_alarm(NOW + NANOSECONDS);
        assert_eq!((bench.rtc.next_alarm(), bench.read(reg::ALARM_STATUS)), (Some(NOW + NANOSECONDS), 1));
        assert_eq!(bench.read(reg::ALARM_LOW) | bench.read(reg::ALARM_HIGH) << 32, NOW + NANOSECONDS);
        bench.advance_to(NOW + NANOSECONDS - 1);
        assert!(!bench.line());
        bench.advance_to(NOW + NANOSECONDS);
        assert!(bench.line());
        assert_eq!((bench.rtc.next_alarm(), bench.read(reg::ALARM_STATUS)), (None, 0));
        bench.write(reg::CLEAR_INTERRUPT, 1);
        assert!(!bench.line());
        bench.set_alarm(NOW);
        assert!(bench.line(), "a time that is over");
        bench.write(reg::IRQ_ENABLED, 2);
        assert!(!bench.line() && bench.read(reg::IRQ_ENABLED) == 0);
        bench.rtc.reset();
        bench.write(reg::IRQ_ENABLED, 1);
        assert!(!bench.line(), "a reboot clears the interrupt");
    }

    #[test]
    fn an_alarm_can_be_cleared_and_stays_where_it_is_when_the_clock_is_set() {
        let bench = Bench::new(NOW);
        bench.set_alarm(NOW + 10);
        bench.write(reg::CLEAR_ALARM, 1);
        bench.advance_to(NOW + 10);
        assert!(!bench.line());
        bench.set_alarm(NOW + 20);
        bench.set(reg::TIME_LOW, reg::TIME_HIGH, 0);
        assert_eq!(bench.rtc.next_alarm(), Some(NOW + 20));
    }

    #[test]
    fn an_alarm_that_fell_into_a_snapshot_comes_late() {
        let bench = Bench::new(NOW);
        bench.set_alarm(NOW + 10);
        let saved = postcard::to_allocvec(&bench.rtc.save()).unwrap();
        let mut copy = Bench::new(NOW + 3600 * NANOSECONDS);
        copy.rtc.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
        assert!(copy.line());
        assert_eq!(copy.time(), NOW + 3600 * NANOSECONDS);
    }

    #[test]
    fn only_words_are_registers() {
        let bench = Bench::new(NOW);
        for width in [Width::Byte, Width::Half, Width::Double] {
            let access = Access { offset: reg::TIME_LOW, width, vcpu: 0 };
            bench.rtc.write(access, 0);
            assert_eq!(bench.rtc.read(access), 0);
        }
        assert_eq!(bench.time(), NOW);
        assert_eq!(
            [reg::CLEAR_ALARM, reg::CLEAR_INTERRUPT, 0x20, 2].map(|offset| bench.read(offset)),
            [0; 4]
        );
    }

    proptest! {
        /// Whatever the guest and the wall clock do, no arithmetic fails, and the line is what the state says.
        #[test]
        fn nothing_overflows(
            steps in proptest::collection::vec((0_u64..9, any::<u64>(), any::<bool>()), 0..40),
            times in proptest::collection::vec(any::<u64>(), 1..40),
        ) {
            let mut bench = Bench::new(0);
            for ((word, value, write), &now) in steps.iter().zip(times.iter().cycle()) {
                bench.advance_to(now);
                if *write {
                    bench.write(4 * word, *value);
                } else {
                    bench.read(4 * word);
                }
                let state = bench.rtc.save();
                prop_assert_eq!(bench.line(), state.is_pending && state.is_enabled);
                prop_assert!(state.alarm.is_none_or(|alarm| alarm > now));
                prop_assert_eq!(bench.rtc.restore(&state), Ok(()));
            }
        }
    }
}
