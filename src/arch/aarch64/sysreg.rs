//! Access to system registers by name, for those that `aarch64-cpu` does not model.

/// Reads a system register: `mrs!("par_el1")`.
#[macro_export]
macro_rules! mrs {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading one of the registers named in this crate has no side effect on memory.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register: `msr!("par_el1", value)`.
///
/// It is `unsafe` by nature; each caller states why its value is sound in an enclosing `unsafe` block.
#[macro_export]
macro_rules! msr {
    ($name:expr, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

pub use crate::{mrs, msr};
