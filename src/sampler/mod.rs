//! Sampling: a recipe draws plans from a scene pack and a bank.
//!
//! All randomness of the project is here, and it is stateless: [`Sampler::draw`] gives the same
//! sample for a seed, an epoch and an index whoever asks, in whatever order ([`random`]). Which
//! scene comes when is the [`Order`]'s; what is done with it is the [`Recipe`]'s, which draws from
//! a [`Ground`].

pub mod colour;
mod error;
mod ground;
mod groups;
mod identity;
mod links;
mod order;
pub mod placement;
pub mod random;
pub mod recipe;
mod sizes;
#[cfg(test)]
pub(crate) mod test_packs;
mod weights;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use rand::RngExt;

use crate::bank::{CutoutBank, ScenePack};
use crate::geometry::Size;
use crate::plan::{ColorMatrix, Keep, Plan, SamplePlan, ScenePlan};
use colour::SceneMip;
pub use error::SamplerError;
pub use ground::Ground;
use groups::Candidate;
pub use order::Order;
use order::Ordered;
use placement::Taken;
use random::Draws;
pub use recipe::RecipeSettings;
pub use sizes::RelativeSize;
pub use weights::Weights;

/// What is done with a scene: the part of sampling that a user may write in code.
pub trait Recipe: Debug + Send + Sync {
    /// Draws one sample into `sample`, which comes without layers and with the scene unplaced. Its
    /// memory is used again: nothing is allocated once its lists are long enough.
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample);

    /// Which instances stay in the samples (rule 14).
    fn keep(&self) -> Keep;

    /// Colour of the canvas where the scene is not.
    fn pad(&self) -> [u8; 3];

    /// All that the samples depend on, as JSON: a loader's state carries it, and a state of
    /// another recipe is refused.
    fn settings(&self) -> serde_json::Value;

    /// Refuses a ground that the recipe cannot draw from, and settings of no use.
    ///
    /// # Errors
    /// [`SamplerError`] names the setting or the pack.
    fn check(&self, ground: &Ground) -> Result<(), SamplerError>;

    /// Whether samples depend on [`At::step`] or [`At::epochs`].
    fn is_scheduled(&self) -> bool {
        false
    }

    /// How [`Ground::draw_cutout`] draws the category of a layer.
    fn categories(&self) -> CategorySampling {
        CategorySampling::Uniform
    }
}

/// How likely the categories that have cutouts are drawn. [`Weights`] multiply on top.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CategorySampling {
    /// All alike.
    #[default]
    Uniform,
    /// By their number of cutouts: every cutout of the bank is as likely.
    ByInstance,
    /// By LVIS' repeat factors over the scenes.
    RepeatFactor {
        /// Categories in fewer than this share of the scenes are drawn more often.
        threshold: f64,
    },
    /// By these weights; categories that are not listed never.
    Weights(BTreeMap<i64, f64>),
}

/// Which sample of a run is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Position in the epoch's order.
    pub index: u64,
    /// The batch's number over all epochs: for schedules.
    pub step: u64,
    /// Epochs of the run, if it ends.
    pub epochs: Option<u64>,
    /// The scene of the pack.
    pub scene: u64,
    /// 0, or the number of the redraw after something could not be decoded.
    pub attempt: u32,
}

impl At {
    /// The draws of this sample.
    pub fn draws(&self) -> Draws {
        Draws::new(self.seed, self.epoch, self.index).redraw(self.attempt)
    }
}

/// One drawn sample; its lists are reused from sample to sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The scene and its layers.
    pub plan: SamplePlan,
    /// One a layer: whether its label is dropped ("ignore"), so that it is pasted but not taught.
    pub ignored: Vec<bool>,
    scratch: Scratch,
}

/// What a recipe needs for a while; kept with the sample so that drawing allocates nothing.
#[derive(Clone, Debug, Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    categories: Vec<i64>,
    taken: Taken,
    mip: SceneMip,
}

impl Default for Sample {
    /// No layers on scene 0, as one pixel.
    fn default() -> Sample {
        Sample {
            plan: SamplePlan {
                scene: unplaced(0),
                layers: Vec::new(),
            },
            ignored: Vec::new(),
            scratch: Scratch::default(),
        }
    }
}

/// A scene as one pixel.
fn unplaced(scene: u64) -> ScenePlan {
    ScenePlan {
        index: scene,
        resized: [1, 1],
        offset: [0, 0],
        flip: false,
        color: ColorMatrix::default(),
    }
}

impl PartialEq for Sample {
    /// Whether the samples are the same; what their memory holds besides does not count.
    fn eq(&self, other: &Sample) -> bool {
        self.plan == other.plan && self.ignored == other.ignored
    }
}

/// Draws samples by a recipe. A clone shares the packs, the indices and the recipe.
///
/// ```no_run
/// use std::sync::Arc;
/// use pastebank::bank::{CutoutBank, ScenePack};
/// use pastebank::sampler::{RecipeSettings, Sampler};
/// let scenes = Arc::new(ScenePack::open("scenes".as_ref())?);
/// let bank = Arc::new(CutoutBank::open("bank".as_ref())?);
/// let recipe = Arc::new(RecipeSettings::xpaste());
/// let sampler = Sampler::new(scenes, bank, recipe, [1024, 1024], 0)?;
/// let plan = sampler.plan(0..16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    ground: Ground,
    recipe: Arc<dyn Recipe>,
    order: Ordered,
    seed: u64,
}

