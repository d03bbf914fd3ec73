//! The recipe of X-Paste (arXiv 2212.03863): large-scale jitter below, cutouts of uniformly drawn
//! categories above, each about as large as its category's objects are.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

use super::{At, Ground, Recipe, RelativeSize, Sample, SamplerError};
use crate::bank::Cutout;
use crate::geometry::{MAX_CANVAS_SIDE, Size};
use crate::plan::{Blend, ColorMatrix, Keep, LayerPlan, ScenePlan};

/// The recipe's settings; the default is X-Paste's.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipeSettings {
    /// Range of the scene's scale, 1 being the largest size that fits the canvas.
    pub scene_scale: [f64; 2],
    /// Probability that the scene is mirrored.
    pub scene_flip: f64,
    /// Least and greatest number of layers, both included.
    pub layers: [u32; 2],
    /// Least side of a pasted box (the square root of its area), in pixels.
    pub min_side: f64,
    /// Greatest side of a pasted box, as a share of the canvas's shorter side.
    pub max_side: f64,
    /// Greatest change of a cutout's aspect ratio: 0.2 is ±20 %.
    pub aspect_jitter: f64,
    /// Probability that a cutout is mirrored.
    pub flip: f64,
    /// How layers are blended.
    pub blend: Blend,
    /// Which instances stay.
    pub keep: Keep,
}

impl Default for RecipeSettings {
    fn default() -> RecipeSettings {
        RecipeSettings {
            scene_scale: [0.1, 2.0],
            scene_flip: 0.5,
            layers: [0, 20],
            min_side: 10.0,
            max_side: 0.5,
            aspect_jitter: 0.2,
            flip: 0.5,
            blend: Blend::Gaussian { sigma: 2.0 },
            keep: Keep {
                min_area: 301,
                min_visible_permille: 0,
                max_box_shift: Some(10),
            },
        }
    }
}

/// Streams of a sample's draws: the scene, how many layers, then one a layer.
const SCENE_STREAM: u64 = 0;
const COUNT_STREAM: u64 = 1;
const FIRST_LAYER_STREAM: u64 = 2;

impl RecipeSettings {
    /// X-Paste's recipe.
    pub fn xpaste() -> RecipeSettings {
        RecipeSettings::default()
    }

    fn check_settings(&self) -> Result<(), SamplerError> {
        let is_probability = |p: f64| (0.0..=1.0).contains(&p);
        let [least, greatest] = self.scene_scale;
        let settings = [
            (
                "scene_scale",
                least > 0.0 && least <= greatest && greatest <= 100.0,
                format!("{:?}; 0 < least ≤ greatest ≤ 100", self.scene_scale),
            ),
            (
                "scene_flip",
                is_probability(self.scene_flip),
                format!("{}; 0..=1", self.scene_flip),
            ),
            (
                "layers",
                self.layers[0] <= self.layers[1] && self.layers[1] <= 65_534,
                format!("{:?}; least ≤ greatest ≤ 65534", self.layers),
            ),
            (
                "min_side",
                self.min_side >= 1.0 && self.min_side.is_finite(),
                format!("{}; at least 1 pixel", self.min_side),
            ),
            (
                "max_side",
                self.max_side > 0.0 && self.max_side <= 1.0,
                format!("{}; 0 < share ≤ 1", self.max_side),
            ),
            (
                "aspect_jitter",
                (0.0..1.0).contains(&self.aspect_jitter),
                format!("{}; 0 ≤ jitter < 1", self.aspect_jitter),
            ),
            (
                "flip",
                is_probability(self.flip),
                format!("{}; 0..=1", self.flip),
            ),
        ];
        settings
            .into_iter()
            .find(|(_, fits, _)| !fits)
            .map_or(Ok(()), |(field, _, problem)| {
                Err(SamplerError::setting(
                    field,
                    format!("{problem} was expected"),
                ))
            })
    }

    /// Large-scale jitter as detectron2 does it: a random scale of the size that fits the canvas,
    /// a random crop where it is larger, padding to the right and below where it is smaller.
    fn scene(&self, ground: &Ground, draw: &mut impl Rng, scene: u64) -> ScenePlan {
        let [least, greatest] = self.scene_scale;
        let scale = draw.random_range(least..=greatest);
        let canvas = [ground.canvas.width(), ground.canvas.height()].map(f64::from);
        let source = ground
            .scenes
            .get(scene as usize)
            .map_or(ground.canvas, |scene| scene.size);
        let source = [source.width(), source.height()].map(f64::from);
        let fit = (canvas[0] / source[0]).min(canvas[1] / source[1]);
        let longest = f64::from(MAX_CANVAS_SIDE) / source[0].max(source[1]);
        let resized = source.map(|side| pixels(side * (fit * scale).min(longest)));
        let offset = [0, 1].map(|axis| {
            let room = (f64::from(resized[axis]) - canvas[axis]).max(0.0);
            -(draw.random_range(0.0..=1.0) * room).round() as i32
        });
        ScenePlan {
            index: scene,
            resized,
            offset,
            flip: draw.random_bool(self.scene_flip),
            color: ColorMatrix::default(),
        }
    }

