//! What recipes draw from: the packs, the canvas, and the indices over them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rand::Rng;

use super::groups::{Candidate, Chances, Group, Groups, Inputs};
use super::links::SceneLinks;
use super::sizes::Sizes;
use super::{CategorySampling, RelativeSize, SamplerError, Weights};
use crate::bank::{CutoutBank, ScenePack};
use crate::geometry::Size;

/// What a recipe draws from. A clone shares the packs and the indices.
///
/// The indices hold four bytes a cutout, and for recipes that ask for
/// [`cutouts_of_scene`](Ground::cutouts_of_scene) four more a scene and a linked cutout.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The scenes.
    pub scenes: Arc<ScenePack>,
    /// The cutouts.
    pub bank: Arc<CutoutBank>,
    /// Size of the output images.
    pub canvas: Size,
    first_synthetic: usize,
    groups: Arc<Groups>,
    sizes: Arc<Sizes>,
    links: Arc<OnceLock<SceneLinks>>,
    parts: Arc<[(Range<usize>, f64)]>,
    weights: Arc<Weights>,
    chances: Arc<Chances>,
}

impl Ground {
    /// Indexes the packs. Reads every category once, which takes some milliseconds for a million
    /// cutouts.
    pub(super) fn new(
        scenes: Arc<ScenePack>,
        bank: Arc<CutoutBank>,
        canvas: Size,
        categories: &CategorySampling,
    ) -> Result<Ground, SamplerError> {
        check_packs(&scenes, &bank)?;
        let groups = Groups::new(&bank);
        let weights = Weights::default();
        let chances = Chances::new(&Inputs {
            groups: &groups,
            parts: &[],
            weights: &weights,
            base: None,
        })?;
        let mut ground = Ground {
            canvas,
            first_synthetic: scenes.len(),
            // The scenes' own objects say best how large an object in a scene is.
            sizes: Arc::new(Sizes::new([scenes.manifest(), bank.manifest()])),
            scenes,
            bank,
            groups: Arc::new(groups),
            links: Arc::default(),
            parts: Arc::new([]),
            weights: Arc::new(weights),
            chances: Arc::new(chances),
        };
        ground.prepare(categories)?;
        Ok(ground)
    }

    /// Works out the probabilities that the recipe, the weights and the parts give together.
    fn prepare(&mut self, categories: &CategorySampling) -> Result<(), SamplerError> {
        self.chances = Arc::new(self.chances_of(categories)?);
        Ok(())
    }

    fn chances_of(&self, categories: &CategorySampling) -> Result<Chances, SamplerError> {
        let base = self.base(categories)?;
        Chances::new(&Inputs {
            groups: &self.groups,
            parts: &self.parts,
            weights: &self.weights,
            base: base.as_deref(),
        })
    }

