//! The registers of an SD host controller (SD Host Controller Simplified Specification 3.00, chapter 2), in words of 32
//! bits: the Raspberry Pi's controllers take no narrower access.

use bitflags::bitflags;

/// A word of registers, by its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Register {
    /// Block size (2.2.2) and, in the upper half, block count (2.2.3).
    Blocks = 0x04,
    /// Argument (2.2.4).
    Argument = 0x08,
    /// [`Command`]. Writing it has the command sent.
    Command = 0x0c,
    /// Response, bits 31:0 (2.2.7).
    Response0 = 0x10,
    /// Bits 63:32.
    Response1 = 0x14,
    /// Bits 95:64.
    Response2 = 0x18,
    /// Bits 127:96: here is also what a card answers to Auto CMD12.
    Response3 = 0x1c,
    /// Buffer data port (2.2.8).
    Buffer = 0x20,
    /// [`Present`].
    Present = 0x24,
    /// [`HostControl`].
    HostControl = 0x28,
    /// [`Clock`].
    Clock = 0x2c,
    /// [`Interrupts`] that have happened; writing ones takes them back.
    Status = 0x30,
    /// [`Interrupts`] that show in the status.
    StatusEnable = 0x34,
    /// [`Interrupts`] that raise the interrupt.
    SignalEnable = 0x38,
    /// [`Capabilities`].
    Capabilities = 0x40,
    /// Slot interrupt status and, in the upper half, version (2.2.38).
    Version = 0xfc,
}

bitflags! {
    /// Transfer mode (2.2.5) and, in the upper half, command (2.2.6).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Command: u32 {
        const BLOCK_COUNT_ENABLE = 1 << 1;
        const AUTO_CMD12 = 1 << 2;
        const READ = 1 << 4;
        const MULTI_BLOCK = 1 << 5;
        const RESPONSE_136 = 1 << 16;
        const RESPONSE_48 = 2 << 16;
        const RESPONSE_48_BUSY = 3 << 16;
        const CHECK_CRC = 1 << 19;
        const CHECK_INDEX = 1 << 20;
        const DATA_PRESENT = 1 << 21;
        const ABORT = 3 << 22;
    }

    /// Present state (2.2.9).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Present: u32 {
        const COMMAND_INHIBIT = 1 << 0;
        const DATA_INHIBIT = 1 << 1;
        const BUFFER_WRITE_ENABLE = 1 << 10;
        const BUFFER_READ_ENABLE = 1 << 11;
        /// The level of the write protect pin, which is low for a card that is protected.
        const WRITE_ENABLED = 1 << 19;
    }

    /// Host control 1 (2.2.10), power control (2.2.11), block gap and wake-up control.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct HostControl: u32 {
        const FOUR_LINES = 1 << 1;
        const POWER = 1 << 8;
        const VOLTS_3_3 = 7 << 9;
    }

    /// Clock control (2.2.14), timeout control (2.2.15) and software reset (2.2.16).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Clock: u32 {
        const INTERNAL_ENABLE = 1 << 0;
        const INTERNAL_STABLE = 1 << 1;
        const CARD_ENABLE = 1 << 2;
        /// The longest time that a card may be silent: 2^27 cycles of the timeout clock.
        const TIMEOUT_LONGEST = 0xe << 16;
        const RESET_ALL = 1 << 24;
        const RESET_COMMAND = 1 << 25;
        const RESET_DATA = 1 << 26;
    }

    /// Normal interrupts (2.2.17) and, in the upper half, error interrupts (2.2.18).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Interrupts: u32 {
        const COMMAND_COMPLETE = 1 << 0;
        const TRANSFER_COMPLETE = 1 << 1;
        const BUFFER_WRITE_READY = 1 << 4;
        const BUFFER_READ_READY = 1 << 5;
        const COMMAND_TIMEOUT = 1 << 16;
        const COMMAND_CRC = 1 << 17;
        const COMMAND_END_BIT = 1 << 18;
        const COMMAND_INDEX = 1 << 19;
        const DATA_TIMEOUT = 1 << 20;
        const DATA_CRC = 1 << 21;
        const DATA_END_BIT = 1 << 22;
        const CURRENT_LIMIT = 1 << 23;
        const AUTO_CMD = 1 << 24;
    }

    /// Capabilities (2.2.26).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        const VOLTS_3_3 = 1 << 24;
    }
}

impl Command {
    /// The command of this index.
    pub const fn index(index: u8) -> Self {
        Self::from_bits_retain((index as u32 & 0x3f) << 24)
    }
}

impl Interrupts {
    /// All that is an error.
    pub const ERRORS: Self = Self::from_bits_retain(0x01ff_0000);
    /// What moves a transfer on.
    pub const TRANSFER: Self = Self::TRANSFER_COMPLETE
        .union(Self::BUFFER_WRITE_READY)
        .union(Self::BUFFER_READ_READY)
        .union(Self::ERRORS);
}

/// Access to a controller's registers, and the time.
pub trait Port: Send {
    /// Reads a word. Reading [`Register::Buffer`] takes it out of the buffer.
    fn read(&mut self, register: Register) -> u32;

    /// Writes a word.
    fn write(&mut self, register: Register, value: u32);

    /// A clock in microseconds.
    fn clock(&self) -> u64;
}
