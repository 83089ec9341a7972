//! The life of a VM, as a state machine: what an order or an event does to it, and nothing else. `docs/lifecycle.md`
//! has the diagram, and the table of every transition, against which the tests here compare this code.
//!
//! [`next`] is a pure function. Whoever owns the VM holds its [`Phase`] under a lock, asks [`next`], carries out
//! the [`Action`]s in their order and stores the new phase. [`Action::Create`] and [`Action::Release`] are done
//! under the lock; where creating fails, the phase stays what it was. [`Action::Load`] and [`Action::Halt`] take time;
//! their end is an event.
//!
//! A VM has one timer. [`Action::PressPowerButton`] and [`Action::React`] may start it, it ends in
//! [`Event::Timeout`], and whatever changes the phase, as well as every order that is accepted, stops it first.
//! So no time that was meant for an earlier life of the VM ever ends in a later one.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use core::fmt;
use core::time::Duration;

use super::bundle::{MAX_BACKOFF, Reaction, VmSpec};
use super::operator::Order;

/// Where a VM is in its life, as an operator sees it. Which orders it takes depends on this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Described in the bundle; it has neither memory nor devices.
    Defined,
    /// It has memory and devices and is switched off.
    Stopped,
    /// What it boots from is being loaded.
    Starting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are held.
    Paused,
    /// Its guest has been asked to shut down, or its vCPUs are being stopped.
    Stopping,
    /// A vCPU could not go on; the VM is held as it was, to be looked at.
    Crashed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Defined => "defined",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        })
    }
}

/// Where a VM is in its life, in full: a [`State`], and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has neither memory nor devices.
    Defined,
    /// It is switched off.
    Stopped,
    /// It is being loaded; no vCPU runs.
    Starting(Loaded),
    /// Its vCPUs run.
    Running,
    /// Its vCPUs run, and its guest has been asked to shut down.
    ShuttingDown,
    /// Its vCPUs are on their way out of the guest.
    Halting(Halted),
    /// No vCPU runs, until the operator lets them.
    Paused,
    /// No vCPU runs, because one of them cannot go on.
    Crashed,
}

/// What follows when a VM has been loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loaded {
    /// It runs.
    Run,
    /// It is switched off, because the operator has changed his mind.
    Off,
    /// It is destroyed, for the same reason.
    Destroy,
}

/// What follows when all vCPUs of a VM have halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Halted {
    /// They are held.
    Pause,
    /// They are held, because one of them has crashed.
    Crash,
    /// The VM is off, because the operator wants it.
    Off,
    /// The VM is off, because its guest wants it.
    GuestOff,
    /// The VM starts again.
    Reset,
    /// The VM gives its memory and devices back.
    Destroy,
}

impl Phase {
    /// What the operator sees of it.
    pub const fn state(self) -> State {
        match self {
            Self::Defined => State::Defined,
            Self::Stopped => State::Stopped,
            Self::Starting(Loaded::Run) => State::Starting,
            Self::Running => State::Running,
            Self::Paused | Self::Halting(Halted::Pause) => State::Paused,
            Self::Crashed | Self::Halting(Halted::Crash) => State::Crashed,
            Self::Starting(Loaded::Off | Loaded::Destroy)
            | Self::ShuttingDown
            | Self::Halting(Halted::Off | Halted::GuestOff | Halted::Reset | Halted::Destroy) => {
                State::Stopping
            }
        }
    }

    /// Whether the vCPUs may be in their guest.
    pub const fn runs(self) -> bool {
        matches!(self, Self::Running | Self::ShuttingDown)
    }

    /// Whether there are vCPUs that run or could go on.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::ShuttingDown | Self::Paused | Self::Halting(Halted::Pause))
    }
}

