//! What can go wrong while composing.

use crate::annotations::rle::RleError;
use crate::plan::PlanError;

/// A batch that could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The plan does not fit its packs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A JPEG scene cannot be decoded.
    #[error("scene {scene}: {problem}")]
    Decode {
        /// Index of the scene in its pack.
        scene: usize,
        /// What the decoder said, or both sizes.
        problem: String,
    },
    /// A sample was asked for that the plan does not have.
    #[error("sample {sample} was asked for; the plan has {count}")]
    NoSample {
        /// The position that was asked for.
        sample: usize,
        /// Samples in the encoded plan.
        count: usize,
    },
    /// A batch needs more memory than there is.
    #[error(
        "no memory for {bytes} bytes of {what}: compose fewer samples at once, or choose masks as \
         run lengths"
    )]
    Memory {
        /// `images` or `masks`.
        what: &'static str,
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The output settings are of no use.
    #[error("output setting `{field}`: {problem}")]
    Output {
        /// The field of [`OutputSpec`](super::OutputSpec).
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// One batch holds more layers, instances or sources than 32 bits count.
    #[error("a batch with {count} layers or instances is too large: compose it in parts")]
    TooLarge {
        /// How many there were.
        count: usize,
    },
    /// A mapped file's contents changed after they were checked.
    #[error("a mapped shard was changed in place while it was read")]
    Changed,
    /// A mask could not be turned into run lengths.
    #[error(transparent)]
    RunLengths(#[from] RleError),
    /// A GPU could not be used, or failed.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),
    /// A worker thread ended in a panic, which is a defect of this crate.
    #[error("a composing thread panicked: {message}")]
    Panic {
        /// The panic's message.
        message: String,
    },
}

impl ComposeError {
    /// Whether it is for want of memory, so that asking for less may work.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        match self {
            ComposeError::Memory { .. } => true,
            #[cfg(feature = "cuda")]
            ComposeError::Cuda(crate::cuda::CudaError::Memory { .. }) => true,
            _ => false,
        }
    }
}
