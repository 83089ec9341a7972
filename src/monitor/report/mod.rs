//! What a command answers, before it is text for a person ([`text`]) or JSON for a program ([`json`]).

pub mod json;
pub mod text;
pub mod value;

use alloc::string::String;
use alloc::vec::Vec;

pub use value::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The wish is fulfilled, and there is nothing to add.
    Done,
    /// Things of one kind.
    Table(Table),
    /// Properties of one thing. In JSON, the name is a key; in text, its underscores are spaces.
    Fields(Vec<(&'static str, Value)>),
    /// 64-bit registers by name.
    Registers(Vec<(String, u64)>),
    /// Bytes of memory.
    Memory {
        /// Address of the first one.
        address: u64,
        /// All of them.
        bytes: Vec<u8>,
    },
    /// Text that is what it is.
    Text(String),
    /// Text that is for a person only.
    Note(String),
    /// Several answers in one. The name is a key in JSON, and does not appear in text.
    Sections(Vec<(&'static str, Self)>),
}

/// Things of one kind, one in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table with a row for each of `rows`.
    pub fn new<const N: usize>(
        columns: &'static [Column; N],
        rows: impl IntoIterator<Item = [Value; N]>,
    ) -> Self {
        Self { columns, rows: rows.into_iter().map(Vec::from).collect() }
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What is told of each thing in a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// The key in JSON.
    pub key: &'static str,
    /// The heading in text; none where the column is for JSON only.
    pub title: Option<&'static str>,
}

impl Column {
    /// A column that is always there.
    pub const fn new(key: &'static str, title: &'static str) -> Self {
        Self { key, title: Some(title) }
    }

    /// A column that is for JSON only.
    pub const fn json(key: &'static str) -> Self {
        Self { key, title: None }
    }
}
