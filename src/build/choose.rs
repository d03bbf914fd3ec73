//! Choosing: which mask of an image, and which images of a category, become cutouts. Rules over
//! rows; no pixels are looked at.
//!
//! The rules hold within a category and are applied in this order; an image falls at the first that
//! it breaks:
//!
//! 1. No file comes twice: of equal files (XXH3-64) the one whose key sorts first stays.
//! 2. Found images do not look alike: perceptual hashes differ in more than
//!    [`ChooseOptions::look_bits`] bits from those of every image before that passed this rule,
//!    whatever becomes of that one by the later rules. Images that were made
//!    are judged by their embeddings instead (rule 7): they differ by their seeds, and many show a
//!    plain ground.
//! 3. It has a mask. Of several the one with the highest score is chosen; of equal ones that of the
//!    segmenter asked first (X-Paste's `argmax`). Masks without a score come last.
//! 4. Its score, if it has one, reaches the category's bar,
//!    min([`min_clip`](ChooseOptions::min_clip), best − [`tolerance`](ChooseOptions::tolerance)).
//!    `best` is the highest score of the chosen masks of all images that rules 1 and 2 left,
//!    whatever becomes of them by the later rules, as in X-Paste's `clean_pool.py`.
//! 5. The part of the image that the mask covers is neither too small nor too large.
//! 6. It is similar to real crops (DiverGen's inter-similarity, arXiv 2405.10185), where that is
//!    asked for. A mask for which no similarity was computed falls, as in DiverGen.
//! 7. It is no near-duplicate: in the order of scores (equal ones by key, those without one last),
//!    the cosine of its embedding to that of every image that stays is below the threshold.
//! 8. It is among the best of its category, where their number is limited.
//!
//! All bounds belong to what passes, but for the cosine of rule 7, which is a near-duplicate's from
//! the threshold on.

mod reason;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::alike::Directions;
use super::rows::{MaskRow, SourceKind, SourceRow};
pub use reason::{Reason, Rule};

/// The thresholds of the rules. Scores and areas have X-Paste's defaults, those of the command in its
/// README (arXiv 2212.03863); look-alikes at 2 bits are left out, and the other rules are off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChooseOptions {
    /// Names of the segmenters in the order in which they were asked; of masks with equal scores
    /// that of the first one is chosen. Those not listed come last, in the order of the rows.
    pub segmenters: Vec<String>,
    /// Least score, 100 · cosine.
    pub min_clip: f32,
    /// How far below the best score of its category an image may be, where the best is so low that
    /// `min_clip` would leave hardly any.
    pub tolerance: f32,
    /// Least part of the image that is covered, 0..=1.
    pub min_area: f32,
    /// Greatest part of the image that is covered, 0..=1.
    pub max_area: f32,
    /// Least similarity to real crops, a mean cosine; DiverGen's is 0.6.
    pub min_similarity: Option<f32>,
    /// Most differing bits of the perceptual hashes of images that look alike, 0..=64; `None`
    /// leaves such images.
    pub look_bits: Option<u32>,
    /// The cosine of embeddings from which on two images are near-duplicates; `None` leaves these.
    pub near_duplicate: Option<f32>,
    /// Most images of a category.
    pub most: Option<usize>,
}

impl Default for ChooseOptions {
    fn default() -> ChooseOptions {
        ChooseOptions {
            segmenters: Vec::new(),
            min_clip: 21.0,
            tolerance: 1.0,
            min_area: 0.05,
            max_area: 0.95,
            min_similarity: None,
            look_bits: Some(2),
            near_duplicate: None,
            most: None,
        }
    }
}

impl ChooseOptions {
    /// Refuses thresholds that are out of their range.
    ///
    /// # Errors
    /// [`ChooseError::Option`] with the option, its value and what was expected.
    pub fn check(&self) -> Result<(), ChooseError> {
        let part = 0.0..=1.0;
        let cosine = -1.0..=1.0;
        in_range("min_clip", self.min_clip, -100.0..=100.0)?;
        in_range("tolerance", self.tolerance, 0.0..=200.0)?;
        in_range("min_area", self.min_area, part.clone())?;
        in_range("max_area", self.max_area, part)?;
        if self.min_area > self.max_area {
            let expected = format!("at most max_area, {},", self.max_area);
            return Err(option_error("min_area", self.min_area, &expected));
        }
        for (option, value) in [
            ("min_similarity", self.min_similarity),
            ("near_duplicate", self.near_duplicate),
        ] {
            value.map_or(Ok(()), |value| in_range(option, value, cosine.clone()))?;
        }
        match (self.look_bits, self.most) {
            (Some(bits @ 65..), _) => Err(option_error("look_bits", bits, "0..=64")),
            (_, Some(0)) => Err(option_error("most", 0, "at least 1")),
            _ => Ok(()),
        }
    }
}

fn in_range(
    option: &'static str,
    value: f32,
    range: std::ops::RangeInclusive<f32>,
) -> Result<(), ChooseError> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("{}..={}", range.start(), range.end());
    Err(option_error(option, value, &expected))
}

