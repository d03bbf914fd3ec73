//! The canvas: the scene, then each layer over it (rules 7, 10 and 11).

use super::layer::LayerPixels;
use super::rows;
use super::sample::{Upright, padded, padded_stride};
use super::weights::Weights;
use crate::bank::SCENE_CHANNELS;
use crate::compose::encode::{EncodedLayer, EncodedSample};
use crate::compose::rules::IDENTITY_COLOUR;
use crate::compose::simd::Simd;
use crate::geometry::{Rect, Size};

/// One sample's pixels in the making, as three planes.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Red, green and blue, each `height` rows of `stride` values.
    planes: [Vec<u8>; 3],
    /// The width and what loops may overwrite behind it.
    stride: usize,
    upright: Upright,
}

impl Canvas {
    /// Makes room for a canvas of this size.
    pub fn reset(&mut self, size: Size) {
        self.width = size.width() as usize;
        self.height = size.height() as usize;
        self.stride = padded_stride(self.width);
        for plane in &mut self.planes {
            plane.resize(self.stride * self.height, 0);
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
    pub fn scene(&mut self, simd: Simd, sample: &EncodedSample, texels: &[u8], pad: [u8; 3]) {
        let inside = sample.inside;
        if !inside.is_empty() {
            self.sample_scene(simd, sample, texels);
        }
        // Padded rows reach behind the scene.
        self.pad(inside, pad);
    }

    fn sample_scene(&mut self, simd: Simd, sample: &EncodedSample, texels: &[u8]) {
        let inside = sample.inside;
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
        if inside == self.rect() {
            return;
        }
        for (plane, value) in self.planes.iter_mut().zip(pad) {
            for (y, row) in (0..).zip(plane.chunks_exact_mut(self.stride)) {
                let row = &mut row[..self.width];
                if inside.is_empty() || y < inside.y0 || y >= inside.y1 {
                    row.fill(value);
                } else {
                    row[..inside.x0 as usize].fill(value);
                    row[inside.x1 as usize..].fill(value);
                }
            }
        }
    }

    /// Rules 10 and 11: a layer over what is there.
    pub fn blend(
        &mut self,
        simd: Simd,
        layer: &EncodedLayer,
        pixels: &mut LayerPixels,
        weights: &Weights,
    ) {
        let rect = weights.rect;
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
}
