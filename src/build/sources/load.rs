//! Opening an image: what a file says when it comes in, and the same pixels at every later stage.

use std::path::Path;

use image::{DynamicImage, GrayImage, imageops};
use image_hasher::{HashAlg, HasherConfig};
use twox_hash::XxHash3_64;

use super::Found;
use crate::annotations::problems::Problem;
use crate::build::picture::Picture;
use crate::build::rows::{SourceKind, SourceRow};
use crate::pack::decode::upright;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It cannot be decoded, or has too many pixels.
    #[error("{0}")]
    Image(String),
    /// The file is not the one that was listed.
    #[error("{0}: changed since it was listed")]
    Changed(String),
}

impl From<Problem> for LoadError {
    fn from(problem: Problem) -> LoadError {
        LoadError::Image(problem.text)
    }
}

/// Reads an image that was found, and what is to be known of it: its size, its XXH3-64, and a
/// perceptual hash of 64 bits (a gradient hash: neighbours compared on a 9 by 8 grid).
///
/// # Errors
/// [`LoadError`].
pub fn inspect(found: &Found, max_pixels: u64) -> Result<SourceRow, LoadError> {
    let file = read(&found.path)?;
    let image = upright(&found.path, &file, max_pixels)?;
    Ok(SourceRow {
        key: found.key.clone(),
        category: found.category,
        kind: SourceKind::Folder,
        size: [image.width(), image.height()],
        xxh3: XxHash3_64::oneshot(&file),
        look: look(&image),
        prompt: None,
        seed: None,
        path: Some(path_text(&found.path)?),
        source: found.source.clone(),
        licence: found.licence.clone(),
    })
}

/// The path from the root, as text: later stages may run in other folders.
fn path_text(path: &Path) -> Result<String, LoadError> {
    let name = || path.display();
    let absolute = std::path::absolute(path)
        .map_err(|error| LoadError::Unreadable(format!("{}: {error}", name())))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|_| LoadError::Image(format!("{}: its name is not Unicode", name())))
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path)
        .map_err(|error| LoadError::Unreadable(format!("{}: {error}", path.display())))
}

/// The gradient hash of what is seen on white.
pub(crate) fn look(image: &DynamicImage) -> u64 {
    let mut white = image::RgbaImage::from_pixel(image.width(), image.height(), [255; 4].into());
    imageops::overlay(&mut white, &image.to_rgba8(), 0, 0);
    let config = HasherConfig::new()
        .hash_alg(HashAlg::Gradient)
        .hash_size(8, 8);
    let hash = config.to_hasher().hash_image(&DynamicImage::from(white));
    let bytes = hash.as_bytes().iter().take(8);
    bytes.fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// The bytes of a listed file, if they are still those that were listed.
///
/// # Errors
/// [`LoadError`].
pub fn read_unchanged(path: &Path, xxh3: u64) -> Result<Vec<u8>, LoadError> {
    let file = read(path)?;
    match XxHash3_64::oneshot(&file) == xxh3 {
        true => Ok(file),
        false => Err(LoadError::Changed(path.display().to_string())),
    }
}

/// Reads and decodes an image.
///
/// # Errors
/// [`LoadError`].
pub fn open(path: &Path, category: &str, max_pixels: u64) -> Result<Picture, LoadError> {
    decode(path, &read(path)?, category, max_pixels)
}

/// The upright picture that a file holds; `name` is what errors call it.
///
/// # Errors
/// [`LoadError::Image`].
pub fn decode(
    name: &Path,
    file: &[u8],
    category: &str,
    max_pixels: u64,
) -> Result<Picture, LoadError> {
    let image = upright(name, file, max_pixels)?;
    let alpha = image.color().has_alpha().then(|| {
        let rgba = image.to_rgba8();
        let alphas = rgba.pixels().map(|pixel| pixel.0[3]).collect();
        GrayImage::from_raw(rgba.width(), rgba.height(), alphas)
    });
    Ok(Picture {
        alpha: alpha.flatten(),
        pixels: image.into_rgb8(),
        category: category.replace('_', " "),
    })
}
