//! The RISC-V front end and the interpreter against a hostile guest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polyvisor_emu::riscv::hostile;

fuzz_target!(|input: &[u8]| hostile::run(input));
