//! The guest's virtual memory as the hardware maps it: the interpreter's loads and stores are unprivileged accesses by the
//! same shadow tables that translated code uses.

use polyvisor_emu::interp::{CHUNK, Flush, Mapping, Translation};
use polyvisor_emu::memory::{Access, Ram, Size};
use polyvisor_emu::riscv;
use polyvisor_emu::shadow::{self, Kind, Page, Rights, Shadow};

use crate::{guest_memory, shadow::Cpu};

/// The mapping of the hart that runs this.
pub struct Hardware(pub Shadow<Cpu>);

impl Hardware {
    /// What lies on the page at the guest-physical `address`, if it may be accessed directly.
    fn kind(address: u64, ram: Ram) -> Option<Kind> {
        if ram.host(address, 1).is_some() {
            Some(Kind::Normal)
        } else if address < ram.range().start && !riscv::CLINT.contains(&address) {
            // A device of EL2's: the access takes a Stage-2 abort.
            Some(Kind::Device)
        } else {
            None
        }
    }
}

impl Mapping for Hardware {
    type View = ();

    fn view(&mut self, _view: usize) {}

    unsafe fn load(&self, _view: (), address: u64, size: Size) -> Option<u64> {
        guest_memory::load(address, size)
    }

    unsafe fn store(&self, _view: (), address: u64, size: Size, value: u64) -> Option<()> {
        guest_memory::store(address, size, value)
    }

    fn host(&self, _view: usize, _address: u64, _access: Access) -> Option<*mut u8> {
        None
    }

    fn enter(&mut self, space: u64, view: usize) {
        self.0.enter(space, view);
    }

    fn insert(&mut self, _view: usize, address: u64, translation: &Translation, ram: Ram) -> bool {
        let Some(kind) = Self::kind(translation.address, ram).filter(|_| translation.whole_page) else {
            return false;
        };
        let page = Page {
            physical: translation.address,
            rights: Rights { load: translation.load, store: translation.store },
            kind,
            user: translation.user,
            global: translation.global,
            level: translation.level.into(),
            whole_chunk: translation.whole_chunk
                && ram.host(translation.address & !(CHUNK - 1), CHUNK).is_some(),
        };
        self.0.map(address, page)
    }

    fn flush(&mut self, flush: Flush) {
        match flush {
            Flush::Nothing => {}
            Flush::Page { address, asid } => self.0.flush(shadow::Flush::Page { address, space_asid: asid }),
            Flush::Space(asid) => self.0.flush(shadow::Flush::Space(asid)),
            Flush::All => self.0.flush(shadow::Flush::All),
        }
    }
}
