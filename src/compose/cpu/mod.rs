//! The CPU back end: the specification's stages over rows, a sample per worker thread.
//!
//! Per sample: the scene, then for each layer its `weights` and its blend onto the canvas
//! (`compose`); then what is `visible`, what stays (`settle`) and the conversion into the
//! batch (`convert`). Masks are never drawn one by one: a map of the topmost layer per pixel
//! answers for all of them in one pass.

mod compose;
mod convert;
mod rows;
mod sample;
mod settle;
mod visible;
mod weights;

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::batch::{Batch, SampleTarget};
use super::encode::Encoded;
use super::error::ComposeError;
use super::{Backend, output::Layout};
use compose::{Canvas, Full};
use convert::Tables;
use visible::Visible;
use weights::Weights;

/// Composes batches on the CPU. Keeps its scratch memory from batch to batch.
#[derive(Debug)]
pub struct CpuBackend {
    workers: Vec<Worker>,
}

/// One thread's scratch.
#[derive(Debug, Default)]
struct Worker {
    canvas: Canvas,
    weights: Weights,
    visible: Visible,
    full: Vec<Full>,
    mask_bits: Vec<u32>,
}

/// The samples that no worker has taken yet.
type Queue<'a> = Mutex<std::vec::IntoIter<SampleTarget<'a>>>;

impl CpuBackend {
    /// A back end of that many threads (at most 1024); as many as the machine has where `None` is
    /// given.
    pub fn new(threads: Option<NonZero<usize>>) -> CpuBackend {
        let threads = threads
            .or_else(|| thread::available_parallelism().ok())
            .map_or(1, |threads| threads.min(crate::MOST_THREADS).get());
        CpuBackend {
            workers: (0..threads).map(|_| Worker::default()).collect(),
        }
    }

    /// How many threads compose.
    pub fn threads(&self) -> usize {
        self.workers.len()
    }
}

impl Backend for CpuBackend {
    fn compose_samples(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        batch: &mut Batch,
    ) -> Result<(), ComposeError> {
        batch.spec().check()?;
        let tables = Tables::new(batch.spec());
        let layout = batch.spec().layout;
        let targets = batch.prepare(encoded, samples)?;
        let workers = self.workers.len().min(targets.len());
        let queue: Queue<'_> = Mutex::new(targets.into_iter());
        if workers <= 1 {
            // On the caller's own thread there is nothing to start and nothing to join.
            work(&mut self.workers[0], encoded, &queue, &tables, layout)?;
        } else {
            thread::scope(|scope| {
                let (queue, tables) = (&queue, &tables);
                let threads: Vec<_> = self.workers[..workers]
                    .iter_mut()
                    .map(|worker| scope.spawn(move || work(worker, encoded, queue, tables, layout)))
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
        drop(queue);
        batch.collect(encoded, samples);
        Ok(())
    }
}

fn work(
    worker: &mut Worker,
    encoded: &Encoded<'_>,
    queue: &Queue<'_>,
    tables: &Tables,
    layout: Layout,
) -> Result<(), ComposeError> {
    loop {
        // Taking from the iterator cannot panic, so a poisoned lock still guards whole data.
        let next = lock(queue).next();
        let Some(target) = next else {
            return Ok(());
        };
        worker.sample(encoded, target, tables, layout)?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// One sample from its sources to its place in the batch.
    fn sample(
        &mut self,
        encoded: &Encoded<'_>,
        target: SampleTarget<'_>,
        tables: &Tables,
        layout: Layout,
    ) -> Result<(), ComposeError> {
        let sample = &encoded.samples[target.sample];
        let canvas = &mut self.canvas;
        canvas.reset(encoded.canvas);
        let texels = encoded.sources[sample.source as usize].texels()?;
        canvas.scene(sample, &texels, encoded.pad);
        self.full.clear();
        for (number, layer) in encoded.layers_of(sample).iter().enumerate() {
            let texels = encoded.sources[layer.source as usize].texels()?;
            let filter = match layer.radius {
                0 => &[],
                _ => encoded.filter_of(layer),
            };
            self.weights.compute(layer, &texels, filter, canvas.rect());
            let full = canvas.layer(number as u16, layer, &texels, &self.weights);
            self.full.push(full);
        }
        self.visible.count_layers(canvas, &self.full);
        let results = settle::Results {
            masks: target.mask_output,
            bits: target.mask_bits,
            scratch: &mut self.mask_bits,
            settled: target.settled,
        };
        settle::settle(
            encoded,
            sample,
            canvas,
            &self.full,
            &mut self.visible,
            results,
        )?;
        convert::convert(canvas, tables, layout, target.image);
        Ok(())
    }
}
