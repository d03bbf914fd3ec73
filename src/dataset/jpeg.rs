//! JPEG files with colour at full resolution, made with integers only: equal pixels, equal bytes on
//! every machine.
//!
//! A file is the very one that the crate `jpeg-encoder` makes without its SIMD (with it a few bytes
//! are others, so files would depend on the machine). That crate still writes the head with its
//! tables; the scan, where the time goes, is made here with the same arithmetic for many pixels at
//! once.

mod blocks;
mod entropy;

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use blocks::{BLOCK, Components, Quantizer};
use entropy::{BitWriter, Codes};

/// Colour components: brightness and two of colour.
const COMPONENTS: usize = 3;
/// Pixels along each side of a block.
const SIDE: usize = 8;

/// The JPEG file of `width` times `height` RGB pixels of 8 bits, row after row.
///
/// # Errors
/// [`EncodingError`] if there are too few pixels, or none are asked for.
pub(super) fn encode(
    pixels: &[u8],
    [width, height]: [u16; 2],
    quality: u8,
) -> Result<Vec<u8>, EncodingError> {
    let [columns, rows] = [usize::from(width), usize::from(height)];
    let required = columns * rows * COMPONENTS;
    if width == 0 || height == 0 {
        return Err(EncodingError::ZeroImageDimensions { width, height });
    }
    if pixels.len() < required {
        let length = pixels.len();
        return Err(EncodingError::BadImageData { length, required });
    }
    let head = Head::new(quality)?;
    // About what photographs take at quality 90, so that the file seldom moves.
    let mut file = Vec::with_capacity(required / 6);
    head.write([width, height], &mut file);
    let mut bits = BitWriter::new(file);
    let mut components = Components::new(columns);
    let mut last_dc = [0; COMPONENTS];
    for top in (0..rows).step_by(SIDE) {
        components.fill(&pixels[..required], columns, top);
        components.transform(&head.quantizers);
        for place in 0..columns.div_ceil(SIDE) {
            for (component, last_dc) in last_dc.iter_mut().enumerate() {
                let block = components.block(component, place);
                let tables = &head.codes[usize::from(component > 0)];
                bits.block(block, *last_dc, tables);
                *last_dc = block.values[0];
            }
        }
    }
    let mut file = bits.finish();
    file.extend(END_OF_IMAGE);
    Ok(file)
}

const START_OF_FRAME: u8 = 0xC0;
const HUFFMAN_TABLE: u8 = 0xC4;
const QUANTIZATION_TABLE: u8 = 0xDB;
const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

/// All of a file before its scan, and the tables that it tells of: those of brightness and those of
/// colour.
struct Head {
    bytes: Vec<u8>,
    /// Where the height and then the width stand.
    size_at: usize,
    quantizers: [Quantizer; 2],
    codes: [[Codes; 2]; 2],
}

impl Head {
    /// The head that `jpeg-encoder` gives a file of that quality.
    fn new(quality: u8) -> Result<Head, EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, quality);
        encoder.set_sampling_factor(SamplingFactor::F_1_1);
        encoder.encode(&[0; COMPONENTS * BLOCK], 8, 8, ColorType::Rgb)?;
        let mut head = Head {
            bytes,
            size_at: 0,
            quantizers: Default::default(),
            codes: Default::default(),
        };
        head.read_tables();
        Ok(head)
    }

    /// Goes through the segments up to the scan: each is a marker of two bytes, its length in two
    /// bytes, which counts these but not the marker, and its contents.
    fn read_tables(&mut self) {
        let mut at = 2;
        while let Some([0xFF, marker, high, low]) = self.bytes.get(at..at + 4) {
            let marker = *marker;
            let end = at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
            match (marker, self.bytes.get(at + 4..end)) {
                (START_OF_FRAME, _) => self.size_at = at + 5,
                (QUANTIZATION_TABLE, Some([number, table @ ..])) => {
                    self.quantizers[usize::from(number & 1)] = Quantizer::new(table);
                }
                (HUFFMAN_TABLE, Some([number, table @ ..])) => {
                    let class = usize::from(number >> 4 & 1);
                    self.codes[usize::from(number & 1)][class] = Codes::new(table);
                }
                (START_OF_SCAN, _) => {
                    self.bytes.truncate(end);
                    return;
                }
                _ => {}
            }
            at = end;
        }
    }

    fn write(&self, [width, height]: [u16; 2], file: &mut Vec<u8>) {
        let (before, after) = self.bytes.split_at(self.size_at);
        file.extend_from_slice(before);
        file.extend(height.to_be_bytes());
        file.extend(width.to_be_bytes());
        file.extend_from_slice(after.get(4..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Stripes of noise, of black and white, of slopes and of flat colour.
    fn picture([width, height]: [u16; 2]) -> Vec<u8> {
        let mut draw = ChaCha8Rng::seed_from_u64(3);
        let bytes = usize::from(width) * usize::from(height) * COMPONENTS;
        let stripe = usize::from(width) * 9;
        (0..bytes)
            .map(|at| match at / stripe % 4 {
                0 => draw.random(),
                1 => 255 * draw.random_range(0..2),
                2 => (at / 3) as u8,
                _ => (at % 3 * 100) as u8,
            })
            .collect()
    }

    #[test]
    fn files_are_those_of_the_encoder_that_makes_the_head() {
        for size in [[117, 83], [1, 1], [8, 8], [9, 60], [300, 17]] {
            let pixels = picture(size);
            for quality in [1, 2, 13, 49, 50, 75, 90, 95, 99, 100] {
                let mut expected = Vec::new();
                let mut encoder = Encoder::new(&mut expected, quality);
                encoder.set_sampling_factor(SamplingFactor::F_1_1);
                let [width, height] = size;
                encoder
                    .encode(&pixels, width, height, ColorType::Rgb)
                    .unwrap();
                let found = encode(&pixels, size, quality).unwrap();
                assert!(found == expected, "{size:?} at quality {quality}");
            }
        }
    }

    #[test]
    fn too_few_pixels_and_no_size_are_refused() {
        let error = encode(&[0; 11], [2, 2], 90).unwrap_err();
        assert!(matches!(
            error,
            EncodingError::BadImageData {
                length: 11,
                required: 12
            }
        ));
        for size in [[0, 5], [5, 0]] {
            let error = encode(&[], size, 90).unwrap_err();
            assert!(matches!(error, EncodingError::ZeroImageDimensions { .. }));
        }
    }
}
