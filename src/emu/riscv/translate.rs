//! From virtual to physical addresses, with all checks (Privileged ISA, 3.1.6.3, 3.7 and 12.3.2).

use super::csr::Status;
use super::exception::{access_fault, page_fault};
use super::hart::Hart;
use super::mmu::{self, Entry, Fault, Leaf, Satp};
use super::mode::Mode;
use super::platform::Platform;
use super::pmp::Rights;
use super::words::SATP;
use crate::interp::{CHUNK, Exception, Flush, Translation};
use crate::memory::{Access, Physical};

/// With which rights data is accessed: what the back end remembers in one view and address space holds while
/// MXR and physical memory protection are what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// User mode.
    User,
    /// Supervisor mode without SUM.
    Supervisor,
    /// Supervisor mode with SUM.
    SupervisorUser,
    /// Machine mode.
    Machine,
    /// Machine mode that accesses data as another mode (MPRV). Nothing about data is remembered in it.
    MachineAsOther,
}

impl View {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// The view in which a hart is.
    pub fn of(mode: Mode, status: Status) -> Self {
        let as_other = status.contains(Status::MPRV) && status.machine_previous() != Mode::Machine;
        match mode {
            Mode::User => Self::User,
            Mode::Supervisor if status.contains(Status::SUM) => Self::SupervisorUser,
            Mode::Supervisor => Self::Supervisor,
            Mode::Machine if as_other => Self::MachineAsOther,
            Mode::Machine => Self::Machine,
        }
    }
}

impl Access {
    /// The right that it needs.
    const fn right(self) -> Rights {
        match self {
            Self::Fetch => Rights::FETCH,
            Self::Load => Rights::LOAD,
            Self::Store => Rights::STORE,
        }
    }
}

impl<P: Platform> Hart<P> {
    /// Translates `address` for an access of the current mode to `len` bytes on one page.
    pub(super) fn translate_in_view(
        &mut self,
        address: u64,
        len: u64,
        access: Access,
    ) -> Result<Translation, Exception> {
        let status = self.status();
        let as_other = self.view == View::MachineAsOther;
        let data = access != Access::Fetch;
        let mode = if as_other && data { status.machine_previous() } else { self.mode() };
        let leaf = self.look_up(address, mode).map_err(|fault| match fault {
            Fault::Page => page_fault(address, access),
            Fault::Access => access_fault(address, access),
        })?;
        let physical = leaf.map_or(address, |leaf| leaf.address);
        let (sum, mxr) = (status.contains(Status::SUM), status.contains(Status::MXR));
        let mut rights = leaf.map_or(Rights::all(), |leaf| leaf.rights(mode, sum, mxr));
        if as_other {
            // The other kind of access is another mode's.
            rights &= if data { Rights::LOAD | Rights::STORE } else { Rights::FETCH };
        }
        if !rights.contains(access.right()) {
            return Err(page_fault(address, access));
        }
        let of_page = self.pmp.page_rights(physical, mode);
        rights &= of_page.unwrap_or_else(|| self.pmp.rights(physical, len, mode));
        if !rights.contains(access.right()) {
            return Err(access_fault(address, access));
        }
        let whole_page = of_page.is_some() && !(as_other && data);
        let is_large = leaf.is_none_or(|leaf| leaf.level > 0);
        Ok(Translation {
            address: physical,
            load: rights.contains(Rights::LOAD),
            store: rights.contains(Rights::STORE),
            fetch: rights.contains(Rights::FETCH),
            user: leaf.is_some_and(|leaf| leaf.entry.contains(Entry::U)),
            global: leaf.is_some_and(|leaf| leaf.global),
            level: leaf.map_or(0, |leaf| leaf.level as u8),
            whole_page,
            whole_chunk: whole_page && is_large && of_page == self.pmp.block_rights(physical, CHUNK, mode),
        })
    }

    /// What the tables say of the address; `None` if `mode` uses none.
    fn look_up(&self, address: u64, mode: Mode) -> Result<Option<Leaf>, Fault> {
        let satp = Satp(self.words[SATP]);
        if mode == Mode::Machine || satp.levels() == Some(0) {
            return Ok(None);
        }
        let ram = self.bus.ram();
        // Entries are read as supervisor mode would (3.7.1).
        let read = |at| {
            let readable = self.pmp.rights(at, 8, Mode::Supervisor).contains(Rights::LOAD);
            if readable { ram.read(at) } else { None }
        };
        mmu::walk(satp, address, read).map(Some)
    }

    /// The back end is to forget this.
    pub(super) fn forget(&mut self, flush: Flush) {
        if flush != Flush::Nothing {
            self.flush = self.flush.and(flush);
            self.drop_reservation();
        }
    }

    /// The back end is to forget all translations.
    pub(super) fn forget_all(&mut self) {
        self.forget(Flush::All);
    }
}
