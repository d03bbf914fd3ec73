//! The stage `segment-NAME`: a soft mask for every image, by one model.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, GrayImage, ImageEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::batches::in_batches;
use super::error::BuildError;
use super::images::Images;
use super::models::{ModelError, Segmenter};
use super::picture::Picture;
use super::rows::SourceRow;
use super::stage::{self, Item, Outcome, StageOptions, StageReport};
use super::state::StateError;
use crate::compose::rules::in_mask;
use crate::resume::{Progress, Settings};

const PREFIX: &str = "segment-";

/// The stage of a segmenter.
pub fn stage_of(segmenter: &str) -> String {
    format!("{PREFIX}{segmenter}")
}

/// The key of an image's mask. The image's own hash is part of it, so that an image that was made or
/// found anew is segmented anew.
pub(crate) fn mask_key(row: &SourceRow) -> String {
    format!("{}@{:016x}", row.key, row.xxh3)
}

/// The segmenters that a state folder has stages of, in alphabetical order.
///
/// # Errors
/// [`StateError::Io`].
pub fn segmenters_of(state: &Path) -> Result<Vec<String>, StateError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(state).map_err(StateError::io(state))? {
        let name = entry.map_err(StateError::io(state))?.file_name();
        let name = name.to_string_lossy().into_owned();
        names.extend(name.strip_prefix(PREFIX).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What the stage says of a mask; the mask itself, a PNG of eight bits of grey, is the line's blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmented {
    /// Part of the image whose mask is at least 128.
    pub area: f32,
}

/// An image that is to have a mask.
struct Image<'a> {
    key: String,
    row: &'a SourceRow,
}

impl Item for Image<'_> {
    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        let [width, height] = self.row.size.map(|side| side as usize);
        width.saturating_mul(height).saturating_mul(8)
    }
}

/// Has the segmenter of that name find the object on every one of `rows`; it is loaded only if there
/// is one left.
///
/// # Errors
/// [`BuildError`].
pub fn segment(
    images: &Images,
    rows: &[&SourceRow],
    name: &str,
    load: impl FnOnce() -> Result<Box<dyn Segmenter>, BuildError>,
    settings: &Settings,
    options: &StageOptions,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let mut batch_size = options.batch_size.get();
    let items = rows.iter().map(|row| Image {
        key: mask_key(row),
        row,
    });
    stage::run(
        &stage_of(name),
        settings,
        options,
        items.collect(),
        load,
        |image: &Image<'_>| images.picture(image.row),
        |segmenter, _, pictures| {
            let masks = masks_of(&**segmenter, &pictures, &mut batch_size)?;
            Ok(masks.into_par_iter().map(line).collect())
        },
        progress,
    )
}

/// The masks of a batch. Where one picture is not for this segmenter, all are shown to it one by one.
fn masks_of(
    segmenter: &dyn Segmenter,
    pictures: &[Picture],
    batch_size: &mut usize,
) -> Result<Vec<Result<GrayImage, String>>, ModelError> {
    match in_batches(pictures, batch_size, |pictures| segmenter.segment(pictures)) {
        Ok(masks) => return Ok(masks.into_iter().map(Ok).collect()),
        Err(ModelError::Picture { .. }) => {}
        Err(error) => return Err(error),
    }
    let alone = |picture| match segmenter.segment(std::slice::from_ref(picture)) {
        Ok(mut masks) if masks.len() == 1 => Ok(Ok(masks.remove(0))),
        Ok(_) => Ok(Err(format!("{} gave no mask", segmenter.name()))),
        Err(ModelError::Picture { problem, .. }) => Ok(Err(problem)),
        Err(error) => Err(error),
    };
    pictures.iter().map(alone).collect()
}

fn line(mask: Result<GrayImage, String>) -> Outcome<Segmented> {
    let mask = mask?;
    let area = area_fraction(&mask);
    let png = encode(&mask).map_err(|error| format!("its mask cannot be encoded: {error}"))?;
    Ok((Segmented { area }, Some(png)))
}

/// Part of the pixels that belong to the mask.
pub(crate) fn area_fraction(mask: &GrayImage) -> f32 {
    let inside = mask.iter().filter(|&&value| in_mask(value)).count();
    inside as f32 / mask.len().max(1) as f32
}

pub(crate) fn encode(mask: &GrayImage) -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    // Masks are flat: even the fast setting makes them small.
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Up).write_image(
        mask,
        mask.width(),
        mask.height(),
        ExtendedColorType::L8,
    )?;
    Ok(png)
}

/// The mask that [`encode`] wrote.
pub(crate) fn decode(png: &[u8], size: [u32; 2]) -> Result<GrayImage, String> {
    let mask = image::load_from_memory_with_format(png, image::ImageFormat::Png);
    let mask = mask.map_err(|error| error.to_string())?.into_luma8();
    match <[u32; 2]>::from(mask.dimensions()) == size {
        true => Ok(mask),
        false => Err(format!(
            "the mask has {}x{} pixels, its image {}x{}",
            mask.width(),
            mask.height(),
            size[0],
            size[1]
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_come_back_and_are_measured() {
        let mask = GrayImage::from_fn(5, 4, |x, y| [(x * 50 + y) as u8].into());
        let png = encode(&mask).unwrap();
        assert_eq!(decode(&png, [5, 4]), Ok(mask.clone()));
        assert!(decode(&png, [4, 5]).unwrap_err().contains("5x4"));
        assert!(decode(&png[..20], [5, 4]).is_err());
        // 150 and 200 are in, 0, 50 and 100 are not.
        assert!((area_fraction(&mask) - 0.4).abs() < 1e-6);
    }
}
