//! What samples are drawn from and how: the flags that `plan`, `compose` and `view` share.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use super::common::{Packs, Usage, parse_canvas};
use super::recipe::{OrderFlag, RecipeFlags};
use crate::sampler::Sampler;

/// Packs, canvas, seed, recipe and order.
#[derive(Args, Clone)]
pub(super) struct Sampling {
    #[command(flatten)]
    pub packs: Packs,
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
        let settings = self.recipe.settings()?;
        let is_mixed = settings.synthetic.probability > 0.0;
        if is_mixed == self.packs.synthetic.is_empty() {
            let problem = match is_mixed {
                true => "synthetic.probability is above 0: --synthetic DIR was expected",
                false => "--synthetic: the recipe's synthetic.probability is 0; --set it above",
            };
            return Err(Usage(problem.to_owned()).into());
        }
        let (scenes, bank) = self.packs.open()?;
        let given = scenes.parts().get(self.packs.scenes.len());
        let first_synthetic = given.map(|part| part.rows.start as u64);
        let parts = bank.parts().iter().map(|part| part.rows.clone());
        let weights = self.packs.bank.iter().map(|bank| bank.weight);
        let parts: Vec<_> = parts.zip(weights).collect();
        let (scenes, bank) = (Arc::new(scenes), Arc::new(bank));
        let recipe = Arc::new(settings);
        let mut sampler = Sampler::new(scenes, bank, recipe, self.canvas, self.seed)?;
        if let Some(first) = first_synthetic {
            sampler = sampler.with_synthetic(first)?;
        }
        if parts.len() > 1 {
            sampler = sampler.with_bank_weights(parts)?;
        }
        Ok(sampler.with_order(self.order.epoch_order)?)
    }
}
