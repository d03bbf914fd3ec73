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
//!
//! A [`Target`] is where samples are composed: by the worker threads themselves ([`Cpu`]), or by a
//! GPU, for which they gather what it lacks. Steps, order, state and statistics are the same.

mod cpu;
mod error;
mod loaded;
mod options;
mod resident;
mod ring;
mod state;
pub(crate) mod statistics;
mod steps;
pub(crate) mod target;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::sampler::{MOST_ATTEMPTS, Sampler, Weights};
pub use cpu::Cpu;
pub use error::LoaderError;
pub use loaded::LoadedBatch;
pub use options::LoaderOptions;
use ring::{Halt, Landed, Measured, Ring, Slot, batch_failed};
pub use state::LoaderState;
pub use statistics::{Bottleneck, DeviceFigures, Replaced, StageTimes, Statistics};
pub use steps::Tail;
use steps::{Cursor, Place, Steps};
pub use target::Target;
#[cfg(feature = "cli")]
pub(crate) use worker::read_ahead;
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
pub struct Loader<T: Target = Cpu> {
    sampler: Arc<Sampler>,
    steps: Steps,
    target: T,
    /// Gone when the run has ended, by its end or an error.
    running: Option<Running<T>>,
    give_back: Sender<Slot<T>>,
    /// Where the next batch to be handed over begins; `None` after the last one.
    next: Option<Cursor>,
    /// Where the next batch to be sent out begins.
    unsent: Option<Cursor>,
    /// Where the run stands once there is no next batch.
    last: Cursor,
    /// When the run ended.
    ended: Option<Instant>,
    most_replaced: f64,
    /// Composed and drawn again by all that went before this loader.
    before: (u64, u64),
    measured: Measured,
    statistics: Statistics,
    started: Instant,
}

/// The ring and the threads. The threads end when it is dropped, each after the sample that it is
/// at.
#[derive(Debug)]
struct Running<T: Target> {
    shared: Arc<Shared<T>>,
    /// Taken when this is dropped: without it the threads find no more jobs.
    ring: Option<Ring<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// A loader at the start of its first epoch. Composing begins at once.
    ///
    /// # Errors
    /// [`LoaderError::Option`] for an option that is of no use, [`LoaderError::Thread`] if the
    /// system has no more threads.
    pub fn new(sampler: Sampler, options: LoaderOptions) -> Result<Loader, LoaderError> {
        options.check()?;
        let target = Cpu::new(options.output, sampler.ground().canvas);
        Loader::start(target, sampler, &options, None)
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
        state.prepare(&mut sampler, &options)?;
        options.check()?;
        let target = Cpu::new(options.output, sampler.ground().canvas);
        Loader::start(target, sampler, &options, Some(state))
    }
}

impl<T: Target> Loader<T> {
    /// A loader whose options are checked, and to which the state belongs.
    pub(crate) fn start(
        target: T,
        sampler: Sampler,
        options: &LoaderOptions,
        state: Option<&LoaderState>,
    ) -> Result<Loader<T>, LoaderError> {
        let steps = options.steps(&sampler);
        check_steps(&steps)?;
        let (give_back, returned) = bounded(options.prefetch + RETURNED_AT_ONCE);
        let start = state.map_or(Cursor::default(), |state| state.cursor);
        let shared = Arc::new(Shared::new(&target, &sampler, options));
        let mut loader = Loader {
            running: Some(Running::start(shared, returned, options)?),
            target,
            sampler: Arc::new(sampler),
            steps,
            give_back,
            next: steps.settle(start),
            unsent: steps.settle(start),
            last: start,
            ended: None,
            most_replaced: options.most_replaced,
            before: state.map_or((0, 0), |state| (state.composed, state.replaced)),
            measured: Measured::default(),
            statistics: Statistics {
                threads: options.thread_count(),
                ..Statistics::default()
            },
            started: Instant::now(),
        };
        loader.fill(true)?;
        Ok(loader)
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
        let ring = self.running.as_ref().and_then(|run| run.ring.as_ref());
        let measured = ring.map_or(self.measured, |ring| ring.measured);
        statistics.wait_for_batch = measured.wait_for_batch;
        statistics.wait_for_work = measured.wait_for_work;
        statistics.assemble = measured.assemble;
        statistics.device = self.target.figures().map(|figures| DeviceFigures {
            wait_for_slot: measured.wait_for_slot,
            ..figures
        });
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
        self.recall(true)?;
        self.unsent = self.next;
        // Should it fail, the next batch says so.
        let _ = self.fill(false);
        Ok(self.next.map(|cursor| cursor.step))
    }

    /// Takes back what is out; what is finished only if `with_finished`.
    fn recall(&mut self, with_finished: bool) -> Result<(), LoaderError> {
        let Some((shared, ring)) = self.running.as_mut().and_then(Running::parts) else {
            return Ok(());
        };
        shared.is_cancelled.store(true, Ordering::Relaxed);
        let recalled = ring.recall(&mut self.target, with_finished);
        shared.is_cancelled.store(false, Ordering::Relaxed);
        if let Some(cursor) = recalled? {
            self.unsent = Some(cursor);
        }
        Ok(())
    }

