//! Rule 9's filters, chunk by chunk of a row.
//!
//! A mask is all or nothing, and most chunks see nothing but its inside or its outside: they are filled.
//! Along x nearly all others see one edge, and are a piece of what an edge becomes. Along y only chunks
//! that saw some of an edge in any of the rows are summed.

use super::rows::CHUNK;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::compose::rules;
use crate::compose::simd::Simd;

/// How much of what a chunk's filter sees is on the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Share {
    #[default]
    Nothing,
    Some,
    All,
}

/// How many chunks a row of `length` values has.
pub(super) fn chunks_of(length: usize) -> usize {
    length / CHUNK
}

/// Words of bits that a chunk's filter sees at most: 32 values and 30 on both sides.
const WORDS_SEEN: usize = 3;

/// Words of bits that [`FilterAcross::apply`] reads for `length` values.
pub(super) fn padded_words(length: usize) -> usize {
    chunks_of(length) + WORDS_SEEN - 1
}

/// Rule 9's filter for the pass along x.
#[derive(Debug, Default)]
pub(super) struct FilterAcross {
    /// Modulo 2^16, as sums are: only a lone weight is as great as that.
    weights: Vec<u16>,
    /// What an edge becomes behind which all is on the mask, from where a chunk of 0 begins to where one
    /// of 255 ends.
    rising: Vec<u8>,
    /// As `rising`, of an edge before which all is on the mask.
    falling: Vec<u8>,
}

impl FilterAcross {
    /// Takes all 2r + 1 weights.
    pub fn set(&mut self, filter: &[u32]) {
        self.weights.clear();
        self.weights
            .extend(filter.iter().map(|&weight| weight as u16));
        let value = |weights: &[u32]| rules::round_filtered(255 * weights.iter().sum::<u32>());
        let last_edge = self.last_edge();
        self.rising.clear();
        self.falling.clear();
        for place in 0..CHUNK + last_edge {
            // How many weights lie before the edge: fewer from pixel to pixel.
            let count = last_edge.saturating_sub(place).min(filter.len());
            let (before, behind) = filter.split_at(count);
            self.rising.push(value(behind));
            self.falling.push(value(before));
        }
    }

    /// The last place of an edge that a chunk's filter sees, counted from the first pixel that it sees.
    fn last_edge(&self) -> usize {
        CHUNK + self.weights.len() - 2
    }

    /// Filters an all-or-nothing row, whose bits begin r pixels left of `out`. Says of each chunk in
    /// `shares` what it sees.
    pub fn apply(&self, simd: Simd, bits: &[u32], out: &mut [u8], shares: &mut [Share]) {
        let all = (1 << (self.last_edge() + 1)) - 1;
        simd.run(
            #[inline(always)]
            || {
                let chunks = out.as_chunks_mut::<CHUNK>().0.iter_mut().zip(shares);
                for ((out, share), words) in chunks.zip(bits.windows(WORDS_SEEN)) {
                    let [a, b, c] = [words[0], words[1], words[2]].map(u128::from);
                    let seen = (a | b << 32 | c << 64) & all;
                    if seen == 0 {
                        (*out, *share) = ([0; CHUNK], Share::Nothing);
                    } else if seen == all {
                        (*out, *share) = ([255; CHUNK], Share::All);
                    } else {
                        (*out, *share) = (self.chunk(words, seen, all), Share::Some);
                    }
                }
            },
        );
    }

    /// One chunk that sees some of the mask.
    #[inline(always)]
    fn chunk(&self, words: &[u32], seen: u128, all: u128) -> [u8; CHUNK] {
        // Nearly all chunks see one edge, and are a piece of what it becomes.
        let edge = seen.trailing_zeros() as usize;
        let (edge, values) = if seen == all >> edge << edge {
            (edge, &self.rising)
        } else if seen & (seen + 1) == 0 {
            (seen.trailing_ones() as usize, &self.falling)
        } else {
            return self.sum(words);
        };
        let values = values[self.last_edge() - edge..].first_chunk();
        *values.unwrap_or(&[0; CHUNK])
    }

