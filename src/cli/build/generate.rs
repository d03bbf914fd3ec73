//! `pastebank build generate`.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::common::{Usage, catch_interrupts};
use super::common::{
    Work, below, categories, content_hash, of_build, run_stage, settings, weights_below,
};
use super::model::{Chosen, Computing, batch_size};
use crate::bank::Category;
use crate::build::generate::{Task, generate};
use crate::build::images::fix_categories;
use crate::build::models::Request;
use crate::build::models::licences;
use crate::build::models::registry::{GeneratorOptions, generator};
use crate::build::prompts::{Prompts, Subject, XPASTE_TEMPLATE, image_seed};

/// Images of a category, unless told otherwise: as many as X-Paste makes.
const DEFAULT_COUNT: u64 = 100;

/// Make images from text: `a photo of a single {name}`, 100 for each category, 50 steps, guidance
/// 7.5, 512x512, as X-Paste does, unless told otherwise.
#[derive(Args)]
pub(in crate::cli) struct Generate {
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    generate: GenerateSettings,
    #[command(flatten)]
    computing: Computing,
    /// The categories: JSON (a COCO or LVIS file, a manifest, a list of {id, name}) or text with a
    /// name on each line.
    #[arg(long, value_name = "FILE")]
    categories: Option<PathBuf>,
}

/// `[generate]` of a settings file.
#[derive(Args, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerateSettings {
    /// Name of the model; `pastebank build models` lists them.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its weights: a folder, a file, or a Hugging Face id with its revision (OWNER/NAME@REVISION);
    /// the authors' own id unless given.
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// What is to be seen, with {name}, {definition}, {synonym}.
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "prompts")]
    prompt: Option<String>,
    /// Templates, one a line, or JSON {"category": ["prompt", …]}; they take turns.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// What is not to be seen.
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// Images of each category [default: 100].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// From which every image's own seed is derived, with its category and number [default: 0].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only these categories, by name or id.
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    #[serde(default)]
    only: Vec<String>,
    /// ddim, euler-ancestral, unipc or dpm-solver++ [default: the model's own].
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// Steps of it [default: 50; sdxl-turbo: 4].
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// How closely the text is followed [default: 7.5; sdxl-turbo: 0].
    #[arg(long, value_name = "FACTOR")]
    guidance: Option<f64>,
    /// Width and height in pixels, multiples of 8 [default: 512; sdxl: 1024].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Images at once; halved by itself when memory runs out.
    #[arg(long, value_name = "N")]
    batch: Option<NonZero<usize>>,
}

impl Generate {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        let file = self.categories.as_deref();
        make(&self.work, &self.generate, &self.computing, file)
    }
}

/// Runs the stage.
pub(super) fn make(
    work: &Work,
    chosen: &GenerateSettings,
    computing: &Computing,
    file: Option<&Path>,
) -> Result<()> {
    let files = chosen.model().files(licences::Task::Generator, computing)?;
    let none = || Err(Usage("--categories is needed".to_owned()).into());
    let categories = categories(&work.state, file, none)?;
    let tasks = chosen.tasks(&categories)?;
    fix_categories(&work.state, &categories).map_err(of_build)?;
    let options = GeneratorOptions {
        scheduler: chosen.scheduler.clone(),
        steps: chosen.steps,
        guidance: chosen.guidance,
        size: chosen.size,
    };
    let compute = computing.open()?;
    let load = || Ok(generator(&chosen.model, &files, &options, &compute)?);
    let mut entries = chosen.model().settings().to_vec();
    let prompts = chosen.prompts.as_deref().map(content_hash).transpose()?;
    let prompts = prompts.map(|hash| json!({"xxh3": hash}));
    entries.push(("prompt", prompts.unwrap_or(json!(chosen.template()))));
    entries.push(("precision", json!(computing.precision_name())));
    entries.push(("negative_prompt", json!(chosen.negative_prompt)));
    entries.push(("seed", json!(chosen.seed.unwrap_or(0))));
    entries.push(("scheduler", json!(chosen.scheduler)));
    entries.push(("steps", json!(chosen.steps)));
    entries.push(("guidance", json!(chosen.guidance)));
    entries.push(("size", json!(chosen.size)));
    let (settings, options) = (
        settings(&entries),
        work.options(batch_size(chosen.batch, 1)),
    );
    run_stage("images", |progress| {
        generate(tasks, load, &settings, &options, progress)
    })
}

impl GenerateSettings {
    /// Finds what is wrong before any stage begins.
    pub fn check(&self, computing: &Computing) -> Result<()> {
        self.model().files(licences::Task::Generator, computing)?;
        match &self.prompts {
            Some(file) => Prompts::open(file)?,
            None => Prompts::template(self.template())?,
        };
        Ok(())
    }

    fn model(&self) -> Chosen<'_> {
        Chosen {
            name: &self.model,
            weights: self.weights.as_deref(),
        }
    }

    /// Relative paths of a settings file are below its folder.
    pub fn move_below(&mut self, folder: &Path) {
        weights_below(folder, &mut self.weights);
        below(folder, self.prompts.as_mut());
    }

    fn template(&self) -> &str {
        self.prompt.as_deref().unwrap_or(XPASTE_TEMPLATE)
    }

    fn tasks(&self, categories: &[Category]) -> Result<Vec<Task>> {
        let prompts = match &self.prompts {
            Some(file) => Prompts::open(file)?,
            None => Prompts::template(self.template())?,
        };
        let mut tasks = Vec::new();
        for category in self.wanted(categories)? {
            let subject = Subject::new(category.id, &category.name, &category.other);
            for index in 0..self.count.unwrap_or(DEFAULT_COUNT) {
                let request = Request {
                    prompt: prompts.prompt(&subject, index)?,
                    negative_prompt: self.negative_prompt.clone().unwrap_or_default(),
                    seed: image_seed(self.seed.unwrap_or(0), category.id, index),
                };
                tasks.push(Task::new(category.id, index, request));
            }
        }
        Ok(tasks)
    }

    fn wanted<'a>(&self, categories: &'a [Category]) -> Result<Vec<&'a Category>> {
        if self.only.is_empty() {
            return Ok(categories.iter().collect());
        }
        let mut wanted = Vec::new();
        for name in &self.only {
            let is_it = |c: &&Category| c.name == *name || c.id.to_string() == *name;
            match categories.iter().find(is_it) {
                Some(category) => wanted.push(category),
                None => bail!(
                    "--only: {name:?} is none of the {} categories",
                    categories.len()
                ),
            }
        }
        Ok(wanted)
    }
}
