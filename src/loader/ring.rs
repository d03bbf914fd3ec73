//! Batches in flight: sent out sample by sample, put together again in order.
//!
//! Worker threads take samples from one bounded queue and give them back through another, in
//! whatever order they finish. A batch is finished when all of its samples are back, and never
//! before the batch in front of it; it leaves in that order, too. On a GPU finished means enqueued,
//! so whatever is complete is finished at once, and the device works ahead of the training loop.
//! Batches that the training loop drops come back here: once there are enough of them, no memory is
//! allocated any more, but for what decoding JPEG scenes takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use super::error::LoaderError;
use super::options::LoaderOptions;
use super::statistics::StageTimes;
use super::steps::{Cursor, Place, Steps};
use super::target::{Compose, Refusal, Role};
use super::worker::{Done, Failure, Job};
use crate::compose::ComposeError;
use crate::sampler::Sampler;

/// The memory of one step: its batch, and the unpasted twins if they are wanted.
#[derive(Debug)]
pub struct Slot<T: Compose> {
    pub(super) batch: T::Memory,
    pub(super) twins: Option<T::Memory>,
    pub(super) places: Vec<Place>,
}

impl<T: Compose> Slot<T> {
    fn memories(&self) -> impl Iterator<Item = &T::Memory> {
        std::iter::once(&self.batch).chain(&self.twins)
    }

    pub(super) fn memories_mut(&mut self) -> impl Iterator<Item = &mut T::Memory> {
        std::iter::once(&mut self.batch).chain(&mut self.twins)
    }

    /// Bytes of images and masks.
    pub(super) fn bytes(&self) -> u64 {
        let batches = self.memories().map(T::batch);
        batches.map(T::bytes).sum()
    }

