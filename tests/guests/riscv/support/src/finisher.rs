//! The test finisher (`sifive,test0`): the way off, with a status.

const FINISHER: *mut u32 = 0x10_0000 as *mut u32;
/// Off: passed.
const PASS: u32 = 0x5555;
/// Off: failed, with a code in the upper half.
const FAIL: u32 = 0x3333;

/// Off, and on again.
const RESET: u32 = 0x7777;

/// Switches the machine off: what was to be shown was shown.
pub fn pass() -> ! {
    finish(PASS)
}

/// Switches the machine off: it failed. The code becomes QEMU's exit status.
pub fn fail(code: u16) -> ! {
    finish(u32::from(code) << 16 | FAIL)
}

/// Starts the machine afresh.
pub fn reset() -> ! {
    finish(RESET)
}

fn finish(command: u32) -> ! {
    // SAFETY: the finisher is there on this machine; it does not touch memory.
    unsafe { FINISHER.write_volatile(command) };
    loop {
        core::hint::spin_loop();
    }
}
