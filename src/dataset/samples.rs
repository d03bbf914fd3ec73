//! The samples of a data set, drawn by number: the one place that asks the sampler.

use rand::Rng;
use serde_json::{Map, Value, json};

use crate::bank::{CutoutBank, ScenePack};
use crate::plan::{Plan, SamplePlan};
use crate::sampler::random::Draws;
use crate::sampler::{Sampler, SamplerError, XPaste};

/// In place of an epoch's number, for the draws that replace samples.
const REDRAWS: u64 = u64::MAX;

/// What a composed data set is drawn from, and how.
#[derive(Debug)]
pub struct Samples<'a> {
    scenes: &'a ScenePack,
    bank: &'a CutoutBank,
    sampler: Sampler<'a>,
    seed: u64,
    /// The plan without samples: canvas, colour of the pad and which instances stay.
    head: Plan,
    recipe: Value,
}

/// One drawn sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drawn {
    pub plan: SamplePlan,
    /// One a layer: whether its label is dropped.
    pub ignored: Vec<bool>,
}

impl<'a> Samples<'a> {
    /// Samples of `canvas` width and height by a recipe. Equal seeds draw equal samples.
    ///
    /// # Errors
    /// [`SamplerError`] if the packs or settings cannot be drawn from.
    pub fn new(
        scenes: &'a ScenePack,
        bank: &'a CutoutBank,
        recipe: XPaste,
        canvas: [u32; 2],
        seed: u64,
    ) -> Result<Samples<'a>, SamplerError> {
        let settings = json!({
            "name": "xpaste",
            "scene_scale": recipe.scene_scale,
            "scene_flip": recipe.scene_flip,
            "layers": recipe.layers,
            "min_side": recipe.min_side,
            "max_side": recipe.max_side,
            "aspect_jitter": recipe.aspect_jitter,
            "flip": recipe.flip,
            "blend": recipe.blend,
            "keep": recipe.keep,
        });
        let sampler = Sampler::new(scenes, bank, recipe, canvas, seed)?;
        Ok(Samples {
            head: sampler.plan(0..0),
            recipe: settings,
            scenes,
            bank,
            sampler,
            seed,
        })
    }

    /// The scenes below.
    pub fn scenes(&self) -> &'a ScenePack {
        self.scenes
    }

    /// The cutouts that are pasted.
    pub fn bank(&self) -> &'a CutoutBank {
        self.bank
    }

    /// Width and height of every image.
    pub fn canvas(&self) -> [u32; 2] {
        self.head.canvas
    }

    /// Sample `number`; with `attempt` above 0 another one in its place. Equal numbers and
    /// attempts, equal samples.
    pub(super) fn draw(&self, number: u64, attempt: u32) -> Drawn {
        let index = match attempt {
            0 => number,
            // Counted over all epochs, so any number is a sample.
            _ => Draws::new(self.seed, REDRAWS, number)
                .stream(attempt.into())
                .next_u64(),
        };
        let plan = self.sampler.sample(index);
        Drawn {
            ignored: vec![false; plan.layers.len()],
            plan,
        }
    }

    /// A plan of one sample.
    pub(super) fn plan(&self, sample: SamplePlan) -> Plan {
        Plan {
            samples: vec![sample],
            ..self.head.clone()
        }
    }

    /// All that decides the samples but the packs, each setting of the recipe by itself.
    pub(super) fn settings(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert("canvas".to_owned(), json!(self.head.canvas));
        settings.insert("seed".to_owned(), json!(self.seed));
        flatten("recipe", &self.recipe, &mut settings);
        settings
    }
}

/// Objects by their keys, so that a difference is named by the setting it lies in.
fn flatten(name: &str, value: &Value, settings: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, settings)),
        value => drop(settings.insert(name.to_owned(), value.clone())),
    }
}
