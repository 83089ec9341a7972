//! The harts besides the first.

use core::{
    arch::asm,
    mem,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Release},
    },
};

/// How many harts there are stacks for.
pub const MAX_HARTS: usize = 8;

/// What a hart is to do; it is given its number.
pub type Work = fn(usize);

/// The CLINT's software interrupts, one for each hart.
const MSIP: *mut u32 = 0x200_0000 as *mut u32;
/// In mie: the machine software interrupt.
const MSIE: u64 = 1 << 3;

/// The [`Work`] of the harts besides the first; zero before there is any.
static WORK: AtomicUsize = AtomicUsize::new(0);

/// Has all harts below `harts`, at most [`MAX_HARTS`], besides the first do `work`. They sleep again when it is done.
pub fn start(harts: usize, work: Work) {
    WORK.store(work as usize, Release);
    for hart in 1..harts.min(MAX_HARTS) {
        interrupt(hart, true);
    }
}

fn interrupt(hart: usize, pending: bool) {
    // SAFETY: the CLINT is there on this machine, and does not touch memory.
    unsafe { MSIP.wrapping_add(hart).write_volatile(pending.into()) };
}

/// The life of a hart besides the first.
pub(crate) extern "C" fn serve(hart: usize) -> ! {
    loop {
        // It wakes WFI, and is not taken: mstatus.MIE is clear.
        // SAFETY: nothing that Rust knows of depends on it.
        unsafe { asm!("csrw mie, {}", "wfi", in(reg) MSIE) };
        interrupt(hart, false);
        let work = WORK.load(Acquire);
        if work != 0 {
            // SAFETY: it was made of a function of this type.
            let work = unsafe { mem::transmute::<usize, Work>(work) };
            work(hart);
        }
    }
}
