//! What `awk '{ sum[$1] += $2; largest = $3 > largest ? $3 : largest; count[...]++ }'` does: lines are split into fields,
//! fields are read as numbers, and a table is kept.

use super::{hash, table::Table, text::Text};

/// The text, in bytes.
const TEXT: usize = 48 * 1024;

/// A round of it: a sum over both tables.
pub fn round() -> u64 {
    let mut text = [0; TEXT];
    Text::new(21).fill(&mut text);
    let mut sums = Table::new();
    let mut counts = Table::new();
    let mut largest = 0;
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let Some(key) = fields.next() else { continue };
        *sums.number(key) += fields.next().map_or(0, number);
        largest = largest.max(fields.next().map_or(0, number));
        for field in fields {
            *counts.number(field) += 1;
        }
    }
    sums.iter()
        .chain(counts.iter())
        .fold(largest, |sum, (word, number)| sum.wrapping_add(hash(word).wrapping_mul(number | 1)))
}

/// Reads a decimal number, up to what is no digit.
#[inline(never)]
fn number(field: &[u8]) -> u64 {
    let digits = field.iter().map(|byte| byte.wrapping_sub(b'0')).take_while(|&digit| digit < 10);
    digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(digit.into()))
}
