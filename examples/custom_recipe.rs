//! A recipe of one's own: objects stand on the ground, the nearer the larger.
//!
//! Photographs taken by someone who stands, of streets, fields or shop floors, have a horizon, and
//! things look larger the further below it they stand. This recipe pastes cutouts that way, from far
//! to near. It goes through the loader like those of the crate, and its batches are drawn as a sheet.
//!
//! ```sh
//! cargo run --release --example custom_recipe -- --out horizon
//! ```

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use image::RgbImage;
use pastebank::compose::{Batch, InstanceSource, Layout, OutputSpec};
use pastebank::loader::{Loader, LoaderOptions};
use pastebank::plan::{Blend, ColorMatrix, Keep, LayerPlan, ScenePlan};
use pastebank::sampler::{At, Ground, Recipe, Sample, Sampler, SamplerError};
use pastebank::view::{Mask, Overlay, Sheet, tile_with_overlays, tint};
use rand::{Rng, RngExt};

#[derive(Parser)]
struct Flags {
    /// Folder for the data set, its packs and the sheet.
    #[arg(long, default_value = "horizon")]
    out: PathBuf,
}

/// Cutouts that stand on a plane which a camera looks over.
#[derive(Clone, Debug, serde::Serialize)]
struct Horizon {
    /// Height of the horizon, as a share of the canvas from its top.
    horizon: f64,
    /// Height of an object that stands at the lower edge, as a share of the canvas's.
    nearest: f64,
    /// Least and greatest number of layers, both included.
    layers: [u32; 2],
}

/// What the draws of a sample are for. Each purpose has a stream of its own, so that drawing more
/// for one changes none of the others.
const SCENE_STREAM: u64 = 0;
const LAYERS_STREAM: u64 = 1;

impl Recipe for Horizon {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        let draws = at.draws();
        sample.plan.scene = covering(ground, at.scene, &mut draws.stream(SCENE_STREAM));
        let draw = &mut draws.stream(LAYERS_STREAM);
        let count = draw.random_range(self.layers[0]..=self.layers[1]);
        let layers = &mut sample.plan.layers;
        layers.clear();
        layers.extend((0..count).filter_map(|_| self.layer(ground, draw)));
        // The last layer is on top: what stands lower is nearer and hides what is behind it.
        layers.sort_by_key(|layer| layer.offset[1] + layer.resized[1] as i32);
        sample.ignored.clear();
        sample.ignored.resize(layers.len(), false);
    }

    fn keep(&self) -> Keep {
        Keep {
            min_area: 16,
            min_visible_permille: 200,
            max_box_shift: None,
        }
    }

    fn pad(&self) -> [u8; 3] {
        [114; 3]
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({"name": "horizon", "settings": self})
    }

    fn check(&self, ground: &Ground) -> Result<(), SamplerError> {
        let fits = (0.0..1.0).contains(&self.horizon)
            && self.nearest > 0.0
            && self.nearest <= 1.0
            && self.layers[0] <= self.layers[1];
        if !fits {
            return Err(SamplerError::Setting {
                field: "horizon".to_owned(),
                problem: format!("{self:?}; shares in 0..1 and a range were expected"),
            });
        }
        if ground.bank.is_empty() {
            return Err(SamplerError::Empty { pack: "bank" });
        }
        Ok(())
    }
}

impl Horizon {
    /// A cutout whose lower edge is anywhere between the horizon and the bottom.
    fn layer(&self, ground: &Ground, draw: &mut impl Rng) -> Option<LayerPlan> {
        let row = ground.draw_cutout(draw)? as usize;
        let cutout = ground.bank.get(row)?;
        let canvas = [ground.canvas.width(), ground.canvas.height()].map(f64::from);
        // 0 at the horizon, 1 at the bottom. Nearer than a fifth it would be a few pixels.
        let nearness = draw.random_range(0.2..=1.0);
        let foot = canvas[1] * (self.horizon + (1.0 - self.horizon) * nearness);
        let height = canvas[1] * self.nearest * nearness;
        let centre = draw.random_range(0.0..canvas[0]);
        let flip = draw.random();
        // The object is a part of its cutout, which has some of its surroundings too.
        let [left, top, wide, tall] = cutout.bounding_box.map(f64::from);
        let source = [cutout.size.width(), cutout.size.height()].map(f64::from);
        let scale = height / tall.max(1.0);
        let resized = source.map(|side| (side * scale).round().clamp(1.0, 8192.0) as u32);
        let middle = match flip {
            false => left + wide / 2.0,
            true => source[0] - left - wide / 2.0,
        };
        let offset = [centre - middle * scale, foot - (top + tall) * scale];
        Some(LayerPlan {
            cutout: row as u64,
            resized,
            offset: offset.map(|edge| edge.round() as i32),
            flip,
            angle: 0.0,
            blend: Blend::Gaussian { sigma: 1.0 },
            color: ColorMatrix::default(),
        })
    }
}

