//! Blend weight of one layer (rule 9), over the part of the canvas that it touches.

use super::filter::{self, FilterAcross, FilterDown, Share};
use super::layer::LayerPixels;
use super::rows;
use super::sample::padded;
use crate::compose::encode::{EncodedLayer, WEIGHT_FILTERED, WEIGHT_HARD, WEIGHT_SOFT};
use crate::compose::simd::Simd;
use crate::geometry::Rect;

/// Planes of one layer, reused from layer to layer.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Where the coverage is sampled: the layer's extent, clipped to the canvas grown by the filter's
    /// radius, since what lies outside takes part in the blur.
    pub mask_rect: Rect,
    /// Canvas pixels that the layer can change.
    pub rect: Rect,
    /// Blend weight in 255ths, rows of `rect`, [`padded`]: 0 behind its columns, unless these are
    /// off the canvas.
    weight: Vec<u8>,
    /// The mask filtered along x, rows as long as those of `weight`, from a radius above `rect` to a radius
    /// below it.
    filtered_across: Vec<u8>,
    /// What each chunk of such a row saw.
    shares: Vec<Share>,
    /// The bits of a row of the mask, from a radius left of `rect` on.
    row_bits: Vec<u32>,
    filter_across: FilterAcross,
    filter_down: FilterDown,
    streaks: Vec<Streak>,
}

fn add_row(streaks: &mut [Streak], row: &[Share]) {
    for (streak, &share) in streaks.iter_mut().zip(row) {
        streak.add_row(share);
    }
}

/// What a chunk of columns saw in the rows up to some row.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    share: Share,
    /// How many rows saw just that, the last of them included.
    rows: usize,
}

impl Streak {
    fn add_row(&mut self, share: Share) {
        if share != self.share {
            *self = Streak { share, rows: 0 };
        }
        self.rows += 1;
    }

    /// What the last so many rows saw together.
    fn share_of(self, rows: usize) -> Share {
        match self.rows >= rows {
            true => self.share,
            false => Share::Some,
        }
    }
}

impl Weights {
    /// Finds where coverage and weight of `layer` are; returns a rectangle around both.
    pub fn place(&mut self, layer: &EncodedLayer, canvas: Rect) -> Rect {
        let radius = layer.radius as i32;
        self.mask_rect = layer.extent.intersect(canvas.grown(radius));
        self.rect = layer.extent.grown(radius).intersect(canvas);
        if self.mask_rect.is_empty() || self.rect.is_empty() {
            self.rect = Rect::default();
            self.mask_rect = Rect::default();
        }
        Rect {
            x0: self.rect.x0.min(self.mask_rect.x0),
            y0: self.rect.y0.min(self.mask_rect.y0),
            x1: self.rect.x1.max(self.mask_rect.x1),
            y1: self.rect.y1.max(self.mask_rect.y1),
        }
    }

    /// Computes the weight of the layer that was placed last, from its `pixels` there.
    pub fn compute(
        &mut self,
        simd: Simd,
        layer: &EncodedLayer,
        pixels: &LayerPixels,
        filter: &[u32],
    ) {
        let length = self.weighted_pixels();
        room(&mut self.weight, length);
        if self.rect.is_empty() {
            return;
        }
        // Without a filter both rectangles are the extent on the canvas.
        match layer.weight {
            WEIGHT_HARD => self.each_row(pixels, |alpha, weight| {
                rows::threshold(simd, alpha, weight);
            }),
            WEIGHT_SOFT => self.each_row(pixels, |alpha, weight| weight.copy_from_slice(alpha)),
            WEIGHT_FILTERED => {
                self.filter_across(simd, pixels, filter);
                self.filter_down(simd, filter);
            }
            other => unreachable!("weight kind {other} is not one that encode makes"),
        }
    }

    /// Weights that follow from each pixel's coverage alone.
    fn each_row(&mut self, pixels: &LayerPixels, weigh: impl Fn(&[u8], &mut [u8])) {
        let rect = self.rect;
        for (y, weight) in
            (rect.y0..rect.y1).zip(self.weight.chunks_exact_mut(padded(rect.width())))
        {
            weigh(pixels.alpha(y, (rect.x0, rect.x1)), weight);
            weight[rect.width()..].fill(0);
        }
    }

