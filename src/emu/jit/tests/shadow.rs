//! What shadow tables are to the runtime, with a map in their place: pages of the guest, and which of them have translated
//! code.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use std::collections::HashSet;
use std::sync::Mutex;

use super::board::{RAM, RAM_SIZE, UART};
use crate::interp::{Flush, Mapping, Translation};
use crate::jit::shared::Protection;
use crate::memory::{Access, Ram, Size};

const PAGE: u64 = 4096;
/// The views from this one on are those in which nothing is remembered.
const VIEWS: usize = 4;

/// A page of the guest that is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub physical: u64,
    store: bool,
    global: bool,
    level: u8,
}

impl Page {
    pub fn is_ram(&self) -> bool {
        (RAM..RAM + RAM_SIZE).contains(&self.physical)
    }
}

/// What one hart's CPU knows of the guest's pages.
#[derive(Debug, Default)]
pub struct Tlb {
    pages: BTreeMap<(u64, usize, u64), Page>,
    current: (u64, usize),
}

impl Tlb {
    /// The page of `address`, if it may be accessed like this.
    pub fn find(&self, address: u64, access: Access) -> Option<Page> {
        let (space, view) = self.current;
        let page = self.pages.get(&(space, view, address & !(PAGE - 1)))?;
        (access != Access::Store || page.store).then_some(*page)
    }

    /// Makes a page of RAM unwritable, wherever it is mapped.
    fn protect(&mut self, physical: u64) {
        self.pages.values_mut().filter(|page| page.physical == physical).for_each(|page| page.store = false);
    }

    fn flush(&mut self, flush: Flush) {
        let of_space = |page: &Page, space, asid| !page.global && Flush::asid_of(space) == asid;
        self.pages.retain(|&(space, _, at), page| match flush {
            Flush::Nothing => true,
            Flush::Page { address, asid } => {
                let is_part = (at ^ address) >> (12 + 9 * page.level) == 0;
                !is_part || asid.is_some_and(|asid| !of_space(page, space, asid))
            }
            Flush::Space(asid) => !of_space(page, space, asid),
            Flush::All => false,
        });
    }
}

/// All harts' pages.
#[derive(Debug)]
pub struct Shadow {
    pub harts: Vec<Mutex<Tlb>>,
    /// The guest-physical pages that nobody may write.
    code: Mutex<HashSet<u64>>,
}

impl Shadow {
    pub fn new(harts: usize) -> Arc<Self> {
        let harts = (0..harts).map(|_| Mutex::default()).collect();
        Arc::new(Self { harts, code: Mutex::default() })
    }
}

/// [`Protection`] of all harts' pages.
pub struct Protected(pub Arc<Shadow>);

impl Protection for Protected {
    fn protect(&self, address: u64) {
        let page = address & !(PAGE - 1);
        // Held meanwhile, so that nobody maps it.
        let mut code = self.0.code.lock().unwrap();
        code.insert(page);
        self.0.harts.iter().for_each(|tlb| tlb.lock().unwrap().protect(page));
    }

    fn unprotect(&self, address: u64) {
        self.0.code.lock().unwrap().remove(&(address & !(PAGE - 1)));
    }

    fn is_protected(&self, address: u64) -> bool {
        self.0.code.lock().unwrap().contains(&(address & !(PAGE - 1)))
    }
}

/// One hart's [`Mapping`].
pub struct Mapped {
    pub shadow: Arc<Shadow>,
    pub hart: usize,
    pub ram: Ram,
}

impl Mapped {
    /// Where the bytes of an access lie, if it is an aligned one that may be made.
    fn place(&self, address: u64, size: Size, access: Access) -> Option<*mut u8> {
        let tlb = self.shadow.harts[self.hart].lock().unwrap();
        let page = tlb.find(address, access).filter(|_| address.is_multiple_of(size.bytes()))?;
        self.ram.host(page.physical | (address % PAGE), size.bytes())
    }
}

impl Mapping for Mapped {
    type View = ();

    fn view(&mut self, _view: usize) {}

    unsafe fn load(&self, _view: (), address: u64, size: Size) -> Option<u64> {
        // SAFETY: RAM, and aligned.
        self.place(address, size, Access::Load).map(|host| unsafe { size.load(host) })
    }

    unsafe fn store(&self, _view: (), address: u64, size: Size, value: u64) -> Option<()> {
        // SAFETY: as above.
        self.place(address, size, Access::Store).map(|host| unsafe { size.store(host, value) })
    }

    fn host(&self, _view: usize, _address: u64, _access: Access) -> Option<*mut u8> {
        None
    }

    fn enter(&mut self, space: u64, view: usize) {
        self.shadow.harts[self.hart].lock().unwrap().current = (space, view);
    }

    fn insert(&mut self, view: usize, address: u64, translation: &Translation, ram: Ram) -> bool {
        let &Translation { address: physical, load, store, global, level, whole_page, .. } = translation;
        let is_ram = ram.host(physical, 1).is_some();
        let is_device = physical & !(PAGE - 1) == UART;
        if !whole_page || !load || view >= VIEWS || !(is_ram || is_device) {
            return false;
        }
        let physical = physical & !(PAGE - 1);
        let code = self.shadow.code.lock().unwrap();
        let page = Page { physical, store: store && !code.contains(&physical), global, level };
        let mut tlb = self.shadow.harts[self.hart].lock().unwrap();
        let (space, _) = tlb.current;
        tlb.pages.insert((space, view, address & !(PAGE - 1)), page);
        true
    }

    fn flush(&mut self, flush: Flush) {
        self.shadow.harts[self.hart].lock().unwrap().flush(flush);
    }
}
