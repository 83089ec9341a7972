//! Moving data: one command after the other, on the controller's interrupt.

use core::ptr::NonNull;

use heapless::Deque;
use sdio_host::common_cmd::{
    R1, read_multiple_blocks, read_single_block, write_multiple_blocks, write_single_block,
};

use super::Error;
use super::card::Card;
use super::host::{Answer, Host};
use super::registers::{Command, Interrupts, Port, Present, Register};
use crate::mm::guest_memory::GuestSlice;
use crate::storage::physical::{Abilities, Controller, SLOTS};
use crate::storage::{DiskError, Geometry, Operation, SECTOR};

/// Bytes of a block on the bus.
const BLOCK: usize = SECTOR as usize;
/// What a card's status (R1) says to be an error (Physical Layer 9.00, table 4-42), except for a locked card, which says
/// so whatever the command.
const CARD_ERRORS: u32 = 0xfdf9_8000;
/// A card that reads ahead may say this of what lies behind its last block, when it is told to stop (4.3.3).
const OUT_OF_RANGE: u32 = 1 << 31;

/// A command that was begun, and its data.
struct Transfer {
    slot: usize,
    read: bool,
    argument: u32,
    start: NonNull<u8>,
    len: usize,
    /// Bytes that are through the buffer.
    moved: usize,
}

// SAFETY: the address is not tied to a CPU.
unsafe impl Send for Transfer {}

impl Transfer {
    fn data(&self) -> GuestSlice<'_> {
        // SAFETY: the promise that `Controller::begin` was given holds as long as this exists.
        unsafe { GuestSlice::new(self.start, self.len) }
    }

    /// Whether it has more than one block, and the card must be told to stop.
    fn is_multiple(&self) -> bool {
        self.len > BLOCK
    }

    /// How the controller is to carry it out.
    fn mode(&self) -> Command {
        let mut mode = R1::FLAGS | Command::DATA_PRESENT;
        mode.set(Command::READ, self.read);
        let several = Command::MULTI_BLOCK | Command::BLOCK_COUNT_ENABLE | Command::AUTO_CMD12;
        mode.set(several, self.is_multiple());
        mode
    }
}

/// An SD card as a disk.
pub struct SdCard<P> {
    host: Host<P>,
    card: Card,
    /// What was begun, in order. The first is under way if `running`.
    queue: Deque<Transfer, SLOTS>,
    running: bool,
    /// What has happened to it and is not looked at yet.
    status: Interrupts,
    /// The card does not answer any more.
    lost: bool,
}

impl<P: Port> SdCard<P> {
    /// The card in the slot of the controller behind `port`.
    ///
    /// # Errors
    /// [`Error`]; among them that there is none.
    pub fn new(port: P) -> Result<Self, Error> {
        let mut host = Host::new(port)?;
        let card = Card::identify(&mut host)?;
        host.write(Register::SignalEnable, Interrupts::TRANSFER.bits());
        let status = Interrupts::empty();
        Ok(Self { host, card, queue: Deque::new(), running: false, status, lost: false })
    }

    /// The card's serial number.
    pub fn serial(&self) -> u32 {
        self.card.serial
    }

    /// Sends the first command of the queue, if there is one and none is under way.
    fn start(&mut self) -> Result<(), Error> {
        let Some(transfer) = self.queue.front().filter(|_| !self.running) else { return Ok(()) };
        if self.lost {
            return Err(Error::NoCard);
        }
        let mode = transfer.mode();
        self.host.wait_until_idle(mode)?;
        self.host.take_status();
        self.status = Interrupts::empty();
        self.running = true;
        self.host.write(Register::Blocks, (BLOCK | (transfer.len / BLOCK) << 16) as u32);
        let command = match (transfer.read, transfer.is_multiple()) {
            (true, false) => read_single_block(transfer.argument),
            (true, true) => read_multiple_blocks(transfer.argument),
            (false, false) => write_single_block(transfer.argument),
            (false, true) => write_multiple_blocks(transfer.argument),
        };
        self.host.send(command.cmd, command.arg, mode);
        Ok(())
    }

