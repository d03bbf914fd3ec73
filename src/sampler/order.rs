//! The order of an epoch: which scene comes at which position. Stateless, so that any rank finds
//! any position by itself.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::SamplerError;
use super::ground::Ground;
use super::random::{Draws, shuffled};

/// How an epoch goes through the scenes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Each scene once, in an order that is another one in every epoch.
    #[default]
    Permutation,
    /// Each scene once, in the pack's order.
    Sequential,
    /// Scenes of rare categories more often: LVIS' repeat factor sampling (arXiv 1908.03195), as
    /// in detectron2. A category's factor is max(1, sqrt(threshold / f)), f being the share of
    /// scenes that have it; a scene's is the greatest of its categories'. In each epoch a scene
    /// comes as often as its factor, rounded down or up, and on average exactly as often.
    RepeatFactor {
        /// Categories in fewer than this share of the scenes are repeated; 0.001 for LVIS.
        threshold: f64,
    },
}

/// In place of a sample's index, for the draw that orders an epoch's scenes.
const ORDER: u64 = u64::MAX;
/// Streams of that draw.
const PERMUTATION_STREAM: u64 = 0;
const OFFSET_STREAM: u64 = 1;
/// Fixed point of the running sums of repeat factors.
const ONE: f64 = 4_294_967_296.0;
const FRACTION_BITS: u32 = 32;

/// An order over the scenes of a ground.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub order: Order,
    scenes: u64,
    length: u64,
    /// For repeat factors: their running sums over the scenes, 32 bits of them fractions, scaled
    /// so that the last is the epoch's length.
    sums: Option<Arc<[u64]>>,
}

impl Ordered {
    /// # Errors
    /// [`SamplerError::Value`] for a threshold that is no share.
    pub fn new(order: Order, ground: &Ground) -> Result<Ordered, SamplerError> {
        let scenes = ground.real_scenes();
        let mut ordered = Ordered {
            order,
            scenes,
            length: scenes,
            sums: None,
        };
        if let Order::RepeatFactor { threshold } = order {
            if !(0.0..=1.0).contains(&threshold) {
                let problem = format!("{threshold}; a share in 0..=1 was expected");
                return Err(SamplerError::value("repeat factor threshold", problem));
            }
            let factors = ground.scene_repeat_factors(threshold);
            (ordered.sums, ordered.length) = running_sums(&factors)?;
        }
        Ok(ordered)
    }

    /// Samples of an epoch.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The scene at `position`, which is taken modulo the epoch's length.
    pub fn scene_at(&self, seed: u64, epoch: u64, position: u64) -> u64 {
        let position = position % self.length.max(1);
        if self.order == Order::Sequential {
            return position;
        }
        let draws = Draws::new(seed, epoch, ORDER);
        let key = draws.stream(PERMUTATION_STREAM).next_u64();
        let slot = shuffled(position, self.length, key);
        let Some(sums) = &self.sums else {
            return slot;
        };
        // Systematic sampling: the slots lie one apart, all shifted by one uniform offset.
        let offset = draws.stream(OFFSET_STREAM).next_u64() >> (u64::BITS - FRACTION_BITS);
        let at = slot << FRACTION_BITS | offset;
        (sums.partition_point(|&sum| sum <= at) as u64).min(self.scenes - 1)
    }
}

type Sums = (Option<Arc<[u64]>>, u64);

fn running_sums(factors: &[f64]) -> Result<Sums, SamplerError> {
    let total: f64 = factors.iter().sum();
    let length = total.round();
    if length >= ONE {
        let problem = format!("an epoch of {length} samples; fewer than 2^32 were expected");
        return Err(SamplerError::value("repeat factor order", problem));
    }
    let scale = length / total * ONE;
    let mut sum = 0.0;
    let sums = factors.iter().map(|factor| {
        sum += factor;
        (sum * scale).round() as u64
    });
    Ok((Some(sums.collect()), length as u64))
}
