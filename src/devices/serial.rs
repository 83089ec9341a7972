//! What all UARTs have in common: a wire at the far end that may push back, an interrupt line, and a lock. What
//! makes one of them a PL011 or a 16550 is its [`Registers`].
//!
//! Locks: a [`Uart`] calls [`SerialBackend::transmit`] and its [`IrqLine`] with its own lock held, so that
//! neither characters nor levels overtake one another. Neither may call back into the model. The order is
//! UART, then backend or interrupt controller.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use alloc::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice},
    irq::IrqLine,
};
use crate::persist::{Persist, RestoreError};

/// The far end of the wire.
pub trait SerialBackend: Send + Sync {
    /// Takes a character, or says false: there is no room now. The model then keeps the character until
    /// [`Uart::backend_ready`]. Must not call back into the model.
    fn transmit(&self, byte: u8) -> bool;

    /// The guest has emptied its receive FIFO after [`Uart::receive`] had to leave characters over. This is
    /// the time to offer them again, and it may be done from inside the call.
    fn input_wanted(&self) {}
}

/// The registers and FIFOs of a UART: a state machine that knows nothing of the world, and the whole of what is
/// saved.
pub trait Registers: Clone + Serialize + DeserializeOwned + Send {
    /// The state after reset.
    fn reset() -> Self;

    /// The guest reads.
    fn read(&mut self, access: Access) -> u64;

    /// The guest writes. What it sends goes into the transmit FIFO.
    fn write(&mut self, access: Access, value: u64);

    /// The level of the interrupt line.
    fn interrupts(&self) -> bool;

    /// Whether the receiver is connected to the transmitter, and not to the wire.
    fn is_loopback(&self) -> bool;

    /// How many characters the receive FIFO has room for.
    fn receive_room(&self) -> usize;

    /// Whether the receive FIFO holds nothing.
    fn is_receive_empty(&self) -> bool;

    /// A character arrives. Where there is no room, that is an overrun.
    fn receive(&mut self, byte: u8);

    /// The oldest character of the transmit FIFO.
    fn next_to_send(&self) -> Option<u8>;

    /// [`Registers::next_to_send`] has left the FIFO for the wire.
    fn sent(&mut self);

    /// Whether every field holds what a running model could have put there.
    ///
    /// # Errors
    /// The first value that is out of its bound.
    fn check(&self) -> Result<(), RestoreError>;
}

/// What the lock protects.
struct Inner<R> {
    registers: R,
    /// The level that the interrupt line was last driven to.
    line: bool,
    /// The last [`Uart::receive`] left characters over.
    input_left_over: bool,
}

/// A UART with its interrupt line and the far end of its wire.
pub struct Uart<R> {
    inner: Mutex<Inner<R>>,
    irq: IrqLine,
    backend: Arc<dyn SerialBackend>,
}

impl<R: Registers> Uart<R> {
    /// A UART as it comes out of reset.
    pub fn new(irq: IrqLine, backend: Arc<dyn SerialBackend>) -> Self {
        let inner = Inner { registers: R::reset(), line: false, input_left_over: false };
        Self { inner: Mutex::new(inner), irq, backend }
    }

    /// Puts characters into the receive FIFO and says how many it took. Those left over can be offered again
    /// when [`SerialBackend::input_wanted`] is called. In loopback the wire is cut and characters vanish.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut inner = self.inner.lock();
        if inner.registers.is_loopback() {
            return bytes.len();
        }
        let taken = inner.registers.receive_room().min(bytes.len());
        bytes.iter().take(taken).for_each(|&byte| inner.registers.receive(byte));
        inner.input_left_over = taken < bytes.len();
        self.update_line(&mut inner);
        taken
    }

    /// The backend has room again: passes on what waits in the transmit FIFO.
    pub fn backend_ready(&self) {
        let mut inner = self.inner.lock();
        self.drain(&mut inner.registers);
        self.update_line(&mut inner);
    }

    /// What the reset input does. Characters in the FIFOs are lost.
    pub fn reset(&self) {
        let mut inner = self.inner.lock();
        inner.registers = R::reset();
        self.drive_line(&mut inner);
    }

    /// Passes on what the backend will take of the transmit FIFO.
    fn drain(&self, registers: &mut R) {
        while let Some(byte) = registers.next_to_send() {
            if !self.backend.transmit(byte) {
                break;
            }
            registers.sent();
        }
    }

    fn update_line(&self, inner: &mut Inner<R>) {
        if inner.registers.interrupts() != inner.line {
            self.drive_line(inner);
        }
    }

    fn drive_line(&self, inner: &mut Inner<R>) {
        inner.line = inner.registers.interrupts();
        self.irq.set(inner.line);
    }
}

