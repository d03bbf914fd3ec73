//! The stage `folder`: images that are there already.

use std::path::Path;

use serde_json::json;

use super::error::BuildError;
use super::images::FOLDER_STAGE;
use super::rows::SourceRow;
use super::sources::{Found, inspect};
use super::stage::{self, Item, StageOptions, StageReport, Trouble};
use crate::resume::{Progress, Settings};

impl Item for Found {
    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        // A header that cannot be read is reported when the image is decoded.
        let size = image::image_dimensions(&self.path).unwrap_or((1, 1));
        // The decoded image and its copy on white.
        (size.0 as usize)
            .saturating_mul(size.1 as usize)
            .saturating_mul(12)
    }
}

/// Opens every image that was found and writes down what is to be known of it: size, hashes, where
/// it is from. Broken ones are counted and left out. `input` is the folder or the list.
///
/// # Errors
/// [`BuildError`].
pub fn collect(
    input: &Path,
    found: Vec<Found>,
    max_pixels: u64,
    options: &StageOptions,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let settings = Settings::from([
        ("input".to_owned(), json!(input)),
        ("max_pixels".to_owned(), json!(max_pixels)),
    ]);
    stage::run(
        FOLDER_STAGE,
        &settings,
        options,
        found,
        || Ok(()),
        |found| inspect(found, max_pixels).map_err(|error| Trouble::Item(error.to_string())),
        |(), _, rows: Vec<SourceRow>| Ok(rows.into_iter().map(|row| Ok((row, None))).collect()),
        progress,
    )
}
