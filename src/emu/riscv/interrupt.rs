//! Interrupts: what is pending, and which one is taken (Privileged ISA, 3.1.9 and 12.1.3).

use bitflags::bitflags;
use polyvisor_cell_abi::Lines;

use super::csr::{Environment, Status};
use super::hart::Hart;
use super::mode::Mode;
use super::platform::Platform;
use super::words::{MENVCFG, MIDELEG, MIE, MIP, MIP_WRITTEN, MSTATUS, STIMECMP};

bitflags! {
    /// Interrupts, as `mip` and `mie` have them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Interrupts: u64 {
        const SUPERVISOR_SOFTWARE = 1 << 1;
        const MACHINE_SOFTWARE = 1 << 3;
        const SUPERVISOR_TIMER = 1 << 5;
        const MACHINE_TIMER = 1 << 7;
        const SUPERVISOR_EXTERNAL = 1 << 9;
        const MACHINE_EXTERNAL = 1 << 11;
    }
}

impl Interrupts {
    /// What can be delegated: all that is not machine mode's own.
    pub const SUPERVISOR: Self =
        Self::SUPERVISOR_SOFTWARE.union(Self::SUPERVISOR_TIMER).union(Self::SUPERVISOR_EXTERNAL);

    /// Which one is taken first (3.1.9).
    const PRIORITY: [Self; 6] = [
        Self::MACHINE_EXTERNAL,
        Self::MACHINE_SOFTWARE,
        Self::MACHINE_TIMER,
        Self::SUPERVISOR_EXTERNAL,
        Self::SUPERVISOR_SOFTWARE,
        Self::SUPERVISOR_TIMER,
    ];

    /// The number of the most urgent one.
    fn first(self) -> Option<u64> {
        let first = Self::PRIORITY.into_iter().find(|&one| self.contains(one))?;
        Some(u64::from(first.bits().trailing_zeros()))
    }
}

impl<P: Platform> Hart<P> {
    fn interrupts(&self, word: usize) -> Interrupts {
        Interrupts::from_bits_truncate(self.words[word])
    }

    /// What software can set in `mip`: the supervisor's bits, but not the one that `stimecmp` drives.
    pub(super) fn software_interrupts(&self) -> Interrupts {
        let mut writable = Interrupts::SUPERVISOR;
        writable.set(Interrupts::SUPERVISOR_TIMER, !self.supervisor_timer_enabled());
        writable
    }

    /// Whether `stimecmp` is there for supervisor mode (`menvcfg.STCE`).
    pub(super) fn supervisor_timer_enabled(&self) -> bool {
        Environment::from_bits_retain(self.words[MENVCFG]).contains(Environment::STCE)
    }

    /// Looks at all sources of interrupts, and sets the platform's deadline to when that is to be done again.
    ///
    /// A timer that has expired stays so until its register is written, and is no deadline any more: it would
    /// keep the hart busy while the guest does not take the interrupt.
    pub(super) fn find_interrupts(&mut self) {
        let platform = self.bus.platform();
        let mut pending = self.interrupts(MIP_WRITTEN) & self.software_interrupts();
        let lines = platform.lines();
        if lines & Lines::MACHINE_EXTERNAL != 0 {
            pending.insert(Interrupts::MACHINE_EXTERNAL);
        }
        if lines & Lines::SUPERVISOR_EXTERNAL != 0 {
            pending.insert(Interrupts::SUPERVISOR_EXTERNAL);
        }
        pending.set(Interrupts::MACHINE_SOFTWARE, self.bus.shared().msip());
        let now = platform.time();
        let mut deadline = u64::MAX;
        let mut timer = |compare: u64, interrupt| {
            if compare <= now {
                pending.insert(interrupt);
            } else {
                deadline = deadline.min(compare);
            }
        };
        timer(self.bus.shared().mtimecmp(), Interrupts::MACHINE_TIMER);
        if self.supervisor_timer_enabled() {
            timer(self.words[STIMECMP], Interrupts::SUPERVISOR_TIMER);
        }
        if deadline != self.deadline {
            self.deadline = deadline;
            self.bus.platform().set_deadline(deadline);
        }
        self.words[MIP] = pending.bits();
    }

    /// Whether WFI would not wait: an interrupt is pending and enabled by itself (3.3.3).
    pub(super) fn would_wake(&self) -> bool {
        self.words[MIP] & self.words[MIE] != 0
    }

    /// The number of the interrupt that is to be taken now. Whether it goes to supervisor mode, its
    /// delegation says.
    pub(super) fn deliverable(&self) -> Option<u64> {
        let ready = self.interrupts(MIP) & self.interrupts(MIE);
        if ready.is_empty() {
            return None;
        }
        let (mode, status) = (self.mode(), self.status());
        let delegated = self.interrupts(MIDELEG);
        // Those of a more privileged mode are always enabled, those of a less privileged one never.
        let enabled = |owner, bit| mode < owner || mode == owner && status.contains(bit);
        let machine = if enabled(Mode::Machine, Status::MIE) { (ready & !delegated).first() } else { None };
        let supervisor =
            if enabled(Mode::Supervisor, Status::SIE) { (ready & delegated).first() } else { None };
        machine.or(supervisor)
    }

    /// `mstatus`.
    pub(super) fn status(&self) -> Status {
        Status::from_bits_retain(self.words[MSTATUS])
    }
}
