//! `pastebank build filter`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::super::common::{
    Interrupted, Threads, Usage, bytes, catch_interrupts, goes_on, progress_bar, say,
};
use crate::bank::write::replace_file;
use crate::build::choose::ChooseOptions;
use crate::build::filter::Scores;
use crate::build::images::{Images, categories_of_state};
use crate::build::report::{FilterReport, Reported, SheetOptions, write_report};
use crate::build::segment::segmenters_of;
use crate::build::state::{Lock, Shard};
use crate::build::store::{FilterError, FilterOptions, filter_and_store};
use crate::pack::{PackError, Progress};

/// Choose the best mask of every image, leave out what is bad, write the bank, and report.
///
/// Thresholds are those of X-Paste unless told otherwise; changing one runs only this stage again.
#[derive(Args)]
pub(in crate::cli) struct Filter {
    /// Folder that holds what every stage has done.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Folder to write the bank to; with --shard, the part I-of-N in it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Do the categories of part I of N; `build merge` then makes one bank.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    filter: FilterSettings,
    /// Replace a bank that is in the output folder.
    #[arg(long)]
    force: bool,
}

/// `[filter]` of a settings file.
#[derive(Args, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FilterSettings {
    /// Whose masks to use; of equal scores the first one's wins [default: all, by name].
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    segmenters: Vec<String>,
    /// Least score, 100 · cosine [default: 21].
    #[arg(long, allow_negative_numbers = true, value_name = "SCORE")]
    min_clip: Option<f32>,
    /// How far below a category's best score an image may be where the best is low [default: 1].
    #[arg(long, value_name = "SCORE")]
    tolerance: Option<f32>,
    /// Least part of the image that is covered [default: 0.05].
    #[arg(long, value_name = "PART")]
    min_area: Option<f32>,
    /// Greatest part of the image that is covered [default: 0.95].
    #[arg(long, value_name = "PART")]
    max_area: Option<f32>,
    /// Least similarity to real objects; DiverGen's is 0.6 [default: none].
    #[arg(long, allow_negative_numbers = true, value_name = "COSINE")]
    min_similarity: Option<f32>,
    /// Leave out found images that look alike in all but so many of 64 bits [default: 2].
    #[arg(long, value_name = "BITS")]
    look_bits: Option<u32>,
    /// Keep found images that look alike.
    #[arg(long, conflicts_with = "look_bits")]
    keep_alike: bool,
    /// Leave out objects whose embeddings are nearer than this [default: none].
    #[arg(long, allow_negative_numbers = true, value_name = "COSINE")]
    near_duplicate: Option<f32>,
    /// Most cutouts of a category [default: no limit].
    #[arg(long, value_name = "N")]
    most: Option<usize>,
    /// Transparent texels kept around an object [default: 8].
    #[arg(long, value_name = "PIXELS")]
    margin: Option<u32>,
    /// Most tiles of a contact sheet; 0 makes none [default: 48].
    #[arg(long, value_name = "N")]
    sheet_tiles: Option<usize>,
}

impl Filter {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        let place = Place {
            state: &self.state,
            out: &self.out,
            shard: self.shard,
            threads: self.threads,
            force: self.force,
        };
        filter_state(&place, &self.filter)
    }
}

/// What is filtered, and where the bank goes.
pub(super) struct Place<'a> {
    pub state: &'a Path,
    pub out: &'a Path,
    pub shard: Shard,
    pub threads: Threads,
    pub force: bool,
}

impl FilterSettings {
    /// Finds what is wrong before any stage begins.
    pub fn check(&self) -> Result<()> {
        let options = self.options(self.segmenters.clone());
        options
            .check()
            .map_err(|error| Usage(error.to_string()).into())
    }

    fn options(&self, segmenters: Vec<String>) -> ChooseOptions {
        let usual = ChooseOptions::default();
        ChooseOptions {
            segmenters,
            min_clip: self.min_clip.unwrap_or(usual.min_clip),
            tolerance: self.tolerance.unwrap_or(usual.tolerance),
            min_area: self.min_area.unwrap_or(usual.min_area),
            max_area: self.max_area.unwrap_or(usual.max_area),
            min_similarity: self.min_similarity.or(usual.min_similarity),
            look_bits: match self.keep_alike {
                true => None,
                false => self.look_bits.or(usual.look_bits),
            },
            near_duplicate: self.near_duplicate.or(usual.near_duplicate),
            most: self.most.or(usual.most),
        }
    }
}

