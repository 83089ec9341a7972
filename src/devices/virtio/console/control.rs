//! What driver and device tell each other about ports (VIRTIO 1.2, 5.3.6.2).

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

use crate::devices::virtio::queue::{Chain, Reader};
use crate::mm::guest_memory::{GuestMemory, MemoryError};

/// Bytes of a message: `id`, `event` and `value`.
const LEN: usize = 8;
/// Most bytes of a name.
const NAME: usize = 16;

/// What a message is about.
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// What the driver has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is ready for ports.
    Ready,
    /// It has the port of this index.
    PortReady(usize),
    /// Somebody has opened the port of this index, or has closed it.
    PortOpen(usize, bool),
    /// Nothing that would matter.
    Nothing,
}

impl Told {
    /// What is in a request.
    pub fn read(memory: &dyn GuestMemory, chain: &Chain) -> Self {
        if (chain.readable_len() as usize) < LEN {
            return Self::Nothing;
        }
        let mut bytes = [0; LEN];
        Reader::new(memory, &chain.readable).read(&mut bytes);
        let [a, b, c, d, event, event_high, value, value_high] = bytes;
        let port = u32::from_le_bytes([a, b, c, d]) as usize;
        let value = u16::from_le_bytes([value, value_high]);
        match u16::from_le_bytes([event, event_high]) {
            event::DEVICE_READY if value == 1 => Self::Ready,
            event::PORT_READY if value == 1 => Self::PortReady(port),
            event::PORT_OPEN => Self::PortOpen(port, value != 0),
            _ => Self::Nothing,
        }
    }
}

bitflags! {
    /// What the driver is still to be told of a port. A size is not among it: the operator's terminal does not tell its own,
    /// and drivers disagree with the specification about the order of rows and columns.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub struct News: u8 {
        /// That it is there.
        const ADD = 1 << 0;
        /// That it is a console.
        const CONSOLE = 1 << 1;
        /// Its name.
        const NAME = 1 << 2;
        /// That its other end is open.
        const OPEN = 1 << 3;
    }
}

impl News {
    /// What comes first.
    pub fn first(self) -> Option<Self> {
        self.iter().next()
    }

    /// Tells this single one of a port. How many bytes that took; nothing, where there was no room.
    ///
    /// # Errors
    /// The request's buffers are not in memory.
    pub fn write(self, port: usize, memory: &dyn GuestMemory, chain: &Chain) -> Result<u32, MemoryError> {
        let event = match self {
            Self::ADD => event::DEVICE_ADD,
            Self::CONSOLE => event::CONSOLE_PORT,
            Self::NAME => event::PORT_NAME,
            _ => event::PORT_OPEN,
        };
        let mut message = heapless::Vec::<u8, { LEN + NAME }>::new();
        let _ = message.extend_from_slice(&(port as u32).to_le_bytes());
        let _ = message.extend_from_slice(&event.to_le_bytes());
        let _ = message.extend_from_slice(&1u16.to_le_bytes());
        if self == Self::NAME {
            use core::fmt::Write;
            // There is room for the number of any port that there can be.
            let _ = write!(message, "port{port}");
        }
        let Some(segment) = chain.writable.first().filter(|room| room.len as usize >= message.len()) else {
            return Ok(0);
        };
        memory.write(segment.ipa, &message)?;
        Ok(message.len() as u32)
    }
}
