//! `pastebank build segment`.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::common::{Interrupted, Usage, catch_interrupts, goes_on, progress_bar, say};
use super::common::{Part, Work, of_build, run_stage, settings, weights_below};
use super::model::{Chosen, Computing, batch_size};
use crate::bank::write::replace_file;
use crate::build::BuildError;
use crate::build::images::Images;
use crate::build::models::licences::Task;
use crate::build::models::registry::{SegmenterOptions, segmenter};
use crate::build::models::{ModelError, Segmenter};
use crate::build::segment::{encode, segment};
use crate::build::sources::{self, is_image};
use crate::build::weights::ModelFiles;
use crate::pack::DEFAULT_MAX_PIXELS;

/// Find the object on every image, by one model; run it again for further models.
///
/// With --input and --output it stands alone: a soft mask STEM.png for every image of a folder.
#[derive(Args)]
pub(in crate::cli) struct Segment {
    /// Folder that holds what every stage has done.
    #[arg(long, value_name = "DIR", required_unless_present = "input")]
    state: Option<PathBuf>,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    segmenter: SegmentSettings,
    #[command(flatten)]
    computing: Computing,
    /// Folder of images, without a state folder.
    #[arg(
        long,
        value_name = "DIR",
        requires = "output",
        conflicts_with = "state"
    )]
    input: Option<PathBuf>,
    /// Folder to write masks to.
    #[arg(long, value_name = "DIR", requires = "input")]
    output: Option<PathBuf>,
    /// What is on the images of --input, for models that are told.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "object",
        requires = "input"
    )]
    category: String,
}

/// `[[segment]]` of a settings file.
#[derive(Args, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentSettings {
    /// Name of the model; `pastebank build models` lists them.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its weights: a folder, a file, or a Hugging Face id with its revision (OWNER/NAME@REVISION);
    /// the authors' own id unless given.
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// Distance of the corner points from the image's edges, in pixels (Segment Anything).
    #[arg(long, value_name = "PIXELS")]
    corner_margin: Option<u32>,
    /// Images at once; halved by itself when memory runs out.
    #[arg(long, value_name = "N")]
    batch: Option<NonZero<usize>>,
}

impl Segment {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        if let (Some(input), Some(output)) = (&self.input, &self.output) {
            let segmenter = self.segmenter.prepare(&self.computing)?().map_err(of_build)?;
            return segment_folder(&*segmenter, input, output, &self.category);
        }
        let state = self
            .state
            .ok_or_else(|| Usage("--state is needed".to_owned()))?;
        let work = Work {
            state,
            part: self.part,
        };
        segment_state(&work, &self.segmenter, &self.computing)
    }
}

impl SegmentSettings {
    fn model(&self) -> Chosen<'_> {
        Chosen {
            name: &self.model,
            weights: self.weights.as_deref(),
        }
    }

    /// Relative paths of a settings file are below its folder.
    pub fn move_below(&mut self, folder: &Path) {
        weights_below(folder, &mut self.weights);
    }

    /// Files and device, looked at before any work; the network is loaded when there is some.
    fn prepare(
        &self,
        computing: &Computing,
    ) -> Result<impl FnOnce() -> Result<Box<dyn Segmenter>, BuildError> + use<>> {
        let options = SegmenterOptions {
            corner_margin: self.corner_margin,
        };
        let files = match &self.model[..] {
            // It has no weights.
            "alpha" => ModelFiles::at("alpha", Path::new("")),
            _ => self.model().files(Task::Segmenter, computing)?,
        };
        let (name, compute) = (self.model.clone(), computing.open()?);
        Ok(move || Ok(segmenter(&name, &files, &options, &compute)?))
    }

    /// Finds what is wrong before any stage begins.
    pub fn check(&self, computing: &Computing) -> Result<()> {
        self.prepare(computing).map(drop)
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.model
    }
}

/// Runs the stage.
pub(super) fn segment_state(
    work: &Work,
    chosen: &SegmentSettings,
    computing: &Computing,
) -> Result<()> {
    let images = Images::open(&work.state)?;
    let load = chosen.prepare(computing)?;
    let mut entries = chosen.model().settings().to_vec();
    entries.push(("corner_margin", json!(chosen.corner_margin)));
    let options = work.options(batch_size(chosen.batch, 8));
    let (rows, settings) = (images.distinct(), settings(&entries));
    run_stage("masks", |progress| {
        segment(
            &images,
            &rows,
            &chosen.model,
            load,
            &settings,
            &options,
            progress,
        )
    })
}

/// A mask for every image of a folder.
fn segment_folder(
    segmenter: &dyn Segmenter,
    input: &Path,
    output: &Path,
    category: &str,
) -> Result<()> {
    let images = images_in(input)?;
    let mut stems: HashMap<PathBuf, &Path> = HashMap::new();
    for path in &images {
        let mask = Path::new(path.file_stem().unwrap_or_default()).with_extension("png");
        if let Some(other) = stems.insert(mask, path) {
            bail!(
                "{} and {} would have the same mask file; rename one",
                other.display(),
                path.display()
            );
        }
    }
    std::fs::create_dir_all(output)
        .with_context(|| format!("cannot make the folder {}", output.display()))?;
    let bar = progress_bar(images.len() as u64, "masks");
    let mut failed = 0;
    for path in &images {
        if !goes_on() {
            bar.finish_and_clear();
            return Err(Interrupted("stopped; finished masks stay".to_owned()).into());
        }
        if let Err(problem) = segment_file(segmenter, path, output, category)? {
            bar.suspend(|| say(format_args!("{}: {problem}", path.display())))?;
            failed += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(format_args!(
        "{} masks in {}",
        images.len() - failed,
        output.display()
    ))?;
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} images have no mask", images.len()),
    }
}

fn segment_file(
    segmenter: &dyn Segmenter,
    path: &Path,
    output: &Path,
    category: &str,
) -> Result<Result<(), String>> {
    let picture = match sources::open(path, category, DEFAULT_MAX_PIXELS) {
        Ok(picture) => picture,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let masks = match segmenter.segment(std::slice::from_ref(&picture)) {
        Ok(masks) => masks,
        Err(ModelError::Picture { problem, .. }) => return Ok(Err(problem)),
        Err(error) => return Err(error.into()),
    };
    let mask = masks.first().context("the model gave no mask")?;
    let name = Path::new(path.file_stem().unwrap_or_default()).with_extension("png");
    replace_file(&output.join(name), &encode(mask)?)?;
    Ok(Ok(()))
}

/// The images of a folder, in order of their names.
pub(super) fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let error = || format!("cannot read the folder {}", folder.display());
    let mut images = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(error)? {
        let path = entry.with_context(error)?.path();
        if path.is_file() && is_image(&path) {
            images.push(path);
        }
    }
    if images.is_empty() {
        bail!("{} holds no images", folder.display());
    }
    images.sort();
    Ok(images)
}
