//! Pictures for people to look at: overlays of instances, contact sheets written as PNG, and
//! self-contained HTML pages.
//!
//! [`sources`] has the things that can be looked at, [`gallery`] the form that all of them take,
//! [`statistics`] what can be counted in them; [`write_sheets`] and [`write_page`] write them.
//!
//! Everything here accepts any size, empty ones included. What cannot be drawn is left out; only
//! writing a file, or a sheet too large to be useful, can fail.

pub mod gallery;
mod html;
mod overlay;
mod placement;
mod sheet;
mod sheets;
pub mod sources;
pub mod statistics;
mod stencil;
mod text;

use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ImageError, Rgb, RgbImage, RgbaImage};

use crate::bank::BankError;
use crate::bank::write::replace_file;
use gallery::Source;
pub use html::write_page;
pub use overlay::{Style, draw_overlays, tile_in_style, tile_with_overlays};
pub use sheet::Sheet;
pub use sheets::{Grid, write_sheets};

/// Colour of the sheet behind everything.
const GROUND: Rgb<u8> = Rgb([24, 26, 29]);
/// Colour of a tile where its picture does not reach.
const WELL: Rgb<u8> = Rgb([36, 39, 43]);
/// The two greys of a chequerboard: light enough for dark objects, dark enough for white ones.
const CHEQUERS: [u8; 2] = [146, 178];
/// Most pixels a picture made here may have.
const MOST_PIXELS: u64 = 100_000_000;

/// Why a picture could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The sheet would be larger than anyone could look at.
    #[error("a sheet of {width} x {height} pixels is larger than {MOST_PIXELS} pixels")]
    TooLarge {
        /// Width the sheet would have.
        width: u64,
        /// Height the sheet would have.
        height: u64,
    },
    /// The path does not end in a file name.
    #[error("{} does not name a file", .path.display())]
    NoFileName {
        /// The path given.
        path: PathBuf,
    },
    /// The picture could not be encoded.
    #[error("cannot encode the picture {}", .path.display())]
    Encode {
        /// The path given.
        path: PathBuf,
        /// What the encoder said.
        source: ImageError,
    },
    /// The file could not be written or put in its place.
    #[error(transparent)]
    Write(#[from] BankError),
    /// The caller's progress function asked to stop.
    #[error("stopped after {pictures} pictures; nothing was kept of an unfinished file")]
    Stopped {
        /// How many pictures were looked at.
        pictures: u64,
    },
}

/// Hands at most `count` pictures of `source` to `visit`, each with its longer side at most
/// `longest` pixels. `progress` is told how many are done and answers whether to go on.
fn for_each_picture(
    source: &mut dyn Source,
    count: u64,
    longest: u32,
    progress: &mut dyn FnMut(u64) -> bool,
    mut visit: impl FnMut(gallery::Picture) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    for done in 0..count {
        if !progress(done) {
            return Err(ViewError::Stopped { pictures: done });
        }
        match source.next(longest) {
            Some(picture) => visit(picture)?,
            None => break,
        }
    }
    Ok(())
}

/// One instance to draw over an image.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Pixels of the instance; it may be empty.
    pub mask: Mask<'a>,
    /// Left, top, right, bottom in pixels, half open.
    pub box_xyxy: [u32; 4],
    /// Text of the tag at the box; none is drawn when it is blank.
    pub label: &'a str,
    /// Colour of all that is drawn for this instance.
    pub tint: [u8; 3],
}

/// A mask the size of its image as rows of bits: pixel (x, y) is bit `x & 31` of word
/// `y * stride_words + x / 32`.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// Words of all rows; pixels of words that are missing are unset.
    pub bits: &'a [u32],
    /// Words from the start of one row to the start of the next.
    pub stride_words: usize,
}

impl Mask<'_> {
    /// Whether the pixel is set; a pixel the mask does not reach is not.
    pub fn get(&self, x: u32, y: u32) -> bool {
        self.word(x as usize / 32, y as usize) >> (x & 31) & 1 == 1
    }

    /// One word of a row, zero where the mask has none.
    fn word(&self, column: usize, row: usize) -> u32 {
        if column >= self.stride_words {
            return 0;
        }
        row.checked_mul(self.stride_words)
            .and_then(|start| start.checked_add(column))
            .and_then(|index| self.bits.get(index))
            .copied()
            .unwrap_or(0)
    }
}

