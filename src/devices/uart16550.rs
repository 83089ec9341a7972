//! The National Semiconductor PC16550D UART, data sheet SNLS378B, as QEMU's riscv `virt` has it (`serial-mm`): its
//! eight registers are bytes, one beside the other.
//!
//! Where QEMU simplifies, so does this model, because guests that were only ever run on QEMU depend on it:
//!
//! - Baud rate and line format are only kept.
//! - A write to a full transmit FIFO overwrites the oldest character in it.
//! - The modem status inputs are constant: a modem is there. Loopback shows the modem outputs in their place, but
//!   no change of them is noticed. There is therefore never a modem status interrupt.
//! - Enabling the transmit interrupt raises it again if the transmitter is empty. Windows relies on it.
//! - An access of any width is to the one register at its address.
//!
//! The model has no timer. The timeout interrupt, which is for characters below the trigger level, comes at once.
//! What the backend cannot take stays in the transmit FIFO; there is no shift register behind it, and so THRE and
//! TEMT are the same.
//!
//! How it reaches the wire, and in which order locks are taken, is the matter of [`super::serial`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use bitflags::bitflags;
use heapless::Deque;
use serde::{Deserialize, Serialize};

use super::{
    bus::Access,
    serial::{Registers, Uart},
};
use crate::persist::RestoreError;

/// The size of the register block in bytes. As with QEMU, nothing answers in the rest of the window of 0x100 bytes
/// that the devicetree names.
pub const SIZE: u64 = 8;

/// The characters that each FIFO holds when it is enabled.
const FIFO_DEPTH: usize = 16;

/// The divisor after reset: 9600 baud of a clock of 1.8432 MHz.
const RESET_DIVISOR: [u8; 2] = [12, 0];

/// Register offsets (SNLS378B, table II).
mod reg {
    /// Receiver buffer and transmitter holding register; with DLAB the divisor's low byte.
    pub const RBR_THR: u64 = 0;
    /// With DLAB the divisor's high byte.
    pub const IER: u64 = 1;
    pub const IIR_FCR: u64 = 2;
    pub const LCR: u64 = 3;
    pub const MCR: u64 = 4;
    pub const LSR: u64 = 5;
    pub const MSR: u64 = 6;
    pub const SCR: u64 = 7;
}

bitflags! {
    /// `IER`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct Enables: u8 {
        /// Received data available, and timeout.
        const ERBFI = 1 << 0;
        /// Transmitter holding register empty.
        const ETBEI = 1 << 1;
        /// Receiver line status.
        const ELSI = 1 << 2;
        /// Modem status.
        const EDSSI = 1 << 3;
    }

    /// `FCR`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct FifoControl: u8 {
        const ENABLE = 1 << 0;
        const RESET_RX = 1 << 1;
        const RESET_TX = 1 << 2;
        const DMA_MODE = 1 << 3;
        /// The receive interrupt's trigger level.
        const TRIGGER = 0b11 << 6;
    }

    /// `MCR`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct ModemControl: u8 {
        const DTR = 1 << 0;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        const OUT2 = 1 << 3;
        const LOOP = 1 << 4;
    }

    /// `LSR`.
    #[derive(Debug, Clone, Copy)]
    struct LineStatus: u8 {
        /// Data ready.
        const DR = 1 << 0;
        /// Overrun error.
        const OE = 1 << 1;
        /// Transmitter holding register (or FIFO) empty.
        const THRE = 1 << 5;
        /// Transmitter empty.
        const TEMT = 1 << 6;
    }

    /// `MSR`.
    #[derive(Debug, Clone, Copy)]
    struct ModemStatus: u8 {
        const CTS = 1 << 4;
        const DSR = 1 << 5;
        const RI = 1 << 6;
        const DCD = 1 << 7;
    }
}

/// `LCR`, divisor latch access bit; the other bits mean nothing to the model.
const DLAB: u8 = 1 << 7;

/// `IIR`, bits 7:6: FIFOs are enabled.
const FIFOS_ENABLED: u8 = 0b11 << 6;

