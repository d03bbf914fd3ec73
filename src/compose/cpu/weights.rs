//! Mask and blend weight of one layer (rules 8 and 9), over the part of the canvas that it touches.

use super::layer::LayerPixels;
use super::rows::{self, FilterAcross, FilterDown, Share};
use super::sample::padded;
use crate::compose::encode::{EncodedLayer, WEIGHT_FILTERED, WEIGHT_HARD, WEIGHT_SOFT};
use crate::compose::simd::Simd;
use crate::geometry::Rect;

/// Planes of one layer, reused from layer to layer.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Where the coverage and the mask are known: the layer's extent, clipped to the canvas grown
    /// by the filter's radius, since what lies outside takes part in the blur.
    pub mask_rect: Rect,
    /// 255 on the mask and 0 off it, rows of `mask_rect`, [`padded`].
    pub mask: Vec<u8>,
    /// Canvas pixels that the layer can change.
    pub rect: Rect,
    /// Blend weight in 255ths, rows of `rect`, [`padded`]: 0 behind its columns, unless these are
    /// off the canvas.
    pub weight: Vec<u8>,
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
    /// Finds where mask and weight of `layer` are; returns a rectangle around both.
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

    /// Computes mask and weight of the layer that was placed last, from its `pixels` there.
    pub fn compute(
        &mut self,
        simd: Simd,
        layer: &EncodedLayer,
        pixels: &LayerPixels,
        filter: &[u32],
    ) {
        let area = |rect: Rect| padded(rect.width()) * rect.height();
        // A row that begins inside the mask may be read a little past its end.
        resize(&mut self.mask, area(self.mask_rect) + 32);
        resize(&mut self.weight, area(self.rect));
        if self.rect.is_empty() {
            return;
        }
        self.threshold(simd, pixels);
        // Without a filter both rectangles are the extent on the canvas.
        match layer.weight {
            WEIGHT_HARD => self.weight.copy_from_slice(&self.mask[..area(self.rect)]),
            WEIGHT_SOFT => self.copy_coverage(pixels),
            WEIGHT_FILTERED => {
                self.filter_across(simd, filter);
                self.filter_down(simd, filter);
            }
            other => unreachable!("weight kind {other} is not one that encode makes"),
        }
    }

    /// Rule 8.
    fn threshold(&mut self, simd: Simd, pixels: &LayerPixels) {
        let rect = self.mask_rect;
        let rows = self.mask.chunks_exact_mut(padded(rect.width()));
        for (y, mask) in (rect.y0..).zip(rows) {
            rows::threshold(simd, pixels.alpha(y, (rect.x0, rect.x1)), mask);
            mask[rect.width()..].fill(0);
        }
    }

    fn copy_coverage(&mut self, pixels: &LayerPixels) {
        let rect = self.rect;
        let rows = self.weight.chunks_exact_mut(padded(rect.width()));
        for (y, weight) in (rect.y0..).zip(rows) {
            weight.copy_from_slice(pixels.alpha(y, (rect.x0, rect.x1)));
            weight[rect.width()..].fill(0);
        }
    }

    /// Rule 9's first pass: each row of the mask, for the columns of `rect`.
    fn filter_across(&mut self, simd: Simd, filter: &[u32]) {
        let width = padded(self.rect.width());
        let chunks = rows::chunks_of(width);
        let radius = filter.len() / 2;
        self.filter_across.set(filter);
        // Rows outside `mask_rect` are 0.
        let height = self.rect.height() + 2 * radius;
        let above = (self.mask_rect.y0 - (self.rect.y0 - radius as i32)) as usize;
        let masked = above..above + self.mask_rect.height();
        resize(&mut self.filtered_across, width * height);
        resize(&mut self.shares, chunks * height);
        for rows in [0..masked.start, masked.end..height] {
            self.filtered_across[width * rows.start..width * rows.end].fill(0);
            self.shares[chunks * rows.start..chunks * rows.end].fill(Share::Nothing);
        }
        // The bits begin a radius left of `rect`; the mask lies somewhere in them.
        let start = (self.mask_rect.x0 - (self.rect.x0 - radius as i32)) as usize;
        let mask_width = self.mask_rect.width();
        let mask_words = start / 32..(start + mask_width).div_ceil(32);
        self.row_bits.clear();
        self.row_bits.resize(rows::padded_words(width), 0);
        let outs = self.filtered_across[width * masked.start..].chunks_exact_mut(width);
        let shares = self.shares[chunks * masked.start..].chunks_exact_mut(chunks);
        let masks = self.mask.chunks_exact(padded(mask_width));
        for ((mask, out), shares) in masks.zip(outs).zip(shares).take(masked.len()) {
            let bits = &mut self.row_bits[mask_words.clone()];
            rows::mask_bits(simd, mask, mask_width, start as u32 % 32, bits);
            self.filter_across.apply(simd, &self.row_bits, out, shares);
        }
    }

    /// Rule 9's second pass: down the columns.
    fn filter_down(&mut self, simd: Simd, filter: &[u32]) {
        let width = padded(self.rect.width());
        let chunks = rows::chunks_of(width);
        self.filter_down.set(filter);
        self.streaks.clear();
        self.streaks.resize(chunks, Streak::default());
        let mut shares = self.shares.chunks_exact(chunks);
        for row in shares.by_ref().take(filter.len() - 1) {
            add_row(&mut self.streaks, row);
        }
        let outs = self.weight.chunks_exact_mut(width);
        for ((y, out), row) in outs.enumerate().zip(shares) {
            add_row(&mut self.streaks, row);
            let shares = self.streaks.iter();
            let shares = shares.map(|streak| streak.share_of(filter.len()));
            let rows = &self.filtered_across[y * width..][..filter.len() * width];
            rows::filter_down(simd, rows, &self.filter_down, shares, out);
        }
    }

    /// The weights of canvas row `y` of `rect`, padded.
    pub fn weight_row(&self, y: i32) -> &[u8] {
        let width = padded(self.rect.width());
        &self.weight[(y - self.rect.y0) as usize * width..][..width]
    }

    /// The mask of canvas row `y` of `mask_rect`, for the columns of `on_canvas` and as many behind them
    /// as make a multiple of 32, which mean nothing.
    pub fn mask_row(&self, y: i32, on_canvas: Rect) -> &[u8] {
        let start = (y - self.mask_rect.y0) as usize * padded(self.mask_rect.width());
        let first = start + (on_canvas.x0 - self.mask_rect.x0) as usize;
        &self.mask[first..][..on_canvas.width().next_multiple_of(32)]
    }
}

/// Makes room for `length` values that will all be written; keeps the memory it has.
pub(super) fn resize<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    values.resize(length, T::default());
}