    /// Moves the first command of the queue, which is under way, on. `None`: it has not ended.
    fn advance(&mut self) -> Option<Result<(), DiskError>> {
        // Before the buffer is looked at: what becomes ready later interrupts again.
        self.status |= self.host.take_status();
        self.move_blocks();
        self.status |= self.host.take_status();
        let ended = self.status.contains(Interrupts::TRANSFER_COMPLETE);
        let mut errors = self.status & Interrupts::ERRORS;
        // A transfer that is complete has not timed out, whatever the controller says too (SDHC 3.00, 2.2.17).
        errors.set(Interrupts::DATA_TIMEOUT, errors.contains(Interrupts::DATA_TIMEOUT) && !ended);
        if !ended && errors.is_empty() {
            return None;
        }
        let whole = self.queue.front().is_some_and(|transfer| transfer.moved == transfer.len);
        let card_errors = self.card_errors();
        if errors.is_empty() && card_errors == 0 && whole {
            return Some(Ok(()));
        }
        log::debug!(
            "SD card: interrupt status {:#010x}, card status {card_errors:#010x}",
            self.status.bits()
        );
        if let Err(error) = self.card.settle(&mut self.host) {
            log::error!("SD card {:#010x} is given up: {error}", self.card.serial);
            self.lost = true;
        }
        Some(Err(DiskError::Medium))
    }

    /// Moves the blocks for which the buffer is ready.
    fn move_blocks(&mut self) {
        let Some(transfer) = self.queue.front_mut() else { return };
        let ready = if transfer.read { Present::BUFFER_READ_ENABLE } else { Present::BUFFER_WRITE_ENABLE };
        while transfer.moved < transfer.len && self.host.present().contains(ready) {
            let end = transfer.moved + BLOCK;
            let data = transfer.data();
            for offset in (transfer.moved..end).step_by(size_of::<u32>()) {
                if transfer.read {
                    data.store(offset, self.host.read_buffer());
                } else {
                    self.host.write(Register::Buffer, data.load(offset).unwrap_or(0));
                }
            }
            transfer.moved = end;
        }
    }

    /// What the card has said to be wrong with the command at the head of the queue.
    fn card_errors(&mut self) -> u32 {
        let [status, .., stopped] = self.host.response();
        let multiple = self.queue.front().is_some_and(Transfer::is_multiple);
        let stopped = if multiple { stopped & !OUT_OF_RANGE } else { 0 };
        (status | stopped) & CARD_ERRORS
    }
}

impl<P: Port> Controller for SdCard<P> {
    fn abilities(&self) -> Abilities {
        let geometry = Geometry {
            sectors: self.card.sectors,
            read_only: self.card.read_only,
            block_size: SECTOR as u32,
            discards: false,
        };
        // A write has ended when the card is not busy any more, and the data are on the medium then: the cache that a
        // card of 6.00 may have is off until it is asked for (4.17).
        Abilities { geometry, volatile: false, max_discard: 0, max_write_zeroes: 0 }
    }

    unsafe fn begin(
        &mut self,
        slot: usize,
        operation: Operation,
        sector: u64,
        data: GuestSlice<'_>,
    ) -> Result<(), DiskError> {
        let read = match operation {
            Operation::Read => true,
            Operation::Write => false,
            Operation::Flush | Operation::Discard(_) | Operation::WriteZeroes(_) => {
                return Err(DiskError::Unsupported);
            }
        };
        let start = NonNull::new(data.as_ptr().cast_mut()).filter(|_| !data.is_empty());
        let (Some(start), Some(argument)) = (start, self.card.argument(sector)) else {
            return Err(DiskError::Medium);
        };
        let transfer = Transfer { slot, read, argument, start, len: data.len(), moved: 0 };
        self.queue.push_back(transfer).map_err(|_| DiskError::Medium)?;
        // One that waits is started when its turn comes; if that fails, it is told then.
        if self.queue.len() == 1
            && let Err(error) = self.start()
        {
            log::debug!("SD card: {error}");
            self.queue.pop_back();
            return Err(DiskError::Medium);
        }
        Ok(())
    }

    fn take_ended(&mut self) -> Option<(usize, Result<(), DiskError>)> {
        self.queue.front()?;
        let result = match self.start() {
            Ok(()) => self.advance()?,
            Err(_) => Err(DiskError::Medium),
        };
        self.running = false;
        let slot = self.queue.pop_front()?.slot;
        // The card goes on while the caller deals with this one. If it cannot, the next call tells.
        let _ = self.start();
        Some((slot, result))
    }

    fn acknowledge(&mut self) {
        self.status |= self.host.take_status();
    }

    fn clock(&self) -> u64 {
        self.host.clock()
    }
}
