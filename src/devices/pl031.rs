//! The ARM PrimeCell real-time clock (PL031), DDI 0224, revision r1p3 as QEMU's `virt` has it: it counts
//! seconds from the Unix epoch, is always enabled, and takes no time to follow a write.
//!
//! The model has no timer. Its owner asks [`Pl031::next_alarm`] whenever it sets a timer of its own, and
//! calls [`Pl031::tick`] when that time has come. An early call does no harm, and a late one makes the
//! interrupt late.
//!
//! Locks: the model drives its [`IrqLine`] and reads its [`Clock`] with its own lock held; neither may call
//! back.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice},
    clock::Clock,
    irq::IrqLine,
};
use crate::persist::{Persist, RestoreError};

/// The size of the register block in bytes.
pub const SIZE: u64 = 0x1000;

/// `RTCPeriphID0` to `3` (part 0x031, Arm, r1) and `RTCPCellID0` to `3`.
const IDS: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Register offsets (DDI 0224, chapter 3).
mod reg {
    pub const DR: u64 = 0x00;
    pub const MR: u64 = 0x04;
    pub const LR: u64 = 0x08;
    pub const CR: u64 = 0x0c;
    pub const IMSC: u64 = 0x10;
    pub const RIS: u64 = 0x14;
    pub const MIS: u64 = 0x18;
    pub const ICR: u64 = 0x1c;
    pub const PERIPH_ID0: u64 = 0xfe0;
}

/// RTCINTR, bit 0 of `RTCIMSC`, `RTCRIS`, `RTCMIS` and `RTCICR`.
const INTERRUPT: u32 = 1 << 0;

/// The whole of what is saved. The time is not part of it: it goes on while a VM does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pl031State {
    /// How far the guest's clock is ahead of the wall clock, in seconds modulo 2^32.
    offset: u32,
    match_value: u32,
    load_value: u32,
    mask: u32,
    raw: u32,
    /// The wall-clock second in which the counter reaches `match_value`; `None` once it has.
    alarm: Option<u64>,
}

impl Pl031State {
    /// `RTCDR` at the wall-clock time `now`.
    fn counter(&self, now: u64) -> u32 {
        (now as u32).wrapping_add(self.offset)
    }

    /// Sets the alarm to the next match, which may be this very second. The counter wraps, and so does the
    /// distance.
    fn arm(&mut self, now: u64) {
        let distance = self.match_value.wrapping_sub(self.counter(now));
        self.alarm = Some(now.saturating_add(distance.into()));
    }

    /// Raises the interrupt if the alarm's time has come.
    fn advance(&mut self, now: u64) {
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            self.raw = INTERRUPT;
        }
    }

    fn read(&self, register: u64, now: u64) -> u32 {
        match register {
            reg::DR => self.counter(now),
            reg::MR => self.match_value,
            reg::LR => self.load_value,
            // The clock cannot be stopped.
            reg::CR => 1,
            reg::IMSC => self.mask,
            reg::RIS => self.raw,
            reg::MIS => self.raw & self.mask,
            reg::PERIPH_ID0.. => {
                let index = (register - reg::PERIPH_ID0) / 4;
                IDS.get(index as usize).copied().unwrap_or(0).into()
            }
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u32, now: u64) {
        match register {
            reg::MR => {
                self.match_value = value;
                self.arm(now);
            }
            reg::LR => {
                self.load_value = value;
                self.offset = value.wrapping_sub(now as u32);
                self.arm(now);
            }
            reg::IMSC => self.mask = value & INTERRUPT,
            reg::ICR => self.raw &= !value,
            _ => {}
        }
    }
}

/// A PL031 with its interrupt line and the clock that it shows.
pub struct Pl031 {
    state: Mutex<Pl031State>,
    irq: IrqLine,
    clock: Arc<dyn Clock>,
}

impl Pl031 {
    /// A clock that shows the time of `clock`, with no alarm set.
    pub fn new(irq: IrqLine, clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::new(Pl031State::default()), irq, clock }
    }

    /// When, in seconds of the [`Clock`], [`Pl031::tick`] should be called for the interrupt to come in time.
    /// `None` while there is no alarm that could interrupt.
    pub fn next_alarm(&self) -> Option<u64> {
        let state = self.state.lock();
        state.alarm.filter(|_| state.mask != 0)
    }

    /// Raises the interrupt if its time has come.
    pub fn tick(&self) {
        self.with_state(|_, _| ());
    }

    /// What a reboot does: clears every register, but keeps the time that the guest has set.
    pub fn reset(&self) {
        self.with_state(|state, _| *state = Pl031State { offset: state.offset, ..Pl031State::default() });
    }

    /// Lets `access` see the state as it is now, and then drives the interrupt line.
    fn with_state<T>(&self, access: impl FnOnce(&mut Pl031State, u64) -> T) -> T {
        let mut state = self.state.lock();
        let now = self.clock.seconds();
        state.advance(now);
        let result = access(&mut state, now);
        state.advance(now);
        self.irq.set(state.raw & state.mask != 0);
        result
    }
}

impl MmioDevice for Pl031 {
    /// Narrow reads see the bytes of a register that they name.
    fn read(&self, access: Access) -> u64 {
        let value = self.with_state(|state, now| state.read(access.offset & !0b11, now));
        u64::from(value) >> (8 * (access.offset & 0b11))
    }

