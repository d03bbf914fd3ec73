//! The stage `references`: what real objects of each category look like to a model.
//!
//! DiverGen (arXiv 2405.10185) measures how alike a made object is to the training set by the mean
//! cosine to its category's real crops. The mean of cosines to unit vectors is the product with
//! their mean, so a vector for each category is all that is kept.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::path::Path;

use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

use super::error::BuildError;
use super::models::ImageEmbedder;
use super::score::{embed, on_white_square};
use super::stage::{self, Item, StageOptions, StageReport};
use super::state::StageReader;
use crate::bank::{Category, Cutout, CutoutBank};
use crate::resume::{Progress, Settings};

/// The stage's name.
pub const REFERENCES_STAGE: &str = "references";

/// What the stage says of a category; the mean vector is the line's blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// How many real objects it is the mean of.
    pub objects: usize,
}

/// A category's real objects.
struct Objects {
    key: String,
    rows: Vec<usize>,
}

impl Item for Objects {
    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        // Cutouts are crops: a megapixel on a white square is a large one.
        self.rows.len().saturating_mul(3 << 20)
    }
}

/// Embeds the cutouts of `bank`, on white, and keeps the mean of at most `most` of each category,
/// taken evenly over the bank. The bank's categories are those of `categories` that bear the same
/// name; others are left out.
///
/// # Errors
/// [`BuildError`].
pub fn references(
    bank: &CutoutBank,
    categories: &[Category],
    most: NonZero<usize>,
    load: impl FnOnce() -> Result<Box<dyn ImageEmbedder>, BuildError>,
    settings: &Settings,
    options: &StageOptions,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let ids: HashMap<&str, i64> = categories.iter().map(|c| (&c.name[..], c.id)).collect();
    let names = bank.manifest().names();
    let mut by_category: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (row, category) in bank.category_ids().enumerate() {
        if let Some(id) = names.get(&category).and_then(|name| ids.get(name)) {
            by_category.entry(*id).or_default().push(row);
        }
    }
    let objects = by_category.into_iter().map(|(category, rows)| Objects {
        key: category.to_string(),
        rows: evenly(&rows, most.get()),
    });
    let mut batch_size = options.batch_size.get();
    let mut options = options.clone();
    // A category is a batch of its own.
    options.batch_size = NonZero::<usize>::MIN;
    stage::run(
        REFERENCES_STAGE,
        settings,
        &options,
        objects.collect(),
        load,
        |objects: &Objects| {
            let cutouts = objects.rows.iter().filter_map(|&row| bank.get(row));
            Ok(cutouts.filter_map(object_on_white).collect::<Vec<_>>())
        },
        |embedder, _, batch| {
            let mut means = Vec::new();
            for images in batch {
                let vectors = embed(&**embedder, &images, &mut batch_size)?;
                let bytes = mean(&vectors).into_iter().flat_map(f32::to_le_bytes);
                let reference = Reference {
                    objects: images.len(),
                };
                means.push(Ok((reference, Some(bytes.collect()))));
            }
            Ok(means)
        },
        progress,
    )
}

/// The mean vectors by category; none where the stage has not been begun.
///
/// # Errors
/// [`BuildError`] if it is not finished.
pub fn read_references(state: &Path) -> Result<Option<HashMap<i64, Vec<f32>>>, BuildError> {
    let Some(reader) = StageReader::<Reference>::open(state, REFERENCES_STAGE)? else {
        return Ok(None);
    };
    let mut means = HashMap::new();
    for key in reader.items.keys() {
        if let (Ok(category), Some(bytes)) = (key.parse(), reader.blob(key)?) {
            means.insert(category, floats(&bytes));
        }
    }
    Ok(Some(means))
}

/// Little-endian 32-bit floats.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect()
}

/// At most `most` of the rows, evenly spaced.
fn evenly(rows: &[usize], most: usize) -> Vec<usize> {
    let count = rows.len().min(most);
    (0..count)
        .map(|index| rows[index * rows.len() / count])
        .collect()
}

fn object_on_white(cutout: Cutout<'_>) -> Option<RgbImage> {
    let (size, pixels) = cutout.level(0)?;
    let texels = pixels.as_chunks::<4>().0;
    let colours = texels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    let alphas = texels.iter().map(|texel| texel[3]).collect();
    let picture = RgbImage::from_raw(size.width(), size.height(), colours)?;
    let mask = GrayImage::from_raw(size.width(), size.height(), alphas)?;
    Some(on_white_square(&picture, &mask))
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sums: Vec<f64> = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        for (sum, &value) in sums.iter_mut().zip(vector) {
            *sum += f64::from(value);
        }
    }
    let count = vectors.len().max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::score::dot;

    #[test]
    fn the_product_with_the_mean_is_the_mean_of_the_products() {
        let vectors = [vec![0.6, 0.8], vec![1.0, 0.0], vec![0.0, -1.0]];
        let object = [0.28, 0.96];
        let expected = vectors
            .iter()
            .map(|vector| dot(vector, &object))
            .sum::<f32>()
            / 3.0;
        assert!((dot(&mean(&vectors), &object) - expected).abs() < 1e-6);
        let bytes: Vec<u8> = vectors[0]
            .iter()
            .flat_map(|value: &f32| value.to_le_bytes())
            .collect();
        assert_eq!(floats(&bytes), vectors[0]);
    }

    #[test]
    fn rows_are_taken_evenly() {
        let rows: Vec<usize> = (100..110).collect();
        assert_eq!(evenly(&rows, 3), [100, 103, 106]);
        assert_eq!(evenly(&rows, 20), rows);
        assert!(evenly(&[], 5).is_empty());
    }
}
