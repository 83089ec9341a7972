//! The interpreter: the back end that runs everywhere.

mod guest;

pub use guest::{Attention, Exception, Flush, Guest, Translation};
