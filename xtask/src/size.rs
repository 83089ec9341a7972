//! Amounts of memory as people write them.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, ensure};

const MIB: u64 = 1 << 20;

/// A whole number of MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    mib: u64,
}

impl Size {
    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self { mib }
    }

    /// So many GiB.
    pub const fn gib(gib: u64) -> Self {
        Self { mib: gib * 1024 }
    }

    /// Half of it, a multiple of 2 MiB as guests' RAM has to be.
    pub const fn half(self) -> Self {
        Self { mib: self.mib / 4 * 2 }
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        self.mib * MIB
    }

    /// The amount as QEMU's `-m` takes it.
    pub fn qemu(self) -> String {
        format!("{}M", self.mib)
    }
}

impl FromStr for Size {
    type Err = anyhow::Error;

    /// Takes `512M`, `2G`, `1T`, with an optional `iB`; a bare number is MiB, as for QEMU.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 =
            digits.parse().with_context(|| format!("{text:?} is not a size such as 512M or 2G"))?;
        let factor = match text[digits.len()..].trim_end_matches("iB").to_ascii_uppercase().as_str() {
            "" | "M" => 1,
            "G" => 1 << 10,
            "T" => 1 << 20,
            unit => anyhow::bail!("{text:?}: unknown unit {unit:?}; use M, G or T"),
        };
        let mib = number.checked_mul(factor).filter(|mib| mib.checked_mul(MIB).is_some());
        let mib = mib.with_context(|| format!("{text:?} is more than 64 bits can address"))?;
        ensure!(mib > 0, "a size of 0 makes no machine");
        Ok(Self { mib })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mib.is_multiple_of(1024) {
            write!(f, "{} GiB", self.mib / 1024)
        } else {
            write!(f, "{} MiB", self.mib)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_reads_them() {
        let size = |text: &str| text.parse::<Size>().map(Size::bytes).ok();
        assert_eq!(size("512M"), Some(512 << 20));
        assert_eq!(size("512"), Some(512 << 20));
        assert_eq!(size("8GiB"), Some(8 << 30));
        assert_eq!(size("1t"), Some(1 << 40));
        for wrong in ["", "G", "0", "12K", "1.5G", "-1G", "20000000T"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
