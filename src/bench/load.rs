//! The whole loader, and the same one with nothing to compose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::free::Free;
use super::host::reference;
use super::report::{ceiling, percent};
use super::spread::Effort;
use super::{Bench, BenchError, Composing, Headspace, LoaderReport, Spread, Wait, Waits, Work};
use crate::compose::{Batch, Encoded};
use crate::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions, Statistics, Tail, Target};
use crate::plan::{CheckedPlan, Plan};
use crate::sampler::{Sample, Sampler};

/// Batches that fill a loader's ring and touch its memory, before anything is measured.
const WARM_UP_BATCHES: usize = 6;
/// Batches of one run at least: they come unevenly, since threads work on several at a time.
const LEAST_BATCHES: usize = 4;
/// Starts of a loader that are measured.
const STARTS: usize = 6;

/// Runs the loader that composes on the CPU; `composing` is the same without it.
pub(super) fn on_cpu(
    bench: &mut Bench<'_>,
    work: &Work<'_>,
    composing: &Composing,
) -> Result<LoaderReport, BenchError> {
    let options = loader_options(bench);
    let start = || Loader::new(work.sampler.clone(), options);
    let first_batch = first_batch(bench, start)?;
    let streamed = stream(bench, &mut start()?)?;
    if let Some(last) = &streamed.last {
        let expected = again(bench, &work.sampler, last.epoch(), last.indices())?;
        bench.check("the loader", last, &expected)?;
    }
    let (rate, waits) = (streamed.rate, streamed.waits());
    // Its memory goes before another loader takes its own.
    drop(streamed);
    let alone = Alone {
        images_per_second: composing.images_per_second.median,
        one_thread: Some(composing.one_thread.images_per_second.median),
        ceiling: ceiling::COPY_ALL_THREADS,
    };
    alone.told(bench, work, rate, waits, first_batch)
}

/// What a loader is held against.
pub(super) struct Alone {
    /// Images a second of composing alone.
    pub images_per_second: f64,
    /// The same on one thread of a CPU.
    pub one_thread: Option<f64>,
    /// The name of the ceiling.
    pub ceiling: &'static str,
}

impl Alone {
    /// All of a loader's figures; measures the headspace.
    pub fn told(
        &self,
        bench: &mut Bench<'_>,
        work: &Work<'_>,
        rate: Spread,
        waits: Waits,
        first_batch_seconds: Spread,
    ) -> Result<LoaderReport, BenchError> {
        let moved = rate.median * work.floor.bytes() / 1e9;
        let headspace = headspace(bench, work)?;
        Ok(LoaderReport {
            images_per_second: rate.median,
            images_per_second_per_core: rate.median / bench.cores,
            spread: rate,
            gigabytes_per_second: moved,
            percent_of_ceiling: percent(moved, bench.ceiling(self.ceiling)),
            percent_of_composing: percent(rate.median, self.images_per_second),
            percent_of_composing_times_cores: self
                .one_thread
                .map(|one| percent(rate.median, one * bench.cores)),
            threads: bench.threads.get(),
            waits,
            first_batch_seconds,
            headspace: Headspace {
                images_per_second: headspace,
                loader_percent: percent(rate.median, headspace.median),
            },
        })
    }
}

/// Images a second of a loader that finds every sample composed.
fn headspace(bench: &mut Bench<'_>, work: &Work<'_>) -> Result<Spread, BenchError> {
    let free = Free(Arc::clone(&work.expected));
    let mut loader = Loader::start(free, work.sampler.clone(), &loader_options(bench), None)?;
    Ok(stream(bench, &mut loader)?.rate)
}

/// What a loader is asked for.
pub(super) fn loader_options(bench: &Bench<'_>) -> LoaderOptions {
    LoaderOptions {
        batch_size: bench.options.batch,
        output: bench.options.output,
        threads: Some(bench.threads),
        tail: Tail::Pad,
        prefetch: bench.prefetch,
        ..LoaderOptions::default()
    }
}

/// A loader's batch, wherever it is.
pub(super) trait Loaded {
    /// How many images it has.
    fn images(&self) -> usize;

    /// Waits until it is composed.
    fn settle(&self) -> Result<(), BenchError> {
        Ok(())
    }
}

