//! What the devicetree says about the machine.

use core::{
    ops::Range,
    ptr,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

use fdt::Fdt;

/// Where the devicetree is, as the first hart was told.
static DEVICETREE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// The machine as the devicetree describes it.
#[derive(Debug, Default)]
pub struct Machine {
    /// How many harts.
    pub harts: usize,
    /// RAM.
    pub ram: Range<u64>,
    /// The boot arguments.
    pub bootargs: &'static str,
}

/// Notes where the devicetree is. It stays there.
pub(crate) fn set_devicetree(address: *mut u8) {
    DEVICETREE.store(address, Relaxed);
}

/// Reads the devicetree; nothing is known of a machine that has none.
pub fn read() -> Machine {
    let address = DEVICETREE.load(Relaxed);
    if address.is_null() {
        return Machine::default();
    }
    // SAFETY: whoever has started this program has left a devicetree there, of which it is the only user.
    let Ok(fdt) = (unsafe { Fdt::from_ptr(address) }) else { return Machine::default() };
    let ram = fdt.find_node("/memory").and_then(|memory| memory.reg()?.next());
    let chosen = fdt.find_node("/chosen");
    Machine {
        harts: fdt.cpus().count(),
        ram: ram.map_or(0..0, |region| {
            let start = region.starting_address as u64;
            start..start + region.size.unwrap_or(0) as u64
        }),
        bootargs: chosen.and_then(|chosen| chosen.property("bootargs")?.as_str()).unwrap_or_default(),
    }
}
