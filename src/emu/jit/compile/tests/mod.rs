//! Tests: what code is emitted ([`budget`]), and that it does what the intermediate representation says ([`random`],
//! [`riscv`]).

mod budget;
mod machine;
mod programs;
mod random;
mod reference;
mod riscv;