    fn is_free(&self) -> Result<bool, ComposeError> {
        for memory in self.memories() {
            if !T::is_free(memory)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A step whose samples are out, or whose batch is finished and waits for those before it.
#[derive(Debug)]
struct Flight<T: Compose> {
    /// The step's number among those that were sent out; none comes twice.
    ticket: u64,
    cursor: Cursor,
    slot: Slot<T>,
    /// Samples that have not come back.
    missing: usize,
    is_finished: bool,
    /// The first sample's number whose composition failed, and how.
    failure: Option<(usize, Failure)>,
    /// Samples that were drawn again, by number, each with the problems met.
    replaced: Vec<(usize, Vec<String>)>,
    source_bytes: u64,
    stages: StageTimes,
}

/// A step that is complete.
#[derive(Debug)]
pub(super) struct Landed<T: Compose> {
    pub cursor: Cursor,
    pub slot: Slot<T>,
    pub failure: Option<(Place, Failure)>,
    pub replaced: Vec<(Place, Vec<String>)>,
    pub source_bytes: u64,
    pub stages: StageTimes,
}

/// Why no step has landed.
#[derive(Debug)]
pub(super) enum Halt {
    /// A batch did not fit its memory. It and all later ones must be recalled.
    TooSmall,
    /// There was no memory for a batch, and there would be if there were fewer slots. It and all later
    /// ones must be recalled.
    TooMany(ComposeError),
    Error(LoaderError),
}

impl From<LoaderError> for Halt {
    fn from(error: LoaderError) -> Halt {
        Halt::Error(error)
    }
}

/// What was measured while samples came back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub wait_for_batch: Duration,
    pub wait_for_slot: Duration,
    pub wait_for_work: Duration,
    /// Taking samples back and joining them to batches.
    pub assemble: Duration,
}

#[derive(Debug)]
pub(super) struct Ring<T: Compose> {
    jobs: Sender<Job<T>>,
    done: Receiver<Done<T>>,
    /// Slots that the training loop has dropped, on their way back.
    returned: Receiver<Slot<T>>,
    /// Those that are back, the one that was dropped first in front.
    free: VecDeque<Slot<T>>,
    /// Slots that exist, in flight, free or in the training loop's hands.
    slots: usize,
    /// Slots that there may be; fewer than were wished for once memory has run out.
    most_slots: usize,
    flights: VecDeque<Flight<T>>,
    next_ticket: u64,
    /// Most steps in flight.
    depth: usize,
    has_twins: bool,
    pub measured: Measured,
}

impl<T: Compose> Ring<T> {
    pub fn new(
        (jobs, done): (Sender<Job<T>>, Receiver<Done<T>>),
        returned: Receiver<Slot<T>>,
        options: &LoaderOptions,
    ) -> Ring<T> {
        let depth = options.prefetch;
        Ring {
            jobs,
            done,
            returned,
            free: VecDeque::with_capacity(depth + 1),
            slots: 0,
            most_slots: depth + 1,
            flights: VecDeque::with_capacity(depth),
            next_ticket: 0,
            depth,
            has_twins: options.twins,
            measured: Measured::default(),
        }
    }

    /// A slot for another step of `count` samples, begun, if one may be sent out. Where there is no
    /// memory for it, but there are others to work with, it goes.
    pub fn take_slot(
        &mut self,
        target: &mut T,
        count: usize,
        may_wait: bool,
    ) -> Result<Option<Slot<T>>, ComposeError> {
        while let Some(mut slot) = self.find_slot(target, may_wait)? {
            let mut memories = slot.memories_mut();
            let begun = memories.try_for_each(|memory| target.begin(memory, count));
            drop(memories);
            match begun {
                Ok(()) => return Ok(Some(slot)),
                Err(error) => {
                    self.free.push_back(slot);
                    if !error.is_out_of_memory() || !self.has_several() {
                        return Err(error);
                    }
                    self.do_with_fewer(&error);
                }
            }
        }
        Ok(None)
    }

    /// Memory has run out: drops the slot that came back last, and makes no more than the others from
    /// now on.
    pub fn do_with_fewer(&mut self, error: &ComposeError) {
        if self.free.pop_back().is_some() {
            self.slots -= 1;
        }
        if self.most_slots > self.depth {
            log::warn!("the loader works with fewer batches at a time: {error}");
        }
        self.most_slots = self.slots.min(self.depth);
    }

    /// Whether there is more than one slot that is not in the training loop's hands.
    fn has_several(&self) -> bool {
        self.flights.len() + self.free.len() > 1
    }

    /// A slot for another step, if one may be sent out. The training loop may hold on to batches:
    /// then the ring works with fewer, and with a new one rather than none. Only if `may_wait`, and
    /// only if nothing is in flight, it waits until the device is done with one.
    fn find_slot(
        &mut self,
        target: &mut T,
        may_wait: bool,
    ) -> Result<Option<Slot<T>>, ComposeError> {
        self.free.extend(self.returned.try_iter());
        if self.flights.len() >= self.depth {
            return Ok(None);
        }
        for position in 0..self.free.len() {
            if self.free[position].is_free()? {
                return Ok(self.free.remove(position));
            }
        }
        // Where memory has run out already, one more is tried only when there is nothing else to do.
        let has_none = self.flights.is_empty() && self.free.is_empty();
        let may_try = may_wait || self.most_slots > self.depth;
        if self.slots < self.most_slots || (has_none && may_try) {
            return self.new_slot(target).map(Some);
        }
        if !may_wait || !self.flights.is_empty() {
            return Ok(None);
        }
        if let Some(oldest) = self.free.front() {
            let clock = Instant::now();
            oldest.memories().try_for_each(T::wait_until_free)?;
            self.measured.wait_for_slot += clock.elapsed();
        }
        Ok(self.free.pop_front())
    }

    fn new_slot(&mut self, target: &mut T) -> Result<Slot<T>, ComposeError> {
        let slot = Slot {
            batch: target.memory(Role::Samples)?,
            twins: match self.has_twins {
                true => Some(target.memory(Role::Twins)?),
                false => None,
            },
            places: Vec::new(),
        };
        self.slots += 1;
        Ok(slot)
    }

    /// Sends out all samples of the step at `cursor` in a slot of [`Ring::take_slot`].
    pub fn send(
        &mut self,
        mut slot: Slot<T>,
        cursor: Cursor,
        steps: &Steps,
        sampler: &Arc<Sampler>,
    ) -> Result<(), LoaderError> {
        let count = steps.batch_size as usize;
        slot.places.clear();
        let places = (0..steps.batch_size).map(|number| steps.place(cursor, number));
        slot.places.extend(places);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        for number in 0..count {
            let job = Job {
                ticket,
                number,
                sampler: Arc::clone(sampler),
                epoch: cursor.epoch,
                epochs: steps.epochs,
                step: cursor.step,
                place: slot.places[number],
                piece: T::take(&mut slot.batch, number),
                twin: slot.twins.as_mut().map(|twins| T::take(twins, number)),
            };
            // The queue has room for every sample that can be out, so this never waits.
            self.jobs.send(job).map_err(|_| LoaderError::Gone)?;
        }
        self.flights.push_back(Flight {
            ticket,
            cursor,
            slot,
            missing: count,
            is_finished: false,
            failure: None,
            replaced: Vec::new(),
            source_bytes: 0,
            stages: StageTimes::default(),
        });
        Ok(())
    }

    /// Finishes whatever is complete, and waits for the first step in flight; `None` if there is
    /// none.
    pub fn land(&mut self, target: &mut T) -> Result<Option<Landed<T>>, Halt> {
        loop {
            let clock = Instant::now();
            // What has come back meanwhile need not be waited for later.
            while let Ok(done) = self.done.try_recv() {
                self.take_back(done);
            }
            let finished = self.finish_complete(target);
            self.measured.assemble += clock.elapsed();
            finished?;
            if self.flights.front().is_none_or(|first| first.missing == 0) {
                break;
            }
            self.wait_for_one()?;
        }
        Ok(self.flights.pop_front().map(Flight::land))
    }

    /// Finishes the batches that are complete, in order, up to the first that is not.
    fn finish_complete(&mut self, target: &mut T) -> Result<(), Halt> {
        let has_several = self.has_several();
        for flight in self.flights.iter_mut().filter(|flight| !flight.is_finished) {
            if flight.missing == 0 && flight.failure.is_none() {
                flight.finish(target);
            }
            match flight.failure.take() {
                Some((_, Failure::Batch(error))) if has_several && error.is_out_of_memory() => {
                    return Err(Halt::TooMany(error));
                }
                failure => flight.failure = failure,
            }
            match flight.failure {
                Some((_, Failure::TooSmall)) if flight.missing == 0 => return Err(Halt::TooSmall),
                _ if flight.is_finished => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Waits until all samples that are out are back and takes all steps back, those that are
    /// finished only if `with_finished`: none is handed over. Returns where the first of them began.
    pub fn recall(
        &mut self,
        target: &mut T,
        with_finished: bool,
    ) -> Result<Option<Cursor>, LoaderError> {
        while self.flights.iter().any(|flight| flight.missing > 0) {
            self.wait_for_one()?;
        }
        let unfinished = |flight: &Flight<T>| !flight.is_finished;
        let first = self.flights.iter().position(unfinished);
        let first = first.unwrap_or(self.flights.len());
        if let Some(flight) = self.flights.get(first) {
            target.forget_from(flight.ticket);
        }
        let recalled = if with_finished { 0 } else { first };
        let cursor = self.flights.get(recalled).map(|flight| flight.cursor);
        let flights = self.flights.drain(recalled..);
        self.free.extend(flights.map(|flight| flight.slot));
        Ok(cursor)
    }

    /// Has memory made larger for the first step that did not fit.
    pub fn grow(&self, target: &mut T) -> Result<(), LoaderError> {
        let too_small = |flight: &&Flight<T>| {
            let failure = flight.failure.as_ref();
            failure.is_some_and(|(_, failure)| matches!(failure, Failure::TooSmall))
        };
        let Some(flight) = self.flights.iter().find(too_small) else {
            return Ok(());
        };
        let memories = flight.slot.memories();
        let grown = memories.filter(|memory| target.grow(memory)).count();
        if grown > 0 {
            return Ok(());
        }
        // No number of bytes is enough.
        let (what, bytes) = ("gathered samples", usize::MAX);
        Err(batch_failed(
            flight.cursor,
            ComposeError::Memory { what, bytes },
        ))
    }

    fn wait_for_one(&mut self) -> Result<(), LoaderError> {
        let clock = Instant::now();
        let done = self.done.recv().map_err(|_| LoaderError::Gone)?;
        self.measured.wait_for_batch += clock.elapsed();
        self.take_back(done);
        Ok(())
    }

    fn take_back(&mut self, done: Done<T>) {
        self.measured.wait_for_work += done.waited;
        let mut flights = self.flights.iter_mut();
        let Some(flight) = flights.find(|flight| flight.ticket == done.ticket) else {
            return;
        };
        T::put(&mut flight.slot.batch, done.number, done.piece);
        if let (Some(twins), Some(twin)) = (&mut flight.slot.twins, done.twin) {
            T::put(twins, done.number, twin);
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

impl<T: Compose> Flight<T> {
    /// Makes the batch of its samples. What fails is told when the step's turn comes.
    fn finish(&mut self, target: &mut T) {
        let count = self.slot.places.len();
        let mut memories = self.slot.memories_mut();
        let finished = memories.try_for_each(|memory| target.finish(memory, count));
        self.is_finished = finished.is_ok();
        self.failure = finished.err().map(|refusal| match refusal {
            Refusal::TooSmall => (0, Failure::TooSmall),
            Refusal::Compose(source) => (0, Failure::Batch(source)),
        });
    }

    fn land(self) -> Landed<T> {
        let places = &self.slot.places;
        let failure = self.failure;
        let failure = failure.map(|(number, failure)| (places[number], failure));
        // Told in the order of the samples, not in that in which they came back.
        let mut replaced = self.replaced;
        replaced.sort_unstable_by_key(|(number, _)| *number);
        let replaced = replaced
            .into_iter()
            .map(|(number, problems)| (places[number], problems))
            .collect();
        Landed {
            cursor: self.cursor,
            failure,
            replaced,
            source_bytes: self.source_bytes,
            stages: self.stages,
            slot: self.slot,
        }
    }
}

/// The error of a batch that failed as a whole.
pub(super) fn batch_failed(cursor: Cursor, source: ComposeError) -> LoaderError {
    LoaderError::Batch {
        step: cursor.step,
        epoch: cursor.epoch,
        source,
    }
}
