//! The stage `score`: how well an object, on white, fits its category's name, and how alike it is to
//! real objects of the category.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

use super::batches::in_batches;
use super::error::BuildError;
use super::images::Images;
use super::models::{ImageEmbedder, ModelError};
use super::rows::SourceRow;
use super::segment::{self, Segmented, mask_key, stage_of};
use super::stage::{self, Item, Outcome, StageOptions, StageReport};
use super::state::{Line, StageReader, StateError};
use crate::resume::{Progress, Settings};

/// The stage's name.
pub const SCORE_STAGE: &str = "score";

/// What the stage says of a mask; its embedding, 32-bit floats in little-endian order, is the line's
/// blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// 100 · cosine between the object on white and the text of its category.
    pub clip: f32,
    /// Mean cosine to real objects of the category, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
}

/// What masks are scored with.
pub struct Scorer {
    /// CLIP's image side.
    pub images: Box<dyn ImageEmbedder>,
    /// Unit vectors of the texts, by category.
    pub texts: HashMap<i64, Vec<f32>>,
    /// Real objects, if these are wanted.
    pub similarity: Option<Similarity>,
}

/// Real objects to compare with.
pub struct Similarity {
    /// The model that embeds; CLIP's image side itself where `None` is given.
    pub images: Option<Box<dyn ImageEmbedder>>,
    /// The mean of the unit vectors of each category's real objects: its product with a unit vector
    /// is the mean of the cosines.
    pub means: HashMap<i64, Vec<f32>>,
}

/// One mask of one image.
struct Mask<'a> {
    key: String,
    segmenter: usize,
    row: &'a SourceRow,
}

impl Item for Mask<'_> {
    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        // The picture, its mask, and the object on a white square.
        let [width, height] = self.row.size.map(|side| side as usize);
        let side = width.max(height);
        let square = side.saturating_mul(side).saturating_mul(3);
        width
            .saturating_mul(height)
            .saturating_mul(5)
            .saturating_add(square)
    }
}

/// The key of a mask's score. The mask's own hash is part of it, so that a mask that was made anew is
/// scored anew.
pub(crate) fn score_key(segmenter: &str, row: &SourceRow, mask: &Line<Segmented>) -> String {
    let hash = mask.blob.map_or(0, |blob| blob.xxh3);
    format!("{segmenter}:{}@{hash:016x}", mask_key(row))
}

/// What a segmenter said of an image.
///
/// # Errors
/// [`StateError::Unfinished`] if it has not seen the image yet.
pub(crate) fn mask_line<'a>(
    state: &Path,
    reader: &'a StageReader<Segmented>,
    segmenter: &str,
    row: &SourceRow,
) -> Result<&'a Line<Segmented>, StateError> {
    let found = reader.items.get(&mask_key(row));
    found
        .map(|(line, _)| line)
        .ok_or_else(|| StateError::Unfinished {
            state: state.to_owned(),
            stage: stage_of(segmenter),
            problem: format!("it has not seen {} yet; run it again", row.key),
        })
}

/// Scores every mask of `segmenters` on `rows`; the models are loaded only if there is one left.
///
/// # Errors
/// [`BuildError`], also if a segmenter's stage is not finished.
pub fn score(
    images: &Images,
    rows: &[&SourceRow],
    segmenters: &[String],
    load: impl FnOnce() -> Result<Scorer, BuildError>,
    settings: &Settings,
    options: &StageOptions,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let mut readers = Vec::new();
    for segmenter in segmenters {
        readers.push(open_masks(&options.state, segmenter)?);
    }
    let mut masks = Vec::new();
    for row in rows {
        for (number, (segmenter, reader)) in segmenters.iter().zip(&readers).enumerate() {
            let line = mask_line(&options.state, reader, segmenter, row)?;
            if line.row.is_some() {
                masks.push(Mask {
                    key: score_key(segmenter, row, line),
                    segmenter: number,
                    row,
                });
            }
        }
    }
    let mut batch_size = options.batch_size.get();
    stage::run(
        SCORE_STAGE,
        settings,
        options,
        masks,
        load,
        |mask: &Mask<'_>| {
            let picture = images.picture(mask.row)?;
            let soft = read_mask(&readers[mask.segmenter], mask.row)?;
            Ok(on_white_square(&picture.pixels, &soft))
        },
        |scorer, masks, objects| Ok(scores(scorer, masks, &objects, &mut batch_size)?),
        progress,
    )
}

/// The masks of a segmenter.
pub(crate) fn open_masks(
    state: &std::path::Path,
    segmenter: &str,
) -> Result<StageReader<Segmented>, BuildError> {
    StageReader::open(state, &stage_of(segmenter))?.ok_or_else(|| BuildError::Option {
        option: "--segmenters",
        problem: format!(
            "{} has no masks of {segmenter:?}; `pastebank build segment --model {segmenter}` makes them",
            state.display()
        ),
    })
}

