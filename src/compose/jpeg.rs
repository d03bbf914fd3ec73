//! Decoding of photographs that are stored as JPEG files.
//!
//! Both packing and composing decode here, with zune-jpeg by itself. The image crate has the same
//! decoder and gives the same pixels, but copies each file first and reads its headers twice, and
//! copies the pixels of a grey one: in place is 1.1 to 1.2 times as fast.
//!
//! libjpeg-turbo was measured beside it (`cargo bench --bench decode --features turbojpeg`): 1.1 to 1.2
//! times as fast again, with 1 % to 13 % of the pixels different, by up to 5 levels. That is too little
//! for a build that would give other scenes, other colour matches and so other plans than the rest, and
//! takes a C compiler, cmake and nasm. Nor does decoding at half size pay, 1.1 to 1.2 times on top: the
//! time goes into the entropy coding, which is the same for any size. So it serves the benchmark only.

#[cfg(feature = "pack")]
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::bank::SCENE_CHANNELS;
use crate::geometry::Size;

/// A JPEG file whose headers were read.
pub(crate) struct Jpeg<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    /// Width and height.
    pub dimensions: [u32; 2],
}

impl<'a> Jpeg<'a> {
    /// Reads the headers; the error says what the decoder said.
    pub fn open(file: &'a [u8]) -> Result<Jpeg<'a>, String> {
        // Files that end early are shown as far as they go, as all viewers do.
        let options = DecoderOptions::new_fast()
            .set_strict_mode(false)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
        decoder
            .decode_headers()
            .map_err(|error| format!("no valid JPEG: {error}"))?;
        let (width, height) = decoder.dimensions().unwrap_or_default();
        // A JPEG's sides have 16 bits.
        let dimensions = [width, height].map(|side| side as u32);
        Ok(Jpeg {
            decoder,
            dimensions,
        })
    }

    /// How the picture is to be turned; what cannot be read is no orientation.
    #[cfg(feature = "pack")]
    pub fn orientation(&self) -> Orientation {
        let exif = self.decoder.exif();
        let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(exif));
        orientation.unwrap_or(Orientation::NoTransforms)
    }

    /// Decodes to interleaved RGB: `pixels` has width times height times 3 bytes of zeros, which
    /// stay where the file ends early.
    pub fn read(mut self, pixels: &mut [u8]) -> Result<(), String> {
        self.decoder
            .decode_into(pixels)
            .map_err(|error| format!("the JPEG cannot be decoded: {error}"))
    }
}

/// Level 0 of a JPEG scene in place of what `pixels` held: RGB interleaved. EXIF orientation is not
/// applied: level 0 is what is stored. The error says what the decoder said, or which size was found
/// and expected.
pub(crate) fn decode_into(file: &[u8], size: Size, pixels: &mut Vec<u8>) -> Result<(), String> {
    let jpeg = Jpeg::open(file)?;
    let [width, height] = jpeg.dimensions;
    if [width, height] != [size.width(), size.height()] {
        return Err(format!(
            "the JPEG has {width}x{height} pixels; its row says {size}"
        ));
    }
    pixels.clear();
    pixels.resize(size.pixels() * SCENE_CHANNELS, 0);
    jpeg.read(pixels)
}

/// As [`decode_into`], in memory of its own.
pub(crate) fn decode(file: &[u8], size: Size) -> Result<Vec<u8>, String> {
    let mut pixels = Vec::new();
    decode_into(file, size, &mut pixels)?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, GrayImage, RgbImage};

    fn file_of(image: &DynamicImage, quality: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut file, quality);
        image.write_with_encoder(encoder).unwrap();
        file
    }

    /// Colour and grey, with sides that are no whole blocks.
    fn pictures() -> [DynamicImage; 3] {
        let texel = |x: u32, y: u32| [(x * y) as u8, (x * 5) as u8, 255 - (y * 3) as u8];
        [
            RgbImage::from_fn(61, 45, |x, y| texel(x, y).into()).into(),
            RgbImage::from_fn(1, 1, |x, y| texel(x, y).into()).into(),
            GrayImage::from_fn(50, 31, |x, y| [(x * y / 3) as u8].into()).into(),
        ]
    }

    #[test]
    fn pixels_are_those_of_the_image_crate() {
        // Memory of another picture must not show through.
        let mut pixels = vec![7; 100_000];
        for picture in pictures() {
            for quality in [30, 90, 100] {
                let file = file_of(&picture, quality);
                let expected = image::load_from_memory(&file).unwrap().into_rgb8();
                let size = Size::new(picture.width(), picture.height()).unwrap();
                decode_into(&file, size, &mut pixels).unwrap();
                assert_eq!(pixels, expected.into_raw());
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_is_the_same_in_used_memory() {
        let file = file_of(&pictures()[0], 90);
        let size = Size::new(61, 45).unwrap();
        for cut in (0..file.len()).step_by(37) {
            let mut used = vec![9; 61 * 45 * 3];
            let fresh = decode(&file[..cut], size);
            let again = decode_into(&file[..cut], size, &mut used).map(|()| used);
            assert_eq!(fresh, again, "cut at {cut}");
        }
    }

    #[test]
    fn sizes_and_files_that_are_no_jpeg_are_told() {
        let file = file_of(&pictures()[0], 90);
        let error = decode(&file, Size::new(61, 46).unwrap()).unwrap_err();
        assert_eq!(error, "the JPEG has 61x45 pixels; its row says 61x46");
        let error = decode(b"\x89PNG", Size::new(1, 1).unwrap()).unwrap_err();
        assert!(error.starts_with("no valid JPEG: "), "{error}");
    }
}