/// The bits of `FCR` that are kept: the resets are done at once.
const FCR_KEPT: FifoControl = FifoControl::ENABLE.union(FifoControl::DMA_MODE).union(FifoControl::TRIGGER);

/// `IIR`, bits 3:0: the pending interrupt of highest priority (SNLS378B, table IV).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Interrupt {
    None = 0b0001,
    LineStatus = 0b0110,
    ReceivedData = 0b0100,
    Timeout = 0b1100,
    TransmitterEmpty = 0b0010,
}

/// A 16550 with its interrupt line and the far end of its wire.
pub type Uart16550 = Uart<Uart16550State>;

/// The registers and FIFOs: the whole of what is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uart16550State {
    enables: Enables,
    fifo_control: FifoControl,
    line_control: u8,
    modem_control: ModemControl,
    scratch: u8,
    /// Low byte first.
    divisor: [u8; 2],
    /// What was received last while FIFOs were disabled. It can be read again.
    receiver_buffer: u8,
    /// Characters were lost since `LSR` was last read.
    overrun: bool,
    /// The transmitter has run empty, and the guest has not been told.
    transmitter_emptied: bool,
    rx: Deque<u8, FIFO_DEPTH>,
    tx: Deque<u8, FIFO_DEPTH>,
}

impl Uart16550State {
    fn has_fifos(&self) -> bool {
        self.fifo_control.contains(FifoControl::ENABLE)
    }

    /// How many characters each FIFO holds: it is a single register while FIFOs are disabled.
    fn depth(&self) -> usize {
        if self.has_fifos() { FIFO_DEPTH } else { 1 }
    }

    /// How many received characters raise the received data interrupt (SNLS378B, 8.4).
    fn trigger(&self) -> usize {
        if !self.has_fifos() {
            return 1;
        }
        match (self.fifo_control & FifoControl::TRIGGER).bits() >> 6 {
            0b00 => 1,
            0b01 => 4,
            0b10 => 8,
            _ => 14,
        }
    }

    /// The divisor's byte that is in the place of `register` now.
    fn divisor_byte(&mut self, register: u64) -> Option<&mut u8> {
        if self.line_control & DLAB == 0 {
            return None;
        }
        match register {
            reg::RBR_THR => self.divisor.first_mut(),
            reg::IER => self.divisor.last_mut(),
            _ => None,
        }
    }

    fn pending(&self) -> Interrupt {
        let has_input = !self.rx.is_empty();
        if self.enables.contains(Enables::ELSI) && self.overrun {
            Interrupt::LineStatus
        } else if self.enables.contains(Enables::ERBFI) && has_input && self.rx.len() >= self.trigger() {
            Interrupt::ReceivedData
        } else if self.enables.contains(Enables::ERBFI) && has_input {
            Interrupt::Timeout
        } else if self.enables.contains(Enables::ETBEI) && self.transmitter_emptied {
            Interrupt::TransmitterEmpty
        } else {
            Interrupt::None
        }
    }

    fn line_status(&self) -> LineStatus {
        let mut status = LineStatus::empty();
        status.set(LineStatus::DR, !self.rx.is_empty());
        status.set(LineStatus::OE, self.overrun);
        status.set(LineStatus::THRE | LineStatus::TEMT, self.tx.is_empty());
        status
    }

    fn modem_status(&self) -> ModemStatus {
        if !self.is_loopback() {
            return ModemStatus::CTS | ModemStatus::DSR | ModemStatus::DCD;
        }
        let mut status = ModemStatus::empty();
        status.set(ModemStatus::DSR, self.modem_control.contains(ModemControl::DTR));
        status.set(ModemStatus::CTS, self.modem_control.contains(ModemControl::RTS));
        status.set(ModemStatus::RI, self.modem_control.contains(ModemControl::OUT1));
        status.set(ModemStatus::DCD, self.modem_control.contains(ModemControl::OUT2));
        status
    }

    fn pop_rx(&mut self) -> u8 {
        let empty = if self.has_fifos() { 0 } else { self.receiver_buffer };
        self.rx.pop_front().unwrap_or(empty)
    }