fn option_error(option: &'static str, value: impl fmt::Display, expected: &str) -> ChooseError {
    ChooseError::Option {
        option,
        problem: format!("{value}; {expected} was expected"),
    }
}

/// Why nothing could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// A threshold that makes no sense.
    #[error("{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// Two images have one key.
    #[error("the key {key:?} is that of two images; one image for one key was expected")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// An embedding that cannot be read or compared.
    #[error("the embedding of {segmenter}'s mask of {key}: {problem}")]
    Embedding {
        /// The image.
        key: String,
        /// Whose mask.
        segmenter: String,
        /// What was found and what was expected.
        problem: String,
    },
}

/// Whatever went wrong while material was loaded.
pub type MaterialError = Box<dyn std::error::Error + Send + Sync>;

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Index of the mask that was chosen among the rows; `None` for an image without one, and for
    /// those that fall before masks are looked at.
    pub mask: Option<usize>,
    /// Why the image fell, or `None` if it stays.
    pub dropped: Option<Reason>,
}

/// Applies the rules to all images: one [`Choice`] for each of `sources`, in their order. Rows of
/// `masks` whose key no source has are left out of account. `embedding` is asked only where near-
/// duplicates are looked for, once for every image that rules 1 to 6 left.
///
/// The result depends neither on the order of `sources` nor on threads or machine, and on the order
/// of `masks` only for segmenters that are not listed.
///
/// # Errors
/// [`ChooseError`].
pub fn choose(
    sources: &[SourceRow],
    masks: &[MaskRow],
    embedding: &dyn Fn(&MaskRow) -> Result<Vec<f32>, MaterialError>,
    options: &ChooseOptions,
) -> Result<Vec<Choice>, ChooseError> {
    options.check()?;
    let mut categories: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        categories.entry(source.category).or_default().push(index);
    }
    let mut table = Table {
        sources,
        masks,
        options,
        best_masks: best_masks(sources, masks, options)?,
        choices: vec![
            Choice {
                mask: None,
                dropped: None,
            };
            sources.len()
        ],
    };
    for mut images in categories.into_values() {
        images.sort_by(|&a, &b| sources[a].key.cmp(&sources[b].key));
        let images = table.drop_copies(images);
        let images = table.drop_by_mask(images);
        let images = table.by_score(images);
        let images = table.drop_near_duplicates(images, embedding)?;
        table.drop_over_cap(images);
    }
    Ok(table.choices)
}

/// A mask's score. What is no number is none.
pub(super) fn score(mask: &MaskRow) -> Option<f32> {
    mask.clip.filter(|clip| clip.is_finite())
}

/// Which of two masks has the higher score; any is higher than none.
fn by_score(a: &MaskRow, b: &MaskRow) -> Ordering {
    // Zeros of either sign are equal, and nothing is left that could not be compared.
    score(a).partial_cmp(&score(b)).unwrap_or(Ordering::Equal)
}

/// For each source the mask with the highest score.
fn best_masks(
    sources: &[SourceRow],
    masks: &[MaskRow],
    options: &ChooseOptions,
) -> Result<Vec<Option<usize>>, ChooseError> {
    let mut indices = HashMap::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        if indices.insert(source.key.as_str(), index).is_some() {
            let key = source.key.clone();
            return Err(ChooseError::DuplicateKey { key });
        }
    }
    let place = |mask: &MaskRow| {
        let mut segmenters = options.segmenters.iter();
        let place = segmenters.position(|segmenter| *segmenter == mask.segmenter);
        place.unwrap_or(options.segmenters.len())
    };
    let mut best: Vec<Option<usize>> = vec![None; sources.len()];
    for (number, mask) in masks.iter().enumerate() {
        let Some(&source) = indices.get(mask.key.as_str()) else {
            continue;
        };
        let is_better = best[source].is_none_or(|former: usize| {
            let former = &masks[former];
            let by_place = || place(former).cmp(&place(mask));
            by_score(mask, former).then_with(by_place).is_gt()
        });
        if is_better {
            best[source] = Some(number);
        }
    }
    Ok(best)
}

/// The rows and what was decided so far. The rules take the images of one category that are left
/// and return those that still are.
struct Table<'a> {
    sources: &'a [SourceRow],
    masks: &'a [MaskRow],
    options: &'a ChooseOptions,
    best_masks: Vec<Option<usize>>,
    choices: Vec<Choice>,
}

