use proptest::prelude::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/lifecycle.md");

const ORDERS: [Order; 8] = [
    Order::Create,
    Order::Start,
    Order::Stop,
    Order::Kill,
    Order::Pause,
    Order::Resume,
    Order::Reset,
    Order::Destroy,
];

const STATES: [State; 7] = [
    State::Defined,
    State::Stopped,
    State::Starting,
    State::Running,
    State::Paused,
    State::Stopping,
    State::Crashed,
];

const PHASES: [Phase; 15] = [
    Phase::Defined,
    Phase::Stopped,
    Phase::Starting(Loaded::Run),
    Phase::Starting(Loaded::Off),
    Phase::Starting(Loaded::Destroy),
    Phase::Running,
    Phase::ShuttingDown,
    Phase::Halting(Halted::Pause),
    Phase::Halting(Halted::Crash),
    Phase::Halting(Halted::Off),
    Phase::Halting(Halted::GuestOff),
    Phase::Halting(Halted::Reset),
    Phase::Halting(Halted::Destroy),
    Phase::Paused,
    Phase::Crashed,
];

/// What happens without the operator.
const INCIDENTS: [Event; 8] = [
    Event::Booted,
    Event::BootFailed,
    Event::AllHalted,
    Event::GuestOff,
    Event::GuestReset,
    Event::OutOfMemory,
    Event::VcpuCrashed,
    Event::Timeout,
];

fn events() -> impl Iterator<Item = Event> {
    ORDERS.into_iter().map(Event::Order).chain(INCIDENTS)
}

fn list(cell: &str) -> Vec<&str> {
    cell.split(", ").filter(|item| !item.is_empty()).collect()
}

/// The rows of the documented table whose first heading is `heading`.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let rows: Vec<_> = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "no table of {heading}");
    rows
}

#[test]
fn every_transition_is_the_documented_one() {
    let documented = |kind: &str, phase: Phase, event: String| {
        let rows = table(kind).into_iter();
        let mut rows = rows
            .filter(|row| list(row[0]).contains(&&*event) && list(row[1]).contains(&&*format!("{phase:?}")));
        let row = rows.next();
        assert_eq!(rows.next(), None, "{event} in {phase:?} is documented twice");
        row.map(|row| (row[2].to_string(), row[3].to_string()))
    };
    let shown = |transition: Transition| {
        let actions: Vec<_> = transition.actions.iter().map(|action| format!("{action:?}")).collect();
        (format!("{:?}", transition.phase), actions.join(", "))
    };
    for phase in PHASES {
        for order in ORDERS {
            let found = next(phase, Event::Order(order)).ok().map(shown);
            assert_eq!(found, documented("order", phase, format!("{order:?}")), "{order:?} in {phase:?}");
        }
        for event in INCIDENTS {
            let found = shown(next(phase, event).unwrap());
            let expected = documented("event", phase, format!("{event:?}"));
            assert_eq!(
                found,
                expected.unwrap_or((format!("{phase:?}"), String::new())),
                "{event:?} in {phase:?}"
            );
        }
    }
    let rows = ["order", "event"]
        .map(|kind| table(kind).into_iter().map(|row| list(row[0]).len() * list(row[1]).len()));
    let documented: usize = rows.into_iter().flatten().sum();
    let effective = PHASES.iter().flat_map(|&phase| events().map(move |event| (phase, event)));
    let effective = effective.filter(|&(phase, event)| match event {
        Event::Order(_) => next(phase, event).is_ok(),
        _ => next(phase, event) != Ok(to(phase, &[])),
    });
    assert_eq!(documented, effective.count(), "a row names a phase or an event that does not exist");
}

#[test]
fn phases_show_the_documented_state() {
    let rows = table("phase");
    for phase in PHASES {
        let mut rows = rows.iter().filter(|row| list(row[0]).contains(&&*format!("{phase:?}")));
        assert_eq!(rows.next().map(|row| row[1]), Some(&*phase.state().to_string()), "{phase:?}");
        assert_eq!(rows.next(), None);
    }
}

#[test]
fn an_order_is_possible_by_state_alone() {
    for row in table("state") {
        let state = STATES.into_iter().find(|state| state.to_string() == row[0]).unwrap();
        for order in ORDERS {
            let possible = list(row[2]).contains(&verb(order));
            for phase in PHASES.into_iter().filter(|phase| phase.state() == state) {
                let expected = if possible { None } else { Some(Refused { order, state }) };
                assert_eq!(next(phase, Event::Order(order)).err(), expected, "{order:?} in {phase:?}");
            }
        }
    }
    assert_eq!(table("state").len(), STATES.len());
}

