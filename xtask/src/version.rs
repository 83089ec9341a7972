//! Version numbers as programs and packages print them.

use std::{fmt, str::FromStr};

use anyhow::{Result, bail};

/// Major and minor number; what follows never decides anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number; 0 where there is none.
    pub minor: u32,
}

impl FromStr for Version {
    type Err = anyhow::Error;

    /// Takes `10.0.2`, and a Debian package's `1:10.0.2+ds-2~bpo12+1` (epoch and revision are ignored).
    fn from_str(text: &str) -> Result<Self> {
        let upstream = text.split_once(':').map_or(text, |(_epoch, rest)| rest);
        let mut numbers = upstream
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default()
            .split('.')
            .map(str::parse::<u32>);
        let Some(Ok(major)) = numbers.next() else { bail!("{text:?} is not a version number") };
        let minor = numbers.next().and_then(Result::ok).unwrap_or(0);
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn program_and_package_versions_compare_by_number() {
        assert_eq!(version("1:10.0.2+ds-2+deb13u1~bpo12+1"), Version { major: 10, minor: 0 });
        assert!(version("1:7.2+dfsg-7+deb12u18+b3") < version("9.0.0"));
        assert!(version("10.0.2") > version("9.2"));
        assert!(version("1.85.0+dfsg3-1~deb12u3") < version("1.95"));
        assert_eq!(version("11"), Version { major: 11, minor: 0 });
        assert!("+ds-2".parse::<Version>().is_err());
        assert!("".parse::<Version>().is_err());
    }
}
