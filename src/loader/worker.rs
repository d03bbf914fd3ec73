//! What a worker thread does: draw, check, gather, compose; one sample after another.
//!
//! A worker decides nothing: which sample it composes, and into whose memory, comes with the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use super::options::LoaderOptions;
use super::resident::mapped_bytes;
use super::statistics::StageTimes;
use super::steps::Place;
use super::target::{Compose, Refusal};
use crate::bank::{CutoutBank, ScenePack, mip};
use crate::compose::{ComposeError, Encoder, rules};
use crate::plan::{CheckedPlan, Plan};
use crate::sampler::{MOST_ATTEMPTS, Sample, Sampler};

/// It is asked again how much is mapped once this part of what may be was read: asking takes a few
/// microseconds, in which a machine reads a hundred kilobytes.
const CHECKS_TO_THE_LIMIT: u64 = 64;
/// Least bytes that are read before it is asked again.
const BETWEEN_CHECKS: u64 = 1 << 20;

/// One sample to be composed.
#[derive(Debug)]
pub(super) struct Job<T: Compose> {
    /// The batch, counted from the loader's first.
    pub ticket: u64,
    /// The sample's number in its batch.
    pub number: usize,
    pub sampler: Arc<Sampler>,
    pub epoch: u64,
    pub epochs: Option<u64>,
    pub step: u64,
    pub place: Place,
    pub piece: T::Piece,
    /// Where the unpasted twin goes, if it is wanted.
    pub twin: Option<T::Piece>,
}

/// A job that has come back, done or not.
#[derive(Debug)]
pub(super) struct Done<T: Compose> {
    pub ticket: u64,
    pub number: usize,
    pub piece: T::Piece,
    pub twin: Option<T::Piece>,
    pub outcome: Result<Composed, Failure>,
    pub stages: StageTimes,
    /// How long the thread had waited for the job.
    pub waited: Duration,
}

/// How composing a sample went.
#[derive(Debug, Default)]
pub(super) struct Composed {
    pub source_bytes: u64,
    /// Why it was drawn again, once for each time.
    pub replaced: Vec<String>,
}

/// Why a sample could not be composed.
#[derive(Debug)]
pub(super) enum Failure {
    Compose(ComposeError),
    NoReplacement(Vec<String>),
    Panic(String),
    /// Its piece of memory was too small.
    TooSmall,
    /// All samples were there, but their batch could not be made of them.
    Batch(ComposeError),
    /// The run had gone on without it.
    Cancelled,
}

/// What all workers of a loader share.
#[derive(Debug)]
pub(super) struct Shared<T: Compose> {
    pub scenes: Arc<ScenePack>,
    pub bank: Arc<CutoutBank>,
    pub target: Arc<T::Shared>,
    /// Jobs that are still in the queue come back undone.
    pub is_cancelled: AtomicBool,
    /// Bytes of mapped pixels that were read since it was last asked what is mapped.
    pub unreleased_bytes: AtomicU64,
    /// Resident bytes of mapped files when that was asked last.
    pub mapped_before: AtomicU64,
    /// Resident bytes of mapped files from which on their pages are released.
    pub mapped_limit: u64,
}

impl<T: Compose> Shared<T> {
    pub fn new(target: &T, sampler: &Sampler, options: &LoaderOptions) -> Shared<T> {
        let ground = sampler.ground();
        Shared {
            scenes: Arc::clone(&ground.scenes),
            bank: Arc::clone(&ground.bank),
            target: target.shared(),
            is_cancelled: false.into(),
            unreleased_bytes: 0.into(),
            mapped_before: 0.into(),
            mapped_limit: options.mapped_limit,
        }
    }
}

/// Takes jobs until there are no more to come.
pub(super) fn run<T: Compose>(shared: &Shared<T>, jobs: &Receiver<Job<T>>, done: &Sender<Done<T>>) {
    let mut worker = Worker::new(shared);
    let mut idle_since = Instant::now();
    while let Ok(job) = jobs.recv() {
        let waited = idle_since.elapsed();
        let finished = worker.job(job, waited);
        idle_since = Instant::now();
        // Nobody listens any more: the loader was dropped.
        if done.send(finished).is_err() {
            return;
        }
    }
}

