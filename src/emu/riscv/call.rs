//! The functions of the hart that lifted code calls ([`Inst::Call`](crate::ir::Inst::Call)): what an
//! instruction does beyond registers and memory.

/// A function of the hart, by its number in [`Inst::Call`](crate::ir::Inst::Call). `a` and `b` are its
/// operands; the result is zero where nothing else is said.
///
/// Whether the instruction is legal in the current mode has been decided by [`Context`](super::Context),
/// except for accesses to CSRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Call {
    /// The value of a CSR. `b` is the instruction word: [`csr_number`] takes the CSR's number out of it, and
    /// it is the trap value if the access is illegal. The block goes on.
    CsrRead = 0,
    /// Writes `a` to the CSR of the instruction word `b`, and returns what it was. The block ends behind it,
    /// with [`Resume`](crate::ir::Terminator::Resume).
    CsrWrite = 1,
    /// Like [`Call::CsrWrite`], but sets the bits `a`. It counts as a write also if `a` is zero.
    CsrSet = 2,
    /// Like [`Call::CsrWrite`], but clears the bits `a`. It counts as a write also if `a` is zero.
    CsrClear = 3,
    /// ECALL. Raises the environment call of the current mode, or sets the program counter to where the guest
    /// goes on. The block ends behind it, with [`Leave`](crate::ir::Terminator::Leave).
    Ecall = 4,
    /// EBREAK: raises a breakpoint exception.
    Ebreak = 5,
    /// MRET: sets the program counter; then [`Leave`](crate::ir::Terminator::Leave).
    Mret = 6,
    /// SRET: sets the program counter; then [`Leave`](crate::ir::Terminator::Leave).
    Sret = 7,
    /// WFI; then [`Resume`](crate::ir::Terminator::Resume) behind it, so it asks for attention and returns.
    Wfi = 8,
    /// SFENCE.VMA for all addresses of all address spaces. Like all of them it ends the block, with
    /// [`Resume`](crate::ir::Terminator::Resume).
    FenceAll = 9,
    /// SFENCE.VMA for the page of the address `a` in all address spaces.
    FencePage = 10,
    /// SFENCE.VMA for all addresses of the address space `b`.
    FenceSpace = 11,
    /// SFENCE.VMA for the page of the address `a` in the address space `b`.
    FencePageSpace = 12,
    /// FENCE.I; then [`Resume`](crate::ir::Terminator::Resume).
    FenceCode = 13,
    /// CBO.INVAL, CBO.CLEAN and CBO.FLUSH of the block of the address `a`: memory is coherent, so all that is
    /// left is the exception if the guest may neither load nor store there (a store's; the trap value is
    /// `a`). The block goes on.
    CacheBlock = 14,
    /// Marks the floating-point state dirty (`mstatus.FS`); then [`Resume`](crate::ir::Terminator::Resume),
    /// as the context has changed. Raises nothing.
    FloatDirty = 15,
    /// Raises an illegal-instruction exception, whose trap value is `a`.
    Illegal = 16,
    /// WRS.NTO and WRS.STO: may wait a little while if there is a reservation; then
    /// [`Resume`](crate::ir::Terminator::Resume).
    WaitReservation = 17,
}

impl Call {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 18] = [
        Self::CsrRead,
        Self::CsrWrite,
        Self::CsrSet,
        Self::CsrClear,
        Self::Ecall,
        Self::Ebreak,
        Self::Mret,
        Self::Sret,
        Self::Wfi,
        Self::FenceAll,
        Self::FencePage,
        Self::FenceSpace,
        Self::FencePageSpace,
        Self::FenceCode,
        Self::CacheBlock,
        Self::FloatDirty,
        Self::Illegal,
        Self::WaitReservation,
    ];

    /// The function of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// The number of the CSR that the instruction `word`, the operand `b` of [`Call::CsrRead`] and its like,
/// names.
pub const fn csr_number(word: u64) -> u16 {
    (word >> 20) as u16 & 0xfff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_functions_correspond() {
        for (number, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(call.number()), number);
            assert_eq!(Call::from_number(call.number()), Some(call));
        }
        assert_eq!(Call::from_number(Call::ALL.len() as u16), None);
    }
}
