//! What ends the writing of a composed data set.

use std::path::PathBuf;

use super::Replaced;
use crate::bank::BankError;
use crate::compose::ComposeError;
use crate::plan::PlanError;

/// What an image's encoder said.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The PNG encoder's error.
    #[error(transparent)]
    Png(#[from] image::ImageError),
    /// The JPEG encoder's error.
    #[error(transparent)]
    Jpeg(#[from] jpeg_encoder::EncodingError),
}

/// A data set that was not finished. What the journal has stays; the same call continues.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A plan does not fit its packs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A sample could not be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] BankError),
    /// An image could not be encoded.
    #[error("cannot encode {file_name}: {source}")]
    Encode {
        /// The image's file name.
        file_name: String,
        /// The encoder's error.
        source: EncodeError,
    },
    /// The output folder holds something else.
    #[error(
        "{} is not empty: {reason}; choose another folder, or give --force, which replaces a \
         composed data set and nothing else",
        folder.display()
    )]
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
    /// A sample's scene and all that were drawn in its place cannot be decoded.
    #[error(
        "sample {sample}: no scene of {draws} could be decoded; the last was scene {scene}: \
         {problem}"
    )]
    Undecodable {
        /// The sample.
        sample: u64,
        /// How many scenes were drawn for it.
        draws: u32,
        /// The row of the last one.
        scene: u64,
        /// What the decoder said of it.
        problem: String,
    },
    /// More samples than allowed had to be drawn anew.
    #[error(
        "{replaced} of {samples} samples had scenes that cannot be decoded, more than the share of \
         {allowed} that is allowed (--max-replaced); the last was scene {}: {}",
        last.scene, last.problem
    )]
    TooManyReplaced {
        /// Samples that were replaced so far.
        replaced: u64,
        /// Samples of the data set.
        samples: u64,
        /// The share of them that is allowed.
        allowed: f64,
        /// The scene that was one too many.
        last: Replaced,
    },
    /// The caller asked to stop.
    #[error("stopped after {samples} samples; the same command continues there")]
    Stopped {
        /// Samples that are finished.
        samples: usize,
    },
    /// A worker thread ended in a panic, which is a defect of this crate.
    #[error("a composing thread panicked: {message}")]
    Panic {
        /// The panic's message.
        message: String,
    },
}
