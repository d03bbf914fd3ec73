//! `pastebank pack`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::common::{
    Interrupted, Threads, Usage, bytes, catch_interrupts, parse_bytes, parse_finite, resumable, say,
};
use crate::bank::write::replace_file;
use crate::pack::{
    DEFAULT_MARGIN, DEFAULT_MAX_PIXELS, Encoding, PackError, PackOptions, PackReport, Progress,
};

/// Pack annotated photographs (COCO or LVIS) into a scene pack and a bank of cutouts.
///
/// Ctrl-C stops cleanly; the same command continues after the last finished shard.
#[derive(Args)]
pub(super) struct Pack {
    /// COCO or LVIS instances JSON.
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder of the images.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder to write the scene pack to.
    #[arg(long, value_name = "DIR", required_unless_present = "bank")]
    scenes: Option<PathBuf>,
    /// Folder to write the bank to.
    #[arg(long, value_name = "DIR", required_unless_present = "scenes")]
    bank: Option<PathBuf>,
    /// Write no cutouts: for images whose labels a model made.
    #[arg(long, conflicts_with = "bank")]
    scenes_only: bool,
    /// How scenes are stored: raw is exact and large, jpeg is small and costs decoding.
    #[arg(long, value_enum, default_value_t = EncodingFlag::Raw)]
    encoding: EncodingFlag,
    /// Pixels of real context around a cutout's box.
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_MARGIN)]
    margin: u32,
    /// Leave out annotations whose score is lower; those without a score stay.
    #[arg(long, value_name = "SCORE", value_parser = parse_finite)]
    min_score: Option<f32>,
    #[command(flatten)]
    common: PackFlags,
}

/// Flags of `pack` and `import`.
#[derive(Args)]
pub(super) struct PackFlags {
    /// Leave out images with more pixels.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_PIXELS)]
    pub max_pixels: u64,
    /// Size after which a shard is finished.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "256M")]
    pub shard_bytes: u64,
    #[command(flatten)]
    pub threads: Threads,
    /// End at the first problem in the data instead of counting it.
    #[arg(long)]
    pub strict: bool,
    /// Replace a pack that is in the output folders.
    #[arg(long)]
    pub force: bool,
    /// Also write the final report as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EncodingFlag {
    Raw,
    Jpeg,
}

impl Pack {
    pub fn run(self) -> Result<()> {
        let options = PackOptions {
            annotations: self.annotations,
            images: self.images,
            scenes: self.scenes,
            bank: self.bank,
            encoding: match self.encoding {
                EncodingFlag::Raw => Encoding::Raw,
                EncodingFlag::Jpeg => Encoding::Jpeg,
            },
            margin: self.margin,
            min_score: self.min_score,
            max_pixels: self.common.max_pixels,
            shard_bytes: self.common.shard_bytes,
            threads: self.common.threads.threads,
            strict: self.common.strict,
            force: self.common.force,
        };
        catch_interrupts()?;
        let report = with_bar("packing", |progress| crate::pack::pack(&options, progress))?;
        finish(&report, self.common.report.as_deref())
    }
}

/// Runs a packing call with a progress bar that starts where the run does.
pub(super) fn with_bar(
    what: &'static str,
    run: impl FnOnce(&mut dyn FnMut(Progress) -> bool) -> Result<PackReport, PackError>,
) -> Result<PackReport> {
    resumable(what, run).map_err(|error| match error {
        PackError::Stopped => Interrupted(error.to_string()).into(),
        PackError::Option { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    })
}

/// Prints the report, and writes it as JSON where that is wanted.
pub(super) fn finish(report: &PackReport, path: Option<&Path>) -> Result<()> {
    if let Some(path) = path {
        let text = serde_json::to_vec_pretty(report)?;
        replace_file(path, &text)?;
    }
    let counts = &report.counts;
    if report.was_finished {
        say("this pack is finished already; nothing was done (--force packs anew)")?;
    }
    if counts.scenes > 0 {
        say(format_args!(
            "{} scenes with {} instances ({} crowds), {}",
            counts.scenes,
            counts.instances,
            counts.crowds,
            bytes(report.scene_bytes)
        ))?;
    }
    if report.bank_bytes > 0 || counts.scenes == 0 {
        say(format_args!(
            "{} cutouts, {}",
            counts.cutouts,
            bytes(report.bank_bytes)
        ))?;
    }
    if counts.below_score > 0 {
        say(format_args!(
            "{} annotations below the score",
            counts.below_score
        ))?;
    }
    if report.problems.is_empty() {
        say("no problems in the data")
    } else {
        say(format_args!("problems in the data:\n{}", report.problems)
            .to_string()
            .trim_end())
    }
}