/// Scenes that are drawn for one sample, the first included, before it is given up since none of
/// them can be decoded.
pub(crate) const MOST_ATTEMPTS: u32 = 17;
/// The draw of another scene where the first cannot be decoded.
const REDRAWN_SCENE_STREAM: u64 = 1 << 40;

impl Sampler {
    /// A sampler over these packs.
    ///
    /// # Errors
    /// [`SamplerError`] if there are no scenes, or no cutouts where the recipe wants some, if
    /// scenes and bank name a category differently, or a setting is of no use.
    pub fn new(
        scenes: Arc<ScenePack>,
        bank: Arc<CutoutBank>,
        recipe: Arc<dyn Recipe>,
        canvas: [u32; 2],
        seed: u64,
    ) -> Result<Sampler, SamplerError> {
        let [width, height] = canvas;
        let canvas = Size::canvas(width, height).ok_or(SamplerError::Canvas { width, height })?;
        let ground = Ground::new(scenes, bank, canvas, &recipe.categories())?;
        recipe.check(&ground)?;
        Ok(Sampler {
            order: Ordered::new(Order::default(), &ground)?,
            ground,
            recipe,
            seed,
        })
    }

    /// The same sampler with another order of the scenes.
    ///
    /// # Errors
    /// [`SamplerError::Value`] for a threshold that is no share.
    pub fn with_order(mut self, order: Order) -> Result<Sampler, SamplerError> {
        self.order = Ordered::new(order, &self.ground)?;
        Ok(self)
    }

    /// The same sampler over several banks that were joined to one: a layer's bank is drawn first,
    /// by these weights, then a category that it has, then a cutout of it. Rows in no part are
    /// never drawn.
    ///
    /// # Errors
    /// [`SamplerError::Value`] for rows that the bank does not have, and weights that are negative,
    /// not finite or all 0.
    pub fn with_bank_weights(
        mut self,
        parts: Vec<(Range<usize>, f64)>,
    ) -> Result<Sampler, SamplerError> {
        self.ground.set_parts(parts, &self.recipe.categories())?;
        Ok(self)
    }

    /// The same sampler where the scenes from `first` on are whole synthetic scenes: no part of an
    /// epoch's order, they come as often as the recipe says.
    ///
    /// # Errors
    /// [`SamplerError::Value`] if no other scene is left, or there is no scene `first`.
    pub fn with_synthetic(mut self, first: u64) -> Result<Sampler, SamplerError> {
        self.ground
            .set_synthetic(first, &self.recipe.categories())?;
        self.order = Ordered::new(self.order.order, &self.ground)?;
        self.recipe.check(&self.ground)?;
        Ok(self)
    }

    /// Sets weights of categories and cutouts for all samples that are drawn from now on.
    ///
    /// # Errors
    /// [`SamplerError::Value`] for weights that are negative, not finite, too many or all 0; the
    /// weights from before hold then.
    pub fn set_weights(&mut self, weights: Weights) -> Result<(), SamplerError> {
        self.ground.set_weights(weights, &self.recipe.categories())
    }

    /// The weights that are set.
    pub fn weights(&self) -> &Weights {
        self.ground.weights()
    }

    /// What is drawn from.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What draws.
    pub fn recipe(&self) -> &Arc<dyn Recipe> {
        &self.recipe
    }

    /// How an epoch goes through the scenes.
    pub fn order(&self) -> Order {
        self.order.order
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Samples of an epoch.
    pub fn epoch_length(&self) -> u64 {
        self.order.length()
    }

    /// The scene at position `index` of an epoch.
    pub fn scene_at(&self, epoch: u64, index: u64) -> u64 {
        self.order.scene_at(self.seed, epoch, index)
    }

    /// Draws sample `index` of an epoch into `sample`. A redraw, with `attempt` above 0, takes a
    /// uniform other scene.
    pub fn draw(
        &self,
        epoch: u64,
        index: u64,
        step: u64,
        epochs: Option<u64>,
        attempt: u32,
        sample: &mut Sample,
    ) {
        let mut at = At {
            seed: self.seed,
            epoch,
            index,
            step,
            epochs,
            scene: 0,
            attempt,
        };
        at.scene = match attempt {
            0 => self.scene_at(epoch, index),
            _ => {
                let mut draw = at.draws().stream(REDRAWN_SCENE_STREAM);
                draw.random_range(0..self.ground.real_scenes())
            }
        };
        // What an earlier sample left must not show in this one, whatever the recipe sets.
        sample.plan.scene = unplaced(at.scene);
        sample.plan.layers.clear();
        sample.ignored.clear();
        self.recipe.draw(&self.ground, &at, sample);
    }

    /// Sample `index`, counted over all epochs, of an endless run in batches of one.
    pub fn sample(&self, index: u64) -> Sample {
        self.sample_again(index, 0)
    }

    /// As [`Sampler::sample`]; with `attempt` above 0 over another scene in its place.
    pub(crate) fn sample_again(&self, index: u64, attempt: u32) -> Sample {
        let length = self.epoch_length();
        let (epoch, position) = (index / length, index % length);
        let mut sample = Sample::default();
        self.draw(epoch, position, index, None, attempt, &mut sample);
        sample
    }

    /// A plan of the samples in `range`, as [`Sampler::sample`] draws them.
    pub fn plan(&self, range: Range<u64>) -> Plan {
        Plan {
            canvas: [self.ground.canvas.width(), self.ground.canvas.height()],
            pad: self.recipe.pad(),
            keep: self.recipe.keep(),
            samples: range.map(|index| self.sample(index).plan).collect(),
        }
    }
}
