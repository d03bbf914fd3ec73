//! Rule 4 over rows: the two blends of bilinear sampling.
//!
//! Along x, both texels of a pixel lie side by side, so one read of eight bytes brings all of
//! their channels, and one product sum blends them. The rows that come out are planar. Along y it
//! is streaming. Compilers find neither form by themselves, so both stand in `x86` a second time,
//! in the words of that instruction set.

#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::compose::rules::Tap;
use crate::compose::simd::Simd;

/// Bytes behind a row's last texel that [`blend_across`] may read, and makes nothing of.
pub(super) const READ_BEHIND: usize = 8;

/// Pixels that are blended along x at a time.
pub(super) const PIXELS: usize = 8;

/// The values of [`rules::blend_across`](crate::compose::rules::blend_across) are kept lower by this, so that signed products serve.
pub(super) const BIAS: i32 = 1 << 15;

/// Values that are blended along y at a time. Rows are a multiple of it long, so that none is left for
/// a slower loop.
pub(super) const ROW_CHUNK: usize = 64;

/// Horizontal taps, some more than were asked for so that they are a multiple of [`PIXELS`].
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Where in a row of texels the first byte of each first texel is; the second texel is the next
    /// one, unless its weight is 0.
    pub offsets: Vec<u32>,
    /// 255 minus the second texel's weight and that weight, for each channel.
    pub weights: Vec<[u8; 8]>,
}

impl Taps {
    /// Makes them of rule 4's.
    pub fn set<const CHANNELS: usize>(&mut self, taps: impl Iterator<Item = Tap>) {
        self.offsets.clear();
        self.weights.clear();
        for tap in taps {
            // At either end of a row both texels are the same one, of which any blend is itself.
            let weight = if tap.second == tap.first {
                0
            } else {
                tap.weight as u8
            };
            self.offsets.push(tap.first * CHANNELS as u32);
            let pair = [255 - weight, weight];
            self.weights
                .push(std::array::from_fn(|byte| pair[byte % 2]));
        }
        let length = self.offsets.len().next_multiple_of(PIXELS);
        self.offsets.resize(length, 0);
        self.weights.resize(length, [0; 8]);
    }

    /// How long a planar row of them is: what lies behind the last tap's value means nothing.
    pub fn row_length(&self) -> usize {
        self.offsets.len().next_multiple_of(ROW_CHUNK)
    }
}

/// Rule 4 along x: a row of interleaved texels, of which [`READ_BEHIND`] more bytes can be read, into
/// `CHANNELS` planar rows of [`Taps::row_length`] values behind one another, each lower by
/// [`BIAS`].
pub(super) fn blend_across<const CHANNELS: usize>(
    simd: Simd,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) => x86::blend_across_avx512::<CHANNELS>(token, texels, taps, planar),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::blend_across_avx2::<CHANNELS>(token, texels, taps, planar),
        _ => {
            let mut rows = planar.chunks_exact_mut(taps.row_length());
            let mut rows: [_; CHANNELS] = std::array::from_fn(|_| {
                let row = rows.next().unwrap_or_default();
                row.as_chunks_mut::<PIXELS>().0.iter_mut()
            });
            let offsets = taps.offsets.as_chunks::<PIXELS>().0;
            let weights = taps.weights.as_chunks::<PIXELS>().0;
            for (offsets, weights) in offsets.iter().zip(weights) {
                let mut sums = [0; PIXELS];
                let pixels = offsets.iter().zip(weights);
                for (sum, (&offset, &[_, weight, ..])) in sums.iter_mut().zip(pixels) {
                    let both = u64::from_le_bytes(eight(texels, offset));
                    let (first, second) = (lanes(both), lanes(both >> (8 * CHANNELS)));
                    let weight = u64::from(weight);
                    // No lane can reach another: rule 4's sums have 16 bits.
                    *sum = first * (256 - weight) + second * weight;
                }
                for (channel, row) in rows.iter_mut().enumerate() {
                    for (value, sum) in row.next().into_iter().flatten().zip(sums) {
                        *value = (i32::from((sum >> (16 * channel)) as u16) - BIAS) as i16;
                    }
                }
            }
        }
    }
}

/// The four lowest bytes in 16 bits each.
#[inline(always)]
fn lanes(bytes: u64) -> u64 {
    let bytes = bytes & 0xFFFF_FFFF;
    let pairs = (bytes | bytes << 16) & 0x0000_FFFF_0000_FFFF;
    (pairs | pairs << 8) & 0x00FF_00FF_00FF_00FF
}

