//! `pastebank plan`.

use std::io::{BufWriter, Write, stdout};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::common::{Packs, parse_canvas};
use crate::bank::write::replace_file_with;
use crate::plan::Plan;
use crate::sampler::{RecipeSettings, Sampler};

/// Draw plans and write them as JSON.
#[derive(Args)]
pub(super) struct PlanCommand {
    #[command(flatten)]
    packs: Packs,
    /// Size of the output images.
    #[arg(long, value_name = "WxH", value_parser = parse_canvas, default_value = "1024x1024")]
    canvas: [u32; 2],
    /// How many samples.
    #[arg(long, value_name = "N")]
    count: u64,
    /// The first sample, counted over all epochs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Equal seeds draw equal plans.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What to draw.
    #[arg(long, value_enum, default_value_t = Recipe::Xpaste)]
    recipe: Recipe,
    /// File to write; standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Recipe {
    /// Large-scale jitter below, up to 20 cutouts of uniformly drawn categories above.
    Xpaste,
}

impl PlanCommand {
    pub fn run(self) -> Result<()> {
        let (scenes, bank) = self.packs.open()?;
        let recipe = match self.recipe {
            Recipe::Xpaste => Arc::new(RecipeSettings::xpaste()),
        };
        let (scenes, bank) = (Arc::new(scenes), Arc::new(bank));
        let sampler = Sampler::new(scenes, bank, recipe, self.canvas, self.seed)?;
        let end = self.first.saturating_add(self.count);
        let plan = Drawn {
            sampler: &sampler,
            head: sampler.plan(0..0),
            samples: self.first..end,
        };
        match &self.out {
            None => write(stdout().lock(), &plan),
            Some(path) => replace_file_with(path, |file| write(file, &plan)),
        }
    }
}

/// A plan whose samples are drawn while they are written, so that none waits in memory.
struct Drawn<'a> {
    sampler: &'a Sampler,
    /// The plan without samples.
    head: Plan,
    samples: Range<u64>,
}

impl Serialize for Drawn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_map(None)?;
        plan.serialize_entry("canvas", &self.head.canvas)?;
        plan.serialize_entry("pad", &self.head.pad)?;
        plan.serialize_entry("keep", &self.head.keep)?;
        plan.serialize_entry("samples", &Samples(self))?;
        plan.end()
    }
}

struct Samples<'a>(&'a Drawn<'a>);

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Without a length: a range may hold more than a list may have.
        let mut list = serializer.serialize_seq(None)?;
        for index in self.0.samples.clone() {
            list.serialize_element(&self.0.sampler.sample(index).plan)?;
        }
        list.end()
    }
}

fn write(out: impl Write, plan: &Drawn<'_>) -> Result<()> {
    let mut out = BufWriter::new(out);
    serde_json::to_writer(&mut out, plan).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
