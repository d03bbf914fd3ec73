//! The flags of `pastebank bench` that say what is composed and loaded.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::common::{Threads, Usage, goes_on, parse_bytes, parse_canvas};
use crate::bank::{CutoutBank, ScenePack};
use crate::bench::names::{ELEMENTS, ENCODINGS, LAYOUTS, MASKS, named, parse_blend};
use crate::bench::{
    BenchError, BenchOptions, CutoutCache, LEAST_SIDE, On, Packs, SyntheticOptions, output,
    synthetic_packs,
};
use crate::compose::{ElementType, Layout, MaskOutput, OutputSpec, Simd};
use crate::geometry::MAX_CANVAS_SIDE;
use crate::pack::Encoding;
use crate::plan::Blend;

/// The workload: what is not given is that of the library's benchmarks.
#[derive(Args, Clone)]
#[command(next_help_heading = "Workload")]
pub(super) struct WorkloadFlags {
    /// Size of the images [default: 1024x1024].
    #[arg(long, value_name = "WxH", value_parser = parse_canvas)]
    pub canvas: Option<[u32; 2]>,
    /// Images of a batch [default: 16].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: Option<u16>,
    /// Layers of an image [default: 20].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub layers: Option<u16>,
    /// Mean side of a layer; they are drawn from half of it to one and a half times it [default: 150].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=MAX_CANVAS_SIDE as i64))]
    pub layer_side: Option<u32>,
    /// How the layers' edges are blended [default: gaussian:2].
    #[arg(long, value_name = "hard|soft|gaussian:S|box:R", value_parser = parse_blend)]
    pub blend: Option<Blend>,
    /// Element type of the images [default: f16].
    #[arg(long, value_name = "u8|f16|bf16|f32", value_parser = |name: &str| parse_named(&ELEMENTS, name))]
    pub element: Option<ElementType>,
    /// Order of the images' dimensions [default: chw].
    #[arg(long, value_name = "chw|hwc", value_parser = |name: &str| parse_named(&LAYOUTS, name))]
    pub layout: Option<Layout>,
    /// Form of the masks [default: bits].
    #[arg(long, value_name = "bits|rle|none", value_parser = |name: &str| parse_named(&MASKS, name))]
    pub masks: Option<MaskOutput>,
    #[command(flatten)]
    pub threads: Threads,
    /// Batches that the loader composes ahead [default: 2, on a GPU 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub prefetch: Option<u16>,
    /// Memory of the GPU for cutouts that come again: `none`, bytes such as 4G, or `all` for the whole
    /// bank [default: all].
    #[arg(long, value_name = "none|BYTES|all", value_parser = parse_cache)]
    pub cutout_cache: Option<CutoutCache>,
    /// Instruction set of the inner loops on the CPU [default: the widest that the machine has].
    #[arg(long, value_name = "baseline|sse|avx2|avx512", value_parser = |name: &str| name.parse::<Simd>())]
    pub simd: Option<Simd>,
}

/// Where scenes and cutouts come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Scenes and cutouts")]
pub(super) struct SourceFlags {
    /// Folder of a scene pack; several follow one another.
    #[arg(long, value_name = "DIR", requires = "bank")]
    pub scenes: Vec<PathBuf>,
    /// Folder of a bank; several follow one another.
    #[arg(long, value_name = "DIR", requires = "scenes")]
    pub bank: Vec<PathBuf>,
    /// Draw packs to measure with, in a temporary folder: the default without --scenes and --bank.
    #[arg(long, conflicts_with_all = ["scenes", "bank"])]
    pub synthetic: bool,
    /// Photographs that are drawn [default: 256, with --quick 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub synthetic_scenes: Option<u32>,
    /// Their size [default: 640x480].
    #[arg(long, value_name = "WxH", value_parser = parse_scene_size)]
    pub scene_size: Option<[u32; 2]>,
    /// Instances of each, and cutouts that the bank gets of it [default: 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub instances: Option<u16>,
    /// How they are stored in the scene pack [default: raw].
    #[arg(long, value_name = "raw|jpeg", value_parser = |name: &str| parse_named(&ENCODINGS, name))]
    pub encoding: Option<Encoding>,
}

fn parse_named<T: Copy>(list: &[(&str, T)], name: &str) -> Result<T, String> {
    named(list, name).ok_or_else(|| {
        let names: Vec<_> = list.iter().map(|(name, _)| *name).collect();
        format!("one of {} was expected", names.join(", "))
    })
}

fn parse_cache(text: &str) -> Result<CutoutCache, String> {
    match text {
        "all" => Ok(CutoutCache::Whole),
        "none" => Ok(CutoutCache::Bytes(0)),
        bytes => parse_bytes(bytes)
            .map(CutoutCache::Bytes)
            .map_err(|_| "none, all or a number of bytes such as 4G was expected".to_owned()),
    }
}

