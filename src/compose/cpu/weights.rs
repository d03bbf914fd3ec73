//! Mask and blend weight of one layer (rules 8 and 9), over the part of the canvas that it touches.

use super::layer::LayerPixels;
use super::rows;
use super::sample::padded;
use crate::compose::encode::{EncodedLayer, WEIGHT_FILTERED, WEIGHT_HARD, WEIGHT_SOFT};
use crate::compose::simd::Simd;
use crate::geometry::Rect;

/// Weights of the widest filter: rule 9 allows a radius of 30.
const MOST_WEIGHTS: usize = 2 * 30 + 1;

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
    /// The mask filtered along x, rows as long as those of `weight`.
    filtered_across: Vec<u8>,
    padded: Vec<u16>,
    nothing: Vec<u8>,
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
        resize(&mut self.filtered_across, width * self.mask_rect.height());
        resize(&mut self.padded, rows::padded_length(width, filter.len()));
        // The padded row begins a radius left of `rect`; the mask lies somewhere in it.
        let radius = (filter.len() / 2) as i32;
        let start = (self.mask_rect.x0 - (self.rect.x0 - radius)) as usize;
        let mask_width = self.mask_rect.width();
        let mask_rows = self.mask.chunks_exact(padded(mask_width));
        let out_rows = self.filtered_across.chunks_exact_mut(width);
        for (mask, out) in mask_rows.zip(out_rows) {
            rows::widen_mask(simd, &mask[..mask_width], start, &mut self.padded);
            rows::filter_mask_across(simd, &self.padded, filter, out);
        }
    }

    /// Rule 9's second pass: down the columns, rows outside `mask_rect` being 0.
    fn filter_down(&mut self, simd: Simd, filter: &[u32]) {
        let width = padded(self.rect.width());
        let radius = (filter.len() / 2) as i32;
        self.nothing.clear();
        self.nothing.resize(width, 0);
        let mask_height = self.mask_rect.height() as i32;
        let mut window: [&[u8]; MOST_WEIGHTS] = [&[]; MOST_WEIGHTS];
        let window = &mut window[..filter.len()];
        for (y, out) in (self.rect.y0..).zip(self.weight.chunks_exact_mut(width)) {
            let centre = y - self.mask_rect.y0;
            for (row, slot) in (centre - radius..=centre + radius).zip(&mut *window) {
                *slot = if (0..mask_height).contains(&row) {
                    &self.filtered_across[row as usize * width..][..width]
                } else {
                    &self.nothing
                };
            }
            rows::filter_down(simd, window, filter, out);
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
