//! Image files of composed samples.

use super::error::EncodeError;
use super::{ImageFormat, jpeg};
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
                // Sides are at most 16384.
                let sides = [size.width(), size.height()].map(|side| side as u16);
                Ok(jpeg::encode(pixels, sides, quality)?)
            }
            ImageFormat::Png => Ok(png::encode(pixels, size)?),
        }
    }
}
