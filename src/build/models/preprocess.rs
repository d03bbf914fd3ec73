//! How images are brought to the size and the values that an embedder was trained with.

use std::borrow::Cow;

use candle_core::{Result, Tensor};
use image::{RgbImage, imageops};

use crate::build::device::Compute;
use crate::build::imaging::{self, Filter};

/// Mean of the channels of OpenAI's images, in parts of 255.
pub const OPENAI_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of the channels of OpenAI's images, in parts of 255.
pub const OPENAI_STD: [f32; 3] = [0.26862954, 0.261_302_6, 0.275_777_1];

/// Longer strips are squeezed, so that a line of pixels does not become gigabytes of them.
const MOST_PROPORTION: u32 = 32;

/// What is done to an image before a network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// Sides that the image is brought to.
    pub resize: Resize,
    /// By which filter.
    pub filter: Filter,
    /// Sides of the square that is cut out of the middle.
    pub crop: u32,
    /// Subtracted from the channels, in parts of 255.
    pub mean: [f32; 3],
    /// What the channels are divided by then.
    pub std: [f32; 3],
}

/// Which sides an image is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The shorter side becomes so long, the longer one in proportion.
    Shorter(u32),
    /// Both sides become so long, whatever the proportions were.
    Square(u32),
}

impl Preprocessing {
    /// CLIP's: bicubic, and the square in the middle.
    pub fn clip(size: u32) -> Preprocessing {
        Preprocessing {
            resize: Resize::Shorter(size),
            filter: Filter::Bicubic,
            crop: size,
            mean: OPENAI_MEAN,
            std: OPENAI_STD,
        }
    }

    /// Images as a network takes them, [images, 3, crop, crop], as the image processors of
    /// transformers make them with Pillow.
    ///
    /// # Errors
    /// No images, or what candle says.
    pub fn apply(&self, images: &[RgbImage], compute: &Compute) -> Result<Tensor> {
        let squares: Vec<_> = images.iter().map(|image| self.square(image)).collect();
        imaging::to_tensor(&squares, self.mean, self.std, compute)
    }

    fn square(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = self.sides(image.dimensions());
        let resized = if image.dimensions() == (width, height) {
            Cow::Borrowed(image)
        } else {
            Cow::Owned(imaging::resize(image, width, height, self.filter))
        };
        if (width, height) == (self.crop, self.crop) {
            return resized.into_owned();
        }
        // What the crop reaches beyond the image is black.
        let mut square = RgbImage::new(self.crop, self.crop);
        let offset = |side: u32| (i64::from(self.crop) - i64::from(side) + 1).div_euclid(2);
        imageops::replace(&mut square, &*resized, offset(width), offset(height));
        square
    }

    fn sides(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let short = match self.resize {
            Resize::Square(side) => return (side, side),
            Resize::Shorter(short) => short,
        };
        let shorter = u64::from(width.min(height).max(1));
        let long = u64::from(short) * u64::from(width.max(height)) / shorter;
        let longest = short.saturating_mul(MOST_PROPORTION);
        let long = u32::try_from(long).map_or(longest, |long| long.min(longest));
        if width <= height {
            (short, long)
        } else {
            (long, short)
        }
    }
}
