//! The inner loops that compilers vectorise by themselves: whole rows of one channel at a time,
//! compiled for each instruction set of [`Simd`] and chosen at run time.
//!
//! Every function is the row form of a function in [`rules`], to the bit.

use crate::compose::rules;
use crate::compose::simd::Simd;

/// Values that are filtered or blended at a time, in registers. Rows that are written are a multiple of
/// it long.
const CHUNK: usize = 32;

/// Rule 6 in place on three planar rows.
pub(super) fn apply_colour(simd: Simd, matrix: &[i32; 12], rows: [&mut [u8]; 3]) {
    let [red, green, blue] = rows;
    simd.run(
        #[inline(always)]
        || {
            for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
                [*red, *green, *blue] = rules::apply_colour(matrix, [*red, *green, *blue]);
            }
        },
    );
}

/// Rule 8: coverages to 255 on the mask and 0 off it.
pub(super) fn threshold(simd: Simd, coverage: &[u8], mask: &mut [u8]) {
    simd.run(
        #[inline(always)]
        || {
            for (mask, &coverage) in mask.iter_mut().zip(coverage) {
                *mask = if rules::in_mask(coverage) { 255 } else { 0 };
            }
        },
    );
}

/// A 0/255 mask row as all-or-nothing words, behind `start` words of nothing and before nothing but
/// such words.
pub(super) fn widen_mask(simd: Simd, mask: &[u8], start: usize, words: &mut [u16]) {
    let (before, rest) = words.split_at_mut(start);
    let (words, behind) = rest.split_at_mut(mask.len());
    before.fill(0);
    behind.fill(0);
    simd.run(
        #[inline(always)]
        || {
            for (word, &mask) in words.iter_mut().zip(mask) {
                *word = i16::from(mask as i8) as u16;
            }
        },
    );
}

/// Words that [`filter_mask_across`] reads for `length` values and a filter of `taps` weights.
pub(super) fn padded_length(length: usize, taps: usize) -> usize {
    length + taps - 1
}

/// Rule 9 along x: an all-or-nothing row through a filter. `padded` begins `filter.len() / 2` pixels
/// left of `out` and has [`padded_length`] words.
pub(super) fn filter_mask_across(simd: Simd, padded: &[u16], filter: &[u32], out: &mut [u8]) {
    let centre = filter.len() / 2;
    simd.run(
        #[inline(always)]
        || {
            for (chunk, out) in out.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
                let seen = &padded[chunk * CHUNK..][..CHUNK + filter.len() - 1];
                let differing = seen.iter().fold(0, |bits, &word| bits | (word ^ seen[0]));
                if differing == 0 {
                    *out = [seen[0] as u8; CHUNK];
                    continue;
                }
                let sums = sum_across(seen, filter);
                let centres = &seen[centre..][..CHUNK];
                for ((value, &sum), &centre) in out.iter_mut().zip(&sums).zip(centres) {
                    // All weights together are 2^16, of which 16 bits keep nothing; but then the
                    // pixel itself is on the mask, and its own weight makes a sum of 0 impossible.
                    let is_full = sum == 0 && centre != 0;
                    let sum = if is_full { 1 << 16 } else { u32::from(sum) };
                    *value = rules::round_filtered(255 * sum);
                }
            }
        },
    );
}

/// The weights of what is on the mask, modulo 2^16.
#[inline(always)]
fn sum_across(seen: &[u16], filter: &[u32]) -> [u16; CHUNK] {
    let mut sums = [0u16; CHUNK];
    for (shifted, &weight) in seen.windows(CHUNK).zip(filter) {
        for (sum, &word) in sums.iter_mut().zip(shifted) {
            *sum = sum.wrapping_add(word & weight as u16);
        }
    }
    sums
}

/// Rule 9 along y: one output row from as many rows as `filter` is long, all of the same length.
pub(super) fn filter_down(simd: Simd, rows: &[&[u8]], filter: &[u32], out: &mut [u8]) {
    simd.run(
        #[inline(always)]
        || {
            for (chunk, out) in out.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
                let row = |row: usize| -> &[u8; CHUNK] {
                    let values = rows[row].as_chunks::<CHUNK>().0;
                    &values[chunk]
                };
                let (mut all, mut any) = ([255; CHUNK], [0; CHUNK]);
                for number in 0..rows.len() {
                    for ((all, any), &value) in all.iter_mut().zip(&mut any).zip(row(number)) {
                        *all &= value;
                        *any |= value;
                    }
                }
                if any == [0; CHUNK] {
                    *out = [0; CHUNK];
                } else if all == [255; CHUNK] {
                    *out = [255; CHUNK];
                } else {
                    let sums = sum_down(row, filter);
                    for (value, &sum) in out.iter_mut().zip(&sums) {
                        *value = rules::round_filtered(sum);
                    }
                }
            }
        },
    );
}

