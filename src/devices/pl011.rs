//! The ARM PrimeCell UART (PL011), DDI 0183, revision r1p1 with FIFOs of 16, as QEMU's `virt` has it.
//!
//! Where QEMU simplifies, so does this model, because guests that were only ever run on QEMU depend on it:
//!
//! - The UART works whether or not `UARTCR` enables it, and without regard to baud rate and line format.
//! - The receive interrupt is raised by the first character already, whatever level `UARTIFLS` sets. The
//!   receive timeout interrupt, which is for characters below that level, therefore has no occasion and is
//!   never raised.
//!
//! Where QEMU waits for its own output, this model pushes back instead: what the backend cannot take stays in
//! the transmit FIFO, the guest sees `UARTFR.TXFF` and `BUSY`, and the transmit interrupt comes when there is
//! room again. A character written to a full FIFO is lost, as on the hardware.
//!
//! How it reaches the wire, and in which order locks are taken, is the matter of [`super::serial`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use bitflags::bitflags;
use heapless::Deque;
use serde::{Deserialize, Serialize};

use super::{
    bus::Access,
    serial::{Registers, Uart},
};
use crate::persist::RestoreError;

/// The size of the register block in bytes.
pub const SIZE: u64 = 0x1000;

/// The characters that each FIFO holds when it is enabled.
const FIFO_DEPTH: usize = 16;

/// `UARTPeriphID0` to `3` (part 0x011, Arm, r1p1) and `UARTPCellID0` to `3`.
const IDS: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Register offsets (DDI 0183, table 3-1).
mod reg {
    pub const DR: u64 = 0x00;
    pub const RSR_ECR: u64 = 0x04;
    pub const FR: u64 = 0x18;
    pub const ILPR: u64 = 0x20;
    pub const IBRD: u64 = 0x24;
    pub const FBRD: u64 = 0x28;
    pub const LCR_H: u64 = 0x2c;
    pub const CR: u64 = 0x30;
    pub const IFLS: u64 = 0x34;
    pub const IMSC: u64 = 0x38;
    pub const RIS: u64 = 0x3c;
    pub const MIS: u64 = 0x40;
    pub const ICR: u64 = 0x44;
    pub const DMACR: u64 = 0x48;
    pub const PERIPH_ID0: u64 = 0xfe0;
}

bitflags! {
    /// `UARTDR` above the character, and one byte lower `UARTRSR`: what went wrong in receiving it.
    #[derive(Debug, Clone, Copy)]
    struct Data: u16 {
        /// Break.
        const BE = 1 << 10;
        /// Overrun: characters were lost before this one.
        const OE = 1 << 11;
    }

    /// `UARTFR`.
    #[derive(Debug, Clone, Copy)]
    struct Flags: u16 {
        const CTS = 1 << 0;
        const DSR = 1 << 1;
        const DCD = 1 << 2;
        const BUSY = 1 << 3;
        const RXFE = 1 << 4;
        const TXFF = 1 << 5;
        const RXFF = 1 << 6;
        const TXFE = 1 << 7;
        const RI = 1 << 8;
    }

    /// `UARTLCR_H`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct LineControl: u16 {
        const BRK = 1 << 0;
        const PEN = 1 << 1;
        const EPS = 1 << 2;
        const STP2 = 1 << 3;
        /// FIFOs enabled.
        const FEN = 1 << 4;
        const WLEN = 0b11 << 5;
        const SPS = 1 << 7;
    }

    /// `UARTCR`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct Control: u16 {
        const UARTEN = 1 << 0;
        const SIREN = 1 << 1;
        const SIRLP = 1 << 2;
        /// Loopback.
        const LBE = 1 << 7;
        const TXE = 1 << 8;
        const RXE = 1 << 9;
        const DTR = 1 << 10;
        const RTS = 1 << 11;
        const OUT1 = 1 << 12;
        const OUT2 = 1 << 13;
        const RTSEN = 1 << 14;
        const CTSEN = 1 << 15;
    }

    /// `UARTIMSC`, `UARTRIS`, `UARTMIS` and `UARTICR`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct Interrupts: u16 {
        const RI = 1 << 0;
        const CTS = 1 << 1;
        const DCD = 1 << 2;
        const DSR = 1 << 3;
        const RX = 1 << 4;
        const TX = 1 << 5;
        /// Receive timeout.
        const RT = 1 << 6;
        const FE = 1 << 7;
        const PE = 1 << 8;
        const BE = 1 << 9;
        const OE = 1 << 10;
    }
}