/// The scene as small as still covers the canvas, cropped anywhere.
fn covering(ground: &Ground, scene: u64, draw: &mut impl Rng) -> ScenePlan {
    let canvas = [ground.canvas.width(), ground.canvas.height()];
    let source = ground.scenes.get(scene as usize);
    let source = source.map_or(ground.canvas, |scene| scene.size);
    let source = [source.width(), source.height()];
    let scale = |axis: usize| f64::from(canvas[axis]) / f64::from(source[axis]);
    let scale = scale(0).max(scale(1));
    let resized = source.map(|side| (f64::from(side) * scale).round().clamp(1.0, 8192.0) as u32);
    let offset = [0, 1].map(|axis| {
        -draw.random_range(0..=resized[axis].saturating_sub(canvas[axis]).cast_signed())
    });
    ScenePlan {
        index: scene,
        resized,
        offset,
        flip: draw.random(),
        color: ColorMatrix::default(),
    }
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    common::draw_and_pack(&flags.out, 24, 0)?;
    let (scenes, bank) = common::open(&flags.out)?;
    let recipe = Arc::new(Horizon {
        horizon: 0.3,
        nearest: 0.45,
        layers: [6, 14],
    });
    let sampler = Sampler::new(scenes.clone(), bank, recipe, [384, 288], 0)?;
    let options = LoaderOptions {
        batch_size: 4,
        epochs: Some(1),
        // Pictures as they are drawn: three bytes a pixel.
        output: OutputSpec {
            layout: Layout::Hwc,
            ..OutputSpec::default()
        },
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(sampler, options)?;
    let names = scenes.manifest().names();
    let mut sheet = Sheet::new(
        "Objects on the ground, the nearer the larger",
        4,
        (384, 288),
    );
    let mut pasted = 0;
    for batch in loader.by_ref().take(3) {
        let batch = batch?;
        for sample in 0..batch.len() {
            pasted += add_tile(&mut sheet, &batch, sample, |label| {
                names
                    .get(&label)
                    .map_or_else(|| label.to_string(), |name| name.to_string())
            })?;
        }
    }
    let path = flags.out.join("horizon.png");
    sheet.save(&path)?;
    println!("{}", loader.statistics());
    println!(
        "{}: {} samples, {pasted} pasted objects",
        path.display(),
        sheet.len()
    );
    Ok(())
}

/// Adds a sample with its masks and boxes. Returns how many of its objects were pasted.
fn add_tile(
    sheet: &mut Sheet,
    batch: &Batch,
    sample: usize,
    name: impl Fn(i64) -> String,
) -> Result<usize> {
    let canvas = batch.canvas();
    let view = batch.sample(sample).context("a batch has its samples")?;
    let pixels = batch
        .pixels(sample)
        .context("8-bit pixels were asked for")?;
    let image = RgbImage::from_raw(canvas.width(), canvas.height(), pixels.to_vec());
    let image = image.context("three bytes a pixel")?;
    let labels: Vec<String> = view.labels.iter().map(|&label| name(label)).collect();
    let overlay = |instance: usize| Overlay {
        mask: Mask {
            bits: view.mask(instance).unwrap_or_default(),
            stride_words: canvas.width().div_ceil(32) as usize,
        },
        box_xyxy: view.boxes[instance].map(|edge| edge as u32),
        label: &labels[instance],
        tint: tint(instance),
    };
    let overlays: Vec<Overlay> = (0..labels.len()).map(overlay).collect();
    let is_pasted = |source: &&InstanceSource| matches!(source, InstanceSource::Cutout(_));
    let pasted = view.sources.iter().filter(is_pasted).count();
    let caption = format!("image {}: {pasted} pasted", view.image_id);
    sheet.add(
        &tile_with_overlays(&image, &overlays, (384, 288)),
        &[caption],
    );
    Ok(pasted)
}
