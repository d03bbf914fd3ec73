//! `pastebank bank`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use image::RgbaImage;

use super::common::{
    Interrupted, Threads, Usage, byte_bar, bytes, catch_interrupts, goes_on, output_folder,
    parse_bytes, parse_finite, progress_bar, say,
};
use crate::bank::{BankError, Cutout, CutoutBank, Filter, Kind, Manifest, MergeError, ScenePack};
use crate::view::{Sheet, on_chequerboard};

/// Look at, check, merge and filter packs.
#[derive(Subcommand)]
pub(super) enum Bank {
    Info(Info),
    Verify(Verify),
    Merge(Merge),
    Filter(FilterCommand),
    Show(Show),
}

impl Bank {
    pub fn run(self) -> Result<()> {
        match self {
            Bank::Info(info) => info.run(),
            Bank::Verify(verify) => verify.run(),
            Bank::Merge(merge) => merge.run(),
            Bank::Filter(filter) => filter.run(),
            Bank::Show(show) => show.run(),
        }
    }
}

/// Counts by category and frequency group, sizes, scores, bytes (banks and scene packs).
#[derive(Args)]
pub(super) struct Info {
    /// Folder of the pack.
    pack: PathBuf,
    /// Print every row of every table.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Info {
    fn run(self) -> Result<()> {
        match kind_of(&self.pack)? {
            Kind::Cutouts => self.print(&crate::bank::info(&CutoutBank::open(&self.pack)?)),
            Kind::Scenes => self.print(&crate::bank::scene_info(&ScenePack::open(&self.pack)?)),
        }
    }

    fn print<T: serde::Serialize + std::fmt::Display>(&self, info: &T) -> Result<()> {
        if self.json {
            return say(serde_json::to_string_pretty(info)?);
        }
        let text = match self.all {
            true => format!("{info:#}"),
            false => format!("{info}"),
        };
        say(text.trim_end())
    }
}

/// What a pack's manifest says it holds.
fn kind_of(folder: &Path) -> Result<Kind> {
    match Manifest::read(folder, Kind::Cutouts) {
        Ok(_) => Ok(Kind::Cutouts),
        // Any other error comes again, in the right words, when the pack is opened.
        Err(error) => match Manifest::read(folder, Kind::Scenes) {
            Ok(_) => Ok(Kind::Scenes),
            Err(_) => Err(error.into()),
        },
    }
}

/// Check every checksum and every row of a pack.
#[derive(Args)]
pub(super) struct Verify {
    /// Folder of the pack.
    pack: PathBuf,
    #[command(flatten)]
    threads: Threads,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    fn run(self) -> Result<()> {
        catch_interrupts()?;
        let kind = kind_of(&self.pack)?;
        let bar = byte_bar(Manifest::read(&self.pack, kind)?.bytes(), "verifying");
        let progress = |done| {
            bar.set_position(done);
            goes_on()
        };
        let report = crate::bank::verify(&self.pack, self.threads.threads, &progress);
        bar.finish_and_clear();
        let report = report.map_err(stopped)?;
        if self.json {
            say(serde_json::to_string_pretty(&report)?)?;
        } else {
            for problem in &report.problems {
                say(problem)?;
            }
            if report.not_listed() > 0 {
                say(format_args!("… and {} more", report.not_listed()))?;
            }
            say(format_args!(
                "{} shards, {} rows, {}: {} errors, {} warnings",
                report.shards,
                report.rows,
                bytes(report.bytes),
                report.errors,
                report.warnings
            ))?;
        }
        if !report.is_sound() {
            bail!("{} is not sound", self.pack.display());
        }
        Ok(())
    }
}

/// Put several banks under one manifest, linking their shards where the file system can.
#[derive(Args)]
pub(super) struct Merge {
    /// Folders of the banks.
    #[arg(required = true, num_args = 2..)]
    banks: Vec<PathBuf>,
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a pack that is in the output folder.
    #[arg(long)]
    force: bool,
}

