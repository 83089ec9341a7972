//! Memory: addresses, physical frames, the heap, page tables, and the memory of guests.

pub mod addr;
