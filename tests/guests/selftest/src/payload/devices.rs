//! The PL011 (DDI 0183), the PL031 (DDI 0224) and the PL061 (DDI 0190), as QEMU `virt` has them.

use guest_support::{
    console::{
        CR, CR_ENABLED, CR_LOOPBACK, DR, FR, FR_RXFE, ICR, IMSC, INT_RX, LCR_8BIT, LCR_FIFO, LCR_H, MIS, RIS,
    },
    machine::{GPIO, GPIO_INTID, Machine, RTC, UART, UART_INTID},
    mmio,
    timer::{microseconds, wait_until},
};

use super::{
    check::{Outcome, Test},
    irqlog,
};

pub const TESTS: &[Test] = &[
    Test::once("pl011-identity", |_| identity(UART, [0x11, 0x10, 0x14, 0x00])),
    Test::once("pl011-registers", pl011_registers),
    Test::once("pl011-loopback", |_| loopback(LCR_8BIT)),
    Test::once("pl011-loopback-fifo", |_| loopback(LCR_8BIT | LCR_FIFO)),
    Test::once("pl011-interrupt", interrupt),
    Test::once("pl011-interrupt-level", interrupt_level),
    Test::once("pl031-identity", |_| identity(RTC, [0x31, 0x10, 0x04, 0x00])),
    Test::once("pl031-runs", pl031_runs),
    Test::once("pl031-load", pl031_load),
    Test::once("pl061-identity", |_| identity(GPIO, [0x61, 0x10, 0x04, 0x00])),
    Test::once("pl061-lines", pl061_lines),
    Test::once("pl061-interrupt", pl061_interrupt),
];

/// PeriphID and PCellID. The UART's revision, in the upper half of PeriphID2, is whatever it is.
fn identity(base: u64, peripheral: [u32; 4]) -> Outcome {
    for (register, wanted) in (0xfe0..).step_by(4).zip(peripheral.into_iter().chain([0x0d, 0xf0, 0x05, 0xb1]))
    {
        let mask = if register == 0xfe8 { 0x0f } else { 0xff };
        ensure_eq!(mmio::read32(base + register) & mask, wanted & mask, "an identification register");
    }
    Ok(())
}

fn pl011_registers(_: &Machine) -> Outcome {
    for (offset, value) in [(0x24, 0x155), (0x28, 0x2a), (0x34, 0x09), (0x38, 0x550)] {
        let register = UART + offset;
        let before = mmio::read32(register);
        mmio::write32(register, value);
        let found = mmio::read32(register);
        mmio::write32(register, before);
        ensure_eq!(found, value, "a register that can be written");
    }
    Ok(())
}

/// Characters that are transmitted are received, in order. Nothing may be printed meanwhile; the runner sets
/// the UART up afterwards.
fn start_loopback(line_control: u32) {
    mmio::write32(CR, 0);
    mmio::write32(LCR_H, 0);
    mmio::write32(LCR_H, line_control);
    mmio::write32(CR, CR_ENABLED | CR_LOOPBACK);
    mmio::write32(ICR, 0x7ff);
}

fn has_received() -> bool {
    mmio::read32(FR) & FR_RXFE == 0
}

/// Ends in a new line, since QEMU's UART sends in loopback mode too.
const TEXT: &[u8] = b"Pack my box with five dozen liquor jugs: 0123456789 @[]^_`{|}~\r\n";

fn loopback(line_control: u32) -> Outcome {
    start_loopback(line_control);
    ensure!(!has_received(), "nothing has been received at first");
    for burst in TEXT.chunks(if line_control & LCR_FIFO == 0 { 1 } else { 8 }) {
        for &byte in burst {
            mmio::write32(DR, u32::from(byte));
        }
        for &byte in burst {
            ensure!(wait_until(microseconds(100_000), has_received), "a character is received");
            ensure_eq!(mmio::read32(DR), byte, "the character that is received");
        }
        ensure!(!has_received(), "no more is received than was sent");
    }
    Ok(())
}

const NEW_LINE: u32 = 0x0a;

fn interrupt(machine: &Machine) -> Outcome {
    start_loopback(LCR_8BIT);
    machine.gic.enable(UART_INTID);
    mmio::write32(DR, NEW_LINE);
    ensure!(wait_until(microseconds(100_000), || mmio::read32(RIS) & INT_RX != 0), "RIS says received");
    ensure_eq!(mmio::read32(MIS), 0, "MIS of a masked interrupt");
    irqlog::take_for(1000);
    ensure_eq!(irqlog::count(), 0, "interrupts while masked");
    mmio::write32(IMSC, INT_RX);
    ensure_eq!(mmio::read32(MIS), INT_RX, "MIS of an interrupt that is let through");
    ensure!(irqlog::take_until(|| irqlog::count() > 0), "the interrupt comes");
    ensure_eq!(irqlog::intid(0).unwrap_or(0), UART_INTID, "the interrupt");
    irqlog::take_for(1000);
    ensure_eq!(irqlog::count(), 1, "interrupts in all");
    ensure_eq!(mmio::read32(DR) & 0xff, NEW_LINE, "the character");
    Ok(())
}

