//! Large-scale jitter, as detectron2 does it: a random scale of the size that fits the canvas, a
//! random crop where it is larger, padding to the right and below where it is smaller.

use rand::{Rng, RngExt};

use crate::geometry::{MAX_CANVAS_SIDE, Rect};
use crate::plan::{ColorMatrix, ScenePlan};
use crate::sampler::Ground;

/// Places scene `index`. Takes four numbers whatever the settings are.
pub(super) fn place(
    [least, greatest]: [f64; 2],
    flip: f64,
    ground: &Ground,
    index: u64,
    draw: &mut impl Rng,
) -> ScenePlan {
    let [scale, left, top, mirrored] = std::array::from_fn(|_| draw.random::<f64>());
    let scale = least + scale * (greatest - least);
    let canvas = [ground.canvas.width(), ground.canvas.height()].map(f64::from);
    let source = ground
        .scenes
        .get(index as usize)
        .map_or(ground.canvas, |scene| scene.size);
    let source = [source.width(), source.height()].map(f64::from);
    let fit = (canvas[0] / source[0]).min(canvas[1] / source[1]);
    let longest = f64::from(MAX_CANVAS_SIDE) / source[0].max(source[1]);
    let resized = source.map(|side| pixels(side * (fit * scale).min(longest)));
    let offset = [(0, left), (1, top)].map(|(axis, part)| {
        let room = (f64::from(resized[axis]) - canvas[axis]).max(0.0);
        -(part * room).round() as i32
    });
    ScenePlan {
        index,
        resized,
        offset,
        flip: mirrored < flip,
        color: ColorMatrix::default(),
    }
}

/// Where a box of a source of size `source` comes to lie when the source is placed by `plan`.
///
/// Edges are rounded, not sides: boxes that touch in the source touch on the canvas.
pub(super) fn carried(plan: &ScenePlan, source: [u32; 2], [x, y, w, h]: [i64; 4]) -> Rect {
    let edge = |at: i64, axis: usize| {
        let source = i64::from(source[axis]).max(1);
        (2 * at * i64::from(plan.resized[axis]) + source).div_euclid(2 * source)
    };
    let [mut x0, mut x1] = [edge(x, 0), edge(x + w, 0)];
    if plan.flip {
        let width = i64::from(plan.resized[0]);
        [x0, x1] = [width - x1, width - x0];
    }
    let on_canvas = |at: i64, axis: usize| {
        let at = at + i64::from(plan.offset[axis]);
        at.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    };
    Rect {
        x0: on_canvas(x0, 0),
        y0: on_canvas(edge(y, 1), 1),
        x1: on_canvas(x1, 0),
        y1: on_canvas(edge(y + h, 1), 1),
    }
}

/// A side in whole pixels that a plan may have.
pub(super) fn pixels(side: f64) -> u32 {
    side.round().clamp(1.0, f64::from(MAX_CANVAS_SIDE)) as u32
}
