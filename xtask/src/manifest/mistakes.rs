//! What is wrong with a text, and where.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::{self, Write as _},
    ops::Range,
};

/// How much of a wrong value a message quotes, in characters.
const QUOTED: usize = 40;

/// Everything that was found to be wrong with a text. It collects, so that one look at a file finds all that
/// has to be changed.
#[derive(Debug)]
pub struct Mistakes<'t> {
    text: &'t str,
    list: Vec<(Range<usize>, String)>,
}

impl<'t> Mistakes<'t> {
    /// Nothing is wrong yet.
    pub fn new(text: &'t str) -> Self {
        Self { text, list: Vec::new() }
    }

    /// `message` is wrong with the bytes `span`.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.list.push((span, message.into()));
    }

    /// Notes which of `items`, values of `key`, were there before.
    pub fn check_unique<'i, T: Ord + fmt::Debug + 'i>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = &'i (T, Range<usize>)>,
    ) {
        let mut first = BTreeMap::new();
        for (item, span) in items {
            match first.entry(item) {
                Entry::Occupied(line) => {
                    let line = line.get();
                    let message =
                        format!("{key}: found {item:?} again (as in line {line}), expected one of its own");
                    self.add(span.clone(), message);
                }
                Entry::Vacant(place) => {
                    place.insert(self.line(span.start));
                }
            }
        }
    }

    /// What stands at `span`, shortened to a part of one line.
    pub fn quote(&self, span: Range<usize>) -> String {
        let source = self.text.get(span).unwrap_or_default();
        let line = source.lines().next().unwrap_or_default();
        let mut quoted: String = line.chars().take(QUOTED).collect();
        if quoted.len() < source.len() {
            quoted.push_str("...");
        }
        quoted
    }

    /// The line of byte `offset`, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        Place::of(self.text, offset).number
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them in the order of the text, each as `FILE:LINE:COLUMN: message` above the line in question.
    pub fn render(&self, file: &str) -> String {
        let mut sorted: Vec<_> = self.list.iter().collect();
        sorted.sort_by_key(|(span, _)| span.start);
        let mut out = String::new();
        for (span, message) in sorted {
            let place = Place::of(self.text, span.start);
            let before = place.line.get(..place.column).unwrap_or_default();
            let length = span.len().min(place.line.len().saturating_sub(place.column));
            let marked = place.line.get(place.column..place.column + length).unwrap_or_default();
            let (number, column) = (place.number, before.chars().count() + 1);
            // A tab stays one, so that the mark stands below what it marks.
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let mark = "^".repeat(marked.chars().count().max(1));
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{file}:{number}:{column}: {message}");
            let _ = writeln!(out, "{number:>5} | {}", place.line);
            let _ = writeln!(out, "      | {indent}{mark}");
        }
        out
    }
}

/// Where a byte of a text is.
struct Place<'t> {
    /// Its line.
    line: &'t str,
    /// The line's number, from 1.
    number: usize,
    /// How many bytes of the line are before it.
    column: usize,
}

impl<'t> Place<'t> {
    fn of(text: &'t str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        Self { line, number, column: (before.len() - start).min(line.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_shown_in_order_with_their_lines() {
        let text = "a = 1\n\tname = \"grün\" # x\nlast = [\n1]";
        let mut mistakes = Mistakes::new(text);
        let at = |what: &str| {
            let start = text.find(what).unwrap();
            start..start + what.len()
        };
        mistakes.add(at("[\n1]"), "third");
        mistakes.add(at("\"grün\""), "second");
        mistakes.add(0..1, "first");
        mistakes.add(text.len()..text.len(), "end");
        assert_eq!(mistakes.count(), 4);
        assert_eq!(mistakes.quote(at("[\n1]")), "[...");
        assert_eq!(mistakes.quote(at("\"grün\"")), "\"grün\"");
        assert_eq!(mistakes.line(at("last").start), 3);
        assert_eq!(
            mistakes.render("dir/vms.toml"),
            "dir/vms.toml:1:1: first\n    1 | a = 1\n      | ^\n\
             dir/vms.toml:2:9: second\n    2 | \tname = \"grün\" # x\n      | \t       ^^^^^^\n\
             dir/vms.toml:3:8: third\n    3 | last = [\n      |        ^\n\
             dir/vms.toml:4:3: end\n    4 | 1]\n      |   ^\n"
        );
    }
}