/// The eight bytes from `offset` on.
#[inline(always)]
pub(super) fn eight(texels: &[u8], offset: u32) -> [u8; 8] {
    let bytes = &texels[offset as usize..][..8];
    // A slice of eight bytes is an array of eight bytes.
    bytes.try_into().unwrap_or_default()
}

/// Rule 4 along y: two planar rows of [`blend_across`], at least as long as `out`, into one of 8
/// bits, a multiple of [`ROW_CHUNK`] long.
pub(super) fn blend_down(simd: Simd, top: &[i16], bottom: &[i16], weight: u32, out: &mut [u8]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) => x86::blend_down_avx512(token, top, bottom, weight, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::blend_down_avx2(token, top, bottom, weight, out),
        _ => simd.run(
            #[inline(always)]
            || blend_down_plainly(top, bottom, weight, out),
        ),
    }
}

#[inline(always)]
fn blend_down_plainly(top: &[i16], bottom: &[i16], weight: u32, out: &mut [u8]) {
    // Products of 16 bits are cheaper than of 32.
    let weights = weight_pair(weight);
    for ((out, &top), &bottom) in out.iter_mut().zip(top).zip(bottom) {
        let sum =
            i32::from(weights[0]) * i32::from(top) + i32::from(weights[1]) * i32::from(bottom);
        *out = ((sum + SUM_BIAS) >> 16) as u8;
    }
}

/// The weights of both rows.
#[inline(always)]
pub(super) fn weight_pair(weight: u32) -> [i16; 2] {
    [256 - weight as i16, weight as i16]
}

/// What the bias took from a sum of products, and half of the divisor.
pub(super) const SUM_BIAS: i32 = 256 * BIAS + (1 << 15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::rules;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn across_is_rule_4<const CHANNELS: usize>(simd: Simd) {
        let width = 37u32;
        let texels = noise(width as usize * CHANNELS + READ_BEHIND);
        let taps: Vec<Tap> = (0..width)
            .flat_map(|first| {
                let second = (first + 1).min(width - 1);
                [0, 1, 77, 128, 255].map(|weight| Tap {
                    first,
                    second,
                    weight,
                })
            })
            .collect();
        let mut set = Taps::default();
        set.set::<CHANNELS>(taps.iter().copied());
        let length = set.row_length();
        let mut planar = vec![0; CHANNELS * length];
        blend_across::<CHANNELS>(simd, &texels, &set, &mut planar);
        for (x, tap) in taps.iter().enumerate() {
            for channel in 0..CHANNELS {
                let texel = |at: u32| texels[at as usize * CHANNELS + channel];
                let value = rules::blend_across(texel(tap.first), texel(tap.second), tap.weight);
                let found = i32::from(planar[channel * length + x]) + BIAS;
                assert_eq!(
                    found,
                    i32::from(value),
                    "{simd}, {CHANNELS} channels, {tap:?}"
                );
            }
        }
    }

    #[test]
    fn rows_are_blended_by_rule_4() {
        for simd in Simd::available() {
            across_is_rule_4::<3>(simd);
            across_is_rule_4::<4>(simd);
        }
    }

    #[test]
    fn columns_are_blended_by_rule_4() {
        // Corners first: the least and the greatest values in both rows.
        let row = |seed: u8| -> Vec<u16> {
            let values = noise(300).into_iter().enumerate();
            let mixed = values.map(|(x, value)| {
                rules::blend_across(value ^ seed, value.wrapping_mul(seed), (x % 256) as u32)
            });
            [0, 65_280, 0, 65_280].into_iter().chain(mixed).collect()
        };
        let (top, mut bottom) = (row(1), row(7));
        bottom.swap(1, 2);
        let biased = |row: &[u16]| -> Vec<i16> {
            row.iter()
                .map(|&value| (i32::from(value) - BIAS) as i16)
                .collect()
        };
        for simd in Simd::available() {
            for weight in 0..256 {
                for length in [64, 128, 256] {
                    let mut out = vec![0; length];
                    blend_down(simd, &biased(&top), &biased(&bottom), weight, &mut out);
                    let pairs = top.iter().zip(&bottom).take(length);
                    let expected: Vec<u8> = pairs
                        .map(|(&t, &b)| rules::blend_down(t, b, weight))
                        .collect();
                    assert_eq!(out, expected, "{simd}, weight {weight}");
                }
            }
        }
    }
}
