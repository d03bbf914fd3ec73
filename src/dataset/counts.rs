//! What a data set holds, added up sample by sample.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Style;
use super::record::{Record, Replaced};
use crate::bank::{Category, CutoutBank, Frequency, ScenePack};

/// How many replaced scenes the report names.
const MOST_EXAMPLES: usize = 20;

/// What a finished data set holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// Images.
    pub images: u64,
    /// Bytes of the images.
    pub image_bytes: u64,
    /// Annotations of the scenes' own instances, crowds included.
    pub scene_annotations: u64,
    /// Annotations of pasted cutouts.
    pub pasted_annotations: u64,
    /// Crowds among the annotations.
    pub crowds: u64,
    /// Instances whose label was dropped; the LVIS form has no annotations of them.
    pub ignored: u64,
    /// Crowds that the LVIS form has no place for: their categories are listed as not annotated
    /// exhaustively.
    pub crowds_left_out: u64,
    /// Categories with at least one annotation.
    pub categories: u64,
    /// Samples that were drawn anew because a scene could not be decoded.
    pub replaced: u64,
    /// The first of the scenes that could not be decoded.
    pub replaced_scenes: Vec<Replaced>,
    /// Masks that were to be polygons and are run lengths, since no polygon gives the same mask.
    pub rle_fallbacks: u64,
    /// Whether the data set was there already and nothing had to be done.
    #[serde(skip)]
    pub was_finished: bool,
}

/// Sums over the samples so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub report: DatasetReport,
    pub annotations: u64,
    /// The last scene that could not be decoded.
    pub last_replaced: Option<Replaced>,
    /// Images and labelled annotations by category.
    categories: BTreeMap<i64, [u64; 2]>,
}

impl Counts {
    pub fn add(&mut self, record: &Record) {
        let report = &mut self.report;
        report.images += 1;
        report.image_bytes += record.bytes;
        report.rle_fallbacks += record.fallbacks;
        report.crowds_left_out += record.crowds_left_out;
        report.ignored += record.ignored_left_out;
        report.replaced += u64::from(!record.replaced.is_empty());
        if let Some(last) = record.replaced.last() {
            self.last_replaced = Some(last.clone());
        }
        let room = MOST_EXAMPLES.saturating_sub(report.replaced_scenes.len());
        let examples = record.replaced.iter().take(room).cloned();
        report.replaced_scenes.extend(examples);
        let mut seen = BTreeSet::new();
        for annotation in &record.annotations {
            self.annotations += 1;
            report.crowds += u64::from(annotation.iscrowd == Some(1));
            if annotation.is_pasted() {
                report.pasted_annotations += 1;
            } else {
                report.scene_annotations += 1;
            }
            if annotation.ignore.is_some() {
                report.ignored += 1;
                continue;
            }
            let [images, instances] = self.categories.entry(annotation.category_id).or_default();
            *images += u64::from(seen.insert(annotation.category_id));
            *instances += 1;
        }
        report.categories = self.categories.len() as u64;
    }

    /// The categories as they are written: with all their keys, and in the LVIS form with counts
    /// and frequency groups of this data set.
    pub fn categories(&self, style: Style, mut categories: Vec<Category>) -> Vec<Category> {
        if style == Style::Lvis {
            for category in &mut categories {
                let [images, instances] = self.categories.get(&category.id).unwrap_or(&[0; 2]);
                for (key, value) in [
                    ("image_count", json!(images)),
                    ("instance_count", json!(instances)),
                    ("frequency", json!(Frequency::of_images(*images))),
                ] {
                    category.other.insert(key.to_owned(), value);
                }
            }
        }
        categories
    }
}

/// The categories of both packs, the scenes' first, with the keys of both.
pub(super) fn categories_of(scenes: &ScenePack, bank: &CutoutBank) -> Vec<Category> {
    let mut categories = scenes.manifest().categories.clone();
    for of_bank in &bank.manifest().categories {
        match categories.iter_mut().find(|c| c.id == of_bank.id) {
            Some(category) => {
                for (key, value) in &of_bank.other {
                    let entry = category.other.entry(key.clone());
                    entry.or_insert_with(|| Value::clone(value));
                }
            }
            None => categories.push(of_bank.clone()),
        }
    }
    categories
}
