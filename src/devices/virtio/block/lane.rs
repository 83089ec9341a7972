//! The requests of one queue.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Block;
use super::job::{Budget, Job, Standing};
use super::request::Status;
use crate::devices::virtio::channel::Visit;
use crate::devices::virtio::queue::QueueError;
use crate::storage::{Completion, DiskError, Waiter};

/// Most requests of a queue on their way at once: a bit each. Others stay in the queue.
const JOBS: usize = u32::BITS as usize;

/// By which number a disk knows a request: which queue, which job, and since which reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The queue.
    pub queue: u16,
    job: u16,
    epoch: u32,
}

impl From<u64> for Ticket {
    fn from(token: u64) -> Self {
        Self { queue: token as u16, job: (token >> 16) as u16, epoch: (token >> 32) as u32 }
    }
}

impl From<Ticket> for u64 {
    fn from(ticket: Ticket) -> Self {
        Self::from(ticket.queue) | Self::from(ticket.job) << 16 | Self::from(ticket.epoch) << 32
    }
}

/// The requests of one queue that are on their way. It is used with the queue's lock held.
pub struct Lane {
    queue: u16,
    jobs: Vec<Job>,
    /// Jobs that do nothing.
    idle: u32,
    /// Jobs that can go on. The rest wait for the disk.
    ready: u32,
    /// The queue may have requests for which there was no job.
    starved: bool,
    epoch: u32,
    completion: Completion,
}

impl Lane {
    /// The lane of a queue. `waiter` is told of requests that end later.
    pub fn new(queue: u16, waiter: Arc<dyn Waiter>) -> Self {
        Self {
            queue,
            jobs: Vec::new(),
            idle: u32::MAX,
            ready: 0,
            starved: false,
            epoch: 0,
            completion: Completion { waiter, token: 0 },
        }
    }

    /// Forgets all requests.
    pub fn reset(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.idle = u32::MAX;
        self.ready = 0;
        self.starved = false;
    }

    /// Does as much as the budget allows; tells whether there may be more to do now.
    ///
    /// # Errors
    /// [`QueueError`].
    #[inline]
    pub fn run(&mut self, block: &Block, visit: &mut Visit<'_>) -> Result<bool, QueueError> {
        let mut budget = Budget::new();
        while self.ready != 0 {
            let job = self.ready.trailing_zeros();
            self.ready &= self.ready - 1;
            if !self.go_on(job, block, visit, &mut budget)? {
                return Ok(budget.is_spent());
            }
        }
        while !budget.is_spent() {
            let index = self.idle.trailing_zeros() as usize;
            self.starved = index >= JOBS;
            if self.starved {
                return Ok(false);
            }
            if index >= self.jobs.len() {
                self.jobs.resize_with(index + 1, Job::default);
            }
            let Some(job) = self.jobs.get_mut(index) else { return Ok(false) };
            if !visit.next(&mut job.chain)? {
                return Ok(false);
            }
            job.begin(block, visit.memory());
            self.idle &= !(1 << index);
            if !self.go_on(index as u32, block, visit, &mut budget)? {
                return Ok(budget.is_spent());
            }
        }
        Ok(true)
    }

    /// Lets a job go on; tells whether others may too.
    #[inline]
    fn go_on(
        &mut self,
        index: u32,
        block: &Block,
        visit: &mut Visit<'_>,
        budget: &mut Budget,
    ) -> Result<bool, QueueError> {
        let Some(job) = self.jobs.get_mut(index as usize) else { return Ok(false) };
        let ticket = Ticket { queue: self.queue, job: index as u16, epoch: self.epoch };
        self.completion.token = ticket.into();
        match job.proceed(block, visit.memory(), &self.completion, budget) {
            Standing::Ended(status) => {
                self.idle |= 1 << index;
                let written = job.end(visit.memory(), status);
                visit.complete(job.chain.token(), written)?;
                Ok(true)
            }
            Standing::Waiting => Ok(true),
            Standing::Ready | Standing::Refused => {
                self.ready |= 1 << index;
                Ok(false)
            }
        }
    }

    /// Whether the disk has the job of this ticket.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        let is_known = ticket.epoch == self.epoch && usize::from(ticket.job) < self.jobs.len();
        is_known && (self.idle | self.ready) >> ticket.job & 1 == 0
    }

    /// The disk is done with a piece of a job. Tells whether there may be more to do now.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn completed(
        &mut self,
        ticket: Ticket,
        result: Result<(), DiskError>,
        visit: &mut Visit<'_>,
    ) -> Result<bool, QueueError> {
        let awaited = self.awaits(ticket);
        let Some(job) = self.jobs.get_mut(usize::from(ticket.job)).filter(|_| awaited) else {
            return Ok(false);
        };
        let status = match result {
            Ok(()) if !job.is_over() => {
                self.ready |= 1 << ticket.job;
                return Ok(true);
            }
            Ok(()) => Status::Ok,
            Err(error) => error.into(),
        };
        self.idle |= 1 << ticket.job;
        let written = job.end(visit.memory(), status);
        visit.complete(job.chain.token(), written)?;
        Ok(self.starved)
    }
}
