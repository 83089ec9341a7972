//! SD cards behind an SD host controller (SDHC): SD Host Controller Simplified Specification 3.00 ("SDHC 3.00") and SD
//! Physical Layer Simplified Specification 9.00.
//!
//! A card does one command at a time, so what else is asked waits in a queue. Data pass through the controller's buffer,
//! a block at a time, and never by DMA.

mod card;
mod host;
#[cfg(target_os = "none")]
mod mmio;
mod registers;
#[cfg(test)]
mod tests;
mod transfer;

use core::fmt;

#[cfg(target_os = "none")]
pub use self::mmio::Mmio;
pub use self::registers::{Port, Register};
pub use self::transfer::SdCard;

/// Why a card cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no SD card in the slot; perhaps something else.
    NoCard,
    /// The controller does not say how fast its clock is.
    NoClock,
    /// It cannot give 3.3 V, by its capabilities.
    NoVoltage(u32),
    /// A register did not change in time.
    Stuck {
        /// Which one.
        register: Register,
        /// What it was in the end.
        value: u32,
    },
    /// A command failed.
    Command {
        /// Which one.
        index: u8,
        /// The interrupt status.
        status: u32,
    },
    /// The card does not work with the slot's voltage, by its response to CMD8.
    Voltage(u32),
    /// It did not power up in time, by its operation conditions.
    PowerUp(u32),
    /// Its capacity is not known, by its specific data (CSD).
    Capacity(u128),
    /// It did not get over an error, by its status.
    Settle(u32),
}

impl Error {
    /// Nothing is wrong: it is just that there is no card that could be used.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoCard | Self::NoClock)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("no SD card"),
            Self::NoClock => f.write_str("the controller does not say how fast its clock is"),
            Self::NoVoltage(capabilities) => write!(f, "no 3.3 V: capabilities {capabilities:#010x}"),
            Self::Stuck { register, value } => {
                write!(f, "the controller hangs: register {register:?} stays {value:#010x}")
            }
            Self::Command { index, status } => {
                write!(f, "CMD{index} failed: interrupt status {status:#010x}")
            }
            Self::Voltage(response) => write!(f, "the card refuses 3.3 V: response {response:#010x} to CMD8"),
            Self::PowerUp(conditions) => write!(f, "the card does not power up: OCR {conditions:#010x}"),
            Self::Capacity(csd) => write!(f, "unknown capacity: CSD {csd:#034x}"),
            Self::Settle(status) => write!(f, "the card does not come back: status {status:#010x}"),
        }
    }
}

impl core::error::Error for Error {}
