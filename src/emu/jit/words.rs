//! The words behind a guest's variables that translated code and the runtime keep for themselves. The interpreter overwrites
//! them; the runtime sets what counts each time before translated code is entered.

/// The engine's stack pointer while translated code runs.
pub const STACK: usize = 192;
/// The current jump table ([`Tables::enter`](super::tables::Tables::enter)).
pub const TABLE: usize = 193;
/// The address of the routine that leaves translated code.
pub const LEAVE: usize = 194;
/// On leaving: what is in x16, the target of an indirect jump.
pub const TARGET: usize = 195;
/// On a fault: x0 to x30, then NZCV and the program counter. All are restored on resuming.
pub const FRAME: usize = 196;
/// On a fault: NZCV.
pub const FRAME_FLAGS: usize = FRAME + 31;
/// On a fault: where it was.
pub const FRAME_PC: usize = FRAME + 32;
/// On a fault: the guest-virtual address.
pub const FAULT_ADDRESS: usize = 229;
/// On a fault: ESR_EL1.
pub const FAULT_SYNDROME: usize = 230;
/// Not 0: floating-point registers are where translated code has them, and may be used.
pub const FLOAT_READY: usize = 231;
/// What floating-point code keeps out of line: [`SCRATCH_WORDS`](super::compile::float::SCRATCH_WORDS).
pub const FLOAT_SCRATCH: usize = 232;
/// The last three of them: when the guest's floating-point registers have been saved, v29 to v31.
pub const FLOAT_TEMPORARIES: usize = FLOAT_SCRATCH + 3;

const _: () = assert!(FLOAT_TEMPORARIES + 3 == FLOAT_SCRATCH + super::compile::float::SCRATCH_WORDS as usize);
