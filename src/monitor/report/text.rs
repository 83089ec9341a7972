//! A report as text, in lines that fit the screen.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::{Column, Report, Table, Value};
use crate::monitor::editor::COLUMNS;
use crate::monitor::style;

/// Between two columns.
const GAP: &str = "  ";
/// Widest name of a VM in a table, in columns.
const NAME: usize = 16;

/// Appends `report`, in whole lines.
pub fn report(out: &mut String, report: &Report, coloured: bool) {
    match report {
        Report::Done => {}
        Report::Table(table) => self::table(out, table, coloured),
        Report::Fields(fields) => self::fields(out, fields, coloured),
        Report::Registers(list) => registers(out, list),
        Report::Memory { address, bytes } => memory(out, *address, bytes),
        Report::Text(text) | Report::Note(text) => {
            out.push_str(text);
            if !text.is_empty() && !text.ends_with('\n') {
                out.push('\n');
            }
        }
        Report::Sections(sections) => {
            for (index, (_, section)) in sections.iter().enumerate() {
                let is_empty = matches!(section, Report::Note(text) if text.is_empty());
                if index > 0 && !is_empty {
                    out.push('\n');
                }
                self::report(out, section, coloured);
            }
        }
    }
}

/// A cell's text; the names of VMs, which may be as long as the screen is wide, in short.
fn cell(value: &Value) -> Cow<'_, str> {
    let shown = value.shown();
    match value {
        Value::Name(..) => fit(shown, NAME),
        _ => shown,
    }
}

/// As much of `text` as fits into `width` columns.
fn fit(text: Cow<'_, str>, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return text;
    }
    let mut short: String = text.chars().take(width.saturating_sub(2)).collect();
    short.push_str("..");
    Cow::Owned(short)
}

fn table(out: &mut String, table: &Table, coloured: bool) {
    let shown = |column: &&Column| column.title.is_some();
    let columns: Vec<(usize, &Column)> =
        table.columns.iter().enumerate().filter(|(_, column)| shown(column)).collect();
    let cells = |index: usize| table.rows.iter().filter_map(move |row| row.get(index));
    let widths: Vec<usize> = columns
        .iter()
        .map(|&(index, column)| {
            let heading = column.title.map_or(0, str::len);
            cells(index).map(|value| cell(value).chars().count()).fold(heading, usize::max)
        })
        .collect();
    let mut line = Row::default();
    for (&(index, column), &width) in columns.iter().zip(&widths) {
        let right = cells(index).any(Value::is_number);
        line.cell(column.title.unwrap_or_default().into(), width, right, None);
    }
    line.end(out);
    for row in &table.rows {
        for (&(index, _), &width) in columns.iter().zip(&widths) {
            let value = row.get(index).unwrap_or(&Value::Absent);
            let right = cells(index).any(Value::is_number);
            line.cell(cell(value), width, right, value.style().filter(|_| coloured));
        }
        line.end(out);
    }
}

/// A line of a table while it is put together.
#[derive(Default)]
struct Row {
    text: String,
    /// Columns that it takes up; the text has escape sequences, too.
    columns: usize,
    /// Spaces before the next cell. A line does not end with any.
    spaces: usize,
}

impl Row {
    fn cell(&mut self, text: Cow<'_, str>, width: usize, right: bool, style: Option<&str>) {
        let text = fit(text, COLUMNS.saturating_sub(self.columns + self.spaces));
        let length = text.chars().count();
        let padding = width.saturating_sub(length);
        if right {
            self.spaces += padding;
        }
        if length > 0 {
            let _ = write!(self.text, "{:1$}", "", self.spaces);
            let (begin, end) = style.map_or(("", ""), |style| (style, style::RESET));
            let _ = write!(self.text, "{begin}{text}{end}");
            self.columns += self.spaces + length;
            self.spaces = 0;
        }
        self.spaces += GAP.len() + if right { 0 } else { padding };
    }

    fn end(&mut self, out: &mut String) {
        out.push_str(&self.text);
        out.push('\n');
        *self = Self::default();
    }
}

fn fields(out: &mut String, fields: &[(&'static str, Value)], coloured: bool) {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    for (name, value) in fields {
        let mut row = Row::default();
        let mut label = name.replace('_', " ");
        label.push(':');
        row.cell(label.into(), width, false, None);
        row.cell(value.shown(), 0, false, value.style().filter(|_| coloured));
        row.end(out);
    }
}

fn registers(out: &mut String, registers: &[(String, u64)]) {
    let width = registers.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let per_row = ((COLUMNS + GAP.len()) / (width + 1 + 16 + GAP.len())).max(1);
    for row in registers.chunks(per_row) {
        let mut gap = "";
        for (name, value) in row {
            let _ = write!(out, "{gap}{name:width$} {value:016x}");
            gap = GAP;
        }
        out.push('\n');
    }
}

/// Sixteen bytes in a line: address, bytes in pairs, and what is printable of them.
fn memory(out: &mut String, address: u64, bytes: &[u8]) {
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let _ = write!(out, "{:016x}:", address.wrapping_add(row as u64 * 16));
        for index in 0..16 {
            if index % 2 == 0 {
                out.push(' ');
            }
            let _ = match bytes.get(index) {
                Some(byte) => write!(out, "{byte:02x}"),
                None => write!(out, "  "),
            };
        }
        out.push_str(GAP);
        let printable = |&byte: &u8| if (0x20..0x7f).contains(&byte) { byte.into() } else { '.' };
        out.extend(bytes.iter().map(printable));
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::bundle::Colour;
    use crate::vm::lifecycle::State;

    fn rendered(report: &Report) -> String {
        let mut out = String::new();
        super::report(&mut out, report, false);
        out
    }

    #[test]
    fn tables_are_aligned_and_fit_the_screen() {
        const COLUMNS: &[Column; 5] = &[
            Column::new("name", "NAME"),
            Column::json("secret"),
            Column::new("state", "STATE"),
            Column::new("count", "COUNT"),
            Column::new("note", "NOTE"),
        ];
        let row = |name: &str, count, note: String| {
            let name = Value::Name(name.into(), Colour::Red);
            [name, Value::Flag(true), Value::State(State::Running), Value::Count(count), Value::text(note)]
        };
        let rows = [row("a", 1, "x".repeat(90)), row(&"n".repeat(63), 12345, String::new())];
        let report = Report::Table(Table::new(COLUMNS, rows));
        let expected = [
            "NAME              STATE    COUNT  NOTE",
            &format!("a                 running      1  {}..", "x".repeat(43)),
            "nnnnnnnnnnnnnn..  running  12345",
            "",
        ];
        assert_eq!(rendered(&report), expected.join("\n"));
    }

    #[test]
    fn memory_is_shown_in_rows_of_sixteen() {
        let report = Report::Memory { address: u64::MAX - 15, bytes: b"0123456789abcdef\0!".to_vec() };
        let expected = "\
fffffffffffffff0: 3031 3233 3435 3637 3839 6162 6364 6566  0123456789abcdef
0000000000000000: 0021                                     .!
";
        assert_eq!(rendered(&report), expected);
    }

    #[test]
    fn registers_stand_in_columns() {
        let report =
            Report::Registers(vec![("x0".into(), 1), ("pc".into(), 2), ("sp".into(), 3), ("x1".into(), 4)]);
        let lines: Vec<_> = rendered(&report).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            ["x0 0000000000000001  pc 0000000000000002  sp 0000000000000003", "x1 0000000000000004"]
        );
    }
}
