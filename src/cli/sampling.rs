//! What samples are drawn from and how: the flags that `plan`, `compose` and `view` share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use super::common::{Packs, parse_canvas};
use super::recipe::{OrderFlag, RecipeFlags};
use crate::bank::ScenePack;
use crate::sampler::Sampler;

/// Packs, canvas, seed, recipe and order.
#[derive(Args, Clone)]
pub(super) struct Sampling {
    #[command(flatten)]
    pub packs: Packs,
    /// Folder of a scene pack of whole synthetic scenes, which are mixed in as often as the
    /// recipe's synthetic.probability says; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub synthetic: Vec<PathBuf>,
    /// Size of the output images.
    #[arg(long, value_name = "WxH", value_parser = parse_canvas, default_value = "1024x1024")]
    pub canvas: [u32; 2],
    /// Equal seeds draw equal samples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub recipe: RecipeFlags,
    #[command(flatten)]
    pub order: OrderFlag,
}

impl Sampling {
    /// Opens the packs and makes the sampler.
    pub fn sampler(&self) -> Result<Sampler> {
        // A wrong recipe is refused before anything is opened.
        let recipe = self.recipe.recipe()?;
        let (scenes, bank) = self.packs.open()?;
        let first_synthetic = scenes.len() as u64;
        let mut all = vec![scenes];
        for folder in &self.synthetic {
            all.push(ScenePack::open(folder)?);
        }
        let scenes = Arc::new(ScenePack::join(all)?);
        let parts = bank.parts().iter().map(|part| part.rows.clone());
        let weights = self.packs.bank.iter().map(|bank| bank.weight);
        let parts: Vec<_> = parts.zip(weights).collect();
        let mut sampler = Sampler::new(scenes, Arc::new(bank), recipe, self.canvas, self.seed)?;
        if !self.synthetic.is_empty() {
            sampler = sampler.with_synthetic(first_synthetic)?;
        }
        if parts.len() > 1 {
            sampler = sampler.with_bank_weights(parts)?;
        }
        Ok(sampler.with_order(self.order.epoch_order)?)
    }
}
