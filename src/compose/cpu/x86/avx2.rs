//! AVX2.

use std::arch::x86_64::__m256i;

use bytemuck::cast;
use pulp::x86::V3;

use super::{SIGN, WIDE, repeat, window_of};
use crate::compose::cpu::bilinear::{SUM_BIAS, Taps, weight_pair};
use crate::compose::cpu::filter::{ChunkRows, FilterDown};
use crate::compose::cpu::rows::CHUNK;

/// Rule 4 along x, eight pixels of a window of 16 texels at a time.
pub(in super::super) fn blend_windows<const CHANNELS: usize>(
    simd: V3,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let avx2 = simd.avx2;
            let (nothing, one): (__m256i, __m256i) = (cast([0u64; 4]), cast([1u32; 8]));
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let rows: [&mut [[i16; 8]]; CHANNELS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut().0);
            let numbers = taps.texels.as_chunks::<8>().0;
            let weights = taps.weights.as_chunks::<4>().0.as_chunks::<2>().0;
            let groups = taps.windows.iter().zip(numbers).zip(weights);
            for (x, ((&window, &numbers), weights)) in groups.enumerate() {
                let window = window_of::<32>(texels, window);
                let [low, high]: [__m256i; 2] = [cast(window[0]), cast(window[1])];
                let numbers: __m256i = cast(numbers);
                let first = pick_8(simd, low, high, numbers);
                let second = pick_8(simd, low, high, avx2._mm256_add_epi32(numbers, one));
                let low = avx2._mm256_unpacklo_epi8(first, second);
                let high = avx2._mm256_unpackhi_epi8(first, second);
                let low = blend_pairs(simd, low, weights[0]);
                let high = blend_pairs(simd, high, weights[1]);
                let low = avx2._mm256_add_epi16(low, avx2._mm256_unpacklo_epi8(first, nothing));
                let high = avx2._mm256_add_epi16(high, avx2._mm256_unpackhi_epi8(first, nothing));
                // Pixels 0 and 2, then 1 and 3, of each half; then four pixels of a channel.
                let even = avx2._mm256_unpacklo_epi16(low, high);
                let odd = avx2._mm256_unpackhi_epi16(low, high);
                let red_green = avx2._mm256_unpacklo_epi16(even, odd);
                let blue_alpha = avx2._mm256_unpackhi_epi16(even, odd);
                let red_green = avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(red_green);
                let blue_alpha = avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(blue_alpha);
                let red_green: [[i16; 8]; 2] = cast(red_green);
                let blue_alpha: [[i16; 8]; 2] = cast(blue_alpha);
                rows[0][x] = red_green[0];
                rows[1][x] = red_green[1];
                rows[2][x] = blue_alpha[0];
                if CHANNELS > 3 {
                    rows[3][x] = blue_alpha[1];
                }
            }
        },
    );
}

/// Texels by their numbers in a window of two registers.
#[inline(always)]
fn pick_8(simd: V3, low: __m256i, high: __m256i, numbers: __m256i) -> __m256i {
    let avx2 = simd.avx2;
    // A permutation takes the three lower bits of a number; the fourth chooses the register.
    let is_high = avx2._mm256_cmpgt_epi32(numbers, cast([7u32; 8]));
    let low = avx2._mm256_permutevar8x32_epi32(low, numbers);
    let high = avx2._mm256_permutevar8x32_epi32(high, numbers);
    avx2._mm256_blendv_epi8(low, high, is_high)
}

/// The products of rule 4 for pairs of texels side by side, without what a first weight has over 255.
#[inline(always)]
fn blend_pairs(simd: V3, pairs: __m256i, weights: [[u8; 8]; 4]) -> __m256i {
    let avx2 = simd.avx2;
    let pairs = avx2._mm256_xor_si256(pairs, cast([SIGN; 32]));
    avx2._mm256_maddubs_epi16(cast(weights), pairs)
}

/// RGB texels to texels of four bytes; returns how many of the row were made. `wide` is some registers
/// longer than the row.
pub(in super::super) fn widen_rgb(simd: V3, row: &[u8], wide: &mut [u8]) -> usize {
    simd.vectorize(
        #[inline(always)]
        || {
            let avx2 = simd.avx2;
            let spread: __m256i = cast([0u32, 1, 2, 2, 3, 4, 5, 5]);
            let order: __m256i = cast(const { repeat::<16, 32>(WIDE) });
            let (mut done, mut rest) = (0, row);
            for out in wide.as_chunks_mut::<32>().0 {
                let Some(texels) = rest.first_chunk::<32>() else {
                    break;
                };
                let texels = avx2._mm256_permutevar8x32_epi32(cast(*texels), spread);
                *out = cast(avx2._mm256_shuffle_epi8(texels, order));
                rest = &rest[24..];
                done += 8;
            }
            done
        },
    )
}

