//! The loader: batches in order, for ever, for any training loop.
//!
//! ```text
//! steps ──→ jobs ─(bounded queue)─→ worker threads: draw, check, gather, compose
//!   ↑                                      │
//! state                              (bounded queue)
//!   │                                      ↓
//! training loop ←── batches in order ←── ring ←─(dropped batches come back)
//! ```
//!
//! `steps` says which samples make which batch; the ring sends them out one by one and puts
//! batches together again in order; a [`LoaderState`] is where the next step begins.
//! Nothing of a sample depends on which thread composes it, or when.

mod error;
mod loaded;
mod options;
mod resident;
mod ring;
mod state;
mod statistics;
mod steps;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::compose::{Batch, MaskOutput};
use crate::sampler::{MOST_ATTEMPTS, Sampler, Weights};
pub use error::LoaderError;
pub use loaded::LoadedBatch;
pub use options::LoaderOptions;
use ring::{Landed, Ring, Slot};
pub use state::LoaderState;
pub use statistics::{Bottleneck, Replaced, StageTimes, Statistics};
pub use steps::Tail;
use steps::{Cursor, Place, Steps};
use worker::{Done, Failure, Job, Shared};

/// Streams composed batches.
///
/// An iterator: each item is a batch or the error that ended the run. Batches come in order, the
/// same whatever the number of threads and however far they are composed ahead; all that a sample
/// is depends on the packs, the recipe, the seed, the epoch and its place in the epoch, and for
/// recipes that change over a run also on its step and on the number of epochs.
///
/// ```no_run
/// use std::sync::Arc;
/// use pastebank::bank::{CutoutBank, ScenePack};
/// use pastebank::loader::{Loader, LoaderOptions};
/// use pastebank::sampler::{RecipeSettings, Sampler};
///
/// let scenes = Arc::new(ScenePack::open("scenes".as_ref())?);
/// let bank = Arc::new(CutoutBank::open("bank".as_ref())?);
/// let recipe = Arc::new(RecipeSettings::xpaste());
/// let sampler = Sampler::new(scenes, bank, recipe, [640, 640], 0)?;
/// let options = LoaderOptions {
///     batch_size: 16,
///     epochs: Some(12),
///     ..LoaderOptions::default()
/// };
/// let mut loader = Loader::new(sampler, options)?;
/// while let Some(batch) = loader.next() {
///     let batch = batch?;
///     println!("step {}: {} instances", batch.step(), batch.instance_count());
///     if batch.step() % 1000 == 999 {
///         std::fs::write("loader.json", loader.state().to_json())?;
///     }
/// }
/// println!("{}", loader.statistics());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    sampler: Arc<Sampler>,
    steps: Steps,
    shared: Arc<Shared>,
    /// Taken when the loader is dropped: without it the threads find no more jobs.
    ring: Option<Ring>,
    threads: Vec<JoinHandle<()>>,
    give_back: Sender<Slot>,
    /// Where the next batch to be handed over begins; `None` after the last one.
    next: Option<Cursor>,
    /// Where the next batch to be sent out begins.
    unsent: Option<Cursor>,
    /// Where the run stands once there is no next batch.
    last: Cursor,
    /// When the run ended, by its end or an error.
    ended: Option<Instant>,
    most_replaced: f64,
    /// Composed and drawn again by all that went before this loader.
    before: (u64, u64),
    statistics: Statistics,
    started: Instant,
}

impl Loader {
    /// A loader at the start of its first epoch. Composing begins at once.
    ///
    /// # Errors
    /// [`LoaderError::Option`] for an option that is of no use, [`LoaderError::Thread`] if the
    /// system has no more threads.
    pub fn new(sampler: Sampler, options: LoaderOptions) -> Result<Loader, LoaderError> {
        Loader::start(sampler, &options, None)
    }

    /// A loader that goes on from a saved state, with the very samples that would have come next.
    /// Threads, prefetch, ranks and batch size may be others than before; where the recipe changes
    /// over the run ([`Recipe::is_scheduled`](crate::sampler::Recipe::is_scheduled)), the samples of
    /// a step and the epochs must be the same. Weights of categories are
    /// those of the state; weights of cutouts must be set on `sampler` as they were.
    ///
    /// # Errors
    /// [`LoaderError::State`] names what differs if the state is one of other packs, of another
    /// recipe or of other settings; otherwise as [`Loader::new`].
    pub fn resume(
        mut sampler: Sampler,
        options: LoaderOptions,
        state: &LoaderState,
    ) -> Result<Loader, LoaderError> {
        state.check(&sampler, &options.steps(&sampler))?;
        sampler.set_weights(state.weights(sampler.weights()))?;
        Loader::start(sampler, &options, Some(state))
    }