    fn identify(&mut self) -> u8 {
        let interrupt = self.pending();
        if interrupt == Interrupt::TransmitterEmpty {
            self.transmitter_emptied = false;
        }
        interrupt as u8 | if self.has_fifos() { FIFOS_ENABLED } else { 0 }
    }

    /// The guest hands a character to the transmitter.
    fn send(&mut self, byte: u8) {
        if self.is_loopback() {
            self.receive(byte);
            self.transmitter_emptied = true;
            return;
        }
        self.transmitter_emptied = false;
        if self.tx.len() >= self.depth() {
            self.tx.pop_front();
        }
        // There is room: the depth is at most the capacity.
        _ = self.tx.push_back(byte);
    }

    fn set_enables(&mut self, value: Enables) {
        if (self.enables ^ value).contains(Enables::ETBEI) {
            self.transmitter_emptied = value.contains(Enables::ETBEI) && self.tx.is_empty();
        }
        self.enables = value;
    }

    fn set_fifo_control(&mut self, value: FifoControl) {
        let toggled = (self.fifo_control ^ value).contains(FifoControl::ENABLE);
        self.fifo_control = value & FCR_KEPT;
        if toggled || value.contains(FifoControl::RESET_RX) {
            self.rx.clear();
        }
        if toggled || value.contains(FifoControl::RESET_TX) {
            self.tx.clear();
            self.transmitter_emptied = true;
        }
    }

    fn read_register(&mut self, register: u64) -> u8 {
        if let Some(byte) = self.divisor_byte(register) {
            return *byte;
        }
        match register {
            reg::RBR_THR => self.pop_rx(),
            reg::IER => self.enables.bits(),
            reg::IIR_FCR => self.identify(),
            reg::LCR => self.line_control,
            reg::MCR => self.modem_control.bits(),
            reg::LSR => {
                let status = self.line_status().bits();
                self.overrun = false;
                status
            }
            reg::MSR => self.modem_status().bits(),
            reg::SCR => self.scratch,
            _ => 0,
        }
    }

    fn write_register(&mut self, register: u64, value: u8) {
        if let Some(byte) = self.divisor_byte(register) {
            *byte = value;
            return;
        }
        match register {
            reg::RBR_THR => self.send(value),
            reg::IER => self.set_enables(Enables::from_bits_truncate(value)),
            reg::IIR_FCR => self.set_fifo_control(FifoControl::from_bits_truncate(value)),
            reg::LCR => self.line_control = value,
            reg::MCR => self.modem_control = ModemControl::from_bits_truncate(value),
            reg::SCR => self.scratch = value,
            _ => {}
        }
    }
}

impl Registers for Uart16550State {
    fn reset() -> Self {
        Self {
            enables: Enables::empty(),
            fifo_control: FifoControl::empty(),
            line_control: 0,
            modem_control: ModemControl::OUT2,
            scratch: 0,
            divisor: RESET_DIVISOR,
            receiver_buffer: 0,
            overrun: false,
            transmitter_emptied: false,
            rx: Deque::new(),
            tx: Deque::new(),
        }
    }

    fn read(&mut self, access: Access) -> u64 {
        self.read_register(access.offset).into()
    }

    fn write(&mut self, access: Access, value: u64) {
        self.write_register(access.offset, value as u8);
    }

    fn interrupts(&self) -> bool {
        self.pending() != Interrupt::None
    }

    fn is_loopback(&self) -> bool {
        self.modem_control.contains(ModemControl::LOOP)
    }

    fn receive_room(&self) -> usize {
        self.depth().saturating_sub(self.rx.len())
    }

    fn is_receive_empty(&self) -> bool {
        self.rx.is_empty()
    }

    /// What finds no room is lost in a FIFO; the single register it overwrites.
    fn receive(&mut self, byte: u8) {
        let is_full = self.receive_room() == 0;
        self.overrun |= is_full;
        if !self.has_fifos() {
            self.receiver_buffer = byte;
            self.rx.clear();
        } else if is_full {
            return;
        }
        // There is room: the depth is at most the capacity.
        _ = self.rx.push_back(byte);
    }

    fn next_to_send(&self) -> Option<u8> {
        self.tx.front().copied()
    }

