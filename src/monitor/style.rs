//! Colours: the terminal's Select Graphic Rendition sequences (ECMA-48, 8.3.117).

use crate::vm::bundle::Colour;

/// Back to the terminal's own colours.
pub const RESET: &str = "\x1b[0m";

/// Begins text in `colour`.
pub fn colour(colour: Colour) -> &'static str {
    match colour {
        Colour::Red => "\x1b[31m",
        Colour::Green => "\x1b[32m",
        Colour::Yellow => "\x1b[33m",
        Colour::Blue => "\x1b[34m",
        Colour::Magenta => "\x1b[35m",
        Colour::Cyan => "\x1b[36m",
        Colour::White => "\x1b[37m",
    }
}
