//! What shadow tables need of the CPU.

/// A hart's CPU. The engine has the instructions; tests have a model.
///
/// An invalidation comes after all earlier changes of tables, this hart's and those that it has seen, and is complete with
/// the next [`Hardware::synchronise`]: `DSB ISHST` in front of each TLBI, `DSB ISH` and `ISB` behind all.
pub trait Hardware {
    /// How many ASIDs there are: 2^8 or 2^16 (ID_AA64MMFR0_EL1.ASIDBits).
    fn asids(&self) -> u32;

    /// Sets TTBR0_EL1, whose bits 63:48 are the ASID (TCR_EL1.A1 = 0), and makes it effective (ISB).
    fn set_ttbr0(&self, value: u64);

    /// Sets TTBR1_EL1 and makes it effective (ISB).
    fn set_ttbr1(&self, value: u64);

    /// Forgets the page at `address` in `asid` or, with `None`, in all, on this hart or on all: the entries of the last level
    /// (TLBI VALE1, VAALE1, VALE1IS, VAALE1IS).
    fn invalidate_page(&self, asid: Option<u16>, address: u64, all_harts: bool);

    /// Forgets all that is not global in `asid` on this hart, tables included (TLBI ASIDE1).
    fn invalidate_asid(&self, asid: u16);

    /// Forgets everything on this hart (TLBI VMALLE1).
    fn invalidate_all(&self);

    /// Changes of tables so far are seen by all table walkers; invalidations so far are complete.
    fn synchronise(&self);
}
