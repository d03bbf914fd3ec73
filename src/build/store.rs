//! Filtering and storing: from rows and masks to a bank.

use std::collections::HashSet;
use std::hash::Hasher;
use std::num::NonZero;
use std::path::Path;

use image::{GrayImage, RgbImage, RgbaImage};
use serde::Serialize;
use serde_json::{Map, Value, json};
use twox_hash::XxHash3_64;

use super::choose::{Choice, ChooseError, ChooseOptions, MaterialError, Reason, choose, score};
use super::report::{FilterReport, count};
use super::rows::{MaskRow, SourceRow};
use super::shape;
use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::bank::{BankError, Category, CutoutBank, Provenance};
use crate::geometry::{MAX_SOURCE_SIDE, Size};
use crate::ordered::threads_or_all;
use crate::pack::cut::CutoutRow;
use crate::pack::import::cut_picture;
use crate::pack::run::{self, Output, Prepared, Sources};
use crate::pack::{DEFAULT_MARGIN, DEFAULT_SHARD_BYTES, PackError, Progress};
use crate::resume::Settings;

/// What the rows stand for, loaded when it is needed, by several threads at once.
pub trait Material: Sync {
    /// The upright image.
    ///
    /// # Errors
    /// Whatever went wrong; the image is then left out of the bank and reported as unreadable.
    fn picture(&self, row: &SourceRow) -> Result<RgbImage, MaterialError>;

    /// The soft mask, of the image's size: 0 is not the object, 255 is.
    ///
    /// # Errors
    /// Whatever went wrong; the image is then left out of the bank and reported as unreadable.
    fn mask(&self, row: &MaskRow) -> Result<GrayImage, MaterialError>;

    /// The embedding of the object on white, of any length above 0 that is the same for all masks.
    /// Asked for only where near-duplicates are looked for.
    ///
    /// # Errors
    /// Whatever went wrong; it ends the run.
    fn embedding(&self, row: &MaskRow) -> Result<Vec<f32>, MaterialError>;
}

/// What [`filter_and_store`] does.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterOptions {
    /// The thresholds of the rules.
    pub choose: ChooseOptions,
    /// Transparent texels kept around what is visible, so that edges fade.
    pub margin: u32,
    /// Bytes after which a shard is finished.
    pub shard_bytes: u64,
    /// Threads; all the machine has where `None` is given.
    pub threads: Option<NonZero<usize>>,
    /// Replace a bank that is in the output folder.
    pub force: bool,
}

impl Default for FilterOptions {
    fn default() -> FilterOptions {
        FilterOptions {
            choose: ChooseOptions::default(),
            margin: DEFAULT_MARGIN,
            shard_bytes: DEFAULT_SHARD_BYTES,
            threads: None,
            force: false,
        }
    }
}

/// Why there is no bank.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Nothing could be chosen.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// An image of a category that is not listed.
    #[error("{key}: category {category}; one of the {known} categories given was expected")]
    UnknownCategory {
        /// The image.
        key: String,
        /// Its category's id.
        category: i64,
        /// How many categories there are.
        known: usize,
    },
    /// The bank cannot be written, the folder holds something else, or the caller asked to stop.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The bank that was written cannot be read.
    #[error(transparent)]
    Bank(#[from] BankError),
}

