//! Rule 4's blends and rule 15's look-up in the words of AVX2 and AVX-512.
//!
//! The tokens of [`pulp`] prove that the machine has the instructions, so nothing here is unsafe.
//! Arrays' `map` is not used in these loops: it is no part of the function that has the instructions.

use std::arch::x86_64::{__m256i, __m512i};

use bytemuck::cast;
use pulp::x86::{V2, V3, V4};

use super::bilinear::{PIXELS, ROW_CHUNK, SUM_BIAS, Taps, WINDOW_TEXEL, eight, weight_pair};
use super::rows::{CHUNK, FilterDown};

/// Texels lie below zero by this, so that they are the signed side of a product.
const SIGN: u8 = 0x80;
/// A byte that a shuffle makes 0.
const NOTHING: u8 = 0x80;

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

const fn repeat<const N: usize, const M: usize>(piece: [u8; N]) -> [u8; M] {
    let mut all = [0; M];
    let mut at = 0;
    while at < M {
        all[at] = piece[at % N];
        at += 1;
    }
    all
}

/// From eight pixels of four channels to four channels of eight pixels.
const PLANAR_8: [u16; 32] = {
    let mut order = [0; 32];
    let mut to = 0;
    while to < 32 {
        order[to] = (4 * (to % 8) + to / 8) as u16;
        to += 1;
    }
    order
};

/// The eight bytes that begin with a pixel's first texel.
#[inline(always)]
fn pair(texels: &[u8], offset: u32) -> i64 {
    i64::from_le_bytes(eight(texels, offset))
}

/// Rule 4 along x, eight scattered pixels at a time.
pub(super) fn blend_across_avx512<const CHANNELS: usize>(
    simd: V4,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let bw = simd.avx512bw;
            let pairs: __m512i = cast(const { repeat::<16, 64>(texel_pairs(CHANNELS, false)) });
            let firsts: __m512i = cast(const { repeat::<16, 64>(texel_pairs(CHANNELS, true)) });
            let sign: __m512i = cast([SIGN; 64]);
            let order: __m512i = cast(PLANAR_8);
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let mut rows: [&mut [[i16; PIXELS]]; CHANNELS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut().0);
            let offsets = taps.texels.as_chunks::<PIXELS>().0;
            let weights = taps.weights.as_chunks::<PIXELS>().0;
            for (x, (offsets, weights)) in offsets.iter().zip(weights).enumerate() {
                let both = simd.avx512f._mm512_set_epi64(
                    pair(texels, offsets[7]),
                    pair(texels, offsets[6]),
                    pair(texels, offsets[5]),
                    pair(texels, offsets[4]),
                    pair(texels, offsets[3]),
                    pair(texels, offsets[2]),
                    pair(texels, offsets[1]),
                    pair(texels, offsets[0]),
                );
                let first = bw._mm512_shuffle_epi8(both, firsts);
                let both = bw._mm512_shuffle_epi8(both, pairs);
                let both = simd.avx512f._mm512_xor_si512(both, sign);
                let products = bw._mm512_maddubs_epi16(cast(*weights), both);
                let sum = bw._mm512_add_epi16(products, first);
                let sum: [[i16; PIXELS]; 4] = cast(bw._mm512_permutexvar_epi16(order, sum));
                for (row, sum) in rows.iter_mut().zip(sum) {
                    row[x] = sum;
                }
            }
        },
    );
}

