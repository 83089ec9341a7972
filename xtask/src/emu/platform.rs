//! The machine as one hart sees it.

use std::{cell::Cell, sync::Arc, thread, time::Duration};

use polyvisor_cell_abi::StopReason;
use polyvisor_emu::{
    memory::{Physical, Ram, Size},
    riscv::{Platform, Shutdown},
};

use super::machine::Machine;

/// After how many questions whether it is due a hart looks at the clock: that takes as long as several
/// blocks.
const PATIENCE: u32 = 256;
/// How long a hart sleeps at most: so late are commands of the host-target interface seen.
const NAP: Duration = Duration::from_millis(5);

/// The machine around one hart.
pub struct HartPlatform {
    machine: Arc<Machine>,
    index: usize,
    ram: Ram,
    deadline: Cell<u64>,
    /// How many times it has not looked at the clock.
    questions: Cell<u32>,
}

impl HartPlatform {
    /// What hart `index` sees of `machine`.
    pub fn new(machine: Arc<Machine>, index: usize) -> Self {
        let ram = machine.ram();
        Self { machine, index, ram, deadline: Cell::new(u64::MAX), questions: Cell::new(0) }
    }

    /// Looks at what nobody tells.
    fn look(&self) -> bool {
        if self.index == 0 {
            self.machine.poll();
        }
        self.machine.time() >= self.deadline.get() || self.machine.is_kicked(self.index)
    }
}

impl Physical for HartPlatform {
    fn ram(&self) -> Ram {
        self.ram
    }

    fn read(&self, address: u64, size: Size) -> Option<u64> {
        self.machine.read(address, size)
    }

    fn write(&self, address: u64, size: Size, value: u64) -> Option<()> {
        self.machine.write(address, size, value)
    }
}

impl Platform for HartPlatform {
    fn time(&self) -> u64 {
        self.machine.time()
    }

    fn set_deadline(&self, deadline: u64) {
        self.deadline.set(deadline);
    }

    fn lines(&self) -> u32 {
        0
    }

    fn is_due(&self) -> bool {
        let questions = self.questions.get();
        if questions < PATIENCE {
            self.questions.set(questions + 1);
            return self.machine.is_kicked(self.index);
        }
        // Who was told that it is due may ask again before looking what for.
        let due = self.look();
        if !due {
            self.questions.set(0);
        }
        due
    }

    fn make_due(&self) {
        self.machine.kick(self.index);
    }

    fn acknowledge(&self) {
        self.machine.acknowledge(self.index);
    }

    fn kick(&self, hart: usize) {
        self.machine.kick(hart);
    }

    fn wait(&self) {
        if !self.look() {
            self.machine.sleep(self.index, self.machine.until(self.deadline.get()).min(NAP));
        }
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn take_requests(&self) -> u32 {
        0
    }

    fn is_breakpoint(&self, _pc: u64) -> bool {
        false
    }

    fn breakpoint_generation(&self) -> u32 {
        0
    }

    fn stopped(&self, _reason: StopReason) {}

    fn shutdown(&self, _how: Shutdown) {
        self.machine.end(0);
    }
}
