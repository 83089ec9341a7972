//! Square matrices of 16-bit numbers, and their products, in 32 bits.

use core::hint::black_box;

use super::crc::Crc;

/// The number of rows and columns.
const SIZE: usize = 9;
const CELLS: usize = SIZE * SIZE;

/// Two factors and a product.
#[derive(Debug)]
pub struct Matrices {
    /// A number that the compiler does not know, so that loops stay loops.
    size: usize,
    left: [i16; CELLS],
    right: [i16; CELLS],
    product: [i32; CELLS],
}

impl Matrices {
    /// Factors that are always the same.
    pub fn new() -> Self {
        let number = |cell: usize, factor: u16| ((cell as u16 + 1).wrapping_mul(factor) & 0x7f) as i16;
        Self {
            size: black_box(SIZE),
            left: core::array::from_fn(|cell| number(cell, 0x1d35)),
            right: core::array::from_fn(|cell| number(cell, 0x2b47) + cell as i16),
            product: [0; CELLS],
        }
    }

    /// Adds `operand` to the left one, multiplies it with numbers, columns and the right one, and takes `operand` away again:
    /// the CRC of what came out.
    pub fn work(&mut self, operand: u16, mut crc: Crc) -> u16 {
        let operand = operand as i16;
        let limit = i32::from(operand) | 0x0f00;
        self.add(operand);
        self.scale(operand);
        crc.add(self.sum(limit));
        self.multiply_column();
        crc.add(self.sum(limit));
        self.multiply(|product| product);
        crc.add(self.sum(limit));
        self.multiply(|product| ((product >> 2) & 0xf) * ((product >> 5) & 0x7f));
        crc.add(self.sum(limit));
        self.add(operand.wrapping_neg());
        crc.value()
    }

    #[inline(never)]
    fn add(&mut self, operand: i16) {
        for row in self.left.chunks_exact_mut(self.size) {
            for cell in row {
                *cell = cell.wrapping_add(operand);
            }
        }
    }

    #[inline(never)]
    fn scale(&mut self, operand: i16) {
        for (from, to) in self.left.chunks_exact(self.size).zip(self.product.chunks_exact_mut(self.size)) {
            for (from, to) in from.iter().zip(to) {
                *to = i32::from(*from) * i32::from(operand);
            }
        }
    }

    #[inline(never)]
    fn multiply_column(&mut self) {
        for (row, to) in self.left.chunks_exact(self.size).zip(&mut self.product) {
            *to = row.iter().zip(&self.right).map(|(left, right)| i32::from(*left) * i32::from(*right)).sum();
        }
    }

    #[inline(never)]
    fn multiply(&mut self, term: impl Fn(i32) -> i32) {
        let size = self.size;
        for (row, to) in self.left.chunks_exact(size).zip(self.product.chunks_exact_mut(size)) {
            for (column, to) in to.iter_mut().enumerate() {
                let factors = row.iter().zip(self.right.chunks_exact(size));
                *to = factors.fold(0, |sum: i32, (left, right)| {
                    sum.wrapping_add(term(i32::from(*left) * i32::from(right[column])))
                });
            }
        }
    }

    /// Adds up the product, from the start again whenever the sum gets above `limit`.
    #[inline(never)]
    fn sum(&self, limit: i32) -> u16 {
        let (mut sum, mut result, mut last) = (0i32, 0u16, 0);
        for &cell in self.product.chunks_exact(self.size).flatten() {
            sum = sum.wrapping_add(cell);
            if sum > limit {
                result = result.wrapping_add(10);
                sum = 0;
            } else if cell > last {
                result = result.wrapping_add(1);
            }
            last = cell;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right() {
        let mut matrices = Matrices::new();
        matrices.multiply(|product| product);
        let (row, column) = (2, 7);
        let cell: i32 = (0..SIZE)
            .map(|k| i32::from(matrices.left[row * SIZE + k]) * i32::from(matrices.right[k * SIZE + column]))
            .sum();
        assert_eq!(matrices.product[row * SIZE + column], cell);
    }
}