/// Chooses among `sources` and their `masks` by the rules of [`choose`](super::choose) and writes
/// the bank of those that stay into the folder `out`, category after category in the order of their
/// ids and key after key. Further columns say where each cutout is from
/// ([`CutoutBank::provenance`](crate::bank::CutoutBank::provenance)); the score is that of CLIP. The
/// bank has all `categories`, those without a cutout too.
///
/// The same call with the same rows and options goes on after the last finished shard of a run that
/// was stopped, and does nothing but report where the bank is finished. The bank is the same for any
/// number of threads. `progress` is told of every image that is stored and answers whether to go on.
///
/// # Errors
/// [`FilterError`]. Finished shards stay.
pub fn filter_and_store(
    sources: &[SourceRow],
    masks: &[MaskRow],
    material: &dyn Material,
    categories: &[Category],
    options: &FilterOptions,
    out: &Path,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<FilterReport, FilterError> {
    let known: HashSet<i64> = categories.iter().map(|category| category.id).collect();
    if let Some(source) = sources.iter().find(|row| !known.contains(&row.category)) {
        return Err(FilterError::UnknownCategory {
            key: source.key.clone(),
            category: source.category,
            known: categories.len(),
        });
    }
    check_margin(options.margin)?;
    let embedding = |row: &MaskRow| material.embedding(row);
    let mut choices = choose(sources, masks, &embedding, &options.choose)?;
    let chosen = Chosen::new(sources, masks, &choices, material, options.margin);
    let output = Output {
        scenes: None,
        bank: Some(out),
        categories,
        other: Map::new(),
        settings: settings(&chosen, categories, options),
        shard_bytes: options.shard_bytes,
        threads: threads_or_all(options.threads),
        strict: false,
        force: options.force,
        // How large an object is in its own picture says nothing of photographs.
        with_statistics: false,
    };
    let pack = run::run(&chosen, &output, &Problems::default(), progress)?;
    for (index, reason) in chosen.not_stored(&CutoutBank::open(out)?)? {
        choices[index].dropped = Some(reason);
    }
    Ok(FilterReport {
        categories: count(sources, masks, &choices, categories),
        choices,
        cutouts: pack.counts.cutouts,
        bytes: pack.bank_bytes,
        was_finished: pack.was_finished,
    })
}

fn check_margin(margin: u32) -> Result<(), PackError> {
    match margin {
        0..=1024 => Ok(()),
        _ => Err(PackError::Option {
            option: "margin",
            problem: format!("{margin} pixels; at most 1024 were expected"),
        }),
    }
}

/// What decides the bank. The thresholds come one by one, so that a folder which holds a bank made
/// with others says which.
fn settings(chosen: &Chosen<'_>, categories: &[Category], options: &FilterOptions) -> Settings {
    let mut settings: Settings = [
        ("rows", json!(chosen.rows.len())),
        ("rows_xxh3", json!(chosen.fingerprint())),
        ("categories_xxh3", json!(hash_of(categories.iter()))),
        ("margin", json!(options.margin)),
        ("shard_bytes", json!(options.shard_bytes)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Value::Object(thresholds) = json!(options.choose) {
        settings.extend(thresholds);
    }
    settings
}

fn hash_of(values: impl Iterator<Item = impl Serialize>) -> String {
    let mut hasher = XxHash3_64::new();
    for value in values {
        hasher.write(json!(value).to_string().as_bytes());
        hasher.write_u8(b'\n');
    }
    format!("{:016x}", hasher.finish())
}

/// One image that was chosen.
struct ChosenRow<'a> {
    /// Its index among the sources.
    index: usize,
    source: &'a SourceRow,
    mask: &'a MaskRow,
}

/// The images that the rules left, in the order in which they are stored.
struct Chosen<'a> {
    material: &'a dyn Material,
    margin: u32,
    rows: Vec<ChosenRow<'a>>,
}

impl<'a> Chosen<'a> {
    fn new(
        sources: &'a [SourceRow],
        masks: &'a [MaskRow],
        choices: &[Choice],
        material: &'a dyn Material,
        margin: u32,
    ) -> Chosen<'a> {
        let row = |(index, (source, choice)): (usize, (&'a SourceRow, &Choice))| {
            let mask = choice.mask.filter(|_| choice.dropped.is_none());
            let mask = mask.map(|mask| &masks[mask])?;
            Some(ChosenRow {
                index,
                source,
                mask,
            })
        };
        let choices = sources.iter().zip(choices).enumerate();
        let mut rows: Vec<ChosenRow<'_>> = choices.filter_map(row).collect();
        rows.sort_by_key(|row| (row.source.category, &row.source.key));
        Chosen {
            material,
            margin,
            rows,
        }
    }

    fn fingerprint(&self) -> String {
        hash_of(self.rows.iter().map(|row| (row.source, row.mask)))
    }

    fn cut(&self, row: &ChosenRow<'_>) -> Result<CutoutRow, Reason> {
        let unreadable = |problem: String| Reason::Unreadable { problem };
        let picture = self.material.picture(row.source);
        let picture = picture.map_err(|error| unreadable(error.to_string()))?;
        let mask = self.material.mask(row.mask);
        let mask = mask.map_err(|error| unreadable(error.to_string()))?;
        let (width, height) = picture.dimensions();
        if mask.dimensions() != (width, height) {
            let (w, h) = mask.dimensions();
            let problem = format!("a mask of {w}x{h} pixels; {width}x{height} were expected");
            return Err(unreadable(problem));
        }
        if Size::new(width, height).is_none() {
            let problem =
                format!("{width}x{height} pixels; sides of 1..={MAX_SOURCE_SIDE} were expected");
            return Err(unreadable(problem));
        }
        let alpha = shape::clean(&mask).ok_or(Reason::Empty)?;
        let picture = with_alpha(&picture, &alpha);
        let category = row.source.category;
        let cut = cut_picture(&picture, &row.source.key, category, self.margin);
        let cut = cut.map_err(|problem| unreadable(problem.text))?;
        Ok(CutoutRow {
            score: score(row.mask).unwrap_or(f32::NAN),
            provenance: Some(Box::new(provenance(row.source, row.mask))),
            ..cut
        })
    }

    /// The chosen images that a finished bank does not have, by their index among the sources, and
    /// why. The bank is asked, since this run may have found it finished.
    fn not_stored(&self, bank: &CutoutBank) -> Result<Vec<(usize, Reason)>, BankError> {
        if bank.len() == self.rows.len() {
            return Ok(Vec::new());
        }
        let mut stored = HashSet::new();
        for index in 0..bank.len() {
            stored.extend(bank.provenance(index)?.map(|provenance| provenance.key));
        }
        let missing = self
            .rows
            .iter()
            .filter(|row| !stored.contains(&row.source.key));
        let why = |row: &ChosenRow<'_>| match self.cut(row) {
            Err(reason) => reason,
            Ok(_) => Reason::Unreadable {
                problem: "it could not be read when the bank was written, and can be now".into(),
            },
        };
        Ok(missing.map(|row| (row.index, why(row))).collect())
    }
}

