//! What can go wrong while a bank is built.

use std::path::PathBuf;

use super::models::ModelError;
use super::sources::SourceError;
use super::state::StateError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A model or its files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A folder or a list of images.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A bank that is read or written.
    #[error(transparent)]
    Bank(#[from] crate::bank::BankError),
    /// A setting that makes no sense.
    #[error("{option}: {problem}")]
    Option {
        /// The flag or the key of the settings file.
        option: &'static str,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A file of our own that is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// What the images are read from is not there any more, or not yet.
    #[error("{0}; nothing was noted, the same command goes on from here")]
    Away(String),
    /// What cannot be.
    #[error("{0}; this is a bug of ours")]
    Internal(String),
    /// The stage was asked to stop; the same call continues.
    #[error("stopped; the same command goes on from here")]
    Stopped,
}