/// Runs the stage.
pub(super) fn filter_state(place: &Place<'_>, chosen: &FilterSettings) -> Result<()> {
    let images = Images::open(place.state)?;
    let segmenters = match chosen.segmenters.is_empty() {
        true => segmenters_of(place.state)?,
        false => chosen.segmenters.clone(),
    };
    let scores = Scores::open(place.state, images, &segmenters, place.shard)?;
    if !scores.has_scores() {
        say("no scores: every mask of the right size is taken (`build score` makes them)")?;
    }
    if chosen.min_similarity.is_some() && !scores.has_similarities() {
        let problem = "--min-similarity: no mask was compared with real objects; run `build \
                       references` and then `build score --restart`";
        return Err(Usage(problem.to_owned()).into());
    }
    let usual = FilterOptions::default();
    let options = FilterOptions {
        choose: chosen.options(segmenters),
        margin: chosen.margin.unwrap_or(usual.margin),
        threads: place.threads.threads,
        force: place.force,
        ..usual
    };
    let out = match place.shard.count() {
        1 => place.out.to_owned(),
        _ => place.out.join(place.shard.folder_name()),
    };
    let categories = categories_of_state(place.state)?;
    let folder = report_folder(&out);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Nothing but the bank may be in the bank's folder, so the lock lies beside it.
    let _lock = Lock::take(&folder)?;
    let bar = progress_bar(0, "cutouts");
    let report = filter_and_store(
        scores.sources(),
        scores.masks(),
        &scores,
        &categories,
        &options,
        &out,
        &mut |progress: Progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            goes_on()
        },
    );
    bar.finish_and_clear();
    let report = report.map_err(of_filter)?;
    tell(&report, &scores)?;
    report_to(&report, &scores, &out, chosen)
}

fn of_filter(error: FilterError) -> anyhow::Error {
    match error {
        FilterError::Pack(PackError::Stopped) => Interrupted(error.to_string()).into(),
        FilterError::Choose(error) => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

/// Counts of all categories together.
fn tell(report: &FilterReport, scores: &Scores) -> Result<()> {
    let mut dropped = BTreeMap::new();
    for category in &report.categories {
        for (rule, count) in &category.dropped {
            *dropped.entry(*rule).or_insert(0) += count;
        }
    }
    if report.was_finished {
        say("this bank is finished already; nothing was written (--force makes it anew)")?;
    }
    say(format_args!(
        "{} images came; {} cutouts stayed, {}",
        scores.sources().len() + scores.broken().count(),
        report.cutouts,
        bytes(report.bytes)
    ))?;
    if scores.broken().next().is_some() {
        let count = scores.broken().count();
        say(format_args!("  {count:>8} could not be opened"))?;
    }
    for (rule, count) in dropped {
        say(format_args!("  {count:>8} {}", rule.words()))?;
    }
    Ok(())
}

/// The report beside the bank.
fn report_to(
    report: &FilterReport,
    scores: &Scores,
    out: &Path,
    chosen: &FilterSettings,
) -> Result<()> {
    let usual = SheetOptions::default();
    let sheets = SheetOptions {
        most: chosen.sheet_tiles.unwrap_or(usual.most),
        ..usual
    };
    let folder = report_folder(out);
    let bar = progress_bar(0, "sheets");
    let written = write_report(
        report,
        Reported {
            sources: scores.sources(),
            masks: scores.masks(),
            material: scores,
            bank: out,
        },
        &sheets,
        &folder,
        &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            goes_on()
        },
    );
    bar.finish_and_clear();
    written?;
    let broken = scores
        .broken()
        .map(|(key, problem)| format!("{key}: {problem}\n"));
    replace_file(
        &folder.join("broken.txt"),
        broken.collect::<String>().as_bytes(),
    )?;
    say(format_args!(
        "the bank is in {}, the report in {}",
        out.display(),
        folder.display()
    ))
}

/// `BANK-report` beside the folder `BANK`, in which nothing but the bank belongs.
fn report_folder(bank: &Path) -> PathBuf {
    let mut name = bank.file_name().unwrap_or_default().to_owned();
    name.push("-report");
    bank.with_file_name(name)
}
