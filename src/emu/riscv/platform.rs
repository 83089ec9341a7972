//! The machine around a hart.

use crate::memory::Physical;

pub use polyvisor_cell_abi::StopReason;

/// How the guest ends its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// It is switched off.
    Off,
    /// It starts again.
    Reset,
}

/// The machine around one hart, as the hart sees it. Each hart has its own; they run in parallel.
pub trait Platform: Physical {
    /// How many bits virtual addresses have at most: Sv39, Sv48 and Sv57 are there as far as they fit.
    fn virtual_bits(&self) -> u32 {
        57
    }

    /// The `time` counter.
    fn time(&self) -> u64;

    /// From when on [`Platform::is_due`] is to be true: when [`Platform::time`] has reached `deadline`; `u64::MAX` is never.
    fn set_deadline(&self, deadline: u64);

    /// The levels of this hart's external interrupts ([`polyvisor_cell_abi::Lines`]).
    fn lines(&self) -> u32;

    /// Whether something may have happened since [`Platform::acknowledge`]: an external interrupt, the deadline, a kick, a
    /// request of the debugger, or what the hart has done itself. Asked after every block: cheap. It may err on the side of
    /// `true`.
    fn is_due(&self) -> bool;

    /// Makes this hart due.
    fn make_due(&self);

    /// From here on [`Platform::is_due`] is about what happens from now on. Who calls this looks at everything
    /// afterwards. While the deadline has passed, it stays due.
    fn acknowledge(&self);

    /// Makes the hart of this number due, if there is one.
    fn kick(&self, hart: usize);

    /// Sleeps until the hart is due, or a little while.
    fn wait(&self);

    /// Lets others run: the hart spins for one of them.
    fn relax(&self);

    /// What the debugger wants ([`polyvisor_cell_abi::Requests`]), and that it is taken.
    fn take_requests(&self) -> u32;

    /// Whether the debugger has set a breakpoint on the instruction at `pc`.
    fn is_breakpoint(&self, pc: u64) -> bool;

    /// Changes whenever the breakpoints have.
    fn breakpoint_generation(&self) -> u32;

    /// Stops for the debugger, which may change the hart's registers, until it lets the hart go on.
    fn stopped(&self, reason: StopReason);

    /// The guest ends the machine. Other harts run on for a while.
    fn shutdown(&self, how: Shutdown);
}
