//! Random programs, executed as compiled and as defined.

use std::vec::Vec;

use proptest::prelude::*;

use super::machine::{DATA, Run, check};
use super::programs::{BASE, constant, program};
use crate::jit::compile::Features;

/// Of CPUs that have some, and some not.
pub fn features() -> impl Strategy<Value = Features> {
    any::<(bool, bool)>().prop_map(|(lse, pmull)| Features { lse, pmull })
}

fn run() -> impl Strategy<Value = Run> {
    (features(), prop::bool::weighted(0.2), 0..1_u64 << 40).prop_map(|(features, due, retired)| Run {
        features,
        due,
        retired,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn traces_do_what_the_ir_says(
        program in program(),
        registers in prop::collection::vec(constant(), 32),
        run in run(),
    ) {
        let mut vars = [0; 256];
        vars[1..32].copy_from_slice(&registers[1..]);
        vars[usize::from(BASE.0)] = DATA;
        vars[69] = u64::MAX;
        let parts: Vec<_> = program.trace();
        check(&parts, &program.all(), vars, run)?;
    }
}
