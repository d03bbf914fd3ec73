//! The CPU back end: the specification's stages over rows, a sample per worker thread.
//!
//! Per sample: the scene, then for each layer its blend `weights`, its blend onto the canvas
//! (`compose`) and the bits of its mask (`visible`); then what of the masks is visible, what stays
//! (`settle`) and the conversion into the batch (`convert`).

mod bilinear;
mod compose;
mod convert;
mod costs;
mod filter;
mod layer;
mod placed;
mod rows;
mod sample;
mod settle;
mod visible;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Backend;
use super::batch::{Batch, SampleSlot, words_of};
use super::encode::{Encoded, EncodedSample, LAYER_CHANNELS, Source};
use super::error::ComposeError;
use super::output::{MaskOutput, OutputSpec};
use super::simd::Simd;
use crate::bank::SCENE_CHANNELS;
use compose::Canvas;
use convert::Tables;
use costs::Stopwatch;
pub use costs::{StageCost, StageCosts};
use layer::LayerPixels;
use visible::Visible;
use weights::Weights;

/// Composes batches on the CPU. Keeps its scratch memory from batch to batch.
#[derive(Debug)]
pub struct CpuBackend {
    composers: Vec<SampleComposer>,
}

/// Composes one sample after another on the thread that owns it, and keeps its scratch memory.
#[derive(Debug, Default)]
pub(crate) struct SampleComposer {
    canvas: Canvas,
    layer: LayerPixels,
    weights: Weights,
    visible: Visible,
    mask_bits: Vec<u32>,
    /// Texels of the JPEG scene that was decoded last.
    decoded: Vec<u8>,
    simd: Simd,
    costs: StageCosts,
    /// Made once for the output that was asked for last.
    tables: Option<(OutputSpec, Tables)>,
}

/// The samples that no thread has taken yet, each with its place in the encoded plan.
type Queue<'a> =
    Mutex<std::iter::Zip<std::slice::Iter<'a, usize>, std::slice::IterMut<'a, SampleSlot>>>;

impl CpuBackend {
    /// A back end of that many threads (at most 1024); as many as the machine has where `None` is
    /// given.
    pub fn new(threads: Option<NonZero<usize>>) -> CpuBackend {
        CpuBackend::with_simd(threads, Simd::detected())
    }

    /// As [`CpuBackend::new`], with the inner loops of that instruction set.
    pub fn with_simd(threads: Option<NonZero<usize>>, simd: Simd) -> CpuBackend {
        let threads = threads
            .or_else(|| thread::available_parallelism().ok())
            .map_or(1, |threads| threads.min(crate::MOST_THREADS).get());
        CpuBackend {
            composers: (0..threads)
                .map(|_| SampleComposer {
                    simd,
                    ..SampleComposer::default()
                })
                .collect(),
        }
    }

    /// What composing took since this back end was made, stage by stage, summed over its threads.
    pub fn costs(&self) -> StageCosts {
        let mut costs = StageCosts::default();
        for composer in &self.composers {
            costs.add(&composer.costs);
        }
        costs
    }

    /// How many threads compose.
    pub fn threads(&self) -> usize {
        self.composers.len()
    }
}

impl Backend for CpuBackend {
    fn compose_samples(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        batch: &mut Batch,
    ) -> Result<(), ComposeError> {
        let spec = *batch.spec();
        spec.check()?;
        let count = encoded.samples.len();
        if let Some(&sample) = samples.iter().find(|&&sample| sample >= count) {
            batch.clear();
            return Err(ComposeError::NoSample { sample, count });
        }
        batch.begin(encoded.canvas, samples.len())?;
        let slots = &mut batch.slots_mut()[..samples.len()];
        let threads = self.composers.len().min(samples.len());
        let queue: Queue<'_> = Mutex::new(samples.iter().zip(slots));
        if threads <= 1 {
            // On the caller's own thread there is nothing to start and nothing to join.
            work(&mut self.composers[0], encoded, &queue, &spec)?;
        } else {
            thread::scope(|scope| {
                let (queue, spec) = (&queue, &spec);
                let threads: Vec<_> = self.composers[..threads]
                    .iter_mut()
                    .map(|composer| scope.spawn(move || work(composer, encoded, queue, spec)))
                    .collect();
                // All are joined before the first error leaves.
                let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
                results.into_iter().try_for_each(|result| {
                    result.unwrap_or_else(|panic| {
                        let message = crate::panic_message(&*panic);
                        Err(ComposeError::Panic { message })
                    })
                })
            })?;
        }
        batch.finish(samples.len());
        Ok(())
    }
}