impl Sources for Chosen<'_> {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn estimate(&self, index: usize) -> usize {
        let [width, height] = self.rows[index].source.size.map(|side| side as usize);
        // Picture and mask, both together, the crop with its mip chain, and the marks of cleaning
        // and bleeding.
        width.saturating_mul(height).saturating_mul(28)
    }

    fn prepare(&self, index: usize) -> Prepared {
        let mut prepared = Prepared::default();
        let row = &self.rows[index];
        match self.cut(row) {
            Ok(cutout) => prepared.cutouts.push(cutout),
            Err(reason) => {
                let kind = match reason {
                    Reason::Empty => ProblemKind::EmptyMask,
                    _ => ProblemKind::UndecodableImage,
                };
                let text = format!("{}: {reason}", row.source.key);
                prepared.problems.push(Problem::new(kind, text));
            }
        }
        prepared
    }

    fn cut_later(&self, _: &Prepared, _: usize) -> Option<CutoutRow> {
        None
    }
}

/// Picture and alpha of one size as one.
fn with_alpha(picture: &RgbImage, alpha: &GrayImage) -> RgbaImage {
    let mut texels = RgbaImage::new(picture.width(), picture.height());
    let sources = picture.pixels().zip(alpha.pixels());
    for (texel, (colour, alpha)) in texels.pixels_mut().zip(sources) {
        let [red, green, blue] = colour.0;
        texel.0 = [red, green, blue, alpha.0[0]];
    }
    texels
}

fn provenance(source: &SourceRow, mask: &MaskRow) -> Provenance {
    Provenance {
        key: source.key.clone(),
        source_kind: source.kind.name().to_owned(),
        segmenter: mask.segmenter.clone(),
        clip: score(mask),
        similarity: mask.similarity,
        area_fraction: mask.area,
        prompt: source.prompt.clone(),
        seed: source.seed,
        path: source.path.clone(),
        source: source.source.clone(),
        licence: source.licence.clone(),
    }
}

#[cfg(test)]
mod tests;
