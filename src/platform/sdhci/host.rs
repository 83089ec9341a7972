//! The host controller: clock, power, and commands that are waited for.

use sdio_host::common_cmd::{Cmd, R1, R2, R3, Resp, Rz};
use sdio_host::sd_cmd::{R6, R7};

use super::Error;
use super::registers::{Capabilities, Clock, Command, HostControl, Interrupts, Port, Present, Register};

/// At most this fast while cards are identified, in Hz (Physical Layer Simplified Specification 9.00, 6.6.6).
const IDENTIFICATION_HZ: u32 = 400_000;
/// How long the controller may take for anything, in microseconds. A reset takes longest (SDHC 3.00 names no time; no
/// controller needs more than a few milliseconds).
const PATIENCE_US: u64 = 100_000;
/// How long a card may be busy, in microseconds (4.6.2.2: 250 ms, 500 ms for SDXC).
const BUSY_US: u64 = 500_000;
/// How long a write to a register takes effect in while the card's clock is slow, in microseconds: the controller of the
/// BCM2835 loses the first of two writes to a register within two cycles of that clock.
const SLOW_WRITE_US: u64 = 10;

/// Kinds of responses: how the controller takes them in (SDHC 3.00, table 2-13).
pub trait Answer: Resp {
    /// Length and checks.
    const FLAGS: Command;
}

const CHECKED: Command = Command::RESPONSE_48.union(Command::CHECK_CRC).union(Command::CHECK_INDEX);

impl Answer for Rz {
    const FLAGS: Command = Command::empty();
}

impl Answer for R1 {
    const FLAGS: Command = CHECKED;
}

impl Answer for R2 {
    const FLAGS: Command = Command::RESPONSE_136.union(Command::CHECK_CRC);
}

impl Answer for R3 {
    const FLAGS: Command = Command::RESPONSE_48;
}

impl Answer for R6 {
    const FLAGS: Command = CHECKED;
}

impl Answer for R7 {
    const FLAGS: Command = CHECKED;
}

/// A host controller with one slot.
pub struct Host<P> {
    port: P,
    base_hz: u32,
    /// The divisor of the clock has ten bits (3.00), and need not be a power of two.
    any_divisor: bool,
    slow: bool,
}

impl<P: Port> Host<P> {
    /// Resets the controller, and gives the slot power and a clock that is slow enough for any card.
    ///
    /// # Errors
    /// [`Error`]: it does not do what it should, or lacks something.
    pub fn new(port: P) -> Result<Self, Error> {
        const VERSION_3_00: u32 = 2;
        let mut host = Self { port, base_hz: 0, any_divisor: false, slow: true };
        host.reset(Clock::RESET_ALL)?;
        let capabilities = host.port.read(Register::Capabilities);
        host.any_divisor = host.port.read(Register::Version) >> 16 & 0xff >= VERSION_3_00;
        let megahertz = capabilities >> 8 & if host.any_divisor { 0xff } else { 0x3f };
        if megahertz == 0 {
            return Err(Error::NoClock);
        }
        host.base_hz = megahertz * 1_000_000;
        if !Capabilities::from_bits_retain(capabilities).contains(Capabilities::VOLTS_3_3) {
            return Err(Error::NoVoltage(capabilities));
        }
        host.write(Register::SignalEnable, 0);
        let shown = Interrupts::TRANSFER | Interrupts::COMMAND_COMPLETE;
        host.write(Register::StatusEnable, shown.bits());
        host.write(Register::HostControl, (HostControl::POWER | HostControl::VOLTS_3_3).bits());
        host.set_clock(IDENTIFICATION_HZ)?;
        // The supply's ramp, and 74 cycles of the clock (Physical Layer 6.4.1).
        host.pause(2_000);
        Ok(host)
    }

    /// Gives the card a clock of at most `hertz` (SDHC 3.00, 3.2).
    ///
    /// # Errors
    /// [`Error::Stuck`].
    pub fn set_clock(&mut self, hertz: u32) -> Result<(), Error> {
        let divisor = match self.base_hz.div_ceil(2 * hertz) {
            _ if self.base_hz <= hertz => 0,
            divisor if self.any_divisor => divisor.min(0x3ff),
            divisor => divisor.next_power_of_two().min(0x80),
        };
        let select = Clock::from_bits_retain((divisor & 0xff) << 8 | (divisor >> 8) << 6);
        let clock = select | Clock::TIMEOUT_LONGEST | Clock::INTERNAL_ENABLE;
        self.slow = true;
        self.write(Register::Clock, Clock::TIMEOUT_LONGEST.bits());
        self.write(Register::Clock, clock.bits());
        let stable = Clock::INTERNAL_STABLE.bits();
        self.wait(Register::Clock, PATIENCE_US, |value| value & stable != 0)?;
        self.write(Register::Clock, (clock | Clock::CARD_ENABLE).bits());
        self.slow = hertz <= IDENTIFICATION_HZ;
        Ok(())
    }

    /// Has data go over four lines, as the card was told before.
    pub fn use_four_lines(&mut self) {
        let control = HostControl::POWER | HostControl::VOLTS_3_3 | HostControl::FOUR_LINES;
        self.write(Register::HostControl, control.bits());
    }