fn work(
    composer: &mut SampleComposer,
    encoded: &Encoded<'_>,
    queue: &Queue<'_>,
    spec: &OutputSpec,
) -> Result<(), ComposeError> {
    loop {
        // Taking from the iterator cannot panic, so a poisoned lock still guards whole data.
        let next = lock(queue).next();
        let Some((&sample, slot)) = next else {
            return Ok(());
        };
        composer.compose(encoded, sample, spec, slot)?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SampleComposer {
    /// Composes sample number `sample` of the encoded plan, which must have it, into its slot.
    pub fn compose(
        &mut self,
        encoded: &Encoded<'_>,
        sample: usize,
        spec: &OutputSpec,
        slot: &mut SampleSlot,
    ) -> Result<(), ComposeError> {
        let sample = &encoded.samples[sample];
        slot.image_id = sample.image;
        self.draw(encoded, sample)?;
        self.settle(encoded, sample, spec, slot)?;
        let mut watch = Stopwatch::start();
        if self
            .tables
            .as_ref()
            .is_none_or(|(made_for, _)| made_for != spec)
        {
            self.tables = Some((*spec, Tables::new(spec)));
        }
        if let Some((_, tables)) = &self.tables {
            convert::convert(
                self.simd,
                &self.canvas,
                tables,
                spec.layout,
                &mut slot.image,
            );
        }
        let pixels = encoded.canvas.pixels();
        let moved = pixels * 3 * (1 + spec.element.bytes());
        watch.lap(&mut self.costs.convert, moved);
        Ok(())
    }

    /// The scene and all layers, onto the canvas.
    fn draw(&mut self, encoded: &Encoded<'_>, sample: &EncodedSample) -> Result<(), ComposeError> {
        let mut watch = Stopwatch::start();
        let canvas = &mut self.canvas;
        let scene = encoded.sources[sample.source as usize];
        let texels = scene.texels_into(&mut self.decoded)?;
        let decoded = match scene {
            Source::Mapped(_) => 0,
            Source::Jpeg { file, .. } => file.len() + texels.len(),
        };
        watch.lap(&mut self.costs.decode, decoded);
        canvas.reset(encoded.canvas);
        canvas.scene(self.simd, sample, texels, encoded.pad);
        let whole = canvas.rect();
        let read = sample.sampling.bytes_on(whole, SCENE_CHANNELS) as usize;
        let moved = read + 3 * encoded.canvas.pixels();
        watch.lap(&mut self.costs.compose, moved);
        self.visible.reset(encoded.canvas);
        for layer in encoded.layers_of(sample) {
            let texels = encoded.sources[layer.source as usize].texels()?;
            let filter = match layer.radius {
                0 => &[],
                _ => encoded.filter_of(layer),
            };
            let around = self.weights.place(layer, canvas.rect());
            self.layer.sample(self.simd, layer, &texels, around);
            let read = layer.sampling.bytes_on(whole, LAYER_CHANNELS) as usize;
            let sampled = LAYER_CHANNELS * around.width() * around.height();
            watch.lap(&mut self.costs.compose, read + sampled);
            self.weights.compute(self.simd, layer, &self.layer, filter);
            let rect = self.weights.mask_rect;
            let (masked, weighted) = (rect.width() * rect.height(), self.weights.weighted_pixels());
            // Alpha is read, weight written.
            watch.lap(&mut self.costs.weights, masked + weighted);
            canvas.blend(self.simd, layer, &mut self.layer, &self.weights);
            // Weights and colours are read, planes read and written.
            watch.lap(&mut self.costs.compose, 10 * weighted);
            self.visible
                .add_layer(self.simd, &self.layer, rect, canvas.rect())?;
            watch.lap(&mut self.costs.visible, masked + masked / 8);
        }
        Ok(())
    }

    /// What is visible and what of it stays.
    fn settle(
        &mut self,
        encoded: &Encoded<'_>,
        sample: &EncodedSample,
        spec: &OutputSpec,
        slot: &mut SampleSlot,
    ) -> Result<(), ComposeError> {
        let mut watch = Stopwatch::start();
        let moved = self.visible.occlude_layers(self.simd);
        watch.lap(&mut self.costs.visible, moved);
        if spec.masks == MaskOutput::Bits {
            let candidates = (sample.instance_count + sample.layer_count) as usize;
            let stride = words_of(encoded.canvas.width() as usize);
            let height = encoded.canvas.height() as usize;
            slot.masks.reserve(candidates, stride, height)?;
        }
        let results = settle::Results {
            masks: spec.masks,
            bits: &mut slot.masks,
            scratch: &mut self.mask_bits,
            settled: &mut slot.settled,
        };
        settle::settle(encoded, sample, self.simd, &mut self.visible, results)?;
        let masks = encoded.instances_of(sample).map(|(_, mask)| mask.len());
        let written = slot.settled.iter().map(settle::bytes_of);
        let moved = masks.sum::<usize>() + written.sum::<usize>();
        watch.lap(&mut self.costs.settle, moved);
        Ok(())
    }
}