/// Two rows of 16 values to one row of as many words.
#[inline(always)]
fn blend_16(simd: V3, top: [i16; 16], bottom: [i16; 16], weights: __m256i) -> __m256i {
    let avx2 = simd.avx2;
    let (top, bottom): (__m256i, __m256i) = (cast(top), cast(bottom));
    let bias: __m256i = cast([SUM_BIAS; 8]);
    let low = avx2._mm256_madd_epi16(avx2._mm256_unpacklo_epi16(top, bottom), weights);
    let high = avx2._mm256_madd_epi16(avx2._mm256_unpackhi_epi16(top, bottom), weights);
    let low = avx2._mm256_srli_epi32::<16>(avx2._mm256_add_epi32(low, bias));
    let high = avx2._mm256_srli_epi32::<16>(avx2._mm256_add_epi32(high, bias));
    avx2._mm256_packus_epi32(low, high)
}

/// Rule 4 along y.
pub(in super::super) fn blend_down(
    simd: V3,
    top: &[i16],
    bottom: &[i16],
    weight: u32,
    out: &mut [u8],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let weights: __m256i = cast([weight_pair(weight); 8]);
            let chunks = out.as_chunks_mut::<32>().0;
            let (tops, bottoms) = (top.as_chunks::<16>().0, bottom.as_chunks::<16>().0);
            let pairs = tops
                .as_chunks::<2>()
                .0
                .iter()
                .zip(bottoms.as_chunks::<2>().0);
            for (out, (top, bottom)) in chunks.iter_mut().zip(pairs) {
                let first = blend_16(simd, top[0], bottom[0], weights);
                let second = blend_16(simd, top[1], bottom[1], weights);
                let bytes = simd.avx2._mm256_packus_epi16(first, second);
                // Packing works within 128 bits, and so leaves their halves in turns.
                *out = cast(simd.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(bytes));
            }
        },
    );
}

/// The uppermost bits of 32 values.
#[inline(always)]
pub(in super::super) fn upper_bits(simd: V3, values: &[u8; 32]) -> u32 {
    simd.avx2._mm256_movemask_epi8(cast(*values)) as u32
}

/// One chunk of rule 9's pass along y.
#[inline(always)]
pub(in super::super) fn sum_down(
    simd: V3,
    rows: ChunkRows<'_>,
    filter: &FilterDown,
) -> [u8; CHUNK] {
    let first = sum_half::<0>(simd, rows, filter);
    let second = sum_half::<1>(simd, rows, filter);
    let bytes = simd.avx2._mm256_packus_epi16(first, second);
    // Packing works within 128 bits, and so leaves their halves in turns.
    cast(simd.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(bytes))
}

/// The first or the second 16 sums of a chunk.
#[inline(always)]
fn sum_half<const HALF: usize>(simd: V3, rows: ChunkRows<'_>, filter: &FilterDown) -> __m256i {
    let avx2 = simd.avx2;
    let mut sums: [__m256i; 2] = [cast([1u32 << 15; 8]); 2];
    for (pair, &weights) in filter.sides.iter().enumerate() {
        let first = add_rows::<HALF>(simd, rows.pair(2 * pair));
        let second = add_rows::<HALF>(simd, rows.pair(2 * pair + 1));
        sums = add_products(simd, sums, (first, second), weights);
    }
    let centre = widen_half::<HALF>(simd, rows.centre());
    for &weights in &filter.centre {
        sums = add_products(simd, sums, (centre, centre), weights);
    }
    let low = avx2._mm256_srli_epi32::<16>(sums[0]);
    avx2._mm256_packus_epi32(low, avx2._mm256_srli_epi32::<16>(sums[1]))
}

#[inline(always)]
fn widen_half<const HALF: usize>(simd: V3, row: &[u8; CHUNK]) -> __m256i {
    let halves = row.as_chunks::<16>().0;
    simd.avx2._mm256_cvtepu8_epi16(cast(halves[HALF]))
}

#[inline(always)]
fn add_rows<const HALF: usize>(simd: V3, [above, below]: [&[u8; CHUNK]; 2]) -> __m256i {
    let above = widen_half::<HALF>(simd, above);
    simd.avx2
        ._mm256_add_epi16(above, widen_half::<HALF>(simd, below))
}

#[inline(always)]
fn add_products(
    simd: V3,
    [low, high]: [__m256i; 2],
    (first, second): (__m256i, __m256i),
    weights: [i16; 2],
) -> [__m256i; 2] {
    let avx2 = simd.avx2;
    let weights: __m256i = cast([weights; 8]);
    let lower = avx2._mm256_madd_epi16(avx2._mm256_unpacklo_epi16(first, second), weights);
    let upper = avx2._mm256_madd_epi16(avx2._mm256_unpackhi_epi16(first, second), weights);
    [
        avx2._mm256_add_epi32(low, lower),
        avx2._mm256_add_epi32(high, upper),
    ]
}