/// The UART's interrupt is a level: it comes again until it is cleared, and goes when it is cleared,
/// acknowledged or not.
fn interrupt_level(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    start_loopback(LCR_8BIT);
    gic.enable(UART_INTID);
    mmio::write32(IMSC, INT_RX);
    mmio::write32(DR, NEW_LINE);
    for _ in 0..3 {
        ensure!(wait_until(microseconds(100_000), || gic.is_signalled()), "it comes while the level is high");
        let ack = gic.acknowledge();
        ensure_eq!(ack.intid(), UART_INTID, "the interrupt");
        gic.end(ack);
    }
    ensure!(wait_until(microseconds(100_000), || gic.is_signalled()), "it is signalled");
    mmio::write32(ICR, INT_RX);
    ensure!(wait_until(microseconds(100_000), || !gic.is_signalled()), "it goes when it is cleared");
    ensure!(!gic.is_pending(UART_INTID), "it is not pending when it is cleared");
    ensure!(gic.acknowledge().is_spurious(), "nothing to acknowledge");
    Ok(())
}

/// A clock that counts seconds. QEMU's runs by the host's time, not by virtual time, hence the patience.
fn pl031_runs(_: &Machine) -> Outcome {
    let start = mmio::read32(RTC);
    ensure!(start > 1_600_000_000, "the clock shows a date after 2020");
    ensure!(wait_until(microseconds(30_000_000), || mmio::read32(RTC) != start), "the clock runs");
    let later = mmio::read32(RTC).wrapping_sub(start);
    ensure!((1..=30).contains(&later), "it runs in seconds");
    Ok(())
}

fn pl031_load(_: &Machine) -> Outcome {
    let before = mmio::read32(RTC);
    mmio::write32(RTC + 0x08, 1000);
    let loaded = mmio::read32(RTC);
    mmio::write32(RTC + 0x08, before);
    ensure!((1000..1003).contains(&loaded), "the clock shows what it was set to");
    Ok(())
}

/// Registers of the PL061: data of all lines, direction, sense, both edges, event, mask, raw and masked status,
/// clear.
const GPIO_DATA: u64 = GPIO + 0x3fc;
const GPIO_DIR: u64 = GPIO + 0x400;
const GPIO_IS: u64 = GPIO + 0x404;
const GPIO_IBE: u64 = GPIO + 0x408;
const GPIO_IEV: u64 = GPIO + 0x40c;
const GPIO_IE: u64 = GPIO + 0x410;
const GPIO_RIS: u64 = GPIO + 0x414;
const GPIO_MIS: u64 = GPIO + 0x418;
const GPIO_IC: u64 = GPIO + 0x41c;
/// A line to which nothing is connected.
const LINE: u32 = 1 << 5;

/// Outputs show what was written to those that the address names.
fn pl061_lines(_: &Machine) -> Outcome {
    mmio::write32(GPIO_DIR, 0xf0);
    mmio::write32(GPIO_DATA, 0xf0);
    mmio::write32(GPIO + (0x30 << 2), 0);
    let (all, some) = (mmio::read32(GPIO_DATA), mmio::read32(GPIO + (0x50 << 2)));
    mmio::write32(GPIO_DATA, 0);
    mmio::write32(GPIO_DIR, 0);
    ensure_eq!(all, 0xc0, "the lines");
    ensure_eq!(some, 0x40, "the lines that an address names");
    Ok(())
}

/// Nobody can press a button here, but a line that is low can be said to interrupt while it is low.
fn pl061_interrupt(machine: &Machine) -> Outcome {
    let gic = &machine.gic;
    gic.enable(GPIO_INTID);
    for register in [GPIO_IE, GPIO_IBE, GPIO_IEV] {
        mmio::write32(register, 0);
    }
    mmio::write32(GPIO_IS, LINE);
    mmio::write32(GPIO_IC, LINE);
    ensure_eq!(mmio::read32(GPIO_RIS), LINE, "RIS of a level that stays, after it was cleared");
    ensure_eq!(mmio::read32(GPIO_MIS), 0, "MIS of a masked interrupt");
    ensure!(!gic.is_signalled(), "nothing comes while it is masked");
    mmio::write32(GPIO_IE, LINE);
    ensure_eq!(mmio::read32(GPIO_MIS), LINE, "MIS of an interrupt that is let through");
    ensure!(wait_until(microseconds(100_000), || gic.is_signalled()), "the interrupt comes");
    let ack = gic.acknowledge();
    ensure_eq!(ack.intid(), GPIO_INTID, "the interrupt");
    mmio::write32(GPIO_IS, 0);
    mmio::write32(GPIO_IC, LINE);
    gic.end(ack);
    ensure_eq!(mmio::read32(GPIO_RIS), 0, "RIS without the level");
    ensure!(!gic.is_pending(GPIO_INTID), "it is not pending when it is cleared");
    mmio::write32(GPIO_IE, 0);
    Ok(())
}
