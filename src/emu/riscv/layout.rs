//! Where a hart's registers are while translated code runs.

use polyvisor_cell_abi::riscv::{F, FFLAGS, INSTRET, RESERVED_ADDRESS, RESERVED_VALUE, X};

use crate::a64;
use crate::ir::Var;
use crate::jit::compile::Home;
use crate::jit::compile::layout::{GLOBALS, Layout};
use crate::jit::words::{FLOAT_READY, FLOAT_SCRATCH};

/// Registers in the order of the host's. There are 26. What counts is what is executed: when Debian's kernel 6.12 boots, 100 of
/// its instructions have 3.7 operands among `gp`, `tp`, `s5`, `s10` and `s11`, which are in memory, and `busybox` has 5.3 in
/// `awk`, `sort` and `gzip`. Temporaries (`t0` to `t6`) are in few functions, but in the loops: they would be 38 in the kernel.
const PINNED: [usize; 26] = [
    // a0 to a7, t0 to t6, ra.
    10, 11, 12, 13, 14, 15, 16, 17, 5, 6, 7, 28, 29, 30, 31, 1, // x0 to x15
    // sp, s0 to s4, s6 to s9.
    2, 8, 9, 18, 19, 20, 22, 23, 24, 25, // x19 to x27, x29
];
/// How many of the floating-point registers have one of the host's.
const PINNED_FLOATS: usize = 29;
/// The last of them are in memory: those that compilers take last, `ft8` to `ft10`. `ft11` takes the place of the first.
const FLOATS_IN_MEMORY: [usize; 3] = [28, 29, 30];

/// The homes of a hart's globals. `float_ready` and `float_scratch` are those of [`Layout`].
pub const fn layout(float_ready: u8, float_scratch: u8) -> Layout {
    let mut homes = [Home::Memory; GLOBALS];
    let mut at = 0;
    while at < PINNED.len() {
        let host = match at {
            0..16 => at,
            16..25 => at + 3,
            _ => at + 4,
        };
        homes[X + PINNED[at]] = Home::X(a64::X::new(host as u8));
        at += 1;
    }
    at = 0;
    while at < PINNED_FLOATS {
        let guest = if at == FLOATS_IN_MEMORY[0] { 31 } else { at };
        homes[F + guest] = Home::V(a64::V::new(at as u8));
        at += 1;
    }
    Layout {
        homes,
        instret: Var(INSTRET as u8),
        reservation: [Var(RESERVED_ADDRESS as u8), Var(RESERVED_VALUE as u8)],
        floats: F as u8..F as u8 + 32,
        float_flags: Var(FFLAGS as u8),
        float_ready,
        float_scratch,
    }
}

/// The homes of a hart's globals, for the JIT's runtime.
pub static LAYOUT: Layout = layout(FLOAT_READY as u8, FLOAT_SCRATCH as u8);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn registers_share_nothing() {
        let layout = layout(200, 201);
        let mut integers = HashSet::new();
        let mut floats = HashSet::new();
        for (global, home) in layout.homes.iter().enumerate() {
            match home {
                Home::X(x) => {
                    assert!((X + 1..X + 32).contains(&global) && integers.insert(x.number()));
                    assert!(matches!(x.number(), 0..=15 | 19..=27 | 29), "x{}", x.number());
                }
                Home::V(v) => {
                    assert!((F..F + 32).contains(&global) && floats.insert(v.number()));
                    assert!(v.number() < 29);
                }
                Home::Memory => {}
            }
        }
        assert_eq!((integers.len(), floats.len()), (26, 29));
    }
}
