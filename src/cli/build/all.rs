//! `pastebank build all`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::super::common::{Threads, Usage, catch_interrupts, say};
use super::common::{Part, Work, below};
use super::filter::{FilterSettings, Place, filter_state};
use super::folder::{FolderSettings, take};
use super::generate::{GenerateSettings, make};
use super::model::Computing;
use super::references::{ReferenceSettings, learn};
use super::score::{ScoreSettings, score_state};
use super::segment::{SegmentSettings, segment_state};
use crate::build::state::Shard;

/// Run all stages by a settings file, each from where it was stopped.
///
/// With --shard every stage does its part and ends where a stage before it is not whole: run the
/// same command again when the other workers are through.
#[derive(Args)]
pub(in crate::cli) struct All {
    /// The settings, TOML; relative paths in it are below the file's folder.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Do part I of N of every stage.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    #[command(flatten)]
    threads: Threads,
    /// Try those again that failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Replace a bank that is in the output folder.
    #[arg(long)]
    force: bool,
}

/// The settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    state: PathBuf,
    bank: PathBuf,
    categories: Option<PathBuf>,
    device: Option<String>,
    precision: Option<String>,
    #[serde(default)]
    accept_non_commercial: bool,
    folder: Option<FolderSettings>,
    generate: Option<GenerateSettings>,
    segment: Vec<SegmentSettings>,
    references: Option<ReferenceSettings>,
    score: Option<ScoreSettings>,
    #[serde(default)]
    filter: FilterSettings,
}

impl All {
    pub fn run(self) -> Result<()> {
        let settings = read(&self.config)?;
        let (device, precision) = (settings.device.as_deref(), settings.precision.as_deref());
        let accept = settings.accept_non_commercial;
        let computing = Computing::of_settings(device, precision, accept)
            .with_context(|| self.config.display().to_string())?;
        settings.check(&computing)?;
        catch_interrupts()?;
        let work = Work {
            state: settings.state.clone(),
            part: Part {
                shard: self.shard,
                threads: self.threads,
                // One stage is thrown away by its own command, never all of them at once.
                restart: false,
                retry_failed: self.retry_failed,
            },
        };
        let categories = settings.categories.as_deref();
        if let Some(folder) = &settings.folder {
            take(&work, folder, categories)?;
        }
        if let Some(generate) = &settings.generate {
            make(&work, generate, &computing, categories)?;
        }
        for segmenter in &settings.segment {
            say(format_args!("segmenter {}", segmenter.name()))?;
            segment_state(&work, segmenter, &computing)?;
        }
        if let Some(references) = &settings.references {
            learn(&work, references, &computing)?;
        }
        if let Some(score) = &settings.score {
            score_state(&work, score, &computing)?;
        }
        let place = Place {
            state: &settings.state,
            out: &settings.bank,
            shard: self.shard,
            threads: self.threads,
            force: self.force,
        };
        filter_state(&place, &settings.filter)
    }
}

fn read(file: &Path) -> Result<Settings> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut settings: Settings =
        toml::from_str(&text).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    if settings.folder.is_none() && settings.generate.is_none() {
        let problem = format!(
            "{}: one of [folder] and [generate] was expected",
            file.display()
        );
        return Err(Usage(problem).into());
    }
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    settings.move_below(&folder);
    Ok(settings)
}

impl Settings {
    /// What is wrong is told before any work, not after the weekend that the first stage takes.
    fn check(&self, computing: &Computing) -> Result<()> {
        if let Some(generate) = &self.generate {
            generate.check(computing)?;
        }
        for segmenter in &self.segment {
            segmenter.check(computing)?;
        }
        if let Some(references) = &self.references {
            references.check(computing)?;
        }
        if let Some(score) = &self.score {
            score.check(computing)?;
        }
        self.filter.check()
    }

    fn move_below(&mut self, folder: &Path) {
        for path in [
            Some(&mut self.state),
            Some(&mut self.bank),
            self.categories.as_mut(),
        ] {
            below(folder, path);
        }
        if let Some(settings) = &mut self.folder {
            settings.move_below(folder);
        }
        if let Some(settings) = &mut self.generate {
            settings.move_below(folder);
        }
        if let Some(settings) = &mut self.references {
            settings.move_below(folder);
        }
        if let Some(settings) = &mut self.score {
            settings.move_below(folder);
        }
        for settings in &mut self.segment {
            settings.move_below(folder);
        }
    }
}