    /// The weights of what is on the mask, rounded to 8 bits.
    #[inline(always)]
    fn sum(&self, words: &[u32]) -> [u8; CHUNK] {
        let mut seen = [0u16; 32 * WORDS_SEEN];
        for (seen, &word) in seen.as_chunks_mut::<32>().0.iter_mut().zip(words) {
            for (bit, seen) in (0..).zip(seen) {
                *seen = ((word >> bit & 1) as u16).wrapping_neg();
            }
        }
        let mut sums = [0u16; CHUNK];
        for (shifted, &weight) in seen.windows(CHUNK).zip(&self.weights) {
            for (sum, &word) in sums.iter_mut().zip(shifted) {
                *sum = sum.wrapping_add(word & weight);
            }
        }
        let mut values = [0; CHUNK];
        let centres = &seen[self.weights.len() / 2..][..CHUNK];
        for ((value, &sum), &centre) in values.iter_mut().zip(&sums).zip(centres) {
            // All weights together are 2^16, of which 16 bits keep nothing; but then the pixel itself
            // is on the mask, and its own weight makes a sum of 0 impossible.
            let full = if sum == 0 { centre } else { 0 };
            // Rule 9's rounding of 255 times the sum, in halves of 16 bits.
            let product = 255 * u32::from(sum);
            let rounding = (product as u16) >> 15;
            *value = (((product >> 16) as u16 + rounding) | full) as u8;
        }
        values
    }
}

/// Rule 9's filter for the pass along y. It is symmetric, so rows at equal distance from the centre share
/// a weight, and two such weights side by side, in 16 bits, serve one sum of products.
#[derive(Debug, Default)]
pub(super) struct FilterDown {
    /// Weights of the rows at distance r and r - 1, r - 2 and r - 3, …; the last may be alone with 0.
    pub sides: Vec<[i16; 2]>,
    /// The centre's weight, in parts that fit.
    pub centre: Vec<[i16; 2]>,
    /// r.
    pub radius: usize,
}

impl FilterDown {
    /// Takes it from all 2r + 1 weights.
    pub fn set(&mut self, filter: &[u32]) {
        let radius = filter.len() / 2;
        self.radius = radius;
        // Twice a side's weight and the centre's, which is not 0, are 2^16 at most: a side's has 15 bits.
        let sides = filter[..radius].chunks(2).map(|pair| {
            let weight = |at: usize| pair.get(at).map_or(0, |&weight| weight as i16);
            [weight(0), weight(1)]
        });
        self.sides.clear();
        self.sides.extend(sides);
        self.centre.clear();
        let mut left = filter[radius];
        let mut part = || {
            let part = left.min(i16::MAX as u32);
            left -= part;
            part as i16
        };
        loop {
            let pair = [part(), part()];
            if pair == [0; 2] {
                break;
            }
            self.centre.push(pair);
        }
    }

    /// One output row from 2r + 1 rows of the same length behind one another. `shares` says of each chunk
    /// what all rows saw.
    pub fn apply(
        &self,
        simd: Simd,
        rows: &[u8],
        shares: impl Iterator<Item = Share>,
        out: &mut [u8],
    ) {
        let stride = out.len();
        simd.run(
            #[inline(always)]
            || {
                let chunks = out.as_chunks_mut::<CHUNK>().0.iter_mut().zip(shares);
                for (chunk, (out, share)) in chunks.enumerate() {
                    *out = match share {
                        Share::Nothing => [0; CHUNK],
                        Share::All => [255; CHUNK],
                        Share::Some => {
                            let values = &rows[CHUNK * chunk..];
                            let radius = self.radius;
                            let rows = ChunkRows {
                                values,
                                stride,
                                radius,
                            };
                            sum_down(simd, rows, self)
                        }
                    };
                }
            },
        );
    }
}

/// The 2r + 1 rows of one chunk.
#[derive(Clone, Copy)]
pub(super) struct ChunkRows<'a> {
    /// From the first value of the chunk in the first row on.
    values: &'a [u8],
    stride: usize,
    radius: usize,
}

impl<'a> ChunkRows<'a> {
    #[inline(always)]
    fn row(self, number: usize) -> &'a [u8; CHUNK] {
        let values = self.values[number * self.stride..].first_chunk();
        values.unwrap_or(&[0; CHUNK])
    }

    /// The row in the middle.
    #[inline(always)]
    pub fn centre(self) -> &'a [u8; CHUNK] {
        self.row(self.radius)
    }

    /// The rows that many behind the first and before the last.
    #[inline(always)]
    pub fn pair(self, number: usize) -> [&'a [u8; CHUNK]; 2] {
        [self.row(number), self.row(2 * self.radius - number)]
    }
}

/// The sums of one chunk, rounded to 8 bits.
#[inline(always)]
fn sum_down(simd: Simd, rows: ChunkRows<'_>, filter: &FilterDown) -> [u8; CHUNK] {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) => x86::avx512::sum_down(token, rows, filter),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::avx2::sum_down(token, rows, filter),
        #[cfg(target_arch = "x86_64")]
        Simd::Sse(token) => x86::sse::sum_down(token, rows, filter),
        _ => sum_down_plainly(rows, filter),
    }
}