/// A PL011 with its interrupt line and the far end of its wire.
pub type Pl011 = Uart<Pl011State>;

/// The registers and FIFOs: the whole of what is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pl011State {
    line_control: LineControl,
    control: Control,
    mask: Interrupts,
    raw: Interrupts,
    ifls: u8,
    rsr: u8,
    ilpr: u8,
    ibrd: u16,
    fbrd: u8,
    dmacr: u8,
    /// Characters were lost since the last one that went into the receive FIFO.
    overrun: bool,
    /// Characters with the flags of `UARTDR` above them.
    rx: Deque<u16, FIFO_DEPTH>,
    tx: Deque<u8, FIFO_DEPTH>,
}

impl Pl011State {
    /// How many characters each FIFO holds: it is a single holding register while FEN is clear.
    fn depth(&self) -> usize {
        if self.line_control.contains(LineControl::FEN) { FIFO_DEPTH } else { 1 }
    }

    /// The transmit interrupt is raised when the FIFO falls to this many characters (DDI 0183, 3.3.9
    /// "UARTIFLS").
    fn tx_trigger(&self) -> usize {
        if !self.line_control.contains(LineControl::FEN) {
            return 0;
        }
        match self.ifls & 0b111 {
            0b000 => FIFO_DEPTH / 8,
            0b001 => FIFO_DEPTH / 4,
            0b010 => FIFO_DEPTH / 2,
            0b011 => FIFO_DEPTH * 3 / 4,
            // 0b100; the rest is reserved.
            _ => FIFO_DEPTH * 7 / 8,
        }
    }

    fn flags(&self) -> Flags {
        let mut flags = self.modem_inputs();
        flags.set(Flags::RXFE, self.rx.is_empty());
        flags.set(Flags::RXFF, self.rx.len() >= self.depth());
        flags.set(Flags::TXFE, self.tx.is_empty());
        flags.set(Flags::TXFF, self.tx.len() >= self.depth());
        flags.set(Flags::BUSY, !self.tx.is_empty());
        flags
    }

    /// The modem status inputs: not connected, except to the modem outputs in loopback (DDI 0183, 3.3.8
    /// "UARTCR").
    fn modem_inputs(&self) -> Flags {
        let mut inputs = Flags::empty();
        if self.is_loopback() {
            inputs.set(Flags::DSR, self.control.contains(Control::DTR));
            inputs.set(Flags::CTS, self.control.contains(Control::RTS));
            inputs.set(Flags::DCD, self.control.contains(Control::OUT1));
            inputs.set(Flags::RI, self.control.contains(Control::OUT2));
        }
        inputs
    }

    /// A character arrives from the wire, or from the transmitter in loopback.
    fn push_rx(&mut self, mut character: u16) {
        if self.rx.len() >= self.depth() {
            // It stays outside, and the overrun is reported with the next one that finds room (DDI 0183,
            // 2.4.3).
            self.overrun = true;
            self.rsr |= (Data::OE.bits() >> 8) as u8;
            self.raw |= Interrupts::OE;
            return;
        }
        if core::mem::take(&mut self.overrun) {
            character |= Data::OE.bits();
        }
        if character & Data::BE.bits() != 0 {
            self.raw |= Interrupts::BE;
        }
        self.raw |= Interrupts::RX;
        // There is room: the depth is at most the capacity.
        _ = self.rx.push_back(character);
    }

