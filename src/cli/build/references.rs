//! `pastebank build references`.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::common::catch_interrupts;
use super::common::{Work, below, run_stage, settings, weights_below};
use super::model::{Chosen, Computing, batch_size};
use crate::bank::CutoutBank;
use crate::build::images::categories_of_state;
use crate::build::models::licences::Task;
use crate::build::models::registry::image_embedder;
use crate::build::references::references;

/// Real objects of a category, unless told otherwise.
const DEFAULT_MOST: NonZero<usize> = NonZero::new(100).unwrap();

/// Learn what real objects look like to a model (CLIP or DINOv2), from a bank that `pack` made:
/// DiverGen's inter-similarity, which `score` then measures.
#[derive(Args)]
pub(in crate::cli) struct References {
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    references: ReferenceSettings,
    #[command(flatten)]
    computing: Computing,
}

/// `[references]` of a settings file.
#[derive(Args, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceSettings {
    /// Folder of the bank of real objects; its categories are known by their names.
    #[arg(long, value_name = "DIR")]
    bank: PathBuf,
    /// Name of the model; `pastebank build models` lists them.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its weights: a folder, a file, or a Hugging Face id with its revision (OWNER/NAME@REVISION);
    /// the authors' own id unless given.
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// Most objects of a category [default: 100].
    #[arg(long, value_name = "N")]
    most: Option<NonZero<usize>>,
    /// Objects at once; halved by itself when memory runs out.
    #[arg(long, value_name = "N")]
    batch: Option<NonZero<usize>>,
}

impl References {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        learn(&self.work, &self.references, &self.computing)
    }
}

impl ReferenceSettings {
    /// Finds what is wrong before any stage begins.
    pub fn check(&self, computing: &Computing) -> Result<()> {
        self.model().files(Task::Scorer, computing)?;
        CutoutBank::open(&self.bank)?;
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
        below(folder, Some(&mut self.bank));
    }
}

/// Runs the stage.
pub(super) fn learn(work: &Work, chosen: &ReferenceSettings, computing: &Computing) -> Result<()> {
    let bank = CutoutBank::open(&chosen.bank)?;
    let categories = categories_of_state(&work.state)?;
    let most = chosen.most.unwrap_or(DEFAULT_MOST);
    let files = chosen.model().files(Task::Scorer, computing)?;
    let compute = computing.open()?;
    let load = || Ok(image_embedder(&chosen.model, &files, &compute)?);
    let mut entries = chosen.model().settings().to_vec();
    entries.push(("bank", json!(bank.manifest().fingerprint())));
    entries.push(("most", json!(most)));
    let (settings, options) = (
        settings(&entries),
        work.options(batch_size(chosen.batch, 16)),
    );
    run_stage("references", |progress| {
        references(
            &bank,
            &categories,
            most,
            load,
            &settings,
            &options,
            progress,
        )
    })
}