    /// Sends out as many batches as there is room for.
    fn fill(&mut self, may_wait: bool) -> Result<(), LoaderError> {
        let Some((_, ring)) = self.running.as_mut().and_then(Running::parts) else {
            return Ok(());
        };
        let count = self.steps.batch_size as usize;
        while let Some(cursor) = self.unsent {
            let slot = ring.take_slot(&mut self.target, count, may_wait);
            let slot = slot.map_err(|source| batch_failed(cursor, source))?;
            let Some(slot) = slot else {
                break;
            };
            ring.send(slot, cursor, &self.steps, &self.sampler)?;
            self.unsent = self.steps.settle(self.steps.after(cursor));
        }
        Ok(())
    }

    /// The next step, composed.
    fn land(&mut self) -> Result<Option<Landed<T>>, LoaderError> {
        loop {
            self.fill(true)?;
            let Some((_, ring)) = self.running.as_mut().and_then(Running::parts) else {
                return Ok(None);
            };
            match ring.land(&mut self.target) {
                Ok(landed) => return Ok(landed),
                Err(Halt::Error(error)) => return Err(error),
                Err(Halt::TooSmall) => {
                    ring.grow(&mut self.target)?;
                    self.recall(false)?;
                }
                Err(Halt::TooMany(error)) => {
                    self.recall(false)?;
                    if let Some((_, ring)) = self.running.as_mut().and_then(Running::parts) {
                        ring.do_with_fewer(&error);
                    }
                }
            }
        }
    }

    fn advance(&mut self) -> Result<Option<LoadedBatch<T>>, LoaderError> {
        let Some(landed) = self.land()? else {
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
        let _ = self.fill(false);
        Ok(Some(LoadedBatch {
            slot: Some(landed.slot),
            cursor: landed.cursor,
            give_back: self.give_back.clone(),
        }))
    }

    /// Ends threads and ring, and gives their memory back.
    fn stop(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
        let Some(running) = self.running.take() else {
            return;
        };
        let ring = running.ring.as_ref();
        self.measured = ring.map_or(self.measured, |ring| ring.measured);
        drop(running);
        self.target.shut_down();
    }

    /// Ends the run if too many samples, those of `landed` included, were drawn again.
    fn check_replaced(&self, landed: &Landed<T>) -> Result<(), LoaderError> {
        let Some((_, problems)) = landed.replaced.last() else {
            return Ok(());
        };
        let counted = landed.replaced.len() as u64;
        let replaced = self
            .before
            .1
            .saturating_add(self.statistics.replaced + counted);
        let here = self.statistics.samples + landed.slot.places.len() as u64;
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
    fn count(&mut self, landed: &Landed<T>) {
        let statistics = &mut self.statistics;
        statistics.batches += 1;
        statistics.samples += landed.slot.places.len() as u64;
        statistics.bytes += landed.slot.bytes();
        statistics.source_bytes += landed.source_bytes;
        statistics.stages.add(&landed.stages);
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
        Failure::Batch(source) => batch_failed(cursor, source),
        Failure::Cancelled | Failure::TooSmall => LoaderError::Gone,
    }
}

impl<T: Target> Running<T> {
    fn start(
        shared: Arc<Shared<T>>,
        returned: Receiver<Slot<T>>,
        options: &LoaderOptions,
    ) -> Result<Running<T>, LoaderError> {
        // Room for every sample that can be out: no thread ever waits to give one back.
        let room = options.prefetch * options.batch_size;
        let (jobs, job_queue) = bounded(room);
        let (done_sender, done) = bounded(room);
        let threads = options.thread_count();
        let mut running = Running {
            shared,
            ring: Some(Ring::new((jobs, done), returned, options)),
            threads: Vec::with_capacity(threads),
        };
        for number in 0..threads {
            running.start_thread(number, job_queue.clone(), done_sender.clone())?;
        }
        Ok(running)
    }

    fn start_thread(
        &mut self,
        number: usize,
        jobs: Receiver<Job<T>>,
        done: Sender<Done<T>>,
    ) -> Result<(), LoaderError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(format!("pastebank-{number}"))
            .spawn(move || worker::run(&shared, &jobs, &done))
            .map_err(|source| LoaderError::Thread { source })?;
        self.threads.push(thread);
        Ok(())
    }

    fn parts(&mut self) -> Option<(&Shared<T>, &mut Ring<T>)> {
        Some((&*self.shared, self.ring.as_mut()?))
    }
}

impl<T: Target> Drop for Running<T> {
    fn drop(&mut self) {
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
        self.ring = None;
        for thread in self.threads.drain(..) {
            // A thread's panic was told when it happened; a second one here would end the process.
            let _ = thread.join();
        }
    }
}

impl<T: Target> Iterator for Loader<T> {
    type Item = Result<LoadedBatch<T>, LoaderError>;

    /// The next batch. After an error, or after the last epoch, there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended.is_some() {
            return None;
        }
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.stop();
        }
        next
    }
}

impl<T: Target> Drop for Loader<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
