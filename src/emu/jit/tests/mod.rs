//! The runtime and what belongs to it, on machines that are simulated.

mod board;
mod cache;
mod machine;
mod paging;
mod program;
mod random;
mod report;
mod saved;
mod scenarios;
mod shadow;
pub(super) mod simulator;
mod tables;