impl Merge {
    fn run(self) -> Result<()> {
        merge(&self.banks, &self.out, self.force)
    }
}

/// Puts banks under one manifest and says what was done.
pub(super) fn merge(banks: &[PathBuf], out: &Path, force: bool) -> Result<()> {
    let mut total = 0;
    for bank in banks {
        total += Manifest::read(bank, Kind::Cutouts)?.bytes();
    }
    pack_folder(out, force)?;
    catch_interrupts()?;
    let bar = byte_bar(total, "merging");
    let progress = |done| {
        bar.set_position(done);
        goes_on()
    };
    let report = crate::bank::merge(banks, out, &progress);
    bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        MergeError::Bank(error) => stopped(error),
        error => error.into(),
    })?;
    for renumbered in &report.renumbered {
        say(format_args!(
            "category {:?} of {} was {}, is {} now",
            renumbered.name,
            renumbered.bank.display(),
            renumbered.from,
            renumbered.to
        ))?;
    }
    for key in &report.dropped_keys {
        say(format_args!("manifest key {key:?} differs and was dropped"))?;
    }
    say(format_args!(
        "{} cutouts of {} categories, {}: {} shards linked, {} copied, {} rewritten",
        report.rows,
        report.categories,
        bytes(report.bytes),
        report.linked,
        report.copied,
        report.rewritten
    ))
}

/// Copy the cutouts that pass into a new bank.
#[derive(Args)]
pub(super) struct FilterCommand {
    /// Folder of the bank.
    bank: PathBuf,
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Keep these categories, by name or id.
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    categories: Vec<String>,
    /// Least score; cutouts without one stay unless --require-score is given.
    #[arg(long, value_name = "SCORE", value_parser = parse_finite)]
    min_score: Option<f32>,
    /// Greatest score.
    #[arg(long, value_name = "SCORE", value_parser = parse_finite)]
    max_score: Option<f32>,
    /// Leave out cutouts without a score.
    #[arg(long)]
    require_score: bool,
    /// Least number of opaque texels.
    #[arg(long, value_name = "TEXELS")]
    min_area: Option<u32>,
    /// Greatest number of opaque texels.
    #[arg(long, value_name = "TEXELS")]
    max_area: Option<u32>,
    /// Least square root of the box's area.
    #[arg(long, value_name = "TEXELS")]
    min_side: Option<u32>,
    /// Greatest square root of the box's area.
    #[arg(long, value_name = "TEXELS")]
    max_side: Option<u32>,
    /// Size after which a shard is finished.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "256M")]
    shard_bytes: u64,
    /// Replace a pack that is in the output folder.
    #[arg(long)]
    force: bool,
}

impl FilterCommand {
    fn run(self) -> Result<()> {
        let bank = CutoutBank::open(&self.bank)?;
        let categories = self
            .categories
            .iter()
            .map(|name| find_category(&bank, name));
        let categories: Vec<i64> = categories.collect::<Result<_>>()?;
        let filter = Filter {
            categories: (!categories.is_empty()).then_some(categories),
            min_score: self.min_score,
            max_score: self.max_score,
            require_score: self.require_score,
            min_area: self.min_area,
            max_area: self.max_area,
            min_side: self.min_side,
            max_side: self.max_side,
        };
        pack_folder(&self.out, self.force)?;
        catch_interrupts()?;
        let bar = progress_bar(bank.len() as u64, "filtering");
        let progress = |done| {
            bar.set_position(done);
            goes_on()
        };
        let report = crate::bank::filter(&bank, &self.out, &filter, self.shard_bytes, &progress);
        bar.finish_and_clear();
        let report = report.map_err(stopped)?;
        for (count, rule) in [
            (report.dropped_by_category, "category"),
            (report.dropped_without_score, "missing score"),
            (report.dropped_by_score, "score"),
            (report.dropped_by_area, "area"),
            (report.dropped_by_side, "side"),
        ] {
            if count > 0 {
                say(format_args!("{count} left out by {rule}"))?;
            }
        }
        say(format_args!(
            "{} of {} cutouts kept, {} in {} shards",
            report.kept,
            bank.len(),
            bytes(report.bytes),
            report.shards
        ))
    }
}

