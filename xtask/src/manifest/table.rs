//! Reading a TOML table key by key, with every mistake noted at its place.

use std::{fmt, ops::Range};

use toml::de::{DeTable, DeValue};

use super::mistakes::Mistakes;

/// A table that is being read.
pub struct Table<'a, 'm, 't> {
    entries: &'a DeTable<'a>,
    /// Where it begins.
    span: Range<usize>,
    /// Every key that was asked for: those that there are.
    asked: Vec<&'static str>,
    mistakes: &'m mut Mistakes<'t>,
}

impl<'a, 'm, 't> Table<'a, 'm, 't> {
    /// Begins to read `entries`, a table that begins at `span`.
    pub fn new(entries: &'a DeTable<'a>, span: Range<usize>, mistakes: &'m mut Mistakes<'t>) -> Self {
        Self { entries, span, asked: Vec::new(), mistakes }
    }

    /// What `convert` makes of the value of `key`. One of which it makes nothing is noted as a mistake, with
    /// the value that was found and what was `expected`.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        expected: impl fmt::Display,
        convert: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(key);
        let value = self.entries.get(key)?;
        let converted = convert(value.get_ref());
        if converted.is_none() {
            let found = self.mistakes.quote(value.span());
            self.mistakes.add(value.span(), format!("{key}: found {found}, expected {expected}"));
        }
        converted
    }

    /// The value of `key`, which is `true` or `false`, and `usual` where there is none.
    pub fn flag(&mut self, key: &'static str, usual: bool) -> bool {
        self.read(key, "true or false", |value| value.as_bool()).unwrap_or(usual)
    }

    /// The tables of the list `key`, and where each begins.
    pub fn tables(
        &mut self,
        key: &'static str,
        expected: impl fmt::Display,
    ) -> Vec<(&'a DeTable<'a>, Range<usize>)> {
        let tables = self.read(key, expected, |value| {
            let items = value.as_array()?.iter();
            let tables = items.map(|item| Some((item.get_ref().as_table()?, item.span())));
            tables.collect::<Option<Vec<_>>>().filter(|tables| !tables.is_empty())
        });
        tables.unwrap_or_default()
    }

    /// Begins to read `entries`, a table within this one that begins at `span`.
    pub fn nested(&mut self, entries: &'a DeTable<'a>, span: Range<usize>) -> Table<'a, '_, 't> {
        Table::new(entries, span, self.mistakes)
    }

    /// Where the value of `key` stands.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.entries.get(key).map(|value| value.span())
    }

    /// Notes a mistake of the value of `key`.
    pub fn refuse(&mut self, key: &str, why: impl fmt::Display) {
        if let Some(span) = self.span(key) {
            self.mistakes.add(span, format!("{key}: {why}"));
        }
    }

    /// Notes a mistake of the table itself.
    pub fn refuse_whole(&mut self, why: &str) {
        self.mistakes.add(self.span.clone(), why);
    }

    /// Ends: what was not asked for is nothing that there is.
    pub fn finish(self) {
        for key in self.entries.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let message =
                format!("unknown key {:?}, expected one of {}", key.get_ref(), self.asked.join(", "));
            self.mistakes.add(key.span(), message);
        }
    }
}

/// A whole number from 0.
pub fn number(value: &DeValue) -> Option<u32> {
    let number = value.as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok()
}

/// One of some words, and what it stands for.
pub fn word<T: Copy>(value: &DeValue, words: &[(&str, T)]) -> Option<T> {
    let word = value.as_str()?;
    words.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning)
}

/// The words as an expectation.
pub fn one_of<T>(words: &[(&str, T)]) -> String {
    let quoted: Vec<String> = words.iter().map(|(name, _)| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
