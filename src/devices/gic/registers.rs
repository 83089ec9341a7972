//! The registers that come in words of 32 interrupts. Distributor and redistributor have them at the same
//! offsets.

use super::{GicVersion, IntId, VcpuSet, Vgic, bank::Bank, state::SGI_LANES};
use crate::devices::bus::Width;

/// A register with a bit for each interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// IGROUPR.
    Group,
    /// ISENABLER.
    SetEnable,
    /// ICENABLER.
    ClearEnable,
    /// ISPENDR.
    SetPending,
    /// ICPENDR.
    ClearPending,
    /// ISACTIVER.
    SetActive,
    /// ICACTIVER.
    ClearActive,
}

/// A register that concerns certain interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// A bit for each interrupt of a word.
    Bits(Bits, usize),
    /// IPRIORITYR: a byte for each interrupt, from this INTID.
    Priority(u32),
    /// ICFGR: two bits for each interrupt of this half of this word.
    Config(usize, Half),
}

/// Which half of a word of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Lower,
    Upper,
}

impl Register {
    /// The register at `offset` of the distributor, or of the SGI frame of a redistributor.
    pub fn at(offset: u64) -> Option<Self> {
        let bits = |kind| Some(Self::Bits(kind, (offset as usize & 0x7f) / 4));
        match offset {
            0x080..0x100 => bits(Bits::Group),
            0x100..0x180 => bits(Bits::SetEnable),
            0x180..0x200 => bits(Bits::ClearEnable),
            0x200..0x280 => bits(Bits::SetPending),
            0x280..0x300 => bits(Bits::ClearPending),
            0x300..0x380 => bits(Bits::SetActive),
            0x380..0x400 => bits(Bits::ClearActive),
            0x400..0x800 => Some(Self::Priority((offset - 0x400) as u32)),
            0xc00..0xd00 => {
                let half = if offset & 4 == 0 { Half::Lower } else { Half::Upper };
                Some(Self::Config((offset as usize - 0xc00) / 8, half))
            }
            _ => None,
        }
    }

    /// Which word of interrupts it is about.
    pub fn word(self) -> usize {
        match self {
            Self::Bits(_, word) | Self::Config(word, _) => word,
            Self::Priority(intid) => intid as usize / 32,
        }
    }

    /// Whether it shows or changes what the hardware owns of a loaded interrupt, so that the accessing vCPU
    /// has to be folded.
    pub fn is_live(self) -> bool {
        matches!(
            self,
            Self::Bits(Bits::SetPending | Bits::ClearPending | Bits::SetActive | Bits::ClearActive, _)
        )
    }

    /// Whether the register can be accessed like this (IHI 0069 and IHI 0048B, Register access sizes).
    fn permits(self, width: Width) -> bool {
        width == Width::Word || (width == Width::Byte && matches!(self, Self::Priority(_)))
    }
}

impl Vgic {
    /// A register as `vcpu` sees it.
    pub(super) fn read_register(&self, vcpu: usize, register: Register, width: Width) -> u64 {
        if !register.permits(width) {
            return 0;
        }
        let Some(bank) = self.bank(vcpu, register.word()) else { return 0 };
        match register {
            Register::Bits(bits, _) => u64::from(match bits {
                Bits::Group => bank.group1,
                Bits::SetEnable | Bits::ClearEnable => bank.enabled,
                Bits::SetPending | Bits::ClearPending => bank.known_pending(),
                Bits::SetActive | Bits::ClearActive => bank.known_active(),
            }),
            Register::Priority(first) => read_bytes(width, |n| bank.priority((first as usize + n) % 32)),
            Register::Config(_, half) => u64::from(spread(match half {
                Half::Lower => bank.edge as u16,
                Half::Upper => (bank.edge >> 16) as u16,
            })),
        }
    }