/// Makes the folder of a pack; `force` removes a former one, or what is left of it.
fn pack_folder(folder: &Path, force: bool) -> Result<()> {
    output_folder(folder, force)?;
    if force {
        crate::pack::remove_former_pack(folder)?;
    }
    Ok(())
}

fn stopped(error: BankError) -> anyhow::Error {
    match error {
        BankError::Stopped => Interrupted("stopped; nothing was kept".to_owned()).into(),
        error => error.into(),
    }
}

fn find_category(bank: &CutoutBank, name: &str) -> Result<i64> {
    let categories = &bank.manifest().categories;
    let by_name = categories.iter().find(|category| category.name == name);
    let by_id = || {
        categories
            .iter()
            .find(|category| category.id.to_string() == name)
    };
    by_name
        .or_else(by_id)
        .map(|category| category.id)
        .ok_or_else(|| {
            Usage(format!(
            "no category of name or id {name:?}; the bank has {}, see `pastebank bank info --all`",
            categories.len()
        ))
        .into()
        })
}

/// Draw cutouts on a chequerboard, labelled, as a contact sheet PNG.
#[derive(Args)]
pub(super) struct Show {
    /// Folder of the bank.
    bank: PathBuf,
    /// The PNG to write.
    #[arg(long, value_name = "FILE", default_value = "bank.png")]
    out: PathBuf,
    /// How many cutouts, spread evenly over those that are chosen.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=2000))]
    count: u32,
    /// Only this category, by name or id.
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// Tiles in a row.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    columns: u32,
    /// Side of a tile in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 150, value_parser = clap::value_parser!(u32).range(32..=1024))]
    tile: u32,
}

impl Show {
    fn run(self) -> Result<()> {
        let bank = CutoutBank::open(&self.bank)?;
        let category = self
            .category
            .as_deref()
            .map(|name| find_category(&bank, name));
        let category = category.transpose()?;
        let chosen: Vec<usize> = bank
            .category_ids()
            .enumerate()
            .filter(|(_, id)| category.is_none_or(|category| category == *id))
            .map(|(row, _)| row)
            .collect();
        if chosen.is_empty() {
            bail!("{} has no such cutouts to show", self.bank.display());
        }
        bank.check_lengths()?;
        let names = bank.manifest().names();
        let shown = chosen.len().min(self.count as usize);
        let title = format!(
            "{}: {shown} of {} cutouts",
            self.bank.display(),
            chosen.len()
        );
        let mut sheet = Sheet::new(&title, self.columns, (self.tile, self.tile));
        for number in 0..shown {
            let row = chosen[number * chosen.len() / shown];
            let cutout = bank
                .get(row)
                .context("a shard was changed while it was read")?;
            let name = names.get(&cutout.category).copied().unwrap_or("?");
            sheet.add(&picture(&cutout)?, &captions(row, name, &cutout));
        }
        sheet.save(&self.out)?;
        say(format_args!("contact sheet in {}", self.out.display()))
    }
}

fn picture(cutout: &Cutout<'_>) -> Result<image::RgbImage> {
    let texels = cutout.chain[..4 * cutout.size.pixels()].to_vec();
    let image = RgbaImage::from_raw(cutout.size.width(), cutout.size.height(), texels)
        .context("a cutout without texels")?;
    // Squares that look alike whatever the cutout is scaled to.
    let square = (cutout.size.longer_side() / 16).max(1);
    Ok(on_chequerboard(&image, square))
}

fn captions(row: usize, name: &str, cutout: &Cutout<'_>) -> [String; 2] {
    let score = match cutout.score {
        score if score.is_nan() => String::new(),
        score => format!(", {score:.2}"),
    };
    let [_, _, width, height] = cutout.bounding_box;
    [format!("{row}: {name}"), format!("{width}x{height}{score}")]
}
