//! Crashing on purpose, so that what a fatal error reports can be looked at and tested: `crash=KIND` among
//! the boot arguments.

use core::sync::atomic::{AtomicBool, Ordering};

/// A CPU is to get stuck.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Does what `crash=panic|fault|overflow|stuck` among `bootargs` asks for.
pub fn on_request(bootargs: &str) {
    let wanted = bootargs.split_ascii_whitespace().find_map(|word| word.strip_prefix("crash="));
    match wanted {
        Some("panic") => panic_on_purpose(),
        Some("fault") => fault(),
        Some("overflow") => {
            log::info!("{}", overflow(1));
        }
        Some("stuck") => STUCK.store(true, Ordering::Relaxed),
        Some(other) => log::warn!("crash={other} is not known: expected panic, fault, overflow or stuck"),
        None => {}
    }
}

/// Stays here for good on the second CPU, where `crash=stuck` was asked for.
pub fn stuck_on_request(cpu: usize) {
    while cpu == 1 && STUCK.load(Ordering::Relaxed) {
        core::hint::spin_loop();
    }
}

#[expect(clippy::panic, reason = "it is what was asked for")]
fn panic_on_purpose() {
    panic!("crash=panic was asked for");
}

/// Writes to code, which is mapped read-only.
#[inline(never)]
fn fault() {
    let code = fault as *const () as *mut u32;
    // SAFETY: it is not sound, and meant not to be: the write must fault.
    unsafe { code.write_volatile(0) };
}

/// Uses stack without end; the sum keeps the calls from becoming a loop.
#[inline(never)]
#[expect(unconditional_recursion, reason = "it is what was asked for")]
fn overflow(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    overflow(depth + 1) + frame[0]
}
