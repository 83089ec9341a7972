//! The boot arguments: words separated by spaces, `key` or `key=value`.

/// The value of the first `key=value` in `bootargs`.
pub fn value<'a>(bootargs: &'a str, key: &str) -> Option<&'a str> {
    bootargs.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// Reads a number as people write it: decimal, or hexadecimal after `0x`, with `_` anywhere.
pub fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let mut value = None;
    for digit in digits.chars().filter(|&digit| digit != '_') {
        let digit = u64::from(digit.to_digit(radix)?);
        value = Some(value.unwrap_or(0u64).checked_mul(u64::from(radix))?.checked_add(digit)?);
    }
    value
}

/// The number given as `key=number` in `bootargs`.
pub fn number_of(bootargs: &str, key: &str) -> Option<u64> {
    value(bootargs, key).and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_keys_only() {
        assert_eq!(value("xmode=1 mode=all seed=0x2a", "mode"), Some("all"));
        assert_eq!(value("mode", "mode"), None);
        assert_eq!(number_of("seed=0x2a", "seed"), Some(42));
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!(number("0xffff_ffff_ffff_ffff"), Some(u64::MAX));
        assert_eq!(number("0x1_0000_0000_0000_0000"), None);
        assert_eq!(number("1000"), Some(1000));
        for bad in ["", "0x", "_", "12g", "0xg", "-1"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
