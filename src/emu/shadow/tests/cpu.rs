//! A model of CPUs: they walk the tables at every opportunity, remember all they find, and forget only what they must, and no
//! earlier.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use super::super::descriptor::{Descriptor, Entry};
use super::super::pool::PAGE;
use super::super::{CodePages, Hardware};
use super::TABLES;

/// AttrIndx.
const KIND: u64 = 0b111 << 2;
/// The level 0 entry behind the low half.
pub const ENGINE: u64 = 0x7_7777_7003;

/// One hart's registers and TLB.
#[derive(Debug, Default)]
struct Cpu {
    ttbr: [Option<u64>; 2],
    /// Pages by ASID and address.
    pages: BTreeMap<(u16, u64), Descriptor>,
    /// Tables by ASID, level and the part of the address that leads there.
    tables: BTreeMap<(u16, u32, u64), u64>,
    /// What has been asked for since the CPU was last synchronised.
    pending: Vec<Invalidation>,
}

#[derive(Debug, Clone, Copy)]
enum Invalidation {
    Page(Option<u16>, u64),
    Asid(u16),
    All,
}

/// All CPUs, which have the same physical memory.
#[derive(Debug)]
pub struct Machine {
    code: Arc<CodePages>,
    /// The tables' entries when a CPU was last synchronised: walkers may still see them so.
    before: RefCell<Vec<Descriptor>>,
    asids: u32,
    /// Addresses that the CPUs walk for.
    pages: Vec<u64>,
    cpus: RefCell<Vec<Cpu>>,
}

impl Machine {
    pub fn new(code: Arc<CodePages>, harts: usize, asids: u32, pages: &[u64]) -> Rc<Self> {
        let cpus = (0..harts).map(|_| Cpu::default()).collect();
        let before = RefCell::default();
        Rc::new(Self { code, before, asids, pages: pages.to_vec(), cpus: RefCell::new(cpus) })
    }

    /// All translations that an access to `page` on `hart` may use now.
    pub fn translations(&self, hart: usize, page: u64) -> Vec<Descriptor> {
        let cpu = &self.cpus.borrow()[hart];
        let known = cpu.pages.get(&(asid(cpu), page)).copied();
        let walks = [false, true].map(|late| self.walk_from(cpu.ttbr, late, page, |_, _, table| table));
        known.into_iter().chain(walks.into_iter().flatten()).collect()
    }

    /// What the tables say, as a walker certainly sees them.
    pub fn walk(&self, hart: usize, page: u64) -> Option<Descriptor> {
        self.walk_from(self.cpus.borrow()[hart].ttbr, true, page, |_, _, table| table)
    }

    /// All CPUs walk for all pages, wherever their registers lead, through tables as they are and as they were.
    pub fn speculate(&self) {
        for cpu in self.cpus.borrow_mut().iter_mut() {
            let asid = asid(cpu);
            for (late, &page) in
                [false, true].into_iter().flat_map(|late| self.pages.iter().map(move |it| (late, it)))
            {
                let tables = &mut cpu.tables;
                let new = self.walk_from(cpu.ttbr, late, page, |level, part, table| {
                    *tables.entry((asid, level, part)).or_insert(table)
                });
                let Some(new) = new else { continue };
                let old = *cpu.pages.entry((asid, page)).or_insert(new);
                assert!(
                    old.address() == new.address() && (old.0 ^ new.0) & KIND == 0,
                    "no break before make: {page:#x}: {old:x?} {new:x?}"
                );
            }
        }
    }

    /// Walks from `roots`, through the tables as they were if `late`. `known` is told the level, the part of the address and
    /// the table that has been found, and says which table it is.
    fn walk_from(
        &self,
        roots: [Option<u64>; 2],
        late: bool,
        page: u64,
        mut known: impl FnMut(u32, u64, u64) -> u64,
    ) -> Option<Descriptor> {
        let mut table = roots[(page >> 63) as usize]? & 0xffff_ffff_f000;
        for level in 0..4 {
            if level > 0 {
                table = known(level, page >> (48 - 9 * level), table);
            }
            let descriptor = self.read(table, page >> (39 - 9 * level), late);
            if !descriptor.is_valid() {
                return None;
            }
            assert_eq!(descriptor.0 & 2, 2, "a table or a page");
            if level == 3 {
                return Some(descriptor);
            }
            table = descriptor.address();
        }
        None
    }

