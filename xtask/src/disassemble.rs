//! `cargo xtask disassemble`: what the monitor's `jit VM block` shows as words, as instructions.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

/// Prints the file, or what comes in, with the A64 instruction behind each word of a block.
///
/// # Errors
/// It cannot be read.
pub fn run(log: Option<&Path>) -> Result<()> {
    let text = match log {
        Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => {
            let mut text = Vec::new();
            io::copy(&mut io::stdin().lock(), &mut text).context("cannot read the input")?;
            text
        }
    };
    let mut out = io::stdout().lock();
    for line in String::from_utf8_lossy(&text).lines() {
        match writeln!(out, "{}", explain(line.trim_end())) {
            // A pager that has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            printed => printed.context("cannot print")?,
        }
    }
    Ok(())
}

/// The line; if it has a word of a block, with the instruction behind it.
fn explain(line: &str) -> String {
    let Some((word, note)) = parse(line) else { return line.to_owned() };
    let bytes = word.to_le_bytes();
    let instruction = InstDecoder::default().decode(&mut U8Reader::new(&bytes));
    let text =
        instruction.map_or_else(|_| format!(".inst {word:#010x}"), |instruction| instruction.to_string());
    let (head, _) = line.split_at(line.len() - note.len());
    format!("{head}  {text}{note}")
}

/// The word in a line such as `    +0040 91002252 ; out, to 0x1000`, and what stands behind it.
fn parse(line: &str) -> Option<(u32, &str)> {
    let (offset, rest) = line.strip_prefix("    +")?.split_once(' ')?;
    u32::from_str_radix(offset, 16).ok()?;
    let (word, note) = rest.split_at_checked(8)?;
    let is_apart = note.is_empty() || note.starts_with(' ');
    u32::from_str_radix(word, 16).ok().filter(|_| is_apart).map(|word| (word, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_block_become_instructions() {
        assert_eq!(explain("    +0004 91000442"), "    +0004 91000442  add x2, x2, #0x1");
        let stub = explain("    +10c8 97ffffcb ; out, to 0x1000");
        assert_eq!(stub, "    +10c8 97ffffcb  bl $-0xd4 ; out, to 0x1000");
        assert_eq!(explain("    +0000 ffffffff"), "    +0000 ffffffff  .inst 0xffffffff");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in
            ["", "0x80001000: ld t1, 0(a2)", "    +004 9100044", "    +xyz 91000442", "    +0004 910004421"]
        {
            assert_eq!(explain(line), line);
        }
    }
}
