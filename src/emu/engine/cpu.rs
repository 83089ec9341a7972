//! Instructions that Rust has no words for.

use core::arch::asm;

use spin::relax::RelaxStrategy;

macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident: $($text:literal),+;)+) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name() {
            // SAFETY: a barrier, a hint or an interrupt mask has no effect on memory beyond ordering.
            unsafe { asm!($($text),+, options(nostack, preserves_flags)) };
        }
    )+};
}

instructions! {
    /// Lets IRQs and SErrors be taken.
    unmask: "msr daifclr, #6";
    /// Lets IRQs be taken.
    unmask_irqs: "msr daifclr, #2";
    /// Keeps IRQs from being taken.
    mask_irqs: "msr daifset, #2";
    /// Keeps everything from being taken that can be kept.
    mask: "msr daifset, #15";
    /// Waits for an interrupt, masked or not.
    wait_for_interrupt: "wfi";
    /// Waits for an event, of which [`timer::init`](crate::timer::init) has one come every few microseconds. EL2 traps it
    /// when others want the CPU.
    wait_for_event: "wfe";
    /// Everything written so far can be seen by all other harts and by the table walker.
    publish: "dsb ishst", "isb";
    /// What follows comes after what is before, accesses to memory and system registers alike.
    synchronize: "dsb sy", "isb";
}

/// How locks are waited for: who holds one may have to wait for the CPU that the others spin on.
#[derive(Debug)]
pub struct Relax;

impl RelaxStrategy for Relax {
    fn relax() {
        wait_for_event();
    }
}