    fn sent(&mut self) {
        self.tx.pop_front();
        self.transmitter_emptied |= self.tx.is_empty();
    }

    fn check(&self) -> Result<(), RestoreError> {
        let bound = |field, found: usize| {
            let limit = self.depth() as u64;
            if found as u64 > limit {
                Err(RestoreError { field, found: found as u64, limit })
            } else {
                Ok(())
            }
        };
        let mask = |field, found: u8, mask: u8| {
            let limit = mask.into();
            if found & !mask != 0 { Err(RestoreError { field, found: found.into(), limit }) } else { Ok(()) }
        };
        mask("uart16550.enables", self.enables.bits(), Enables::all().bits())?;
        mask("uart16550.fifo_control", self.fifo_control.bits(), FCR_KEPT.bits())?;
        mask("uart16550.modem_control", self.modem_control.bits(), ModemControl::all().bits())?;
        bound("uart16550.rx.len", self.rx.len())?;
        bound("uart16550.tx.len", self.tx.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::devices::{
        bus::{MmioDevice, Width},
        serial,
    };
    use crate::persist::Persist;

    const RX_INTERRUPT: u64 = Enables::ERBFI.bits() as u64;
    const TX_INTERRUPT: u64 = Enables::ETBEI.bits() as u64;
    const LINE_INTERRUPT: u64 = Enables::ELSI.bits() as u64;

    /// `MCR` as Linux sets it, and the same in loopback.
    const MODEM: u64 = 0x0b;
    const LOOPBACK: u64 = 0x1b;

    type Bench = serial::testing::Bench<Uart16550State>;

    impl Bench {
        fn with_room(room: usize) -> Self {
            Self::new(Width::Byte, room)
        }

        fn has(&self, status: LineStatus) -> bool {
            LineStatus::from_bits_retain(self.read(reg::LSR) as u8).contains(status)
        }

        /// The pending interrupt, as IIR gives it with FIFOs enabled.
        fn pending(&self) -> Option<Interrupt> {
            let found = self.read(reg::IIR_FCR);
            let named = [
                Interrupt::None,
                Interrupt::LineStatus,
                Interrupt::ReceivedData,
                Interrupt::Timeout,
                Interrupt::TransmitterEmpty,
            ];
            named.into_iter().find(|&interrupt| found == 0xc0 | interrupt as u64)
        }

        /// Start-up in the order of Linux' 8250: FIFOs on and cleared, line format and divisor, interrupts.
        fn start_like_linux(&self) {
            self.write(reg::IIR_FCR, 0x01);
            self.write(reg::IIR_FCR, 0x07);
            self.write(reg::IIR_FCR, 0x00);
            for register in [reg::LSR, reg::RBR_THR, reg::IIR_FCR, reg::MSR] {
                self.read(register);
            }
            self.write(reg::LCR, 0x03);
            self.write(reg::MCR, MODEM);
            self.write(reg::IER, RX_INTERRUPT | LINE_INTERRUPT);
            self.write(reg::LCR, 0x83);
            self.write(reg::RBR_THR, 0x02);
            self.write(reg::IER, 0x00);
            self.write(reg::LCR, 0x03);
            self.write(reg::IIR_FCR, 0x81);
        }

        /// Its interrupt handler; gives what was typed and takes what is to be printed from `output`.
        fn interrupt_like_linux(&self, output: &mut &[u8]) -> Vec<u8> {
            let mut typed = Vec::new();
            while self.line() {
                if self.read(reg::IIR_FCR) & 1 != 0 {
                    continue;
                }
                while self.has(LineStatus::DR) {
                    typed.push(self.read(reg::RBR_THR) as u8);
                }
                if self.read(reg::IER) & TX_INTERRUPT != 0 && self.has(LineStatus::THRE) {
                    let (now, later) = output.split_at(output.len().min(FIFO_DEPTH));
                    now.iter().for_each(|&byte| self.write(reg::RBR_THR, byte.into()));
                    *output = later;
                    if output.is_empty() {
                        self.write(reg::IER, self.read(reg::IER) & !TX_INTERRUPT);
                    }
                }
            }
            typed
        }
    }

    #[test]
    fn reset_values_are_qemus() {
        let bench = Bench::with_room(0);
        let registers: Vec<u64> = (0..8).map(|register| bench.read(register)).collect();
        assert_eq!(registers, [0, 0, 0x01, 0, 0x08, 0x60, 0xb0, 0]);
        bench.write(reg::LCR, 0x80);
        assert_eq!((bench.read(0), bench.read(1)), (0x0c, 0));
    }

    #[test]
    fn registers_keep_the_bits_that_exist() {
        let bench = Bench::with_room(0);
        (0..8).for_each(|register| bench.write(register, 0xff));
        assert_eq!([0, 1, 3, 4, 7].map(|register| bench.read(register)), [12, 0, 0xff, 0x1f, 0xff]);
        (0..2).for_each(|register| bench.write(register, 0xa5 + register));
        assert_eq!((bench.read(0), bench.read(1)), (0xa5, 0xa6), "the divisor");
        bench.write(reg::LCR, 0);
        assert_eq!(bench.read(reg::IER), 0x0f, "which is not the registers in its place");
        assert_eq!(bench.read(reg::IIR_FCR) & 0xc0, 0xc0);
    }

    #[test]
    fn an_early_console_prints_without_setting_anything_up() {
        let bench = Bench::with_room(usize::MAX);
        for byte in b"early" {
            assert!(bench.has(LineStatus::THRE | LineStatus::TEMT));
            bench.write(reg::RBR_THR, (*byte).into());
        }
        assert_eq!(bench.sent(), "early");
        assert!(!bench.line());
    }

    #[test]
    fn linux_types_and_prints_by_interrupt() {
        let bench = Bench::with_room(usize::MAX);
        bench.start_like_linux();
        assert_eq!(bench.uart.receive(b"ls\r"), 3);
        assert_eq!((bench.line(), bench.pending()), (true, Some(Interrupt::Timeout)), "below the level of 8");
        assert_eq!(bench.interrupt_like_linux(&mut &b""[..]), b"ls\r");
        assert!(!bench.line());

        let mut output = &b"Hello, World!  A line that is longer than the FIFO\n"[..];
        bench.write(reg::IER, RX_INTERRUPT | LINE_INTERRUPT | TX_INTERRUPT);
        bench.interrupt_like_linux(&mut output);
        assert_eq!(bench.sent(), "Hello, World!  A line that is longer than the FIFO\n");
        assert!(!bench.line());
    }

    #[test]
    fn a_slow_wire_pushes_back_and_loses_nothing() {
        let bench = Bench::with_room(1);
        bench.start_like_linux();
        let mut output = &b"0123456789abcdefghijklmnopqrstuvwxyz0123456789"[..];
        let expected = String::from_utf8(output.to_vec()).unwrap();
        bench.write(reg::IER, TX_INTERRUPT);
        for _ in 0..expected.len() {
            bench.interrupt_like_linux(&mut output);
            bench.make_room(3);
        }
        assert_eq!(bench.sent(), expected);
        assert!(bench.has(LineStatus::THRE | LineStatus::TEMT));
    }

    #[test]
    fn a_full_transmit_fifo_loses_its_oldest() {
        let bench = Bench::with_room(0);
        b"ab".iter().for_each(|&byte| bench.write(reg::RBR_THR, byte.into()));
        bench.make_room(1);
        bench.write(reg::IIR_FCR, 1);
        b"0123456789abcdefgh".iter().for_each(|&byte| bench.write(reg::RBR_THR, byte.into()));
        bench.make_room(usize::MAX);
        assert_eq!(bench.sent(), "b23456789abcdefgh");
    }

    #[test]
    fn the_transmit_interrupt_is_told_once_until_it_is_enabled_anew() {
        let bench = Bench::with_room(0);
        bench.write(reg::IIR_FCR, 1);
        bench.write(reg::IER, TX_INTERRUPT);
        assert_eq!((bench.line(), bench.pending()), (true, Some(Interrupt::TransmitterEmpty)));
        assert_eq!((bench.line(), bench.pending()), (false, Some(Interrupt::None)));
        bench.write(reg::IER, TX_INTERRUPT);
        assert!(!bench.line());
        bench.write(reg::IER, 0);
        bench.write(reg::IER, TX_INTERRUPT);
        assert!(bench.line(), "enabled anew");
        bench.write(reg::RBR_THR, 0);
        assert!(!bench.line(), "a character is waiting");
        bench.make_room(1);
        assert!(bench.line());
    }

    #[test]
    fn the_receive_interrupt_has_its_level_and_below_it_the_timeout() {
        let bench = Bench::with_room(0);
        bench.write(reg::IER, RX_INTERRUPT);
        for (control, level) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
            bench.write(reg::IIR_FCR, control | 0x02);
            assert!(!bench.line());
            bench.uart.receive(&vec![0; level - 1]);
            assert_eq!(bench.line(), level > 1);
            bench.uart.receive(&[0]);
            assert_eq!(bench.pending(), Some(Interrupt::ReceivedData));
            bench.read(reg::RBR_THR);
            let below = if level > 1 { Interrupt::Timeout } else { Interrupt::None };
            assert_eq!(bench.pending(), Some(below));
        }
    }

    #[test]
    fn without_fifos_the_receiver_buffer_can_be_read_again() {
        let bench = Bench::with_room(0);
        assert_eq!(bench.uart.receive(b"ab"), 1);
        assert_eq!(bench.wanted(), 0);
        assert_eq!((bench.read(reg::RBR_THR), bench.wanted()), (b'a'.into(), 1));
        assert!(!bench.has(LineStatus::DR));
        assert_eq!(bench.read(reg::RBR_THR), b'a'.into());
        bench.write(reg::IIR_FCR, 1);
        assert_eq!(bench.read(reg::RBR_THR), 0, "an empty FIFO");
    }

    #[test]
    fn loopback_returns_characters_and_modem_lines() {
        let bench = Bench::with_room(usize::MAX);
        bench.write(reg::MCR, LOOPBACK);
        for (modem, status) in [(0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1f, 0xf0)] {
            bench.write(reg::MCR, modem);
            assert_eq!(bench.read(reg::MSR), status);
        }
        assert_eq!(bench.uart.receive(b"x"), 1);
        assert!(!bench.has(LineStatus::DR), "the wire is cut");

        bench.write(reg::IER, LINE_INTERRUPT);
        b"ab".iter().for_each(|&byte| bench.write(reg::RBR_THR, byte.into()));
        assert!(bench.line());
        assert_eq!((bench.read(reg::LSR), bench.line()), (0x63, false), "overrun, and told");
        assert_eq!(bench.read(reg::RBR_THR), b'b'.into(), "the single register was overwritten");

        bench.write(reg::IIR_FCR, 1);
        (0..17).for_each(|byte| bench.write(reg::RBR_THR, byte));
        assert_eq!(bench.pending(), Some(Interrupt::LineStatus));
        assert_eq!((bench.read(reg::LSR), bench.read(reg::LSR)), (0x63, 0x61));
        let received: Vec<u64> = (0..16).map(|_| bench.read(reg::RBR_THR)).collect();
        assert_eq!(received, (0..16).collect::<Vec<_>>(), "the last was lost");
        assert_eq!(bench.sent(), "");
        bench.write(reg::MCR, MODEM);
        assert_eq!(bench.read(reg::MSR), 0xb0);
    }

    #[test]
    fn an_access_of_any_width_is_to_one_register() {
        let bench = Bench::with_room(usize::MAX);
        let at = |offset, width| Access { offset, width, vcpu: 0 };
        bench.uart.write(at(reg::RBR_THR, Width::Double), 0x1122_3344_5566_7741);
        assert_eq!((bench.sent(), bench.read(reg::IER)), ("A".into(), 0));
        assert_eq!(bench.uart.read(at(reg::MCR, Width::Word)), 0x08);
        bench.uart.write(at(0x20, Width::Byte), 0x42);
        assert_eq!(bench.uart.read(at(0x25, Width::Byte)), 0);
        assert_eq!(bench.sent(), "A");
    }

    #[test]
    fn a_restored_uart_goes_on_where_it_was() {
        let bench = Bench::with_room(1);
        bench.start_like_linux();
        bench.uart.receive(b"in");
        b"out".iter().for_each(|&byte| bench.write(reg::RBR_THR, byte.into()));
        let saved = postcard::to_allocvec(&bench.uart.save()).unwrap();

        let mut copy = Bench::with_room(usize::MAX);
        copy.uart.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
        assert!(copy.line());
        copy.uart.backend_ready();
        assert_eq!((bench.sent(), copy.sent()), ("o".into(), "ut".into()));
        assert_eq!(copy.interrupt_like_linux(&mut &b""[..]), b"in");
        assert_eq!(copy.wanted(), 1);

        let damaged = Uart16550State { fifo_control: FifoControl::empty(), ..bench.uart.save() };
        let error = copy.uart.restore(&damaged).unwrap_err();
        assert_eq!(error, RestoreError { field: "uart16550.rx.len", found: 2, limit: 1 });
        let damaged = Uart16550State { enables: Enables::from_bits_retain(0x10), ..bench.uart.save() };
        assert_eq!(copy.uart.restore(&damaged).unwrap_err().field, "uart16550.enables");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read(u64),
        Write(u64, u64),
        Type(Vec<u8>),
        Drain(usize),
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..SIZE).prop_map(Step::Read),
            3 => (0..SIZE, any::<u64>()).prop_map(|(offset, value)| Step::Write(offset, value)),
            1 => Just(Step::Write(reg::LCR, 0)),
            2 => any::<u64>().prop_map(|byte| Step::Write(reg::RBR_THR, byte)),
            2 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Type),
            2 => (0_usize..20).prop_map(Step::Drain),
            1 => Just(Step::Reset),
        ]
    }

    proptest! {
        /// Whatever guest and wire do: the FIFOs keep to their depth, the status describes them, IIR and the line
        /// agree, and the state can be restored.
        #[test]
        fn status_line_and_state_always_agree(steps in proptest::collection::vec(step(), 0..60)) {
            let mut bench = Bench::with_room(0);
            for step in steps {
                match step {
                    Step::Read(offset) => drop(bench.read(offset)),
                    Step::Write(offset, value) => bench.write(offset, value),
                    Step::Type(bytes) => prop_assert!(bench.uart.receive(&bytes) <= bytes.len()),
                    Step::Drain(room) => bench.make_room(room),
                    Step::Reset => bench.uart.reset(),
                }
                let state = bench.uart.save();
                prop_assert!(state.rx.len() <= state.depth() && state.tx.len() <= state.depth());
                prop_assert_eq!(bench.line(), state.clone().identify() & 1 == 0);
                let status = state.line_status();
                prop_assert_eq!(status.contains(LineStatus::DR), !state.rx.is_empty());
                prop_assert_eq!(status.contains(LineStatus::THRE), state.tx.is_empty());
                prop_assert_eq!(bench.uart.restore(&state), Ok(()));
            }
        }

        /// With FIFOs on and a driver that heeds the status, every character arrives once and in order, both ways.
        #[test]
        fn no_character_is_lost_or_moved(
            typed: Vec<u8>,
            printed: Vec<u8>,
            rooms in proptest::collection::vec(1_usize..6, 1..40),
        ) {
            let bench = Bench::with_room(0);
            bench.start_like_linux();
            bench.write(reg::IER, RX_INTERRUPT | TX_INTERRUPT);
            let (mut offered, mut got, mut output) = (0, Vec::new(), &printed[..]);
            let mut rooms = rooms.into_iter().cycle();
            while offered < typed.len() || bench.world.sent.lock().len() < printed.len() {
                offered += bench.uart.receive(&typed[offered..]);
                got.extend(bench.interrupt_like_linux(&mut output));
                bench.make_room(rooms.next().unwrap_or(1));
            }
            got.extend(bench.interrupt_like_linux(&mut output));
            prop_assert_eq!(&got, &typed);
            prop_assert_eq!(&*bench.world.sent.lock(), &printed);
        }
    }
}
