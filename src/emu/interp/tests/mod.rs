//! The interpreter against a guest that is made for it.

mod blocks;
mod memory;
mod operations;
mod random;
mod toy;