    fn pop_rx(&mut self) -> u16 {
        let Some(character) = self.rx.pop_front() else { return 0 };
        self.rsr = (character >> 8) as u8;
        if self.rx.is_empty() {
            self.raw -= Interrupts::RX;
        }
        character
    }

    /// The guest hands a character to the transmitter.
    fn send(&mut self, byte: u8) {
        if self.is_loopback() {
            self.push_rx(byte.into());
        }
        if self.tx.len() < self.depth() {
            _ = self.tx.push_back(byte);
        }
        if self.tx.len() > self.tx_trigger() {
            self.raw -= Interrupts::TX;
        }
    }

    fn set_line_control(&mut self, value: LineControl) {
        let changed = self.line_control ^ value;
        self.line_control = value;
        if changed.contains(LineControl::FEN) {
            self.rx.clear();
            self.tx.clear();
            self.raw -= Interrupts::RX;
        }
        if self.is_loopback() && changed.contains(LineControl::BRK) && value.contains(LineControl::BRK) {
            self.push_rx(Data::BE.bits());
        }
    }

    fn set_control(&mut self, value: Control) {
        let before = self.modem_inputs();
        self.control = value;
        // A modem status interrupt is raised by a change of its input.
        let changed = before ^ self.modem_inputs();
        for (input, interrupt) in [
            (Flags::RI, Interrupts::RI),
            (Flags::CTS, Interrupts::CTS),
            (Flags::DCD, Interrupts::DCD),
            (Flags::DSR, Interrupts::DSR),
        ] {
            if changed.contains(input) {
                self.raw |= interrupt;
            }
        }
    }

    fn read_register(&mut self, register: u64) -> u16 {
        match register {
            reg::DR => self.pop_rx(),
            reg::RSR_ECR => self.rsr.into(),
            reg::FR => self.flags().bits(),
            reg::ILPR => self.ilpr.into(),
            reg::IBRD => self.ibrd,
            reg::FBRD => self.fbrd.into(),
            reg::LCR_H => self.line_control.bits(),
            reg::CR => self.control.bits(),
            reg::IFLS => self.ifls.into(),
            reg::IMSC => self.mask.bits(),
            reg::RIS => self.raw.bits(),
            reg::MIS => (self.raw & self.mask).bits(),
            reg::DMACR => self.dmacr.into(),
            reg::PERIPH_ID0.. => {
                let index = (register - reg::PERIPH_ID0) / 4;
                IDS.get(index as usize).copied().unwrap_or(0).into()
            }
            _ => 0,
        }
    }

    fn write_register(&mut self, register: u64, value: u16) {
        match register {
            reg::DR => self.send(value as u8),
            reg::RSR_ECR => self.rsr = 0,
            reg::ILPR => self.ilpr = value as u8,
            reg::IBRD => self.ibrd = value,
            reg::FBRD => self.fbrd = value as u8 & FBRD_MASK,
            reg::LCR_H => self.set_line_control(LineControl::from_bits_truncate(value)),
            reg::CR => self.set_control(Control::from_bits_truncate(value)),
            reg::IFLS => self.ifls = value as u8 & IFLS_MASK,
            reg::IMSC => self.mask = Interrupts::from_bits_truncate(value),
            reg::ICR => self.raw -= Interrupts::from_bits_truncate(value),
            // There is no DMA controller; the bits are only kept.
            reg::DMACR => self.dmacr = value as u8 & DMACR_MASK,
            _ => {}
        }
    }
}

const IFLS_MASK: u8 = 0b11_1111;
const RSR_MASK: u8 = 0b1111;
const FBRD_MASK: u8 = 0b11_1111;
const DMACR_MASK: u8 = 0b111;

impl Registers for Pl011State {
    fn reset() -> Self {
        Self {
            line_control: LineControl::empty(),
            control: Control::RXE | Control::TXE,
            mask: Interrupts::empty(),
            raw: Interrupts::empty(),
            // Both trigger levels at one half.
            ifls: 0b010_010,
            rsr: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            dmacr: 0,
            overrun: false,
            rx: Deque::new(),
            tx: Deque::new(),
        }
    }