/// A colour for the instance of that number: neighbouring numbers lie far apart in hue.
pub fn tint(index: usize) -> [u8; 3] {
    // Steps of the golden angle never come close to a hue used shortly before.
    let sextant = (210.0 + index as f64 * 137.507_764).rem_euclid(360.0) / 60.0;
    let (saturation, value) = [(0.72, 1.0), (0.85, 0.9), (0.52, 1.0)][index % 3];
    // A channel is full within one sextant of its own hue and falls off linearly over the next.
    [0.0, 4.0, 2.0].map(|shift| {
        let distance = ((sextant + shift) % 6.0 - 3.0).abs();
        let channel = (distance - 1.0).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - saturation * (1.0 - channel))).round() as u8
    })
}

/// Lays a picture with transparency over a grey chequerboard of squares that many pixels wide.
pub fn on_chequerboard(rgba: &RgbaImage, square: u32) -> RgbImage {
    let square = square.max(1);
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let grey = CHEQUERS[((x / square + y / square) % 2) as usize];
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        let opacity = f32::from(alpha) / 255.0;
        mix(Rgb([grey; 3]), Rgb([red, green, blue]), opacity)
    })
}

/// Writes the image as PNG under a temporary name in the same folder, then renames it, so that
/// nobody finds half a picture.
pub fn save_png(image: &RgbImage, path: &Path) -> Result<(), ViewError> {
    if path.file_name().is_none() {
        return Err(ViewError::NoFileName {
            path: path.to_path_buf(),
        });
    }
    let mut file = Vec::new();
    image
        .write_with_encoder(PngEncoder::new(&mut file))
        .map_err(|source| ViewError::Encode {
            path: path.to_path_buf(),
            source,
        })?;
    Ok(replace_file(path, &file)?)
}

/// Moves a colour towards another by a share from 0 to 1.
fn mix(from: Rgb<u8>, to: Rgb<u8>, share: f32) -> Rgb<u8> {
    let channel = |index: usize| {
        let (from, to) = (f32::from(from.0[index]), f32::from(to.0[index]));
        (from + (to - from) * share).round() as u8
    };
    Rgb([channel(0), channel(1), channel(2)])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn mask_bits_are_addressed_by_row_word_and_bit() {
        let bits = [0, 1 << 3, 1 << 31, 0];
        let mask = Mask {
            bits: &bits,
            stride_words: 2,
        };
        let set: Vec<(u32, u32)> = (0..4)
            .flat_map(|y| (0..100).map(move |x| (x, y)))
            .filter(|&(x, y)| mask.get(x, y))
            .collect();
        assert_eq!(set, [(35, 0), (31, 1)]);
        assert!(!mask.get(u32::MAX, u32::MAX));
    }

    #[test]
    fn mask_without_rows_or_with_absurd_stride_is_unset() {
        for stride_words in [0, 1, usize::MAX] {
            let mask = Mask {
                bits: &[],
                stride_words,
            };
            assert!(!mask.get(0, 0) && !mask.get(5, u32::MAX));
        }
    }

    #[test]
    fn tints_are_stable_and_apart() {
        assert_eq!(tint(0), [71, 163, 255]);
        let distance = |left: [u8; 3], right: [u8; 3]| -> u32 {
            (0..3).map(|c| u32::from(left[c].abs_diff(right[c]))).sum()
        };
        for index in 0..12 {
            for other in 0..index {
                assert!(distance(tint(index), tint(other)) > 40, "{index} {other}");
            }
        }
        tint(usize::MAX);
    }

    #[test]
    fn chequerboard_shows_through_where_transparent() {
        let mut rgba = RgbaImage::new(4, 1);
        rgba.put_pixel(0, 0, image::Rgba([10, 20, 30, 255]));
        let flat = on_chequerboard(&rgba, 2);
        assert_eq!(flat.get_pixel(0, 0).0, [10, 20, 30]);
        assert_eq!(flat.get_pixel(1, 0).0, [CHEQUERS[0]; 3]);
        assert_eq!(flat.get_pixel(2, 0).0, [CHEQUERS[1]; 3]);
        assert_eq!(
            on_chequerboard(&RgbaImage::new(0, 7), 0).dimensions(),
            (0, 7)
        );
    }

    #[test]
    fn save_needs_a_name_and_pixels_and_leaves_no_clutter() {
        let folder = std::env::temp_dir().join(format!("view-save-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("one.png");
        assert!(save_png(&RgbImage::new(0, 0), &path).is_err());
        assert!(save_png(&RgbImage::new(2, 2), Path::new("/")).is_err());
        save_png(&RgbImage::new(2, 3), &path).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8().dimensions(), (2, 3));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
