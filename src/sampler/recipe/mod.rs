//! The recipes of Simple Copy-Paste (arXiv 2012.07177) and X-Paste (arXiv 2212.03863), both, and
//! what lies between, as settings.

mod bank;
mod check;
mod copy;
mod explain;
mod layer;
mod read;
mod scene;
mod schedule;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod values;

use rand::RngExt;

pub use read::RecipeError;
pub use settings::{
    BUILT_IN, BankSettings, Categories, CopySettings, IgnoreSettings, Limits, RecipeSettings,
    Region, Reject, SceneSettings, Schedule, ScheduleStep, SyntheticSettings,
};
pub use values::{BlendChoice, CategoryWeights, KEEP_XPASTE, KeepRule, SizeSource, SizeTable, Use};

use super::{At, CategorySampling, Ground, Recipe, Sample, SamplerError};
use crate::plan::Keep;

impl Recipe for RecipeSettings {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        let draws = at.draws();
        let mut draw = draws.stream(streams::USE);
        let [used, chosen, synthetic] = std::array::from_fn(|_| draw.random::<f64>());
        let mut scene = at.scene;
        let synthetic_scenes = ground.synthetic_scenes();
        let is_synthetic = synthetic < self.synthetic.probability && !self.is_over(at);
        if is_synthetic && !synthetic_scenes.is_empty() {
            scene = draws
                .stream(streams::SYNTHETIC)
                .random_range(synthetic_scenes);
        }
        let mut draw = draws.stream(streams::SCENE);
        let SceneSettings { scale, flip, color } = &self.scene;
        sample.plan.scene = scene::place(*scale, *flip, ground, scene, &mut draw);
        sample.plan.scene.color = color.draw(&mut draw).to_matrix();
        sample.plan.layers.clear();
        sample.ignored.clear();
        // The last sample's may be the same row of another pack.
        sample.scratch.mip.forget();
        if used >= self.probability_at(at) {
            return;
        }
        let has = |share: f64| chosen < share;
        if matches!(self.layers, Use::Bank | Use::Both)
            || matches!(self.layers, Use::Choice(share) if !has(share))
        {
            self.bank.draw(ground, &draws, sample);
        }
        if matches!(self.layers, Use::Copy | Use::Both)
            || matches!(self.layers, Use::Choice(share) if has(share))
        {
            self.copy.draw(ground, &draws, sample);
        }
    }

    fn keep(&self) -> Keep {
        self.keep.0
    }

    fn pad(&self) -> [u8; 3] {
        self.pad
    }

    fn settings(&self) -> serde_json::Value {
        // What the recipe and its table are called changes no sample; and not every path is text.
        let mut unnamed = self.clone();
        unnamed.bank.sizes = SizeSource::Packs;
        let mut settings = serde_json::to_value(unnamed).unwrap_or_default();
        if let Some(settings) = settings.as_object_mut() {
            settings.remove("name");
        }
        if let (SizeSource::Table(table), Some(bank)) =
            (&self.bank.sizes, settings.pointer_mut("/bank"))
        {
            bank["sizes"] = serde_json::json!({"xxh3": format!("{:016x}", table.checksum)});
        }
        settings
    }

    fn check(&self, ground: &Ground) -> Result<(), SamplerError> {
        self.check_settings()?;
        self.check_ground(ground)
    }

    fn is_scheduled(&self) -> bool {
        !self.schedule.steps.is_empty() || self.schedule.without_last_epochs > 0
    }

    fn categories(&self) -> CategorySampling {
        if !self.uses_bank() {
            return CategorySampling::Uniform;
        }
        match &self.bank.categories {
            Categories::Uniform | Categories::Present => CategorySampling::Uniform,
            Categories::ByInstance => CategorySampling::ByInstance,
            Categories::RepeatFactor => CategorySampling::RepeatFactor {
                threshold: self.bank.repeat_threshold,
            },
            Categories::Weights(weights) => CategorySampling::Weights(weights.0.clone()),
        }
    }
}
