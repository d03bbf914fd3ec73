//! `pastebank demo`: everything once, from nothing to a picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::common::{Threads, bytes, catch_interrupts, goes_on, parse_canvas, say};
use super::pack::with_bar;
use super::recipe::RecipeFlags;
use super::render::write_sheet;
use crate::bank::write::replace_file;
use crate::bank::{CutoutBank, ScenePack};
use crate::compose::{CpuBackend, ElementType, OutputSpec};
use crate::demo::{DrawOptions, draw};
use crate::loader::{Loader, LoaderOptions, Tail};
use crate::pack::{PackOptions, PackReport};
use crate::sampler::Sampler;

/// Show the whole way on a small data set: pack, plan, compose, look.
///
/// Without flags it draws a data set of its own; with --annotations and --images it takes yours.
#[derive(Args)]
pub(super) struct Demo {
    /// COCO or LVIS instances JSON of your own.
    #[arg(long, value_name = "FILE", requires = "images")]
    annotations: Option<PathBuf>,
    /// Folder of its images.
    #[arg(long, value_name = "DIR", requires = "annotations")]
    images: Option<PathBuf>,
    /// Folder to write to.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Size of the output images.
    #[arg(long, value_name = "WxH", value_parser = parse_canvas, default_value = "1024x1024")]
    canvas: [u32; 2],
    /// How many batches to compose.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1000))]
    batches: u64,
    /// Samples in a batch.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    batch_size: u64,
    /// Equal seeds give equal results.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace packs in the output folder that were made from other data.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    recipe: RecipeFlags,
    #[command(flatten)]
    threads: Threads,
}

/// What the demo writes into its folder.
const OWN_NAMES: [&str; 5] = ["data", "scenes", "bank", "plan.json", "sheet.png"];
/// Samples on the contact sheet.
const SHOWN: u64 = 12;

impl Demo {
    pub fn run(self) -> Result<()> {
        // A wrong recipe is refused before anything is packed.
        let recipe = self.recipe.recipe()?;
        check_folder(&self.out)?;
        catch_interrupts()?;
        let (annotations, images) = self.data_set()?;
        let [scenes, bank] = ["scenes", "bank"].map(|name| self.out.join(name));
        let mut options = PackOptions::new(&annotations, &images, &scenes, &bank);
        options.threads = self.threads.threads;
        options.force = self.force;
        let started = Instant::now();
        let report = with_bar("packing", |progress| crate::pack::pack(&options, progress))?;
        say_packed(&report, started, &scenes, &bank)?;
        let scenes = Arc::new(ScenePack::open(&scenes)?);
        let bank = Arc::new(CutoutBank::open(&bank)?);
        let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, self.canvas, self.seed)?;
        self.stream(&sampler)?;
        let shown = sampler.plan(0..SHOWN);
        let plan_path = self.out.join("plan.json");
        replace_file(&plan_path, &serde_json::to_vec(&shown)?)?;
        let sheet = self.out.join("sheet.png");
        let mut backend = CpuBackend::new(self.threads.threads);
        write_sheet(&shown, &scenes, &bank, &mut backend, &sheet)?;
        say(format_args!("plan      {}", plan_path.display()))?;
        say(format_args!(
            "pictures  {}  <- look at this",
            sheet.display()
        ))?;
        self.say_next()
    }

    /// The user's data set, or one that is drawn.
    fn data_set(&self) -> Result<(PathBuf, PathBuf)> {
        if let (Some(annotations), Some(images)) = (&self.annotations, &self.images) {
            return Ok((annotations.clone(), images.clone()));
        }
        let options = DrawOptions {
            seed: self.seed,
            ..DrawOptions::default()
        };
        let data = draw(&self.out.join("data"), &options)?;
        let rare_to_frequent: Vec<String> = data
            .categories
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        say(format_args!(
            "data      {} and {}: {} images, {} annotations ({})",
            data.annotations.display(),
            data.images.display(),
            data.image_count,
            data.annotation_count,
            rare_to_frequent.join(", ")
        ))?;
        Ok((data.annotations, data.images))
    }

    /// Streams the batches and says how fast.
    fn stream(&self, sampler: &Sampler) -> Result<()> {
        let options = LoaderOptions {
            batch_size: self.batch_size as usize,
            threads: self.threads.threads,
            tail: Tail::Pad,
            output: OutputSpec {
                element: ElementType::F16,
                ..OutputSpec::default()
            },
            ..LoaderOptions::default()
        };
        let mut loader = Loader::new(sampler.clone(), options)?;
        let mut instances = 0;
        for batch in loader.by_ref().take(self.batches as usize) {
            if !goes_on() {
                bail!(super::common::Interrupted("stopped".into()));
            }
            instances += batch?.instance_count();
        }
        let statistics = loader.statistics();
        let [width, height] = self.canvas;
        say(format_args!(
            "composed  {} batches of {} at {width}x{height}, f16 and mask bits, {:.1} instances \
             an image: {:.0} images/s on {} threads",
            statistics.batches,
            self.batch_size,
            instances as f64 / statistics.samples.max(1) as f64,
            statistics.images_per_second(),
            statistics.threads
        ))?;
        for replaced in &statistics.first_replaced {
            say(format_args!("          drawn again: {}", replaced.problem))?;
        }
        Ok(())
    }

    fn say_next(&self) -> Result<()> {
        if self.annotations.is_some() {
            return say(format_args!(
                "next      pastebank plan --scenes {0}/scenes --bank {0}/bank --count 1000 --out plan.json",
                self.out.display()
            ));
        }
        say(
            "next      your own data: cargo run --release -- demo --annotations instances.json \
             --images DIR --out mine",
        )
    }
}

/// Only a folder that is new, or that an earlier demo made.
fn check_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_temporary = crate::bank::write::is_temporary(&name);
        if !OWN_NAMES.contains(&name.as_str()) && !is_temporary {
            bail!(
                "{} holds {name:?}, which is not the demo's; give another folder with --out",
                folder.display()
            );
        }
    }
    Ok(())
}

fn say_packed(report: &PackReport, started: Instant, scenes: &Path, bank: &Path) -> Result<()> {
    let how = if report.was_finished {
        "packed already".to_owned()
    } else {
        format!("packed in {:.1} s", started.elapsed().as_secs_f64())
    };
    say(format_args!(
        "scenes    {}: {} scenes, {} instances, {} ({how})",
        scenes.display(),
        report.counts.scenes,
        report.counts.instances,
        bytes(report.scene_bytes)
    ))?;
    say(format_args!(
        "bank      {}: {} cutouts, {}",
        bank.display(),
        report.counts.cutouts,
        bytes(report.bank_bytes)
    ))?;
    for (kind, counted) in report.problems.iter() {
        say(format_args!("          {} {}", counted.count, kind.words()))?;
    }
    Ok(())
}
