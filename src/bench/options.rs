//! What is measured, on what and where.

use std::num::NonZero;
use std::sync::Arc;

use super::spread::Effort;
use super::workload::{Workload, output};
use crate::bank::{CutoutBank, ScenePack};
use crate::compose::OutputSpec;
use crate::loader::LoaderOptions;
use crate::plan::Blend;

/// One workload, and how long to measure it.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchOptions {
    /// Width and height of the images.
    pub canvas: [u32; 2],
    /// Images of a batch.
    pub batch: usize,
    /// Layers of an image.
    pub layers: usize,
    /// Mean side of a layer in pixels; they are drawn from half of it to one and a half times it.
    pub layer_side: u32,
    /// How the layers' edges are blended.
    pub blend: Blend,
    /// Form of images and masks.
    pub output: OutputSpec,
    /// Threads that gather and compose; all the machine has where `None`.
    pub threads: Option<NonZero<usize>>,
    /// Batches that a loader composes ahead; the loader's own default on a CPU and 3 on a GPU where
    /// `None`.
    pub prefetch: Option<usize>,
    /// Cutouts that a GPU keeps; nothing on a CPU.
    pub cutout_cache: CutoutCache,
    /// How long to measure.
    pub effort: Effort,
}

/// How much of a GPU's memory the loader may keep cutouts in that come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutoutCache {
    /// So much as the whole bank takes, or half of what is free.
    #[default]
    Whole,
    /// So many bytes; 0 for no cache.
    Bytes(u64),
}

impl Default for BenchOptions {
    /// Batches of 16 images of 1024² with 20 Gaussian layers of 150 pixels, f16 CHW and bit masks.
    fn default() -> BenchOptions {
        let Workload {
            layers,
            side,
            blend,
        } = Workload::default();
        BenchOptions {
            canvas: [1024; 2],
            batch: 16,
            layers,
            layer_side: side,
            blend,
            output: output(),
            threads: None,
            prefetch: None,
            cutout_cache: CutoutCache::default(),
            effort: Effort::default(),
        }
    }
}

/// Batches that are gathered, copied and composed ahead on a GPU.
#[cfg(feature = "cuda")]
const GPU_PREFETCH: usize = 3;

impl BenchOptions {
    /// The recipe.
    pub fn workload(&self) -> Workload {
        Workload {
            layers: self.layers,
            side: self.layer_side,
            blend: self.blend,
        }
    }

    /// Threads that gather and compose.
    pub fn thread_count(&self) -> NonZero<usize> {
        let all = || std::thread::available_parallelism().ok();
        let threads = self.threads.or_else(all);
        threads.map_or(NonZero::<usize>::MIN, |threads| {
            threads.min(crate::MOST_THREADS)
        })
    }

    /// Batches that a loader there composes ahead.
    pub fn prefetch_on(&self, on: &On) -> usize {
        let default = match on {
            On::Cpu => LoaderOptions::default().prefetch,
            #[cfg(feature = "cuda")]
            On::Gpu { .. } => GPU_PREFETCH,
        };
        self.prefetch.unwrap_or(default)
    }
}

/// Scenes and cutouts to compose.
#[derive(Clone, Debug)]
pub struct Packs {
    /// Where they come from, in words.
    pub name: String,
    /// The scenes.
    pub scenes: Arc<ScenePack>,
    /// The cutouts.
    pub bank: Arc<CutoutBank>,
}

/// Where to compose.
#[derive(Clone, Debug)]
pub enum On {
    /// On this machine's processor.
    Cpu,
    /// On a GPU; the processor is measured beside it.
    #[cfg(feature = "cuda")]
    Gpu {
        /// The GPU.
        gpu: crate::cuda::memory::Gpu,
        /// How long it took to open it and to load the kernels.
        opened_in: std::time::Duration,
    },
}

impl On {
    /// The GPU's name, and the seconds that opening it took.
    pub(super) fn gpu(&self) -> Option<(String, f64)> {
        match self {
            On::Cpu => None,
            #[cfg(feature = "cuda")]
            On::Gpu { gpu, opened_in } => Some((gpu.driver().name(), opened_in.as_secs_f64())),
        }
    }

    /// `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        match self {
            On::Cpu => "cpu",
            #[cfg(feature = "cuda")]
            On::Gpu { .. } => "cuda",
        }
    }
}
