//! What a VM leaves behind in RAM, and whether the next one finds it.

use guest_support::{cpu, machine::Machine, mmio, println};

const PAGE: u64 = 4096;
/// What is written. As text it is `TRACE OF`.
const MARK: u64 = u64::from_le_bytes(*b"TRACE OF");

/// Writes to all RAM that is free, and sleeps for ever.
pub fn leave(machine: &Machine) {
    let mut pages = 0;
    for page in free_pages(machine) {
        words(page).for_each(|word| mmio::write64(word, MARK));
        pages += 1;
    }
    println!("probe: marked {} KiB", pages * PAGE / 1024);
    loop {
        cpu::wfi();
    }
}

/// Counts the words of free RAM that are not zero.
pub fn search(machine: &Machine) {
    let (mut pages, mut found) = (0, 0);
    for page in free_pages(machine) {
        found += words(page).filter(|&word| mmio::read64(word) != 0).count();
        pages += 1;
    }
    println!("probe: {} KiB searched, {found} words are not zero", pages * PAGE / 1024);
}

/// The pages of RAM in which nothing is.
fn free_pages(machine: &Machine) -> impl Iterator<Item = u64> {
    let pages = machine.ram.clone().step_by(PAGE as usize);
    pages.filter(|&page| (page..page + PAGE).step_by(64).all(|address| machine.is_free_ram(address)))
}

fn words(page: u64) -> impl Iterator<Item = u64> {
    (page..page + PAGE).step_by(8)
}
