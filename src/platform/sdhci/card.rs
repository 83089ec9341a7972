//! Identifying an SD card (Physical Layer Simplified Specification 9.00, 4.2.3).

use sdio_host::common_cmd::{
    Cmd, all_send_cid, app_cmd, card_status, idle, select_card, send_csd, set_block_length, stop_transmission,
};
use sdio_host::sd::{CIC, CID, CSD, CardStatus, CurrentState, OCR, RCA, SD};
use sdio_host::sd_cmd::{sd_send_op_cond, send_if_cond, send_relative_address, set_bus_width};

use super::Error;
use super::host::{Answer, Host};
use super::registers::{Interrupts, Port, Present};
use crate::storage::SECTOR;

/// How fast a card is that was not asked for more, in Hz (6.7).
const DEFAULT_SPEED_HZ: u32 = 25_000_000;
/// How long a card may take to power up, in microseconds (4.2.3).
const POWER_UP_US: u64 = 1_000_000;
/// How long it may take to end what it was doing (4.6.2.2).
const SETTLE_US: u64 = 500_000;
/// 2.7 to 3.6 V, and what is sent along to see whether the answer has it (4.3.13).
const VOLTAGE: u8 = 1;
const PATTERN: u8 = 0xaa;
/// All voltages that [`OCR`] can name.
const ALL_VOLTAGES: u16 = 0x1ff;

/// A card that is selected and ready for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Its address on the bus.
    address: u16,
    /// Data are addressed by block, not by byte.
    by_block: bool,
    /// How many sectors.
    pub sectors: u64,
    /// It cannot be written.
    pub read_only: bool,
    /// The serial number, which with the manufacturer's identity is unique.
    pub serial: u32,
}

impl Card {
    /// Identifies and selects the card in the slot.
    ///
    /// # Errors
    /// [`Error::NoCard`] if nothing there answers as an SD card does; else what went wrong.
    pub fn identify<P: Port>(host: &mut Host<P>) -> Result<Self, Error> {
        host.command(idle())?;
        // A card of before 2.00 does not know this command.
        let knows_capacity = match host.command(send_if_cond(VOLTAGE, PATTERN)) {
            Ok(response) => {
                let condition = CIC::from(response[0]);
                if (condition.voltage_accepted() & 0xf, condition.pattern()) != (VOLTAGE, PATTERN) {
                    return Err(Error::Voltage(response[0]));
                }
                true
            }
            Err(error) if is_silence(&error) => false,
            Err(error) => return Err(error),
        };
        let by_block = power_up(host, knows_capacity)?;
        let cid: CID<SD> = register(host.command(all_send_cid())?).into();
        let address = RCA::<SD>::from(host.command(send_relative_address())?[0]).address();
        let csd = register(host.command(send_csd(address))?);
        host.set_clock(DEFAULT_SPEED_HZ)?;
        host.command_and_wait(select_card(address))?;
        application(host, address, set_bus_width(true))?;
        host.use_four_lines();
        if !by_block {
            host.command(set_block_length(SECTOR as u32))?;
        }
        // PERM_WRITE_PROTECT and TMP_WRITE_PROTECT (5.3.2).
        let protected = csd >> 12 & 0b11 != 0 || !host.present().contains(Present::WRITE_ENABLED);
        let sectors = CSD::<SD>::from(csd).card_size() / SECTOR;
        if sectors == 0 {
            return Err(Error::Capacity(csd));
        }
        // What lies beyond needs commands of its own (SDUC).
        let sectors = sectors.min(1 << 32);
        Ok(Self { address, by_block, sectors, read_only: protected, serial: cid.serial() })
    }

    /// By what commands name `sector`; `None` where they cannot.
    pub fn argument(&self, sector: u64) -> Option<u32> {
        let unit = if self.by_block { 1 } else { SECTOR };
        u32::try_from(sector.checked_mul(unit)?).ok()
    }

    /// After an error: has the card stop, and waits until it is ready for the next command.
    ///
    /// # Errors
    /// It does not get there.
    pub fn settle<P: Port>(&self, host: &mut Host<P>) -> Result<(), Error> {
        host.reset_lines()?;
        let deadline = host.clock().saturating_add(SETTLE_US);
        loop {
            let over = host.clock() > deadline;
            let status = host.command(card_status(self.address, false))?[0];
            match CardStatus::<SD>::from(status).state() {
                CurrentState::Transfer => return Ok(()),
                // It may have stopped meanwhile, and not know the command then.
                CurrentState::Sending | CurrentState::Receiving => {
                    match host.command_and_wait(stop_transmission()) {
                        Err(error) if !is_silence(&error) => return Err(error),
                        _ => {}
                    }
                }
                _ => {}
            }
            if over {
                return Err(Error::Settle(status));
            }
        }
    }
}

/// Has the card power up, and tells whether it is addressed by block.
fn power_up<P: Port>(host: &mut Host<P>, knows_capacity: bool) -> Result<bool, Error> {
    const BETWEEN_US: u64 = 1_000;
    let deadline = host.clock().saturating_add(POWER_UP_US);
    loop {
        let over = host.clock() > deadline;
        let ask = sd_send_op_cond(knows_capacity, false, false, ALL_VOLTAGES);
        let response = application(host, 0, ask).map_err(|error| match is_silence(&error) {
            true => Error::NoCard,
            false => error,
        })?;
        let conditions = OCR::<SD>::from(response[0]);
        if !conditions.is_busy() {
            return Ok(conditions.high_capacity());
        }
        if over {
            return Err(Error::PowerUp(response[0]));
        }
        host.pause(BETWEEN_US);
    }
}

/// Sends an application command to the card of this address, which is 0 before it has one.
fn application<P: Port, R: Answer>(
    host: &mut Host<P>,
    address: u16,
    command: Cmd<R>,
) -> Result<[u32; 4], Error> {
    host.command(app_cmd(address))?;
    host.command(command)
}

/// Nobody has answered.
fn is_silence(error: &Error) -> bool {
    let timeout = Interrupts::COMMAND_TIMEOUT.bits();
    matches!(error, Error::Command { status, .. } if status & Interrupts::ERRORS.bits() == timeout)
}

/// A register of the card's, of whose response the controller keeps all but the last byte (SDHC 3.00, table 2-12).
fn register(response: [u32; 4]) -> u128 {
    response.iter().rev().fold(0, |value, &word| value << 32 | u128::from(word)) << 8
}