fn parse_scene_size(text: &str) -> Result<[u32; 2], String> {
    let least = LEAST_SIDE;
    parse_canvas(text)
        .ok()
        .filter(|size| size.iter().all(|&side| side >= least))
        .ok_or_else(|| {
            let most = MAX_CANVAS_SIDE;
            format!("WIDTHxHEIGHT with sides of {least}..={most} was expected, such as 640x480")
        })
}

impl WorkloadFlags {
    /// The workload, with the default effort.
    pub fn options(&self) -> BenchOptions {
        let default = BenchOptions::default();
        BenchOptions {
            canvas: self.canvas.unwrap_or(default.canvas),
            batch: self.batch.map_or(default.batch, usize::from),
            layers: self.layers.map_or(default.layers, usize::from),
            layer_side: self.layer_side.unwrap_or(default.layer_side),
            blend: self.blend.unwrap_or(default.blend),
            output: OutputSpec {
                element: self.element.unwrap_or(default.output.element),
                layout: self.layout.unwrap_or(default.output.layout),
                masks: self.masks.unwrap_or(default.output.masks),
                ..output()
            },
            threads: self.threads.threads,
            prefetch: self.prefetch.map(usize::from),
            cutout_cache: self.cutout_cache.unwrap_or_default(),
            ..default
        }
    }

    /// Refuses flags that would change nothing on that device.
    pub fn check(&self, on: &On) -> Result<()> {
        let is_cpu = matches!(on, On::Cpu);
        if is_cpu && self.cutout_cache.is_some() {
            return Err(refuse(
                "--cutout-cache",
                "it is memory of a GPU, and the loader composes on the CPU here; --device cuda was \
                 expected with it",
            ));
        }
        let layer_flags = [
            ("--layer-side", self.layer_side.is_some()),
            ("--blend", self.blend.is_some()),
            ("--cutout-cache", self.cutout_cache.is_some()),
        ];
        match layer_flags.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if self.layers == Some(0) => Err(refuse(
                flag,
                "it is about layers, and --layers 0 leaves none",
            )),
            _ => Ok(()),
        }
    }

    /// Settles the instruction set, before anything is composed.
    pub fn choose_simd(&self) -> Result<()> {
        match self.simd {
            Some(simd) if !simd.make_default() => Err(refuse(
                "--simd",
                "another instruction set is in use already",
            )),
            _ => Ok(()),
        }
    }
}

impl SourceFlags {
    /// Refuses flags of drawn packs where there are the user's own.
    pub fn check(&self) -> Result<()> {
        let drawn = [
            ("--synthetic-scenes", self.synthetic_scenes.is_some()),
            ("--scene-size", self.scene_size.is_some()),
            ("--instances", self.instances.is_some()),
            ("--encoding", self.encoding.is_some()),
        ];
        match drawn.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if !self.scenes.is_empty() => Err(refuse(
                flag,
                "it says how packs are drawn, and those of --scenes and --bank are as they are; \
                 --synthetic was expected with it",
            )),
            _ => Ok(()),
        }
    }

    /// What is drawn where there are no packs of the user's.
    pub fn synthetic(&self, scenes: usize) -> SyntheticOptions {
        let default = SyntheticOptions::default();
        SyntheticOptions {
            scenes: self
                .synthetic_scenes
                .map_or(scenes, |scenes| scenes as usize),
            scene_size: self.scene_size.unwrap_or(default.scene_size),
            instances: self.instances.map_or(default.instances, usize::from),
            encoding: self.encoding.unwrap_or(default.encoding),
        }
    }

    /// The user's packs, or `scenes` photographs drawn below `folder` unless the flags say how many.
    pub fn packs(&self, folder: &Path, scenes: usize) -> Result<Packs, BenchError> {
        if self.scenes.is_empty() {
            let options = self.synthetic(scenes);
            eprintln!("drawing and packing {} photographs …", options.scenes);
            return synthetic_packs(folder, &options, &goes_on);
        }
        let scenes = self.scenes.iter().map(|folder| ScenePack::open(folder));
        let banks = self.bank.iter().map(|folder| CutoutBank::open(folder));
        let folders = self.scenes.iter().chain(&self.bank);
        let folders: Vec<String> = folders.map(|path| path.display().to_string()).collect();
        Ok(Packs {
            name: folders.join(", "),
            scenes: ScenePack::join(scenes.collect::<Result<_, _>>()?)?.into(),
            bank: CutoutBank::join(banks.collect::<Result<_, _>>()?)?.into(),
        })
    }
}

fn refuse(flag: &str, why: &str) -> anyhow::Error {
    Usage(format!("{flag}: {why}")).into()
}
