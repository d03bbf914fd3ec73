//! Instances of a second scene at their places: Simple Copy-Paste (arXiv 2012.07177).

use rand::RngExt;

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
    /// Appends instances of a uniform second scene to a sample whose scene is placed.
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
        let mut left_to_take = self.number(rows.len(), draws);
        let mut draw = draws.stream(streams::SECOND_OBJECTS);
        for (index, &row) in rows.iter().enumerate() {
            let [taken, blend, ignore] = std::array::from_fn(|_| draw.random::<f64>());
            // Selection sampling (Knuth, volume 2, 3.4.2): every subset of that size is as likely,
            // and the order is kept.
            if taken * (rows.len() - index) as f64 >= left_to_take as f64 {
                continue;
            }
            left_to_take -= 1;
            let Some(cutout) = ground.bank.get(row as usize) else {
                continue;
            };
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

/// The nearest offset that a plan may have.
fn within_limits(offset: i32) -> i32 {
    let furthest = MAX_OFFSET as i32;
    offset.clamp(-furthest, furthest)
}
