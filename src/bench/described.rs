//! A workload, in words and numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{ELEMENTS, LAYOUTS, MASKS, blend_name, name_of};
use super::workload::SCALES;
use super::{BenchOptions, CutoutCache, On, Packs};
use crate::bank::{ScenePack, ScenePixels};
use crate::plan::Blend;

/// All that a figure depends on but the machine and the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadReport {
    /// `cpu` or `cuda`.
    pub device: String,
    /// Width and height of the images in pixels.
    pub canvas: [u32; 2],
    /// Images of a batch.
    pub batch: usize,
    /// Layers of an image.
    pub layers: usize,
    /// Mean side of a layer in pixels.
    pub layer_side: u32,
    /// Least and greatest side of a layer in pixels.
    pub layer_sides: [u32; 2],
    /// How the layers' edges are blended.
    pub blend: Blend,
    /// Least and greatest width of a scene, in widths of the canvas.
    pub scene_scales: [f64; 2],
    /// Element type of the images: `u8`, `f16`, `bf16` or `f32`.
    pub element: String,
    /// Order of the images' dimensions: `chw` or `hwc`.
    pub layout: String,
    /// Form of the masks: `bits`, `rle` or `none`.
    pub masks: String,
    /// Threads that gather and compose.
    pub threads: usize,
    /// Batches that the loader composes ahead.
    pub prefetch: usize,
    /// Bytes of cutouts that the GPU may keep; nothing where it may keep the whole bank, and on a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout_cache_bytes: Option<u64>,
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
    /// Mean bytes of a cutout in its shards, mip chain and all.
    pub cutout_bytes: f64,
    /// Bytes of both packs' shards.
    pub pack_bytes: u64,
}

/// Scenes that are looked at to describe a pack.
const LOOKED_AT: usize = 4096;

/// Means over the first scenes of a pack.
struct Scenes {
    size: [f64; 2],
    jpeg: usize,
    instances: f64,
}

impl Scenes {
    fn of(scenes: &ScenePack) -> Scenes {
        let looked_at = scenes.len().min(LOOKED_AT);
        let (mut sides, mut instances, mut jpeg) = ([0.0; 2], 0, 0);
        for scene in (0..looked_at).filter_map(|index| scenes.get(index)) {
            sides[0] += f64::from(scene.size.width());
            sides[1] += f64::from(scene.size.height());
            instances += scene.instance_count();
            jpeg += usize::from(matches!(scene.pixels, ScenePixels::Jpeg(_)));
        }
        let count = looked_at.max(1) as f64;
        Scenes {
            size: sides.map(|side| (side / count).round()),
            jpeg: jpeg * scenes.len() / looked_at.max(1),
            instances: (instances as f64 / count * 10.0).round() / 10.0,
        }
    }
}

impl WorkloadReport {
    /// Describes what is measured; sizes, encodings and instances are means of the first scenes.
    pub fn of(packs: &Packs, on: &On, options: &BenchOptions) -> WorkloadReport {
        let (workload, output) = (options.workload(), options.output);
        let scenes = Scenes::of(&packs.scenes);
        WorkloadReport {
            device: on.name().to_owned(),
            canvas: options.canvas,
            batch: options.batch,
            layers: workload.layers,
            layer_side: workload.side,
            layer_sides: workload.sides(),
            blend: workload.blend,
            scene_scales: [SCALES.start, SCALES.end],
            element: name_of(&ELEMENTS, output.element).to_owned(),
            layout: name_of(&LAYOUTS, output.layout).to_owned(),
            masks: name_of(&MASKS, output.masks).to_owned(),
            threads: options.thread_count().get(),
            prefetch: options.prefetch_on(on),
            cutout_cache_bytes: match options.cutout_cache {
                CutoutCache::Bytes(bytes) if !matches!(on, On::Cpu) => Some(bytes),
                _ => None,
            },
            packs: packs.name.clone(),
            scenes: packs.scenes.len(),
            scene_size: scenes.size,
            jpeg_scenes: scenes.jpeg,
            instances_per_scene: scenes.instances,
            cutouts: packs.bank.len(),
            cutout_bytes: packs.bank.manifest().bytes() as f64 / packs.bank.len().max(1) as f64,
            pack_bytes: packs.scenes.manifest().bytes() + packs.bank.manifest().bytes(),
        }
    }

    /// What is composed into what: the first line.
    fn images(&self) -> String {
        let [width, height] = self.canvas;
        let [least, greatest] = self.layer_sides;
        let layers = match self.layers {
            0 => "no layers".to_owned(),
            layers => format!(
                "{layers} layers of {least} to {greatest} px (mean {}), blend {}",
                self.layer_side,
                blend_name(self.blend)
            ),
        };
        format!("{width}x{height}, batch {}, {layers}", self.batch)
    }

    fn loading(&self) -> String {
        let masks = match self.masks.as_str() {
            "none" => "no masks".to_owned(),
            masks => format!("masks as {masks}"),
        };
        let layout = self.layout.to_uppercase();
        // Mean and deviation are not those of 8-bit pixels.
        let normalised = match self.element.as_str() {
            "u8" => "",
            _ => " with mean and std of ImageNet",
        };
        let cache = match (self.device.as_str(), self.cutout_cache_bytes) {
            ("cpu", _) => String::new(),
            (_, Some(0)) => ", no cutout cache".to_owned(),
            (_, Some(bytes)) => format!(", cutout cache of {:.0} MB", bytes as f64 / 1e6),
            (_, None) => ", cutout cache for the whole bank".to_owned(),
        };
        format!(
            "{} {layout}{normalised}, {masks}; on {} with {} threads, prefetch {}{cache}",
            self.element, self.device, self.threads, self.prefetch
        )
    }

    fn sources(&self) -> String {
        let [width, height] = self.scene_size;
        let encoding = match self.jpeg_scenes {
            0 => "raw".to_owned(),
            jpeg if jpeg == self.scenes => "JPEG".to_owned(),
            jpeg => format!("{jpeg} of them JPEG"),
        };
        let [least, greatest] = self.scene_scales;
        format!(
            "{} scenes of {width}x{height} ({encoding}, {} instances each), at {least} to {greatest} \
             times the canvas's width; {} cutouts; {:.0} MB: {}",
            self.scenes,
            self.instances_per_scene,
            self.cutouts,
            self.pack_bytes as f64 / 1e6,
            self.packs
        )
    }
}

impl WorkloadReport {
    /// Whether most scenes are JPEG files.
    pub fn is_jpeg(&self) -> bool {
        self.jpeg_scenes > self.scenes / 2
    }
}

impl fmt::Display for WorkloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (images, loading, sources) = (self.images(), self.loading(), self.sources());
        write!(f, "{images}\n{loading}\n{sources}")
    }
}
