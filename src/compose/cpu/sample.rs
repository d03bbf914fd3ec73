//! Rules 4 and 12 over rows: the pixels of a placed source, row by row.
//!
//! An upright source is blended along x once a source row, kept as planar rows, and blended along y
//! once a canvas row: the order that touches least, since an enlarged source shows each of its rows
//! several times and consecutive canvas rows of a reduced one share some.

use super::bilinear::{self, Taps, WINDOW_TEXEL};
use super::weights::room;
use crate::compose::encode::Sampling;
use crate::compose::rules::{self, Tap};
use crate::compose::simd::Simd;

/// Two source rows blended along x, kept while consecutive canvas rows need them again.
#[derive(Debug, Default)]
pub(super) struct AcrossRows {
    rows: [Vec<i16>; 2],
    held: [Option<u32>; 2],
    /// One row of texels in another form than it has in the map.
    copy: Vec<u8>,
}

impl AcrossRows {
    /// Forgets what is held, and makes room for rows of `values`.
    fn reset(&mut self, values: usize) {
        self.held = [None; 2];
        for row in &mut self.rows {
            room(row, values);
        }
    }

    /// The two rows of `tap`; `fill` makes the ones that are not held.
    fn pair(
        &mut self,
        tap: Tap,
        mut fill: impl FnMut(u32, &mut [i16], &mut Vec<u8>),
    ) -> [&[i16]; 2] {
        let first = self.slot(tap.first, Some(tap.second), &mut fill);
        let second = self.slot(tap.second, Some(tap.first), &mut fill);
        [&self.rows[first], &self.rows[second]]
    }

    /// The slot that holds source row `row`, which is filled if neither does; the slot of `other`
    /// is left alone.
    fn slot(
        &mut self,
        row: u32,
        other: Option<u32>,
        fill: &mut impl FnMut(u32, &mut [i16], &mut Vec<u8>),
    ) -> usize {
        if let Some(slot) = self.held.iter().position(|&held| held == Some(row)) {
            return slot;
        }
        let slot = usize::from(self.held[0] == other);
        fill(row, &mut self.rows[slot], &mut self.copy);
        self.held[slot] = Some(row);
        slot
    }
}

/// The vertical tap of canvas row `y` of an upright source.
fn tap_down(sampling: &Sampling, y: i32) -> Tap {
    let (offset, resized) = (sampling.offset[1], sampling.resized[1]);
    let doubled = rules::doubled_distance(y, offset, resized, false);
    rules::tap(doubled, sampling.step[1], resized, sampling.level[1])
}

/// Scratch of an upright source: taps and rows.
#[derive(Debug, Default)]
pub(super) struct Upright {
    taps: Taps,
    across: AcrossRows,
}

/// An upright source of `CHANNELS` channels that is sampled for some columns of the canvas.
pub(super) struct UprightRows<'a, const CHANNELS: usize> {
    simd: Simd,
    sampling: &'a Sampling,
    texels: &'a [u8],
    scratch: &'a mut Upright,
}

impl Upright {
    /// Prepares the columns x0..x1 of the canvas.
    pub fn columns<'a, const CHANNELS: usize>(
        &'a mut self,
        simd: Simd,
        sampling: &'a Sampling,
        texels: &'a [u8],
        (x0, x1): (i32, i32),
    ) -> UprightRows<'a, CHANNELS> {
        let (offset, resized) = (sampling.offset[0], sampling.resized[0]);
        let tap = |x| {
            let doubled = rules::doubled_distance(x, offset, resized, sampling.flip != 0);
            rules::tap(doubled, sampling.step[0], resized, sampling.level[0])
        };
        self.taps.set::<CHANNELS>(simd, (x0..x1).map(tap));
        self.across.reset(CHANNELS * self.taps.row_length());
        UprightRows {
            simd,
            sampling,
            texels,
            scratch: self,
        }
    }
}

