//! Driver of the physical serial lines: an ARM PrimeCell UART (PL011, DDI 0183). Line settings are the firmware's.

use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

use crate::arch::aarch64::timer;
use crate::mm::addr::PhysAddr;

register_bitfields! {u32,
    /// Flag register (3.3.3).
    FR [
        TXFF OFFSET(5) NUMBITS(1) [],
        RXFE OFFSET(4) NUMBITS(1) [],
        BUSY OFFSET(3) NUMBITS(1) []
    ],
    /// Line control (3.3.7).
    LCR_H [
        FEN OFFSET(4) NUMBITS(1) [],
        WLEN OFFSET(5) NUMBITS(2) [EightBits = 3]
    ],
    /// Control (3.3.8).
    CR [
        CTSEN OFFSET(15) NUMBITS(1) [],
        RTSEN OFFSET(14) NUMBITS(1) [],
        LBE OFFSET(7) NUMBITS(1) [],
        RXE OFFSET(9) NUMBITS(1) [],
        TXE OFFSET(8) NUMBITS(1) [],
        UARTEN OFFSET(0) NUMBITS(1) []
    ],
    /// Interrupt mask, status and clear registers share this layout (3.3.10).
    INTERRUPTS [
        RT OFFSET(6) NUMBITS(1) [],
        TX OFFSET(5) NUMBITS(1) [],
        RX OFFSET(4) NUMBITS(1) []
    ]
}

register_structs! {
    Registers {
        (0x000 => data: ReadWrite<u32>),
        (0x004 => _status: [u32; 5]),
        (0x018 => flags: ReadOnly<u32, FR::Register>),
        (0x01c => _divisors: [u32; 4]),
        (0x02c => line_control: ReadWrite<u32, LCR_H::Register>),
        (0x030 => control: ReadWrite<u32, CR::Register>),
        (0x034 => _fifo_levels: u32),
        (0x038 => interrupt_mask: ReadWrite<u32, INTERRUPTS::Register>),
        (0x03c => _interrupt_status: [u32; 2]),
        (0x044 => interrupt_clear: WriteOnly<u32, INTERRUPTS::Register>),
        (0x048 => @END),
    }
}

/// A byte takes 34 ms at 300 baud, a full FIFO 28 ms at 9600.
const PATIENCE_US: u64 = 40_000;

/// Polls `condition` until it holds, and tells whether it did so within [`PATIENCE_US`].
fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    if condition() {
        return true;
    }
    let deadline = timer::microseconds_since_boot() + PATIENCE_US;
    while timer::microseconds_since_boot() < deadline {
        if condition() {
            return true;
        }
    }
    false
}

/// A physical PL011.
pub struct Pl011(&'static Registers);

// SAFETY: device registers are not tied to a CPU.
unsafe impl Send for Pl011 {}

impl Pl011 {
    /// The UART at `base`.
    ///
    /// # Safety
    /// `base` is that of a PL011 which is mapped as device memory (or the MMU is off) and has no other
    /// driver.
    pub unsafe fn new(base: PhysAddr) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &*(base.0 as *const Registers) })
    }

    /// Switches the UART on, with FIFOs and without interrupts; needed where no firmware has used it.
    pub fn enable(&mut self) {
        self.0.interrupt_mask.set(0);
        if !self.0.control.is_set(CR::UARTEN) {
            self.0.line_control.modify(LCR_H::WLEN::EightBits + LCR_H::FEN::SET);
            self.0.control.modify(CR::UARTEN::SET);
        }
        // Without flow control and loopback, whatever the firmware used it for.
        let control = CR::TXE::SET + CR::RXE::SET + CR::CTSEN::CLEAR + CR::RTSEN::CLEAR + CR::LBE::CLEAR;
        self.0.control.modify(control);
    }

    /// Asks for an interrupt when bytes have come in, or no longer does.
    pub fn set_receive_interrupt(&mut self, wanted: bool) {
        self.0.interrupt_mask.modify(INTERRUPTS::RX.val(wanted.into()) + INTERRUPTS::RT.val(wanted.into()));
    }

    /// Asks for an interrupt when the transmit FIFO has room again, or no longer does.
    pub fn set_transmit_interrupt(&mut self, wanted: bool) {
        self.0.interrupt_mask.modify(INTERRUPTS::TX.val(wanted.into()));
    }

    /// Queues `byte` for transmission if there is room.
    pub fn try_send(&mut self, byte: u8) -> bool {
        let room = !self.0.flags.is_set(FR::TXFF);
        if room {
            self.0.data.set(byte.into());
        }
        room
    }

    /// Sends `byte`, waiting for room, and tells whether it could: a line that moves at all takes a byte in
    /// less than [`PATIENCE_US`].
    pub fn send(&mut self, byte: u8) -> bool {
        wait_until(|| self.try_send(byte))
    }

    /// Waits until the last byte is on the line, but no longer than a working one takes for a full FIFO.
    pub fn flush(&mut self) {
        // Whoever flushes has nothing to do about a line that does not move.
        let _ = wait_until(|| !self.0.flags.is_set(FR::BUSY));
    }

    /// Takes a byte that has come in, if there is one. Bytes with a framing, parity or break error count as
    /// received.
    pub fn try_receive(&mut self) -> Option<u8> {
        (!self.0.flags.is_set(FR::RXFE)).then(|| self.0.data.get() as u8)
    }

    /// Takes back the interrupts that are pending now.
    pub fn clear_interrupts(&mut self) {
        self.0.interrupt_clear.write(INTERRUPTS::RX::SET + INTERRUPTS::RT::SET + INTERRUPTS::TX::SET);
    }
}
