//! Copying and clearing bytes that guests may write at the same time.
//!
//! Bytes cross EL2 once for each request of a device, so that this is most of what a request costs. `compiler_builtins` copies
//! word by word; here, 256 bytes take eighteen instructions. That takes vector registers. They are the loaded vCPU's, for EL2
//! has no use of its own for them, so the few that are borrowed are put back. (Guests have no SVE: what a write to a vector
//! register does to the rest of a longer one harms nobody.)

/// From so many bytes on, borrowing registers pays.
#[cfg(target_os = "none")]
const LARGE: usize = 256;

/// Copies `len` bytes. Where the two overlap, what comes out is some mixture of both.
///
/// # Safety
/// Both are valid for `len` bytes, and nobody but guests and other copies accesses them meanwhile.
#[cfg(target_os = "none")]
#[inline]
pub unsafe fn bytes(from: *const u8, to: *mut u8, len: usize) {
    let done = len & !(LARGE - 1);
    // SAFETY: the caller's promise, for both parts.
    unsafe {
        if done != 0 {
            large(from, to, done);
        }
        small(from.add(done), to.add(done), len - done);
    }
}

/// Copies `len` bytes, a multiple of [`LARGE`], but not 0.
///
/// # Safety
/// As for [`bytes`].
#[cfg(target_os = "none")]
unsafe fn large(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise. CPTR_EL2 lets EL2 use the registers; EL2 does not check alignment (SCTLR_EL2.A), and this
    // is ordinary memory.
    unsafe {
        core::arch::asm!(
            ".arch_extension simd",
            "stp q0, q1, [sp, #-64]!",
            "stp q2, q3, [sp, #32]",
            "2:",
            "ldp q0, q1, [{from}], #256",
            "ldp q2, q3, [{from}, #-224]",
            "stp q0, q1, [{to}], #256",
            "ldp q0, q1, [{from}, #-192]",
            "stp q2, q3, [{to}, #-224]",
            "ldp q2, q3, [{from}, #-160]",
            "stp q0, q1, [{to}, #-192]",
            "ldp q0, q1, [{from}, #-128]",
            "stp q2, q3, [{to}, #-160]",
            "ldp q2, q3, [{from}, #-96]",
            "stp q0, q1, [{to}, #-128]",
            "ldp q0, q1, [{from}, #-64]",
            "stp q2, q3, [{to}, #-96]",
            "ldp q2, q3, [{from}, #-32]",
            "stp q0, q1, [{to}, #-64]",
            "subs {left}, {left}, #256",
            "stp q2, q3, [{to}, #-32]",
            "b.ne 2b",
            "ldp q2, q3, [sp, #32]",
            "ldp q0, q1, [sp], #64",
            left = inout(reg) len => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
        );
    }
}

/// Copies a few bytes.
///
/// # Safety
/// As for [`bytes`].
#[cfg(target_os = "none")]
#[inline]
unsafe fn small(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as in `large`.
    unsafe {
        core::arch::asm!(
            "subs {left}, {left}, #16",
            "b.lo 3f",
            "2:",
            "ldp {a}, {b}, [{from}], #16",
            "subs {left}, {left}, #16",
            "stp {a}, {b}, [{to}], #16",
            "b.hs 2b",
            // What is left goes with the end of what was copied.
            "add {from}, {from}, {left}",
            "add {to}, {to}, {left}",
            "ldp {a}, {b}, [{from}]",
            "stp {a}, {b}, [{to}]",
            "b 7f",
            // Less than 16 bytes in all: the bits of their number, which is 16 too small.
            "3:",
            "tbz {left}, #3, 4f",
            "ldr {a}, [{from}], #8",
            "str {a}, [{to}], #8",
            "4:",
            "tbz {left}, #2, 5f",
            "ldr {a:w}, [{from}], #4",
            "str {a:w}, [{to}], #4",
            "5:",
            "tbz {left}, #1, 6f",
            "ldrh {a:w}, [{from}], #2",
            "strh {a:w}, [{to}], #2",
            "6:",
            "tbz {left}, #0, 7f",
            "ldrb {a:w}, [{from}]",
            "strb {a:w}, [{to}]",
            "7:",
            left = inout(reg) len => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            a = out(reg) _,
            b = out(reg) _,
            options(nostack),
        );
    }
}

/// The same on the host.
///
/// # Safety
/// As for the firmware's.
#[cfg(not(target_os = "none"))]
pub unsafe fn bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { from.copy_to(to, len) };
}

/// Makes `len` bytes zero.
///
/// # Safety
/// As for [`bytes`].
#[cfg(target_os = "none")]
pub unsafe fn zero(at: *mut u8, len: usize) {
    let large = len & !(LARGE - 1);
    // SAFETY: as in `bytes` and `large`.
    unsafe {
        core::arch::asm!(
            ".arch_extension simd",
            "cbz {large}, 3f",
            "str q0, [sp, #-16]!",
            "movi v0.2d, #0",
            "2:",
            "stp q0, q0, [{at}], #256",
            "stp q0, q0, [{at}, #-224]",
            "stp q0, q0, [{at}, #-192]",
            "stp q0, q0, [{at}, #-160]",
            "stp q0, q0, [{at}, #-128]",
            "stp q0, q0, [{at}, #-96]",
            "stp q0, q0, [{at}, #-64]",
            "subs {large}, {large}, #256",
            "stp q0, q0, [{at}, #-32]",
            "b.ne 2b",
            "ldr q0, [sp], #16",
            "3:",
            "subs {left}, {left}, #16",
            "b.lo 5f",
            "4:",
            "subs {left}, {left}, #16",
            "stp xzr, xzr, [{at}], #16",
            "b.hs 4b",
            "5:",
            "adds {left}, {left}, #16",
            "b.eq 7f",
            "6:",
            "subs {left}, {left}, #1",
            "strb wzr, [{at}], #1",
            "b.ne 6b",
            "7:",
            large = inout(reg) large => _,
            left = inout(reg) len - large => _,
            at = inout(reg) at => _,
        );
    }
}

/// The same on the host.
///
/// # Safety
/// As for [`bytes`].
#[cfg(not(target_os = "none"))]
pub unsafe fn zero(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { at.write_bytes(0, len) };
}
