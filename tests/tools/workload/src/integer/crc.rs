//! CRC-16, bit by bit.

/// The polynomial x^16 + x^15 + x^2 + 1, the other way round.
const POLYNOMIAL: u16 = 0xa001;

/// A CRC-16 in the making.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crc(u16);

impl Crc {
    /// Goes on with a word, low byte first.
    #[inline(never)]
    pub fn add(&mut self, word: u16) {
        for byte in word.to_le_bytes() {
            self.add_byte(byte);
        }
    }

    /// Goes on with a longer word.
    pub fn add_long(&mut self, word: u32) {
        self.add(word as u16);
        self.add((word >> 16) as u16);
    }

    /// What it has come to.
    pub fn value(self) -> u16 {
        self.0
    }

    fn add_byte(&mut self, mut byte: u8) {
        for _ in 0..8 {
            let odd = (self.0 as u8 ^ byte) & 1 != 0;
            self.0 >>= 1;
            byte >>= 1;
            if odd {
                self.0 ^= POLYNOMIAL;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_16_arc() {
        let mut crc = Crc::default();
        b"123456789".iter().for_each(|&byte| crc.add_byte(byte));
        assert_eq!(crc.value(), 0xbb3d);
    }
}
