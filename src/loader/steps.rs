//! Which samples make which step: batches, ranks, epochs and their tails.
//!
//! A step takes the next `batch_size · world_size` places of the epoch's order; rank r composes the
//! r-th run of `batch_size` of them. So all that a place in the run is, for any number of ranks, is
//! an epoch and a place in it.

use serde::{Deserialize, Serialize};

/// What becomes of the places at an epoch's end that fill no whole step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tail {
    /// They are left out; the next epoch has another order and leaves out others.
    #[default]
    Drop,
    /// The step is filled up with the first places of the same epoch, marked as padding, so that
    /// every place is composed and all ranks have equally many batches.
    Pad,
}

/// How epochs are cut into steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// Samples of an epoch over all ranks.
    pub epoch_length: u64,
    pub batch_size: u64,
    pub rank: u64,
    pub world_size: u64,
    pub tail: Tail,
    pub epochs: Option<u64>,
}

/// A place in the run: where the next step begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Steps before this one, over all epochs.
    pub step: u64,
    pub epoch: u64,
    /// Samples of the epoch before this step, over all ranks.
    pub position: u64,
}

/// A sample's place in the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub index: u64,
    /// It only fills up the epoch's last step.
    pub is_padding: bool,
}

impl Steps {
    /// Places of one step over all ranks.
    fn stride(&self) -> u64 {
        self.batch_size.saturating_mul(self.world_size)
    }

    /// Whether an epoch has any step.
    pub fn has_steps(&self) -> bool {
        self.epoch_length >= self.stride() || (self.tail == Tail::Pad && self.epoch_length > 0)
    }

    /// Steps of a whole epoch.
    pub fn per_epoch(&self) -> u64 {
        match self.tail {
            Tail::Drop => self.epoch_length / self.stride(),
            Tail::Pad => self.epoch_length.div_ceil(self.stride()),
        }
    }

    /// The cursor itself, or the start of the next epoch where this one has no further step; `None`
    /// at the end of the run. Steps must exist ([`Steps::has_steps`]).
    pub fn settle(&self, cursor: Cursor) -> Option<Cursor> {
        let left = self.epoch_length.saturating_sub(cursor.position);
        let is_over = match self.tail {
            Tail::Drop => left < self.stride(),
            Tail::Pad => left == 0,
        };
        let cursor = match is_over {
            false => cursor,
            true => Cursor {
                step: cursor.step,
                epoch: cursor.epoch.checked_add(1)?,
                position: 0,
            },
        };
        self.epochs
            .is_none_or(|epochs| cursor.epoch < epochs)
            .then_some(cursor)
    }

    /// Where the step after the one at `cursor` begins.
    pub fn after(&self, cursor: Cursor) -> Cursor {
        Cursor {
            // A forged state may stand at the last number there is.
            step: cursor.step.saturating_add(1),
            epoch: cursor.epoch,
            position: cursor.position + self.stride(),
        }
    }

    /// Sample `number` of this rank's batch at `cursor`.
    pub fn place(&self, cursor: Cursor, number: u64) -> Place {
        let position = cursor.position + self.rank * self.batch_size + number;
        Place {
            index: position % self.epoch_length,
            is_padding: position >= self.epoch_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(epoch_length: u64, batch_size: u64, world_size: u64, tail: Tail) -> Steps {
        Steps {
            epoch_length,
            batch_size,
            rank: 0,
            world_size,
            tail,
            epochs: Some(3),
        }
    }

    /// All places of the run from `start`, as (epoch, index, padding), over all ranks.
    fn places(mut steps: Steps, start: Cursor) -> Vec<(u64, u64, bool)> {
        let mut all = Vec::new();
        let mut next = start;
        while let Some(cursor) = steps.settle(next) {
            for rank in 0..steps.world_size {
                steps.rank = rank;
                for number in 0..steps.batch_size {
                    let place = steps.place(cursor, number);
                    all.push((cursor.epoch, place.index, place.is_padding));
                }
            }
            next = steps.after(cursor);
        }
        all
    }

    #[test]
    fn every_place_comes_once_an_epoch() {
        for (length, batch, world) in [(23, 2, 3), (24, 2, 3), (5, 4, 2), (1, 1, 1), (7, 7, 1)] {
            let padded = places(steps(length, batch, world, Tail::Pad), Cursor::default());
            for epoch in 0..3 {
                let real = padded
                    .iter()
                    .filter(|&&(e, _, padding)| e == epoch && !padding);
                assert!(real.map(|&(_, index, _)| index).eq(0..length));
            }
            let per_epoch = steps(length, batch, world, Tail::Pad).per_epoch();
            assert_eq!(padded.len() as u64, 3 * per_epoch * batch * world);
            let dropped = steps(length, batch, world, Tail::Drop);
            if dropped.has_steps() {
                let places = places(dropped, Cursor::default());
                assert_eq!(places.len() as u64, 3 * dropped.per_epoch() * batch * world);
                assert!(places.iter().all(|&(_, _, padding)| !padding));
            } else {
                assert!(length < batch * world);
            }
        }
    }

    #[test]
    fn another_world_size_goes_on_where_the_first_stopped() {
        let first = steps(48, 2, 3, Tail::Drop);
        let whole = places(first, Cursor::default());
        let cursor = first.after(first.after(Cursor::default()));
        for world in [1, 2, 3, 6] {
            let rest = places(steps(48, 2, world, Tail::Drop), cursor);
            assert_eq!(rest, whole[12..], "{world} ranks");
        }
    }
}
