//! List registers: how the hypervisor hands virtual interrupts to the hardware.

/// The value of one list register, in the layout of `ICH_LR<n>_EL2` (IHI 0069).
///
/// `GICH_LR<n>` of a GICv2 (IHI 0048B) holds the same fields in 32 bits; [`ListRegister::from_gich`] and
/// [`ListRegister::to_gich`] convert. The number of the vCPU that sent an SGI, which only a GICv2 guest sees,
/// is kept in bits 12:10 of the virtual INTID, where GICv3 has it for legacy guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ListRegister(u64);

/// What a list register does when the guest deactivates its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deactivation {
    /// Nothing.
    Silent,
    /// It asks for a maintenance interrupt.
    Notify,
    /// It deactivates this physical interrupt.
    Physical(u16),
}

impl ListRegister {
    /// No interrupt.
    pub const EMPTY: Self = Self(0);

    const PENDING: u64 = 1 << 62;
    const ACTIVE: u64 = 1 << 63;
    const HARDWARE: u64 = 1 << 61;
    const GROUP1: u64 = 1 << 60;
    const PRIORITY_SHIFT: u32 = 48;
    const EOI: u64 = 1 << 41;
    const PHYSICAL_SHIFT: u32 = 32;
    const SOURCE_SHIFT: u32 = 10;
    const INTID_MASK: u64 = 0x3ff;
    const SOURCE_MASK: u64 = 7 << Self::SOURCE_SHIFT;

    const GICH_HARDWARE: u32 = 1 << 31;
    const GICH_GROUP1: u32 = 1 << 30;
    const GICH_STATE_SHIFT: u32 = 28;
    const GICH_PRIORITY_SHIFT: u32 = 23;
    const GICH_PRIORITY_MASK: u32 = 0x1f << Self::GICH_PRIORITY_SHIFT;
    const GICH_EOI: u32 = 1 << 19;
    const GICH_PHYSICAL_SHIFT: u32 = 10;

    /// An interrupt without state, of the lowest-numbered source, to be completed by the other constructors.
    pub(super) const fn new(intid: u16, priority: u8, group1: bool, deactivation: Deactivation) -> Self {
        let how = match deactivation {
            Deactivation::Silent => 0,
            Deactivation::Notify => Self::EOI,
            Deactivation::Physical(physical) => {
                Self::HARDWARE | ((physical as u64 & Self::INTID_MASK) << Self::PHYSICAL_SHIFT)
            }
        };
        let group = if group1 { Self::GROUP1 } else { 0 };
        Self(group | how | ((priority as u64) << Self::PRIORITY_SHIFT) | (intid as u64 & Self::INTID_MASK))
    }

    /// The same with this state.
    pub(super) const fn with_state(self, pending: bool, active: bool) -> Self {
        let stateless = self.0 & !(Self::PENDING | Self::ACTIVE);
        Self(stateless | ((pending as u64) << 62) | ((active as u64) << 63))
    }

    /// The same, sent by vCPU `source` (0 to 7) of a GICv2.
    pub(super) const fn with_source(self, source: u8) -> Self {
        Self(self.0 & !Self::SOURCE_MASK | (((source & 7) as u64) << Self::SOURCE_SHIFT))
    }

    /// The register as read from `ICH_LR<n>_EL2`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The value to write to `ICH_LR<n>_EL2`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The register as read from `GICH_LR<n>`.
    pub const fn from_gich(bits: u32) -> Self {
        let group1 = bits & Self::GICH_GROUP1 != 0;
        let priority = ((bits & Self::GICH_PRIORITY_MASK) >> Self::GICH_PRIORITY_SHIFT << 3) as u8;
        let physical = (bits >> Self::GICH_PHYSICAL_SHIFT) as u16 & Self::INTID_MASK as u16;
        let (deactivation, source) = if bits & Self::GICH_HARDWARE != 0 {
            (Deactivation::Physical(physical), 0)
        } else if bits & Self::GICH_EOI != 0 {
            (Deactivation::Notify, physical as u8 & 7)
        } else {
            (Deactivation::Silent, physical as u8 & 7)
        };
        let state = bits >> Self::GICH_STATE_SHIFT;
        Self::new(bits as u16, priority, group1, deactivation)
            .with_state(state & 1 != 0, state & 2 != 0)
            .with_source(source)
    }