impl Loaded for LoadedBatch {
    fn images(&self) -> usize {
        self.len()
    }
}

impl Loaded for LoadedBatch<Free> {
    fn images(&self) -> usize {
        self.len()
    }
}

/// Seconds from the making of a loader until its first batch is composed.
pub(super) fn first_batch<T: Target>(
    bench: &Bench<'_>,
    start: impl Fn() -> Result<Loader<T>, LoaderError>,
) -> Result<Spread, BenchError>
where
    LoadedBatch<T>: Loaded,
{
    let effort = Effort {
        most_runs: STARTS.min(bench.options.effort.most_runs),
        ..bench.options.effort
    };
    effort.repeat(bench.goes_on, || {
        let started = Instant::now();
        let mut loader = start()?;
        if let Some(batch) = loader.next() {
            batch?.settle()?;
        }
        Ok(started.elapsed().as_secs_f64())
    })
}

/// What a loader gave while it was measured.
pub(super) struct Streamed<T: Target> {
    /// Images a second.
    pub rate: Spread,
    /// The last batch.
    pub last: Option<LoadedBatch<T>>,
    /// Its statistics before and after.
    pub statistics: [Statistics; 2],
}

/// Runs a loader, which has been running for a while then.
pub(super) fn stream<T: Target>(
    bench: &Bench<'_>,
    loader: &mut Loader<T>,
) -> Result<Streamed<T>, BenchError>
where
    LoadedBatch<T>: Loaded,
{
    for batch in (&mut *loader).take(WARM_UP_BATCHES) {
        batch?.settle()?;
    }
    let mut last = None;
    let time = bench.options.effort.loader_run;
    let before = loader.statistics();
    let rate = bench.repeat(|| {
        last = None;
        run(loader, time, &mut last)
    })?;
    Ok(Streamed {
        rate,
        last,
        statistics: [before, loader.statistics()],
    })
}

/// Images a second of one run. It ends when its last batch is composed.
fn run<T: Target>(
    loader: &mut Loader<T>,
    time: Duration,
    last: &mut Option<LoadedBatch<T>>,
) -> Result<f64, BenchError>
where
    LoadedBatch<T>: Loaded,
{
    let started = Instant::now();
    let mut images = 0;
    for (number, batch) in loader.enumerate() {
        let batch = batch?;
        images += batch.images();
        if number + 1 >= LEAST_BATCHES && started.elapsed() >= time {
            batch.settle()?;
            *last = Some(batch);
            break;
        }
    }
    Ok(images as f64 / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
}

impl<T: Target> Streamed<T> {
    /// Who waited while it was measured, the warm-up run included.
    pub fn waits(&self) -> Waits {
        let [before, after] = &self.statistics;
        let elapsed = (after.elapsed - before.elapsed).as_secs_f64();
        let wait = |of: fn(&Statistics) -> Duration, threads: usize| {
            let seconds = of(after).saturating_sub(of(before)).as_secs_f64();
            let whole = (elapsed * threads as f64).max(f64::MIN_POSITIVE);
            Wait {
                seconds,
                // A wait that ends while the clock runs may have begun before it.
                share: (seconds / whole).min(1.0),
            }
        };
        let slot = |it: &Statistics| it.device.unwrap_or_default().wait_for_slot;
        Waits {
            training_loop_for_batches: wait(|it| it.wait_for_batch, 1),
            workers_for_work: wait(|it| it.wait_for_work, after.threads),
            slots_of_the_device: after.device.map(|_| wait(slot, 1)),
            assembling: wait(|it| it.assemble, 1),
        }
    }
}

/// The samples of a loader's batch, drawn and composed again without it.
pub(super) fn again(
    bench: &Bench<'_>,
    sampler: &Sampler,
    epoch: u64,
    indices: impl Iterator<Item = u64>,
) -> Result<Batch, BenchError> {
    let ground = sampler.ground();
    let mut sample = Sample::default();
    let samples = indices.map(|index| {
        sampler.draw(epoch, index, 0, None, 0, &mut sample);
        sample.plan.clone()
    });
    let plan = Plan {
        samples: samples.collect(),
        ..sampler.plan(0..0)
    };
    let checked = CheckedPlan::new(&plan, &ground.scenes, &ground.bank)?;
    reference(bench.options.output, &Encoded::new(&checked)?)
}
