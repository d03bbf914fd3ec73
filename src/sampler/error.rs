//! What keeps a sampler from being made.

use crate::bank::BankError;

/// A sampler that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    /// There is nothing to draw from.
    #[error("the {pack} is empty; at least one row was expected")]
    Empty {
        /// `scene pack` or `bank`.
        pack: &'static str,
    },
    /// Rows are kept as 32-bit numbers.
    #[error("the {pack} has {rows} rows; at most 4294967294 were expected")]
    TooMany {
        /// `scene pack` or `bank`.
        pack: &'static str,
        /// Its rows.
        rows: usize,
    },
    /// One id means two things: what is pasted would get a wrong label.
    #[error(
        "category id {id} is {scene_name:?} in the scenes and {bank_name:?} in the bank; make the \
         bank with the scenes' categories (`pastebank import --categories`)"
    )]
    Categories {
        /// The id.
        id: i64,
        /// Its name in the scene pack.
        scene_name: String,
        /// Its name in the bank.
        bank_name: String,
    },
    /// A shard cannot be read any more.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A setting of the recipe is of no use.
    #[error("recipe setting `{field}`: {problem}")]
    Setting {
        /// The field, with the tables it lies in: `bank.count`.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Weights, parts of the bank or an order that nothing can be drawn by.
    #[error("{what}: {problem}")]
    Value {
        /// Which value: `category weight of 17`, `part 2 of the bank`, ….
        what: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The canvas has no pixels or too many.
    #[error("canvas {width}x{height}: sides of 1..=8192 were expected")]
    Canvas {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

impl SamplerError {
    pub(super) fn setting(field: impl Into<String>, problem: impl Into<String>) -> SamplerError {
        SamplerError::Setting {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(super) fn value(what: impl Into<String>, problem: impl Into<String>) -> SamplerError {
        SamplerError::Value {
            what: what.into(),
            problem: problem.into(),
        }
    }
}