/// One thread's scratch, used again for every sample.
struct Worker<'a, T: Compose> {
    shared: &'a Shared<T>,
    sample: Sample,
    plan: Plan,
    checked: Option<CheckedPlan<'a>>,
    encoder: Encoder<'a>,
    scratch: T::Scratch,
    stages: StageTimes,
}

impl<'a, T: Compose> Worker<'a, T> {
    fn new(shared: &'a Shared<T>) -> Worker<'a, T> {
        let sample = Sample::default();
        Worker {
            shared,
            plan: Plan {
                canvas: [1, 1],
                pad: [0; 3],
                keep: Default::default(),
                samples: vec![sample.plan.clone()],
            },
            sample,
            checked: None,
            encoder: Encoder::default(),
            scratch: T::Scratch::default(),
            stages: StageTimes::default(),
        }
    }

    fn job(&mut self, mut job: Job<T>, waited: Duration) -> Done<T> {
        self.stages = StageTimes::default();
        let outcome = if self.shared.is_cancelled.load(Ordering::Relaxed) {
            Err(Failure::Cancelled)
        } else {
            catch_unwind(AssertUnwindSafe(|| self.compose(&mut job))).unwrap_or_else(|panic| {
                let message = crate::panic_message(&*panic);
                // What was thrown may panic again when it is dropped, and end this thread unheard.
                std::mem::forget(panic);
                // Scratch that a panic left half-written is not used again.
                *self = Worker::new(self.shared);
                Err(Failure::Panic(message))
            })
        };
        Done {
            ticket: job.ticket,
            number: job.number,
            piece: job.piece,
            twin: job.twin,
            outcome,
            stages: self.stages,
            waited,
        }
    }

    /// Composes the sample; one with a picture that cannot be decoded is drawn again.
    fn compose(&mut self, job: &mut Job<T>) -> Result<Composed, Failure> {
        let mut composed = Composed::default();
        for attempt in 0..MOST_ATTEMPTS {
            match self.attempt(job, attempt) {
                Ok(bytes) => {
                    composed.source_bytes = bytes;
                    self.release_maps(bytes);
                    return Ok(composed);
                }
                Err(Refusal::Compose(ComposeError::Decode { scene, problem })) => {
                    composed.replaced.push(self.name_scene(scene, &problem));
                }
                Err(Refusal::Compose(error)) => return Err(Failure::Compose(error)),
                Err(Refusal::TooSmall) => return Err(Failure::TooSmall),
            }
        }
        Err(Failure::NoReplacement(composed.replaced))
    }

    /// One way through all stages. Returns how many bytes of source pixels were read.
    fn attempt(&mut self, job: &mut Job<T>, attempt: u32) -> Result<u64, Refusal> {
        let sampler = &*job.sampler;
        let clock = Instant::now();
        sampler.draw(
            job.epoch,
            job.place.index,
            job.step,
            job.epochs,
            attempt,
            &mut self.sample,
        );
        let ground = sampler.ground();
        self.plan.canvas = [ground.canvas.width(), ground.canvas.height()];
        self.plan.pad = sampler.recipe().pad();
        self.plan.keep = sampler.recipe().keep();
        // The plan borrows the sample's lists, and gives them back below.
        std::mem::swap(&mut self.plan.samples[0], &mut self.sample.plan);
        self.stages.draw += clock.elapsed();
        let bytes = self.execute(job.ticket, &mut job.piece);
        let twin = match (&bytes, &mut job.twin) {
            (Ok(_), Some(twin)) => {
                self.plan.samples[0].layers.clear();
                self.execute(job.ticket, twin).map_err(twin_failed)
            }
            _ => Ok(0),
        };
        std::mem::swap(&mut self.plan.samples[0], &mut self.sample.plan);
        Ok(bytes? + twin?)
    }

    /// Checks, gathers and composes the plan's one sample.
    fn execute(&mut self, ticket: u64, piece: &mut T::Piece) -> Result<u64, Refusal> {
        let shared = self.shared;
        let clock = Instant::now();
        let checked = match &mut self.checked {
            Some(checked) => {
                checked
                    .renew(&self.plan, &shared.scenes, &shared.bank)
                    .map_err(ComposeError::from)?;
                checked
            }
            none => {
                let checked = CheckedPlan::new(&self.plan, &shared.scenes, &shared.bank);
                none.insert(checked.map_err(ComposeError::from)?)
            }
        };
        self.stages.check += clock.elapsed();
        let clock = Instant::now();
        read_ahead(checked, &shared.scenes, &shared.bank, |cutout, level| {
            T::reads(&shared.target, ticket, cutout, level)
        });
        let encoded = self.encoder.encode(checked)?;
        self.stages.gather += clock.elapsed();
        let clock = Instant::now();
        let (scratch, ignored) = (&mut self.scratch, &self.sample.ignored);
        let bytes = T::compose(&shared.target, scratch, encoded, ignored, ticket, piece)?;
        *T::stage(&mut self.stages) += clock.elapsed();
        Ok(bytes)
    }

    /// The problem with a scene, by its row in its own pack where several were joined.
    fn name_scene(&self, scene: usize, problem: &str) -> String {
        let parts = self.shared.scenes.parts();
        match parts.iter().find(|part| part.rows.contains(&scene)) {
            Some(part) if parts.len() > 1 => {
                let row = scene - part.rows.start;
                format!("scene {row} of {}: {problem}", part.directory.display())
            }
            _ => format!("scene {scene}: {problem}"),
        }
    }

    /// Keeps the process's resident memory bounded, however large the packs are: pages of mapped
    /// files count as the process's for as long as they are mapped, and the system maps more of them
    /// than are read.
    fn release_maps(&self, bytes: u64) {
        let shared = self.shared;
        let read = shared.unreleased_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let between = (shared.mapped_limit / CHECKS_TO_THE_LIMIT).max(BETWEEN_CHECKS);
        if read < between.min(shared.mapped_limit) {
            return;
        }
        // Where the system does not say what is mapped, what was read is the best guess.
        let mapped = mapped_bytes();
        let before = shared
            .mapped_before
            .swap(mapped.unwrap_or(0), Ordering::Relaxed);
        if mapped.unwrap_or(read) >= shared.mapped_limit {
            shared.mapped_before.store(0, Ordering::Relaxed);
            shared.scenes.release();
            shared.bank.release();
        } else if let Some(mapped) = mapped {
            // Short of memory, the system has taken pages that were asked for.
            if mapped < before {
                shared.scenes.ask_again();
                shared.bank.ask_again();
            }
        } else {
            return;
        }
        shared.unreleased_bytes.store(0, Ordering::Relaxed);
    }
}

/// A twin whose scene cannot be decoded, a moment after it could be for the sample, ends the run: the
/// file was changed in between. The sample cannot be drawn again, for the cutout cache has promised
/// to others the texels that it brings.
fn twin_failed(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Compose(ComposeError::Decode { .. }) => Refusal::Compose(ComposeError::Changed),
        other => other,
    }
}

