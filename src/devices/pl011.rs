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
//! Locks: the model calls [`SerialBackend::transmit`] and its [`IrqLine`] with its own lock held, so that
//! neither characters nor levels overtake one another. Neither may call back into the model. The order is
//! UART, then backend or interrupt controller.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use alloc::sync::Arc;

use bitflags::bitflags;
use heapless::Deque;
use serde::{Deserialize, Serialize};
use spin::Mutex;

use super::{
    bus::{Access, MmioDevice},
    irq::IrqLine,
};
use crate::persist::{Persist, RestoreError};

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

/// The far end of the wire.
pub trait SerialBackend: Send + Sync {
    /// Takes a character, or says false: there is no room now. The model then keeps the character until
    /// [`Pl011::backend_ready`]. Must not call back into the model.
    fn transmit(&self, byte: u8) -> bool;

    /// The guest has emptied its receive FIFO after [`Pl011::receive`] had to leave characters over. This is
    /// the time to offer them again, and it may be done from inside the call.
    fn input_wanted(&self) {}
}

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

    fn is_loopback(&self) -> bool {
        self.control.contains(Control::LBE)
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
    fn send(&mut self, byte: u8, backend: &dyn SerialBackend) {
        if self.is_loopback() {
            self.push_rx(byte.into());
        }
        if self.tx.is_empty() && backend.transmit(byte) {
            self.raw |= Interrupts::TX;
            return;
        }
        if self.tx.len() < self.depth() {
            _ = self.tx.push_back(byte);
        }
        if self.tx.len() > self.tx_trigger() {
            self.raw -= Interrupts::TX;
        }
    }

    /// Passes on what the backend will take of the transmit FIFO.
    fn drain(&mut self, backend: &dyn SerialBackend) {
        while let Some(&byte) = self.tx.front() {
            if !backend.transmit(byte) {
                break;
            }
            self.tx.pop_front();
            if self.tx.len() <= self.tx_trigger() {
                self.raw |= Interrupts::TX;
            }
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

    fn read(&mut self, register: u64) -> u16 {
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

    fn write(&mut self, register: u64, value: u16, backend: &dyn SerialBackend) {
        match register {
            reg::DR => self.send(value as u8, backend),
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

    /// Whether every field holds what a running model could have put there.
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

const IFLS_MASK: u8 = 0b11_1111;
const RSR_MASK: u8 = 0b1111;
const FBRD_MASK: u8 = 0b11_1111;
const DMACR_MASK: u8 = 0b111;

/// What the lock protects.
struct Inner {
    state: Pl011State,
    /// The level that the interrupt line was last driven to.
    line: bool,
    /// The last [`Pl011::receive`] left characters over.
    input_left_over: bool,
}

/// A PL011 with its interrupt line and the far end of its wire.
pub struct Pl011 {
    inner: Mutex<Inner>,
    irq: IrqLine,
    backend: Arc<dyn SerialBackend>,
}

impl Pl011 {
    /// A UART as it comes out of reset.
    pub fn new(irq: IrqLine, backend: Arc<dyn SerialBackend>) -> Self {
        let inner = Inner { state: Pl011State::reset(), line: false, input_left_over: false };
        Self { inner: Mutex::new(inner), irq, backend }
    }

    /// Puts characters into the receive FIFO and says how many it took. Those left over can be offered again
    /// when [`SerialBackend::input_wanted`] is called. In loopback the wire is cut and characters vanish.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut inner = self.inner.lock();
        if inner.state.is_loopback() {
            return bytes.len();
        }
        let room = inner.state.depth().saturating_sub(inner.state.rx.len());
        let taken = room.min(bytes.len());
        bytes.iter().take(taken).for_each(|&byte| inner.state.push_rx(byte.into()));
        inner.input_left_over = taken < bytes.len();
        self.update_line(&mut inner);
        taken
    }

    /// The backend has room again: passes on what waits in the transmit FIFO.
    pub fn backend_ready(&self) {
        let mut inner = self.inner.lock();
        inner.state.drain(&*self.backend);
        self.update_line(&mut inner);
    }

    /// What the reset input does. Characters in the FIFOs are lost.
    pub fn reset(&self) {
        let mut inner = self.inner.lock();
        inner.state = Pl011State::reset();
        self.drive_line(&mut inner);
    }

    fn update_line(&self, inner: &mut Inner) {
        if inner.state.raw.intersects(inner.state.mask) != inner.line {
            self.drive_line(inner);
        }
    }

    fn drive_line(&self, inner: &mut Inner) {
        inner.line = inner.state.raw.intersects(inner.state.mask);
        self.irq.set(inner.line);
    }
}

impl MmioDevice for Pl011 {
    /// Registers are a word apart and at most 16 bits wide; narrower reads see the bytes that they name.
    fn read(&self, access: Access) -> u64 {
        let mut inner = self.inner.lock();
        let value = inner.state.read(access.offset & !0b11);
        self.update_line(&mut inner);
        let wants_input = inner.input_left_over && inner.state.rx.is_empty();
        if wants_input {
            inner.input_left_over = false;
            // The backend may call `receive` from inside.
            drop(inner);
            self.backend.input_wanted();
        }
        u64::from(value) >> (8 * (access.offset & 0b11))
    }

    /// A write that does not begin at a register is ignored.
    fn write(&self, access: Access, value: u64) {
        if access.offset & 0b11 != 0 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.state.write(access.offset, value as u16, &*self.backend);
        self.update_line(&mut inner);
    }
}

impl Persist for Pl011 {
    type State = Pl011State;

    fn save(&self) -> Pl011State {
        self.inner.lock().state.clone()
    }

    fn restore(&mut self, state: &Pl011State) -> Result<(), RestoreError> {
        state.check()?;
        let mut inner = self.inner.lock();
        inner.state = state.clone();
        // Whoever feeds the model cannot know how it stands now: ask for input at the next read.
        inner.input_left_over = true;
        self.drive_line(&mut inner);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::devices::{bus::Width, irq::IrqController};

    const RX: u64 = Interrupts::RX.bits() as u64;
    const TX: u64 = Interrupts::TX.bits() as u64;
    const RT: u64 = Interrupts::RT.bits() as u64;
    const OE: u64 = Interrupts::OE.bits() as u64;

    /// A wire that takes `room` characters, and an interrupt controller with one pin.
    #[derive(Default)]
    struct World {
        sent: Mutex<Vec<u8>>,
        room: AtomicUsize,
        line: AtomicBool,
        wanted: AtomicUsize,
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

    struct Bench {
        world: Arc<World>,
        uart: Pl011,
    }

    impl Bench {
        fn new(room: usize) -> Self {
            let world = Arc::new(World { room: room.into(), ..World::default() });
            let uart = Pl011::new(IrqLine::new(world.clone(), 33), world.clone());
            Self { world, uart }
        }

        fn read(&self, offset: u64) -> u64 {
            self.uart.read(Access { offset, width: Width::Word, vcpu: 0 })
        }

        fn write(&self, offset: u64, value: u64) {
            self.uart.write(Access { offset, width: Width::Word, vcpu: 0 }, value);
        }

        fn has(&self, flag: Flags) -> bool {
            Flags::from_bits_retain(self.read(reg::FR) as u16).contains(flag)
        }

        fn line(&self) -> bool {
            self.world.line.load(Ordering::SeqCst)
        }

        fn sent(&self) -> String {
            String::from_utf8(self.world.sent.lock().clone()).unwrap()
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
        let bench = Bench::new(0);
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
        let bench = Bench::new(usize::MAX);
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
        let bench = Bench::new(usize::MAX);
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
        let bench = Bench::new(1);
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
            bench.world.room.store(3, Ordering::SeqCst);
            bench.uart.backend_ready();
        }
        assert_eq!(bench.sent(), expected);
        assert!(bench.has(Flags::TXFE) && !bench.has(Flags::BUSY));
    }

    #[test]
    fn the_transmit_interrupt_marks_the_passage_of_the_level() {
        let bench = Bench::new(0);
        bench.start_like_linux();
        (0..9).for_each(|_| bench.write(reg::DR, 0));
        assert_eq!(bench.read(reg::RIS) & TX, 0, "more than the half that IFLS sets");
        bench.world.room.store(1, Ordering::SeqCst);
        bench.uart.backend_ready();
        assert_eq!(bench.read(reg::RIS) & TX, TX);
        bench.write(reg::DR, 0);
        assert_eq!(bench.read(reg::RIS) & TX, 0, "above the level again");
    }

    #[test]
    fn input_that_does_not_fit_is_asked_for_later() {
        let bench = Bench::new(0);
        assert_eq!(bench.uart.receive(b"ab"), 1, "FIFO disabled");
        assert!(bench.has(Flags::RXFF));
        assert_eq!(bench.world.wanted.load(Ordering::SeqCst), 0);
        assert_eq!(bench.read(reg::DR), b'a'.into());
        assert_eq!(bench.world.wanted.load(Ordering::SeqCst), 1);
        assert_eq!(bench.uart.receive(b"b"), 1);
        assert_eq!(bench.read(reg::DR), b'b'.into());
        assert_eq!(bench.world.wanted.load(Ordering::SeqCst), 1, "nothing was left over");
    }

    #[test]
    fn loopback_returns_characters_break_and_modem_lines() {
        let bench = Bench::new(usize::MAX);
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
        let bench = Bench::new(usize::MAX);
        let at = |offset, width| Access { offset, width, vcpu: 0 };
        bench.uart.write(at(reg::DR, Width::Byte), b'b'.into());
        bench.uart.write(at(reg::DR + 1, Width::Byte), b'x'.into());
        assert_eq!(bench.sent(), "b");
        assert_eq!(bench.uart.read(at(reg::CR + 1, Width::Byte)), 0x03);
    }

    #[test]
    fn a_restored_uart_goes_on_where_it_was() {
        let bench = Bench::new(1);
        bench.start_like_linux();
        bench.uart.receive(b"in");
        b"out".iter().for_each(|&byte| bench.write(reg::DR, byte.into()));
        let saved = postcard::to_allocvec(&bench.uart.save()).unwrap();

        let mut copy = Bench::new(usize::MAX);
        copy.uart.restore(&postcard::from_bytes(&saved).unwrap()).unwrap();
        assert!(copy.line());
        copy.uart.backend_ready();
        assert_eq!((bench.sent(), copy.sent()), ("o".into(), "ut".into()));
        assert_eq!(copy.interrupt_like_linux(&mut &b""[..]), b"in");
        assert_eq!(copy.world.wanted.load(Ordering::SeqCst), 1);

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
            let mut bench = Bench::new(0);
            for step in steps {
                match step {
                    Step::Read(offset) => drop(bench.read(offset)),
                    Step::Write(offset, value) => bench.write(offset, value),
                    Step::Type(bytes) => prop_assert!(bench.uart.receive(&bytes) <= bytes.len()),
                    Step::Drain(room) => {
                        bench.world.room.store(room, Ordering::SeqCst);
                        bench.uart.backend_ready();
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
            let bench = Bench::new(0);
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
                    bench.world.room.store(count / 2 + count % 2, Ordering::SeqCst);
                    bench.uart.backend_ready();
                }
            }
            prop_assert_eq!(&got, &typed);
            prop_assert_eq!(&*bench.world.sent.lock(), &printed);
        }
    }
}
