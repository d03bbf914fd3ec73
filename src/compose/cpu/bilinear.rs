//! Rule 4 over rows: the two blends of bilinear sampling.
//!
//! Along x, where the instruction set has permutations of whole registers, the texels of some
//! neighbouring pixels are one window of a row: two reads bring it, and two permutations pick every
//! pixel's first and second texel, all channels together. Elsewhere, or where pixels lie too far apart in
//! the row, one read of eight bytes brings the two texels of one pixel. The rows that come out are planar.
//! Along y it is streaming. Compilers find none of these forms by themselves, so they stand in `x86`, in
//! the words of that instruction set.

#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::compose::rules::Tap;
use crate::compose::simd::Simd;

/// Bytes behind a row's last texel that [`blend_across`] may read, and makes nothing of.
pub(super) const READ_BEHIND: usize = 4 * 32;

/// There are always as many taps as make a multiple of this.
const PIXELS: usize = 8;

/// The values of [`rules::blend_across`](crate::compose::rules::blend_across) are kept lower by this, so
/// that signed products serve: it is what 255 times a texel loses when the texel is kept lower by 128.
const BIAS: i32 = 255 * 128;

/// Values that are blended along y at a time. Rows are a multiple of it long, so that none is left for
/// a slower loop.
pub(super) const ROW_CHUNK: usize = 64;

/// Bytes of a texel in rows that are read by windows: RGB has a byte more there.
pub(super) const WINDOW_TEXEL: usize = 4;

/// Horizontal taps, some more than were asked for so that they fill whole groups.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Scattered: where in a row of texels the first byte of each first texel is; the second texel is the
    /// next one, unless its weight is 0. In windows: the number of each first texel in its window.
    pub texels: Vec<u32>,
    /// 255 minus the second texel's weight and that weight, for each channel. In windows: of each group
    /// first those pixels that [`is_in_lower_half`].
    pub weights: Vec<[u8; 8]>,
    /// The number in the row of each window's first texel; none if pixels are scattered.
    pub windows: Vec<u32>,
    firsts: Vec<u32>,
}

/// Pixels that share a window, which is twice as many texels long.
fn group_of(simd: Simd) -> Option<usize> {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(_) => Some(16),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(_) => Some(8),
        _ => None,
    }
}

/// The greatest of these groups.
const MOST_IN_GROUP: usize = 16;

/// The least texel of a group and how far the greatest is from it: along a row they rise or fall.
fn span_of(firsts: &[u32]) -> (u32, u32) {
    let ends = [firsts.first(), firsts.last()].map(|end| end.copied().unwrap_or(0));
    (ends[0].min(ends[1]), ends[0].abs_diff(ends[1]))
}

/// Whether interleaving registers of texels by their lower halves gives a group's pixel, or by the upper
/// ones.
fn is_in_lower_half(pixel: usize) -> bool {
    pixel % 4 < 2
}

impl Taps {
    /// Makes them of rule 4's.
    pub fn set<const CHANNELS: usize>(&mut self, simd: Simd, taps: impl Iterator<Item = Tap>) {
        self.firsts.clear();
        self.weights.clear();
        for tap in taps {
            // At either end of a row both texels are the same one, of which any blend is itself.
            let weight = if tap.second == tap.first {
                0
            } else {
                tap.weight as u8
            };
            self.firsts.push(tap.first);
            let pair = [255 - weight, weight];
            self.weights
                .push(std::array::from_fn(|byte| pair[byte % 2]));
        }
        let group = group_of(simd).unwrap_or(PIXELS);
        let length = self.firsts.len().next_multiple_of(group);
        let last = self.firsts.last().copied().unwrap_or(0);
        self.firsts.resize(length, last);
        self.weights.resize(length, [0; 8]);
        self.windows.clear();
        self.texels.clear();
        // The second texel of the last pixel is in the window too.
        let fits = |firsts: &[u32]| span_of(firsts).1 + 2 <= 2 * firsts.len() as u32;
        if group_of(simd).is_some() && self.firsts.chunks_exact(group).all(fits) {
            self.set_windows(group);
        } else {
            let offsets = self.firsts.iter().map(|first| first * CHANNELS as u32);
            self.texels.extend(offsets);
        }
    }

    fn set_windows(&mut self, group: usize) {
        for firsts in self.firsts.chunks_exact(group) {
            let (least, _) = span_of(firsts);
            self.windows.push(least);
            self.texels.extend(firsts.iter().map(|first| first - least));
        }
        for weights in self.weights.chunks_exact_mut(group) {
            // A stable order by halves.
            let mut ordered = [[0; 8]; MOST_IN_GROUP];
            let halves = [true, false].into_iter().flat_map(|is_lower| {
                let pixels = weights.iter().enumerate();
                pixels.filter(move |&(pixel, _)| is_in_lower_half(pixel) == is_lower)
            });
            for (ordered, (_, weights)) in ordered.iter_mut().zip(halves) {
                *ordered = *weights;
            }
            weights.copy_from_slice(&ordered[..group]);
        }
    }

    /// Whether rows are read by windows, and so have [`WINDOW_TEXEL`] bytes a texel.
    pub fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// How long a planar row of them is: what lies behind the last tap's value means nothing.
    pub fn row_length(&self) -> usize {
        self.firsts.len().next_multiple_of(ROW_CHUNK)
    }
}

