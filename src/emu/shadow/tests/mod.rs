//! Shadow tables of several harts, on a model of their CPUs.

mod cpu;
mod directed;
mod naive;
mod random;
mod threads;

use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use self::cpu::{ENGINE, Hart, Machine};
use super::descriptor::Descriptor;
use super::pool::PAGE;
use super::{CodePages, Kind, Page, Rights, Shadow, Table};
use crate::interp::CHUNK;

const RAM: u64 = 0x8000_0000;
const RAM_PAGES: u64 = CHUNK / PAGE;
/// Where the table walker finds the tables.
const TABLES: u64 = 0x40_0000_0000;

const USER: usize = 0;
const SUPERVISOR: usize = 1;
const SUM: usize = 2;
const MACHINE: usize = 3;
const AS_OTHER: usize = 4;

/// Addresses that share tables of every level, or none.
const PAGES: [u64; 18] = [
    0,
    0x1000,
    0x2000,
    0x20_0000,
    0x20_1000,
    0x4000_0000,
    0x4020_0000,
    0x80_0000_0000,
    0x80_0000_1000,
    (1 << 47) - 0x1000,
    0xffff_8000_0000_0000,
    0xffff_ffc0_0000_0000,
    0xffff_ffc0_0000_1000,
    0xffff_ffc0_0020_0000,
    0xffff_ffc0_4000_0000,
    0xffff_ffff_ffe0_0000,
    0xffff_ffff_ffff_e000,
    0xffff_ffff_ffff_f000,
];

/// Harts and their CPUs.
struct World {
    code: Arc<CodePages>,
    machine: Rc<Machine>,
    harts: Vec<Shadow<Hart>>,
}

impl World {
    fn new(harts: usize, tables: u32, asids: u32) -> Self {
        let all = Table::allocate(harts * tables as usize);
        let code = Arc::new(CodePages::new(RAM..RAM + RAM_PAGES * 0x1000, all, TABLES));
        let machine = Machine::new(code.clone(), harts, asids, &PAGES);
        let hart = |index| {
            let hardware = Hart { machine: machine.clone(), index };
            Shadow::new(hardware, code.clone(), tables, ENGINE).unwrap()
        };
        Self { harts: (0..harts).map(hart).collect(), code, machine }
    }

    /// What the tables of a hart say of `page`.
    fn walk(&self, hart: usize, page: u64) -> Option<Descriptor> {
        self.machine.walk(hart, page)
    }
}

/// Some page of a user or, if `global`, of a supervisor, which may be written.
fn page(physical: u64, global: bool) -> Page {
    let rights = Rights { load: true, store: true };
    Page { physical, rights, kind: Kind::Normal, user: !global, global, level: 0, whole_chunk: false }
}

/// A value of `satp` with this ASID and root.
fn space(asid: u64, root: u64) -> u64 {
    8 << 60 | asid << 44 | root
}