/// A mask as it was written.
pub(crate) fn read_mask(
    reader: &StageReader<Segmented>,
    row: &SourceRow,
) -> Result<GrayImage, String> {
    let png = reader
        .blob(&mask_key(row))
        .map_err(|error| error.to_string())?;
    let png = png.ok_or_else(|| format!("{}: its mask is not there", row.key))?;
    segment::decode(&png, row.size)
}

fn scores(
    scorer: &Scorer,
    masks: &[&Mask<'_>],
    objects: &[RgbImage],
    batch_size: &mut usize,
) -> Result<Vec<Outcome<Scored>>, ModelError> {
    let vectors = embed(&*scorer.images, objects, batch_size)?;
    let compared = match &scorer.similarity {
        Some(similarity) => match similarity.images.as_deref() {
            Some(images) => Some((similarity, embed(images, objects, batch_size)?)),
            None => Some((similarity, vectors.clone())),
        },
        None => None,
    };
    let score = |(index, (mask, vector)): (usize, (&&Mask<'_>, &Vec<f32>))| {
        let category = mask.row.category;
        let text = scorer.texts.get(&category).map_or(&[][..], |text| text);
        let similarity = compared.as_ref().and_then(|(similarity, vectors)| {
            let mean = similarity.means.get(&category)?;
            Some(cosine(vectors.get(index)?, mean, "the real objects'"))
        });
        let clip = 100.0 * cosine(vector, text, "the texts'")?;
        let similarity = similarity.transpose()?;
        if !clip.is_finite() || similarity.is_some_and(|similarity| !similarity.is_finite()) {
            return Ok(Err("its score is not finite".to_owned()));
        }
        let bytes = vector.iter().flat_map(|value| value.to_le_bytes());
        Ok(Ok((Scored { clip, similarity }, Some(bytes.collect()))))
    };
    masks.iter().zip(&vectors).enumerate().map(score).collect()
}

/// The product of two unit vectors of the same space.
fn cosine(vector: &[f32], other: &[f32], whose: &str) -> Result<f32, ModelError> {
    match vector.len() == other.len() {
        true => Ok(dot(vector, other)),
        false => Err(ModelError::Setting {
            model: "score".to_owned(),
            problem: format!(
                "the image's vector has {} values, {whose} have {}; they must be of one model",
                vector.len(),
                other.len()
            ),
        }),
    }
}

/// Unit vectors of the images.
pub(crate) fn embed(
    embedder: &dyn ImageEmbedder,
    images: &[RgbImage],
    batch_size: &mut usize,
) -> Result<Vec<Vec<f32>>, ModelError> {
    in_batches(images, batch_size, |images| {
        let vectors: Tensor = embedder.embed_images(images)?;
        vectors.to_vec2().map_err(|source| ModelError::Compute {
            model: "embedding".to_owned(),
            source,
        })
    })
}

/// Sum of products, in 64 bits.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum::<f64>() as f32
}

/// The object on a white square of the picture's longer side, the picture in its middle: models look
/// at squares, and whatever they would cut off a longer picture is kept.
pub(crate) fn on_white_square(picture: &RgbImage, mask: &GrayImage) -> RgbImage {
    let side = picture.width().max(picture.height());
    let (left, top) = ((side - picture.width()) / 2, (side - picture.height()) / 2);
    let mut square = RgbImage::from_pixel(side, side, [255; 3].into());
    for ((x, y, pixel), alpha) in picture.enumerate_pixels().zip(mask.pixels()) {
        let alpha = u32::from(alpha.0[0]);
        let blend =
            |value: u8| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        square.put_pixel(left + x, top + y, pixel.0.map(blend).into());
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stand_in_the_middle_of_a_white_square() {
        let picture = RgbImage::from_pixel(2, 4, [10, 200, 0].into());
        let mut mask = GrayImage::from_pixel(2, 4, [255].into());
        mask.put_pixel(0, 0, [0].into());
        mask.put_pixel(1, 0, [51].into());
        let square = on_white_square(&picture, &mask);
        assert_eq!(square.dimensions(), (4, 4));
        assert_eq!(square.get_pixel(0, 2).0, [255; 3]);
        assert_eq!(square.get_pixel(1, 0).0, [255; 3]);
        // A fifth of the colour on four fifths of white.
        assert_eq!(square.get_pixel(2, 0).0, [206, 244, 204]);
        assert_eq!(square.get_pixel(2, 3).0, [10, 200, 0]);
    }
}
