//! What a loader is asked for.

use std::num::NonZero;

use super::error::LoaderError;
use super::steps::{Steps, Tail};
use crate::compose::OutputSpec;
use crate::sampler::Sampler;

/// A loader's options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples of a batch, on each rank.
    pub batch_size: usize,
    /// Form of images and masks.
    pub output: OutputSpec,
    /// How many epochs; for ever where `None`.
    pub epochs: Option<u64>,
    /// Worker threads, at most 1024; as many as the machine has where `None`.
    pub threads: Option<NonZero<usize>>,
    /// Batches that are composed ahead of the one that the training loop has. Memory holds one
    /// more. On a GPU at least 2, so that one is composed while the next is gathered: batches are
    /// launched when the loader is asked for the next one.
    pub prefetch: usize,
    /// Which of the processes that share the run this is, below `world_size`.
    pub rank: usize,
    /// How many processes share the run.
    pub world_size: usize,
    /// What becomes of an epoch's last samples that fill no whole step.
    pub tail: Tail,
    /// Each sample comes with its unpasted twin.
    pub twins: bool,
    /// Share of the samples that may be drawn again because a picture cannot be decoded, before
    /// the run ends with an error; 0..=1. It is measured against the samples so far, or this rank's
    /// part of an epoch if that is more: of fewer than 100 samples none may, unless this is raised.
    pub most_replaced: f64,
    /// Resident bytes of mapped files, of the whole process, from which on the packs' pages are given
    /// back to the system. They stay in its cache; this bounds the process's resident memory,
    /// however large the packs are.
    pub mapped_limit: u64,
}

impl Default for LoaderOptions {
    fn default() -> LoaderOptions {
        LoaderOptions {
            batch_size: 8,
            output: OutputSpec::default(),
            epochs: None,
            threads: None,
            prefetch: 2,
            rank: 0,
            world_size: 1,
            tail: Tail::default(),
            twins: false,
            most_replaced: 0.01,
            mapped_limit: 1 << 30,
        }
    }
}

/// Batches larger than this hold more than any machine's memory.
const MOST_SAMPLES: usize = 1 << 16;
/// More batches ahead than this would only cost memory.
const MOST_PREFETCH: usize = 1024;

impl LoaderOptions {
    pub(crate) fn check(&self) -> Result<(), LoaderError> {
        let refuse = |field, problem| Err(LoaderError::option(field, problem));
        let between = |value: usize, most: usize| (1..=most).contains(&value);
        if !between(self.batch_size, MOST_SAMPLES) {
            let problem = format!("{}; 1..={MOST_SAMPLES} were expected", self.batch_size);
            return refuse("batch_size", problem);
        }
        if !between(self.prefetch, MOST_PREFETCH) {
            let problem = format!("{}; 1..={MOST_PREFETCH} were expected", self.prefetch);
            return refuse("prefetch", problem);
        }
        if self.batch_size * self.prefetch > MOST_SAMPLES {
            let problem = format!(
                "{} batches of {}; together at most {MOST_SAMPLES} samples ahead were expected",
                self.prefetch, self.batch_size
            );
            return refuse("prefetch", problem);
        }
        if self.world_size == 0 || u32::try_from(self.world_size).is_err() {
            let problem = format!("{}; 1..={} were expected", self.world_size, u32::MAX);
            return refuse("world_size", problem);
        }
        if self.rank >= self.world_size {
            let problem = format!(
                "{}; below `world_size`, {}, was expected",
                self.rank, self.world_size
            );
            return refuse("rank", problem);
        }
        if !(0.0..=1.0).contains(&self.most_replaced) {
            let problem = format!("{}; a share in 0..=1 was expected", self.most_replaced);
            return refuse("most_replaced", problem);
        }
        self.output
            .check()
            .map_err(|error| LoaderError::option("output", error.to_string()))
    }

    pub(super) fn steps(&self, sampler: &Sampler) -> Steps {
        Steps {
            epoch_length: sampler.epoch_length(),
            batch_size: self.batch_size as u64,
            rank: self.rank as u64,
            world_size: self.world_size as u64,
            tail: self.tail,
            epochs: self.epochs,
        }
    }

    pub(super) fn thread_count(&self) -> usize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, |threads| threads.min(crate::MOST_THREADS).get())
    }
}