    /// The value to write to `GICH_LR<n>`. Of the priority its upper five bits are kept, which is all a GICv2
    /// has.
    pub const fn to_gich(self) -> u32 {
        let how = match self.deactivation() {
            Deactivation::Silent => (self.source() as u32) << Self::GICH_PHYSICAL_SHIFT,
            Deactivation::Notify => Self::GICH_EOI | ((self.source() as u32) << Self::GICH_PHYSICAL_SHIFT),
            Deactivation::Physical(physical) => {
                Self::GICH_HARDWARE | ((physical as u32) << Self::GICH_PHYSICAL_SHIFT)
            }
        };
        let group = if self.is_group1() { Self::GICH_GROUP1 } else { 0 };
        let state = ((self.0 >> 62) as u32) << Self::GICH_STATE_SHIFT;
        let priority = (self.priority() as u32 >> 3) << Self::GICH_PRIORITY_SHIFT;
        how | group | state | priority | self.intid() as u32
    }

    /// Whether the guest has yet to acknowledge the interrupt (once more, if it is active too).
    pub const fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// Whether the guest has acknowledged the interrupt and not yet deactivated it.
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// Whether the register holds no interrupt.
    pub const fn is_empty(self) -> bool {
        self.0 & (Self::PENDING | Self::ACTIVE) == 0
    }

    /// The virtual INTID.
    pub const fn intid(self) -> u16 {
        (self.0 & Self::INTID_MASK) as u16
    }

    /// The priority; lower is more urgent.
    pub const fn priority(self) -> u8 {
        (self.0 >> Self::PRIORITY_SHIFT) as u8
    }

    /// Whether the interrupt is of Group 1.
    pub const fn is_group1(self) -> bool {
        self.0 & Self::GROUP1 != 0
    }

    /// Which vCPU of a GICv2 guest sent the SGI.
    pub const fn source(self) -> u8 {
        ((self.0 & Self::SOURCE_MASK) >> Self::SOURCE_SHIFT) as u8
    }

    /// What happens when the guest deactivates the interrupt.
    pub const fn deactivation(self) -> Deactivation {
        if self.0 & Self::HARDWARE != 0 {
            Deactivation::Physical(((self.0 >> Self::PHYSICAL_SHIFT) & Self::INTID_MASK) as u16)
        } else if self.0 & Self::EOI != 0 {
            Deactivation::Notify
        } else {
            Deactivation::Silent
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layouts_are_the_architecture_s() {
        let timer = ListRegister::new(27, 0xa0, true, Deactivation::Physical(27)).with_state(true, false);
        assert_eq!(timer.bits(), 1 << 62 | 1 << 61 | 1 << 60 | 0xa0 << 48 | 27 << 32 | 27);
        assert_eq!(timer.to_gich(), 1 << 31 | 1 << 30 | 1 << 28 | 0x14 << 23 | 27 << 10 | 27);

        let sgi =
            ListRegister::new(5, 0x08, false, Deactivation::Notify).with_state(false, true).with_source(6);
        assert_eq!(sgi.bits(), 1 << 63 | 0x08 << 48 | 1 << 41 | 6 << 10 | 5);
        assert_eq!(sgi.to_gich(), 1 << 29 | 1 << 23 | 1 << 19 | 6 << 10 | 5);
    }

    proptest! {
        /// GICH_LR has no reserved bits but 22:20 and, with HW=0, the part of PhysicalID between EOI and
        /// CPUID.
        #[test]
        fn gich_round_trip(bits: u32) {
            let defined = if bits & (1 << 31) != 0 { 0xff8f_ffff } else { 0xff88_1fff };
            prop_assert_eq!(ListRegister::from_gich(bits).to_gich(), bits & defined);
        }
    }
}