#[test]
fn a_refusal_says_what_would_be_possible() {
    let refusal = |phase, order| next(phase, Event::Order(order)).unwrap_err().to_string();
    assert_eq!(refusal(Phase::Stopped, Order::Pause), "the VM is stopped; to pause it, it must be running");
    assert_eq!(
        refusal(Phase::Paused, Order::Start),
        "the VM is paused; to start it, it must be defined, stopped or crashed"
    );
}

/// A VM that carries out actions, and complains of those that do not fit its condition.
#[derive(Debug, Default)]
struct Model {
    resources: bool,
    loading: bool,
    vcpus: Vcpus,
    timer: bool,
}

#[derive(Debug, Default, PartialEq)]
enum Vcpus {
    #[default]
    Held,
    Running,
    Leaving,
}

impl Model {
    fn act(&mut self, action: Action) {
        let quiet = self.vcpus == Vcpus::Held && !self.loading;
        match action {
            Action::Create => {
                assert!(!self.resources);
                self.resources = true;
            }
            Action::Load => {
                assert!(self.resources && quiet);
                self.loading = true;
            }
            Action::Run => {
                assert!(self.resources && !self.loading && self.vcpus != Vcpus::Running);
                self.vcpus = Vcpus::Running;
            }
            Action::Halt => {
                assert_eq!(self.vcpus, Vcpus::Running);
                self.vcpus = Vcpus::Leaving;
            }
            Action::PressPowerButton => {
                assert_eq!(self.vcpus, Vcpus::Running);
                self.timer = true;
            }
            Action::React(_) => {
                assert!(quiet);
                self.timer = true;
            }
            Action::Release => {
                assert!(self.resources && quiet);
                self.resources = false;
            }
        }
    }

    /// Whether `event` can happen to it now.
    fn can(&self, event: Event) -> bool {
        match event {
            Event::Order(_) => true,
            Event::Booted | Event::BootFailed => self.loading,
            Event::AllHalted => self.vcpus == Vcpus::Leaving,
            Event::GuestOff | Event::GuestReset | Event::OutOfMemory | Event::VcpuCrashed => {
                self.vcpus != Vcpus::Held
            }
            Event::Timeout => self.timer,
        }
    }

    /// Lets `event` happen, and answers the VM's new phase.
    fn step(&mut self, phase: Phase, event: Event) -> Phase {
        match event {
            Event::Booted | Event::BootFailed => self.loading = false,
            Event::AllHalted => self.vcpus = Vcpus::Held,
            Event::Timeout => self.timer = false,
            _ => {}
        }
        let Ok(transition) = next(phase, event) else { return phase };
        if transition.phase != phase || matches!(event, Event::Order(_)) {
            self.timer = false;
        }
        for &action in transition.actions {
            self.act(action);
        }
        self.check(transition.phase);
        transition.phase
    }

    fn check(&self, phase: Phase) {
        assert_eq!(self.resources, phase != Phase::Defined, "{phase:?}: {self:?}");
        assert_eq!(self.loading, matches!(phase, Phase::Starting(_)), "{phase:?}: {self:?}");
        let vcpus = match phase {
            Phase::Halting(_) => Vcpus::Leaving,
            _ if phase.runs() => Vcpus::Running,
            _ => Vcpus::Held,
        };
        assert_eq!(self.vcpus, vcpus, "{phase:?}");
        // A running-out timer is never lost on a VM that has been asked to shut down.
        assert!(phase != Phase::ShuttingDown || self.timer);
    }
}

proptest! {
    #[test]
    fn no_events_make_it_inconsistent(events in prop::collection::vec(prop::sample::select(events().collect::<Vec<_>>()), 0..200)) {
        let (mut model, mut phase) = (Model::default(), Phase::Defined);
        for event in events {
            if model.can(event) {
                phase = model.step(phase, event);
            }
        }
        // Wherever that has led: once destroyed, it is gone as soon as what takes time is done.
        if phase != Phase::Defined {
            phase = model.step(phase, Event::Order(Order::Destroy));
            if let Some(event) = [Event::Booted, Event::AllHalted].into_iter().find(|&event| model.can(event)) {
                phase = model.step(phase, event);
            }
            prop_assert_eq!(phase, Phase::Defined);
        }
    }

    #[test]
    fn delays_double_and_begin_anew(first in any::<u32>(), runs in prop::collection::vec(0..90_000_u64, 1..60)) {
        let mut backoff = Backoff::new(first);
        let first = u64::from(first.min(MAX_BACKOFF));
        let mut short = 0;
        for ran in runs {
            short = if ran >= u64::from(MAX_BACKOFF) { 0 } else { short };
            let doubled = match short {
                0 => first,
                _ if first == 0 => 1 << (short - 1).min(20),
                _ => first << short.min(20),
            };
            let expected = Duration::from_millis(doubled.min(u64::from(MAX_BACKOFF)));
            prop_assert_eq!(backoff.delay(Duration::from_millis(ran)), expected);
            short += 1;
        }
    }
}
