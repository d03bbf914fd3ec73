//! What can end or prevent a run.

use crate::bank::BankError;
use crate::compose::ComposeError;
use crate::sampler::SamplerError;

/// A loader that cannot be made, or a run that has ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// An option is of no use.
    #[error("loader option `{field}`: {problem}")]
    Option {
        /// The field of [`LoaderOptions`](super::LoaderOptions).
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// The sampler refused weights or a recipe.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A pack cannot be read any more.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A saved state does not belong to this run, or is none.
    #[error("the saved state's `{field}`: {problem}")]
    State {
        /// The field that differs.
        field: String,
        /// What was saved, and what this run has.
        problem: String,
    },
    /// A sample could not be composed, and not for want of a picture.
    #[error("sample {index} of epoch {epoch}: {source}")]
    Sample {
        /// The epoch, from 0.
        epoch: u64,
        /// The sample's place in the epoch's order.
        index: u64,
        /// Why.
        source: ComposeError,
    },
    /// A batch could not be composed as a whole: for want of memory, or because the device failed.
    /// Devices tell some failures late: an earlier batch may have met it.
    #[error("the batch of step {step}, epoch {epoch}: {source}")]
    Batch {
        /// The batch's number over all epochs, from 0.
        step: u64,
        /// The epoch, from 0.
        epoch: u64,
        /// Why.
        source: ComposeError,
    },
    /// The place to compose in cannot be used.
    #[error("cannot start to compose: {source}")]
    Target {
        /// Why.
        source: ComposeError,
    },
    /// Redraw after redraw met a picture that cannot be decoded.
    #[error(
        "sample {index} of epoch {epoch}: {attempts} scenes drawn one after another cannot be \
         decoded; the last: {last}"
    )]
    NoReplacement {
        /// The epoch, from 0.
        epoch: u64,
        /// The sample's place in the epoch's order.
        index: u64,
        /// How many were drawn.
        attempts: u32,
        /// What was wrong with the last one.
        last: String,
    },
    /// More pictures than allowed could not be decoded.
    #[error(
        "{replaced} of {samples} samples had a picture that cannot be decoded and were drawn \
         again; at most {allowed} were allowed (option `most_replaced`); the last: {last}"
    )]
    TooManyReplaced {
        /// Samples drawn again.
        replaced: u64,
        /// Samples that were composed, or an epoch's, whichever is more.
        samples: u64,
        /// How many of them may be drawn again.
        allowed: u64,
        /// What was wrong with the last one.
        last: String,
    },
    /// A worker thread panicked: a defect of a custom recipe or of this crate.
    #[error("a loader thread panicked at sample {index} of epoch {epoch}: {message}")]
    Panic {
        /// The epoch, from 0.
        epoch: u64,
        /// The sample's place in the epoch's order.
        index: u64,
        /// The panic's message.
        message: String,
    },
    /// A thread could not be started.
    #[error("cannot start a loader thread: {source}")]
    Thread {
        /// The system's error.
        source: std::io::Error,
    },
    /// All worker threads have gone without a word.
    #[error("the loader's threads are gone")]
    Gone,
}

impl LoaderError {
    pub(super) fn option(field: &'static str, problem: String) -> LoaderError {
        LoaderError::Option { field, problem }
    }
}
