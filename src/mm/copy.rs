//! Copying and clearing bytes that guests may write at the same time.

/// Copies `len` bytes. Where the two overlap, what comes out is some mixture of both.
///
/// Bytes cross EL2 once for each request of a device, so that this is most of what a request costs: 128 bytes take twenty
/// instructions, where `compiler_builtins`' copy, word by word, takes three times as many. EL2 has no use of the SIMD
/// registers, which are the guest's.
///
/// # Safety
/// Both are valid for `len` bytes, and nobody but guests and other copies accesses them meanwhile.
#[cfg(target_os = "none")]
#[inline]
pub unsafe fn bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise. EL2 does not check alignment (SCTLR_EL2.A), and this is ordinary memory.
    unsafe {
        core::arch::asm!(
            "subs {left}, {left}, #128",
            "b.lo 3f",
            "2:",
            "ldp {a}, {b}, [{from}]",
            "ldp {c}, {d}, [{from}, #16]",
            "ldp {e}, {f}, [{from}, #32]",
            "stp {a}, {b}, [{to}]",
            "ldp {a}, {b}, [{from}, #48]",
            "stp {c}, {d}, [{to}, #16]",
            "ldp {c}, {d}, [{from}, #64]",
            "stp {e}, {f}, [{to}, #32]",
            "ldp {e}, {f}, [{from}, #80]",
            "stp {a}, {b}, [{to}, #48]",
            "ldp {a}, {b}, [{from}, #96]",
            "stp {c}, {d}, [{to}, #64]",
            "ldp {c}, {d}, [{from}, #112]",
            "stp {e}, {f}, [{to}, #80]",
            "stp {a}, {b}, [{to}, #96]",
            "stp {c}, {d}, [{to}, #112]",
            "add {from}, {from}, #128",
            "add {to}, {to}, #128",
            "subs {left}, {left}, #128",
            "b.hs 2b",
            "3:",
            "adds {left}, {left}, #112", // 128 less 16
            "b.mi 5f",
            "4:",
            "ldp {a}, {b}, [{from}], #16",
            "subs {left}, {left}, #16",
            "stp {a}, {b}, [{to}], #16",
            "b.pl 4b",
            "5:",
            "adds {left}, {left}, #16",
            "b.eq 7f",
            "6:",
            "ldrb {a:w}, [{from}], #1",
            "subs {left}, {left}, #1",
            "strb {a:w}, [{to}], #1",
            "b.ne 6b",
            "7:",
            left = inout(reg) len => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            e = out(reg) _,
            f = out(reg) _,
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
    // SAFETY: as in `bytes`.
    unsafe {
        core::arch::asm!(
            "subs {left}, {left}, #64",
            "b.lo 3f",
            "2:",
            "stp xzr, xzr, [{at}, #16]",
            "stp xzr, xzr, [{at}, #32]",
            "stp xzr, xzr, [{at}, #48]",
            "subs {left}, {left}, #64",
            "stp xzr, xzr, [{at}], #64",
            "b.hs 2b",
            "3:",
            "adds {left}, {left}, #64",
            "b.eq 5f",
            "4:",
            "subs {left}, {left}, #1",
            "strb wzr, [{at}], #1",
            "b.ne 4b",
            "5:",
            left = inout(reg) len => _,
            at = inout(reg) at => _,
            options(nostack),
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
