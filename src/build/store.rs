//! Filtering and storing: from rows and masks to a bank.

use std::num::NonZero;
use std::path::Path;

use image::{GrayImage, RgbImage};

use super::choose::{ChooseError, ChooseOptions, MaterialError};
use super::report::FilterReport;
use super::rows::{MaskRow, SourceRow};
use crate::bank::{BankError, Category};
use crate::pack::{DEFAULT_MARGIN, DEFAULT_SHARD_BYTES, PackError, Progress};

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
    todo!()
}
