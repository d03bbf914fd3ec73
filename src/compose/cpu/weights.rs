//! Coverage, mask and blend weight of one layer (rules 8 and 9), over the part of the canvas that
//! it touches.

use super::rows;
use super::sample::{AcrossRows, RotatedPixel, UprightRows, taps_across};
use crate::compose::encode::{
    EncodedLayer, LAYER_CHANNELS, WEIGHT_FILTERED, WEIGHT_HARD, WEIGHT_SOFT,
};
use crate::compose::rules::Tap;
use crate::geometry::Rect;

/// Weights of the widest filter: rule 9 allows a radius of 30.
const MOST_WEIGHTS: usize = 2 * 30 + 1;

/// The channel that holds alpha.
const ALPHA: usize = 3;

/// Planes of one layer, reused from layer to layer.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Where the coverage and the mask are known: the layer's extent, clipped to the canvas grown
    /// by the filter's radius, since what lies outside takes part in the blur.
    pub mask_rect: Rect,
    /// 255 on the mask and 0 off it, row after row of `mask_rect`.
    pub mask: Vec<u8>,
    /// Canvas pixels that the layer can change.
    pub rect: Rect,
    /// Blend weight in 255ths, row after row of `rect`.
    pub weight: Vec<u8>,
    coverage: Vec<u8>,
    filtered_across: Vec<u8>,
    padded: Vec<u8>,
    sums: Vec<u32>,
    zeros: Vec<u8>,
    taps: Vec<Tap>,
    across: AcrossRows,
}

impl Weights {
    /// Computes mask and weight of `layer`, whose chosen mip level is `texels`.
    pub fn compute(&mut self, layer: &EncodedLayer, texels: &[u8], filter: &[u32], canvas: Rect) {
        let radius = layer.radius as i32;
        self.mask_rect = layer.extent.intersect(canvas.grown(radius));
        self.rect = layer.extent.grown(radius).intersect(canvas);
        if self.mask_rect.is_empty() || self.rect.is_empty() {
            self.rect = Rect::default();
            self.mask_rect = Rect::default();
            return;
        }
        self.cover(layer, texels);
        resize(&mut self.mask, self.coverage.len());
        rows::threshold(&self.coverage, &mut self.mask);
        resize(&mut self.weight, self.rect.width() * self.rect.height());
        // Without a filter both rectangles are the extent on the canvas.
        match layer.weight {
            WEIGHT_HARD => self.weight.copy_from_slice(&self.mask),
            WEIGHT_SOFT => self.weight.copy_from_slice(&self.coverage),
            WEIGHT_FILTERED => {
                self.filter_across(radius, filter);
                self.filter_down(radius, filter);
            }
            other => unreachable!("weight kind {other} is not one that encode makes"),
        }
    }

    /// Rule 8 over `mask_rect`.
    fn cover(&mut self, layer: &EncodedLayer, texels: &[u8]) {
        let (rect, sampling) = (self.mask_rect, &layer.sampling);
        let width = rect.width();
        resize(&mut self.coverage, width * rect.height());
        let coverage = (rect.y0..).zip(self.coverage.chunks_exact_mut(width));
        if sampling.rotated != 0 {
            for (y, row) in coverage {
                for (x, coverage) in (rect.x0..).zip(row) {
                    let pixel = RotatedPixel::new(sampling, x, y);
                    *coverage = if pixel.is_inside(sampling) {
                        pixel.sample::<LAYER_CHANNELS, ALPHA, 1>(sampling, texels)[0]
                    } else {
                        0
                    };
                }
            }
            return;
        }
        taps_across(sampling, rect.x0, rect.x1, &mut self.taps);
        self.across.reset(width);
        let mut alpha = UprightRows::<LAYER_CHANNELS, ALPHA, 1> {
            sampling,
            texels,
            taps: &self.taps,
            across: &mut self.across,
        };
        for (y, row) in coverage {
            alpha.sample(y, 0..width, [row]);
        }
    }

    /// Rule 9's first pass: each row of the mask, for the columns of `rect`.
    fn filter_across(&mut self, radius: i32, filter: &[u32]) {
        let width = self.rect.width();
        resize(&mut self.filtered_across, width * self.mask_rect.height());
        self.padded.clear();
        self.padded.resize(width + 2 * radius as usize, 0);
        resize(&mut self.sums, width);
        // The padded row begins `radius` pixels left of `rect`; the mask lies somewhere in it.
        let start = (self.mask_rect.x0 - (self.rect.x0 - radius)) as usize;
        let mask_rows = self.mask.chunks_exact(self.mask_rect.width());
        let out_rows = self.filtered_across.chunks_exact_mut(width);
        for (mask, out) in mask_rows.zip(out_rows) {
            self.padded[start..start + mask.len()].copy_from_slice(mask);
            rows::filter_mask_across(&self.padded, filter, &mut self.sums, out);
        }
    }

    /// Rule 9's second pass: down the columns, rows outside `mask_rect` being 0.
    fn filter_down(&mut self, radius: i32, filter: &[u32]) {
        let width = self.rect.width();
        self.zeros.clear();
        self.zeros.resize(width, 0);
        let mask_height = self.mask_rect.height() as i32;
        let mut window: [&[u8]; MOST_WEIGHTS] = [&[]; MOST_WEIGHTS];
        let window = &mut window[..filter.len()];
        for (y, out) in (self.rect.y0..).zip(self.weight.chunks_exact_mut(width)) {
            let centre = y - self.mask_rect.y0;
            for (row, slot) in (centre - radius..=centre + radius).zip(&mut *window) {
                *slot = if (0..mask_height).contains(&row) {
                    &self.filtered_across[row as usize * width..][..width]
                } else {
                    &self.zeros[..]
                };
            }
            rows::filter_down(window, filter, &mut self.sums, out);
        }
    }

    /// The weights of canvas row `y` of `rect`.
    pub fn weight_row(&self, y: i32) -> &[u8] {
        let width = self.rect.width();
        &self.weight[(y - self.rect.y0) as usize * width..][..width]
    }

    /// The mask of canvas row `y` of `mask_rect`, for the columns on the canvas.
    pub fn mask_row(&self, y: i32, on_canvas: Rect) -> &[u8] {
        let start = (y - self.mask_rect.y0) as usize * self.mask_rect.width();
        let first = start + (on_canvas.x0 - self.mask_rect.x0) as usize;
        &self.mask[first..][..on_canvas.width()]
    }
}

/// Makes room for `length` values that will all be written; keeps the memory it has.
pub(super) fn resize<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    values.resize(length, T::default());
}
