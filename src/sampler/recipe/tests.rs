//! Recipes held against their formulas, with fixed seeds.

mod bank;
mod copy;
mod settings;
mod tiny;
mod whole;

use std::sync::Arc;

use super::RecipeSettings;
use crate::plan::{CheckedPlan, LayerPlan, Plan};
use crate::sampler::test_packs::{TestCutout, TestPacks, TestScene};
use crate::sampler::{Recipe, Sample, Sampler};

fn sampler(packs: &TestPacks, settings: &RecipeSettings, canvas: [u32; 2]) -> Sampler {
    let recipe = Arc::new(settings.clone());
    Sampler::new(packs.scenes.clone(), packs.bank.clone(), recipe, canvas, 17).unwrap()
}

/// Draws samples, and holds them against the limits of plans.
fn samples(
    packs: &TestPacks,
    settings: &RecipeSettings,
    canvas: [u32; 2],
    count: u64,
) -> Vec<Sample> {
    drawn(&sampler(packs, settings, canvas), count)
}

fn drawn(sampler: &Sampler, count: u64) -> Vec<Sample> {
    let samples: Vec<Sample> = (0..count).map(|index| sampler.sample(index)).collect();
    let canvas = sampler.ground().canvas;
    let plan = Plan {
        canvas: [canvas.width(), canvas.height()],
        pad: sampler.recipe().pad(),
        keep: sampler.recipe().keep(),
        samples: samples.iter().map(|sample| sample.plan.clone()).collect(),
    };
    CheckedPlan::new(&plan, &sampler.ground().scenes, &sampler.ground().bank).unwrap();
    for sample in &samples {
        assert_eq!(sample.ignored.len(), sample.plan.layers.len());
    }
    samples
}

fn layers(samples: &[Sample]) -> impl Iterator<Item = &LayerPlan> {
    samples.iter().flat_map(|sample| &sample.plan.layers)
}

/// How often each value from 0 to `kinds` - 1 comes.
fn tally(kinds: usize, values: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let mut counts = vec![0; kinds];
    values.into_iter().for_each(|value| counts[value] += 1);
    counts
}

/// A scene of 100x80 without instances.
fn plain_scene() -> TestScene {
    TestScene {
        size: [100, 80],
        level: 200,
        ..TestScene::default()
    }
}

/// X-Paste's recipe with squares of one size that are never rejected.
fn steady() -> RecipeSettings {
    let mut settings = RecipeSettings::xpaste();
    settings.bank.reject_below = 0.0;
    settings.bank.aspect_jitter = 0.0;
    settings.bank.unmeasured = Some([0.2, 0.2]);
    settings
}

/// A square of category 1 without a source.
fn square(category: i64) -> TestCutout {
    TestCutout::new([64, 64], category)
}
