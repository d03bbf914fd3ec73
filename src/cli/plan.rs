//! `pastebank plan`.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::common::{Packs, parse_canvas};
use crate::sampler::{Sampler, XPaste};

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
            Recipe::Xpaste => XPaste::default(),
        };
        let sampler = Sampler::new(&scenes, &bank, recipe, self.canvas, self.seed)?;
        let end = self.first.saturating_add(self.count);
        let plan = sampler.plan(self.first..end);
        match &self.out {
            None => write(stdout().lock(), &plan),
            Some(path) => {
                let text = serde_json::to_vec(&plan)?;
                Ok(crate::bank::write::replace_file(path, &text)?)
            }
        }
    }
}

fn write(out: impl Write, plan: &crate::plan::Plan) -> Result<()> {
    let mut out = BufWriter::new(out);
    serde_json::to_writer(&mut out, plan).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
