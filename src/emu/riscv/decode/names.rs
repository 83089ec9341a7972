//! Integer operations and their mnemonics.

/// An enum whose variants have mnemonics.
macro_rules! mnemonics {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the mnemonics say it")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// As assemblers write it.
            pub const fn mnemonic(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

mnemonics! {
    /// An integer operation on two operands. The one on a register and an immediate is that on two registers.
    Op {
        // RV64I.
        Add "add", Sub "sub", Sll "sll", Slt "slt", Sltu "sltu", Xor "xor", Srl "srl", Sra "sra",
        Or "or", And "and",
        Addw "addw", Subw "subw", Sllw "sllw", Srlw "srlw", Sraw "sraw",
        // M.
        Mul "mul", Mulh "mulh", Mulhsu "mulhsu", Mulhu "mulhu",
        Div "div", Divu "divu", Rem "rem", Remu "remu",
        Mulw "mulw", Divw "divw", Divuw "divuw", Remw "remw", Remuw "remuw",
        // Zba.
        AddUw "add.uw", SllUw "slli.uw", Sh1add "sh1add", Sh2add "sh2add", Sh3add "sh3add",
        Sh1addUw "sh1add.uw", Sh2addUw "sh2add.uw", Sh3addUw "sh3add.uw",
        // Zbb.
        Andn "andn", Orn "orn", Xnor "xnor", Max "max", Maxu "maxu", Min "min", Minu "minu",
        Rol "rol", Ror "ror", Rolw "rolw", Rorw "rorw",
        // Zbc.
        Clmul "clmul", Clmulh "clmulh", Clmulr "clmulr",
        // Zbs.
        Bclr "bclr", Bext "bext", Binv "binv", Bset "bset",
        // Zicond.
        CzeroEqz "czero.eqz", CzeroNez "czero.nez",
    }
}

mnemonics! {
    /// An integer operation on one operand (Zbb).
    Unary {
        Clz "clz", Ctz "ctz", Cpop "cpop", Clzw "clzw", Ctzw "ctzw", Cpopw "cpopw",
        SextB "sext.b", SextH "sext.h", ZextH "zext.h", OrcB "orc.b", Rev8 "rev8",
    }
}

impl Op {
    /// The mnemonic of the form with an immediate; that of the form without if there is none with.
    pub const fn immediate_mnemonic(self) -> &'static str {
        match self {
            Self::Add => "addi",
            Self::Sll => "slli",
            Self::Slt => "slti",
            Self::Sltu => "sltiu",
            Self::Xor => "xori",
            Self::Srl => "srli",
            Self::Sra => "srai",
            Self::Or => "ori",
            Self::And => "andi",
            Self::Addw => "addiw",
            Self::Sllw => "slliw",
            Self::Srlw => "srliw",
            Self::Sraw => "sraiw",
            Self::Ror => "rori",
            Self::Rorw => "roriw",
            Self::Bclr => "bclri",
            Self::Bext => "bexti",
            Self::Binv => "binvi",
            Self::Bset => "bseti",
            _ => self.mnemonic(),
        }
    }
}
