//! What a test is, and how it says what was wrong.

use core::fmt;

use guest_support::{exception::Fault, machine::Machine};

/// A named test.
pub struct Test {
    pub name: &'static str,
    /// Whether it runs on every CPU, and not on the boot CPU alone.
    pub everywhere: bool,
    pub run: fn(&'static Machine) -> Outcome,
}

impl Test {
    /// A test for the boot CPU.
    pub const fn once(name: &'static str, run: fn(&'static Machine) -> Outcome) -> Self {
        Self { name, everywhere: false, run }
    }

    /// A test for every CPU. The others run it at the same time, so that it may use private state only.
    pub const fn everywhere(name: &'static str, run: fn(&'static Machine) -> Outcome) -> Self {
        Self { name, everywhere: true, run }
    }
}

pub type Outcome = Result<(), Failure>;

/// What a test found, and what should have been there.
pub struct Failure {
    what: &'static str,
    found: u64,
    wanted: u64,
    fault: Option<Fault>,
}

impl Failure {
    pub const fn new(what: &'static str, found: u64, wanted: u64) -> Self {
        Self { what, found, wanted, fault: None }
    }

    /// A fault where there should have been none, or another one.
    pub const fn fault(what: &'static str, fault: Fault) -> Self {
        Self { what, found: 0, wanted: 0, fault: Some(fault) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Some(Fault { esr, far, elr }) => {
                write!(f, "{}: fault with esr {esr:?}, far {far:#x}, elr {elr:#x}", self.what)
            }
            None => write!(f, "{}: found {:#x}, wanted {:#x}", self.what, self.found, self.wanted),
        }
    }
}

/// Ends the test as failed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $what:expr) => {
        if !$condition {
            return Err($crate::payload::check::Failure::new($what, 0, 1));
        }
    };
}

/// Ends the test as failed unless both numbers are the same.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $what:expr) => {{
        let (found, wanted) = ($found as u64, $wanted as u64);
        if found != wanted {
            return Err($crate::payload::check::Failure::new($what, found, wanted));
        }
    }};
}