/// Asks for all pixels that the samples read at once, so that cold ones come in side by side and
/// not page by page in the order of the layers. `reads` says of a cutout and the width and height of
/// its mip level whether composing will read them.
pub(crate) fn read_ahead(
    checked: &CheckedPlan<'_>,
    scenes: &ScenePack,
    bank: &CutoutBank,
    reads: impl Fn(u64, &dyn Fn() -> [u32; 2]) -> bool,
) {
    for sample in checked.samples() {
        let level = rules::choose_level(sample.scene.size, sample.placement.resized);
        scenes.read_ahead(sample.scene_index, level);
        for layer in &sample.layers {
            let (cutout, size) = (layer.cutout_index, layer.cutout.size);
            let level = rules::choose_level(size, layer.placement.resized);
            let sides = || {
                let size = mip::levels(size).nth(level);
                size.map_or([0; 2], |size| [size.width(), size.height()])
            };
            if reads(cutout, &sides) {
                bank.read_ahead(cutout as usize, level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sample_is_drawn_again_for_its_twin() {
        let problem = "no valid JPEG".to_owned();
        let refusal = Refusal::Compose(ComposeError::Decode { scene: 3, problem });
        assert!(matches!(
            twin_failed(refusal),
            Refusal::Compose(ComposeError::Changed)
        ));
        assert!(matches!(twin_failed(Refusal::TooSmall), Refusal::TooSmall));
    }
}
