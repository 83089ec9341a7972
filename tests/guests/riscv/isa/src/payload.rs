//! The payload's main function.

use guest_riscv_support::{finisher, println};

use check::Checks;

mod atomics;
mod bits;
mod check;
mod code;
mod compressed;
mod control;
mod csr;
mod float;
mod integer;
mod interrupts;
mod memory;
mod multiply;
mod paging;
mod protection;
mod supervisor;
mod trap;
mod traps;

/// What it is called, and what checks it.
type Group = (&'static str, fn(&mut Checks));

/// Runs every group, and ends with the finisher's pass or fail.
pub fn main() {
    protection::open();
    let groups: [Group; 15] = [
        ("integer", integer::check),
        ("control", control::check),
        ("multiply", multiply::check),
        ("bits", bits::check),
        ("compressed", compressed::check),
        ("memory", memory::check),
        ("atomics", atomics::check),
        ("float", float::check),
        ("code", code::check),
        ("csr", csr::check),
        ("traps", traps::check),
        ("supervisor", supervisor::check),
        ("protection", protection::check),
        ("paging", paging::check),
        ("interrupts", interrupts::check),
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, group) in groups {
        let mut checks = Checks::new(name);
        group(&mut checks);
        let (good, bad) = checks.finish();
        passed += good;
        failed += bad;
    }
    println!("isa: {passed} passed, {failed} failed");
    if failed > 0 {
        finisher::fail(1);
    }
}
