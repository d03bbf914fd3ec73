//! What ends a benchmark.

use std::path::{Path, PathBuf};

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
    #[error("{case}: {what} gave a wrong result, no figure is told: {problem}")]
    Wrong {
        /// Canvas, batch and layers.
        case: String,
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
    /// A plot could not be drawn.
    #[error("cannot draw the plot: {problem}")]
    Plot {
        /// What the drawing library said.
        problem: String,
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