impl<const CHANNELS: usize> UprightRows<'_, CHANNELS> {
    /// Samples canvas row `y` into a planar row for each channel, [`padded`] to whole chunks.
    pub fn sample(&mut self, y: i32, out: [&mut [u8]; CHANNELS]) {
        let tap = tap_down(self.sampling, y);
        let stride = self.sampling.level[0] as usize * CHANNELS;
        let (simd, texels, taps) = (self.simd, self.texels, &self.scratch.taps);
        let [top, bottom] = self.scratch.across.pair(tap, |row, planar, copy| {
            let start = row as usize * stride;
            let end = start + stride;
            let texels = if CHANNELS < WINDOW_TEXEL && taps.has_windows() {
                bilinear::widen_rgb(simd, &texels[start..end], copy);
                copy
            } else if end + bilinear::READ_BEHIND <= texels.len() {
                &texels[start..]
            } else {
                // Too little lies behind the last row, and behind those above it if they are short.
                copy.clear();
                copy.extend_from_slice(&texels[start..end]);
                copy.resize(stride + bilinear::READ_BEHIND, 0);
                copy
            };
            bilinear::blend_across::<CHANNELS>(simd, texels, taps, planar);
        });
        let length = taps.row_length();
        for (channel, out) in out.into_iter().enumerate() {
            let row = channel * length..(channel + 1) * length;
            bilinear::blend_down(simd, &top[row.clone()], &bottom[row], tap.weight, out);
        }
    }
}

/// The length of a row for so many columns; what lies behind them means nothing.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(bilinear::ROW_CHUNK)
}

/// The distance of rows from one another if rows of [`padded`] length may begin at any column.
pub(super) fn padded_stride(columns: usize) -> usize {
    padded(columns) + bilinear::ROW_CHUNK
}

/// Rule 12: one pixel of a rotated source.
pub(super) struct RotatedPixel {
    across: i64,
    down: i64,
}

impl RotatedPixel {
    #[inline(always)]
    pub fn new(sampling: &Sampling, x: i32, y: i32) -> RotatedPixel {
        let [width, height] = sampling.resized.map(i64::from);
        let [cos, sin] = [sampling.cos, sampling.sin].map(i64::from);
        let dx = 2 * i64::from(x) + 1 - (2 * i64::from(sampling.offset[0]) + width);
        let dy = 2 * i64::from(y) + 1 - (2 * i64::from(sampling.offset[1]) + height);
        let half_bits = rules::ROTATED_BITS - 1;
        let across = cos * dx - sin * dy + (width << half_bits);
        let across = match sampling.flip {
            0 => across,
            _ => (width << rules::ROTATED_BITS) - across,
        };
        RotatedPixel {
            across,
            down: sin * dx + cos * dy + (height << half_bits),
        }
    }

    #[inline(always)]
    pub fn is_inside(&self, sampling: &Sampling) -> bool {
        let [width, height] = sampling.resized.map(i64::from);
        0 < self.across
            && self.across < width << rules::ROTATED_BITS
            && 0 < self.down
            && self.down < height << rules::ROTATED_BITS
    }

    /// Bilinear sample of all channels.
    #[inline(always)]
    pub fn sample<const CHANNELS: usize>(
        &self,
        sampling: &Sampling,
        texels: &[u8],
    ) -> [u8; CHANNELS] {
        let [level_width, level_height] = sampling.level;
        let [resized_width, resized_height] = sampling.resized;
        let across = rules::rotated_tap(self.across, sampling.step[0], resized_width, level_width);
        let down = rules::rotated_tap(self.down, sampling.step[1], resized_height, level_height);
        let (texels, _) = texels.as_chunks::<CHANNELS>();
        let row = |y: u32| &texels[y as usize * level_width as usize..][..level_width as usize];
        let (top, bottom) = (row(down.first), row(down.second));
        let (first, second) = (across.first as usize, across.second as usize);
        let corners = [top[first], top[second], bottom[first], bottom[second]];
        std::array::from_fn(|channel| {
            let [a, b, c, d] = corners.map(|texel| texel[channel]);
            let top = rules::blend_across(a, b, across.weight);
            let bottom = rules::blend_across(c, d, across.weight);
            rules::blend_down(top, bottom, down.weight)
        })
    }
}
