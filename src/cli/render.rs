//! `pastebank render`: the specification's conformance command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image::RgbImage;

use super::common::{
    Interrupted, Packs, Threads, catch_interrupts, goes_on, output_folder, overlays, progress_bar,
    say,
};
use super::device::DeviceFlag;
use crate::bank::{CutoutBank, ScenePack};
use crate::compose::{Backend, Batch, Encoded, InstanceSource, Layout, OutputSpec};
use crate::plan::{CheckedPlan, Plan};
use crate::render::{ANNOTATIONS_FILE, RenderError};
use crate::view::{Sheet, tile_with_overlays};

/// Compose a plan: one PNG per sample and annotations.json.
#[derive(Args)]
pub(super) struct Render {
    #[command(flatten)]
    packs: Packs,
    /// The plan.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceFlag,
    /// Also write a contact sheet PNG with masks and boxes drawn (the first 48 samples).
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Write into a folder that is not empty; an earlier rendering in it is replaced.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
}

/// Most samples on a contact sheet.
pub(super) const MOST_TILES: usize = 48;

impl Render {
    pub fn run(self) -> Result<()> {
        let text = std::fs::read(&self.plan)
            .with_context(|| format!("cannot read {}", self.plan.display()))?;
        let plan = Plan::from_json(&text).with_context(|| self.plan.display().to_string())?;
        let (scenes, bank) = self.packs.open()?;
        // A wrong plan and a device that is not there are refused before the output folder is touched.
        CheckedPlan::new(&plan, &scenes, &bank).with_context(|| self.plan.display().to_string())?;
        let mut composer = self.device.composer(self.threads.threads)?;
        let backend = &mut *composer.backend;
        output_folder(&self.out, self.force)?;
        remove_former_rendering(&self.out)?;
        catch_interrupts()?;
        let bar = progress_bar(plan.samples.len() as u64, "rendering");
        let (out, at_once) = (&self.out, composer.at_once);
        let progress = |samples| {
            bar.set_position(samples as u64);
            goes_on()
        };
        let result = crate::render::render(&plan, &scenes, &bank, out, backend, at_once, progress);
        bar.finish_and_clear();
        match result {
            Err(error @ RenderError::Stopped { .. }) => {
                return Err(Interrupted(error.to_string()).into());
            }
            result => result?,
        }
        say(format_args!(
            "{} samples in {}",
            plan.samples.len(),
            self.out.display()
        ))?;
        if let Some(path) = &self.sheet {
            write_sheet(&plan, &scenes, &bank, backend, path)?;
            say(format_args!("contact sheet in {}", path.display()))?;
        }
        Ok(())
    }
}

/// Removes what an earlier rendering wrote, the annotations first, so that no picture of one plan
/// lies beside the annotations of another.
fn remove_former_rendering(folder: &Path) -> Result<()> {
    let is_picture = |name: &str| {
        name.strip_suffix(".png")
            .is_some_and(|stem| !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == ANNOTATIONS_FILE || is_picture(&name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| name != ANNOTATIONS_FILE);
    for name in names {
        let path = folder.join(name);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Composes the first samples of a plan and draws them with their instances.
pub(super) fn write_sheet(
    plan: &Plan,
    scenes: &ScenePack,
    bank: &CutoutBank,
    backend: &mut dyn Backend,
    path: &Path,
) -> Result<()> {
    let shown: Vec<usize> = (0..plan.samples.len().min(MOST_TILES)).collect();
    let checked = CheckedPlan::new(plan, scenes, bank)?;
    let encoded = Encoded::new(&checked)?;
    let mut batch = Batch::new(OutputSpec {
        layout: Layout::Hwc,
        ..OutputSpec::default()
    });
    let names = scenes.manifest().names();
    let title = match plan.samples.len() {
        all if all > shown.len() => format!("the first {} of {all} samples", shown.len()),
        all => format!("{all} samples"),
    };
    let mut sheet = Sheet::new(&title, 4, (400, 400));
    for &sample in &shown {
        backend.compose_samples(&encoded, &[sample], &mut batch)?;
        add_tile(&mut sheet, &batch, &names, sample)?;
    }
    Ok(sheet.save(path)?)
}

pub(super) fn add_tile(
    sheet: &mut Sheet,
    batch: &Batch,
    names: &std::collections::HashMap<i64, &str>,
    sample: usize,
) -> Result<()> {
    let canvas = batch.canvas();
    let pixels = batch.pixels(0).unwrap_or_default().to_vec();
    let (Some(image), Some(view)) = (
        RgbImage::from_raw(canvas.width(), canvas.height(), pixels),
        batch.sample(0),
    ) else {
        bail!("sample {sample} was not composed");
    };
    let label = |label: &i64| {
        names
            .get(label)
            .map_or(label.to_string(), |name| name.to_string())
    };
    let labels: Vec<String> = view.labels.iter().map(label).collect();
    let overlays = overlays(&view, canvas.width(), &labels);
    let tile = tile_with_overlays(&image, &overlays, (400, 400));
    let is_pasted = |source: &&InstanceSource| matches!(source, InstanceSource::Cutout(_));
    let pasted = view.sources.iter().filter(is_pasted).count();
    let caption = format!(
        "{sample}: image {}, {} of the scene, {pasted} pasted",
        view.image_id,
        labels.len() - pasted
    );
    sheet.add(&tile, &[caption]);
    Ok(())
}
