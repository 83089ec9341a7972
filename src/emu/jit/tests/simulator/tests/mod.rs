//! The simulator, by what plain Rust computes, and by programs.

mod float;
mod integer;
mod programs;

use alloc::{vec, vec::Vec};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::a64::*;

/// Where the code of these tests lies.
const CODE: u64 = 0x1000;

fn assemble(write: impl FnOnce(&mut Assembler)) -> Vec<u32> {
    let mut assembler = Assembler::new();
    write(&mut assembler);
    assembler.finish().unwrap();
    assembler.words().to_vec()
}

impl Simulator {
    /// Executes what `write` emits, up to where it stops.
    fn execute(&mut self, memory: &mut Regions, write: impl FnOnce(&mut Assembler)) -> Stop {
        let words = assemble(write);
        let code = |address: u64| words.get(usize::try_from(address.checked_sub(CODE)? / 4).ok()?).copied();
        self.pc = CODE;
        self.run(&code, memory, 1000)
    }

    /// Executes what `write` emits, which needs no memory and is one instruction; and a breakpoint behind, so that
    /// literals are not executed.
    fn compute(&mut self, write: impl FnOnce(&mut Assembler)) {
        let stop = self.execute(&mut Regions::default(), |a| {
            write(a);
            a.brk(7);
        });
        assert_eq!(stop, Stop::Break(7));
    }
}

fn r(n: u8) -> X {
    X::new(n)
}

fn bits() -> impl Strategy<Value = Bits> {
    select(&[Bits::W32, Bits::W64])
}

/// Any numbers, and those at the edges.
fn numbers() -> impl Strategy<Value = u64> {
    const EDGES: [u64; 9] =
        [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX];
    prop_oneof![
        select(&EDGES),
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        any::<i32>().prop_map(|n| n as u64)
    ]
}
