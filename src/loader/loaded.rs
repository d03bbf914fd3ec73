//! A batch in the training loop's hands.

use std::ops::Deref;

use crossbeam::channel::Sender;

use super::cpu::Cpu;
use super::ring::Slot;
use super::steps::{Cursor, Place};
use super::target::Target;

/// A batch, with the step it belongs to.
///
/// It can be used as the batch itself: a [`Batch`](crate::compose::Batch), or one in device memory.
/// Its memory goes back to the loader when it is dropped. A training loop may hold several at a
/// time; each costs the memory of one.
#[derive(Debug)]
pub struct LoadedBatch<T: Target = Cpu> {
    /// Taken when the batch is dropped.
    pub(super) slot: Option<Slot<T>>,
    pub(super) cursor: Cursor,
    pub(super) give_back: Sender<Slot<T>>,
}

impl<T: Target> LoadedBatch<T> {
    /// The batch's number over all epochs, from 0.
    pub fn step(&self) -> u64 {
        self.cursor.step
    }

    /// The epoch, from 0.
    pub fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// Each sample's place in the epoch's order: `[batch]`. With the epoch it is all that
    /// [`Sampler::draw`](crate::sampler::Sampler::draw) needs to draw the sample again.
    pub fn indices(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.places().iter().map(|place| place.index)
    }

    /// How many samples, the last ones, only fill the epoch's last step up.
    pub fn padding(&self) -> usize {
        self.places()
            .iter()
            .filter(|place| place.is_padding)
            .count()
    }

    /// The same samples without layers: the same scenes at the same places. `None` unless
    /// [`LoaderOptions::twins`](super::LoaderOptions::twins) was set.
    pub fn twins(&self) -> Option<&T::Batch> {
        self.slot.as_ref()?.twins.as_ref().map(T::batch)
    }

    fn places(&self) -> &[Place] {
        self.slot.as_ref().map_or(&[], |slot| &slot.places)
    }
}

impl<T: Target> Deref for LoadedBatch<T> {
    type Target = T::Batch;

    fn deref(&self) -> &T::Batch {
        match &self.slot {
            Some(slot) => T::batch(&slot.batch),
            None => unreachable!("the slot leaves when the batch is dropped"),
        }
    }
}

impl<T: Target> Drop for LoadedBatch<T> {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.memories_mut().for_each(T::let_go);
            // Full or gone: the memory goes back to the system.
            let _ = self.give_back.try_send(slot);
        }
    }
}