    fn start(
        sampler: Sampler,
        options: &LoaderOptions,
        state: Option<&LoaderState>,
    ) -> Result<Loader, LoaderError> {
        options.check()?;
        let steps = options.steps(&sampler);
        check_steps(&steps)?;
        // Room for every sample that can be out: no thread ever waits to give one back.
        let room = options.prefetch * options.batch_size;
        let (jobs, job_queue) = bounded(room);
        let (done_sender, done) = bounded(room);
        let (give_back, returned) = bounded(options.prefetch + RETURNED_AT_ONCE);
        let threads = options.thread_count();
        let start = state.map_or(Cursor::default(), |state| state.cursor);
        let mut loader = Loader {
            shared: Arc::new(Shared::new(&sampler, options)),
            sampler: Arc::new(sampler),
            steps,
            ring: Some(Ring::new((jobs, done), returned, options)),
            threads: Vec::with_capacity(threads),
            give_back,
            next: steps.settle(start),
            unsent: steps.settle(start),
            last: start,
            ended: None,
            most_replaced: options.most_replaced,
            before: state.map_or((0, 0), |state| (state.composed, state.replaced)),
            statistics: Statistics {
                threads,
                ..Statistics::default()
            },
            started: Instant::now(),
        };
        loader.start_threads(&job_queue, &done_sender)?;
        loader.fill()?;
        Ok(loader)
    }

    fn start_threads(
        &mut self,
        jobs: &Receiver<Job>,
        done: &Sender<Done>,
    ) -> Result<(), LoaderError> {
        for number in 0..self.statistics.threads {
            let (shared, jobs, done) = (Arc::clone(&self.shared), jobs.clone(), done.clone());
            let thread = std::thread::Builder::new()
                .name(format!("pastebank-{number}"))
                .spawn(move || worker::run(&shared, &jobs, &done))
                .map_err(|source| LoaderError::Thread { source })?;
            self.threads.push(thread);
        }
        Ok(())
    }

    /// Where the run stands after the last batch that was handed over.
    pub fn state(&self) -> LoaderState {
        let cursor = self.next.unwrap_or(self.last);
        let mut state = LoaderState::new(&self.sampler, &self.steps, cursor);
        state.composed = self.before.0.saturating_add(self.statistics.samples);
        state.replaced = self.before.1.saturating_add(self.statistics.replaced);
        state
    }