    /// An entry, its index modulo their number, of the table at `table`.
    fn read(&self, table: u64, index: u64, late: bool) -> Descriptor {
        let tables = self.code.tables();
        let entry =
            tables.below(Descriptor::table(table)).expect("a table of ours").entry(index as usize % 512);
        let before = self.before.borrow();
        if late {
            before.get(entry.number() as usize).copied().unwrap_or(Descriptor::NONE)
        } else {
            tables.entry(entry).get()
        }
    }

    /// Walkers see all tables as they are.
    fn publish(&self) {
        let tables = self.code.tables();
        let number = |table: usize| Descriptor::table(TABLES + table as u64 * PAGE);
        let all = (0..tables.len()).filter_map(|table| tables.below(number(table)));
        let mut before = self.before.borrow_mut();
        before.clear();
        before.extend(all.flat_map(|table| tables.entries(table)).map(Entry::get));
    }

    /// The ASID of `hart`.
    pub fn asid(&self, hart: usize) -> u16 {
        asid(&self.cpus.borrow()[hart])
    }

    /// Whether a hart has asked for something and has not waited for it.
    pub fn is_pending(&self) -> bool {
        self.cpus.borrow().iter().any(|cpu| !cpu.pending.is_empty())
    }

    fn set(&self, hart: usize, register: usize, value: u64) {
        self.speculate();
        self.cpus.borrow_mut()[hart].ttbr[register] = Some(value);
        self.speculate();
    }

    fn ask(&self, hart: usize, all: bool, what: Invalidation) {
        self.speculate();
        for (at, cpu) in self.cpus.borrow_mut().iter_mut().enumerate() {
            if all || at == hart {
                cpu.pending.push(what);
            }
        }
    }
}

fn asid(cpu: &Cpu) -> u16 {
    (cpu.ttbr[0].unwrap_or(0) >> 48) as u16
}

impl Cpu {
    fn complete(&mut self) {
        let gone: BTreeSet<u16> = self.pending.iter().filter_map(|what| what.asid()).collect();
        let all = self.pending.iter().any(|what| matches!(what, Invalidation::All));
        let named = |asid, page| {
            self.pending.iter().any(|what| match *what {
                Invalidation::Page(it, address) => address & !0xfff == page && it.is_none_or(|it| it == asid),
                _ => false,
            })
        };
        self.pages.retain(|&(asid, page), _| !all && !gone.contains(&asid) && !named(asid, page));
        self.tables.retain(|(asid, ..), _| !all && !gone.contains(asid));
        self.pending.clear();
    }
}

impl Invalidation {
    fn asid(self) -> Option<u16> {
        match self {
            Self::Asid(asid) => Some(asid),
            Self::Page(..) | Self::All => None,
        }
    }
}

/// One of the CPUs.
#[derive(Debug, Clone)]
pub struct Hart {
    pub machine: Rc<Machine>,
    pub index: usize,
}

impl Hardware for Hart {
    fn asids(&self) -> u32 {
        self.machine.asids
    }

    fn set_ttbr0(&self, value: u64) {
        let root = value & 0xffff_ffff_f000;
        assert_eq!(self.machine.read(root, 256, true).0, ENGINE, "the engine is there");
        assert!(value >> 48 < u64::from(self.machine.asids), "an ASID that there is");
        self.machine.set(self.index, 0, value);
    }

    fn set_ttbr1(&self, value: u64) {
        self.machine.set(self.index, 1, value);
    }

    fn invalidate_page(&self, asid: Option<u16>, address: u64, all_harts: bool) {
        self.machine.ask(self.index, all_harts, Invalidation::Page(asid, address));
    }

    fn invalidate_asid(&self, asid: u16) {
        self.machine.ask(self.index, false, Invalidation::Asid(asid));
    }

    fn invalidate_all(&self) {
        self.machine.ask(self.index, false, Invalidation::All);
    }

    fn synchronise(&self) {
        // A broadcast is complete when the one who has sent it has waited: all that is pending anywhere may be.
        self.machine.speculate();
        self.machine.publish();
        for cpu in self.machine.cpus.borrow_mut().iter_mut() {
            cpu.complete();
        }
        self.machine.speculate();
    }
}
