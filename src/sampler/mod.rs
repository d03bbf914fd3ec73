//! Sampling: a recipe draws plans from a scene pack and a bank.
//!
//! All randomness of the project is here, and it is stateless: [`Sampler::sample`] gives the same
//! sample for an index whoever asks, in whatever order ([`random`]).

pub mod colour;
pub mod placement;
pub mod random;
mod sizes;
mod xpaste;

use std::collections::BTreeMap;
use std::ops::Range;

use rand::Rng;

use crate::bank::{BankError, CutoutBank, ScenePack};
use crate::geometry::Size;
use crate::plan::{Plan, SamplePlan};
use random::{Draws, shuffled};
use sizes::Sizes;
pub use xpaste::XPaste;

/// A sampler that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    /// There is nothing to draw from.
    #[error("the {pack} is empty; at least one row was expected")]
    Empty {
        /// `scene pack` or `bank`.
        pack: &'static str,
    },
    /// One id means two things: what is pasted would get a wrong label.
    #[error(
        "category id {id} is {scene_name:?} in the scenes and {bank_name:?} in the bank; make the \
         bank with the scenes' categories (`pastebank import --categories`)"
    )]
    Categories {
        /// The id.
        id: i64,
        /// Its name in the scene pack.
        scene_name: String,
        /// Its name in the bank.
        bank_name: String,
    },
    /// A shard cannot be read any more.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A setting of the recipe is of no use.
    #[error("recipe setting `{field}`: {problem} was expected")]
    Setting {
        /// The field.
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// The canvas has no pixels or too many.
    #[error("canvas {width}x{height}: sides of 1..=8192 were expected")]
    Canvas {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// In place of a sample's index, for the draw that orders an epoch's scenes.
const ORDER: u64 = u64::MAX;

/// Draws plans by a recipe.
///
/// ```no_run
/// use pastebank::bank::{CutoutBank, ScenePack};
/// use pastebank::sampler::{Sampler, XPaste};
/// let scenes = ScenePack::open("scenes".as_ref())?;
/// let bank = CutoutBank::open("bank".as_ref())?;
/// let sampler = Sampler::new(&scenes, &bank, XPaste::default(), [1024, 1024], 0)?;
/// let plan = sampler.plan(0..16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sampler<'a> {
    ground: Ground<'a>,
    recipe: XPaste,
    seed: u64,
}

/// What a recipe draws from.
#[derive(Debug)]
struct Ground<'a> {
    scenes: &'a ScenePack,
    bank: &'a CutoutBank,
    canvas: Size,
    /// The categories that have cutouts, by id, with the rows of each.
    categories: Vec<(i64, Vec<u64>)>,
    sizes: Sizes,
}

impl<'a> Sampler<'a> {
    /// A sampler over these packs. Reads every category once, which takes some milliseconds for a
    /// million cutouts.
    ///
    /// # Errors
    /// [`SamplerError`] if there are no scenes, or no cutouts where layers are wanted, if scenes and
    /// bank name a category differently, or a setting is of no use.
    pub fn new(
        scenes: &'a ScenePack,
        bank: &'a CutoutBank,
        recipe: XPaste,
        canvas: [u32; 2],
        seed: u64,
    ) -> Result<Sampler<'a>, SamplerError> {
        recipe.check()?;
        let [width, height] = canvas;
        let canvas = Size::canvas(width, height).ok_or(SamplerError::Canvas { width, height })?;
        if scenes.is_empty() {
            return Err(SamplerError::Empty { pack: "scene pack" });
        }
        if bank.is_empty() && recipe.layers[1] > 0 {
            return Err(SamplerError::Empty { pack: "bank" });
        }
        check_categories(scenes, bank)?;
        scenes.check_lengths()?;
        bank.check_lengths()?;
        let mut categories: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (row, category) in (0u64..).zip(bank.category_ids()) {
            categories.entry(category).or_default().push(row);
        }
        let ground = Ground {
            scenes,
            bank,
            canvas,
            categories: categories.into_iter().collect(),
            // The scenes' own objects say best how large an object in a scene is.
            sizes: Sizes::new([scenes.manifest(), bank.manifest()]),
        };
        Ok(Sampler {
            ground,
            recipe,
            seed,
        })
    }

    /// Sample `index`, counted over all epochs. Every epoch shows each scene once, in an order of
    /// its own.
    pub fn sample(&self, index: u64) -> SamplePlan {
        let scenes = self.ground.scenes.len() as u64;
        let (epoch, position) = (index / scenes, index % scenes);
        let order = Draws::new(self.seed, epoch, ORDER).stream(0).next_u64();
        let scene = shuffled(position, scenes, order) as usize;
        let draws = Draws::new(self.seed, epoch, index);
        self.recipe.sample(&self.ground, &draws, scene)
    }

    /// A plan of the samples in `range`.
    pub fn plan(&self, range: Range<u64>) -> Plan {
        Plan {
            canvas: [self.ground.canvas.width(), self.ground.canvas.height()],
            pad: [114, 114, 114],
            keep: self.recipe.keep,
            samples: range.map(|index| self.sample(index)).collect(),
        }
    }
}

/// Refuses packs in which one category id has two names.
fn check_categories(scenes: &ScenePack, bank: &CutoutBank) -> Result<(), SamplerError> {
    let names = scenes.manifest().names();
    for category in &bank.manifest().categories {
        match names.get(&category.id) {
            Some(&name) if name != category.name => {
                return Err(SamplerError::Categories {
                    id: category.id,
                    scene_name: name.to_owned(),
                    bank_name: category.name.clone(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}
