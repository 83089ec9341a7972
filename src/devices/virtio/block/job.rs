//! A request on its way, piece by piece.

use super::Block;
use super::config::MAX_RANGES;
use super::request::{Cursor, Header, Range, Status, advance, bytes, kind, take_status};
use crate::devices::virtio::queue::Chain;
use crate::mm::addr::Ipa;
use crate::mm::guest_memory::{GuestMemory, Segment};
use crate::storage::{
    Completion, MAX_CLEAR, MAX_TRANSFER, Operation, Progress, Request, SECTOR, check_range,
};

/// Most bytes that a queue moves at a time before others have their turn.
const BUDGET_BYTES: u32 = 256 << 10;
/// Most steps at a time: a request of one piece takes two.
const BUDGET_PIECES: u32 = 128;
/// What a piece of a discard or write-zeroes request costs of [`BUDGET_BYTES`].
const CLEAR_COST: u32 = MAX_TRANSFER;

/// What a queue may still do before others have their turn.
pub struct Budget {
    bytes: u32,
    pieces: u32,
}

impl Budget {
    /// All of it.
    pub fn new() -> Self {
        Self { bytes: BUDGET_BYTES, pieces: BUDGET_PIECES }
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.bytes == 0 || self.pieces == 0
    }

    #[inline]
    fn spend(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.pieces = self.pieces.saturating_sub(1);
    }
}

/// How a job stands when nothing more can be done for it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has ended.
    Ended(Status),
    /// The disk has a piece of it.
    Waiting,
    /// It can go on; the budget is spent.
    Ready,
    /// The disk can take nothing now.
    Refused,
}

/// What is left to do. Positions are checked against the end of the disk before they get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// So many sectors are to be moved.
    Transfer { write: bool, sector: u64, left: u64 },
    /// So many sectors are to be cleared, and then those of so many ranges that the data still have.
    Clear { zero: bool, sector: u64, left: u64, ranges: u32 },
    /// What was written is to be on the medium.
    Flush,
    /// Nothing.
    Nothing(Status),
}

/// A request on its way. Reused from one to the next.
pub struct Job {
    /// Its buffers, without the header and the status.
    pub chain: Chain,
    /// How many of the segments with its data are done with.
    done: usize,
    work: Work,
    status: Option<Ipa>,
    /// Bytes of the data that it reads from the disk.
    answer: u32,
}

impl Default for Job {
    fn default() -> Self {
        Self { chain: Chain::default(), done: 0, work: Work::Nothing(Status::Ok), status: None, answer: 0 }
    }
}

impl Job {
    /// Finds out what the request in `chain` asks for.
    #[inline]
    pub fn begin(&mut self, block: &Block, memory: &dyn GuestMemory) {
        self.done = 0;
        self.answer = 0;
        self.status = take_status(&mut self.chain);
        self.work = match self.plan(block, memory) {
            Ok(work) => work,
            Err(status) => Work::Nothing(status),
        };
    }

    #[inline]
    fn plan(&mut self, block: &Block, memory: &dyn GuestMemory) -> Result<Work, Status> {
        // Without it nobody could be told what came of the request.
        self.status.ok_or(Status::IoErr)?;
        let mut from = Cursor { segments: &mut self.chain.readable, used: &mut self.done };
        let header = Header::take(memory, &mut from).ok_or(Status::IoErr)?;
        let data = self.chain.readable.get(self.done..).unwrap_or_default();
        let geometry = &block.geometry;
        match header.kind {
            kind::IN | kind::OUT => {
                let write = header.kind == kind::OUT;
                let len = bytes(if write { data } else { &self.chain.writable });
                let left = len / SECTOR;
                if !len.is_multiple_of(SECTOR) || (write && geometry.read_only) {
                    return Err(Status::IoErr);
                }
                check_range(header.sector, left, geometry.sectors)?;
                if !write {
                    self.done = 0;
                    self.answer = len as u32;
                }
                Ok(Work::Transfer { write, sector: header.sector, left })
            }
            kind::FLUSH => Ok(Work::Flush),
            kind::GET_ID => {
                self.identify(block, memory)?;
                Ok(Work::Nothing(Status::Ok))
            }
            kind::DISCARD | kind::WRITE_ZEROES => {
                let zero = header.kind == kind::WRITE_ZEROES;
                let len = bytes(data);
                if geometry.read_only || !(zero || geometry.discards) {
                    return Err(Status::Unsupp);
                }
                if !len.is_multiple_of(Range::LEN.into()) || len > u64::from(MAX_RANGES * Range::LEN) {
                    return Err(Status::IoErr);
                }
                Ok(Work::Clear { zero, sector: 0, left: 0, ranges: len as u32 / Range::LEN })
            }
            _ => Err(Status::Unsupp),
        }
    }

