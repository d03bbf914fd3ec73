//! What the CPU does: copying memory, composing, loading.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use super::check::difference;
use super::report::{Case, Measurement};
use super::spread::{Effort, seconds_of};
use super::workload::output;
use super::{Bench, BenchError, Work};
use crate::compose::{Backend, Batch, CpuBackend, Encoded};
use crate::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions, Tail};
use crate::plan::{CheckedPlan, Plan};
use crate::sampler::{Sample, Sampler};

/// The ceiling of what the CPU moves.
const COPY: &str = "CPU copy bandwidth";
/// Batches that fill a loader's ring and touch its memory, before anything is measured.
const WARM_UP_BATCHES: usize = 6;
/// Batches of one run at least: they come unevenly, since threads work on several at a time.
const LEAST_BATCHES: usize = 4;
/// Starts of a loader that are measured.
const STARTS: usize = 3;

/// How fast all threads together copy memory: bytes read and written.
pub(super) fn copy_bandwidth(bench: &Bench<'_>) -> Result<Measurement, BenchError> {
    let bytes = bench.options.effort.copied_bytes / 2;
    let (from, mut to) = (memory(bytes)?, memory(bytes)?);
    let piece = bytes.div_ceil(bench.threads.get()).max(1);
    let copied = bench.repeat(|| {
        let seconds = seconds_of(|| {
            thread::scope(|scope| {
                for (to, from) in to.chunks_mut(piece).zip(from.chunks(piece)) {
                    scope.spawn(|| to.copy_from_slice(from));
                }
            });
            // Else a compiler may leave out what nobody reads.
            std::hint::black_box(&mut to);
            Ok::<_, BenchError>(())
        })?;
        Ok(2.0 * bytes as f64 / seconds / 1e9)
    })?;
    Ok(Measurement::new(COPY, "GB/s", copied))
}

fn memory(bytes: usize) -> Result<Vec<u8>, BenchError> {
    let mut memory = Vec::new();
    let reserved = memory.try_reserve_exact(bytes);
    reserved.map_err(|_| BenchError::Memory { bytes })?;
    memory.resize(bytes, 1);
    Ok(memory)
}

/// Composes the batch on all threads.
pub(super) fn compose(bench: &Bench<'_>, work: &Work<'_>) -> Result<Measurement, BenchError> {
    let mut backend = CpuBackend::new(Some(bench.threads));
    let mut batch = Batch::new(output());
    let spread = bench.repeat(|| {
        seconds_of(|| Ok::<_, BenchError>(backend.compose(&work.encoded, &mut batch)?))
    })?;
    let what = "CPU composing";
    work.check(what, &batch)?;
    let rate = spread.map(|seconds| work.case.batch as f64 / seconds);
    let moved = rate.median * work.floor.bytes() / 1e9;
    Ok(Measurement::new(what, "images/s", rate)
        .moving(moved)
        .share(moved, bench.ceiling(COPY), "CPU copy"))
}

/// Runs the loader that composes on the CPU; `composing` is the same without it.
pub(super) fn load(
    bench: &Bench<'_>,
    work: &Work<'_>,
    composing: Measurement,
) -> Result<Vec<Measurement>, BenchError> {
    let options = loader_options(bench, work.case, LoaderOptions::default().prefetch);
    let start = || Loader::new(work.sampler.clone(), options);
    let first = first_batch(bench, "CPU first batch", start)?;
    let what = "CPU loader";
    let (rate, last) = stream(bench, &mut start()?)?;
    if let Some(last) = last {
        let expected = again(bench, &work.sampler, last.epoch(), last.indices())?;
        right(work.case, what, &last, &expected)?;
    }
    let alone = composing.spread.median;
    let loaded = Measurement::new(what, "images/s", rate);
    let loaded = loaded.share(rate.median, alone, "CPU composing");
    Ok(vec![composing, loaded, first])
}

/// What a loader is asked for in that case.
pub(super) fn loader_options(bench: &Bench<'_>, case: Case, prefetch: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size: case.batch,
        output: output(),
        threads: Some(bench.threads),
        tail: Tail::Pad,
        prefetch,
        ..LoaderOptions::default()
    }
}

/// A loader's batch, wherever it is.
pub(super) trait Loaded {
    /// How many images it has.
    fn images(&self) -> usize;

    /// Waits until it is composed.
    fn settle(&self) -> Result<(), BenchError>;
}

impl Loaded for LoadedBatch {
    fn images(&self) -> usize {
        self.len()
    }

    fn settle(&self) -> Result<(), BenchError> {
        Ok(())
    }
}

/// Seconds from the making of a loader until its first batch is composed.
pub(super) fn first_batch<B: Loaded, L: Iterator<Item = Result<B, LoaderError>>>(
    bench: &Bench<'_>,
    what: &'static str,
    start: impl Fn() -> Result<L, LoaderError>,
) -> Result<Measurement, BenchError> {
    let effort = Effort {
        runs: STARTS.min(bench.options.effort.runs),
        ..bench.options.effort
    };
    let spread = effort.repeat(bench.goes_on, || {
        let started = Instant::now();
        let mut loader = start()?;
        if let Some(batch) = loader.next() {
            batch?.settle()?;
        }
        Ok(started.elapsed().as_secs_f64())
    })?;
    Ok(Measurement::new(what, "s", spread))
}

/// Images a second of a loader that has been running for a while, and the last batch.
pub(super) fn stream<B: Loaded>(
    bench: &Bench<'_>,
    mut loader: &mut dyn Iterator<Item = Result<B, LoaderError>>,
) -> Result<(super::Spread, Option<B>), BenchError> {
    for batch in (&mut loader).take(WARM_UP_BATCHES) {
        batch?.settle()?;
    }
    let mut last = None;
    let time = bench.options.effort.loader_run;
    let spread = bench.repeat(|| {
        last = None;
        run(loader, time, &mut last)
    })?;
    Ok((spread, last))
}

/// Images a second of one run. It ends when its last batch is composed.
fn run<B: Loaded>(
    loader: &mut dyn Iterator<Item = Result<B, LoaderError>>,
    time: Duration,
    last: &mut Option<B>,
) -> Result<f64, BenchError> {
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
    reference(bench.threads, &Encoded::new(&checked)?)
}

/// A batch composed by a back end of its own.
pub(super) fn reference(
    threads: NonZero<usize>,
    encoded: &Encoded<'_>,
) -> Result<Batch, BenchError> {
    let mut batch = Batch::new(output());
    CpuBackend::new(Some(threads)).compose(encoded, &mut batch)?;
    Ok(batch)
}

/// An error unless both are equal to the bit.
pub(super) fn right(
    case: Case,
    what: &'static str,
    found: &Batch,
    expected: &Batch,
) -> Result<(), BenchError> {
    match difference(found, expected) {
        None => Ok(()),
        Some(problem) => Err(BenchError::Wrong {
            case: case.to_string(),
            what,
            problem,
        }),
    }
}

impl Work<'_> {
    /// An error unless `found` is the batch that was to be composed.
    pub fn check(&self, what: &'static str, found: &Batch) -> Result<(), BenchError> {
        right(self.case, what, found, &self.expected)
    }
}