/// A filter is symmetric, so rows at equal distance share a product.
#[inline(always)]
fn sum_down<'a>(row: impl Fn(usize) -> &'a [u8; CHUNK], filter: &[u32]) -> [u32; CHUNK] {
    let last = filter.len() - 1;
    let centre = last / 2;
    let mut sums = [0u32; CHUNK];
    for (sum, &value) in sums.iter_mut().zip(row(centre)) {
        *sum = filter[centre] * u32::from(value);
    }
    for (number, &weight) in filter[..centre].iter().enumerate() {
        let (above, below) = (row(number), row(last - number));
        for ((sum, &above), &below) in sums.iter_mut().zip(above).zip(below) {
            *sum += weight * u32::from(u16::from(above) + u16::from(below));
        }
    }
    sums
}

/// Rule 11: `foreground` over `background` with weight `a`; whatever `background` has more stays.
pub(super) fn blend(simd: Simd, foreground: &[u8], a: &[u8], background: &mut [u8]) {
    simd.run(
        #[inline(always)]
        || {
            let chunks = foreground.as_chunks::<CHUNK>().0.iter();
            let chunks = chunks.zip(a.as_chunks::<CHUNK>().0);
            let backgrounds = background.as_chunks_mut::<CHUNK>().0.iter_mut();
            for (background, (foreground, a)) in backgrounds.zip(chunks) {
                // Where the weight is 0 rule 11 changes nothing.
                if *a == [0; CHUNK] {
                    continue;
                }
                for ((background, &foreground), &a) in background.iter_mut().zip(foreground).zip(a)
                {
                    // The sums of rule 11 stay below 2^16.
                    let a = u16::from(a);
                    let u = u16::from(foreground) * a + u16::from(*background) * (255 - a) + 128;
                    *background = ((u + (u >> 8)) >> 8) as u8;
                }
            }
        },
    );
}

/// The bits of a 0/255 mask row, the first `width` values of which count, from bit `start` (below 32) of
/// `words` on. `mask` is a multiple of 32 long.
pub(super) fn mask_bits(simd: Simd, mask: &[u8], width: usize, start: u32, words: &mut [u32]) {
    simd.run(
        #[inline(always)]
        || {
            let chunks = mask.as_chunks::<32>().0;
            // Bits that the next word begins with.
            let mut waiting = 0u64;
            let mut left = width;
            for (word, chunk) in words.iter_mut().zip(chunks) {
                let bits = u64::from(bits_of(chunk)) & ((1 << left.min(32)) - 1);
                left = left.saturating_sub(32);
                waiting |= bits << start;
                *word = waiting as u32;
                waiting >>= 32;
            }
            if let [word, ..] = &mut words[chunks.len()..] {
                *word = waiting as u32;
            }
        },
    );
}

