//! What is composed while it is measured.

use rand::{Rng, RngExt};

use crate::compose::{ElementType, Layout, MaskOutput, OutputSpec};
use crate::geometry::MAX_CANVAS_SIDE;
use crate::plan::{Blend, ColorMatrix, Keep, LayerPlan};
use crate::sampler::{At, Ground, Recipe, Sample, SamplerError};

/// A scene's width in widths of the canvas.
pub(super) const SCALES: std::ops::Range<f64> = 1.0..1.625;

/// The benchmarks' recipe: every scene at 1 to 1.6 times the canvas's width, and so many layers all
/// over the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Layers of each sample.
    pub layers: usize,
    /// A layer's mean side in pixels: each is drawn from [`Workload::sides`].
    pub side: u32,
    /// How the layers' edges are blended.
    pub blend: Blend,
}

impl Default for Workload {
    /// 20 layers of 150 pixels, Gaussian with a standard deviation of 2 pixels.
    fn default() -> Workload {
        Workload {
            layers: 20,
            side: 150,
            blend: Blend::Gaussian { sigma: 2.0 },
        }
    }
}

impl Workload {
    /// The least and the greatest side of a layer: half the mean side and one and a half times it.
    pub fn sides(&self) -> [u32; 2] {
        let half = (self.side / 2).max(1);
        let greatest = self.side.saturating_mul(2).saturating_sub(half);
        [half, greatest.clamp(half, MAX_CANVAS_SIDE)]
    }
}

impl Recipe for Workload {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        let mut draw = at.draws().stream(0);
        let [width, height] = scene_size(ground, at.scene);
        let scale = draw.random_range(SCALES) * f64::from(ground.canvas.width()) / width;
        let scene = &mut sample.plan.scene;
        scene.index = at.scene;
        scene.resized =
            [width, height].map(|side| ((side * scale) as u32).clamp(1, MAX_CANVAS_SIDE));
        scene.offset = [-draw.random_range(0..100), -draw.random_range(0..50)];
        scene.flip = draw.random_bool(0.5);
        sample.plan.layers.clear();
        sample.ignored.clear();
        for _ in 0..self.layers {
            sample.plan.layers.push(self.layer(ground, &mut draw));
            sample.ignored.push(false);
        }
    }

    fn keep(&self) -> Keep {
        Keep::default()
    }

    fn pad(&self) -> [u8; 3] {
        [114; 3]
    }

    fn settings(&self) -> serde_json::Value {
        let Workload {
            layers,
            side,
            blend,
        } = self;
        serde_json::json!({"benchmark": {"layers": layers, "side": side, "blend": blend}})
    }

    fn check(&self, _: &Ground) -> Result<(), SamplerError> {
        Ok(())
    }
}

fn scene_size(ground: &Ground, scene: u64) -> [f64; 2] {
    let scene = ground.scenes.get(scene as usize);
    scene.map_or([1.0; 2], |scene| {
        [scene.size.width(), scene.size.height()].map(f64::from)
    })
}

impl Workload {
    fn layer(&self, ground: &Ground, draw: &mut impl Rng) -> LayerPlan {
        let [least, greatest] = self.sides();
        let resized = [(); 2].map(|()| draw.random_range(least..=greatest));
        let canvas = [ground.canvas.width(), ground.canvas.height()];
        let cutout = draw.random_range(0..ground.bank.len() as u64);
        let offset = [0, 1].map(|axis: usize| {
            let (side, canvas) = (resized[axis] as i32, canvas[axis] as i32);
            draw.random_range(-side / 2..canvas - side / 2)
        });
        LayerPlan {
            cutout,
            resized,
            offset,
            flip: draw.random_bool(0.5),
            angle: 0.0,
            blend: self.blend,
            color: ColorMatrix::default(),
        }
    }
}

/// The form of the output: f16 CHW with ImageNet's mean and deviation, masks as bits.
pub fn output() -> OutputSpec {
    OutputSpec {
        element: ElementType::F16,
        layout: Layout::Chw,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        masks: MaskOutput::Bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_those_asked_for_on_average() {
        let sides = |side| {
            let workload = Workload {
                side,
                ..Workload::default()
            };
            workload.sides()
        };
        assert_eq!(sides(150), [75, 225]);
        assert_eq!(sides(1), [1, 1]);
        assert_eq!(sides(7), [3, 11]);
        assert_eq!(sides(8192), [4096, 8192]);
    }
}
