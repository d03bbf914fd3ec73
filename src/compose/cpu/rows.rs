//! The inner loops: whole rows of one channel at a time, written so that the compiler vectorises
//! them, compiled once for each instruction set and chosen at run time.
//!
//! Every function is the row form of a function in [`rules`], to the bit.

use multiversion::multiversion;

use crate::compose::rules::{self, Tap};

/// Rule 4 along x: channels `FIRST..FIRST + USED` of one row of interleaved texels into `USED`
/// planar rows of `taps.len()` values behind one another.
pub(super) fn blend_across<const CHANNELS: usize, const FIRST: usize, const USED: usize>(
    texels: &[u8],
    taps: &[Tap],
    planar: &mut [u16],
) {
    let mut rows = planar.chunks_exact_mut(taps.len());
    let mut rows: [&mut [u16]; USED] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    let (texels, _) = texels.as_chunks::<CHANNELS>();
    for (x, tap) in taps.iter().enumerate() {
        let first = &texels[tap.first as usize];
        let second = &texels[tap.second as usize];
        for (channel, row) in rows.iter_mut().enumerate() {
            row[x] =
                rules::blend_across(first[FIRST + channel], second[FIRST + channel], tap.weight);
        }
    }
}

/// Rule 4 along y: two rows of [`blend_across`] into one row of 8 bits.
#[multiversion(targets = "simd")]
pub(super) fn blend_down(top: &[u16], bottom: &[u16], weight: u32, out: &mut [u8]) {
    for ((out, &top), &bottom) in out.iter_mut().zip(top).zip(bottom) {
        *out = rules::blend_down(top, bottom, weight);
    }
}

/// Rule 6 in place on three planar rows.
#[multiversion(targets = "simd")]
pub(super) fn apply_colour(matrix: &[i32; 12], rows: [&mut [u8]; 3]) {
    let [red, green, blue] = rows;
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = rules::apply_colour(matrix, [*red, *green, *blue]);
    }
}

/// Rule 8: coverages to 255 on the mask and 0 off it.
#[multiversion(targets = "simd")]
pub(super) fn threshold(coverage: &[u8], mask: &mut [u8]) {
    for (mask, &coverage) in mask.iter_mut().zip(coverage) {
        *mask = if rules::in_mask(coverage) { 255 } else { 0 };
    }
}

/// Rule 9 along x: a 0/255 mask row through a filter. `padded` begins `filter.len() / 2` pixels
/// left of `out`; `sums` is scratch as long as `out`.
#[multiversion(targets = "simd")]
pub(super) fn filter_mask_across(padded: &[u8], filter: &[u32], sums: &mut [u32], out: &mut [u8]) {
    sums.fill(0);
    for (shifted, &weight) in padded.windows(out.len()).zip(filter) {
        let weight = 255 * weight;
        for (sum, &value) in sums.iter_mut().zip(shifted) {
            // 0 or 255, widened with its sign, is a mask of all bits: cheaper than a product.
            *sum += i32::from(value as i8) as u32 & weight;
        }
    }
    for (out, &sum) in out.iter_mut().zip(sums.iter()) {
        *out = rules::round_filtered(sum);
    }
}

/// Rule 9 along y: one output row from rows `stride` apart in `plane`, as many as `filter` is
/// long. A filter is symmetric, so rows at equal distance share a product.
#[multiversion(targets = "simd")]
pub(super) fn filter_down(rows: &[&[u8]], filter: &[u32], sums: &mut [u32], out: &mut [u8]) {
    let last = rows.len() - 1;
    let centre = last / 2;
    for (sum, &value) in sums.iter_mut().zip(rows[centre]) {
        *sum = filter[centre] * u32::from(value);
    }
    for j in 0..centre {
        let weight = filter[j];
        for ((sum, &above), &below) in sums.iter_mut().zip(rows[j]).zip(rows[last - j]) {
            *sum += weight * (u32::from(above) + u32::from(below));
        }
    }
    for (out, &sum) in out.iter_mut().zip(sums.iter()) {
        *out = rules::round_filtered(sum);
    }
}

