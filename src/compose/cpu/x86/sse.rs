//! SSE up to 4.2; also what wider sets have no better words for.

use std::arch::x86_64::__m128i;

use bytemuck::cast;
use pulp::x86::V2;

use super::{NOTHING, SIGN};
use crate::compose::cpu::bilinear::{SUM_BIAS, Taps, eight, weight_pair};
use crate::compose::cpu::filter::{ChunkRows, FilterDown};
use crate::compose::cpu::rows::CHUNK;

/// For each of two pixels of eight bytes: the texels' channels side by side, or the first texel's
/// channels as words. Bytes behind the second texel do not matter.
const fn texel_pairs(channels: usize, is_first_alone: bool) -> [u8; 16] {
    let mut order = [0; 16];
    let mut byte = 0;
    while byte < 16 {
        let (pixel, channel, second) = (byte / 8, byte % 8 / 2, byte % 2);
        let from = (8 * pixel + channel + second * channels) % 16;
        order[byte] = match is_first_alone && second == 1 {
            true => NOTHING,
            false => from as u8,
        };
        byte += 1;
    }
    order
}

/// The eight bytes that begin with a pixel's first texel.
#[inline(always)]
fn pair(texels: &[u8], offset: u32) -> i64 {
    i64::from_le_bytes(eight(texels, offset))
}

/// Rule 4 along x, four scattered pixels at a time.
pub(in super::super) fn blend_scattered<const CHANNELS: usize>(
    simd: V2,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let sse2 = simd.sse2;
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let rows: [&mut [[i16; 4]]; CHANNELS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut().0);
            let offsets = taps.texels.as_chunks::<4>().0;
            let weights = taps.weights.as_chunks::<2>().0.as_chunks::<2>().0;
            for (x, (offsets, weights)) in offsets.iter().zip(weights).enumerate() {
                let [a, b, c, d] = *offsets;
                let low = sse2._mm_set_epi64x(pair(texels, b), pair(texels, a));
                let high = sse2._mm_set_epi64x(pair(texels, d), pair(texels, c));
                let low = blend_pairs::<CHANNELS>(simd, low, weights[0]);
                let high = blend_pairs::<CHANNELS>(simd, high, weights[1]);
                // Pixels 0 and 2, then 1 and 3; then all four of a channel.
                let even = sse2._mm_unpacklo_epi16(low, high);
                let odd = sse2._mm_unpackhi_epi16(low, high);
                let red_green: [[i16; 4]; 2] = cast(sse2._mm_unpacklo_epi16(even, odd));
                let blue_alpha: [[i16; 4]; 2] = cast(sse2._mm_unpackhi_epi16(even, odd));
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

/// Rule 4 along x for two pixels of eight bytes.
#[inline(always)]
fn blend_pairs<const CHANNELS: usize>(simd: V2, both: __m128i, weights: [[u8; 8]; 2]) -> __m128i {
    let (sse2, ssse3) = (simd.sse2, simd.ssse3);
    let pairs: __m128i = cast(const { texel_pairs(CHANNELS, false) });
    let firsts: __m128i = cast(const { texel_pairs(CHANNELS, true) });
    let first = ssse3._mm_shuffle_epi8(both, firsts);
    let both = ssse3._mm_shuffle_epi8(both, pairs);
    let both = sse2._mm_xor_si128(both, cast([SIGN; 16]));
    sse2._mm_add_epi16(ssse3._mm_maddubs_epi16(cast(weights), both), first)
}

/// Two rows of 8 values to one row of as many words.
#[inline(always)]
fn blend_8(simd: V2, top: [i16; 8], bottom: [i16; 8], weights: __m128i) -> __m128i {
    let sse2 = simd.sse2;
    let (top, bottom): (__m128i, __m128i) = (cast(top), cast(bottom));
    let bias: __m128i = cast([SUM_BIAS; 4]);
    let low = sse2._mm_madd_epi16(sse2._mm_unpacklo_epi16(top, bottom), weights);
    let high = sse2._mm_madd_epi16(sse2._mm_unpackhi_epi16(top, bottom), weights);
    let low = sse2._mm_srli_epi32::<16>(sse2._mm_add_epi32(low, bias));
    let high = sse2._mm_srli_epi32::<16>(sse2._mm_add_epi32(high, bias));
    simd.sse4_1._mm_packus_epi32(low, high)
}

/// Rule 4 along y.
pub(in super::super) fn blend_down(
    simd: V2,
    top: &[i16],
    bottom: &[i16],
    weight: u32,
    out: &mut [u8],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let weights: __m128i = cast([weight_pair(weight); 4]);
            let chunks = out.as_chunks_mut::<16>().0;
            let (tops, bottoms) = (top.as_chunks::<8>().0, bottom.as_chunks::<8>().0);
            let pairs = tops
                .as_chunks::<2>()
                .0
                .iter()
                .zip(bottoms.as_chunks::<2>().0);
            for (out, (top, bottom)) in chunks.iter_mut().zip(pairs) {
                let first = blend_8(simd, top[0], bottom[0], weights);
                let second = blend_8(simd, top[1], bottom[1], weights);
                *out = cast(simd.sse2._mm_packus_epi16(first, second));
            }
        },
    );
}

