//! AVX-512 with byte, word and vector length extensions.

use std::arch::x86_64::__m512i;

use bytemuck::cast;
use pulp::x86::V4;

use super::{SIGN, WIDE, repeat, window_of};
use crate::compose::cpu::bilinear::{ROW_CHUNK, SUM_BIAS, Taps, weight_pair};
use crate::compose::cpu::filter::{ChunkRows, FilterDown};
use crate::compose::cpu::rows::CHUNK;

/// From halves of eight pixels of four channels each, as interleaving leaves them, to two channels of
/// sixteen pixels.
const fn planar_16(first_channel: usize) -> [u16; 32] {
    let mut order = [0; 32];
    let mut to = 0;
    while to < 32 {
        let (channel, pixel) = (first_channel + to / 16, to % 16);
        // Four pixels of a half are two of its 128 bits.
        let word = 8 * (pixel / 4) + 4 * (pixel % 2) + channel;
        let is_upper = pixel % 4 >= 2;
        order[to] = match is_upper {
            true => 32 + word as u16,
            false => word as u16,
        };
        to += 1;
    }
    order
}

/// Rule 4 along x, sixteen pixels of a window of 32 texels at a time.
pub(in super::super) fn blend_windows<const CHANNELS: usize>(
    simd: V4,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let (f, bw) = (simd.avx512f, simd.avx512bw);
            let (nothing, one): (__m512i, __m512i) = (cast([0u64; 8]), cast([1u32; 16]));
            let red_green: __m512i = cast(const { planar_16(0) });
            let blue_alpha: __m512i = cast(const { planar_16(2) });
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let rows: [&mut [[i16; 16]]; CHANNELS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut().0);
            let numbers = taps.texels.as_chunks::<16>().0;
            let weights = taps.weights.as_chunks::<8>().0.as_chunks::<2>().0;
            let groups = taps.windows.iter().zip(numbers).zip(weights);
            for (x, ((&window, &numbers), weights)) in groups.enumerate() {
                let window = window_of::<64>(texels, window);
                let [low, high]: [__m512i; 2] = [cast(window[0]), cast(window[1])];
                let numbers: __m512i = cast(numbers);
                let first = f._mm512_permutex2var_epi32(low, numbers, high);
                let numbers = f._mm512_add_epi32(numbers, one);
                let second = f._mm512_permutex2var_epi32(low, numbers, high);
                let low = bw._mm512_unpacklo_epi8(first, second);
                let high = bw._mm512_unpackhi_epi8(first, second);
                let low = blend_pairs(simd, low, weights[0]);
                let high = blend_pairs(simd, high, weights[1]);
                let low = bw._mm512_add_epi16(low, bw._mm512_unpacklo_epi8(first, nothing));
                let high = bw._mm512_add_epi16(high, bw._mm512_unpackhi_epi8(first, nothing));
                let red_green = bw._mm512_permutex2var_epi16(low, red_green, high);
                let blue_alpha = bw._mm512_permutex2var_epi16(low, blue_alpha, high);
                let red_green: [[i16; 16]; 2] = cast(red_green);
                let blue_alpha: [[i16; 16]; 2] = cast(blue_alpha);
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

/// The products of rule 4 for pairs of texels side by side, without what a first weight has over 255.
#[inline(always)]
fn blend_pairs(simd: V4, pairs: __m512i, weights: [[u8; 8]; 8]) -> __m512i {
    let pairs = simd.avx512f._mm512_xor_si512(pairs, cast([SIGN; 64]));
    simd.avx512bw._mm512_maddubs_epi16(cast(weights), pairs)
}

/// RGB texels to texels of four bytes; returns how many of the row were made. `wide` is some registers
/// longer than the row.
pub(in super::super) fn widen_rgb(simd: V4, row: &[u8], wide: &mut [u8]) -> usize {
    simd.vectorize(
        #[inline(always)]
        || {
            let (f, bw) = (simd.avx512f, simd.avx512bw);
            // Each 128 bits begin with the next twelve bytes.
            let spread: __m512i = cast([0u32, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11]);
            let order: __m512i = cast(const { repeat::<16, 64>(WIDE) });
            let (mut done, mut rest) = (0, row);
            for out in wide.as_chunks_mut::<64>().0 {
                let Some(texels) = rest.first_chunk::<64>() else {
                    break;
                };
                let texels = f._mm512_permutexvar_epi32(spread, cast(*texels));
                *out = cast(bw._mm512_shuffle_epi8(texels, order));
                rest = &rest[48..];
                done += 16;
            }
            done
        },
    )
}

/// Two rows of 32 values to one row of as many words.
#[inline(always)]
fn blend_32(simd: V4, top: [i16; 32], bottom: [i16; 32], weights: __m512i) -> __m512i {
    let (f, bw) = (simd.avx512f, simd.avx512bw);
    let (top, bottom): (__m512i, __m512i) = (cast(top), cast(bottom));
    let bias: __m512i = cast([SUM_BIAS; 16]);
    let low = bw._mm512_madd_epi16(bw._mm512_unpacklo_epi16(top, bottom), weights);
    let high = bw._mm512_madd_epi16(bw._mm512_unpackhi_epi16(top, bottom), weights);
    let low = f._mm512_srli_epi32::<16>(f._mm512_add_epi32(low, bias));
    let high = f._mm512_srli_epi32::<16>(f._mm512_add_epi32(high, bias));
    bw._mm512_packus_epi32(low, high)
}

/// Rule 4 along y.
pub(in super::super) fn blend_down(
    simd: V4,
    top: &[i16],
    bottom: &[i16],
    weight: u32,
    out: &mut [u8],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let weights: __m512i = cast([weight_pair(weight); 16]);
            // Packing works within 128 bits, and so leaves their halves in turns.
            let in_order: __m512i = cast([0u64, 2, 4, 6, 1, 3, 5, 7]);
            let chunks = out.as_chunks_mut::<ROW_CHUNK>().0;
            let (tops, bottoms) = (top.as_chunks::<32>().0, bottom.as_chunks::<32>().0);
            let pairs = tops
                .as_chunks::<2>()
                .0
                .iter()
                .zip(bottoms.as_chunks::<2>().0);
            for (out, (top, bottom)) in chunks.iter_mut().zip(pairs) {
                let first = blend_32(simd, top[0], bottom[0], weights);
                let second = blend_32(simd, top[1], bottom[1], weights);
                let bytes = simd.avx512bw._mm512_packus_epi16(first, second);
                *out = cast(simd.avx512f._mm512_permutexvar_epi64(in_order, bytes));
            }
        },
    );
}

