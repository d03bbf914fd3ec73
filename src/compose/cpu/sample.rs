//! Rules 4 and 12 over rows: the pixels of a placed source, row by row.

use super::rows;
use crate::compose::encode::Sampling;
use crate::compose::rules::{self, Tap};

/// Two source rows blended along x, kept while consecutive canvas rows need them again.
#[derive(Debug, Default)]
pub(super) struct AcrossRows {
    rows: [Vec<u16>; 2],
    held: [Option<u32>; 2],
}

impl AcrossRows {
    /// Forgets what is held, and makes room for rows of `values`.
    pub fn reset(&mut self, values: usize) {
        self.held = [None; 2];
        for row in &mut self.rows {
            row.clear();
            row.resize(values, 0);
        }
    }

    /// The two rows of `tap`; `fill` makes the ones that are not held.
    pub fn pair(&mut self, tap: Tap, mut fill: impl FnMut(u32, &mut [u16])) -> [&[u16]; 2] {
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
        fill: &mut impl FnMut(u32, &mut [u16]),
    ) -> usize {
        if let Some(slot) = self.held.iter().position(|&held| held == Some(row)) {
            return slot;
        }
        let slot = usize::from(self.held[0] == other);
        fill(row, &mut self.rows[slot]);
        self.held[slot] = Some(row);
        slot
    }
}

/// The horizontal taps of canvas pixels x0..x1 of an upright source.
pub(super) fn taps_across(sampling: &Sampling, x0: i32, x1: i32, taps: &mut Vec<Tap>) {
    let (offset, resized) = (sampling.offset[0], sampling.resized[0]);
    taps.clear();
    taps.extend((x0..x1).map(|x| {
        let doubled = rules::doubled_distance(x, offset, resized, sampling.flip != 0);
        rules::tap(doubled, sampling.step[0], resized, sampling.level[0])
    }));
}

/// The vertical tap of canvas row `y` of an upright source.
pub(super) fn tap_down(sampling: &Sampling, y: i32) -> Tap {
    let (offset, resized) = (sampling.offset[1], sampling.resized[1]);
    let doubled = rules::doubled_distance(y, offset, resized, false);
    rules::tap(doubled, sampling.step[1], resized, sampling.level[1])
}

/// An upright source's samples, row by row: `USED` channels from `FIRST` on, each a planar row.
pub(super) struct UprightRows<'a, const CHANNELS: usize, const FIRST: usize, const USED: usize> {
    pub sampling: &'a Sampling,
    pub texels: &'a [u8],
    pub taps: &'a [Tap],
    pub across: &'a mut AcrossRows,
}

impl<const CHANNELS: usize, const FIRST: usize, const USED: usize>
    UprightRows<'_, CHANNELS, FIRST, USED>
{
    /// Samples columns `columns` of the taps at canvas row `y`.
    pub fn sample(&mut self, y: i32, columns: std::ops::Range<usize>, out: [&mut [u8]; USED]) {
        let tap = tap_down(self.sampling, y);
        let stride = self.sampling.level[0] as usize * CHANNELS;
        let (texels, taps) = (self.texels, self.taps);
        let [top, bottom] = self.across.pair(tap, |row, planar| {
            let texels = &texels[row as usize * stride..][..stride];
            rows::blend_across::<CHANNELS, FIRST, USED>(texels, taps, planar);
        });
        for (channel, out) in out.into_iter().enumerate() {
            let start = channel * taps.len();
            let range = start + columns.start..start + columns.end;
            rows::blend_down(&top[range.clone()], &bottom[range], tap.weight, out);
        }
    }
}

/// Rule 12: one pixel of a rotated source.
pub(super) struct RotatedPixel {
    across: i64,
    down: i64,
}

impl RotatedPixel {
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

    pub fn is_inside(&self, sampling: &Sampling) -> bool {
        let [width, height] = sampling.resized.map(i64::from);
        0 < self.across
            && self.across < width << rules::ROTATED_BITS
            && 0 < self.down
            && self.down < height << rules::ROTATED_BITS
    }

    /// Bilinear sample of channels `FIRST..FIRST + USED`.
    pub fn sample<const CHANNELS: usize, const FIRST: usize, const USED: usize>(
        &self,
        sampling: &Sampling,
        texels: &[u8],
    ) -> [u8; USED] {
        let [level_width, level_height] = sampling.level;
        let [resized_width, resized_height] = sampling.resized;
        let across = rules::rotated_tap(self.across, sampling.step[0], resized_width, level_width);
        let down = rules::rotated_tap(self.down, sampling.step[1], resized_height, level_height);
        let (texels, _) = texels.as_chunks::<CHANNELS>();
        let row = |y: u32| &texels[y as usize * level_width as usize..][..level_width as usize];
        let (top, bottom) = (row(down.first), row(down.second));
        let (first, second) = (across.first as usize, across.second as usize);
        std::array::from_fn(|channel| {
            let channel = FIRST + channel;
            let blend = |row: &[[u8; CHANNELS]]| {
                rules::blend_across(row[first][channel], row[second][channel], across.weight)
            };
            rules::blend_down(blend(top), blend(bottom), down.weight)
        })
    }
}