    /// What has been done since the loader was made, how fast, and what holds it up. Pauses of the
    /// training loop count as its time; what comes after the end of the run does not.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.statistics.clone();
        let now = self.ended.unwrap_or_else(Instant::now);
        statistics.elapsed = now.duration_since(self.started);
        if let Some(ring) = &self.ring {
            statistics.wait_for_batch = ring.measured.wait_for_batch;
            statistics.wait_for_work = ring.measured.wait_for_work;
            statistics.assemble = ring.measured.assemble;
        }
        statistics
    }

    /// What draws the samples.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Batches of an epoch, on every rank.
    pub fn batches_per_epoch(&self) -> u64 {
        self.steps.per_epoch()
    }

    /// Sets weights of categories and cutouts. They hold from the next batch that is handed over,
    /// whose step is returned (`None` if there is none): batches that were composed ahead with the
    /// old ones are composed again, so that no result depends on how far ahead that was.
    ///
    /// # Errors
    /// [`LoaderError::Sampler`] for weights that are of no use; nothing changes then.
    pub fn set_weights(&mut self, weights: Weights) -> Result<Option<u64>, LoaderError> {
        let mut sampler = Sampler::clone(&self.sampler);
        sampler.set_weights(weights)?;
        self.sampler = Arc::new(sampler);
        if self.ended.is_some() {
            return Ok(None);
        }
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(ring) = &mut self.ring {
            ring.recall()?;
        }
        self.shared.is_cancelled.store(false, Ordering::Relaxed);
        self.unsent = self.next;
        // Should it fail, the next batch says so.
        let _ = self.fill();
        Ok(self.next.map(|cursor| cursor.step))
    }

    /// Sends out as many batches as there is room for.
    fn fill(&mut self) -> Result<(), LoaderError> {
        while let (Some(cursor), Some(ring)) = (self.unsent, &mut self.ring) {
            if self.ended.is_some() || !ring.has_room() {
                break;
            }
            ring.send(cursor, &self.steps, &self.sampler)?;
            self.unsent = self.steps.settle(self.steps.after(cursor));
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<LoadedBatch>, LoaderError> {
        self.fill()?;
        let Some(ring) = &mut self.ring else {
            return Ok(None);
        };
        let Some(landed) = ring.land()? else {
            return Ok(None);
        };
        if let Some((place, failure)) = landed.failure {
            return Err(end_of_run(landed.cursor, place, failure));
        }
        self.check_replaced(&landed)?;
        self.count(&landed);
        let after = self.steps.after(landed.cursor);
        self.next = self.steps.settle(after);
        self.last = self.steps.end_after(after);
        // Should it fail, this batch is whole all the same, and the next call tries again.
        let _ = self.fill();
        Ok(Some(LoadedBatch {
            slot: Some(landed.slot),
            cursor: landed.cursor,
            give_back: self.give_back.clone(),
        }))
    }

    /// Ends the run if too many samples, those of `landed` included, were drawn again.
    fn check_replaced(&self, landed: &Landed) -> Result<(), LoaderError> {
        let Some((_, problems)) = landed.replaced.last() else {
            return Ok(());
        };
        let counted = landed.replaced.len() as u64;
        let replaced = self
            .before
            .1
            .saturating_add(self.statistics.replaced + counted);
        let here = self.statistics.samples + landed.slot.batch.len() as u64;
        // Early in a run one picture is a large share: this rank's part of an epoch is the least
        // measure.
        let samples = self.before.0.saturating_add(here);
        let samples = samples.max(self.steps.epoch_length / self.steps.world_size);
        let allowed = (self.most_replaced * samples as f64).floor() as u64;
        if replaced <= allowed {
            return Ok(());
        }
        Err(LoaderError::TooManyReplaced {
            replaced,
            samples,
            allowed,
            last: problems.last().cloned().unwrap_or_default(),
        })
    }

    /// Adds a step to the statistics.
    fn count(&mut self, landed: &Landed) {
        let statistics = &mut self.statistics;
        let slot = &landed.slot;
        statistics.batches += 1;
        statistics.samples += slot.batch.len() as u64;
        statistics.source_bytes += landed.source_bytes;
        statistics.stages.add(&landed.stages);
        for batch in [Some(&slot.batch), slot.twins.as_ref()]
            .into_iter()
            .flatten()
        {
            statistics.bytes += batch_bytes(batch);
        }
        let epoch = landed.cursor.epoch;
        for (place, problems) in &landed.replaced {
            let index = place.index;
            statistics.replaced += 1;
            for problem in problems {
                log::warn!("epoch {epoch} sample {index} was drawn again: {problem}");
                if statistics.first_replaced.len() < TOLD_REPLACED {
                    statistics.first_replaced.push(Replaced {
                        epoch,
                        index,
                        problem: problem.clone(),
                    });
                }
            }
        }
    }
}

/// Refuses steps that no epoch is long enough for.
fn check_steps(steps: &Steps) -> Result<(), LoaderError> {
    if steps.has_steps() {
        return Ok(());
    }
    let problem = format!(
        "{} samples by {} ranks make no step of an epoch of {}; fewer, or `tail: Tail::Pad`, was \
         expected",
        steps.batch_size, steps.world_size, steps.epoch_length
    );
    Err(LoaderError::option("batch_size", problem))
}

/// Replaced samples that [`Statistics`] names.
const TOLD_REPLACED: usize = 20;
/// Dropped batches that wait for the loader; further ones, of training loops that hold many at a
/// time, give their memory back to the system.
const RETURNED_AT_ONCE: usize = 8;

fn end_of_run(cursor: Cursor, place: Place, failure: Failure) -> LoaderError {
    let (epoch, index) = (cursor.epoch, place.index);
    match failure {
        Failure::Compose(source) => LoaderError::Sample {
            epoch,
            index,
            source,
        },
        Failure::NoReplacement(problems) => {
            for problem in &problems {
                log::warn!("epoch {epoch} sample {index} was drawn again: {problem}");
            }
            LoaderError::NoReplacement {
                epoch,
                index,
                attempts: MOST_ATTEMPTS,
                last: problems.into_iter().next_back().unwrap_or_default(),
            }
        }
        Failure::Panic(message) => LoaderError::Panic {
            epoch,
            index,
            message,
        },
        Failure::Cancelled => LoaderError::Gone,
    }
}

/// Bytes of images and masks.
fn batch_bytes(batch: &Batch) -> u64 {
    let canvas = batch.canvas();
    let mask = 4
        * crate::compose::batch::words_of(canvas.width() as usize) as u64
        * u64::from(canvas.height());
    let masks = match batch.spec().masks {
        MaskOutput::Bits => mask * batch.instance_count() as u64,
        MaskOutput::Rle => batch.run_length_bytes() as u64,
        MaskOutput::None => 0,
    };
    batch.image_bytes().len() as u64 + masks
}

impl Iterator for Loader {
    type Item = Result<LoadedBatch, LoaderError>;

    /// The next batch. After an error, or after the last epoch, there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended.is_some() {
            return None;
        }
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.ended = Some(Instant::now());
        }
        next
    }
}

impl Drop for Loader {
    /// Ends the threads, each after the sample that it is at.
    fn drop(&mut self) {
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
        self.ring = None;
        for thread in self.threads.drain(..) {
            // A thread's panic was told when it happened; a second one here would end the process.
            let _ = thread.join();
        }
    }
}