    /// Sends a command and returns the response, the lowest word first.
    ///
    /// # Errors
    /// [`Error::Command`]: the card did not answer as it should. [`Error::Stuck`]: nor did the controller.
    pub fn command<R: Answer>(&mut self, command: Cmd<R>) -> Result<[u32; 4], Error> {
        self.execute(command.cmd, command.arg, R::FLAGS)
    }

    /// Sends a command after which the card may be busy, and waits until it is not.
    ///
    /// # Errors
    /// As those of [`Host::command`].
    pub fn command_and_wait(&mut self, command: Cmd<R1>) -> Result<[u32; 4], Error> {
        const STOP_TRANSMISSION: u8 = 12;
        let abort = if command.cmd == STOP_TRANSMISSION { Command::ABORT } else { Command::empty() };
        self.execute(command.cmd, command.arg, R1::FLAGS | Command::RESPONSE_48_BUSY | abort)
    }

    fn execute(&mut self, index: u8, argument: u32, flags: Command) -> Result<[u32; 4], Error> {
        self.wait_until_idle(flags)?;
        self.write(Register::Status, u32::MAX);
        self.send(index, argument, flags);
        self.wait_for(index, Interrupts::COMMAND_COMPLETE, PATIENCE_US)?;
        let response = self.response();
        if flags.contains(Command::RESPONSE_48_BUSY) {
            self.wait_for(index, Interrupts::TRANSFER_COMPLETE, BUSY_US)?;
        }
        self.write(Register::Status, u32::MAX);
        Ok(response)
    }

    /// Waits until command `index` has come as far as `event`.
    fn wait_for(&mut self, index: u8, event: Interrupts, patience_us: u64) -> Result<(), Error> {
        let over = event | Interrupts::ERRORS;
        let status = self.wait(Register::Status, patience_us, |value| value & over.bits() != 0)?;
        if status & Interrupts::ERRORS.bits() != 0 {
            self.reset_lines()?;
            return Err(Error::Command { index, status });
        }
        Ok(())
    }

    /// Sends a command without waiting for anything. The controller must be idle ([`Host::wait_until_idle`]).
    pub fn send(&mut self, index: u8, argument: u32, flags: Command) {
        self.write(Register::Argument, argument);
        self.write(Register::Command, (Command::index(index) | flags).bits());
    }

    /// Waits until a command of this kind may be sent (SDHC 3.00, 3.7.1.1): one that needs the data lines for itself, only
    /// when nobody else does.
    ///
    /// # Errors
    /// [`Error::Stuck`].
    pub fn wait_until_idle(&mut self, flags: Command) -> Result<(), Error> {
        let needs_data = flags.contains(Command::DATA_PRESENT)
            || flags.contains(Command::RESPONSE_48_BUSY) && !flags.contains(Command::ABORT);
        let mut inhibit = Present::COMMAND_INHIBIT;
        inhibit.set(Present::DATA_INHIBIT, needs_data);
        self.wait(Register::Present, PATIENCE_US, |value| value & inhibit.bits() == 0).map(drop)
    }

    /// The last response, the lowest word first.
    pub fn response(&mut self) -> [u32; 4] {
        [Register::Response0, Register::Response1, Register::Response2, Register::Response3]
            .map(|register| self.port.read(register))
    }

    /// Aborts whatever is under way on the lines for commands and data.
    ///
    /// # Errors
    /// [`Error::Stuck`].
    pub fn reset_lines(&mut self) -> Result<(), Error> {
        self.reset(Clock::RESET_COMMAND | Clock::RESET_DATA)
    }

    /// Resets parts of the controller, one after the other.
    fn reset(&mut self, parts: Clock) -> Result<(), Error> {
        for part in parts.iter() {
            let clock = self.port.read(Register::Clock);
            self.write(Register::Clock, clock | part.bits());
            self.wait(Register::Clock, PATIENCE_US, |value| value & part.bits() == 0)?;
        }
        Ok(())
    }

    /// What has happened since this was asked last; it does not interrupt any more.
    pub fn take_status(&mut self) -> Interrupts {
        let status = self.port.read(Register::Status);
        if status != 0 {
            self.write(Register::Status, status);
        }
        Interrupts::from_bits_retain(status)
    }

    /// The state of lines and buffer.
    pub fn present(&mut self) -> Present {
        Present::from_bits_retain(self.port.read(Register::Present))
    }

    /// Reads a word from the buffer.
    pub fn read_buffer(&mut self) -> u32 {
        self.port.read(Register::Buffer)
    }

    /// Writes a register.
    pub fn write(&mut self, register: Register, value: u32) {
        self.port.write(register, value);
        if self.slow {
            self.pause(SLOW_WRITE_US);
        }
    }

    /// Waits until a register's value is as wanted, and returns it.
    fn wait(
        &mut self,
        register: Register,
        patience_us: u64,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<u32, Error> {
        let deadline = self.clock().saturating_add(patience_us);
        loop {
            let over = self.clock() > deadline;
            let value = self.port.read(register);
            if wanted(value) {
                return Ok(value);
            }
            if over {
                return Err(Error::Stuck { register, value });
            }
        }
    }

    /// Waits so many microseconds.
    pub fn pause(&self, microseconds: u64) {
        let end = self.clock().saturating_add(microseconds);
        while self.clock() < end {
            core::hint::spin_loop();
        }
    }

    /// A clock in microseconds.
    pub fn clock(&self) -> u64 {
        self.port.clock()
    }
}