    /// A write of `vcpu` to a register.
    pub(super) fn write_register(
        &mut self,
        vcpu: usize,
        register: Register,
        width: Width,
        value: u64,
    ) -> VcpuSet {
        if !register.permits(width) {
            return VcpuSet::EMPTY;
        }
        let word = register.word();
        match register {
            Register::Bits(kind, _) => self.write_bits(vcpu, word, kind, value as u32),
            Register::Priority(first) => {
                let lane = first as usize % 32;
                let mask = self.priority_mask;
                let touched = if width == Width::Byte { 1 } else { 0xf } << lane;
                self.change_bits(vcpu, word, touched, |bank, _| {
                    write_bytes(width, value, |n, priority| bank.set_priority(lane + n, priority & mask));
                })
            }
            Register::Config(_, half) => {
                let edge = u32::from(gather(value as u32));
                // That of an SGI cannot be changed.
                let (edge, mask) = match half {
                    Half::Lower if word == 0 => return VcpuSet::EMPTY,
                    Half::Lower => (edge, 0xffff),
                    Half::Upper => (edge << 16, 0xffff_0000),
                };
                self.change_bits(vcpu, word, mask, |bank, mask| bank.edge = bank.edge & !mask | edge)
            }
        }
    }

    fn write_bits(&mut self, vcpu: usize, word: usize, kind: Bits, value: u32) -> VcpuSet {
        // Of a GICv2, SGIs are always enabled, and pending only by SGIR and SPENDSGIR (IHI 0048B,
        // `GICD_ISENABLER<n>`, `GICD_ISPENDR<n>`).
        let v2_sgis = if self.version == GicVersion::V2 && word == 0 { SGI_LANES } else { 0 };
        match kind {
            Bits::Group => self.change_bits(vcpu, word, u32::MAX, |bank, _| bank.group1 = value),
            Bits::SetEnable => self.change_bits(vcpu, word, value, |bank, bits| bank.enabled |= bits),
            Bits::ClearEnable => {
                self.change_bits(vcpu, word, value & !v2_sgis, |bank, bits| bank.enabled &= !bits)
            }
            Bits::SetPending => self.change_bits(vcpu, word, value & !v2_sgis, Bank::set_pending),
            Bits::ClearPending => self.change_bits(vcpu, word, value & !v2_sgis, Bank::clear_pending),
            Bits::SetActive => self.change_bits(vcpu, word, value, Bank::set_active),
            Bits::ClearActive => self.change_bits(vcpu, word, value, Bank::clear_active),
        }
    }

    /// The SPI or private interrupt `number`, if it exists.
    pub(super) fn existing(&self, number: u32) -> Option<IntId> {
        IntId::new(number).filter(|intid| intid.word() <= self.spis.len())
    }
}

/// A read of one or four registers of a byte each.
pub(super) fn read_bytes(width: Width, byte: impl Fn(usize) -> u8) -> u64 {
    match width {
        Width::Byte => u64::from(byte(0)),
        Width::Word => u64::from(u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])),
        Width::Half | Width::Double => 0,
    }
}

/// A write of one or four registers of a byte each.
pub(super) fn write_bytes(width: Width, value: u64, mut byte: impl FnMut(usize, u8)) {
    match width {
        Width::Byte => byte(0, value as u8),
        Width::Word => (value as u32).to_le_bytes().into_iter().enumerate().for_each(|(n, one)| byte(n, one)),
        Width::Half | Width::Double => {}
    }
}

/// Every bit of `bits` in the upper one of two.
fn spread(bits: u16) -> u32 {
    (0..16).fold(0, |word, n| word | (u32::from(bits) >> n & 1) << (2 * n + 1))
}

/// The upper one of every two bits of `word`.
fn gather(word: u32) -> u16 {
    (0..16).fold(0, |bits, n| bits | ((word >> (2 * n + 1) & 1) << n) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_and_gather_use_the_odd_bits() {
        assert_eq!(spread(0x8001), 0x8000_0002);
        assert_eq!(gather(0x8000_0002), 0x8001);
        assert_eq!(gather(0x5555_5555), 0);
        assert!((0..=u16::MAX).all(|bits| gather(spread(bits)) == bits));
    }
}
