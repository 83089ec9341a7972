//! A devicetree blob as source text (Devicetree Specification 0.4, chapter 6), in lines that fit the screen
//! where its words allow it.

use alloc::string::String;
use core::fmt::Write;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use super::editor::COLUMNS;

/// Nodes deeper than this are left out: no tree of ours has any, and EL2's stack is small.
const DEPTH: usize = 16;
const INDENT: usize = 4;

/// The source of `tree`.
pub fn source(tree: Fdt<'_>) -> String {
    let mut out = String::from("/dts-v1/;\n");
    for reservation in tree.memory_reservations() {
        let _ = writeln!(out, "/memreserve/ {:#x} {:#x};", reservation.address(), reservation.size());
    }
    out.push('\n');
    node(&mut out, &tree.root(), 0);
    out
}

fn node(out: &mut String, node: &FdtNode<'_>, depth: usize) {
    let indent = depth * INDENT;
    let name = if depth == 0 { "/" } else { node.name() };
    let _ = writeln!(out, "{:indent$}{name} {{", "");
    let mut follows = false;
    for property in node.properties() {
        follows = true;
        let _ = write!(out, "{:1$}", "", indent + INDENT);
        self::property(out, property.name(), property.value(), indent + 2 * INDENT);
    }
    for child in node.children() {
        if follows {
            out.push('\n');
        }
        follows = true;
        if depth == DEPTH {
            let _ = writeln!(out, "{:1$}/* nodes that are too deep */", "", indent + INDENT);
            break;
        }
        self::node(out, &child, depth + 1);
    }
    let _ = writeln!(out, "{:indent$}}};", "");
}

/// Appends a property; it goes on at `indent` where it does not fit one line.
fn property(out: &mut String, name: &str, value: &[u8], indent: usize) {
    out.push_str(name);
    if value.is_empty() {
        out.push_str(";\n");
        return;
    }
    out.push_str(" =");
    let mut column = indent - INDENT + name.len() + 2;
    // What follows the last word is not in it.
    let mut word = |open: &str, word: core::fmt::Arguments<'_>, close: &str| {
        let start = out.len();
        let _ = write!(out, " {open}{word}{close}");
        let length = out.len() - start;
        column += length;
        if column + 1 > COLUMNS && column - length > indent {
            out.replace_range(start..=start, "\n");
            out.insert_str(start + 1, core::iter::repeat_n(" ", indent).collect::<String>().as_str());
            column = indent + length - 1;
        }
    };
    if let Some(strings) = strings(value) {
        let last = strings.split('\0').count() - 1;
        for (index, string) in strings.split('\0').enumerate() {
            let close = if index == last { "\"" } else { "\"," };
            word("\"", format_args!("{}", Escaped(string)), close);
        }
    } else {
        let (bytes, open, close) = match value.len().is_multiple_of(4) {
            true => (4, "<", ">"),
            false => (1, "[", "]"),
        };
        let count = value.len() / bytes;
        for (index, cell) in value.chunks(bytes).enumerate() {
            let open = if index == 0 { open } else { "" };
            let close = if index + 1 == count { close } else { "" };
            let number = cell.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
            match bytes {
                4 => word(open, format_args!("{number:#x}"), close),
                _ => word(open, format_args!("{number:02x}"), close),
            }
        }
    }
    out.push_str(";\n");
}

/// The strings that `value` consists of, if it looks like some: each printable, not empty, and terminated.
fn strings(value: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(value.strip_suffix(&[0])?).ok()?;
    let is_string =
        |string: &str| !string.is_empty() && string.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    text.split('\0').all(is_string).then_some(text)
}

/// A string's text between its quotes.
struct Escaped<'s>(&'s str);

impl core::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '"' | '\\' => write!(f, "\\{character}"),
            _ => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use vm_fdt::FdtWriter;

    use super::*;

    #[test]
    fn a_tree_reads_like_its_source() {
        let mut writer = FdtWriter::new().unwrap();
        let root = writer.begin_node("").unwrap();
        writer.property_string("model", "say \"hi\" \\").unwrap();
        writer.property_array_u32("reg", &[0, 0x4000_0000, 0, 0x1000]).unwrap();
        writer.property_null("dma-coherent").unwrap();
        let child = writer.begin_node("serial@9000000").unwrap();
        writer.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()]).unwrap();
        writer.property("mac", &[1, 2, 0xff]).unwrap();
        writer.property_array_u32("map", &[0x1234_5678; 12]).unwrap();
        writer.end_node(child).unwrap();
        writer.end_node(root).unwrap();
        let blob = writer.finish().unwrap();
        let expected = "\
/dts-v1/;

/ {
    model = \"say \\\"hi\\\" \\\\\";
    reg = <0x0 0x40000000 0x0 0x1000>;
    dma-coherent;

    serial@9000000 {
        compatible = \"arm,pl011\", \"arm,primecell\";
        mac = [01 02 ff];
        map = <0x12345678 0x12345678 0x12345678 0x12345678 0x12345678
            0x12345678 0x12345678 0x12345678 0x12345678 0x12345678 0x12345678
            0x12345678>;
    };
};
";
        assert_eq!(source(Fdt::new(&blob).unwrap()), expected);
    }

    #[test]
    fn too_deep_a_tree_is_cut() {
        let mut writer = FdtWriter::new().unwrap();
        let nodes: Vec<_> =
            (0..30).map(|depth| writer.begin_node(if depth == 0 { "" } else { "n" }).unwrap()).collect();
        nodes.into_iter().rev().for_each(|node| writer.end_node(node).unwrap());
        let text = source(Fdt::new(&writer.finish().unwrap()).unwrap());
        assert_eq!(text.matches("too deep").count(), 1);
    }
}