/// What happens to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The operator gives an order.
    Order(Order),
    /// [`Action::Load`] is done.
    Booted,
    /// [`Action::Load`] has failed.
    BootFailed,
    /// All vCPUs have halted after [`Action::Halt`].
    AllHalted,
    /// The guest has switched the machine off.
    GuestOff,
    /// The guest has reset the machine.
    GuestReset,
    /// A vCPU cannot go on until the machine has memory to spare.
    OutOfMemory,
    /// A vCPU cannot go on.
    VcpuCrashed,
    /// The VM's timer has run out.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Give the VM its memory and devices, at once.
    Create,
    /// Put the machine into the state of one that has just been switched on, and load what it boots from. Ends
    /// in [`Event::Booted`] or [`Event::BootFailed`].
    Load,
    /// Let the vCPUs run.
    Run,
    /// Make the vCPUs leave their guest. Ends in [`Event::AllHalted`], unless [`Action::Run`] comes first.
    Halt,
    /// Press the guest's power button and give it the grace period to shut down.
    PressPowerButton,
    /// The VM has ended by itself: do what its description says for this case.
    React(Ending),
    /// Take the memory and the devices back, at once; scrubbing the memory can come later.
    Release,
}

/// How a VM ended when it was not the operator's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its guest switched it off.
    Off,
    /// It crashed, or did not get as far as its first instruction.
    Crash,
}

impl Ending {
    /// What `spec` says is to be done about it.
    pub const fn reaction(self, spec: &VmSpec) -> Reaction {
        match self {
            Self::Off => spec.on_stop,
            Self::Crash => spec.on_crash,
        }
    }
}

/// What an event leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The VM's new phase.
    pub phase: Phase,
    /// What is to be done, in this order.
    pub actions: &'static [Action],
}

/// An order that the VM's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The order.
    pub order: Order,
    /// The state.
    pub state: State,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the VM is {}; to {} it, it must be ", self.state, verb(self.order))?;
        let states = possible_in(self.order);
        for (index, state) in states.iter().enumerate() {
            let separator = match states.len().saturating_sub(index) {
                _ if index == 0 => "",
                1 => " or ",
                _ => ", ",
            };
            write!(f, "{separator}{state}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Refused {}

const fn verb(order: Order) -> &'static str {
    match order {
        Order::Create => "create",
        Order::Start => "start",
        Order::Stop => "stop",
        Order::Kill => "kill",
        Order::Pause => "pause",
        Order::Resume => "resume",
        Order::Reset => "reset",
        Order::Destroy => "destroy",
    }
}

/// The states in which `order` is possible.
pub const fn possible_in(order: Order) -> &'static [State] {
    use State::*;
    match order {
        Order::Create => &[Defined],
        Order::Start => &[Defined, Stopped, Crashed],
        Order::Pause => &[Running],
        Order::Resume => &[Paused],
        Order::Reset => &[Running, Paused, Stopping, Crashed],
        // To stop a VM that is off already keeps it from being restarted.
        Order::Stop | Order::Kill | Order::Destroy => {
            &[Stopped, Starting, Running, Paused, Stopping, Crashed]
        }
    }
}

/// What `event` does to a VM in `phase`. An event that means nothing there, such as a guest's wish while the VM is
/// being destroyed, changes nothing.
///
/// # Errors
/// [`Refused`]: the operator's order is not possible in this state.
pub fn next(phase: Phase, event: Event) -> Result<Transition, Refused> {
    let halting_for_now = matches!(phase, Phase::Halting(Halted::Pause));
    Ok(match event {
        Event::Order(order) => {
            let state = phase.state();
            if !possible_in(order).contains(&state) {
                return Err(Refused { order, state });
            }
            obey(phase, order)
        }
        Event::Booted => match phase {
            Phase::Starting(Loaded::Run) => to(Phase::Running, &[Action::Run]),
            Phase::Starting(Loaded::Off) => halted(Halted::Off),
            Phase::Starting(Loaded::Destroy) => halted(Halted::Destroy),
            _ => to(phase, &[]),
        },
        Event::BootFailed => match phase {
            Phase::Starting(Loaded::Run) => to(Phase::Stopped, &[Action::React(Ending::Crash)]),
            Phase::Starting(Loaded::Off) => halted(Halted::Off),
            Phase::Starting(Loaded::Destroy) => halted(Halted::Destroy),
            _ => to(phase, &[]),
        },
        Event::AllHalted => match phase {
            Phase::Halting(goal) => halted(goal),
            _ => to(phase, &[]),
        },
        // The operator wants it off: however it ends now, that is its end.
        Event::GuestOff | Event::GuestReset | Event::OutOfMemory | Event::VcpuCrashed | Event::Timeout
            if phase == Phase::ShuttingDown =>
        {
            halt(phase, Halted::Off)
        }
        // A pause that its guest's own wish overtakes is over.
        Event::GuestOff if phase.runs() || halting_for_now => halt(phase, Halted::GuestOff),
        Event::GuestReset if phase.runs() || halting_for_now => halt(phase, Halted::Reset),
        Event::OutOfMemory if phase.runs() => halt(phase, Halted::Pause),
        Event::VcpuCrashed if phase.runs() || halting_for_now => halt(phase, Halted::Crash),
        Event::Timeout if matches!(phase, Phase::Stopped | Phase::Crashed) => halted(Halted::Reset),
        Event::GuestOff | Event::GuestReset | Event::OutOfMemory | Event::VcpuCrashed | Event::Timeout => {
            to(phase, &[])
        }
    })
}