#[inline(always)]
fn sum_down_plainly(rows: ChunkRows<'_>, filter: &FilterDown) -> [u8; CHUNK] {
    let mut sums = [0u32; CHUNK];
    let sides = filter.sides.as_flattened().iter();
    for (number, &weight) in sides.enumerate().take(filter.radius) {
        let [above, below] = rows.pair(number);
        for ((sum, &above), &below) in sums.iter_mut().zip(above).zip(below) {
            *sum += u32::from(weight as u16) * u32::from(u16::from(above) + u16::from(below));
        }
    }
    let centre = filter.centre.as_flattened().iter();
    let weight: u32 = centre.map(|&weight| u32::from(weight as u16)).sum();
    let mut values = [0; CHUNK];
    for ((value, &sum), &centre) in values.iter_mut().zip(&sums).zip(rows.centre()) {
        *value = rules::round_filtered(sum + weight * u32::from(centre));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::cpu::rows::mask_bits;

    /// A filter as rule 9 has it: symmetric, 2^16 in all.
    fn filter(side: &[u32]) -> Vec<u32> {
        let centre = 65_536 - 2 * side.iter().sum::<u32>();
        let ends = side.iter().copied();
        ends.clone().chain([centre]).chain(ends.rev()).collect()
    }

    #[test]
    fn filters_are_sums_of_products() {
        // The greatest centre, one that is just in two parts, odd radii, and the widest.
        let filters = [
            filter(&[0]),
            filter(&[1]),
            filter(&[16_385]),
            filter(&[900, 4000, 13_000]),
            filter(&[900, 4000]),
            filter(&[7282; 4]),
            filter(&[1; 30]),
        ];
        for simd in Simd::available() {
            for filter in &filters {
                for seed in 0..8usize {
                    across_and_down(simd, filter, seed);
                }
            }
        }
    }

    fn across_and_down(simd: Simd, filter: &[u32], seed: usize) {
        let (length, radius) = (3 * CHUNK, filter.len() / 2);
        let on = |x: usize| seed == 7 || (seed > 0 && (x * x / 3 + seed * x) % (3 + 9 * seed) < 8);
        let mask: Vec<u8> = (0..length).map(|x| 255 * u8::from(on(x))).collect();
        let sum = |x: usize, value: &dyn Fn(usize) -> u8| {
            let taps = filter.iter().enumerate();
            taps.map(|(tap, weight)| match (x + tap).checked_sub(radius) {
                Some(at) if at < length => weight * u32::from(value(at)),
                _ => 0,
            })
            .sum()
        };
        let expected: Vec<u8> = (0..length)
            .map(|x| rules::round_filtered(sum(x, &|at| mask[at])))
            .collect();
        let mut bits = vec![0; padded_words(length)];
        mask_bits(simd, &mask, length, radius as u32, &mut bits[..4]);
        let mut across = vec![7; length];
        let mut shares = vec![Share::Some; chunks_of(length)];
        let mut by_filter = FilterAcross::default();
        by_filter.set(filter);
        by_filter.apply(simd, &bits, &mut across, &mut shares);
        assert_eq!(across, expected, "{simd}, {filter:?}, {seed}");
        for (share, values) in shares.iter().zip(expected.chunks(CHUNK)) {
            let is_full = values.iter().all(|&value| value == 255);
            let is_empty = values.iter().all(|&value| value == 0);
            assert!(*share != Share::All || is_full);
            assert!(*share != Share::Nothing || is_empty);
        }
        // The same down columns, each of which has its own values.
        let width = 2 * CHUNK;
        let value =
            |x: usize, y: usize| mask[y].wrapping_mul(u8::from(x % 7 > 2)) ^ (x % 5 / 4) as u8;
        let plane: Vec<Vec<u8>> = (0..length)
            .map(|y| (0..width).map(|x| value(x, y)).collect())
            .collect();
        let nothing = vec![0; width];
        for y in 0..length {
            let rows: Vec<u8> = (0..filter.len())
                .flat_map(|tap| match (y + tap).checked_sub(radius) {
                    Some(at) if at < length => &plane[at],
                    _ => &nothing,
                })
                .copied()
                .collect();
            let mut out = vec![7; width];
            let mut down = FilterDown::default();
            down.set(filter);
            let shares = [Share::Some; 2].into_iter();
            down.apply(simd, &rows, shares, &mut out);
            let expected: Vec<u8> = (0..width)
                .map(|x| rules::round_filtered(sum(y, &|at| value(x, at))))
                .collect();
            assert_eq!(out, expected, "{simd}, {filter:?}, {seed}, row {y}");
        }
    }
}
