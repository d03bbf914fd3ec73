//! One layer's pixels, sampled onto the part of the canvas that it can touch (rules 4, 8 and 12).

use super::sample::{RotatedPixel, Upright, padded, padded_stride};
use super::weights::room;
use crate::compose::encode::{EncodedLayer, LAYER_CHANNELS};
use crate::compose::simd::Simd;
use crate::geometry::Rect;

/// Planes of one layer, reused from layer to layer.
#[derive(Debug, Default)]
pub(super) struct LayerPixels {
    /// Where on the canvas, or off it, the pixels lie.
    rect: Rect,
    /// Red, green, blue and alpha, rows of `stride`.
    planes: [Vec<u8>; LAYER_CHANNELS],
    stride: usize,
    upright: Upright,
}

/// The plane that holds alpha.
const ALPHA: usize = 3;

impl LayerPixels {
    /// Samples all of `rect`.
    pub fn sample(&mut self, simd: Simd, layer: &EncodedLayer, texels: &[u8], rect: Rect) {
        self.rect = rect;
        if rect.is_empty() {
            return;
        }
        self.stride = padded_stride(rect.width());
        for plane in &mut self.planes {
            room(plane, self.stride * rect.height());
        }
        let mut rows = self
            .planes
            .each_mut()
            .map(|plane| plane.chunks_exact_mut(self.stride));
        let mut row = || rows.each_mut().map(|rows| rows.next().unwrap_or_default());
        if layer.sampling.rotated != 0 {
            for y in rect.y0..rect.y1 {
                let row = row().map(|row| &mut row[..rect.width()]);
                rotated(simd, layer, texels, (rect.x0, y), row);
            }
            return;
        }
        let columns = (rect.x0, rect.x1);
        let mut source = self.upright.columns(simd, &layer.sampling, texels, columns);
        for y in rect.y0..rect.y1 {
            source.sample(y, row().map(|row| &mut row[..padded(rect.width())]));
        }
    }

    /// Columns x0..x1 of row `y`, padded.
    fn range(&self, y: i32, (x0, x1): (i32, i32)) -> std::ops::Range<usize> {
        let start = (y - self.rect.y0) as usize * self.stride + (x0 - self.rect.x0) as usize;
        start..start + padded((x1 - x0) as usize)
    }

    /// Alpha of canvas pixels `x0..x1` of row `y`, [`padded`]; with the layer's extent around them it
    /// is rule 8's coverage.
    pub fn alpha(&self, y: i32, columns: (i32, i32)) -> &[u8] {
        &self.planes[ALPHA][self.range(y, columns)]
    }

    /// Red, green and blue of the same.
    pub fn colours(&mut self, y: i32, columns: (i32, i32)) -> [&mut [u8]; 3] {
        let range = self.range(y, columns);
        let [red, green, blue, _] = self.planes.each_mut();
        [red, green, blue].map(|plane| &mut plane[range.clone()])
    }
}

/// A row that begins at canvas position x, y.
fn rotated(
    simd: Simd,
    layer: &EncodedLayer,
    texels: &[u8],
    (x0, y): (i32, i32),
    row: [&mut [u8]; LAYER_CHANNELS],
) {
    let [red, green, blue, alpha] = row;
    let pixels = red.iter_mut().zip(green).zip(blue).zip(alpha);
    simd.run(
        #[inline(always)]
        || {
            for (x, (((red, green), blue), alpha)) in (x0..).zip(pixels) {
                let pixel = RotatedPixel::new(&layer.sampling, x, y);
                [*red, *green, *blue, *alpha] = pixel.sample(&layer.sampling, texels);
                if !pixel.is_inside(&layer.sampling) {
                    *alpha = 0;
                }
            }
        },
    );
}
