//! The canvas: the scene, then each layer over it (rules 7, 10, 11 and 13).

use super::layer::LayerPixels;
use super::rows;
use super::sample::{Upright, padded, padded_stride};
use super::weights::{Weights, resize};
use crate::bank::SCENE_CHANNELS;
use crate::compose::encode::{EncodedLayer, EncodedSample};
use crate::compose::rules::IDENTITY_COLOUR;
use crate::compose::simd::Simd;
use crate::geometry::{Rect, Size};

/// The top of a pixel that no layer's mask has.
pub(super) const NO_LAYER: u16 = u16::MAX;

/// One sample's pixels in the making, as three planes, and which layer is on top where.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Red, green and blue, each `height` rows of `stride` values.
    planes: [Vec<u8>; 3],
    /// The width and what loops may overwrite behind it.
    stride: usize,
    /// Rule 13's top map, [`NO_LAYER`] for none.
    pub top: Vec<u16>,
    /// Where layers were put since the top map was last without any.
    covered: Vec<Rect>,
    top_width: usize,
    pub simd: Simd,
    upright: Upright,
}

/// A layer before occlusion: rule 14's full area and box0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    pub area: u32,
    pub rect: Rect,
}

impl Canvas {
    /// Makes room for a canvas of this size without a layer on it.
    pub fn reset(&mut self, size: Size) {
        self.width = size.width() as usize;
        self.height = size.height() as usize;
        self.stride = padded_stride(self.width);
        for plane in &mut self.planes {
            resize(plane, self.stride * self.height);
        }
        self.uncover(size.pixels());
    }

    /// Takes all layers from the top map, which becomes one of so many pixels.
    fn uncover(&mut self, pixels: usize) {
        if self.top.len() != pixels || self.top_width != self.width {
            self.covered.clear();
            self.top.clear();
            self.top.resize(pixels, NO_LAYER);
            self.top_width = self.width;
        }
        for rect in self.covered.drain(..) {
            for y in rect.y0..rect.y1 {
                let start = y as usize * self.width + rect.x0 as usize;
                self.top[start..][..rect.width()].fill(NO_LAYER);
            }
        }
    }

    /// The whole canvas as a rectangle.
    pub fn rect(&self) -> Rect {
        Rect {
            x0: 0,
            y0: 0,
            x1: self.width as i32,
            y1: self.height as i32,
        }
    }

    /// Row `y` of all three planes.
    pub fn row(&self, y: usize) -> [&[u8]; 3] {
        let range = y * self.stride..y * self.stride + self.width;
        self.planes.each_ref().map(|plane| &plane[range.clone()])
    }

    /// `length` columns from `x` on of row `y`; they may reach behind the canvas as far as [`padded`]
    /// rows do.
    fn row_mut(&mut self, y: i32, x: i32, length: usize) -> [&mut [u8]; 3] {
        let start = y as usize * self.stride + x as usize;
        self.planes
            .each_mut()
            .map(|plane| &mut plane[start..start + length])
    }

    /// Rule 7.
    pub fn scene(&mut self, sample: &EncodedSample, texels: &[u8], pad: [u8; 3]) {
        let inside = sample.inside;
        if !inside.is_empty() {
            self.sample_scene(sample, texels);
        }
        // Padded rows reach behind the scene.
        self.pad(inside, pad);
    }

    fn sample_scene(&mut self, sample: &EncodedSample, texels: &[u8]) {
        let inside = sample.inside;
        let simd = self.simd;
        let mut upright = std::mem::take(&mut self.upright);
        let mut source = upright.columns::<SCENE_CHANNELS>(
            simd,
            &sample.sampling,
            texels,
            (inside.x0, inside.x1),
        );
        for y in inside.y0..inside.y1 {
            source.sample(y, self.row_mut(y, inside.x0, padded(inside.width())));
            if sample.color != IDENTITY_COLOUR {
                let row = self.row_mut(y, inside.x0, inside.width());
                rows::apply_colour(simd, &sample.color, row);
            }
        }
        self.upright = upright;
    }

    /// Fills everything but `inside` with the pad colour.
    fn pad(&mut self, inside: Rect, pad: [u8; 3]) {
        for (plane, value) in self.planes.iter_mut().zip(pad) {
            for (y, row) in (0..).zip(plane.chunks_exact_mut(self.stride)) {
                if inside.is_empty() || y < inside.y0 || y >= inside.y1 {
                    row.fill(value);
                } else {
                    row[..inside.x0 as usize].fill(value);
                    row[inside.x1 as usize..].fill(value);
                }
            }
        }
    }

    /// Rules 10, 11 and 13 for layer number `number`; returns its area and box before occlusion.
    pub fn layer(
        &mut self,
        number: u16,
        layer: &EncodedLayer,
        pixels: &mut LayerPixels,
        weights: &Weights,
    ) -> Full {
        self.blend(layer, pixels, weights);
        self.cover(number, weights)
    }

    fn blend(&mut self, layer: &EncodedLayer, pixels: &mut LayerPixels, weights: &Weights) {
        let (simd, rect) = (self.simd, weights.rect);
        for y in rect.y0..rect.y1 {
            let weight = weights.weight_row(y);
            let mut foreground = pixels.colours(y, (rect.x0, rect.x1));
            let background = self.row_mut(y, rect.x0, weight.len());
            if layer.color != IDENTITY_COLOUR {
                let row = foreground.each_mut().map(|row| &mut row[..]);
                rows::apply_colour(simd, &layer.color, row);
            }
            for (foreground, background) in foreground.into_iter().zip(background) {
                rows::blend(simd, foreground, weight, background);
            }
        }
    }

    /// Rule 13: the layer is on top of its mask's pixels.
    fn cover(&mut self, number: u16, weights: &Weights) -> Full {
        let on_canvas = weights.mask_rect.intersect(self.rect());
        let mut full = Full {
            area: 0,
            rect: Rect::NOTHING,
        };
        // A mask that lies wholly outside can still reach the canvas through its blur.
        if on_canvas.is_empty() {
            return full;
        }
        self.covered.push(on_canvas);
        for y in on_canvas.y0..on_canvas.y1 {
            let mask = weights.mask_row(y, on_canvas);
            let Some((first, end)) = rows::span_of_nonzero(mask) else {
                continue;
            };
            let x0 = on_canvas.x0 + first as i32;
            let start = y as usize * self.width + x0 as usize;
            let top = &mut self.top[start..][..end - first];
            full.area += rows::cover(self.simd, &mask[first..end], number, top);
            full.rect.include(y, x0, x0 + (end - first) as i32);
        }
        full
    }
}
