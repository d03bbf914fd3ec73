//! Models by name.

use super::alpha::Alpha;
use super::clip::{ClipImages, ClipTexts};
use super::clipseg::{self, ClipSeg};
use super::diffusion::{Diffusion, DiffusionOptions};
use super::dinov2::Dinov2;
use super::licences::{CENTRE, Task, find};
use super::mobileclip::{MobileClipImages, MobileClipTexts};
use super::sam::{Prompt, SamOptions, SamSegmenter, Variant};
use super::siglip::{SiglipImages, SiglipTexts};
use super::u2net::{self, U2Net};
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

/// A segmenter by name; `-centre` after that of a Segment Anything has it look at the centre instead
/// of the corners.
///
/// # Errors
/// [`ModelError`] if its files are missing or wrong.
pub fn segmenter(
    name: &str,
    files: &ModelFiles,
    options: &SegmenterOptions,
    compute: &Compute,
) -> Result<Box<dyn Segmenter>, ModelError> {
    Ok(match name {
        "alpha" => Box::new(Alpha),
        "u2net" => Box::new(U2Net::load(files, &u2net::Config::u2net(), compute)?),
        "u2netp" => Box::new(U2Net::load(files, &u2net::Config::u2netp(), compute)?),
        "clipseg" => Box::new(ClipSeg::load(files, clipseg::PROMPT, compute)?),
        name => {
            let (family, is_centre) = match name.strip_suffix(CENTRE) {
                Some(family) => (family, true),
                None => (name, false),
            };
            let mut variants = Variant::ALL.into_iter();
            let variant = variants.find(|variant| variant.name() == family);
            let variant = variant.ok_or_else(|| unknown(name))?;
            let options = match is_centre {
                false => corners(options),
                true => SamOptions::centre(),
            };
            Box::new(SamSegmenter::load(files, variant, options, compute)?)
        }
    })
}

fn corners(options: &SegmenterOptions) -> SamOptions {
    let usual = SamOptions::corners();
    SamOptions {
        prompt: match options.corner_margin {
            Some(margin) => Prompt::Corners { margin },
            None => usual.prompt,
        },
        ..usual
    }
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
        "siglip" => Ok(Box::new(SiglipImages::load(files, compute)?)),
        "mobileclip" => Ok(Box::new(MobileClipImages::load(files, compute)?)),
        "dinov2" => Ok(Box::new(Dinov2::load(files, compute)?)),
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
        "siglip" => Ok(Box::new(SiglipTexts::load(files, compute)?)),
        "mobileclip" => Ok(Box::new(MobileClipTexts::load(files, compute)?)),
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
    if find(name).is_none_or(|offered| offered.task != Task::Generator) {
        return Err(unknown(name));
    }
    let scheduler = options.scheduler.as_deref().map(str::parse);
    let options = DiffusionOptions {
        scheduler: scheduler
            .transpose()
            .map_err(|problem: String| ModelError::Setting {
                model: name.to_owned(),
                problem,
            })?,
        steps: options.steps,
        guidance: options.guidance,
        size: options.size,
        karras: None,
    };
    Ok(Box::new(Diffusion::load(files, &options, compute)?))
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
