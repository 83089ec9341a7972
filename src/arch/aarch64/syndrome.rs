//! `ESR_EL2`: why the CPU took an exception.
