//! Dead code: what is computed, and overwritten before anybody can see it.

use super::super::{Block, Inst, UnaryOp, Value, Vars, Width};

/// Removes dead instructions.
pub fn remove(block: &mut Block) {
    let mut live = Vars::GLOBALS;
    block.end.replace_operands(|operand| use_operand(&mut live, *operand));
    // What is kept moves to the end, where `kept` is the first.
    let mut kept = block.insts.len();
    let mut starts = block.starts.iter_mut().rev().peekable();
    for index in (0..block.insts.len()).rev() {
        while let Some(start) = starts.next_if(|start| usize::from(start.inst) > index) {
            start.inst = kept as u16;
        }
        let Some(inst) = block.insts.get(index) else { break };
        let effects = inst.effects();
        let dst = effects.dst;
        if is_nothing(inst) || effects.is_pure() && dst.is_none_or(|dst| !live.contains(dst)) {
            continue;
        }
        if let Some(dst) = dst {
            live.remove(dst);
        }
        if effects.may_raise() || effects.touches_globals() {
            live.insert_globals();
        }
        effects.operands().for_each(|operand| live.insert(operand));
        kept -= 1;
        block.insts.swap(index, kept);
    }
    starts.for_each(|start| start.inst = kept as u16);
    block.insts.drain(..kept);
    for start in &mut block.starts {
        start.inst -= kept as u16;
    }
}

fn use_operand(live: &mut Vars, operand: Value) {
    if let Value::Var(var) = operand {
        live.insert(var);
    }
}

/// Whether the instruction copies a variable to itself.
fn is_nothing(inst: &Inst) -> bool {
    matches!(inst, Inst::Unary { op: UnaryOp::Move, width: Width::W64, dst, a: Value::Var(a) } if a == dst)
}
