//! What layers of the bank and of a second scene have in common.

use super::settings::IgnoreSettings;
use super::values::BlendChoice;
use crate::bank::{Cutout, Scene};
use crate::geometry::Rect;
use crate::plan::{Blend, ScenePlan};
use crate::sampler::Ground;
use crate::sampler::colour::{Affine, Luma, SceneMip, matching};

/// The choice at `unit`, of 0..1, of the weights' running sum.
pub(super) fn blend_at(choices: &[BlendChoice], unit: f64) -> Blend {
    let mut left = unit * choices.iter().map(|choice| choice.weight).sum::<f64>();
    let drawn = choices.iter().find(|choice| {
        left -= choice.weight;
        left < 0.0
    });
    drawn.map_or(Blend::Hard, |choice| choice.blend)
}

impl IgnoreSettings {
    /// Whether an instance of that category loses its label when it is pasted onto `scene`.
    pub(super) fn drops(&self, category: i64, scene: Option<&Scene<'_>>, unit: f64) -> bool {
        let is_not_exhaustive = || {
            let categories = scene.map(Scene::not_exhaustive_categories);
            categories.is_some_and(|mut categories| categories.any(|id| id == category))
        };
        unit < self.probability
            || self.categories.contains(&category)
            || (self.not_exhaustive && is_not_exhaustive())
    }
}

/// Brings layers to the brightness and contrast of the scene under them.
pub(super) struct Matcher<'a> {
    strength: f64,
    mip: &'a SceneMip,
    scene: &'a ScenePlan,
    can_measure: bool,
}

impl<'a> Matcher<'a> {
    /// Reads the scene's small level, if anything is to be matched and `mip` does not hold it yet:
    /// layers of the bank and of a second scene share one reading.
    pub fn new(
        strength: f64,
        ground: &Ground,
        scene: &'a ScenePlan,
        mip: &'a mut SceneMip,
    ) -> Matcher<'a> {
        let source = ground.scenes.get(scene.index as usize);
        let can_measure =
            strength > 0.0 && source.is_some_and(|source| mip.read_row(scene.index, &source));
        Matcher {
            strength,
            mip,
            scene,
            can_measure,
        }
    }

    /// The change for a cutout whose object lies in `rect` of the canvas; none where either cannot
    /// be measured.
    pub fn change(&self, cutout: &Cutout<'_>, rect: Rect) -> Affine {
        let lumas = || Some((Luma::of_cutout(cutout)?, self.mip.luma(self.scene, rect)?));
        let measured = self.can_measure.then(lumas).flatten();
        measured.map_or_else(Affine::default, |(layer, scene)| {
            matching(layer, scene, self.strength)
        })
    }
}
