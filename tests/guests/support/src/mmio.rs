//! Device accesses by exactly one plain load or store, the form for which hardware gives a complete syndrome.
//!
//! Rust's volatile accesses leave the addressing mode to the compiler (pairs, write-back), which the payloads
//! test on purpose and not by accident. An address that nothing answers raises an exception; see
//! [`crate::exception::probe`].

use core::arch::asm;

macro_rules! access {
    ($read:ident, $load:literal, $write:ident, $store:literal, $type:ty, $form:literal) => {
        #[doc = concat!("`", $load, "` from `address`.")]
        pub fn $read(address: u64) -> $type {
            let value: u64;
            // SAFETY: payloads use this for devices only; a load from one cannot break what Rust knows about
            // memory.
            unsafe {
                asm!(
                    concat!($load, " {0:", $form, "}, [{1}]"),
                    out(reg) value, in(reg) address, options(nostack),
                );
            };
            value as $type
        }

        #[doc = concat!("`", $store, "` of `value` to `address`.")]
        pub fn $write(address: u64, value: $type) {
            // SAFETY: payloads use this for devices and for memory outside of their own image and stacks
            // only.
            unsafe {
                asm!(
                    concat!($store, " {0:", $form, "}, [{1}]"),
                    in(reg) u64::from(value), in(reg) address, options(nostack),
                );
            };
        }
    };
}

access!(read8, "ldrb", write8, "strb", u8, "w");
access!(read16, "ldrh", write16, "strh", u16, "w");
access!(read32, "ldr", write32, "str", u32, "w");
access!(read64, "ldr", write64, "str", u64, "x");
