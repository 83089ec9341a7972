//! The interpreter's own instructions: 8-byte words.

use crate::ir::{BinaryOp, Condition, UnaryOp, Width};

/// One word of the interpreter's code: from the low end, `code`, the variables `d`, `a` and `b` (8 bits each), and `imm`
/// (32 bits, signed).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(pub u64);

impl Word {
    pub const fn new(code: Code, d: u8, a: u8, b: u8, imm: i32) -> Self {
        let low = u32::from_le_bytes([code as u8, d, a, b]);
        Self(low as u64 | (imm as u32 as u64) << 32)
    }

    /// Its code.
    ///
    /// # Safety
    /// The word was made by [`Word::new`].
    #[inline(always)]
    pub unsafe fn code(self) -> Code {
        // SAFETY: the low byte is that of a `Code`.
        unsafe { core::mem::transmute::<u8, Code>(self.0 as u8) }
    }

    #[inline(always)]
    pub const fn d(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    pub const fn a(self) -> u8 {
        (self.0 >> 16) as u8
    }

    #[inline(always)]
    pub const fn b(self) -> u8 {
        (self.0 >> 24) as u8
    }

    #[inline(always)]
    pub const fn imm(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// `imm`, sign-extended.
    #[inline(always)]
    pub const fn imm64(self) -> u64 {
        (self.0 as i64 >> 32) as u64
    }

    /// The same with another `imm`.
    pub const fn with_imm(self, imm: i32) -> Self {
        Self(self.0 & 0xffff_ffff | (imm as u32 as u64) << 32)
    }
}

/// Expands `$then!` with the table of the computing codes, after what is passed on:
/// each operation with its codes for [`Width::W64`], [`Width::S32`] and [`Width::U32`]; each condition with its codes for a
/// variable and for a constant on the right, and for a branch.
macro_rules! with_computing_codes {
    ($then:ident! { $($passed:tt)* }) => {
        $then! {
            { $($passed)* }
            unary {
                Move: Move MoveS32 MoveU32,
                LeadingZeros: LeadingZeros LeadingZerosS32 LeadingZerosU32,
                TrailingZeros: TrailingZeros TrailingZerosS32 TrailingZerosU32,
                CountOnes: CountOnes CountOnesS32 CountOnesU32,
                SwapBytes: SwapBytes SwapBytesS32 SwapBytesU32,
                ReverseBitsInBytes: ReverseBits ReverseBitsS32 ReverseBitsU32,
                SaturateBytes: SaturateBytes SaturateBytesS32 SaturateBytesU32,
                SignExtend8: SignExtend8 SignExtend8S32 SignExtend8U32,
                SignExtend16: SignExtend16 SignExtend16S32 SignExtend16U32,
                ZeroExtend8: ZeroExtend8 ZeroExtend8S32 ZeroExtend8U32,
                ZeroExtend16: ZeroExtend16 ZeroExtend16S32 ZeroExtend16U32,
                BoxSingle: BoxSingle BoxSingleS32 BoxSingleU32,
                UnboxSingle: UnboxSingle UnboxSingleS32 UnboxSingleU32,
            }
            binary {
                Add: Add AddS32 AddU32,
                Sub: Sub SubS32 SubU32,
                And: And AndS32 AndU32,
                Or: Or OrS32 OrU32,
                Xor: Xor XorS32 XorU32,
                AndNot: AndNot AndNotS32 AndNotU32,
                OrNot: OrNot OrNotS32 OrNotU32,
                XorNot: XorNot XorNotS32 XorNotU32,
                ShiftLeft: ShiftLeft ShiftLeftS32 ShiftLeftU32,
                ShiftRight: ShiftRight ShiftRightS32 ShiftRightU32,
                ShiftRightSigned: ShiftRightSigned ShiftRightSignedS32 ShiftRightSignedU32,
                RotateRight: RotateRight RotateRightS32 RotateRightU32,
                Mul: Mul MulS32 MulU32,
                MulHigh: MulHigh MulHighS32 MulHighU32,
                MulHighSignedUnsigned: MulHighSu MulHighSuS32 MulHighSuU32,
                MulHighUnsigned: MulHighUnsigned MulHighUnsignedS32 MulHighUnsignedU32,
                Div: Div DivS32 DivU32,
                DivUnsigned: DivUnsigned DivUnsignedS32 DivUnsignedU32,
                Rem: Rem RemS32 RemU32,
                RemUnsigned: RemUnsigned RemUnsignedS32 RemUnsignedU32,
                Min: Min MinS32 MinU32,
                MinUnsigned: MinUnsigned MinUnsignedS32 MinUnsignedU32,
                Max: Max MaxS32 MaxU32,
                MaxUnsigned: MaxUnsigned MaxUnsignedS32 MaxUnsignedU32,
                CarrylessMul: CarrylessMul CarrylessMulS32 CarrylessMulU32,
                CarrylessMulHigh: CarrylessMulHigh CarrylessMulHighS32 CarrylessMulHighU32,
            }
            immediate {
                Add: AddImm AddImmS32 AddImmU32,
                And: AndImm AndImmS32 AndImmU32,
                Or: OrImm OrImmS32 OrImmU32,
                Xor: XorImm XorImmS32 XorImmU32,
                ShiftLeft: ShiftLeftImm ShiftLeftImmS32 ShiftLeftImmU32,
                ShiftRight: ShiftRightImm ShiftRightImmS32 ShiftRightImmU32,
                ShiftRightSigned: ShiftRightSignedImm ShiftRightSignedImmS32 ShiftRightSignedImmU32,
                RotateRight: RotateRightImm RotateRightImmS32 RotateRightImmU32,
            }
            condition {
                Equal: SetEqual SetEqualImm BranchEqual,
                NotEqual: SetNotEqual SetNotEqualImm BranchNotEqual,
                Less: SetLess SetLessImm BranchLess,
                GreaterEqual: SetGreaterEqual SetGreaterEqualImm BranchGreaterEqual,
                Below: SetBelow SetBelowImm BranchBelow,
                AboveEqual: SetAboveEqual SetAboveEqualImm BranchAboveEqual,
            }
        }
    };
}
pub(super) use with_computing_codes;

macro_rules! define_codes {
    (
        { $($(#[$doc:meta])* $other:ident,)* }
        unary { $($unary:ident: $unary64:ident $unary_s32:ident $unary_u32:ident,)* }
        binary { $($binary:ident: $binary64:ident $binary_s32:ident $binary_u32:ident,)* }
        immediate { $($immediate:ident: $immediate64:ident $immediate_s32:ident $immediate_u32:ident,)* }
        condition { $($condition:ident: $set:ident $set_imm:ident $branch:ident,)* }
    ) => {
        /// What a word does. Computing codes are `d = op(a)`, `d = op(a, b)`, `d = op(a, imm)` or `d = condition ? 1 : 0`.
        /// A branch goes on at its target if the condition holds, else at that of the word behind it; `d` is how many
        /// guest instructions the block has retired. Targets are in `imm`, as the distance in bytes from the word behind the one
        /// that has it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code {
            $($(#[$doc])* $other,)*
            $($unary64, $unary_s32, $unary_u32,)*
            $($binary64, $binary_s32, $binary_u32,)*
            $($immediate64, $immediate_s32, $immediate_u32,)*
            $($set, $set_imm, $branch,)*
        }

        impl Code {
            /// `d = op(a)`.
            pub const fn unary(op: UnaryOp, width: Width) -> Self {
                match (op, width) {
                    $((UnaryOp::$unary, Width::W64) => Self::$unary64,
                    (UnaryOp::$unary, Width::S32) => Self::$unary_s32,
                    (UnaryOp::$unary, Width::U32) => Self::$unary_u32,)*
                }
            }

            /// `d = op(a, b)`.
            pub const fn binary(op: BinaryOp, width: Width) -> Self {
                match (op, width) {
                    $((BinaryOp::$binary, Width::W64) => Self::$binary64,
                    (BinaryOp::$binary, Width::S32) => Self::$binary_s32,
                    (BinaryOp::$binary, Width::U32) => Self::$binary_u32,)*
                }
            }

            /// `d = op(a, imm)`, for operations that often have a constant.
            pub const fn immediate(op: BinaryOp, width: Width) -> Option<Self> {
                Some(match (op, width) {
                    $((BinaryOp::$immediate, Width::W64) => Self::$immediate64,
                    (BinaryOp::$immediate, Width::S32) => Self::$immediate_s32,
                    (BinaryOp::$immediate, Width::U32) => Self::$immediate_u32,)*
                    _ => return None,
                })
            }

            /// `d = condition(a, b)`.
            pub const fn set(condition: Condition) -> Self {
                match condition {
                    $(Condition::$condition => Self::$set,)*
                }
            }

            /// `d = condition(a, imm)`.
            pub const fn set_immediate(condition: Condition) -> Self {
                match condition {
                    $(Condition::$condition => Self::$set_imm,)*
                }
            }

            /// A branch if `condition(a, b)`.
            pub const fn branch(condition: Condition) -> Self {
                match condition {
                    $(Condition::$condition => Self::$branch,)*
                }
            }
        }
    };
}

with_computing_codes! { define_codes! {
    /// `d = imm`.
    Const,
    /// `d` = the next word.
    Const64,
    /// `d = a != 0 ? b : ` the variable in the low byte of `imm`.
    Select,
    /// `d` = memory at `a + imm`, zero-extended.
    Load8,
    /// The same.
    Load16,
    /// The same.
    Load32,
    /// The same.
    Load64,
    /// `d` = memory at `a + imm`, sign-extended.
    LoadSigned8,
    /// The same.
    LoadSigned16,
    /// The same.
    LoadSigned32,
    /// Memory at `a + imm = b`.
    Store8,
    /// The same.
    Store16,
    /// The same.
    Store32,
    /// The same.
    Store64,
    /// Reserves memory of the size in `imm` at `a`: `d` = what it holds.
    LoadReserved,
    /// Stores `b` conditionally, in the size in `imm`, at `a`: `d` = whether not.
    StoreConditional,
    /// `d` = memory at `a`; memory = op(memory, `b`); `imm` has the size and above it, from bit 8, the operation.
    Atomic,
    /// No access before passes one after.
    Fence,
    /// No load before passes an access after.
    FenceAcquire,
    /// No access before passes a store after.
    FenceRelease,
    /// `d` = a floating-point operation on `a`, `b` and the variable in bits 24 to 31 of `imm`, whose other bytes are, from the
    /// low end: the kind's index, whether its format is binary64, the rounding mode.
    Float,
    /// `d` = the guest's function number `imm[15:0]` of `a` and `b`. The next word is the program counter; `imm[31:16]`
    /// is how many guest instructions have been retired since the last count.
    Call,
    /// Out if the block, number `imm`, has been executed so often that it is hot; else that is counted.
    Count,
    /// On at the target; `d` guest instructions are retired.
    Jump,
    /// On at the guest's address in the next word, which is on another page; `d` guest instructions are retired.
    Far,
    /// On at the guest's address in the variable `a`; `d` guest instructions are retired.
    Indirect,
    /// A target that is not known yet: the guest's address in the next word. `imm` is the distance in bytes to the word whose
    /// target this is.
    Unlinked,
    /// Out, with the program counter in the next word; `d` guest instructions are retired.
    LeaveTo,
    /// Out, with the program counter in `a`; `d` guest instructions are retired.
    LeaveToVar,
    /// Out, with the program counter as it is; `d` guest instructions are retired.
    Leave,
} }
