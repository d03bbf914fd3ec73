//! What is composed while it is measured.

use rand::{Rng, RngExt};
use serde::Serialize;

use crate::bank::{CutoutBank, ScenePack};
use crate::compose::{ElementType, Layout, MaskOutput, OutputSpec};
use crate::geometry::MAX_CANVAS_SIDE;
use crate::plan::{Blend, ColorMatrix, Keep, LayerPlan};
use crate::sampler::{At, Ground, Recipe, Sample, SamplerError};

/// Standard deviation of the layers' blend in pixels.
const SIGMA: f64 = 2.0;
/// A layer's sides in pixels: 150 on average.
const SIDES: std::ops::RangeInclusive<u32> = 75..=225;
/// A scene's width in widths of the canvas.
const SCALES: std::ops::Range<f64> = 1.0..1.625;

/// The benchmarks' recipe: every scene at 1 to 1.6 times the canvas's width, and so many Gaussian
/// layers with sides of 150 pixels on average all over the canvas.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Layers of each sample.
    pub layers: usize,
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
            sample.plan.layers.push(layer(ground, &mut draw));
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
        serde_json::json!({"benchmark": {"layers": self.layers}})
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

fn layer(ground: &Ground, draw: &mut impl Rng) -> LayerPlan {
    let resized = [(); 2].map(|()| draw.random_range(SIDES));
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
        blend: Blend::Gaussian { sigma: SIGMA },
        color: ColorMatrix::default(),
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

/// The workload in words and numbers: all that is the same in every case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadReport {
    /// Where scenes and cutouts come from.
    pub packs: String,
    /// Scenes.
    pub scenes: usize,
    /// Mean width and height of the scenes in pixels.
    pub scene_size: [f64; 2],
    /// How many of the scenes are JPEG files; the others are raw.
    pub jpeg_scenes: usize,
    /// Mean number of instances of a scene.
    pub instances_per_scene: f64,
    /// Cutouts.
    pub cutouts: usize,
    /// Bytes of both packs' shards.
    pub pack_bytes: u64,
    /// Each layer, in words.
    pub layers: String,
    /// Each scene, in words.
    pub placement: String,
    /// Form of the output, in words.
    pub output: String,
    /// Threads that gather and compose.
    pub threads: usize,
}

/// Scenes that are looked at to describe a pack.
const LOOKED_AT: usize = 4096;

impl WorkloadReport {
    /// Describes packs; sizes, encodings and instances are means of the first scenes.
    pub fn of(packs: &str, scenes: &ScenePack, bank: &CutoutBank, threads: usize) -> Self {
        let looked_at = scenes.len().min(LOOKED_AT);
        let (mut sides, mut instances, mut jpeg) = ([0.0; 2], 0, 0);
        for scene in (0..looked_at).filter_map(|index| scenes.get(index)) {
            sides[0] += f64::from(scene.size.width());
            sides[1] += f64::from(scene.size.height());
            instances += scene.instance_count();
            jpeg += usize::from(matches!(scene.pixels, crate::bank::ScenePixels::Jpeg(_)));
        }
        let count = looked_at.max(1) as f64;
        WorkloadReport {
            packs: packs.to_owned(),
            scenes: scenes.len(),
            scene_size: sides.map(|side| (side / count).round()),
            jpeg_scenes: jpeg * scenes.len() / looked_at.max(1),
            instances_per_scene: (instances as f64 / count * 10.0).round() / 10.0,
            cutouts: bank.len(),
            pack_bytes: scenes.manifest().bytes() + bank.manifest().bytes(),
            layers: format!(
                "Gaussian blend, sigma {SIGMA}, sides {} to {} px, all over the canvas",
                SIDES.start(),
                SIDES.end()
            ),
            placement: format!(
                "{} to {} times the canvas's width",
                SCALES.start, SCALES.end
            ),
            output: "f16 CHW, mean and std of ImageNet, masks as bits".to_owned(),
            threads,
        }
    }
}

impl std::fmt::Display for WorkloadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [width, height] = self.scene_size;
        let encoding = match self.jpeg_scenes {
            0 => "raw".to_owned(),
            jpeg if jpeg == self.scenes => "JPEG".to_owned(),
            jpeg => format!("{jpeg} of them JPEG"),
        };
        writeln!(
            f,
            "{} scenes of {width}x{height} ({encoding}, {} instances each), {} cutouts, {:.0} MB: {}",
            self.scenes,
            self.instances_per_scene,
            self.cutouts,
            self.pack_bytes as f64 / 1e6,
            self.packs
        )?;
        write!(
            f,
            "scenes at {}; layers: {}; {}; {} threads",
            self.placement, self.layers, self.output, self.threads
        )
    }
}
