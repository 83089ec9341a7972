//! Exceptions and their numbers (Privileged ISA, table 14).

use crate::interp::Exception;
use crate::memory::Access;

/// Exception codes of `mcause` and `scause`.
pub mod cause {
    pub const INSTRUCTION_ACCESS: u64 = 1;
    pub const ILLEGAL_INSTRUCTION: u64 = 2;
    pub const BREAKPOINT: u64 = 3;
    pub const LOAD_MISALIGNED: u64 = 4;
    pub const LOAD_ACCESS: u64 = 5;
    pub const STORE_MISALIGNED: u64 = 6;
    pub const STORE_ACCESS: u64 = 7;
    pub const CALL_FROM_USER: u64 = 8;
    pub const CALL_FROM_SUPERVISOR: u64 = 9;
    pub const CALL_FROM_MACHINE: u64 = 11;
    pub const INSTRUCTION_PAGE: u64 = 12;
    pub const LOAD_PAGE: u64 = 13;
    pub const STORE_PAGE: u64 = 15;
}

/// The instruction in the low half of `word` is none, or must not be used here.
pub const fn illegal(word: u64) -> Exception {
    Exception { cause: cause::ILLEGAL_INSTRUCTION, value: word & 0xffff_ffff }
}

/// No page is mapped at `address`, or it does not permit the access.
pub const fn page_fault(address: u64, access: Access) -> Exception {
    let cause = match access {
        Access::Fetch => cause::INSTRUCTION_PAGE,
        Access::Load => cause::LOAD_PAGE,
        Access::Store => cause::STORE_PAGE,
    };
    Exception { cause, value: address }
}

/// What `address` stands for is no memory that permits the access, or physical memory protection forbids it.
pub const fn access_fault(address: u64, access: Access) -> Exception {
    let cause = match access {
        Access::Fetch => cause::INSTRUCTION_ACCESS,
        Access::Load => cause::LOAD_ACCESS,
        Access::Store => cause::STORE_ACCESS,
    };
    Exception { cause, value: address }
}

/// An atomic access that is not aligned. Code always is: compressed instructions exist.
pub const fn misaligned(address: u64, access: Access) -> Exception {
    let cause = match access {
        Access::Store => cause::STORE_MISALIGNED,
        Access::Load | Access::Fetch => cause::LOAD_MISALIGNED,
    };
    Exception { cause, value: address }
}
