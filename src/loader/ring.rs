//! Batches in flight: sent out sample by sample, put together again in order.
//!
//! Worker threads take samples from one bounded queue and give them back through another, in
//! whatever order they finish. A batch leaves when all of its samples are back, and never before
//! the batch in front of it. Batches that the training loop drops come back here: once there are
//! enough of them, no memory is allocated any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use super::error::LoaderError;
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
    replaced: Vec<(Place, String)>,
    source_bytes: u64,
}

/// A step that is complete.
#[derive(Debug)]
pub(super) struct Landed {
    pub cursor: Cursor,
    pub slot: Slot,
    pub failure: Option<(Place, Failure)>,
    pub replaced: Vec<(Place, String)>,
    pub source_bytes: u64,
}

/// What was measured while samples came back.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub wait_for_batch: Duration,
    pub wait_for_work: Duration,
    pub stages: StageTimes,
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
        depth: usize,
        output: OutputSpec,
        has_twins: bool,
    ) -> Ring {
        Ring {
            jobs,
            done,
            returned,
            free: Vec::with_capacity(depth + 1),
            slots: 0,
            flights: VecDeque::with_capacity(depth),
            first_ticket: 0,
            depth,
            output,
            has_twins,
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
        begun.map_err(|source| failed(cursor, 0, source))?;
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
        Ok(Some(Landed {
            cursor: flight.cursor,
            slot,
            failure,
            replaced: flight.replaced,
            source_bytes: flight.source_bytes,
        }))
    }

    /// Waits until all samples that are out are back, and frees their slots: none is handed over.
    /// Returns where the first of their steps began.
    pub fn recall(&mut self) -> Result<Option<Cursor>, LoaderError> {
        let first = self.flights.front().map(|flight| flight.cursor);
        while let Some(landed) = self.land()? {
            self.free.push(landed.slot);
        }
        Ok(first)
    }

    fn take_back(&mut self, done: Done) {
        self.measured.wait_for_work += done.waited;
        self.measured.stages.add(&done.stages);
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
        match done.outcome {
            Ok(composed) => {
                flight.source_bytes += composed.source_bytes;
                let place = flight.slot.places[done.number];
                let replaced = composed.replaced.into_iter();
                flight
                    .replaced
                    .extend(replaced.map(|problem| (place, problem)));
            }
            // Of several failures the first sample's is told, whichever came back first.
            Err(failure) => match &flight.failure {
                Some((number, _)) if *number < done.number => {}
                _ => flight.failure = Some((done.number, failure)),
            },
        }
    }
}

fn failed(cursor: Cursor, index: u64, source: ComposeError) -> LoaderError {
    LoaderError::Sample {
        epoch: cursor.epoch,
        index,
        source,
    }
}
