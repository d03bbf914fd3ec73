//! What the stages' commands share: the state folder, the worker's part, progress, reports.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::super::common::{Interrupted, Threads, Usage, category_file, resumable, say};
use crate::bank::Category;
use crate::bank::write::hash_file;
use crate::build::BuildError;
use crate::build::images::categories_of_state;
use crate::build::stage::{StageOptions, StageReport};
use crate::build::state::Shard;
use crate::resume::{Progress, Settings};

/// Where the work is and which part of it this process does.
#[derive(Args, Clone)]
pub(super) struct Work {
    /// Folder that holds what every stage has done; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    #[command(flatten)]
    pub part: Part,
}

/// Which part of the work this process does, and how.
#[derive(Args, Clone)]
pub(super) struct Part {
    /// Do part I of N, such as 0/8 to 7/8 on eight machines that share the state folder.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
    #[command(flatten)]
    pub threads: Threads,
    /// Throw away what this part of the stage has done, and begin anew.
    #[arg(long)]
    pub restart: bool,
    /// Try those again that failed before.
    #[arg(long)]
    pub retry_failed: bool,
}

impl Work {
    pub fn options(&self, batch_size: NonZero<usize>) -> StageOptions {
        StageOptions {
            state: self.state.clone(),
            shard: self.part.shard,
            batch_size,
            threads: self.part.threads.threads,
            restart: self.part.restart,
            retry_failed: self.part.retry_failed,
        }
    }
}

/// The categories of a state folder: those of `file`, else those that are there, else what `make`
/// gives. Nothing is written yet.
pub(super) fn categories(
    state: &Path,
    file: Option<&Path>,
    make: impl FnOnce() -> Result<Vec<Category>>,
) -> Result<Vec<Category>> {
    let categories = match file {
        Some(file) => named_categories(file)?,
        None if state.join("categories.json").is_file() => categories_of_state(state)?,
        None => make()?,
    };
    if categories.is_empty() {
        return Err(Usage("no categories; at least one was expected".to_owned()).into());
    }
    Ok(categories)
}

/// XXH3-64 of a file that decides what comes out.
pub(super) fn content_hash(file: &Path) -> Result<String> {
    let (_, xxh3) = hash_file(file)?;
    Ok(xxh3)
}

/// Categories of a JSON file, or of a text file with a name on each line.
fn named_categories(file: &Path) -> Result<Vec<Category>> {
    let is_text = file.extension().is_some_and(|ending| ending == "txt");
    if !is_text {
        return category_file(file);
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let category = |(id, name): (i64, &str)| Category {
        id,
        name: name.to_owned(),
        other: serde_json::Map::new(),
    };
    Ok((1..).zip(names).map(category).collect())
}

/// Settings that decide a stage's output.
pub(super) fn settings(entries: &[(&str, serde_json::Value)]) -> Settings {
    let entries = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    entries.collect()
}

/// Runs a stage under a progress bar, and says what came of it.
pub(super) fn run_stage(
    what: &'static str,
    run: impl FnOnce(&mut dyn FnMut(Progress) -> bool) -> Result<StageReport, BuildError>,
) -> Result<()> {
    let report = resumable(what, run).map_err(of_build)?;
    let mut text = format!("{what}: {} done", report.items - report.failed);
    if report.failed > 0 {
        text += &format!(", {} failed", report.failed);
    }
    if report.earlier > 0 {
        text += &format!(" ({} by earlier runs)", report.earlier);
    }
    say(text)
}

/// An error of the library with its exit code.
pub(super) fn of_build(error: BuildError) -> anyhow::Error {
    match error {
        BuildError::Stopped => Interrupted(error.to_string()).into(),
        BuildError::Option { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

/// A relative path of a settings file is below the file's folder.
pub(super) fn below(folder: &Path, path: Option<&mut PathBuf>) {
    if let Some(path) = path.filter(|path| path.is_relative()) {
        *path = folder.join(&path);
    }
}

/// The same for weights, which may be the id of a hub instead of a path.
pub(super) fn weights_below(folder: &Path, weights: &mut Option<String>) {
    if let Some(weights) = weights {
        let path = folder.join(&*weights);
        if path.exists() {
            *weights = path.to_string_lossy().into_owned();
        }
    }
}