    /// A category's probability under a way of sampling, up to a factor; `None`: all are equal.
    fn base(&self, sampling: &CategorySampling) -> Result<Option<Base<'_>>, SamplerError> {
        Ok(match sampling {
            CategorySampling::Uniform => None,
            CategorySampling::ByInstance => Some(Box::new(|group| group.range.len() as f64)),
            CategorySampling::RepeatFactor { threshold } => {
                let factors = self.category_repeat_factors(*threshold);
                let unseen = threshold.sqrt() * (self.real_scenes() as f64).sqrt();
                Some(Box::new(move |group: &Group| {
                    let factor = factors.get(&group.category);
                    // A category that no scene has is as rare as one that one scene has.
                    factor.copied().unwrap_or(unseen.max(1.0))
                }))
            }
            CategorySampling::Weights(weights) => {
                let weights = weights.clone();
                Some(Box::new(move |group: &Group| {
                    weights.get(&group.category).copied().unwrap_or(0.0)
                }))
            }
        })
    }

    pub(super) fn set_weights(
        &mut self,
        weights: Weights,
        categories: &CategorySampling,
    ) -> Result<(), SamplerError> {
        weights.check(self.bank.len())?;
        let mut changed = self.clone();
        changed.weights = Arc::new(weights);
        changed.prepare(categories)?;
        *self = changed;
        Ok(())
    }

    pub(super) fn set_parts(
        &mut self,
        parts: Vec<(Range<usize>, f64)>,
        categories: &CategorySampling,
    ) -> Result<(), SamplerError> {
        for (number, (rows, weight)) in parts.iter().enumerate() {
            let what = || format!("part {number} of the bank");
            if rows.start > rows.end || rows.end > self.bank.len() {
                let problem = format!("rows {rows:?}; the bank has {}", self.bank.len());
                return Err(SamplerError::value(what(), problem));
            }
            if !(weight.is_finite() && *weight >= 0.0) {
                let problem = format!("weight {weight}; a finite one of at least 0 was expected");
                return Err(SamplerError::value(what(), problem));
            }
        }
        self.parts = parts.into();
        self.prepare(categories)
    }

    pub(super) fn set_synthetic(
        &mut self,
        first: u64,
        categories: &CategorySampling,
    ) -> Result<(), SamplerError> {
        let scenes = self.scenes.len();
        let fits = usize::try_from(first)
            .ok()
            .filter(|first| (1..=scenes).contains(first));
        self.first_synthetic = fits.ok_or_else(|| {
            let problem = format!("{first}; a scene in 1..={scenes} was expected");
            SamplerError::value("first synthetic scene", problem)
        })?;
        self.prepare(categories)
    }

    /// The weights that are set.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The parts of the bank with their weights; none where the bank is one.
    pub fn parts(&self) -> &[(Range<usize>, f64)] {
        &self.parts
    }

    /// Scenes that an epoch goes through: all but the synthetic ones, which come after them.
    pub fn real_scenes(&self) -> u64 {
        self.first_synthetic as u64
    }

    /// The whole synthetic scenes, which only recipes mix in.
    pub fn synthetic_scenes(&self) -> Range<u64> {
        self.first_synthetic as u64..self.scenes.len() as u64
    }

    /// The ids of the categories that have cutouts, ascending.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        self.groups.categories.iter().map(|group| group.category)
    }

    /// The rows of a category's cutouts; none if there are none.
    pub fn rows_of(&self, category: i64) -> &[u32] {
        self.groups.rows_of(category)
    }

    /// How large objects of a category are in scenes: from the packs' statistics, over all
    /// categories where this one was not measured.
    pub fn sizes_of(&self, category: i64) -> RelativeSize {
        self.measured_size(category).unwrap_or(self.sizes.pooled())
    }

    /// How large objects of all categories together are.
    pub fn sizes_of_all(&self) -> RelativeSize {
        self.sizes.pooled()
    }

    /// As [`Ground::sizes_of`]; `None` where the category was not measured.
    pub fn measured_size(&self, category: i64) -> Option<RelativeSize> {
        self.sizes.of(category)
    }

    /// The rows of the scene's own objects: its instances that are no crowds and have a cutout in
    /// the bank, in stored order. The first call links all scenes.
    pub fn cutouts_of_scene(&self, scene: u64) -> &[u32] {
        let links = self
            .links
            .get_or_init(|| SceneLinks::new(&self.scenes, &self.bank));
        usize::try_from(scene).map_or(&[], |scene| links.of(scene))
    }

    /// Draws a cutout: a part of the bank by its weight, a category as the recipe's
    /// [`categories`](super::Recipe::categories) and the weights say, a cutout by its weight.
    /// `None` if there are none.
    pub fn draw_cutout(&self, draw: &mut impl Rng) -> Option<u32> {
        self.chances.draw(&self.groups, draw)
    }

    /// Lists what the categories `wanted`, ascending, can be drawn from.
    pub(super) fn candidates(&self, wanted: &[i64], candidates: &mut Vec<Candidate>) {
        self.chances.candidates(wanted, candidates);
    }

    /// As [`Ground::draw_cutout`], of the listed candidates.
    pub(super) fn draw_among(&self, candidates: &[Candidate], draw: &mut impl Rng) -> Option<u32> {
        self.chances.draw_among(&self.groups, candidates, draw)
    }

    /// LVIS' repeat factor of each category that a scene has: max(1, sqrt(threshold / f)), f being
    /// the share of scenes with an instance of it (arXiv 1908.03195). Synthetic scenes do not
    /// count.
    pub fn category_repeat_factors(&self, threshold: f64) -> BTreeMap<i64, f64> {
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for scene in 0..self.first_synthetic {
            for category in self.categories_of(scene) {
                *counts.entry(category).or_default() += 1;
            }
        }
        let scenes = self.first_synthetic as f64;
        let factor = |count: u64| (threshold * scenes / count as f64).sqrt().max(1.0);
        let factors = counts.into_iter().map(|(id, count)| (id, factor(count)));
        factors.collect()
    }

    /// The repeat factor of each scene that is not synthetic: the greatest of its categories', or
    /// 1.
    pub fn scene_repeat_factors(&self, threshold: f64) -> Vec<f64> {
        let factors = self.category_repeat_factors(threshold);
        let of_scene = |scene| {
            let categories = self.categories_of(scene).into_iter();
            let factors = categories.filter_map(|category| factors.get(&category));
            factors.copied().fold(1.0, f64::max)
        };
        (0..self.first_synthetic).map(of_scene).collect()
    }

    fn categories_of(&self, scene: usize) -> BTreeSet<i64> {
        let instances = self.scenes.get(scene).into_iter();
        instances
            .flat_map(|scene| scene.instances())
            .map(|instance| instance.category)
            .collect()
    }
}

type Base<'a> = Box<dyn Fn(&Group) -> f64 + 'a>;

fn check_packs(scenes: &ScenePack, bank: &CutoutBank) -> Result<(), SamplerError> {
    if scenes.is_empty() {
        return Err(SamplerError::Empty { pack: "scene pack" });
    }
    for (pack, rows) in [("scene pack", scenes.len()), ("bank", bank.len())] {
        if rows >= u32::MAX as usize {
            return Err(SamplerError::TooMany { pack, rows });
        }
    }
    check_categories(scenes, bank)?;
    scenes.check_lengths()?;
    Ok(bank.check_lengths()?)
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
