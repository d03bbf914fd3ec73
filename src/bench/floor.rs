//! The bytes that composing must move, whoever does it.

use serde::{Deserialize, Serialize};

use crate::bank::{CUTOUT_CHANNELS, SCENE_CHANNELS};
use crate::compose::encode::Source;
use crate::compose::{Batch, Encoded, MaskOutput};

/// Bytes that each image of a batch needs moved at least, on average: what is written and what is
/// read, each byte once.
///
/// Written are the image in its final type and the masks of what stays, as far as their boxes reach:
/// elsewhere memory that is used again has nothing to change. Read are the texels of the
/// chosen levels, as far as they lie on the canvas, or a JPEG scene's file, and the scene instances'
/// mask bits. Boxes, labels, run lengths and the encoded plan are a few KB and do not count; nor does
/// what a back end keeps for itself in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The image.
    pub image: f64,
    /// Masks of what stays, within their boxes.
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
            let samples = (0..batch.len()).filter_map(|sample| batch.sample(sample));
            let boxes = samples.flat_map(|sample| sample.boxes);
            floor.masks = boxes.map(mask_bytes).sum();
        }
        for sample in &encoded.samples {
            floor.texels += match encoded.sources[sample.source as usize] {
                Source::Jpeg { file, .. } => file.len() as f64,
                Source::Mapped(_) => sample.sampling.bytes_on(canvas.rect(), SCENE_CHANNELS),
            };
            for layer in encoded.layers_of(sample) {
                floor.texels += layer.sampling.bytes_on(canvas.rect(), CUTOUT_CHANNELS);
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

/// Bytes of the mask words in a box.
fn mask_bytes(&[x0, y0, x1, y1]: &[f32; 4]) -> f64 {
    let words = (x1 / 32.0).ceil() - (x0 / 32.0).floor();
    f64::from(4.0 * words * (y1 - y0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::encode::Sampling;
    use crate::geometry::Rect;

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
        assert_eq!(sampling([0, 0]).bytes_on(canvas, 4), 800.0);
        assert_eq!(sampling([-20, 40]).bytes_on(canvas, 4), 100.0);
        assert_eq!(sampling([100, 0]).bytes_on(canvas, 3), 0.0);
    }

    #[test]
    fn masks_count_by_the_words_of_their_boxes() {
        assert_eq!(mask_bytes(&[31.0, 2.0, 33.0, 5.0]), 24.0);
        assert_eq!(mask_bytes(&[32.0, 0.0, 64.0, 10.0]), 40.0);
    }
}
