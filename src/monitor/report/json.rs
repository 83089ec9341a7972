//! A report as JSON (RFC 8259), on one line. Values that may exceed what a double holds exactly, which are
//! addresses and registers, are strings: `"0x40080000"`. Times are microseconds, sizes are bytes, shares are
//! percentages.

use alloc::string::String;
use core::fmt::Write;

use super::{Report, Table, Value};

/// Appends `report`.
pub fn report(out: &mut String, report: &Report) {
    match report {
        Report::Done => out.push_str("null"),
        Report::Table(table) => self::table(out, table),
        Report::Fields(fields) => object(out, fields, value),
        Report::Registers(registers) => {
            object(out, registers, |out, register| value(out, &Value::Hex(*register)));
        }
        Report::Memory { address, bytes } => {
            let _ = write!(out, "{{\"address\":\"{address:#x}\",\"bytes\":\"");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
            out.push_str("\"}");
        }
        Report::Text(text) | Report::Note(text) => string(out, text),
        Report::Sections(sections) => {
            let parts = sections.iter().filter(|(_, part)| !matches!(part, Report::Note(_)));
            object(out, parts, self::report);
        }
    }
}

fn table(out: &mut String, table: &Table) {
    list(out, ('[', ']'), &table.rows, |out, row| {
        list(out, ('{', '}'), table.columns.iter().zip(row), |out, (column, value)| {
            string(out, column.key);
            out.push(':');
            self::value(out, value);
        });
    });
}

fn object<'m, K: AsRef<str> + 'm, V: 'm>(
    out: &mut String,
    members: impl IntoIterator<Item = &'m (K, V)>,
    write: impl Fn(&mut String, &V),
) {
    list(out, ('{', '}'), members, |out, (key, value)| {
        string(out, key.as_ref());
        out.push(':');
        write(out, value);
    });
}

fn list<I>(
    out: &mut String,
    (open, close): (char, char),
    items: impl IntoIterator<Item = I>,
    write: impl Fn(&mut String, I),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(close);
}

fn value(out: &mut String, value: &Value) {
    let _ = match value {
        Value::Text(text) => return string(out, text),
        Value::Name(name, _) => return string(out, name),
        Value::State(state) => write!(out, "\"{state}\""),
        Value::Count(number) | Value::Bytes(number) | Value::Time(number) | Value::Moment(number) => {
            write!(out, "{number}")
        }
        Value::Share(share) => write!(out, "{}.{}", share / 10, share % 10),
        Value::Hex(number) => write!(out, "\"{number:#x}\""),
        Value::Flag(flag) => write!(out, "{flag}"),
        Value::Absent => write!(out, "null"),
    };
}

/// Appends `text` in quotes.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        let _ = match character {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            // Control characters beyond those that JSON forbids, so that none reaches a terminal.
            _ if character.is_control() => write!(out, "\\u{:04x}", u32::from(character)),
            _ => write!(out, "{character}"),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::monitor::tests::json::parse;

    proptest! {
        #[test]
        fn strings_are_read_back_as_they_were(text in any::<String>()) {
            let mut out = String::new();
            string(&mut out, &text);
            prop_assert!(!out.contains(char::is_control));
            prop_assert_eq!(parse(&out), Ok(vec![text]));
        }
    }
}