/// The uppermost bits of 32 values.
#[inline(always)]
pub(in super::super) fn upper_bits(simd: V2, values: &[u8; 32]) -> u32 {
    let [low, high]: [[u8; 16]; 2] = cast(*values);
    let low = simd.sse2._mm_movemask_epi8(cast(low)) as u32;
    let high = simd.sse2._mm_movemask_epi8(cast(high)) as u32;
    low | high << 16
}

/// One chunk of rule 9's pass along y.
#[inline(always)]
pub(in super::super) fn sum_down(
    simd: V2,
    rows: ChunkRows<'_>,
    filter: &FilterDown,
) -> [u8; CHUNK] {
    let first = sum_quarter::<0>(simd, rows, filter);
    let second = sum_quarter::<1>(simd, rows, filter);
    let third = sum_quarter::<2>(simd, rows, filter);
    let fourth = sum_quarter::<3>(simd, rows, filter);
    let first = simd.sse2._mm_packus_epi16(first, second);
    cast([first, simd.sse2._mm_packus_epi16(third, fourth)])
}

/// Eight sums of a chunk.
#[inline(always)]
fn sum_quarter<const QUARTER: usize>(
    simd: V2,
    rows: ChunkRows<'_>,
    filter: &FilterDown,
) -> __m128i {
    let sse2 = simd.sse2;
    let mut sums: [__m128i; 2] = [cast([1u32 << 15; 4]); 2];
    for (pair, &weights) in filter.sides.iter().enumerate() {
        let first = add_rows::<QUARTER>(simd, rows.pair(2 * pair));
        let second = add_rows::<QUARTER>(simd, rows.pair(2 * pair + 1));
        sums = add_products(simd, sums, (first, second), weights);
    }
    let centre = widen_quarter::<QUARTER>(simd, rows.centre());
    for &weights in &filter.centre {
        sums = add_products(simd, sums, (centre, centre), weights);
    }
    let low = sse2._mm_srli_epi32::<16>(sums[0]);
    simd.sse4_1
        ._mm_packus_epi32(low, sse2._mm_srli_epi32::<16>(sums[1]))
}

#[inline(always)]
fn widen_quarter<const QUARTER: usize>(simd: V2, row: &[u8; CHUNK]) -> __m128i {
    let quarters = row.as_chunks::<8>().0;
    let values = u128::from(u64::from_le_bytes(quarters[QUARTER]));
    simd.sse4_1._mm_cvtepu8_epi16(cast(values))
}

#[inline(always)]
fn add_rows<const QUARTER: usize>(simd: V2, [above, below]: [&[u8; CHUNK]; 2]) -> __m128i {
    let above = widen_quarter::<QUARTER>(simd, above);
    simd.sse2
        ._mm_add_epi16(above, widen_quarter::<QUARTER>(simd, below))
}

#[inline(always)]
fn add_products(
    simd: V2,
    [low, high]: [__m128i; 2],
    (first, second): (__m128i, __m128i),
    weights: [i16; 2],
) -> [__m128i; 2] {
    let sse2 = simd.sse2;
    let weights: __m128i = cast([weights; 4]);
    let lower = sse2._mm_madd_epi16(sse2._mm_unpacklo_epi16(first, second), weights);
    let upper = sse2._mm_madd_epi16(sse2._mm_unpackhi_epi16(first, second), weights);
    [
        sse2._mm_add_epi32(low, lower),
        sse2._mm_add_epi32(high, upper),
    ]
}
