//! Exceptions of the engine itself: interrupts, accesses to devices that nobody answers, and the end.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_cpu::registers::{ESR_EL1, FAR_EL1, Readable};
use polyvisor_cell_abi::TIMER_INTID;

use crate::{cell, device, fatal, gic::Gic, guest_memory, jit, local, timer};

global_asm!(include_str!("vectors.S"), frame = const FRAME_BYTES, exception = sym exception);

const FRAME_BYTES: usize = size_of::<Frame>();

/// What vectors.S stores.
#[repr(C)]
pub struct Frame {
    /// The general-purpose registers.
    pub x: [u64; 31],
    /// Where it was.
    pub elr: u64,
    /// Its PSTATE.
    pub spsr: u64,
    /// Its stack pointer, unless it was a handler.
    pub sp: u64,
}

const _: () = {
    assert!(FRAME_BYTES == 272 && offset_of!(Frame, elr) == 248 && offset_of!(Frame, sp) == 264);
};

// What vectors.S passes beside the frame.
const SYNCHRONOUS: u64 = 0;
const IRQ: u64 = 1;

/// Every exception arrives here, with all others masked.
extern "C" fn exception(frame: &mut Frame, vector: u64) {
    /// ESR_EL1.EC: data abort without a change of exception level.
    const DATA_ABORT: u64 = 0x25;
    match vector {
        IRQ => {
            interrupts();
            return jit::note_interrupt(frame);
        }
        SYNCHRONOUS if ESR_EL1.read(ESR_EL1::EC) == DATA_ABORT => {
            if let Some(pc) = device::recover(frame.elr).or_else(|| guest_memory::recover(frame.elr)) {
                frame.elr = pc;
                return;
            }
            if jit::catch_fault(frame) {
                return;
            }
        }
        _ => {}
    }
    let name = match vector {
        0 => "exception",
        2 => "FIQ",
        3 => "SError",
        4 => "exception in an exception's handler",
        7 => "SError in an exception's handler",
        _ => "exception that cannot be",
    };
    let overflow = local::is_guard(FAR_EL1.get());
    fatal::exception(frame, format_args!("{}{name}", if overflow { "stack overflow, " } else { "" }))
}

/// Takes all interrupts that are pending. The hart looks at what they are about when it next asks whether it is due.
fn interrupts() {
    let gic = Gic::new(cell::info().gic_version);
    while let Some(interrupt) = gic.acknowledge() {
        if interrupt.intid() == TIMER_INTID {
            timer::silence();
        }
        local::local().due.store(true, Relaxed);
        gic.end(interrupt);
    }
}
