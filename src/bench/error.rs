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
        /// What differs first, and in which sample.
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
    /// A bank was to be repeated that has nothing in it.
    #[error("a bank of many rows is made of the cutouts of another, and there are none")]
    NoCutouts,
    /// The disk is full.
    #[error(
        "no room for a large bank in {}: it takes {needed} bytes there, more where the file system \
         knows no holes: {source}",
        folder.display()
    )]
    Room {
        /// Where it was to be.
        folder: PathBuf,
        /// Bytes of its columns and of the pixels that are really there.
        needed: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something cannot be varied.
    #[error("sweep of {axis}: {problem}")]
    Sweep {
        /// What was to be varied.
        axis: &'static str,
        /// Why not, and what was expected.
        problem: &'static str,
    },
    /// A plot could not be drawn.
    #[error("cannot draw the plot: {problem}")]
    Plot {
        /// What the drawing library said.
        problem: String,
    },
    /// Points could not be written as CSV.
    #[error("cannot write the points as CSV: {0}")]
    Csv(#[from] csv::Error),
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