    /// A write that does not begin at a register is ignored.
    fn write(&self, access: Access, value: u64) {
        self.with_state(|state, now| state.write(access.offset, value as u32, now));
    }
}

impl Persist for Pl031 {
    type State = Pl031State;

    fn save(&self) -> Pl031State {
        *self.state.lock()
    }

    fn restore(&mut self, state: &Pl031State) -> Result<(), RestoreError> {
        for (field, found) in [("pl031.mask", state.mask), ("pl031.raw", state.raw)] {
            if found > INTERRUPT {
                return Err(RestoreError { field, found: found.into(), limit: INTERRUPT.into() });
            }
        }
        self.with_state(|current, _| *current = *state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::devices::{bus::Width, clock::NANOSECONDS, irq::IrqController};

    #[derive(Default)]
    struct World {
        now: AtomicU64,
        line: AtomicBool,
    }

    impl Clock for World {
        fn nanoseconds(&self) -> u64 {
            self.now.load(Ordering::SeqCst) * NANOSECONDS
        }
    }

    impl IrqController for World {
        fn set_level(&self, pin: u32, level: bool) {
            assert_eq!(pin, 34);
            self.line.store(level, Ordering::SeqCst);
        }
    }

    /// 2026-01-01.
    const NOW: u64 = 1_767_225_600;

    struct Bench {
        world: Arc<World>,
        rtc: Pl031,
    }

    impl Bench {
        fn new() -> Self {
            let world = Arc::new(World { now: NOW.into(), ..World::default() });
            let rtc = Pl031::new(IrqLine::new(world.clone(), 34), world.clone());
            Self { world, rtc }
        }

        fn read(&self, offset: u64) -> u64 {
            self.rtc.read(Access { offset, width: Width::Word, vcpu: 0 })
        }

        fn write(&self, offset: u64, value: u64) {
            self.rtc.write(Access { offset, width: Width::Word, vcpu: 0 }, value);
        }

        fn line(&self) -> bool {
            self.world.line.load(Ordering::SeqCst)
        }

        fn set_time(&self, now: u64) {
            self.world.now.store(now, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_shows_the_wall_clock_and_says_what_it_is() {
        let bench = Bench::new();
        assert_eq!(bench.read(reg::DR), NOW);
        bench.write(reg::CR, 0);
        assert_eq!(bench.read(reg::CR), 1, "cannot be stopped");
        let ids: Vec<u64> = (0xfe0..0x1000).step_by(4).map(|offset| bench.read(offset)).collect();
        assert_eq!(ids, [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
        assert_eq!(bench.rtc.next_alarm(), None);
    }

    #[test]
    fn a_guest_that_sets_its_clock_keeps_its_offset() {
        let bench = Bench::new();
        bench.write(reg::LR, 1000);
        bench.set_time(NOW + 5);
        assert_eq!((bench.read(reg::DR), bench.read(reg::LR)), (1005, 1000));
        bench.rtc.reset();
        assert_eq!((bench.read(reg::DR), bench.read(reg::LR)), (1005, 0));
    }

    /// The alarm as Linux' rtc-pl031 uses it.
    #[test]
    fn the_alarm_interrupts_in_its_second() {
        let bench = Bench::new();
        bench.write(reg::ICR, 1);
        bench.write(reg::MR, NOW + 60);
        assert_eq!(bench.rtc.next_alarm(), None, "masked");
        bench.write(reg::IMSC, 1);
        assert_eq!(bench.rtc.next_alarm(), Some(NOW + 60));
        bench.set_time(NOW + 59);
        bench.rtc.tick();
        assert!(!bench.line());
        bench.set_time(NOW + 61);
        bench.rtc.tick();
        assert!(bench.line());
        assert_eq!((bench.read(reg::RIS), bench.read(reg::MIS)), (1, 1));
        assert_eq!(bench.rtc.next_alarm(), None, "once is enough");
        bench.write(reg::ICR, 1);
        assert!(!bench.line());
        bench.write(reg::MR, NOW + 61);
        assert!(bench.line(), "a match in this very second");
    }

    #[test]
    fn setting_the_clock_moves_the_alarm_and_both_wrap() {
        let bench = Bench::new();
        bench.write(reg::IMSC, 1);
        bench.write(reg::MR, 2);
        bench.write(reg::LR, 0xffff_ffff);
        assert_eq!(bench.rtc.next_alarm(), Some(NOW + 3));
        bench.set_time(NOW + 3);
        assert_eq!(bench.read(reg::DR), 2);
        assert!(bench.line(), "any access notices that the time has come");
    }

    #[test]
    fn an_alarm_that_fell_into_a_snapshot_comes_late() {
        let bench = Bench::new();
        bench.write(reg::LR, 500);
        bench.write(reg::IMSC, 1);
        bench.write(reg::MR, 510);
        let saved = postcard::to_allocvec(&bench.rtc.save()).unwrap();
        let mut copy = Bench::new();
        copy.set_time(NOW + 3600);
        copy.rtc.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
        assert!(copy.line());
        assert_eq!(copy.read(reg::DR), 4100);
        let damaged = Pl031State { mask: 2, ..bench.rtc.save() };
        assert_eq!(copy.rtc.restore(&damaged).unwrap_err().field, "pl031.mask");
    }
}
