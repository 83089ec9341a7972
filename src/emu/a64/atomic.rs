//! Atomic and ordered accesses (C3.2.6 to C3.2.14). The base `n` may be the stack pointer.

use super::{Assembler, Order, Rmw, X, memory::size_field, operand::Register};
use crate::memory::Size;

impl Assembler {
    /// `t` = what is at `n`, zero-extended, which is monitored (LDXR, LDAXR).
    pub fn load_exclusive(&mut self, size: Size, acquire: bool, t: X, n: X) {
        self.word(0x085f_7c00 | size_field(size) | u32::from(acquire) << 15 | n.n() | t.d());
    }

    /// What is at `n` = `t` if nobody else wrote it since it is monitored; `s` = whether not (STXR, STLXR). `s` is neither
    /// `t` nor `n`.
    pub fn store_exclusive(&mut self, size: Size, release: bool, s: X, t: X, n: X) {
        self.word(0x0800_7c00 | size_field(size) | u32::from(release) << 15 | s.m() | n.n() | t.d());
    }

    /// `t` = what is at `n`, zero-extended, before later accesses (LDAR).
    pub fn load_acquire(&mut self, size: Size, t: X, n: X) {
        self.word(0x08df_fc00 | size_field(size) | n.n() | t.d());
    }

    /// What is at `n` = `t`, after earlier accesses (STLR).
    pub fn store_release(&mut self, size: Size, t: X, n: X) {
        self.word(0x089f_fc00 | size_field(size) | n.n() | t.d());
    }

    /// `t` = what is at `n`, zero-extended, of which `op` with `s` takes the place (FEAT_LSE: LDADD and others, SWP). An
    /// acquiring one must not have zero as `t`, unless it is SWP.
    pub fn rmw(&mut self, op: Rmw, size: Size, o: Order, s: X, t: X, n: X) {
        let order = u32::from(o.acquires()) << 23 | u32::from(o.releases()) << 22;
        self.word(0x3820_0000 | size_field(size) | order | s.m() | (op as u32) << 12 | n.n() | t.d());
    }

    /// What is at `n` = `t` if it is `s`; `s` = what it was, zero-extended (FEAT_LSE: CAS).
    pub fn cas(&mut self, size: Size, o: Order, s: X, t: X, n: X) {
        let order = u32::from(o.acquires()) << 22 | u32::from(o.releases()) << 15;
        self.word(0x08a0_7c00 | size_field(size) | order | s.m() | n.n() | t.d());
    }
}
