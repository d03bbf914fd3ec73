//! Batches in flight: sent out sample by sample, put together again in order.
//!
//! Worker threads take samples from one bounded queue and give them back through another, in
//! whatever order they finish. A batch leaves when all of its samples are back, and never before
//! the batch in front of it. Batches that the training loop drops come back here: once there are
//! enough of them, no memory is allocated any more, but for what decoding JPEG scenes takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use super::error::LoaderError;
use super::options::LoaderOptions;
use super::statistics::StageTimes;
use super::steps::{Cursor, Place, Steps};
use super::worker::{Done, Failure, Job};
use crate::compose::{Batch, ComposeError, OutputSpec};
use crate::sampler::Sampler;

/// The memory of one step: its batch, and the unpasted twins if they are wanted.
#[derive(Debug)]
pub(super) struct Slot {
    pub batch: Batch,
    pub twins: Option<Batch>,
    pub places: Vec<Place>,
}

/// A step whose samples are out.
#[derive(Debug)]
struct Flight {
    cursor: Cursor,
    slot: Slot,
    /// Samples that have not come back.
    missing: usize,
    /// The first sample's number whose composition failed, and how.
    failure: Option<(usize, Failure)>,
    /// Samples that were drawn again, by number, each with the problems met.
    replaced: Vec<(usize, Vec<String>)>,
    source_bytes: u64,
    stages: StageTimes,
}

/// A step that is complete.
#[derive(Debug)]
pub(super) struct Landed {
    pub cursor: Cursor,
    pub slot: Slot,
    pub failure: Option<(Place, Failure)>,
    pub replaced: Vec<(Place, Vec<String>)>,
    pub source_bytes: u64,
    pub stages: StageTimes,
}

/// What was measured while samples came back.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub wait_for_batch: Duration,
    pub wait_for_work: Duration,
    /// Taking samples back and joining them to batches.
    pub assemble: Duration,
}

#[derive(Debug)]
pub(super) struct Ring {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// Slots that the training loop has dropped, on their way back.
    returned: Receiver<Slot>,
    free: Vec<Slot>,
    /// Slots that exist, in flight, free or in the training loop's hands.
    slots: usize,
    flights: VecDeque<Flight>,
    /// The ticket of the first flight.
    first_ticket: u64,
    /// Most steps in flight.
    depth: usize,
    output: OutputSpec,
    has_twins: bool,
    pub measured: Measured,
}

impl Ring {
    pub fn new(
        (jobs, done): (Sender<Job>, Receiver<Done>),
        returned: Receiver<Slot>,
        options: &LoaderOptions,
    ) -> Ring {
        let depth = options.prefetch;
        Ring {
            jobs,
            done,
            returned,
            free: Vec::with_capacity(depth + 1),
            slots: 0,
            flights: VecDeque::with_capacity(depth),
            first_ticket: 0,
            depth,
            output: options.output,
            has_twins: options.twins,
            measured: Measured::default(),
        }
    }

    /// Whether another step may be sent out. The training loop may hold on to batches: then the
    /// ring works with fewer, and with a new one rather than none.
    pub fn has_room(&mut self) -> bool {
        while let Ok(slot) = self.returned.try_recv() {
            self.free.push(slot);
        }
        let may_grow = self.slots <= self.depth || self.flights.is_empty();
        self.flights.len() < self.depth && (!self.free.is_empty() || may_grow)
    }

