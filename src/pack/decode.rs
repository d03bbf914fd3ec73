//! Decoding photographs: bounded, upright, eight bits of RGB.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage,
};

use crate::annotations::problems::{Problem, ProblemKind};
use crate::bank::{SCENE_CHANNELS, mip};
use crate::compose::jpeg::Jpeg;
use crate::geometry::{MAX_SOURCE_SIDE, Size};

/// Bytes a pixel takes at most while it is decoded: four channels of 32 bits, twice.
const DECODING_BYTES: u64 = 32;

/// A decoded photograph.
pub(crate) struct Photograph {
    pub size: Size,
    /// RGB interleaved, row after row.
    pub pixels: Vec<u8>,
    /// The file itself, where it is a JPEG whose stored pixels are `pixels` as they stand.
    pub jpeg: Option<Vec<u8>>,
}

/// Reads the photograph at `path`. EXIF orientation is applied if the annotated size fits the
/// turned picture, or if none is annotated, and left alone if it fits only the stored one.
pub(crate) fn photograph(
    path: &Path,
    annotated: Option<[u32; 2]>,
    max_pixels: u64,
) -> Result<Photograph, Problem> {
    let file = read(path)?;
    if image::guess_format(&file).is_ok_and(|format| format == ImageFormat::Jpeg) {
        let (size, pixels, turned) = jpeg(path, &file, annotated, max_pixels)?;
        return Ok(Photograph {
            size,
            pixels,
            jpeg: (!turned).then_some(file),
        });
    }
    let mut decoder = decoder(path, &file, max_pixels)?;
    let stored = decoder.dimensions();
    // Orientation that cannot be read is no orientation.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let turn = is_turned(path, stored, orientation, annotated)?;
    let (size, pixels) = if decoder.color_type() == ColorType::Rgb8 && !turn {
        let size = checked_size(path, stored.0, stored.1)?;
        let mut pixels = room_for(size);
        decoder
            .read_image(&mut pixels)
            .map_err(|error| undecodable(path, &error))?;
        (size, pixels)
    } else {
        let mut image = decode(path, decoder)?;
        if turn {
            image.apply_orientation(orientation);
        }
        let pixels = image.into_rgb8();
        let size = checked_size(path, pixels.width(), pixels.height())?;
        (size, pixels.into_raw())
    };
    Ok(Photograph {
        size,
        pixels,
        jpeg: None,
    })
}

/// Decodes a JPEG file: its size, its RGB pixels, and whether they were turned.
fn jpeg(
    path: &Path,
    file: &[u8],
    annotated: Option<[u32; 2]>,
    max_pixels: u64,
) -> Result<(Size, Vec<u8>, bool), Problem> {
    let undecodable = |error: String| undecodable(path, &error);
    let jpeg = Jpeg::open(file).map_err(undecodable)?;
    let [width, height] = jpeg.dimensions;
    check_pixels(path, (width, height), max_pixels)?;
    let size = checked_size(path, width, height)?;
    let orientation = jpeg.orientation();
    let turn = is_turned(path, (width, height), orientation, annotated)?;
    let mut pixels = room_for(size);
    jpeg.read(&mut pixels).map_err(undecodable)?;
    if !turn {
        return Ok((size, pixels, false));
    }
    // The pixels are as many as the size says, so there is an image.
    let image = RgbImage::from_raw(width, height, pixels).unwrap_or_default();
    let mut image = DynamicImage::from(image);
    image.apply_orientation(orientation);
    let pixels = image.into_rgb8();
    let size = checked_size(path, pixels.width(), pixels.height())?;
    Ok((size, pixels.into_raw(), true))
}

/// RGB pixels of that size in memory that has room for the mip chain, which most photographs become.
fn room_for(size: Size) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(mip::chain_bytes(size, SCENE_CHANNELS));
    pixels.resize(size.pixels() * SCENE_CHANNELS, 0);
    pixels
}

/// Whether the stored picture is to be turned; a problem with both sizes if the annotated one fits
/// neither way.
fn is_turned(
    path: &Path,
    stored: (u32, u32),
    orientation: Orientation,
    annotated: Option<[u32; 2]>,
) -> Result<bool, Problem> {
    let turned = match swaps_sides(orientation) {
        true => (stored.1, stored.0),
        false => stored,
    };
    match annotated.map(<(u32, u32)>::from) {
        Some(size) if size != turned && size == stored => Ok(false),
        Some((width, height)) if (width, height) != turned => {
            let mut text = format!(
                "{} has {}x{} pixels; {width}x{height} is annotated",
                path.display(),
                stored.0,
                stored.1
            );
            if turned != stored {
                text += " and turned by its EXIF orientation it does not fit either";
            }
            Err(Problem::new(ProblemKind::SizeMismatch, text))
        }
        _ => Ok(orientation != Orientation::NoTransforms),
    }
}

/// Reads a picture with its alpha.
pub(super) fn transparent(path: &Path, max_pixels: u64) -> Result<RgbaImage, Problem> {
    let file = read(path)?;
    let decoder = decoder(path, &file, max_pixels)?;
    let image = decode(path, decoder)?.into_rgba8();
    checked_size(path, image.width(), image.height())?;
    Ok(image)
}

/// Decodes the file of a picture, turned as its EXIF orientation says; `path` is its name in errors.
#[cfg(feature = "build")]
pub(crate) fn upright(path: &Path, file: &[u8], max_pixels: u64) -> Result<DynamicImage, Problem> {
    let mut decoder = decoder(path, file, max_pixels)?;
    // Orientation that cannot be read is no orientation.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = decode(path, decoder)?;
    image.apply_orientation(orientation);
    checked_size(path, image.width(), image.height())?;
    Ok(image)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ProblemKind::MissingFile,
            _ => ProblemKind::UndecodableImage,
        };
        Problem::new(kind, format!("{}: {error}", path.display()))
    })
}

/// A decoder that knows the picture's size and has decoded nothing yet.
fn decoder<'a>(
    path: &Path,
    file: &'a [u8],
    max_pixels: u64,
) -> Result<impl ImageDecoder + 'a, Problem> {
    let undecodable = |error: &dyn std::fmt::Display| undecodable(path, error);
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| undecodable(&error))?;
    if reader.format().is_none() {
        return Err(undecodable(&"no image format that is known"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(DECODING_BYTES));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| undecodable(&error))?;
    let (width, height) = decoder.dimensions();
    check_pixels(path, (width, height), max_pixels)?;
    checked_size(path, width, height)?;
    Ok(decoder)
}

fn check_pixels(path: &Path, (width, height): (u32, u32), max_pixels: u64) -> Result<(), Problem> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= max_pixels {
        return Ok(());
    }
    let text = format!(
        "{} has {width}x{height} = {pixels} pixels; at most {max_pixels} are allowed",
        path.display()
    );
    Err(Problem::new(ProblemKind::TooManyPixels, text))
}

fn decode(path: &Path, decoder: impl ImageDecoder) -> Result<DynamicImage, Problem> {
    DynamicImage::from_decoder(decoder).map_err(|error| undecodable(path, &error))
}

fn checked_size(path: &Path, width: u32, height: u32) -> Result<Size, Problem> {
    Size::new(width, height).ok_or_else(|| {
        let text = format!(
            "{} has {width}x{height} pixels; sides of 1..={MAX_SOURCE_SIDE} are allowed",
            path.display()
        );
        Problem::new(ProblemKind::TooManyPixels, text)
    })
}

fn undecodable(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        ProblemKind::UndecodableImage,
        format!("{}: {error}", path.display()),
    )
}

fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}
