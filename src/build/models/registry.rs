//! Models by name.

use super::clip::{ClipImages, ClipTexts};
use super::{Generator, ImageEmbedder, ModelError, Segmenter, TextEmbedder};
use crate::build::device::Compute;
use crate::build::weights::ModelFiles;

/// What segmenters may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmenterOptions {
    /// Distance of Segment Anything's corner points from the image's edges, in pixels.
    pub corner_margin: Option<u32>,
}

/// What generators may be told; their own where `None` is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeneratorOptions {
    /// `ddim`, `euler-ancestral`, `unipc` or `dpm-solver++`.
    pub scheduler: Option<String>,
    /// Steps of the scheduler.
    pub steps: Option<usize>,
    /// Factor of classifier-free guidance.
    pub guidance: Option<f64>,
    /// Width and height in pixels.
    pub size: Option<usize>,
}

/// A segmenter by name; a mode may follow a colon.
///
/// # Errors
/// [`ModelError`] if its files are missing or wrong.
pub fn segmenter(
    name: &str,
    files: &ModelFiles,
    options: &SegmenterOptions,
    compute: &Compute,
) -> Result<Box<dyn Segmenter>, ModelError> {
    let _ = (files, options, compute);
    Err(unknown(name))
}

/// The image side of a scorer, by name.
///
/// # Errors
/// [`ModelError`] if its files are missing or wrong.
pub fn image_embedder(
    name: &str,
    files: &ModelFiles,
    compute: &Compute,
) -> Result<Box<dyn ImageEmbedder>, ModelError> {
    match name {
        name if is_clip(name) => Ok(Box::new(ClipImages::load(files, compute)?)),
        name => Err(unknown(name)),
    }
}

/// The text side of a scorer, by name.
///
/// # Errors
/// [`ModelError`] if its files are missing or wrong, or it has no text side.
pub fn text_embedder(
    name: &str,
    files: &ModelFiles,
    compute: &Compute,
) -> Result<Box<dyn TextEmbedder>, ModelError> {
    match name {
        name if is_clip(name) => Ok(Box::new(ClipTexts::load(files, compute)?)),
        name => Err(unknown(name)),
    }
}

/// A text-to-image model by name.
///
/// # Errors
/// [`ModelError`] if its files are missing or wrong, or an option is out of its range.
pub fn generator(
    name: &str,
    files: &ModelFiles,
    options: &GeneratorOptions,
    compute: &Compute,
) -> Result<Box<dyn Generator>, ModelError> {
    let _ = (files, options, compute);
    Err(unknown(name))
}

fn is_clip(name: &str) -> bool {
    name.starts_with("clip-") || name.starts_with("openclip-")
}

fn unknown(name: &str) -> ModelError {
    ModelError::Setting {
        model: name.to_owned(),
        problem: "is no model that is known for this".to_owned(),
    }
}
