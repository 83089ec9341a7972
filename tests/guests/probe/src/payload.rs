//! The places to try, and the ways to try them.

mod traces;

use core::arch::asm;

use guest_support::{
    args,
    exception::{Esr, probe},
    machine::Machine,
    mmio,
    mmu::{Memory, Window},
    println, read_sysreg,
};

/// How many places of a range are tried, at most.
const SAMPLES: u64 = 16;

#[derive(Default)]
struct Tally {
    reached: u64,
    refused: u64,
}

impl Tally {
    fn note(&mut self, place: u64, how: &str, reached: Option<u64>) {
        match reached {
            Some(value) => {
                println!("probe: {place:#x} {how} REACHED: {value:#x}");
                self.reached += 1;
            }
            None => {
                println!("probe: {place:#x} {how} refused");
                self.refused += 1;
            }
        }
    }
}

pub fn main(machine: &'static Machine) {
    match args::value(machine.bootargs, "ram") {
        Some("mark") => return traces::leave(machine),
        Some("search") => return traces::search(machine),
        _ => {}
    }
    let mut tally = Tally::default();
    for target in args::value(machine.bootargs, "target").unwrap_or_default().split(',') {
        match parse(target) {
            Some((start, size)) => range(machine, &mut tally, start, size),
            None => println!("probe: `{target}` is not ADDRESS or ADDRESS+SIZE"),
        }
    }
    println!("probe: {} reached, {} refused", tally.reached, tally.refused);
}

/// The start and the size in bytes of a target, which ends below 2^48.
fn parse(target: &str) -> Option<(u64, u64)> {
    let (start, size) = target.split_once('+').unwrap_or((target, "8"));
    let (start, size) = (args::number(start)?, args::number(size)?.max(8));
    (start.checked_add(size)? <= 1 << 48).then_some((start & !7, size))
}

fn range(machine: &Machine, tally: &mut Tally, start: u64, size: u64) {
    let step = (size / SAMPLES).max(8) & !7;
    let last = (start + size - 8) & !7;
    let places = (start..last).step_by(step as usize).chain([last]);
    for place in places {
        if machine.ram.contains(&place) {
            println!("probe: {place:#x} is this guest's own RAM");
        } else {
            try_all(tally, place);
        }
    }
}

fn try_all(tally: &mut Tally, place: u64) {
    for (memory, load, store) in
        [(Memory::Normal, "load", "store"), (Memory::Device, "load as device", "store as device")]
    {
        let address = Window::A.map(place, memory);
        let found = probe(|| mmio::read64(address)).ok();
        tally.note(place, load, found);
        // What was found is put back, so that a store that gets through does no more harm than it must.
        let value = found.unwrap_or(0x5ec2_e75e_c2e7_5ec2);
        let stored = probe(|| {
            mmio::write64(address, value);
            // Write-back memory takes the store into a cache first; this is where it would have to show.
            // SAFETY: cleaning a line loses nothing.
            unsafe { asm!("dc cvac, {0}", "dsb sy", in(reg) address, options(nostack)) };
            value
        });
        tally.note(place, store, stored.ok());
    }
    execute(tally, place);
    walk(tally, place);
    maintain(place);
    Window::A.unmap();
}

/// Whatever is found there is executed. What it does is its own business: an abort of the fetch is the only
/// refusal.
fn execute(tally: &mut Tally, place: u64) {
    let address = Window::A.map(place, Memory::Normal);
    let outcome = probe(|| {
        // SAFETY: a fault is caught, and all registers are given up.
        unsafe { asm!("blr {0}", in(reg) address, clobber_abi("C")) };
        0
    });
    let reached = match outcome {
        Ok(_) => Some(0),
        Err(fault) if fault.esr.class() == Esr::INSTRUCTION_ABORT && fault.elr == address => None,
        Err(fault) => Some(fault.esr.0),
    };
    tally.note(place, "execute", reached);
}

/// The page as a translation table: if its content is looked at, the walk ends in something else than an
/// external abort.
fn walk(tally: &mut Tally, place: u64) {
    let address = Window::B.walk(place, place >> 3);
    let outcome = probe(|| mmio::read64(address));
    Window::B.unmap();
    let reached = match outcome {
        Ok(value) => Some(value),
        Err(fault) if fault.esr.is_walk_abort() => None,
        Err(fault) => Some(fault.esr.0),
    };
    tally.note(place, "table walk", reached);
}

/// Cache maintenance, which shows nothing, and address translation, which must show the address that was
/// asked for and no other.
fn maintain(place: u64) {
    let address = Window::A.map(place, Memory::Normal);
    macro_rules! attempt {
        ($text:literal) => {{
            let outcome = probe(|| {
                // SAFETY: invalidation without cleaning is not among them, so that nothing that is ours is
                // lost.
                unsafe { asm!(concat!($text, ", {0}"), "dsb sy", "isb", in(reg) address, options(nostack)) };
                0
            });
            println!("probe: {place:#x} {} {}", $text, if outcome.is_ok() { "harmless" } else { "refused" });
        }};
    }
    attempt!("dc civac");
    attempt!("ic ivau");
    attempt!("at s1e1r");
    let shown = read_sysreg!("par_el1");
    if shown & 1 == 0 && shown & 0xffff_ffff_f000 != place & !0xfff {
        println!("probe: {place:#x} at s1e1r shows another address: {shown:#x}");
    }
}