/// A row of RGB texels with a byte more each, for windows, and [`READ_BEHIND`] bytes behind it.
pub(super) fn widen_rgb(simd: Simd, row: &[u8], wide: &mut Vec<u8>) {
    let texels = row.len() / 3;
    // The last few texels are written in whole registers.
    let length = WINDOW_TEXEL * texels + READ_BEHIND;
    if wide.len() < length {
        wide.resize(length, 0);
    }
    #[cfg(target_arch = "x86_64")]
    let done = match simd {
        Simd::Avx512(token) => x86::avx512::widen_rgb(token, row, wide),
        Simd::Avx2(token) => x86::avx2::widen_rgb(token, row, wide),
        _ => 0,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = {
        let _ = simd;
        0
    };
    let rest = row.as_chunks::<3>().0[done..].iter();
    for (wide, &[red, green, blue]) in wide.as_chunks_mut::<WINDOW_TEXEL>().0[done..]
        .iter_mut()
        .zip(rest)
    {
        *wide = [red, green, blue, 0];
    }
}

/// Rule 4 along x: a row of interleaved texels (of [`WINDOW_TEXEL`] bytes if the taps have windows), of
/// which [`READ_BEHIND`] more bytes can be read, into `CHANNELS` planar rows of [`Taps::row_length`] values
/// behind one another, each lower by [`BIAS`].
pub(super) fn blend_across<const CHANNELS: usize>(
    simd: Simd,
    texels: &[u8],
    taps: &Taps,
    planar: &mut [i16],
) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) if taps.has_windows() => {
            x86::avx512::blend_windows::<CHANNELS>(token, texels, taps, planar);
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) if taps.has_windows() => {
            x86::avx2::blend_windows::<CHANNELS>(token, texels, taps, planar);
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512(token) => {
            x86::sse::blend_scattered::<CHANNELS>(**token, texels, taps, planar);
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::sse::blend_scattered::<CHANNELS>(*token, texels, taps, planar),
        #[cfg(target_arch = "x86_64")]
        Simd::Sse(token) => x86::sse::blend_scattered::<CHANNELS>(token, texels, taps, planar),
        _ => blend_scattered_plainly::<CHANNELS>(texels, taps, planar),
    }
}

fn blend_scattered_plainly<const CHANNELS: usize>(texels: &[u8], taps: &Taps, planar: &mut [i16]) {
    let mut rows = planar.chunks_exact_mut(taps.row_length());
    let mut rows: [_; CHANNELS] = std::array::from_fn(|_| {
        let row = rows.next().unwrap_or_default();
        row.as_chunks_mut::<PIXELS>().0.iter_mut()
    });
    let offsets = taps.texels.as_chunks::<PIXELS>().0;
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
        Simd::Avx512(token) => x86::avx512::blend_down(token, top, bottom, weight, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2(token) => x86::avx2::blend_down(token, top, bottom, weight, out),
        #[cfg(target_arch = "x86_64")]
        Simd::Sse(token) => x86::sse::blend_down(token, top, bottom, weight, out),
        _ => blend_down_plainly(top, bottom, weight, out),
    }
}

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

    /// Taps of `width` texels at positions `step` 256ths of a texel apart.
    fn taps(width: u32, step: u32, is_flipped: bool) -> Vec<Tap> {
        let positions = (0..256 * width).step_by(step as usize);
        let mut taps: Vec<Tap> = positions
            .map(|position| Tap {
                first: position / 256,
                second: (position / 256 + 1).min(width - 1),
                weight: position % 256,
            })
            .collect();
        if is_flipped {
            taps.reverse();
        }
        taps
    }

    fn across_is_rule_4<const CHANNELS: usize>(simd: Simd, width: u32, taps: &[Tap]) -> bool {
        let texels = noise(width as usize * CHANNELS + READ_BEHIND);
        let mut set = Taps::default();
        set.set::<CHANNELS>(simd, taps.iter().copied());
        let length = set.row_length();
        let mut planar = vec![0; CHANNELS * length];
        // Longer than needed, as it is after a longer row.
        let mut wide = vec![9; 4 * width as usize + READ_BEHIND + 100];
        let row = if set.has_windows() && CHANNELS == 3 {
            widen_rgb(simd, &texels[..width as usize * CHANNELS], &mut wide);
            &wide
        } else {
            &texels
        };
        blend_across::<CHANNELS>(simd, row, &set, &mut planar);
        for (x, tap) in taps.iter().enumerate() {
            for channel in 0..CHANNELS {
                let texel = |at: u32| texels[at as usize * CHANNELS + channel];
                let value = rules::blend_across(texel(tap.first), texel(tap.second), tap.weight);
                let found = i32::from(planar[channel * length + x]) + BIAS;
                assert_eq!(
                    found,
                    i32::from(value),
                    "{simd}, {CHANNELS} channels, {width} texels, pixel {x}: {tap:?}"
                );
            }
        }
        set.has_windows()
    }

    #[test]
    fn rows_are_blended_by_rule_4() {
        for simd in Simd::available() {
            let mut forms = [0; 2];
            for width in [1, 2, 5, 16, 37, 150, 400] {
                for step in [1, 50, 255, 256, 300, 490, 511, 512, 700, 2000] {
                    for is_flipped in [false, true] {
                        let taps = taps(width, step, is_flipped);
                        let has_windows = across_is_rule_4::<3>(simd, width, &taps);
                        across_is_rule_4::<4>(simd, width, &taps);
                        forms[usize::from(has_windows)] += 1;
                    }
                }
            }
            // Each form was held against the rule where there are two.
            assert!(forms[0] > 4, "{simd}");
            assert_eq!(forms[1] > 4, group_of(simd).is_some(), "{simd}");
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
