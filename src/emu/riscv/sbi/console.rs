//! DBCN: the debug console (SBI, chapter 12), which is the machine's 16550A.

use super::super::hart::Hart;
use super::super::platform::Platform;
use super::{Answer, Error, Request};
use crate::memory::{Physical, Size};

/// Where QEMU's `virt` has its UART.
const UART: u64 = 0x1000_0000;
/// Receiver buffer and transmitter holding register.
const DATA: u64 = UART;
/// Line status register.
const LINE_STATUS: u64 = UART + 5;
/// Bit of [`LINE_STATUS`]: there is a character.
const DATA_READY: u64 = 1 << 0;
/// Bit of [`LINE_STATUS`]: there is room for one.
const TRANSMITTER_EMPTY: u64 = 1 << 5;
/// How much one call moves at most, so that interrupts don't wait for long.
const MAX_BYTES: u64 = 256;
/// How often a call that must not fail for want of room asks for it.
const PATIENCE: u32 = 1000;

impl<P: Platform> Hart<P> {
    pub(super) fn sbi_console(&mut self, request: Request) -> Answer {
        let [first, ..] = request.arguments;
        match request.function {
            0 => self.console_write(self.memory_range(request)?),
            1 => self.console_read(self.memory_range(request)?),
            2 => {
                let mut tries = (0..PATIENCE).inspect(|_| self.bus.platform().relax());
                let room =
                    self.line_status(TRANSMITTER_EMPTY) || tries.any(|_| self.line_status(TRANSMITTER_EMPTY));
                if room {
                    self.console_put(first as u8).map(|()| 0).ok_or(Error::Failed)
                } else {
                    Err(Error::Failed)
                }
            }
            _ => Err(Error::NotSupported),
        }
    }

    /// The guest's buffer, which must be RAM: its address, and how many bytes of it this call uses.
    fn memory_range(&self, request: Request) -> Result<(u64, u64), Error> {
        let [len, low, high, ..] = request.arguments;
        if high != 0 || self.bus.ram().host(low, len).is_none() {
            return Err(Error::InvalidParam);
        }
        Ok((low, len.min(MAX_BYTES)))
    }

    fn console_write(&self, (address, len): (u64, u64)) -> Answer {
        for done in 0..len {
            let byte = self.bus.ram().read(address + done).ok_or(Error::InvalidParam)?;
            if !self.line_status(TRANSMITTER_EMPTY) || self.console_put(byte).is_none() {
                return Ok(done);
            }
        }
        Ok(len)
    }

    fn console_read(&self, (address, len): (u64, u64)) -> Answer {
        for done in 0..len {
            let Some(byte) = self.console_get() else { return Ok(done) };
            let (at, mut written) = (address + done, None);
            self.bus.writing(at, 1, &mut || written = self.bus.ram().write(at, byte));
            written.ok_or(Error::InvalidParam)?;
        }
        Ok(len)
    }

    fn line_status(&self, bit: u64) -> bool {
        self.bus.read(LINE_STATUS, Size::Byte).is_some_and(|status| status & bit != 0)
    }

    /// Writes a character; `None` if there is no console.
    pub(super) fn console_put(&self, byte: u8) -> Option<()> {
        self.bus.write(DATA, Size::Byte, byte.into())
    }

    /// Reads a character; `None` if there is none.
    pub(super) fn console_get(&self) -> Option<u8> {
        if !self.line_status(DATA_READY) {
            return None;
        }
        self.bus.read(DATA, Size::Byte).map(|byte| byte as u8)
    }
}
