//! The report of choosing and filtering: counts by category and rule, and contact sheets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::choose::{Choice, Rule};
use super::rows::{MaskRow, SourceRow};
use super::store::Material;
use crate::bank::BankError;
use crate::view::ViewError;

/// What [`filter_and_store`](super::store::filter_and_store) did.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterReport {
    /// What became of each image, in the order of the sources that were given.
    pub choices: Vec<Choice>,
    /// The categories that were given, in their order.
    pub categories: Vec<CategoryReport>,
    /// Cutouts in the bank.
    pub cutouts: u64,
    /// Bytes of its shards.
    pub bytes: u64,
    /// Whether the bank was there already and nothing had to be written.
    pub was_finished: bool,
}

/// What became of one category's images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryReport {
    /// Id of the category.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Images that came.
    pub came: u64,
    /// Images that fell, by the first rule that they broke.
    pub dropped: BTreeMap<Rule, u64>,
    /// Images that stayed: cutouts in the bank.
    pub kept: u64,
    /// The highest score of a chosen mask.
    pub best_clip: Option<f32>,
}

/// How contact sheets are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SheetOptions {
    /// Tiles in a row.
    pub columns: u32,
    /// Side of a tile in pixels.
    pub tile: u32,
    /// Most tiles of a sheet; where there are more images, they are taken at equal distances. 0
    /// makes no sheets.
    pub most: usize,
}

impl Default for SheetOptions {
    fn default() -> SheetOptions {
        SheetOptions {
            columns: 6,
            tile: 240,
            most: 48,
        }
    }
}

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report, or reading the bank.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A sheet.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The caller's progress function asked to stop.
    #[error("stopped before the end, as was asked")]
    Stopped,
}

/// Writes the report into `folder`, which is made if it is not there: `report.json` (counts),
/// `report.txt` (the same as a table), `images.jsonl` (a line for every image: what became of it and
/// why), for every category a sheet of kept and one of dropped images (PNG), and `index.html`, which
/// shows all of this. `sources` and `masks` are those that the report is of; `bank` is the folder
/// that the bank was written to. `progress` is told how many of the categories are done, and of how
/// many, and answers whether to go on. Returns the files written.
///
/// # Errors
/// [`ReportError`]. Files that are finished stay.
#[expect(clippy::too_many_arguments)]
pub fn write_report(
    report: &FilterReport,
    sources: &[SourceRow],
    masks: &[MaskRow],
    material: &dyn Material,
    bank: &Path,
    options: &SheetOptions,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<PathBuf>, ReportError> {
    todo!()
}