/// From two pixels of four channels in each half to dwords of two pixels of a channel.
const PLANAR_2: [u8; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
/// From halves of such dwords to four pixels of a channel side by side.
const PLANAR_4: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Rule 4 along x, four scattered pixels at a time.
pub(super) fn blend_across_avx2<const CHANNELS: usize>(
    simd: V3,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let (avx, avx2) = (simd.avx, simd.avx2);
            let pairs: __m256i = cast(const { repeat::<16, 32>(texel_pairs(CHANNELS, false)) });
            let firsts: __m256i = cast(const { repeat::<16, 32>(texel_pairs(CHANNELS, true)) });
            let sign: __m256i = cast([SIGN; 32]);
            let words: __m256i = cast(const { repeat::<16, 32>(PLANAR_2) });
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let mut rows: [&mut [[i16; 4]]; CHANNELS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut().0);
            let offsets = taps.texels.as_chunks::<4>().0;
            let weights = taps.weights.as_chunks::<4>().0;
            for (x, (offsets, weights)) in offsets.iter().zip(weights).enumerate() {
                let both = avx._mm256_set_epi64x(
                    pair(texels, offsets[3]),
                    pair(texels, offsets[2]),
                    pair(texels, offsets[1]),
                    pair(texels, offsets[0]),
                );
                let first = avx2._mm256_shuffle_epi8(both, firsts);
                let both = avx2._mm256_shuffle_epi8(both, pairs);
                let both = avx2._mm256_xor_si256(both, sign);
                let products = avx2._mm256_maddubs_epi16(cast(*weights), both);
                let sum = avx2._mm256_add_epi16(products, first);
                let sum = avx2._mm256_shuffle_epi8(sum, words);
                let sum: [[i16; 4]; 4] =
                    cast(avx2._mm256_permutevar8x32_epi32(sum, cast(PLANAR_4)));
                for (row, sum) in rows.iter_mut().zip(sum) {
                    row[x] = sum;
                }
            }
        },
    );
}

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
pub(super) fn blend_windows_avx512<const CHANNELS: usize>(
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
                let low = blend_pairs_512(simd, low, weights[0]);
                let high = blend_pairs_512(simd, high, weights[1]);
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
fn blend_pairs_512(simd: V4, pairs: __m512i, weights: [[u8; 8]; 8]) -> __m512i {
    let pairs = simd.avx512f._mm512_xor_si512(pairs, cast([SIGN; 64]));
    simd.avx512bw._mm512_maddubs_epi16(cast(weights), pairs)
}

/// The window that begins with texel number `first` of a row, in two registers of `BYTES`.
#[inline(always)]
fn window_of<const BYTES: usize>(texels: &[u8], first: u32) -> &[[u8; BYTES]; 2] {
    let window = &texels[WINDOW_TEXEL * first as usize..][..2 * BYTES];
    // A slice of two registers is an array of two.
    window.as_chunks().0.first_chunk().unwrap_or(&[[0; BYTES]; 2])
}

/// Rule 4 along x, eight pixels of a window of 16 texels at a time.
pub(super) fn blend_windows_avx2<const CHANNELS: usize>(
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
                let low = blend_pairs_256(simd, low, weights[0]);
                let high = blend_pairs_256(simd, high, weights[1]);
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

/// As [`blend_pairs_512`].
#[inline(always)]
fn blend_pairs_256(simd: V3, pairs: __m256i, weights: [[u8; 8]; 4]) -> __m256i {
    let avx2 = simd.avx2;
    let pairs = avx2._mm256_xor_si256(pairs, cast([SIGN; 32]));
    avx2._mm256_maddubs_epi16(cast(weights), pairs)
}

/// From twelve bytes of RGB in 128 bits to four texels of four bytes.
const WIDE: [u8; 16] = [0, 1, 2, NOTHING, 3, 4, 5, NOTHING, 6, 7, 8, NOTHING, 9, 10, 11, NOTHING];

/// RGB texels to texels of four bytes; returns how many of the row were made. `wide` is some registers
/// longer than the row.
pub(super) fn widen_rgb_avx512(simd: V4, row: &[u8], wide: &mut [u8]) -> usize {
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

/// As [`widen_rgb_avx512`].
pub(super) fn widen_rgb_avx2(simd: V3, row: &[u8], wide: &mut [u8]) -> usize {
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

pub(super) fn blend_down_avx512(
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

pub(super) fn blend_down_avx2(simd: V3, top: &[i16], bottom: &[i16], weight: u32, out: &mut [u8]) {
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
pub(super) fn upper_bits_avx2(simd: V3, values: &[u8; 32]) -> u32 {
    simd.avx2._mm256_movemask_epi8(cast(*values)) as u32
}

/// As [`upper_bits_avx2`].
#[inline(always)]
pub(super) fn upper_bits_sse(simd: V2, values: &[u8; 32]) -> u32 {
    let [low, high]: [[u8; 16]; 2] = cast(*values);
    let low = simd.sse2._mm_movemask_epi8(cast(low)) as u32;
    let high = simd.sse2._mm_movemask_epi8(cast(high)) as u32;
    low | high << 16
}

/// The two rows of a chunk at some distance from a filter's ends.
type RowPair<'a> = (&'a [u8; CHUNK], &'a [u8; CHUNK]);

/// Sums of products that are made of both halves of registers of 16-bit values.
type Sums<T> = [T; 2];

/// One chunk of rule 9's pass along y; `rows` gives the rows of a pair by how far they are from the first
/// and the last one.
#[inline(always)]
pub(super) fn sum_down_avx512<'a>(
    simd: V4,
    rows: impl Fn(usize) -> RowPair<'a>,
    filter: &FilterDown,
) -> [u8; CHUNK] {
    let (f, bw) = (simd.avx512f, simd.avx512bw);
    let mut sums: Sums<__m512i> = [cast([1u32 << 15; 16]); 2];
    for (pair, &weights) in filter.sides.iter().enumerate() {
        // The pair behind the last one has no weight.
        let first = add_rows_512(simd, rows(2 * pair));
        let second = add_rows_512(simd, rows(2 * pair + 1));
        sums = add_products_512(simd, sums, (first, second), weights);
    }
    let centre = bw._mm512_cvtepu8_epi16(cast(*rows(filter.radius).0));
    for &weights in &filter.centre {
        sums = add_products_512(simd, sums, (centre, centre), weights);
    }
    let low = f._mm512_srli_epi32::<16>(sums[0]);
    let high = f._mm512_srli_epi32::<16>(sums[1]);
    cast(bw._mm512_cvtepi16_epi8(bw._mm512_packus_epi32(low, high)))
}

#[inline(always)]
fn add_rows_512(simd: V4, (above, below): RowPair<'_>) -> __m512i {
    let bw = simd.avx512bw;
    let above = bw._mm512_cvtepu8_epi16(cast(*above));
    bw._mm512_add_epi16(above, bw._mm512_cvtepu8_epi16(cast(*below)))
}

#[inline(always)]
fn add_products_512(
    simd: V4,
    [low, high]: Sums<__m512i>,
    (first, second): (__m512i, __m512i),
    weights: [i16; 2],
) -> Sums<__m512i> {
    let (f, bw) = (simd.avx512f, simd.avx512bw);
    let weights: __m512i = cast([weights; 16]);
    let lower = bw._mm512_madd_epi16(bw._mm512_unpacklo_epi16(first, second), weights);
    let upper = bw._mm512_madd_epi16(bw._mm512_unpackhi_epi16(first, second), weights);
    [f._mm512_add_epi32(low, lower), f._mm512_add_epi32(high, upper)]
}

/// As [`sum_down_avx512`].
#[inline(always)]
pub(super) fn sum_down_avx2<'a>(
    simd: V3,
    rows: impl Fn(usize) -> RowPair<'a>,
    filter: &FilterDown,
) -> [u8; CHUNK] {
    let first = sum_half_avx2::<0>(simd, &rows, filter);
    let second = sum_half_avx2::<1>(simd, &rows, filter);
    let bytes = simd.avx2._mm256_packus_epi16(first, second);
    // Packing works within 128 bits, and so leaves their halves in turns.
    cast(simd.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(bytes))
}

/// The first or the second 16 sums of a chunk.
#[inline(always)]
fn sum_half_avx2<'a, const HALF: usize>(
    simd: V3,
    rows: &impl Fn(usize) -> RowPair<'a>,
    filter: &FilterDown,
) -> __m256i {
    let avx2 = simd.avx2;
    let mut sums: Sums<__m256i> = [cast([1u32 << 15; 8]); 2];
    for (pair, &weights) in filter.sides.iter().enumerate() {
        let first = add_rows_256::<HALF>(simd, rows(2 * pair));
        let second = add_rows_256::<HALF>(simd, rows(2 * pair + 1));
        sums = add_products_256(simd, sums, (first, second), weights);
    }
    let centre = widen_half_256::<HALF>(simd, rows(filter.radius).0);
    for &weights in &filter.centre {
        sums = add_products_256(simd, sums, (centre, centre), weights);
    }
    let low = avx2._mm256_srli_epi32::<16>(sums[0]);
    avx2._mm256_packus_epi32(low, avx2._mm256_srli_epi32::<16>(sums[1]))
}

#[inline(always)]
fn widen_half_256<const HALF: usize>(simd: V3, row: &[u8; CHUNK]) -> __m256i {
    let halves = row.as_chunks::<16>().0;
    simd.avx2._mm256_cvtepu8_epi16(cast(halves[HALF]))
}

#[inline(always)]
fn add_rows_256<const HALF: usize>(simd: V3, (above, below): RowPair<'_>) -> __m256i {
    let above = widen_half_256::<HALF>(simd, above);
    simd.avx2
        ._mm256_add_epi16(above, widen_half_256::<HALF>(simd, below))
}

#[inline(always)]
fn add_products_256(
    simd: V3,
    [low, high]: Sums<__m256i>,
    (first, second): (__m256i, __m256i),
    weights: [i16; 2],
) -> Sums<__m256i> {
    let avx2 = simd.avx2;
    let weights: __m256i = cast([weights; 8]);
    let lower = avx2._mm256_madd_epi16(avx2._mm256_unpacklo_epi16(first, second), weights);
    let upper = avx2._mm256_madd_epi16(avx2._mm256_unpackhi_epi16(first, second), weights);
    [avx2._mm256_add_epi32(low, lower), avx2._mm256_add_epi32(high, upper)]
}

/// Rule 15's look-up of 16-bit elements: a table of 256 is four pairs of registers.
pub(super) fn look_up_avx512(simd: V4, plane: &[u8], table: &[u16; 256], out: &mut [u16]) {
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