    /// Writes the identification string, as far as there is room.
    #[cold]
    fn identify(&mut self, block: &Block, memory: &dyn GuestMemory) -> Result<(), Status> {
        let mut rest = &block.serial[..];
        for segment in &self.chain.writable {
            let len = rest.len().min(segment.len as usize);
            let Some(part) = rest.split_off(..len) else { break };
            memory.write(segment.ipa, part).map_err(|_| Status::IoErr)?;
            self.answer += len as u32;
        }
        Ok(())
    }

    /// Does as much as the budget allows.
    #[inline]
    pub fn proceed(
        &mut self,
        block: &Block,
        memory: &dyn GuestMemory,
        completion: &Completion,
        budget: &mut Budget,
    ) -> Standing {
        loop {
            if let Work::Nothing(status) = self.work {
                budget.spend(0);
                return Standing::Ended(status);
            }
            if budget.is_spent() {
                return Standing::Ready;
            }
            match self.step(block, memory, completion, budget) {
                Ok(Progress::Done) => {}
                Ok(Progress::Pending) => return Standing::Waiting,
                Ok(Progress::Busy) => return Standing::Refused,
                Err(status) => return Standing::Ended(status),
            }
        }
    }

    /// Whether nothing is left to do but to tell the driver.
    pub fn is_over(&self) -> bool {
        matches!(self.work, Work::Nothing(_))
    }

    /// Does the next piece.
    #[inline]
    fn step(
        &mut self,
        block: &Block,
        memory: &dyn GuestMemory,
        completion: &Completion,
        budget: &mut Budget,
    ) -> Result<Progress, Status> {
        let ask = |operation, sector, segments: &[Segment]| {
            let shared = block.channel.memory();
            block.disk.submit(&Request { operation, sector, segments, memory, shared, completion })
        };
        match self.work {
            Work::Transfer { write, sector, left } => {
                let (operation, segments) = match write {
                    true => (Operation::Write, &mut self.chain.readable),
                    false => (Operation::Read, &mut self.chain.writable),
                };
                let mut piece = Piece::cut(segments, self.done, left);
                let progress = ask(operation, sector, piece.segments())?;
                if progress != Progress::Busy {
                    let sectors = piece.sectors;
                    budget.spend(sectors as u32 * SECTOR as u32);
                    self.done = piece.finish();
                    self.work = match left - sectors {
                        0 => block.after_change(write),
                        left => Work::Transfer { write, sector: sector + sectors, left },
                    };
                } else {
                    piece.undo();
                }
                Ok(progress)
            }
            Work::Clear { zero, sector: _, left: 0, ranges } => {
                let Some(ranges) = ranges.checked_sub(1) else {
                    self.work = block.after_change(true);
                    return Ok(Progress::Done);
                };
                let mut from = Cursor { segments: &mut self.chain.readable, used: &mut self.done };
                let range = Range::take(memory, &mut from).ok_or(Status::IoErr)?;
                // 5.2.6.2: no bit but `unmap`, and that one not in a discard.
                if range.flags & !(if zero { Range::UNMAP } else { 0 }) != 0 {
                    return Err(Status::Unsupp);
                }
                let left = u64::from(range.count);
                check_range(range.sector, left, block.geometry.sectors)?;
                if left > MAX_CLEAR {
                    return Err(Status::IoErr);
                }
                budget.spend(0);
                self.work = Work::Clear { zero, sector: range.sector, left, ranges };
                Ok(Progress::Done)
            }
            Work::Clear { zero, sector, left, ranges } => {
                let operation = if zero { Operation::WriteZeroes(left) } else { Operation::Discard(left) };
                let progress = ask(operation, sector, &[])?;
                if progress != Progress::Busy {
                    budget.spend(CLEAR_COST);
                    self.work = Work::Clear { zero, sector: 0, left: 0, ranges };
                }
                Ok(progress)
            }
            Work::Flush => {
                let progress = ask(Operation::Flush, 0, &[])?;
                if progress != Progress::Busy {
                    self.work = Work::Nothing(Status::Ok);
                }
                Ok(progress)
            }
            Work::Nothing(_) => Ok(Progress::Done),
        }
    }