/// What `order`, which is possible in the state of `phase`, does.
fn obey(phase: Phase, order: Order) -> Transition {
    match order {
        Order::Create => to(Phase::Stopped, &[Action::Create]),
        Order::Start if phase == Phase::Defined => {
            to(Phase::Starting(Loaded::Run), &[Action::Create, Action::Load])
        }
        Order::Start | Order::Reset => halt(phase, Halted::Reset),
        Order::Stop => match phase {
            Phase::Running | Phase::ShuttingDown => to(Phase::ShuttingDown, &[Action::PressPowerButton]),
            Phase::Paused | Phase::Halting(Halted::Pause) => {
                to(Phase::ShuttingDown, &[Action::Run, Action::PressPowerButton])
            }
            _ => halt(phase, Halted::Off),
        },
        Order::Kill => halt(phase, Halted::Off),
        Order::Pause => halt(phase, Halted::Pause),
        Order::Resume => to(Phase::Running, &[Action::Run]),
        Order::Destroy => halt(phase, Halted::Destroy),
    }
}

/// Leads to `goal`, by way of the vCPUs' leaving their guest where they are in it.
fn halt(phase: Phase, goal: Halted) -> Transition {
    match phase {
        Phase::Running | Phase::ShuttingDown => to(Phase::Halting(goal), &[Action::Halt]),
        // The last order counts.
        Phase::Halting(_) => to(Phase::Halting(goal), &[]),
        Phase::Starting(_) => to(
            Phase::Starting(match goal {
                Halted::Destroy => Loaded::Destroy,
                // It is as good as reset.
                Halted::Reset => Loaded::Run,
                _ => Loaded::Off,
            }),
            &[],
        ),
        Phase::Defined | Phase::Stopped | Phase::Paused | Phase::Crashed => halted(goal),
    }
}

/// Arrives at `goal`: no vCPU is in its guest.
const fn halted(goal: Halted) -> Transition {
    match goal {
        Halted::Pause => to(Phase::Paused, &[]),
        Halted::Crash => to(Phase::Crashed, &[Action::React(Ending::Crash)]),
        Halted::Off => to(Phase::Stopped, &[]),
        Halted::GuestOff => to(Phase::Stopped, &[Action::React(Ending::Off)]),
        Halted::Reset => to(Phase::Starting(Loaded::Run), &[Action::Load]),
        Halted::Destroy => to(Phase::Defined, &[Action::Release]),
    }
}

const fn to(phase: Phase, actions: &'static [Action]) -> Transition {
    Transition { phase, actions }
}

/// The delays of [`Reaction::Restart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    const MAX: Duration = Duration::from_millis(MAX_BACKOFF as u64);

    /// Begins with `first` milliseconds, at most [`MAX_BACKOFF`].
    pub fn new(first: u32) -> Self {
        let first = Duration::from_millis(u64::from(first)).min(Self::MAX);
        Self { first, next: first }
    }

    /// How long to wait before the VM is started again, when it has been running for `ran`.
    pub fn delay(&mut self, ran: Duration) -> Duration {
        let delay = if ran >= Self::MAX { self.first } else { self.next };
        // A first delay of nothing grows, too: a VM that crashes at once must not keep a CPU busy for ever.
        self.next = delay.saturating_mul(2).clamp(Duration::from_millis(1), Self::MAX);
        delay
    }
}

#[cfg(test)]
mod tests;
