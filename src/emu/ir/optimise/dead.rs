//! Dead code: what is computed, and overwritten before anybody can see it.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::super::{Block, Inst, UnaryOp, Value, Var, Width};

/// A set of variables.
#[derive(Clone, Copy)]
struct Vars([u128; 2]);

impl Vars {
    /// All globals: what is seen by whoever looks at the guest's state.
    const GLOBALS: Self = Self([u128::MAX, 0]);

    fn insert(&mut self, var: Var) {
        self.0[usize::from(var.is_temporary())] |= 1 << (var.0 % Var::FIRST_TEMPORARY);
    }

    fn remove(&mut self, var: Var) {
        self.0[usize::from(var.is_temporary())] &= !(1 << (var.0 % Var::FIRST_TEMPORARY));
    }

    fn contains(self, var: Var) -> bool {
        self.0[usize::from(var.is_temporary())] >> (var.0 % Var::FIRST_TEMPORARY) & 1 != 0
    }

    fn insert_globals(&mut self) {
        self.0[0] = Self::GLOBALS.0[0];
    }
}

/// Removes dead instructions, but for those that name globals in `apart`.
pub fn remove(block: &mut Block, apart: &Range<u8>) {
    let mut live = Vars::GLOBALS;
    let mut keep = vec![true; block.insts.len()];
    block.end.visit_operands(|operand| use_operand(&mut live, *operand));
    for (inst, keep) in block.insts.iter_mut().zip(&mut keep).rev() {
        let dst = inst.dst();
        let is_dead = is_nothing(inst) || inst.is_pure() && dst.is_none_or(|dst| !live.contains(dst));
        if is_dead && !names(inst, apart) {
            *keep = false;
            continue;
        }
        if let Some(dst) = dst {
            live.remove(dst);
        }
        if inst.may_raise() || inst.touches_globals() {
            live.insert_globals();
        }
        inst.visit_operands(|operand| use_operand(&mut live, *operand));
    }
    // How many are kept before each: where guest instructions start now.
    let before: Vec<u16> = keep
        .iter()
        .scan(0, |kept, &keep| {
            let before = *kept;
            *kept += u16::from(keep);
            Some(before)
        })
        .collect();
    let mut keep = keep.into_iter();
    block.insts.retain(|_| keep.next().unwrap_or(true));
    for start in &mut block.starts {
        start.inst = before.get(usize::from(start.inst)).copied().unwrap_or(block.insts.len() as u16);
    }
}

fn use_operand(live: &mut Vars, operand: Value) {
    if let Value::Var(var) = operand {
        live.insert(var);
    }
}

/// Whether the instruction has to do with one of these globals.
fn names(inst: &mut Inst, globals: &Range<u8>) -> bool {
    let mut names = inst.dst().is_some_and(|dst| globals.contains(&dst.0));
    inst.visit_operands(|operand| names |= matches!(*operand, Value::Var(var) if globals.contains(&var.0)));
    names
}

/// Whether the instruction copies a variable to itself.
fn is_nothing(inst: &Inst) -> bool {
    matches!(inst, Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a: Value::Var(a) } if a == dst)
}
