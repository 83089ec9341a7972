//! What must not be, kept until somebody can print: while CPUs attack, the console is a target too.

use guest_support::println;
use spin::Mutex;

#[derive(Clone, Copy)]
enum Finding {
    Leak { address: u64, value: u64 },
    Broken { what: &'static str, wanted: u64, found: u64 },
}

/// The first findings; later ones are like them.
static FINDINGS: Mutex<[Option<Finding>; 16]> = Mutex::new([None; 16]);

fn note(finding: Finding) {
    if let Some(slot) = FINDINGS.lock().iter_mut().find(|slot| slot.is_none()) {
        *slot = Some(finding);
    }
}

/// Memory that is not ours answered.
pub fn leak(address: u64, value: u64) {
    note(Finding::Leak { address, value });
}

/// Something did not do what it must.
pub fn broken(what: &'static str, wanted: u64, found: u64) {
    note(Finding::Broken { what, wanted, found });
}

/// Prints what was found, and forgets it.
pub fn report() {
    for finding in FINDINGS.lock().iter_mut().filter_map(Option::take) {
        match finding {
            Finding::Leak { address, value } => println!("hostile: LEAK at {address:#x}: {value:#x}"),
            Finding::Broken { what, wanted, found } => {
                println!("hostile: BROKEN {what}: {wanted:#x} and {found:#x}");
            }
        }
    }
}
