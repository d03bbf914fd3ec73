//! Huffman codes of quantized blocks.

use super::blocks::{BLOCK, Block};

/// A table of codes: by symbol, its code and how many bits that has.
#[derive(Clone, Copy)]
pub(super) struct Codes([(u32, u32); 256]);

impl Default for Codes {
    fn default() -> Codes {
        Codes([(0, 0); 256])
    }
}

impl Codes {
    /// The codes of a file's table: how many there are of 1 to 16 bits, then their symbols.
    pub fn new(table: &[u8]) -> Codes {
        let mut codes = Codes::default();
        let (counts, symbols) = table.split_at(table.len().min(16));
        let mut symbols = symbols.iter();
        let mut code = 0;
        for (length, &count) in (1..).zip(counts) {
            for &symbol in symbols.by_ref().take(usize::from(count)) {
                codes.0[usize::from(symbol)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        codes
    }
}

/// Sixteen zeros, more of which follow.
const SIXTEEN_ZEROS: usize = 0xF0;
/// Only zeros follow.
const END_OF_BLOCK: usize = 0x00;

/// Writes codes to the scan of a file.
pub(super) struct BitWriter {
    file: Vec<u8>,
    /// The last bits, the newest lowest.
    bits: u64,
    /// How many of them are not in the file: fewer than 32 between calls.
    count: u32,
}

impl BitWriter {
    /// Goes on after the head of a file.
    pub fn new(file: Vec<u8>) -> BitWriter {
        BitWriter {
            file,
            bits: 0,
            count: 0,
        }
    }

    /// Appends at most 32 bits.
    #[inline(always)]
    fn push(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | u64::from(bits);
        self.count += count;
        if self.count >= 32 {
            self.count -= 32;
            self.write((self.bits >> self.count) as u32);
        }
    }

    /// A byte of ones is followed by one of zeros, lest it be taken for a marker.
    #[inline(always)]
    fn write(&mut self, word: u32) {
        let bytes = word.to_be_bytes();
        // A byte of ones is one that its complement has as zero.
        let complement = !word;
        let has_ones = complement.wrapping_sub(0x0101_0101) & word & 0x8080_8080;
        if has_ones == 0 {
            self.file.extend_from_slice(&bytes);
        } else {
            bytes.into_iter().for_each(|byte| self.write_byte(byte));
        }
    }

    fn write_byte(&mut self, byte: u8) {
        self.file.push(byte);
        if byte == 0xFF {
            self.file.push(0);
        }
    }

    /// Appends a symbol's code.
    #[inline(always)]
    fn symbol(&mut self, codes: &Codes, symbol: usize) {
        let (code, length) = codes.0[symbol & 0xFF];
        self.push(code, length);
    }

    /// Appends the code of `high` and a value's size, and the value in so many bits.
    #[inline(always)]
    fn value(&mut self, codes: &Codes, high: usize, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let (code, length) = codes.0[(high << 4 | size as usize) & 0xFF];
        // Negative values are told by what is missing to them, with a 0 in front.
        let low = (value - i32::from(value < 0)) as u32 & ((1 << size) - 1);
        self.push(code << size | low, length + size);
    }

    /// Appends a block in zigzag order: the difference of its first value to that of the last block,
    /// then runs of zeros and what ends them.
    pub fn block(&mut self, block: &Block, last_dc: i16, [dc, ac]: &[Codes; 2]) {
        self.value(dc, 0, i32::from(block.values[0]) - i32::from(last_dc));
        let mut left = block.set & !1;
        let mut last = 0;
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            let mut zeros = place - last - 1;
            while zeros > 15 {
                self.symbol(ac, SIXTEEN_ZEROS);
                zeros -= 16;
            }
            self.value(ac, zeros, i32::from(block.values[place]));
            last = place;
            left &= left - 1;
        }
        if last < BLOCK - 1 {
            self.symbol(ac, END_OF_BLOCK);
        }
    }

    /// The file, its last byte filled up with ones.
    pub fn finish(mut self) -> Vec<u8> {
        self.push(0x7F, 7);
        while self.count >= 8 {
            self.count -= 8;
            self.write_byte((self.bits >> self.count) as u8);
        }
        self.file
    }
}
