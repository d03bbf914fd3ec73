//! The inner loops over rows of one channel and of mask bits: compiled for each instruction set of [`Simd`]
//! and chosen at run time. Compilers vectorise most of them by themselves; what they do not is taken from
//! `x86`. Those of filters stand in `filter`.

#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::compose::rules;
use crate::compose::simd::Simd;

/// Values that are filtered or blended at a time, in registers. Rows that are written are a multiple of
/// it long.
pub(super) const CHUNK: usize = 32;

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

/// Rule 9 for hard edges: coverages to 255 on the mask and 0 off it.
pub(super) fn threshold(simd: Simd, coverage: &[u8], weight: &mut [u8]) {
    simd.run(
        #[inline(always)]
        || {
            for (weight, &coverage) in weight.iter_mut().zip(coverage) {
                *weight = if rules::in_mask(coverage) { 255 } else { 0 };
            }
        },
    );
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

/// Rule 8: the mask of a row of coverages, the first `width` of which count, as bits from bit `start`
/// (below 32) of `words` on, which are as many as hold them. `coverage` is a multiple of 32 long.
pub(super) fn mask_bits(simd: Simd, coverage: &[u8], width: usize, start: u32, words: &mut [u32]) {
    simd.run(
        #[inline(always)]
        || {
            let chunks = coverage.as_chunks::<32>().0;
            // Bits that the next word begins with.
            let mut waiting = 0u64;
            let mut left = width;
            for (word, chunk) in words.iter_mut().zip(chunks) {
                let bits = u64::from(bits_of(simd, chunk)) & ((1 << left.min(32)) - 1);
                left = left.saturating_sub(32);
                waiting |= bits << start;
                *word = waiting as u32;
                waiting >>= 32;
            }
            if let Some(word) = words.get_mut(chunks.len()) {
                *word = waiting as u32;
            }
        },
    );
}

/// Which of 32 coverages are on the mask: those whose uppermost bit is set.
#[inline(always)]
fn bits_of(simd: Simd, coverage: &[u8; 32]) -> u32 {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) => x86::avx2::upper_bits(*token, coverage),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::avx2::upper_bits(token, coverage),
        #[cfg(target_arch = "x86_64")]
        Simd::Sse(token) => x86::sse::upper_bits(token, coverage),
        _ => {
            // The product's uppermost byte has each flag at a bit of its own, and nothing is carried
            // to it.
            let bits = |values: &[u8; 8]| {
                let flags = (u64::from_le_bytes(*values) >> 7) & 0x0101_0101_0101_0101;
                flags.wrapping_mul(0x0102_0408_1020_4080) >> 56
            };
            let bytes = coverage.as_chunks::<8>().0.iter().zip([0, 8, 16, 24]);
            bytes.fold(0, |word, (values, at)| word | (bits(values) << at) as u32)
        }
    }
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

    #[test]
    fn masks_become_bits_at_any_column() {
        let mask: Vec<u8> = (0..160u32).map(|x| (x * x * 37) as u8).collect();
        for simd in Simd::available() {
            for (width, start) in
                (1..=128usize).flat_map(|width| (0..32usize).map(move |start| (width, start)))
            {
                let mut words = vec![9; (start + width).div_ceil(32)];
                let mask = &mask[..width.next_multiple_of(32)];
                mask_bits(simd, mask, width, start as u32, &mut words);
                for bit in 0..32 * words.len() {
                    let is_set = words[bit / 32] >> (bit % 32) & 1 == 1;
                    let inside = (start..start + width).contains(&bit);
                    let expected = inside && rules::in_mask(mask[bit - start]);
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
            assert_eq!(
                (row, owned, columns),
                ([0b1010, 1], [0b1110, 1], [0b1011, 1])
            );
            let (mut out, mut columns) = ([7, 7], [0, 2]);
            let count = occlude(simd, &[0b11001, 3], &owned, &mut out, &mut columns);
            assert_eq!((count, out, columns), (3, [0b10001, 2], [0b10001, 2]));
        }
    }
}
