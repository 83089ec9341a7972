//! What a debugger wants of vCPUs, and what it is told of them.

use alloc::string::String;
use core::fmt;

/// What a vCPU is to do when the VM goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run.
    Continue,
    /// Execute one instruction, then stop with [`Stop::Stepped`].
    Step,
    /// Stay where it is.
    Stay,
}

/// Kinds of access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Both.
    Any,
}

/// What breakpoint hardware is asked to look out for, on every vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The execution of the instruction at this virtual address.
    Execution(u64),
    /// An access to memory.
    Watch {
        /// First virtual address.
        address: u64,
        /// Bytes; not 0.
        length: u64,
        /// What kind of access.
        access: Access,
    },
}

/// How a vCPU runs in a debugger's hands.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// What its hardware looks out for.
    pub points: &'a [Point],
    /// Whether it executes one instruction only, and then stops with [`Stop::Stepped`].
    pub step: bool,
}

/// The hardware cannot look out for so many [`Point`]s, or for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyPoints;

impl fmt::Display for TooManyPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the CPU has too few breakpoint or watchpoint registers")
    }
}

impl core::error::Error for TooManyPoints {}

/// Why a vCPU has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It came to a breakpoint instruction that the debugger has put there, which is the next one
    /// that it executes.
    Breakpoint,
    /// It came to a [`Point::Execution`], which is the next instruction.
    Execution,
    /// It is about to make an access that a [`Point::Watch`] looks out for.
    Watch {
        /// The virtual address that the CPU reports: at or below the first watched byte of the access.
        address: u64,
    },
    /// It has executed the one instruction of [`Action::Step`].
    Stepped,
    /// The operator holds the VM.
    Paused,
    /// The VM has been reset, by its guest or by the operator: it is about to execute its first instruction, and
    /// its memory is as its boot loader leaves it.
    Reset,
    /// It cannot go on; why, in words. Its registers can still be read.
    Crashed(String),
    /// The VM is off.
    Off,
}
