//! What, beside its address, decides what code means.

use bitflags::bitflags;

bitflags! {
    /// What a hart may do at the moment, as far as it decides whether instructions are legal. Machine mode
    /// may do all that is not about floating point or rounding.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Enables: u32 {
        /// `mstatus.FS` is not Off: floating-point instructions are legal.
        const FLOAT = 1 << 0;
        /// `mstatus.FS` is Dirty: floating-point registers may be changed without further ado.
        const FLOAT_DIRTY = 1 << 1;
        /// `frm` holds a rounding mode that is not reserved: instructions with dynamic rounding are legal.
        const ROUNDING = 1 << 2;
        /// SFENCE.VMA and SINVAL.VMA: in supervisor mode if `mstatus.TVM` is clear.
        const SFENCE_VMA = 1 << 3;
        /// SRET: in supervisor mode if `mstatus.TSR` is clear.
        const SRET = 1 << 4;
        /// WFI: in supervisor mode if `mstatus.TW` is clear.
        const WFI = 1 << 5;
        /// CBO.INVAL: `CBIE` of `menvcfg`, in user mode also of `senvcfg`, is not 0.
        const CBO_INVAL = 1 << 6;
        /// CBO.CLEAN and CBO.FLUSH: `CBCFE` of `menvcfg`, in user mode also of `senvcfg`, is set.
        const CBO_CLEAN = 1 << 7;
        /// CBO.ZERO: `CBZE` of `menvcfg`, in user mode also of `senvcfg`, is set.
        const CBO_ZERO = 1 << 8;
        /// Code is lifted for a back end that may leave instructions to the interpreter: what is rare about them is.
        const MAY_DECLINE = 1 << 9;
    }
}

/// The state of a hart that decides what code means: part of the key of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// The privilege mode, e.g. [`SUPERVISOR`](polyvisor_cell_abi::riscv::SUPERVISOR).
    pub mode: u32,
    /// What the hart may do.
    pub enables: Enables,
}

impl Context {
    const MODE_BITS: u32 = 2;

    /// Of [`Context::bits`] what says that instructions may be left to the interpreter.
    pub const MAY_DECLINE: u32 = Enables::MAY_DECLINE.bits() << Self::MODE_BITS;

    /// Of [`Context::bits`] what is set while floating point works without further ado.
    pub const FLOAT_READY: u32 =
        Enables::FLOAT.union(Enables::FLOAT_DIRTY).union(Enables::ROUNDING).bits() << Self::MODE_BITS;

    /// As [`Guest::context`](crate::interp::Guest::context) has it.
    pub const fn bits(self) -> u32 {
        self.enables.bits() << Self::MODE_BITS | self.mode
    }

    /// What [`Context::bits`] has made.
    pub const fn from_bits(bits: u32) -> Self {
        let mode = bits & ((1 << Self::MODE_BITS) - 1);
        Self { mode, enables: Enables::from_bits_truncate(bits >> Self::MODE_BITS) }
    }
}

#[cfg(test)]
mod tests {
    use polyvisor_cell_abi::riscv::MACHINE;

    use super::*;

    #[test]
    fn bits_keep_everything() {
        for enables in [Enables::empty(), Enables::FLOAT, Enables::CBO_ZERO, Enables::all()] {
            let context = Context { mode: MACHINE, enables };
            assert_eq!(Context::from_bits(context.bits()), context);
        }
    }
}