    /// Rule 9's first pass: each row of the mask, for the columns of `rect`.
    fn filter_across(&mut self, simd: Simd, pixels: &LayerPixels, filter: &[u32]) {
        let width = padded(self.rect.width());
        let chunks = filter::chunks_of(width);
        let radius = filter.len() / 2;
        self.filter_across.set(filter);
        // Rows outside `mask_rect` are 0.
        let height = self.rect.height() + 2 * radius;
        let masked = self.mask_rect;
        let above = (masked.y0 - (self.rect.y0 - radius as i32)) as usize;
        let below = above + masked.height();
        let filtered = room(&mut self.filtered_across, width * height);
        let shares = room(&mut self.shares, chunks * height);
        for rows in [0..above, below..height] {
            filtered[width * rows.start..width * rows.end].fill(0);
            shares[chunks * rows.start..chunks * rows.end].fill(Share::Nothing);
        }
        // The bits begin a radius left of `rect`; the mask lies somewhere in them.
        let start = (masked.x0 - (self.rect.x0 - radius as i32)) as usize;
        let mask_words = start / 32..(start + masked.width()).div_ceil(32);
        self.row_bits.clear();
        self.row_bits.resize(filter::padded_words(width), 0);
        let filtered = filtered[width * above..].chunks_exact_mut(width);
        let shares = shares[chunks * above..].chunks_exact_mut(chunks);
        for (y, (out, shares)) in (masked.y0..masked.y1).zip(filtered.zip(shares)) {
            let alpha = pixels.alpha(y, (masked.x0, masked.x1));
            let bits = &mut self.row_bits[mask_words.clone()];
            rows::mask_bits(simd, alpha, masked.width(), start as u32 % 32, bits);
            self.filter_across.apply(simd, &self.row_bits, out, shares);
        }
    }

    /// Rule 9's second pass: down the columns.
    fn filter_down(&mut self, simd: Simd, filter: &[u32]) {
        let width = padded(self.rect.width());
        let chunks = filter::chunks_of(width);
        self.filter_down.set(filter);
        self.streaks.clear();
        self.streaks.resize(chunks, Streak::default());
        let height = self.rect.height();
        let mut shares = self.shares.chunks_exact(chunks);
        for row in shares.by_ref().take(filter.len() - 1) {
            add_row(&mut self.streaks, row);
        }
        let outs = self.weight.chunks_exact_mut(width);
        for ((y, out), row) in outs.enumerate().zip(shares).take(height) {
            add_row(&mut self.streaks, row);
            let shares = self.streaks.iter();
            let shares = shares.map(|streak| streak.share_of(filter.len()));
            let rows = &self.filtered_across[y * width..][..filter.len() * width];
            self.filter_down.apply(simd, rows, shares, out);
        }
    }

    /// The weights of canvas row `y` of `rect`, padded.
    pub fn weight_row(&self, y: i32) -> &[u8] {
        let width = padded(self.rect.width());
        &self.weight[(y - self.rect.y0) as usize * width..][..width]
    }

    /// How many pixels have a weight, those included that rows are padded with.
    pub fn weighted_pixels(&self) -> usize {
        padded(self.rect.width()) * self.rect.height()
    }
}

/// The first `length` values, all of which will be written: what they were means nothing. Memory is made
/// only where there is not enough.
pub(super) fn room<T: Clone + Default>(values: &mut Vec<T>, length: usize) -> &mut [T] {
    if values.len() < length {
        values.resize(length, T::default());
    }
    &mut values[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streak_is_as_long_as_rows_are_alike() {
        let rows = [
            Share::Nothing,
            Share::Nothing,
            Share::All,
            Share::All,
            Share::Some,
            Share::All,
            Share::All,
            Share::All,
            Share::Nothing,
        ];
        let mut streak = Streak::default();
        for end in 1..=rows.len() {
            streak.add_row(rows[end - 1]);
            for count in 1..=end {
                let last = &rows[end - count..end];
                let is_same = last.iter().all(|&share| share == last[0]);
                let expected = if is_same { last[0] } else { Share::Some };
                assert_eq!(
                    streak.share_of(count),
                    expected,
                    "{count} rows before {end}"
                );
            }
        }
    }
}
