//! What ends a packing run.

use std::path::PathBuf;

use crate::annotations::coco::DataSetError;
use crate::annotations::problems::Problem;
use crate::bank::BankError;

/// A packing run that did not finish. Finished shards stay; the same command continues.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The annotation file cannot be read.
    #[error(transparent)]
    DataSet(#[from] DataSetError),
    /// A shard, manifest or journal cannot be written.
    #[error(transparent)]
    Write(#[from] BankError),
    /// An output folder holds something else.
    #[error("{} is not empty: {reason}; choose another folder or give --force to replace a pack", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        reason: String,
    },
    /// An option is of no use.
    #[error("{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// The first problem of a strict run.
    #[error("{problem} (--strict)")]
    Strict {
        /// The problem.
        problem: Problem,
    },
    /// The caller asked to stop.
    #[error("stopped; the same command continues after the last finished shard")]
    Stopped,
    /// A worker thread ended in a panic, which is a defect of this crate.
    #[error("a packing thread panicked: {message}")]
    Panic {
        /// The panic's message.
        message: String,
    },
}
