//! Turning the addresses of a panic's backtrace into functions and source lines.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, anyhow};
use object::{Object, ObjectSegment};

use crate::firmware::Firmware;

/// How a hypervisor panic begins on the console.
pub const PANIC: &str = "polyvisor panic:";
/// How its backtrace begins: offsets from the start of the image, innermost first, in one line.
const BACKTRACE: &str = "polyvisor backtrace:";
/// How that of a cell's engine begins.
const ENGINE_BACKTRACE: &str = "engine backtrace:";

/// A readable backtrace for every one that `console` shows; empty if it shows none.
///
/// # Errors
/// An ELF file of `firmware` cannot be read.
pub fn explain(firmware: &Firmware, console: &str) -> Result<String> {
    let mut text = String::new();
    for (elf, marker) in [(&firmware.elf, BACKTRACE), (&firmware.engine, ENGINE_BACKTRACE)] {
        if console.contains(marker) {
            text.push_str(&Symbols::load(elf)?.explain(console, marker));
        }
    }
    Ok(text)
}

/// The debug information of an image.
struct Symbols {
    loader: addr2line::Loader,
    base: u64,
}

impl Symbols {
    /// Reads the ELF file that the image was made from.
    fn load(elf: &Path) -> Result<Self> {
        let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let base = object::File::parse(&*bytes)?.segments().map(|segment| segment.address()).min();
        let base = base.with_context(|| format!("{} has no segments", elf.display()))?;
        let loader = addr2line::Loader::new(elf).map_err(|error| anyhow!("{}: {error}", elf.display()))?;
        Ok(Self { loader, base })
    }

    /// A readable backtrace for every one in `console` that begins with `marker`.
    fn explain(&self, console: &str, marker: &str) -> String {
        let mut text = String::new();
        for offsets in console.lines().filter_map(|line| backtrace(line, marker)) {
            for (number, offset) in offsets.into_iter().enumerate() {
                self.frame(&mut text, number, offset);
            }
        }
        text
    }

    fn frame(&self, text: &mut String, number: usize, offset: u64) {
        // The report names the calls themselves, not where they return to.
        let address = self.base.wrapping_add(offset);
        let mut frames = Vec::new();
        if let Ok(mut found) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = found.next() {
                let function = frame
                    .function
                    .as_ref()
                    .and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
                let place = frame.location.map_or(String::new(), |location| {
                    format!("{}:{}", location.file.unwrap_or("?"), location.line.unwrap_or(0))
                });
                frames.push((function, place));
            }
        }
        let symbol = || self.loader.find_symbol(address).map(str::to_owned);
        if frames.is_empty() {
            frames.push((symbol(), String::new()));
        }
        for (function, place) in frames {
            let function = function.or_else(symbol).unwrap_or_else(|| "?".to_owned());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  #{number:<2} {offset:#10x}  {function}  {place}");
        }
    }
}

/// The offsets in a line of the console, if it is a backtrace that begins with `marker`.
fn backtrace(line: &str, marker: &str) -> Option<Vec<u64>> {
    let (_, offsets) = line.split_once(marker)?;
    let hexadecimal = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    Some(offsets.split_whitespace().map_while(hexadecimal).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_found_behind_anything() {
        let offsets = |line| backtrace(line, BACKTRACE);
        assert_eq!(offsets("[cpu0] polyvisor backtrace: 0x1f40 0x20 \r"), Some(vec![0x1f40, 0x20]));
        assert_eq!(offsets("polyvisor backtrace: 0x10 (truncated) 0x20"), Some(vec![0x10]));
        assert_eq!(offsets("backtrace 0x10"), None);
        assert_eq!(offsets("engine backtrace: 0x10"), None);
    }

    #[test]
    fn an_address_gets_its_function_and_line() {
        use object::ObjectSymbol;

        // The test program itself is an ELF file with debug information.
        let program = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&program).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let mut functions = file
            .symbols()
            .filter(|symbol| symbol.name().is_ok_and(|name| name.contains("symbolize9backtrace")));
        let address = functions.find(|symbol| symbol.size() > 0).unwrap().address();

        let symbols = Symbols::load(&program).unwrap();
        let offset = address - symbols.base;
        let console = format!("noise\npolyvisor backtrace: {offset:#x} {:#x}\n", offset + 1);
        let text = symbols.explain(&console, BACKTRACE);
        assert_eq!(text.lines().filter(|line| line.contains("symbolize::backtrace")).count(), 2, "{text}");
        assert!(text.contains("symbolize.rs:"), "{text}");
    }
}
