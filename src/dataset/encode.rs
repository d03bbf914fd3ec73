//! Image files of composed samples.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::ImageFormat;
use super::error::EncodeError;
use crate::geometry::Size;
use crate::png;

impl ImageFormat {
    /// The file of an image of 8-bit RGB pixels, row after row, as [`write()`](super::write()) writes
    /// it.
    ///
    /// JPEG files keep colour at full resolution, as pasted edges would bleed otherwise, and are made
    /// with integers only: equal pixels, equal bytes everywhere.
    ///
    /// # Errors
    /// [`EncodeError`] if there are fewer `pixels` than `size` says.
    pub fn encode(self, pixels: &[u8], size: Size) -> Result<Vec<u8>, EncodeError> {
        match self {
            ImageFormat::Jpeg { quality } => {
                let mut file = Vec::new();
                let mut encoder = Encoder::new(&mut file, quality);
                encoder.set_sampling_factor(SamplingFactor::F_1_1);
                // Sides are at most 16384.
                let [width, height] = [size.width(), size.height()].map(|side| side as u16);
                encoder.encode(pixels, width, height, ColorType::Rgb)?;
                Ok(file)
            }
            ImageFormat::Png => Ok(png::encode(pixels, size)?),
        }
    }
}
