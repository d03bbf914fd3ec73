//! `pastebank compose`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::common::{
    Interrupted, Threads, Usage, bytes, catch_interrupts, goes_on, progress_bar, say,
};
use super::render::{MOST_TILES, add_tile};
use super::sampling::Sampling;
use crate::compose::MaskOutput;
use crate::dataset::{
    Annotations, Composer, DEFAULT_MAX_REPLACED, DEFAULT_QUALITY, DatasetError, DatasetOptions,
    DatasetReport, INSTANCES_FILE, ImageFormat, Progress, Style,
};
use crate::sampler::Sampler;
use crate::view::Sheet;

/// Write a composed data set: images and one COCO or LVIS instances JSON.
///
/// Ctrl-C stops cleanly; the same command continues after the last finished image.
#[derive(Args)]
pub(super) struct Compose {
    #[command(flatten)]
    sampling: Sampling,
    /// How many images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How images are stored.
    #[arg(long, value_enum, default_value_t = FormatFlag::Jpeg)]
    format: FormatFlag,
    /// Quality of JPEG images, 1 to 100 [default: 90].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,
    /// How masks are written; polygons give the very same masks as run lengths.
    #[arg(long, value_enum, default_value_t = AnnotationsFlag::Rle)]
    annotations: AnnotationsFlag,
    /// The form of the instances JSON.
    #[arg(long, value_enum, default_value_t = StyleFlag::Coco)]
    style: StyleFlag,
    /// Share of the images, 0 to 1, above which scenes that cannot be decoded end the run.
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_MAX_REPLACED)]
    max_replaced: f64,
    /// Also write a contact sheet PNG with masks and boxes drawn (the first 48 images).
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Replace a composed data set that is in the folder; other files in it stay.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum FormatFlag {
    Jpeg,
    Png,
}

#[derive(Clone, Copy, ValueEnum)]
enum AnnotationsFlag {
    Rle,
    Polygons,
}

#[derive(Clone, Copy, ValueEnum)]
enum StyleFlag {
    Coco,
    Lvis,
}

impl Compose {
    pub fn run(self) -> Result<()> {
        let options = self.options()?;
        let sampler = self.sampling.sampler()?;
        catch_interrupts()?;
        write(&sampler, &options)?;
        if let Some(path) = &self.sheet {
            write_sheet(&sampler, self.count, path)?;
            say(format_args!("contact sheet in {}", path.display()))?;
        }
        Ok(())
    }

    fn options(&self) -> Result<DatasetOptions> {
        let format = match (self.format, self.quality) {
            (FormatFlag::Png, Some(_)) => {
                let problem = "--quality: PNG images have none; give --format jpeg";
                return Err(Usage(problem.to_owned()).into());
            }
            (FormatFlag::Png, None) => ImageFormat::Png,
            (FormatFlag::Jpeg, quality) => ImageFormat::Jpeg {
                quality: quality.unwrap_or(DEFAULT_QUALITY),
            },
        };
        Ok(DatasetOptions {
            format,
            annotations: match self.annotations {
                AnnotationsFlag::Rle => Annotations::Rle,
                AnnotationsFlag::Polygons => Annotations::Polygons,
            },
            style: match self.style {
                StyleFlag::Coco => Style::Coco,
                StyleFlag::Lvis => Style::Lvis,
            },
            max_replaced: self.max_replaced,
            threads: self.threads.threads,
            force: self.force,
            ..DatasetOptions::new(&self.out, self.count)
        })
    }
}

/// Writes with a progress bar that starts where the run does, and says how it went.
fn write(sampler: &Sampler, options: &DatasetOptions) -> Result<()> {
    let bar = progress_bar(options.count, "composing");
    let start = Instant::now();
    let mut composed = 0;
    let result = crate::dataset::write(sampler, options, |progress: Progress| {
        if composed == 0 {
            // What an earlier run finished does not count for the rate.
            bar.set_position(progress.first as u64);
            bar.reset_eta();
        }
        composed = progress.done - progress.first;
        bar.set_position(progress.done as u64);
        goes_on()
    });
    bar.finish_and_clear();
    let report = result.map_err(|error| match error {
        DatasetError::Stopped { .. } => Interrupted(error.to_string()).into(),
        DatasetError::Option { .. } => Usage(error.to_string()).into(),
        error => anyhow::Error::from(error),
    })?;
    say_report(&report, &options.folder)?;
    if composed > 0 {
        let seconds = start.elapsed().as_secs_f64();
        let rate = composed as f64 / seconds;
        say(format_args!(
            "{composed} images in {seconds:.1} s, {rate:.1} images/s"
        ))?;
    }
    Ok(())
}

fn say_report(report: &DatasetReport, folder: &Path) -> Result<()> {
    if report.was_finished {
        say("this data set is finished already; nothing was done (--force composes it anew)")?;
    }
    say(format_args!(
        "{} images ({}) and {INSTANCES_FILE} in {}",
        report.images,
        bytes(report.image_bytes),
        folder.display()
    ))?;
    say(format_args!(
        "{} annotations of the scenes ({} crowds) and {} of pasted cutouts, of {} categories",
        report.scene_annotations, report.crowds, report.pasted_annotations, report.categories
    ))?;
    for (count, what) in [
        (report.ignored, "labels dropped"),
        (
            report.crowds_left_out,
            "crowds left out, which LVIS has no place for",
        ),
        (
            report.rle_fallbacks,
            "masks written as run lengths instead of polygons",
        ),
        (
            report.replaced,
            "samples drawn anew, since scenes cannot be decoded",
        ),
    ] {
        if count > 0 {
            say(format_args!("{count} {what}"))?;
        }
    }
    for replaced in &report.replaced_scenes {
        say(format_args!(
            "  sample {}: scene {}: {}",
            replaced.sample, replaced.scene, replaced.problem
        ))?;
    }
    Ok(())
}

/// Composes the first samples again and draws them with their instances.
fn write_sheet(sampler: &Sampler, count: u64, path: &Path) -> Result<()> {
    let shown = count.min(MOST_TILES as u64);
    let title = if shown < count {
        format!("the first {shown} of {count} images")
    } else {
        format!("{count} images")
    };
    let names = sampler.ground().scenes.manifest().names();
    let names = names
        .into_iter()
        .chain(sampler.ground().bank.manifest().names());
    let names = names.collect();
    let mut composer = Composer::new(MaskOutput::Bits);
    let mut sheet = Sheet::new(&title, 4, (400, 400));
    for number in 0..shown {
        let batch = composer.compose(sampler, number)?;
        add_tile(&mut sheet, batch, &names, number as usize)?;
    }
    Ok(sheet.save(path)?)
}