    /// Tells the driver how the request has ended. Returns how many bytes of its buffers were written, from the first on.
    #[inline]
    pub fn end(&self, memory: &dyn GuestMemory, status: Status) -> u32 {
        let Some(at) = self.status else { return 0 };
        let written = match memory.slice(at, 1) {
            Ok(piece) => piece.write(0, &[status as u8]),
            Err(_) => false,
        };
        // Where it failed, what lies before the status was not all written.
        match (written, status) {
            (true, Status::Ok) => self.answer.saturating_add(1),
            _ => 0,
        }
    }
}

impl Block {
    /// What is left to do when all was moved: with write-through, what was written must be on the medium first (5.2.6.2).
    #[inline]
    fn after_change(&self, write: bool) -> Work {
        match write && !self.is_write_back() {
            true => Work::Flush,
            false => Work::Nothing(Status::Ok),
        }
    }
}

/// The next segments of a request, of at most [`MAX_TRANSFER`] bytes in all; the last may be cut in two.
struct Piece<'a> {
    segments: &'a mut [Segment],
    start: usize,
    end: usize,
    /// The whole length of the last one, if it is cut.
    cut: Option<u32>,
    sectors: u64,
}

impl<'a> Piece<'a> {
    /// Of the segments from `start` on, which have so many sectors.
    #[inline]
    fn cut(segments: &'a mut [Segment], start: usize, left: u64) -> Self {
        if left <= u64::from(MAX_TRANSFER) / SECTOR {
            return Self { end: segments.len(), segments, start, cut: None, sectors: left };
        }
        let mut room = MAX_TRANSFER;
        let mut end = start;
        let mut cut = None;
        while room > 0
            && let Some(segment) = segments.get_mut(end)
        {
            end += 1;
            if segment.len > room {
                cut = Some(core::mem::replace(&mut segment.len, room));
            }
            room -= segment.len;
        }
        Self { segments, start, end, cut, sectors: u64::from(MAX_TRANSFER) / SECTOR }
    }

    #[inline]
    fn segments(&self) -> &[Segment] {
        self.segments.get(self.start..self.end).unwrap_or_default()
    }

    /// The piece is done with: where the next one starts.
    #[inline]
    fn finish(mut self) -> usize {
        match (self.cut, self.last()) {
            (Some(whole), Some(last)) => {
                let part = core::mem::replace(&mut last.len, whole);
                advance(last, part);
                self.end - 1
            }
            _ => self.end,
        }
    }

    /// As if it had not been cut.
    fn undo(&mut self) {
        if let (Some(whole), Some(last)) = (self.cut, self.last()) {
            last.len = whole;
        }
    }

    fn last(&mut self) -> Option<&mut Segment> {
        self.segments.get_mut(self.end.checked_sub(1)?)
    }
}
