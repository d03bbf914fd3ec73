//! The bytes that composing must move, whoever does it.

use serde::{Deserialize, Serialize};

use crate::bank::{CUTOUT_CHANNELS, SCENE_CHANNELS};
use crate::compose::batch::words_of;
use crate::compose::encode::{Sampling, Source};
use crate::compose::{Batch, Encoded, MaskOutput};
use crate::geometry::Rect;

/// Bytes that each image of a batch needs moved at least, on average: what is written and what is
/// read, each byte once.
///
/// Written are the image in its final type and the masks of what stays. Read are the texels of the
/// chosen levels, as far as they lie on the canvas, or a JPEG scene's file, and the scene instances'
/// mask bits. Boxes, labels, run lengths and the encoded plan are a few KB and do not count; nor does
/// what a back end keeps for itself in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The image.
    pub image: f64,
    /// Masks of what stays.
    pub masks: f64,
    /// Texels of scene and layers.
    pub texels: f64,
    /// Mask bits of the scene's instances.
    pub mask_bits: f64,
}

impl Floor {
    /// Of a batch that `encoded` gave.
    pub fn of(encoded: &Encoded<'_>, batch: &Batch) -> Floor {
        let canvas = encoded.canvas;
        let mut floor = Floor {
            image: batch.image_bytes().len() as f64,
            ..Floor::default()
        };
        if batch.spec().masks == MaskOutput::Bits {
            let mask = 4 * words_of(canvas.width() as usize) * canvas.height() as usize;
            floor.masks = (batch.instance_count() * mask) as f64;
        }
        for sample in &encoded.samples {
            floor.texels += match encoded.sources[sample.source as usize] {
                Source::Jpeg { file, .. } => file.len() as f64,
                Source::Mapped(_) => read_texels(&sample.sampling, canvas.rect(), SCENE_CHANNELS),
            };
            for layer in encoded.layers_of(sample) {
                floor.texels += read_texels(&layer.sampling, canvas.rect(), CUTOUT_CHANNELS);
            }
            let masks = encoded.instances_of(sample).map(|(_, mask)| mask.len());
            floor.mask_bits += masks.sum::<usize>() as f64;
        }
        let images = encoded.samples.len().max(1) as f64;
        Floor {
            image: floor.image / images,
            masks: floor.masks / images,
            texels: floor.texels / images,
            mask_bits: floor.mask_bits / images,
        }
    }

    /// All of them.
    pub fn bytes(&self) -> f64 {
        self.image + self.masks + self.texels + self.mask_bits
    }
}

/// Bytes of the chosen level whose pixels lie on the canvas. A rotated layer counts as if it were
/// not: the same share of it is there, about.
fn read_texels(sampling: &Sampling, canvas: Rect, channels: usize) -> f64 {
    let [x0, y0] = sampling.offset;
    let [width, height] = sampling.resized;
    let placed = Rect {
        x0,
        y0,
        x1: x0 + width as i32,
        y1: y0 + height as i32,
    };
    let area = |rect: Rect| rect.width() as f64 * rect.height() as f64;
    let shown = area(placed.intersect(canvas)) / area(placed).max(1.0);
    let [across, down] = sampling.level.map(f64::from);
    across * down * channels as f64 * shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_not_read() {
        let sampling = |offset| Sampling {
            step: [0; 2],
            level: [20, 10],
            resized: [40, 40],
            offset,
            flip: 0,
            rotated: 0,
            cos: 0,
            sin: 0,
        };
        let canvas = Rect {
            x0: 0,
            y0: 0,
            x1: 100,
            y1: 50,
        };
        assert_eq!(read_texels(&sampling([0, 0]), canvas, 4), 800.0);
        assert_eq!(read_texels(&sampling([-20, 40]), canvas, 4), 100.0);
        assert_eq!(read_texels(&sampling([100, 0]), canvas, 3), 0.0);
    }
}
