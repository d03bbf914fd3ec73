//! What ends a benchmark.

use std::path::{Path, PathBuf};

use super::compare::{Difference, list};
use crate::bank::BankError;
use crate::compose::ComposeError;
use crate::loader::LoaderError;
use crate::pack::PackError;
use crate::plan::PlanError;
use crate::sampler::SamplerError;

/// A benchmark that was not finished.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// What was measured is wrong, so that its figures say nothing.
    #[error("{what} gave a wrong result, no figure is told: {problem}")]
    Wrong {
        /// What was measured.
        what: &'static str,
        /// What differs first: sample, stage, pixel and both values.
        problem: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A report cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no report of a benchmark.
    #[error("{} is no report of `pastebank bench --json`: `{field}`: {problem}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// The field that is not as expected.
        field: String,
        /// What was found and expected.
        problem: String,
    },
    /// Two reports are of different workloads, so that their figures cannot be compared.
    #[error("{} is of another workload: {}", path.display(), list(differences))]
    OtherWorkload {
        /// The earlier report's file.
        path: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// A photograph could not be encoded.
    #[error("a photograph of the synthetic set cannot be encoded: {0}")]
    Encode(#[source] image::ImageError),
    /// The host has no memory to measure with.
    #[error("no memory for {bytes} bytes to copy")]
    Memory {
        /// How much.
        bytes: usize,
    },
    /// The synthetic set could not be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Packs cannot be opened.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// Samples cannot be drawn from these packs.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A drawn plan does not fit its packs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A batch could not be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A loader ended.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The GPU failed.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),
}

impl BenchError {
    pub(super) fn file(path: &Path, source: std::io::Error) -> BenchError {
        BenchError::File {
            path: path.to_owned(),
            source,
        }
    }
}
