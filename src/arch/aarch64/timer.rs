//! The generic timer as EL2 uses it: time since boot, and the alarms of each CPU, which share its one
//! hypervisor timer (`CNTHP`).

use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHCTL_EL2, CNTPCT_EL0, Readable, Writeable};

use super::percpu;
use super::sysreg::msr;

/// What a CPU can be alarmed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The emulated physical timer of the vCPU that is loaded.
    Guest,
    /// The end of a vCPU's time slice.
    Slice,
    /// A timer of a vCPU that is blocked.
    Sleeper,
    /// Something that the control plane has to do.
    Control,
    /// The next look of the watchdog.
    Watchdog,
    /// The next look at devices that had too much to say.
    Devices,
}

const ALARMS: usize = 6;
const NEVER: u64 = u64::MAX;

/// The deadlines of one CPU, which alone uses them.
#[derive(Debug)]
pub struct Alarms {
    deadlines: [AtomicU64; ALARMS],
    /// What the timer is set to.
    armed: AtomicU64,
}

impl Default for Alarms {
    /// No alarm is set.
    fn default() -> Self {
        Self { deadlines: [const { AtomicU64::new(NEVER) }; ALARMS], armed: AtomicU64::new(NEVER) }
    }
}

impl Alarms {
    fn slot(&self, alarm: Alarm) -> &AtomicU64 {
        let [guest, slice, sleeper, control, watchdog, devices] = &self.deadlines;
        match alarm {
            Alarm::Guest => guest,
            Alarm::Slice => slice,
            Alarm::Sleeper => sleeper,
            Alarm::Control => control,
            Alarm::Watchdog => watchdog,
            Alarm::Devices => devices,
        }
    }

    fn rearm(&self) {
        let next = self.deadlines.iter().map(|slot| slot.load(Ordering::Relaxed)).min().unwrap_or(NEVER);
        if self.armed.load(Ordering::Relaxed) == next {
            return;
        }
        self.armed.store(next, Ordering::Relaxed);
        // SAFETY: EL2's own timer; its interrupt is handled.
        unsafe {
            msr!("cnthp_cval_el2", next);
            msr!("cnthp_ctl_el2", u64::from(next != NEVER));
        }
        barrier::isb(barrier::SY);
    }
}

/// The physical counter now, in ticks; it is not read ahead of what precedes.
pub fn now() -> u64 {
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get()
}

/// As [`now`], but perhaps read a few instructions early: for accounting.
#[inline]
pub fn about_now() -> u64 {
    CNTPCT_EL0.get()
}

/// Ticks per second.
pub fn frequency() -> u64 {
    // Firmware that leaves CNTFRQ unset would have every division by it fault.
    CNTFRQ_EL0.get().max(1)
}

/// `ticks` of the counter in microseconds.
pub fn microseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(frequency())) as u64
}

/// How many ticks `microseconds` are; as many as there can be where they are too many.
pub fn ticks(microseconds: u64) -> u64 {
    u64::try_from(u128::from(microseconds) * u128::from(frequency()) / 1_000_000).unwrap_or(NEVER)
}

/// Time on the physical counter, in microseconds.
pub fn microseconds_since_boot() -> u64 {
    microseconds(now())
}

/// Lets guests read the physical counter and traps their physical timer, which is emulated: CNTHCTL_EL2 with
/// E2H = 0 (DDI 0487 D24.10.2), EL1PCTEN = 1 and EL1PCEN = 0.
pub fn init_cpu() {
    CNTHCTL_EL2.set(1);
    // SAFETY: EL2's own timer.
    unsafe { msr!("cnthp_ctl_el2", 0u64) };
    barrier::isb(barrier::SY);
}

/// Sets this CPU's `alarm` to go off once the physical counter reaches `deadline`, or takes it back.
pub fn set(alarm: Alarm, deadline: Option<u64>) {
    let alarms = &percpu::this_cpu().alarms;
    let slot = alarms.slot(alarm);
    let deadline = deadline.unwrap_or(NEVER);
    if slot.load(Ordering::Relaxed) != deadline {
        slot.store(deadline, Ordering::Relaxed);
        alarms.rearm();
    }
}

/// Whether this CPU's `alarm` is set.
pub fn is_set(alarm: Alarm) -> bool {
    percpu::this_cpu().alarms.slot(alarm).load(Ordering::Relaxed) != NEVER
}

/// Takes this CPU's `alarm` if it is due, and tells whether it was.
pub fn take(alarm: Alarm, now: u64) -> bool {
    let slot = percpu::this_cpu().alarms.slot(alarm);
    let due = slot.load(Ordering::Relaxed) <= now;
    if due {
        set(alarm, None);
    }
    due
}
