//! Instances of a second scene at their places: Simple Copy-Paste (arXiv 2012.07177).

use rand::RngExt;

use super::bank::object_box;
use super::check::MAX_LAYERS;
use super::layer::{Matcher, blend_at};
use super::scene::{carried, place};
use super::settings::CopySettings;
use super::streams;
use crate::bank::Cutout;
use crate::geometry::{MAX_CANVAS_SIDE, MAX_OFFSET, Rect};
use crate::plan::{LayerPlan, ScenePlan};
use crate::sampler::random::Draws;
use crate::sampler::{Ground, Sample};

impl CopySettings {
    /// Appends instances of a uniform second scene, of those that its own jitter leaves on the
    /// canvas, to a sample whose scene is placed.
    pub(super) fn draw(&self, ground: &Ground, draws: &Draws, sample: &mut Sample) {
        let mut draw = draws.stream(streams::SECOND_SCENE);
        let second = draw.random_range(0..ground.real_scenes());
        let mut draw = draws.stream(streams::SECOND_JITTER);
        let placed = place(self.scale, self.flip, ground, second, &mut draw);
        // One change for all: it is one picture's.
        let color = self.color.draw(&mut draw);
        let rows = ground.cutouts_of_scene(second);
        let scene = ground.scenes.get(sample.plan.scene.index as usize);
        let Sample {
            plan,
            ignored,
            scratch,
        } = sample;
        let matcher = Matcher::new(self.matching, ground, &plan.scene, &mut scratch.mip);
        let room = MAX_LAYERS.saturating_sub(plan.layers.len() as u64);
        let is_seen = |cutout: &Cutout<'_>| !object_place(cutout, &placed, ground).is_empty();
        let cutouts = || rows.iter().map(|&row| ground.bank.get(row as usize));
        // Both papers' code chooses after the second scene's own crop.
        let mut left_to_see = cutouts().flatten().filter(is_seen).count();
        let mut left_to_take = self.number(left_to_see, draws).min(room);
        let mut draw = draws.stream(streams::SECOND_OBJECTS);
        for (&row, cutout) in rows.iter().zip(cutouts()) {
            let [taken, blend, ignore] = std::array::from_fn(|_| draw.random::<f64>());
            let Some(cutout) = cutout.filter(is_seen) else {
                continue;
            };
            // Selection sampling (Knuth, volume 2, 3.4.2): every subset of that size is as likely,
            // and the order is kept.
            let is_taken = taken * (left_to_see as f64) < left_to_take as f64;
            left_to_see -= 1;
            if !is_taken {
                continue;
            }
            left_to_take -= 1;
            let (resized, rect) = layer_place(&cutout, &placed);
            let change = matcher.change(&cutout, rect.intersect(ground.canvas.rect()));
            ignored.push(self.ignore.drops(cutout.category, scene.as_ref(), ignore));
            plan.layers.push(LayerPlan {
                cutout: row.into(),
                resized,
                offset: [rect.x0, rect.y0].map(within_limits),
                flip: placed.flip,
                angle: 0.0,
                blend: blend_at(&self.blend, blend),
                color: change.then(&color).to_matrix(),
            });
        }
    }

    /// How many of `there` instances are taken.
    fn number(&self, there: usize, draws: &Draws) -> u64 {
        let [least, greatest] = self.objects.map(|limit| u64::from(limit).min(there as u64));
        let mut draw = draws.stream(streams::SECOND_COUNT);
        draw.random_range(least..=greatest)
    }
}

/// The size and the rectangle that a cutout has when its source image is placed like that.
fn layer_place(cutout: &Cutout<'_>, placed: &ScenePlan) -> ([u32; 2], Rect) {
    let [x, y] = cutout.origin.map(i64::from);
    let [width, height] = [cutout.size.width(), cutout.size.height()].map(i64::from);
    let source = cutout.source_size.map(u32::from);
    let rect = carried(placed, source, [x, y, width, height]);
    let side = |length: usize| length.clamp(1, MAX_CANVAS_SIDE as usize) as u32;
    ([side(rect.width()), side(rect.height())], rect)
}

/// What of the cutout's object is on the canvas when its source image is placed like that.
fn object_place(cutout: &Cutout<'_>, placed: &ScenePlan, ground: &Ground) -> Rect {
    let [left, top] = cutout.origin.map(i64::from);
    let [x, y, width, height] = object_box(cutout).map(|side| side as i64);
    let source = cutout.source_size.map(u32::from);
    let rect = carried(placed, source, [left + x, top + y, width, height]);
    rect.intersect(ground.canvas.rect())
}

/// The nearest offset that a plan may have.
fn within_limits(offset: i32) -> i32 {
    let furthest = MAX_OFFSET as i32;
    offset.clamp(-furthest, furthest)
}