    /// Registers are a word apart and at most 16 bits wide; narrower reads see the bytes that they name.
    fn read(&mut self, access: Access) -> u64 {
        u64::from(self.read_register(access.offset & !0b11)) >> (8 * (access.offset & 0b11))
    }

    /// A write that does not begin at a register is ignored.
    fn write(&mut self, access: Access, value: u64) {
        if access.offset & 0b11 == 0 {
            self.write_register(access.offset, value as u16);
        }
    }

    fn interrupts(&self) -> bool {
        self.raw.intersects(self.mask)
    }

    fn is_loopback(&self) -> bool {
        self.control.contains(Control::LBE)
    }

    fn receive_room(&self) -> usize {
        self.depth().saturating_sub(self.rx.len())
    }

    fn is_receive_empty(&self) -> bool {
        self.rx.is_empty()
    }

    fn receive(&mut self, byte: u8) {
        self.push_rx(byte.into());
    }

    fn next_to_send(&self) -> Option<u8> {
        self.tx.front().copied()
    }

    fn sent(&mut self) {
        self.tx.pop_front();
        if self.tx.len() <= self.tx_trigger() {
            self.raw |= Interrupts::TX;
        }
    }

    fn check(&self) -> Result<(), RestoreError> {
        let bound = |field, found: u64, limit: u64| {
            if found > limit { Err(RestoreError { field, found, limit }) } else { Ok(()) }
        };
        let mask = |field, found: u16, mask: u16| {
            let limit = mask.into();
            if found & !mask != 0 { Err(RestoreError { field, found: found.into(), limit }) } else { Ok(()) }
        };
        mask("pl011.line_control", self.line_control.bits(), LineControl::all().bits())?;
        mask("pl011.control", self.control.bits(), Control::all().bits())?;
        mask("pl011.mask", self.mask.bits(), Interrupts::all().bits())?;
        mask("pl011.raw", self.raw.bits(), Interrupts::all().bits())?;
        mask("pl011.ifls", self.ifls.into(), IFLS_MASK.into())?;
        mask("pl011.rsr", self.rsr.into(), RSR_MASK.into())?;
        mask("pl011.fbrd", self.fbrd.into(), FBRD_MASK.into())?;
        mask("pl011.dmacr", self.dmacr.into(), DMACR_MASK.into())?;
        bound("pl011.rx.len", self.rx.len() as u64, self.depth() as u64)?;
        bound("pl011.tx.len", self.tx.len() as u64, self.depth() as u64)?;
        self.rx.iter().try_for_each(|&character| mask("pl011.rx", character, 0xfff))
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

    const RX: u64 = Interrupts::RX.bits() as u64;
    const TX: u64 = Interrupts::TX.bits() as u64;
    const RT: u64 = Interrupts::RT.bits() as u64;
    const OE: u64 = Interrupts::OE.bits() as u64;

    type Bench = serial::testing::Bench<Pl011State>;

    impl Bench {
        fn with_room(room: usize) -> Self {
            Self::new(Width::Word, room)
        }

        fn has(&self, flag: Flags) -> bool {
            Flags::from_bits_retain(self.read(reg::FR) as u16).contains(flag)
        }

        /// Start-up in the order of Linux' amba-pl011: clear, drain, line format, baud rate, enable, unmask.
        fn start_like_linux(&self) {
            self.write(reg::ICR, 0x7ff);
            self.write(reg::IFLS, 0o22);
            self.write(reg::CR, 0x301);
            for _ in 0..32 {
                if self.has(Flags::RXFE) {
                    break;
                }
                self.read(reg::DR);
            }
            self.write(reg::IMSC, RX | RT);
            self.write(reg::IBRD, 13);
            self.write(reg::FBRD, 1);
            self.write(reg::LCR_H, 0x70);
        }

        /// Its interrupt handler; gives what was typed and takes what is to be printed from `output`.
        fn interrupt_like_linux(&self, output: &mut &[u8]) -> Vec<u8> {
            let mut typed = Vec::new();
            while self.line() {
                let status = self.read(reg::RIS) & self.read(reg::IMSC);
                self.write(reg::ICR, status & !(RX | TX | RT));
                if status & (RX | RT) != 0 {
                    while !self.has(Flags::RXFE) {
                        typed.push(self.read(reg::DR) as u8);
                    }
                }
                if status & TX != 0 {
                    // Half a FIFO, without looking at FR: that is what the trigger level promises.
                    let (now, later) = output.split_at(output.len().min(8));
                    now.iter().for_each(|&byte| self.write(reg::DR, byte.into()));
                    *output = later;
                    if output.is_empty() {
                        self.write(reg::IMSC, self.read(reg::IMSC) & !TX);
                    }
                }
            }
            typed
        }
    }

    #[test]
    fn reset_values_and_identity_are_qemus() {
        let bench = Bench::with_room(0);
        let read = |offset| bench.read(offset);
        assert_eq!(read(reg::FR), 0x90);
        assert_eq!((read(reg::CR), read(reg::IFLS), read(reg::LCR_H)), (0x300, 0x12, 0));
        assert_eq!((read(reg::IMSC), read(reg::RIS), read(reg::MIS)), (0, 0, 0));
        let ids: Vec<u64> = (0xfe0..0x1000).step_by(4).map(read).collect();
        assert_eq!(ids, [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
        assert_eq!(read(0x100), 0);
    }

    #[test]
    fn an_early_console_prints_without_setting_anything_up() {
        let bench = Bench::with_room(usize::MAX);
        for byte in b"early" {
            assert!(!bench.has(Flags::TXFF));
            bench.write(reg::DR, (*byte).into());
            assert!(!bench.has(Flags::BUSY));
        }
        assert_eq!(bench.sent(), "early");
        assert!(!bench.line(), "nothing is unmasked");
    }

    #[test]
    fn linux_types_and_prints_by_interrupt() {
        let bench = Bench::with_room(usize::MAX);
        bench.start_like_linux();
        assert_eq!(bench.uart.receive(b"ls\r"), 3);
        assert!(bench.line());
        assert_eq!(bench.interrupt_like_linux(&mut &b""[..]), b"ls\r");
        assert!(!bench.line());

        // The driver prints the first character by itself, and the rest as interrupts come.
        let mut output = &b"Hello, World!  A line that is longer than the FIFO\n"[..];
        bench.write(reg::DR, b'>'.into());
        bench.write(reg::IMSC, RX | RT | TX);
        bench.interrupt_like_linux(&mut output);
        assert_eq!(bench.sent(), ">Hello, World!  A line that is longer than the FIFO\n");
        assert!(!bench.line());
    }

    #[test]
    fn a_slow_wire_pushes_back_and_loses_nothing() {
        let bench = Bench::with_room(1);
        bench.start_like_linux();
        let mut output = &b"0123456789abcdefghijklmnopqrstuvwxyz0123456789"[..];
        let expected = String::from_utf8(output.to_vec()).unwrap();
        // Fill until the FIFO is full, then unmask, as Linux does.
        while let Some((&byte, rest)) = output.split_first()
            && !bench.has(Flags::TXFF)
        {
            bench.write(reg::DR, byte.into());
            output = rest;
        }
        assert!(bench.has(Flags::BUSY) && !bench.has(Flags::TXFE));
        bench.write(reg::IMSC, TX);
        bench.write(reg::ICR, TX);
        for _ in 0..expected.len() {
            bench.interrupt_like_linux(&mut output);
            bench.make_room(3);
        }
        assert_eq!(bench.sent(), expected);
        assert!(bench.has(Flags::TXFE) && !bench.has(Flags::BUSY));
    }

    #[test]
    fn the_transmit_interrupt_marks_the_passage_of_the_level() {
        let bench = Bench::with_room(0);
        bench.start_like_linux();
        (0..9).for_each(|_| bench.write(reg::DR, 0));
        assert_eq!(bench.read(reg::RIS) & TX, 0, "more than the half that IFLS sets");
        bench.make_room(1);
        assert_eq!(bench.read(reg::RIS) & TX, TX);
        bench.write(reg::DR, 0);
        assert_eq!(bench.read(reg::RIS) & TX, 0, "above the level again");
    }

    #[test]
    fn input_that_does_not_fit_is_asked_for_later() {
        let bench = Bench::with_room(0);
        assert_eq!(bench.uart.receive(b"ab"), 1, "FIFO disabled");
        assert!(bench.has(Flags::RXFF));
        assert_eq!(bench.wanted(), 0);
        assert_eq!(bench.read(reg::DR), b'a'.into());
        assert_eq!(bench.wanted(), 1);
        assert_eq!(bench.uart.receive(b"b"), 1);
        assert_eq!(bench.read(reg::DR), b'b'.into());
        assert_eq!(bench.wanted(), 1, "nothing was left over");
    }

    #[test]
    fn loopback_returns_characters_break_and_modem_lines() {
        let bench = Bench::with_room(usize::MAX);
        bench.start_like_linux();
        bench.write(reg::CR, 0x301 | u64::from(Control::LBE.bits()));
        assert_eq!(bench.uart.receive(b"x"), 1);
        assert!(bench.has(Flags::RXFE), "the wire is cut");
        bench.write(reg::LCR_H, 0x71);
        assert_eq!(bench.read(reg::DR), 0x400);
        assert_eq!(bench.read(reg::RSR_ECR), 0x4);
        bench.write(reg::CR, bench.read(reg::CR) | u64::from(Control::RTS.bits()));
        assert!(bench.has(Flags::CTS) && !bench.has(Flags::DSR));
        assert_eq!(bench.read(reg::RIS) & 0xf, Interrupts::CTS.bits().into());

        // Seventeen into sixteen: the last is lost, and the next that fits says so.
        (0..17).for_each(|byte| bench.write(reg::DR, byte));
        assert_eq!(bench.read(reg::RIS) & OE, OE);
        assert_eq!(bench.read(reg::DR), 0);
        bench.write(reg::DR, 99);
        let received: Vec<u64> = (0..16).map(|_| bench.read(reg::DR)).collect();
        assert_eq!(received[..15], (1..16).collect::<Vec<_>>());
        assert_eq!(received[15], 0x800 | 99);
        assert_eq!(bench.read(reg::RSR_ECR), 0x8);
        bench.write(reg::RSR_ECR, 0);
        assert_eq!(bench.read(reg::RSR_ECR), 0);
    }

    #[test]
    fn bytes_and_halves_are_lanes_of_the_register() {
        let bench = Bench::with_room(usize::MAX);
        let at = |offset, width| Access { offset, width, vcpu: 0 };
        bench.uart.write(at(reg::DR, Width::Byte), b'b'.into());
        bench.uart.write(at(reg::DR + 1, Width::Byte), b'x'.into());
        assert_eq!(bench.sent(), "b");
        assert_eq!(bench.uart.read(at(reg::CR + 1, Width::Byte)), 0x03);
    }

    #[test]
    fn a_restored_uart_goes_on_where_it_was() {
        let bench = Bench::with_room(1);
        bench.start_like_linux();
        bench.uart.receive(b"in");
        b"out".iter().for_each(|&byte| bench.write(reg::DR, byte.into()));
        let saved = postcard::to_allocvec(&bench.uart.save()).unwrap();

        let mut copy = Bench::with_room(usize::MAX);
        copy.uart.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
        assert!(copy.line());
        copy.uart.backend_ready();
        assert_eq!((bench.sent(), copy.sent()), ("o".into(), "ut".into()));
        assert_eq!(copy.interrupt_like_linux(&mut &b""[..]), b"in");
        assert_eq!(copy.wanted(), 1);

        let damaged = Pl011State { line_control: LineControl::empty(), ..bench.uart.save() };
        let error = copy.uart.restore(&damaged).unwrap_err();
        assert_eq!(error, RestoreError { field: "pl011.rx.len", found: 2, limit: 1 });
        let damaged = Pl011State { mask: Interrupts::from_bits_retain(0x800), ..bench.uart.save() };
        assert_eq!(copy.uart.restore(&damaged).unwrap_err().field, "pl011.mask");
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
        let offset = prop_oneof![(0_u64..0x13).prop_map(|word| word * 4), 0..SIZE];
        prop_oneof![
            3 => offset.clone().prop_map(Step::Read),
            3 => (offset, any::<u64>()).prop_map(|(offset, value)| Step::Write(offset, value)),
            2 => any::<u64>().prop_map(|byte| Step::Write(reg::DR, byte)),
            2 => Just(Step::Read(reg::DR)),
            2 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Type),
            2 => (0_usize..20).prop_map(Step::Drain),
            1 => Just(Step::Reset),
        ]
    }

    proptest! {
        /// Whatever guest and wire do: the FIFOs keep to their depth, the flags describe them, the line is
        /// what RIS and IMSC say, and the state can be restored.
        #[test]
        fn flags_line_and_state_always_agree(steps in proptest::collection::vec(step(), 0..60)) {
            let mut bench = Bench::with_room(0);
            for step in steps {
                match step {
                    Step::Read(offset) => drop(bench.read(offset)),
                    Step::Write(offset, value) => bench.write(offset, value),
                    Step::Type(bytes) => prop_assert!(bench.uart.receive(&bytes) <= bytes.len()),
                    Step::Drain(room) => {
                        bench.make_room(room);
                    }
                    Step::Reset => bench.uart.reset(),
                }
                let state = bench.uart.save();
                let (received, pending, depth) = (state.rx.len(), state.tx.len(), state.depth());
                prop_assert!(received <= depth && pending <= depth);
                prop_assert_eq!(bench.has(Flags::RXFE), received == 0);
                prop_assert_eq!(bench.has(Flags::RXFF), received == depth);
                prop_assert_eq!(bench.has(Flags::TXFE), pending == 0);
                prop_assert_eq!(bench.has(Flags::TXFF), pending == depth);
                prop_assert_eq!(bench.line(), bench.read(reg::RIS) & bench.read(reg::IMSC) != 0);
                prop_assert_eq!(bench.read(reg::MIS), bench.read(reg::RIS) & bench.read(reg::IMSC));
                if received == 0 {
                    prop_assert_eq!(bench.read(reg::RIS) & RX, 0);
                }
                prop_assert_eq!(bench.uart.restore(&state), Ok(()));
            }
        }

        /// With FIFOs on and a driver that heeds the flags, every character arrives once and in order, both
        /// ways.
        #[test]
        fn no_character_is_lost_or_moved(
            typed: Vec<u8>,
            printed: Vec<u8>,
            rooms in proptest::collection::vec(0_usize..6, 1..40),
        ) {
            let bench = Bench::with_room(0);
            bench.start_like_linux();
            let (mut offered, mut got) = (0, Vec::new());
            let mut unsent = printed.iter();
            let mut rooms = rooms.into_iter().chain([1]).cycle();
            // Each room of the cycle that is not zero moves a character each way.
            for _ in 0..100 * 41 {
                offered += bench.uart.receive(&typed[offered..]);
                if let Some(count) = rooms.next() {
                    for _ in 0..count {
                        if !bench.has(Flags::RXFE) {
                            got.push(bench.read(reg::DR) as u8);
                        }
                        if !bench.has(Flags::TXFF) && let Some(&byte) = unsent.next() {
                            bench.write(reg::DR, byte.into());
                        }
                    }
                    bench.make_room(count / 2 + count % 2);
                }
            }
            prop_assert_eq!(&got, &typed);
            prop_assert_eq!(&*bench.world.sent.lock(), &printed);
        }
    }
}
