//! A single value of a report.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use crate::monitor::style;
use crate::vm::bundle::{Arch, Colour};
use crate::vm::lifecycle::State;

/// A value that knows what it measures.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// The name of a VM, and its colour.
    Name(String, Colour),
    /// Where a VM is in its life.
    State(State),
    /// A number of things.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// Microseconds.
    Time(u64),
    /// Microseconds since the machine started, in full.
    Moment(u64),
    /// A part of a whole, in thousandths.
    Share(u64),
    /// An address or a register.
    Hex(u64),
    /// Yes or no.
    Flag(bool),
    /// There is none.
    Absent,
}

impl Value {
    /// Words.
    pub fn text(words: impl Into<Cow<'static, str>>) -> Self {
        Self::Text(words.into())
    }

    /// `part` of `whole`; none where there is no whole.
    pub fn share(part: u64, whole: u64) -> Self {
        let share = u128::from(part) * 1000;
        share
            .checked_div(u128::from(whole))
            .map_or(Self::Absent, |share| Self::Share(u64::try_from(share).unwrap_or(u64::MAX)))
    }

    /// Whether it is aligned to the right.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Bytes(_) | Self::Time(_) | Self::Moment(_) | Self::Share(_))
    }

    /// How a terminal's colours set it off.
    pub fn style(&self) -> Option<&'static str> {
        match self {
            Self::Name(_, colour) => Some(style::colour(*colour)),
            Self::State(State::Running) => Some(style::colour(Colour::Green)),
            Self::State(State::Crashed) => Some(style::colour(Colour::Red)),
            Self::State(_) => Some(style::colour(Colour::Yellow)),
            _ => None,
        }
    }

    /// For a person, in few columns.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Name(name, _) => Cow::Borrowed(name),
            Self::State(state) => Cow::Owned(state.to_string()),
            Self::Count(count) => Cow::Owned(shown_count(*count)),
            Self::Bytes(bytes) => Cow::Owned(shown_bytes(*bytes)),
            Self::Time(time) => Cow::Owned(shown_time(*time)),
            Self::Moment(time) => Cow::Owned(format!("{}.{:06}", time / 1_000_000, time % 1_000_000)),
            Self::Share(share) => Cow::Owned(format!("{}.{}%", share / 10, share % 10)),
            Self::Hex(value) => Cow::Owned(format!("{value:#x}")),
            Self::Flag(flag) => Cow::Borrowed(if *flag { "yes" } else { "no" }),
            Self::Absent => Cow::Borrowed("-"),
        }
    }
}

/// What an instruction set is called.
pub fn arch_word(arch: Arch) -> &'static str {
    match arch {
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv64",
    }
}

/// Exact as long as it has 7 digits, and at most 7 columns below 10^16.
fn shown_count(count: u64) -> String {
    match count {
        ..10_000_000 => count.to_string(),
        _ => scaled(count, &[("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)]),
    }
}

/// Bytes in powers of 1024, at most 7 columns.
fn shown_bytes(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 10 << 30 && bytes.is_multiple_of(1 << 30) => format!("{}G", bytes >> 30),
        _ if (1 << 20..10_000 << 20).contains(&bytes) && bytes.is_multiple_of(1 << 20) => {
            format!("{}M", bytes >> 20)
        }
        _ => scaled(bytes, &[("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)]),
    }
}

/// `value` with the smallest unit that leaves it four digits; with one decimal where it is not exact.
fn scaled(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, size)| value / size < 10_000).or(units.last());
    let Some(&(name, size)) = unit else { return value.to_string() };
    let tenth = (u128::from(value % size) * 10 / u128::from(size)) as u64;
    match tenth {
        0 => format!("{}{name}", value / size),
        _ => format!("{}.{tenth}{name}", value / size),
    }
}

/// Microseconds with the precision that matters to a person, at most 8 columns below a thousand days.
fn shown_time(time: u64) -> String {
    let (milliseconds, seconds) = (time / 1000, time / 1_000_000);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}.{:03}s", milliseconds % 1000),
        () if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        () => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_where_they_can_be() {
        for (value, expected) in [
            (Value::Count(0), "0"),
            (Value::Count(9_999_999), "9999999"),
            (Value::Count(12_345_678), "12.3M"),
            (Value::Bytes(512 << 20), "512M"),
            (Value::Bytes(16 << 30), "16G"),
            (Value::Bytes(4096), "4096"),
            (Value::Bytes(123_456), "120.5K"),
            (Value::Time(1_234_567), "1.234s"),
            (Value::Time(83_000_000), "1m23s"),
            (Value::Time(3_600_000_000), "1h00m"),
            (Value::Time(100 * 86_400_000_000), "100d00h"),
            (Value::share(1, 3), "33.3%"),
            (Value::share(1, 0), "-"),
        ] {
            assert_eq!(value.shown(), expected);
        }
        for value in [Value::Count(u64::MAX), Value::Bytes(u64::MAX), Value::Hex(u64::MAX)] {
            assert!(value.shown().len() <= 18, "{}", value.shown());
        }
    }
}