/// Rule 11: `foreground` over `background` with weight `a`.
#[multiversion(targets = "simd")]
pub(super) fn blend(foreground: &[u8], a: &[u8], background: &mut [u8]) {
    for ((background, &foreground), &a) in background.iter_mut().zip(foreground).zip(a) {
        // The sums of rule 11 stay below 2^16.
        let a = u16::from(a);
        let u = u16::from(foreground) * a + u16::from(*background) * (255 - a) + 128;
        *background = ((u + (u >> 8)) >> 8) as u8;
    }
}

/// Rule 13: `layer` becomes the top of the mask's pixels; returns how many there are.
#[multiversion(targets = "simd")]
pub(super) fn cover(mask: &[u8], layer: u16, top: &mut [u16]) -> u32 {
    let mut count = 0;
    for (top, &mask) in top.iter_mut().zip(mask) {
        let covered = mask != 0;
        *top = if covered { layer } else { *top };
        count += u32::from(covered);
    }
    count
}

/// Whether all values are equal to the first.
#[multiversion(targets = "simd")]
pub(super) fn is_uniform(top: &[u16; 32]) -> bool {
    top.iter()
        .fold(0, |differing, &value| differing | (value ^ top[0]))
        == 0
}

/// Rule 13 on mask bits: `out` becomes what of `cover` no layer owns. Returns how many bits are
/// set in `cover` and in `out`.
#[multiversion(targets = "simd")]
pub(super) fn occlude(cover: &[u32], owned: &[u32], out: &mut [u32]) -> [u32; 2] {
    let mut counts = [0; 2];
    for ((out, &cover), &owned) in out.iter_mut().zip(cover).zip(owned) {
        *out = cover & !owned;
        counts[0] += cover.count_ones();
        counts[1] += out.count_ones();
    }
    counts
}

/// Bits of the pixels whose top is `layer`, 32 to a word.
#[multiversion(targets = "simd")]
pub(super) fn bits_of(top: &[u16], layer: u16, words: &mut [u32]) {
    let (whole, rest) = top.as_chunks::<32>();
    let bits = |pixels: &[u16]| {
        let bit = |(bit, &top): (usize, &u16)| u32::from(top == layer) << bit;
        pixels
            .iter()
            .enumerate()
            .map(bit)
            .fold(0, |word, bit| word | bit)
    };
    for (word, pixels) in words.iter_mut().zip(whole) {
        *word = bits(pixels);
    }
    if !rest.is_empty() {
        words[whole.len()] = bits(rest);
    }
}

/// The first and the last place where a value is not 0, as a half-open range.
pub(super) fn span_of_nonzero(row: &[u8]) -> Option<(usize, usize)> {
    let first = row.iter().position(|&value| value != 0)?;
    let last = row.iter().rposition(|&value| value != 0)?;
    Some((first, last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blend_of_a_row_is_rule_11() {
        for a in 0..=255u8 {
            let foreground: Vec<u8> = (0..=255).collect();
            let mut background: Vec<u8> = (0..=255).map(|v: u8| v.wrapping_mul(31)).collect();
            let expected: Vec<u8> = foreground
                .iter()
                .zip(&background)
                .map(|(&f, &b)| rules::blend(f, b, a))
                .collect();
            blend(&foreground, &[a; 256], &mut background);
            assert_eq!(background, expected);
        }
    }

    #[test]
    fn a_filter_of_one_weight_changes_nothing() {
        let mask = [0, 255, 255, 0, 255];
        let mut out = [9; 3];
        filter_mask_across(&mask, &[0, 65_536, 0], &mut [0; 3], &mut out);
        assert_eq!(out, [255, 255, 0]);
        let rows: [&[u8]; 3] = [&[1, 2, 3], &[40, 50, 255], &[7, 8, 9]];
        filter_down(&rows, &[0, 65_536, 0], &mut [0; 3], &mut out);
        assert_eq!(out, [40, 50, 255]);
    }

    #[test]
    fn spans_are_half_open() {
        assert_eq!(span_of_nonzero(&[0, 0, 3, 0, 9, 0]), Some((2, 5)));
        assert_eq!(span_of_nonzero(&[0; 4]), None);
    }
}