impl Table<'_> {
    fn retain(
        &mut self,
        mut images: Vec<usize>,
        mut broken: impl FnMut(usize) -> Option<Reason>,
    ) -> Vec<usize> {
        images.retain(|&image| {
            self.choices[image].dropped = broken(image);
            self.choices[image].dropped.is_none()
        });
        images
    }

    /// Rules 1 and 2, for images in the order of their keys.
    fn drop_copies(&mut self, images: Vec<usize>) -> Vec<usize> {
        let (sources, options) = (self.sources, self.options);
        let mut files: HashMap<u64, usize> = HashMap::new();
        let images = self.retain(images, |image| {
            let first = *files.entry(sources[image].xxh3).or_insert(image);
            let of = || sources[first].key.clone();
            (first != image).then(|| Reason::DuplicateFile { of: of() })
        });
        let Some(most_bits) = options.look_bits else {
            return images;
        };
        let mut looks: Vec<usize> = Vec::new();
        self.retain(images, |image| {
            if sources[image].kind != SourceKind::Folder {
                return None;
            }
            let bits = |other: usize| (sources[image].look ^ sources[other].look).count_ones();
            let alike = looks
                .iter()
                .copied()
                .find(|&other| bits(other) <= most_bits);
            if alike.is_none() {
                looks.push(image);
            }
            alike.map(|other| Reason::LookAlike {
                of: sources[other].key.clone(),
                bits: bits(other),
            })
        })
    }

    /// Rules 3 to 6.
    fn drop_by_mask(&mut self, images: Vec<usize>) -> Vec<usize> {
        for &image in &images {
            self.choices[image].mask = self.best_masks[image];
        }
        let (masks, options) = (self.masks, self.options);
        let best_masks = std::mem::take(&mut self.best_masks);
        let chosen = images.iter().filter_map(|&image| best_masks[image]);
        let scores = chosen.filter_map(|mask| score(&masks[mask]));
        let bar = bar(scores.max_by(f32::total_cmp), options);
        let stayed = self.retain(images, |image| match best_masks[image] {
            None => Some(Reason::NoMask),
            Some(mask) => broken_by(&masks[mask], bar, options),
        });
        self.best_masks = best_masks;
        stayed
    }

    /// The images in the order of their scores, of equal ones in that of their keys.
    fn by_score(&self, mut images: Vec<usize>) -> Vec<usize> {
        images.sort_by(|&a, &b| {
            let masks = self.best_mask(b).zip(self.best_mask(a));
            let by_score = masks.map_or(Ordering::Equal, |(b, a)| by_score(b, a));
            let [a, b] = [a, b].map(|image| &self.sources[image].key);
            by_score.then_with(|| a.cmp(b))
        });
        images
    }

    fn best_mask(&self, image: usize) -> Option<&MaskRow> {
        self.best_masks[image].map(|mask| &self.masks[mask])
    }

    /// Rule 7, for images in the order of their scores.
    fn drop_near_duplicates(
        &mut self,
        images: Vec<usize>,
        embedding: &dyn Fn(&MaskRow) -> Result<Vec<f32>, MaterialError>,
    ) -> Result<Vec<usize>, ChooseError> {
        let Some(least) = self.options.near_duplicate else {
            return Ok(images);
        };
        let mut directions = Directions::default();
        let mut kept: Vec<usize> = Vec::new();
        for image in images {
            let Some(mask) = self.best_mask(image) else {
                continue;
            };
            let read = embedding(mask).map_err(|error| error.to_string());
            let alike = read.and_then(|values| directions.add_unless_alike(&values, least));
            let alike = alike.map_err(|problem| ChooseError::Embedding {
                key: mask.key.clone(),
                segmenter: mask.segmenter.clone(),
                problem,
            })?;
            match alike {
                None => kept.push(image),
                Some((other, cosine)) => {
                    let of = self.sources[kept[other]].key.clone();
                    self.choices[image].dropped = Some(Reason::NearDuplicate { of, cosine });
                }
            }
        }
        Ok(kept)
    }

    /// Rule 8, for images in the order of their scores.
    fn drop_over_cap(&mut self, images: Vec<usize>) {
        let most = self.options.most.unwrap_or(usize::MAX);
        let mut place = 0;
        self.retain(images, |_| {
            place += 1;
            (place > most).then_some(Reason::OverCap { place })
        });
    }
}

/// The score that a category's images must reach, given its best one. Double precision, as Python
/// computes it.
fn bar(best: Option<f32>, options: &ChooseOptions) -> f64 {
    // Without any score there is nothing that the bar could hold back.
    let best = f64::from(best.unwrap_or(f32::INFINITY));
    f64::from(options.min_clip).min(best - f64::from(options.tolerance))
}

/// The first of the rules 4 to 6 that a mask breaks.
fn broken_by(mask: &MaskRow, bar: f64, options: &ChooseOptions) -> Option<Reason> {
    let (area, similarity) = (mask.area, mask.similarity);
    let is_similar = |least: f32| similarity.is_some_and(|similarity| similarity >= least);
    if let Some(clip) = score(mask).filter(|&clip| f64::from(clip) < bar) {
        let bar = bar as f32;
        Some(Reason::BelowBar { clip, bar })
    } else if area.is_nan() || area < options.min_area {
        Some(Reason::TooSmall { area })
    } else if area > options.max_area {
        Some(Reason::TooLarge { area })
    } else if !options.min_similarity.is_none_or(is_similar) {
        Some(Reason::Dissimilar { similarity })
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
