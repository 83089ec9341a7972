//! EL2's side of a cell against a hostile engine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polyvisor::vm::cell::hostile;

fuzz_target!(|input: &[u8]| hostile::run(input));
