//! Operations of IEEE 754 that `core` does not have.

/// `a * b + c`, rounded once.
#[cfg(target_arch = "riscv64")]
#[inline(always)]
pub fn multiply_add(a: f64, b: f64, c: f64) -> f64 {
    let result;
    // SAFETY: it only computes. The rounding mode and the flags are as the ABI has them: nobody relies on them.
    unsafe {
        core::arch::asm!("fmadd.d {}, {}, {}, {}", out(freg) result, in(freg) a, in(freg) b, in(freg) c,
                         options(pure, nomem, nostack));
    }
    result
}

/// The square root.
#[cfg(target_arch = "riscv64")]
#[inline(always)]
pub fn square_root(number: f64) -> f64 {
    let result;
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("fsqrt.d {}, {}", out(freg) result, in(freg) number, options(pure, nomem, nostack));
    }
    result
}

#[cfg(not(target_os = "none"))]
pub use host::{multiply_add, square_root};

#[cfg(not(target_os = "none"))]
mod host {
    /// `a * b + c`, rounded once.
    pub fn multiply_add(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }

    /// The square root.
    pub fn square_root(number: f64) -> f64 {
        number.sqrt()
    }
}