/// The uppermost bits of 32 values.
#[inline(always)]
fn bits_of(values: &[u8; 32]) -> u32 {
    // The product's uppermost byte has each flag at a bit of its own, and nothing is carried to it.
    let bits = |flags: &[u8; 8]| {
        let flags = (u64::from_le_bytes(*flags) >> 7) & 0x0101_0101_0101_0101;
        flags.wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    let bytes = values.as_chunks::<8>().0.iter().zip([0, 8, 16, 24]);
    bytes.fold(0, |word, (values, at)| word | (bits(values) << at) as u32)
}

/// Adds a row of mask bits to `columns`, which say where any row has one; returns how many are set.
pub(super) fn tally(simd: Simd, row: &[u32], columns: &mut [u32]) -> u32 {
    simd.run(
        #[inline(always)]
        || {
            let mut count = 0;
            for (&word, columns) in row.iter().zip(columns) {
                *columns |= word;
                count += word.count_ones();
            }
            count
        },
    )
}

/// Rule 13 for a row of a layer's mask bits, of which those stay that no later layer owns; they become
/// owned. As [`tally`] for what stays.
pub(super) fn take_ownership(
    simd: Simd,
    row: &mut [u32],
    owned: &mut [u32],
    columns: &mut [u32],
) -> u32 {
    simd.run(
        #[inline(always)]
        || {
            let mut count = 0;
            for ((word, owned), columns) in row.iter_mut().zip(owned).zip(columns) {
                *word &= !*owned;
                *owned |= *word;
                *columns |= *word;
                count += word.count_ones();
            }
            count
        },
    )
}

/// Rule 13 for a row of a scene instance's mask bits: `out` becomes what of `cover` no layer owns. As
/// [`tally`] for `out`.
pub(super) fn occlude(
    simd: Simd,
    cover: &[u32],
    owned: &[u32],
    out: &mut [u32],
    columns: &mut [u32],
) -> u32 {
    simd.run(
        #[inline(always)]
        || {
            let mut count = 0;
            let words = out.iter_mut().zip(columns);
            for ((out, columns), (&cover, &owned)) in words.zip(cover.iter().zip(owned)) {
                *out = cover & !owned;
                *columns |= *out;
                count += out.count_ones();
            }
            count
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blend_of_a_row_is_rule_11() {
        for (simd, a) in Simd::available()
            .into_iter()
            .zip(0..)
            .flat_map(|(simd, _)| (0..=255u8).map(move |a| (simd, a)))
        {
            let foreground: Vec<u8> = (0..=255).collect();
            let mut background: Vec<u8> = (0..=255).map(|v: u8| v.wrapping_mul(31)).collect();
            let expected: Vec<u8> = foreground
                .iter()
                .zip(&background)
                .map(|(&f, &b)| rules::blend(f, b, a))
                .collect();
            blend(simd, &foreground, &[a; 256], &mut background);
            assert_eq!(background, expected, "{simd}");
        }
    }

    /// A filter as rule 9 has it: symmetric, 2^16 in all.
    fn filter(side: &[u32]) -> Vec<u32> {
        let centre = 65_536 - 2 * side.iter().sum::<u32>();
        let ends = side.iter().copied();
        ends.clone().chain([centre]).chain(ends.rev()).collect()
    }

    #[test]
    fn filters_are_sums_of_products() {
        let filters = [filter(&[0]), filter(&[900, 4000, 13_000]), filter(&[1; 30])];
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
        let mut padded = vec![9; padded_length(length, filter.len())];
        widen_mask(simd, &mask, radius, &mut padded);
        let mut across = vec![7; length];
        filter_mask_across(simd, &padded, filter, &mut across);
        assert_eq!(across, expected, "{simd}, {filter:?}, {seed}");
        // The same down columns, each of which has its own values.
        let width = 2 * CHUNK;
        let value =
            |x: usize, y: usize| mask[y].wrapping_mul(u8::from(x % 7 > 2)) ^ (x % 5 / 4) as u8;
        let plane: Vec<Vec<u8>> = (0..length)
            .map(|y| (0..width).map(|x| value(x, y)).collect())
            .collect();
        let nothing = vec![0; width];
        for y in 0..length {
            let rows: Vec<&[u8]> = (0..filter.len())
                .map(|tap| match (y + tap).checked_sub(radius) {
                    Some(at) if at < length => &plane[at][..],
                    _ => &nothing[..],
                })
                .collect();
            let mut out = vec![7; width];
            filter_down(simd, &rows, filter, &mut out);
            let expected: Vec<u8> = (0..width)
                .map(|x| rules::round_filtered(sum(y, &|at| value(x, at))))
                .collect();
            assert_eq!(out, expected, "{simd}, {filter:?}, {seed}, row {y}");
        }
    }

    #[test]
    fn masks_become_bits_at_any_column() {
        let mask: Vec<u8> = (0..160u32)
            .map(|x| 255 * (x * x % 7 % 2) as u8)
            .collect();
        for simd in Simd::available() {
            for (width, start) in (1..=128).flat_map(|width| (0..32).map(move |at| (width, at))) {
                let mut words = vec![9; (start + width).div_ceil(32)];
                let mask = &mask[..width.next_multiple_of(32)];
                mask_bits(simd, mask, width, start as u32, &mut words);
                for bit in 0..32 * words.len() {
                    let is_set = words[bit / 32] >> (bit % 32) & 1 == 1;
                    let inside = (start..start + width).contains(&bit);
                    let expected = inside && mask[bit - start] != 0;
                    assert_eq!(is_set, expected, "{simd}, {width} from {start}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn what_is_owned_is_not_seen() {
        for simd in Simd::available() {
            let (mut row, mut owned, mut columns) = ([0b1110, 1], [0b0100, 0], [1, 0]);
            assert_eq!(take_ownership(simd, &mut row, &mut owned, &mut columns), 3);
            assert_eq!((row, owned, columns), ([0b1010, 1], [0b1110, 1], [0b1011, 1]));
            let (mut out, mut columns) = ([7, 7], [0, 2]);
            let count = occlude(simd, &[0b11001, 3], &owned, &mut out, &mut columns);
            assert_eq!((count, out, columns), (3, [0b10001, 2], [0b10001, 2]));
        }
    }
}
