//! `pastebank build folder`.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::super::common::{Usage, catch_interrupts, say};
use super::common::{Work, below, categories, of_build, run_stage};
use crate::build::collect::collect;
use crate::build::images::{FOLDER_STAGE, Images, fix_categories};
use crate::build::sources::{Found, categories_of, list_file, list_folder};
use crate::pack::DEFAULT_MAX_PIXELS;

/// Take images that are there: crawled or retrieved ones, a folder per category or a list.
#[derive(Args)]
pub(in crate::cli) struct Folder {
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    input: FolderSettings,
    /// The categories: JSON (a COCO or LVIS file, a manifest, a list of {id, name}) or text with a
    /// name on each line; made from the folders' names unless given.
    #[arg(long, value_name = "FILE")]
    categories: Option<PathBuf>,
}

/// `[folder]` of a settings file.
#[derive(Args, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderSettings {
    /// Folder whose folders are named by category name or id and hold the images.
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    input: Option<PathBuf>,
    /// CSV (with a header) or JSON lines: path, category, source, licence.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Leave out images with more pixels [default: 64 million].
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
}

impl Folder {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        take(&self.work, &self.input, self.categories.as_deref())
    }
}

/// Runs the stage.
pub(super) fn take(work: &Work, input: &FolderSettings, file: Option<&Path>) -> Result<()> {
    let (place, found) = input.found(&work.state, file)?;
    let place = std::path::absolute(&place).unwrap_or(place);
    let options = work.options(NonZero::new(64).unwrap_or(NonZero::<usize>::MIN));
    let max_pixels = input.max_pixels.unwrap_or(DEFAULT_MAX_PIXELS);
    run_stage("images", |progress| {
        collect(&place, found, max_pixels, &options, progress)
    })?;
    tell_broken(work)
}

impl FolderSettings {
    /// Relative paths of a settings file are below its folder.
    pub fn move_below(&mut self, folder: &Path) {
        below(folder, self.input.as_mut());
        below(folder, self.list.as_mut());
    }

    fn found(&self, state: &Path, file: Option<&Path>) -> Result<(PathBuf, Vec<Found>)> {
        match (&self.input, &self.list) {
            (Some(input), None) => {
                let categories = categories(state, file, || Ok(categories_of(input)?))?;
                let found = list_folder(input, &categories)?;
                fix_categories(state, &categories).map_err(of_build)?;
                Ok((input.clone(), found))
            }
            (None, Some(list)) => {
                let none = || Err(Usage("--categories is needed with --list".to_owned()).into());
                let categories = categories(state, file, none)?;
                let found = list_file(list, &categories)?;
                fix_categories(state, &categories).map_err(of_build)?;
                Ok((list.clone(), found))
            }
            _ => Err(Usage("one of --input and --list was expected".to_owned()).into()),
        }
    }
}

/// Says which images could not be opened, and how many came twice, once all parts are there.
fn tell_broken(work: &Work) -> Result<()> {
    // Other workers may not be through yet: then there is nothing to say of the whole.
    let Ok(images) = Images::open(&work.state) else {
        return Ok(());
    };
    for (_, problem) in images.broken().iter().take(10) {
        say(format_args!("left out: {problem}"))?;
    }
    if let Some(more) = images
        .broken()
        .len()
        .checked_sub(10)
        .filter(|&more| more > 0)
    {
        let journal = work
            .state
            .join(FOLDER_STAGE)
            .join("…")
            .join("journal.jsonl");
        say(format_args!("… and {more} more, in {}", journal.display()))?;
    }
    let copies = images.rows().len() - images.distinct().len();
    match copies {
        0 => Ok(()),
        copies => say(format_args!(
            "{copies} are copies of another and will be left out"
        )),
    }
}