    /// Sends out all samples of the step at `cursor`.
    pub fn send(
        &mut self,
        cursor: Cursor,
        steps: &Steps,
        sampler: &Arc<Sampler>,
    ) -> Result<(), LoaderError> {
        let count = steps.batch_size as usize;
        let mut slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            Slot {
                batch: Batch::new(self.output),
                twins: self.has_twins.then(|| Batch::new(self.output)),
                places: Vec::with_capacity(count),
            }
        });
        let canvas = sampler.ground().canvas;
        let begun = [Some(&mut slot.batch), slot.twins.as_mut()]
            .into_iter()
            .flatten()
            .try_for_each(|batch| batch.begin(canvas, count));
        if let Err(source) = begun {
            self.free.push(slot);
            return Err(failed(cursor, source));
        }
        slot.places.clear();
        let places = (0..steps.batch_size).map(|number| steps.place(cursor, number));
        slot.places.extend(places);
        let ticket = self.first_ticket + self.flights.len() as u64;
        for number in 0..count {
            let take = |batch: &mut Batch| std::mem::take(&mut batch.slots_mut()[number]);
            let job = Job {
                ticket,
                number,
                sampler: Arc::clone(sampler),
                epoch: cursor.epoch,
                epochs: steps.epochs,
                step: cursor.step,
                place: slot.places[number],
                slot: take(&mut slot.batch),
                twin: slot.twins.as_mut().map(take),
            };
            // The queue has room for every sample that can be out, so this never waits.
            self.jobs.send(job).map_err(|_| LoaderError::Gone)?;
        }
        self.flights.push_back(Flight {
            cursor,
            slot,
            missing: count,
            failure: None,
            replaced: Vec::new(),
            source_bytes: 0,
            stages: StageTimes::default(),
        });
        Ok(())
    }

    /// Waits for the first step in flight; `None` if there is none.
    pub fn land(&mut self) -> Result<Option<Landed>, LoaderError> {
        while self.flights.front().is_some_and(|first| first.missing > 0) {
            let clock = Instant::now();
            let done = self.done.recv().map_err(|_| LoaderError::Gone)?;
            self.measured.wait_for_batch += clock.elapsed();
            self.take_back(done);
        }
        let clock = Instant::now();
        // What else has come back meanwhile need not be waited for later.
        while let Ok(done) = self.done.try_recv() {
            self.take_back(done);
        }
        let Some(flight) = self.flights.pop_front() else {
            return Ok(None);
        };
        self.first_ticket += 1;
        let Flight { mut slot, .. } = flight;
        let failure = flight
            .failure
            .map(|(number, failure)| (slot.places[number], failure));
        let count = slot.places.len();
        for batch in [Some(&mut slot.batch), slot.twins.as_mut()]
            .into_iter()
            .flatten()
        {
            batch.finish(count);
        }
        // Told in the order of the samples, not in that in which they came back.
        let mut replaced = flight.replaced;
        replaced.sort_unstable_by_key(|(number, _)| *number);
        let replaced = replaced
            .into_iter()
            .map(|(number, problems)| (slot.places[number], problems))
            .collect();
        self.measured.assemble += clock.elapsed();
        Ok(Some(Landed {
            cursor: flight.cursor,
            slot,
            failure,
            replaced,
            source_bytes: flight.source_bytes,
            stages: flight.stages,
        }))
    }

    /// Waits until all samples that are out are back, and frees their slots: none is handed over.
    pub fn recall(&mut self) -> Result<(), LoaderError> {
        while let Some(landed) = self.land()? {
            self.free.push(landed.slot);
        }
        Ok(())
    }

    fn take_back(&mut self, done: Done) {
        self.measured.wait_for_work += done.waited;
        let flight = done
            .ticket
            .checked_sub(self.first_ticket)
            .and_then(|position| self.flights.get_mut(position as usize));
        let Some(flight) = flight else {
            return;
        };
        flight.slot.batch.slots_mut()[done.number] = done.slot;
        if let (Some(twins), Some(twin)) = (&mut flight.slot.twins, done.twin) {
            twins.slots_mut()[done.number] = twin;
        }
        flight.missing -= 1;
        flight.stages.add(&done.stages);
        match done.outcome {
            Ok(composed) => {
                flight.source_bytes += composed.source_bytes;
                if !composed.replaced.is_empty() {
                    flight.replaced.push((done.number, composed.replaced));
                }
            }
            // Of several failures the first sample's is told, whichever came back first.
            Err(failure) => match &flight.failure {
                Some((number, _)) if *number < done.number => {}
                _ => flight.failure = Some((done.number, failure)),
            },
        }
    }
}

fn failed(cursor: Cursor, source: ComposeError) -> LoaderError {
    LoaderError::Sample {
        epoch: cursor.epoch,
        index: cursor.position,
        source,
    }
}
