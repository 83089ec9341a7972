//! A compressor of the kind of `gzip`: repetitions are found through a hash table (LZ77), and what is left is coded by
//! Huffman's method. What was compressed is unpacked again and compared.

use super::{
    hash,
    huffman::{Code, Reader, SYMBOLS, Writer},
    text::Text,
};

/// The text, in bytes.
const TEXT: usize = 32 * 1024;
/// The shortest repetition, and the longest: each length has a symbol behind those of the bytes.
const SHORTEST: usize = 3;
const LONGEST: usize = SHORTEST + SYMBOLS - BYTES - 1;
/// How many symbols are bytes.
const BYTES: usize = 256;
/// How many bits the distance of a repetition takes.
const DISTANCE_BITS: u32 = 15;
/// How many places the table of earlier places has.
const TABLE: usize = 4096;

/// A byte, or a repetition of what was so far back.
#[derive(Debug, Clone, Copy, Default)]
struct Token {
    symbol: u16,
    distance: u16,
}

/// A round of it: a sum over the compressed text, or 0 where unpacking does not give the text.
pub fn round() -> u64 {
    let mut text = [0; TEXT];
    Text::new(31).fill(&mut text);

    let mut tokens = [Token::default(); TEXT];
    let count = find_repetitions(&text, &mut tokens);
    let tokens = &tokens[..count];
    let mut frequencies = [0; SYMBOLS];
    for token in tokens {
        frequencies[usize::from(token.symbol)] += 1;
    }
    let code = Code::new(&frequencies);
    let mut packed = [0; TEXT];
    let mut writer = Writer::new(&mut packed);
    for token in tokens {
        writer.symbol(&code, token.symbol);
        if usize::from(token.symbol) >= BYTES {
            writer.bits(token.distance.into(), DISTANCE_BITS);
        }
    }
    let len = writer.finish();
    let packed = &packed[..len];

    let mut unpacked = [0; TEXT];
    unpack(&code, packed, &mut unpacked);
    if unpacked != text { 0 } else { hash(packed).wrapping_add(len as u64) }
}

/// Makes tokens of the text, and returns how many.
#[inline(never)]
fn find_repetitions(text: &[u8; TEXT], tokens: &mut [Token; TEXT]) -> usize {
    let mut places = [0u16; TABLE];
    let mut at = 0;
    let mut count = 0;
    while at < TEXT {
        let mut token = Token { symbol: text[at].into(), distance: 0 };
        let mut len = 1;
        if let Some(&[a, b, c]) = text[at..].first_chunk() {
            let key = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9e37_79b1) >> 20;
            let earlier = usize::from(core::mem::replace(&mut places[key as usize % TABLE], at as u16));
            let same = repetition(text, earlier, at);
            if earlier < at && same >= SHORTEST {
                token = Token { symbol: (BYTES + same - SHORTEST) as u16, distance: (at - earlier) as u16 };
                len = same;
            }
        }
        tokens[count] = token;
        count += 1;
        at += len;
    }
    count
}

/// How many bytes are the same from both places on.
#[inline(never)]
fn repetition(text: &[u8; TEXT], earlier: usize, at: usize) -> usize {
    let limit = LONGEST.min(TEXT - at);
    let (earlier, here) = (text[earlier..].iter(), text[at..].iter());
    earlier.zip(here).take(limit).take_while(|(earlier, here)| earlier == here).count()
}

/// Undoes both steps.
#[inline(never)]
fn unpack(code: &Code, packed: &[u8], text: &mut [u8; TEXT]) {
    let mut reader = Reader::new(packed);
    let mut at = 0;
    while at < TEXT {
        let symbol = usize::from(reader.symbol(code));
        if symbol < BYTES {
            text[at] = symbol as u8;
            at += 1;
            continue;
        }
        let distance = reader.bits(DISTANCE_BITS) as usize;
        for _ in 0..(symbol - BYTES + SHORTEST).min(TEXT - at) {
            text[at] = text[at.saturating_sub(distance)];
            at += 1;
        }
    }
}