/// A UART of any kind, from the far end of its wire.
pub trait SerialPort: Send + Sync {
    /// See [`Uart::receive`].
    fn receive(&self, bytes: &[u8]) -> usize;

    /// See [`Uart::backend_ready`].
    fn backend_ready(&self);
}

impl<R: Registers> SerialPort for Uart<R> {
    fn receive(&self, bytes: &[u8]) -> usize {
        self.receive(bytes)
    }

    fn backend_ready(&self) {
        self.backend_ready();
    }
}

impl<R: Registers> MmioDevice for Uart<R> {
    fn read(&self, access: Access) -> u64 {
        let mut inner = self.inner.lock();
        let value = inner.registers.read(access);
        self.update_line(&mut inner);
        let wants_input = inner.input_left_over && inner.registers.is_receive_empty();
        if wants_input {
            inner.input_left_over = false;
            // The backend may call `receive` from inside.
            drop(inner);
            self.backend.input_wanted();
        }
        value
    }

    fn write(&self, access: Access, value: u64) {
        let mut inner = self.inner.lock();
        inner.registers.write(access, value);
        self.drain(&mut inner.registers);
        self.update_line(&mut inner);
    }
}

impl<R: Registers> Persist for Uart<R> {
    type State = R;

    fn save(&self) -> R {
        self.inner.lock().registers.clone()
    }

    fn restore(&mut self, state: &R) -> Result<(), RestoreError> {
        state.check()?;
        let mut inner = self.inner.lock();
        inner.registers = state.clone();
        // Whoever feeds the model cannot know how it stands now: ask for input at the next read.
        inner.input_left_over = true;
        self.drive_line(&mut inner);
        Ok(())
    }
}

/// What the tests of the UARTs have in common.
#[cfg(test)]
pub(super) mod testing {
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::devices::{bus::Width, irq::IrqController};

    /// A wire that takes `room` characters, and an interrupt controller with one pin.
    #[derive(Default)]
    pub struct World {
        pub sent: Mutex<Vec<u8>>,
        pub room: AtomicUsize,
        pub wanted: AtomicUsize,
        line: AtomicBool,
    }

    impl SerialBackend for World {
        fn transmit(&self, byte: u8) -> bool {
            let fits = self
                .room
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1))
                .is_ok();
            if fits {
                self.sent.lock().push(byte);
            }
            fits
        }

        fn input_wanted(&self) {
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl IrqController for World {
        fn set_level(&self, pin: u32, level: bool) {
            assert_eq!(pin, 33);
            self.line.store(level, Ordering::SeqCst);
        }
    }

    /// A UART in that world, whose registers are accessed in one width.
    pub struct Bench<R> {
        pub world: Arc<World>,
        pub uart: Uart<R>,
        width: Width,
    }

    impl<R: Registers> Bench<R> {
        pub fn new(width: Width, room: usize) -> Self {
            let world = Arc::new(World { room: room.into(), ..World::default() });
            let uart = Uart::new(IrqLine::new(world.clone(), 33), world.clone());
            Self { world, uart, width }
        }

        pub fn read(&self, offset: u64) -> u64 {
            self.uart.read(Access { offset, width: self.width, vcpu: 0 })
        }

        pub fn write(&self, offset: u64, value: u64) {
            self.uart.write(Access { offset, width: self.width, vcpu: 0 }, value);
        }

        pub fn line(&self) -> bool {
            self.world.line.load(Ordering::SeqCst)
        }

        pub fn sent(&self) -> String {
            String::from_utf8(self.world.sent.lock().clone()).unwrap()
        }

        /// The wire takes `room` characters more.
        pub fn make_room(&self, room: usize) {
            self.world.room.store(room, Ordering::SeqCst);
            self.uart.backend_ready();
        }

        /// How often input was asked for.
        pub fn wanted(&self) -> usize {
            self.world.wanted.load(Ordering::SeqCst)
        }
    }
}
