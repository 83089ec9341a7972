//! The scheduler's policy: who runs next, for how long, and on which CPU. Pure: it reads no clock, takes no
//! lock and touches no hardware, so that the host simulates it with hundreds of vCPUs.