/// One chunk of rule 9's pass along y.
#[inline(always)]
pub(in super::super) fn sum_down(
    simd: V4,
    rows: ChunkRows<'_>,
    filter: &FilterDown,
) -> [u8; CHUNK] {
    let (f, bw) = (simd.avx512f, simd.avx512bw);
    let mut sums: [__m512i; 2] = [cast([1u32 << 15; 16]); 2];
    for (pair, &weights) in filter.sides.iter().enumerate() {
        // The pair behind the last one has no weight.
        let first = add_rows(simd, rows.pair(2 * pair));
        let second = add_rows(simd, rows.pair(2 * pair + 1));
        sums = add_products(simd, sums, (first, second), weights);
    }
    let centre = bw._mm512_cvtepu8_epi16(cast(*rows.centre()));
    for &weights in &filter.centre {
        sums = add_products(simd, sums, (centre, centre), weights);
    }
    let low = f._mm512_srli_epi32::<16>(sums[0]);
    let high = f._mm512_srli_epi32::<16>(sums[1]);
    cast(bw._mm512_cvtepi16_epi8(bw._mm512_packus_epi32(low, high)))
}

#[inline(always)]
fn add_rows(simd: V4, [above, below]: [&[u8; CHUNK]; 2]) -> __m512i {
    let bw = simd.avx512bw;
    let above = bw._mm512_cvtepu8_epi16(cast(*above));
    bw._mm512_add_epi16(above, bw._mm512_cvtepu8_epi16(cast(*below)))
}

#[inline(always)]
fn add_products(
    simd: V4,
    [low, high]: [__m512i; 2],
    (first, second): (__m512i, __m512i),
    weights: [i16; 2],
) -> [__m512i; 2] {
    let (f, bw) = (simd.avx512f, simd.avx512bw);
    let weights: __m512i = cast([weights; 16]);
    let lower = bw._mm512_madd_epi16(bw._mm512_unpacklo_epi16(first, second), weights);
    let upper = bw._mm512_madd_epi16(bw._mm512_unpackhi_epi16(first, second), weights);
    [
        f._mm512_add_epi32(low, lower),
        f._mm512_add_epi32(high, upper),
    ]
}

/// Rule 15's look-up of 16-bit elements: a table of 256 is four pairs of registers.
pub(in super::super) fn look_up(simd: V4, plane: &[u8], table: &[u16; 256], out: &mut [u16]) {
    simd.vectorize(
        #[inline(always)]
        || {
            let bw = simd.avx512bw;
            let registers: [__m512i; 8] = cast(*table);
            let (chunks, rest) = out.as_chunks_mut::<32>();
            let (planes, plane_rest) = plane.as_chunks::<32>();
            for (out, plane) in chunks.iter_mut().zip(planes) {
                let index = bw._mm512_cvtepu8_epi16(cast(*plane));
                let [t0, t1, t2, t3, t4, t5, t6, t7] = registers;
                let a = bw._mm512_permutex2var_epi16(t0, index, t1);
                let b = bw._mm512_permutex2var_epi16(t2, index, t3);
                let c = bw._mm512_permutex2var_epi16(t4, index, t5);
                let d = bw._mm512_permutex2var_epi16(t6, index, t7);
                // The pair that the index's two upper bits name.
                let is_odd = bw._mm512_test_epi16_mask(index, cast([64u16; 32]));
                let is_upper = bw._mm512_test_epi16_mask(index, cast([128u16; 32]));
                let lower = bw._mm512_mask_blend_epi16(is_odd, a, b);
                let upper = bw._mm512_mask_blend_epi16(is_odd, c, d);
                *out = cast(bw._mm512_mask_blend_epi16(is_upper, lower, upper));
            }
            for (out, &value) in rest.iter_mut().zip(plane_rest) {
                *out = table[usize::from(value)];
            }
        },
    );
}
