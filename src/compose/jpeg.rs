//! Decoding of scenes that are stored as JPEG files.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{DynamicImage, ImageDecoder};

use crate::geometry::Size;

/// Level 0 of a JPEG scene: RGB interleaved. EXIF orientation is not applied: level 0 is what is
/// stored. The error says what the decoder said, or which size was found and expected.
pub(crate) fn decode(file: &[u8], size: Size) -> Result<Vec<u8>, String> {
    let decoder =
        JpegDecoder::new(Cursor::new(file)).map_err(|error| format!("no valid JPEG: {error}"))?;
    let (width, height) = decoder.dimensions();
    if (width, height) != (size.width(), size.height()) {
        return Err(format!(
            "the JPEG has {width}x{height} pixels; its row says {size}"
        ));
    }
    let image = DynamicImage::from_decoder(decoder)
        .map_err(|error| format!("the JPEG cannot be decoded: {error}"))?;
    Ok(image.into_rgb8().into_raw())
}