    /// A cutout, its size and its place; `None` only where the bank has no cutouts.
    fn layer(&self, ground: &Ground, draw: &mut impl Rng) -> Option<LayerPlan> {
        let row = ground.draw_cutout(draw)? as usize;
        let cutout = ground.bank.get(row)?;
        let side = self.side(ground.sizes_of(cutout.category), ground.canvas, draw);
        let jitter = self.aspect_jitter;
        let aspect = draw.random_range(1.0 - jitter..=1.0 + jitter);
        let resized = resized_to_side(&cutout, side, aspect);
        let flip = draw.random_bool(self.flip);
        let canvas = [ground.canvas.width(), ground.canvas.height()];
        let centre = canvas.map(|side| draw.random_range(0.0..f64::from(side)));
        Some(LayerPlan {
            cutout: row as u64,
            resized,
            offset: centred(&cutout, resized, flip, centre),
            flip,
            angle: 0.0,
            blend: self.blend,
            color: ColorMatrix::default(),
        })
    }

    /// The side of the pasted box in pixels.
    fn side(&self, size: RelativeSize, canvas: Size, draw: &mut impl Rng) -> f64 {
        let relative = match Normal::new(size.mean, size.std) {
            Ok(normal) => normal.sample(draw),
            Err(_) => size.mean,
        };
        let greatest = self.max_side * f64::from(canvas.width().min(canvas.height()));
        let side = relative * (canvas.pixels() as f64).sqrt();
        side.clamp(self.min_side.min(greatest), greatest)
    }
}

/// The cutout's box inside it, as x, y, width and height; all of it if nothing in it is opaque.
fn object_box(cutout: &Cutout<'_>) -> [f64; 4] {
    let [x, y, width, height] = cutout.bounding_box.map(f64::from);
    if width * height > 0.0 {
        [x, y, width, height]
    } else {
        let size = [cutout.size.width(), cutout.size.height()].map(f64::from);
        [0.0, 0.0, size[0], size[1]]
    }
}

/// The size that gives the cutout's box the area side², its aspect ratio changed by `aspect`.
fn resized_to_side(cutout: &Cutout<'_>, side: f64, aspect: f64) -> [u32; 2] {
    let [_, _, width, height] = object_box(cutout);
    let scale = side / (width * height).sqrt();
    let stretch = aspect.sqrt();
    [
        pixels(f64::from(cutout.size.width()) * scale * stretch),
        pixels(f64::from(cutout.size.height()) * scale / stretch),
    ]
}

/// The offset that brings the centre of the cutout's box to `centre`.
fn centred(cutout: &Cutout<'_>, resized: [u32; 2], flip: bool, centre: [f64; 2]) -> [i32; 2] {
    let [x, y, width, height] = object_box(cutout);
    let source = [cutout.size.width(), cutout.size.height()].map(f64::from);
    let mut inside = [
        (x + width / 2.0) / source[0],
        (y + height / 2.0) / source[1],
    ];
    if flip {
        inside[0] = 1.0 - inside[0];
    }
    [0, 1].map(|axis| (centre[axis] - inside[axis] * f64::from(resized[axis])).round() as i32)
}

fn pixels(side: f64) -> u32 {
    side.round().clamp(1.0, f64::from(MAX_CANVAS_SIDE)) as u32
}

impl Recipe for RecipeSettings {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        let draws = at.draws();
        let [least, greatest] = self.layers;
        let count = draws.stream(COUNT_STREAM).random_range(least..=greatest);
        sample.plan.scene = self.scene(ground, &mut draws.stream(SCENE_STREAM), at.scene);
        sample.plan.layers.clear();
        sample.plan.layers.extend(
            (0..u64::from(count)).filter_map(|layer| {
                self.layer(ground, &mut draws.stream(FIRST_LAYER_STREAM + layer))
            }),
        );
        sample.ignored.clear();
        sample.ignored.resize(sample.plan.layers.len(), false);
    }

    fn keep(&self) -> Keep {
        self.keep
    }

    fn pad(&self) -> [u8; 3] {
        [114, 114, 114]
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({"name": "xpaste", "settings": format!("{self:?}")})
    }

    fn check(&self, ground: &Ground) -> Result<(), SamplerError> {
        self.check_settings()?;
        if ground.bank.is_empty() && self.layers[1] > 0 {
            return Err(SamplerError::Empty { pack: "bank" });
        }
        Ok(())
    }
}
