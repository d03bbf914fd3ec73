//! PNG files of composed images.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::error::{ParameterError, ParameterErrorKind};
use image::{ExtendedColorType, ImageEncoder, ImageError, ImageResult};

use crate::geometry::Size;

/// The PNG file of 8-bit RGB pixels, row after row.
///
/// The fast compression, and one filter for all rows: trying each filter on each row took a third of
/// the encoder's time for files of the same size.
pub(crate) fn encode(pixels: &[u8], size: Size) -> ImageResult<Vec<u8>> {
    if pixels.len() != size.pixels() * 3 {
        let kind = ParameterErrorKind::DimensionMismatch;
        return Err(ImageError::Parameter(ParameterError::from_kind(kind)));
    }
    let mut file = Vec::with_capacity(pixels.len() / 2);
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Paeth).write_image(
        pixels,
        size.width(),
        size.height(),
        ExtendedColorType::Rgb8,
    )?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_and_too_few_are_refused() {
        let size = Size::new(31, 17).unwrap();
        let pixels: Vec<u8> = (0..31 * 17 * 3u32).map(|v| (v * v / 9) as u8).collect();
        let file = encode(&pixels, size).unwrap();
        let read = image::load_from_memory(&file).unwrap().into_rgb8();
        assert_eq!(
            (read.dimensions(), read.into_raw()),
            ((31, 17), pixels.clone())
        );
        assert!(encode(&pixels[1..], size).is_err());
    }
}
