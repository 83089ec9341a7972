//! Huffman's codes in their canonical form (RFC 1951, section 3.2.2), and bits in a row of bytes.

/// How many symbols there are.
pub const SYMBOLS: usize = 320;
/// The longest code, in bits: a longer one takes more symbols than a text of 32 KiB has.
const LONGEST: usize = 24;

/// A code for every symbol that occurs.
#[derive(Debug)]
pub struct Code {
    /// Each symbol's code and its length.
    codes: [(u32, u32); SYMBOLS],
    /// How many codes of each length there are.
    counts: [u32; LONGEST + 1],
    /// The symbols in the order of their codes.
    ordered: [u16; SYMBOLS],
}

impl Code {
    /// The best one where symbols are so frequent.
    #[inline(never)]
    pub fn new(frequencies: &[u32; SYMBOLS]) -> Self {
        let lengths = lengths(frequencies);
        let mut counts = [0; LONGEST + 1];
        for &length in lengths.iter().filter(|&&length| length > 0) {
            counts[length as usize] += 1;
        }
        let mut codes = [(0, 0); SYMBOLS];
        let mut ordered = [0; SYMBOLS];
        let (mut next, mut place) = (0, 0);
        for length in 1..=LONGEST as u32 {
            next <<= 1;
            for (symbol, code) in
                codes.iter_mut().enumerate().filter(|(symbol, _)| lengths[*symbol] == length)
            {
                *code = (next, length);
                ordered[place] = symbol as u16;
                next += 1;
                place += 1;
            }
        }
        Self { codes, counts, ordered }
    }
}

/// How long each symbol's code is: the two rarest trees become one until one is left.
fn lengths(frequencies: &[u32; SYMBOLS]) -> [u32; SYMBOLS] {
    let mut weights = [0; 2 * SYMBOLS];
    let mut parents = [0; 2 * SYMBOLS];
    weights[..SYMBOLS].copy_from_slice(frequencies);
    let mut roots = [0; SYMBOLS];
    let mut count = 0;
    for symbol in (0..SYMBOLS).filter(|&symbol| frequencies[symbol] > 0) {
        roots[count] = symbol;
        count += 1;
    }
    let mut node = SYMBOLS;
    while count > 1 {
        for _ in 0..2 {
            let rarest = (0..count).min_by_key(|&root| weights[roots[root]]).unwrap_or_default();
            count -= 1;
            let root = roots[rarest];
            roots[rarest] = roots[count];
            weights[node] += weights[root];
            parents[root] = node;
        }
        roots[count] = node;
        count += 1;
        node += 1;
    }
    core::array::from_fn(|symbol| {
        let (mut at, mut length) = (symbol, 0);
        while parents[at] != 0 {
            at = parents[at];
            length += 1;
        }
        length
    })
}

/// Writes bits, the first into the highest place of the first byte.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
    waiting: u64,
    count: u32,
}

impl<'a> Writer<'a> {
    /// Nothing is written yet.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, waiting: 0, count: 0 }
    }

    /// Writes a symbol's code.
    pub fn symbol(&mut self, code: &Code, symbol: u16) {
        let (bits, count) = code.codes[usize::from(symbol)];
        self.bits(bits, count);
    }

    /// Writes the lowest `count` bits, up to 32.
    pub fn bits(&mut self, bits: u32, count: u32) {
        self.waiting = self.waiting << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes[self.len] = (self.waiting >> self.count) as u8;
            self.len += 1;
        }
    }

    /// Fills the last byte up with zeros, and returns how many bytes there are.
    pub fn finish(mut self) -> usize {
        self.bits(0, (8 - self.count) % 8);
        self.len
    }
}

/// Reads them again; zeros behind the end.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    waiting: u64,
    count: u32,
}

impl<'a> Reader<'a> {
    /// From the first bit on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, waiting: 0, count: 0 }
    }

    /// The symbol whose code is next.
    pub fn symbol(&mut self, code: &Code) -> u16 {
        let (mut bits, mut first, mut place) = (0, 0, 0);
        for count in &code.counts[1..] {
            bits = bits << 1 | self.bits(1);
            first <<= 1;
            if bits < first + count {
                return code.ordered[(place + bits - first) as usize];
            }
            first += count;
            place += count;
        }
        0
    }

    /// The next `count` bits, up to 32.
    pub fn bits(&mut self, count: u32) -> u32 {
        while self.count < count {
            let byte = self.bytes.split_off_first().copied().unwrap_or_default();
            self.waiting = self.waiting << 8 | u64::from(byte);
            self.count += 8;
        }
        self.count -= count;
        ((self.waiting >> self.count) & ((1 << count) - 1)) as u32
    }
}
