//! What single accesses that may abort return ([`device`](crate::device), [`guest_memory`](crate::guest_memory)).

/// Two registers, as the procedure call standard returns them (AAPCS64 6.9).
#[repr(C)]
pub struct Outcome {
    value: u64,
    /// Not 0 if the access was aborted.
    aborted: u64,
}

impl Outcome {
    /// What was loaded; `None` if the access was aborted.
    pub fn value(self) -> Option<u64> {
        (self.aborted == 0).then_some(self.value)
    }
}
