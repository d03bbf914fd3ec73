//! `pastebank plan`.

use std::io::{BufWriter, Write, stdout};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::common::say;
use super::sampling::Sampling;
use crate::bank::write::replace_file_with;
use crate::plan::Plan;
use crate::sampler::recipe::RecipeSettings;
use crate::sampler::{Order, Sampler};

/// Draw plans and write them as JSON.
#[derive(Args)]
pub(super) struct PlanCommand {
    #[command(flatten)]
    sampling: Sampling,
    /// How many samples.
    #[arg(long, value_name = "N", required_unless_present = "explain")]
    count: Option<u64>,
    /// The first sample, counted over all epochs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Say in words and numbers what the recipe does with these packs, and print it as TOML,
    /// instead of drawing.
    #[arg(long, conflicts_with_all = ["count", "first", "out"])]
    explain: bool,
    /// File to write; standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl PlanCommand {
    pub fn run(self) -> Result<()> {
        let sampler = self.sampling.sampler()?;
        if self.explain {
            return explain(&self.sampling.recipe.settings()?, &sampler);
        }
        let end = self.first.saturating_add(self.count.unwrap_or(0));
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

/// Says what is drawn, and how to keep and change it.
fn explain(settings: &RecipeSettings, sampler: &Sampler) -> Result<()> {
    say(settings.explain(sampler.ground()).trim_end())?;
    let order = match sampler.order() {
        Order::Permutation => "each scene once, shuffled anew".to_owned(),
        Order::Sequential => "each scene once, in the pack's order".to_owned(),
        Order::RepeatFactor { threshold } => {
            format!("scenes by their repeat factor at {threshold}, shuffled anew")
        }
    };
    say(format_args!(
        "epoch       {} samples: {order}",
        sampler.epoch_length()
    ))?;
    say("\n# The recipe in full; save it as a .toml file, change it and give it to --recipe.")?;
    say(settings.to_toml()?.trim_end())
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
