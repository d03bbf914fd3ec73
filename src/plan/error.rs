//! What can be wrong with a plan.

use std::fmt::{self, Display};

use serde_path_to_error::{Path, Segment};

use crate::bank::BankError;

/// A plan that cannot be composed, and where in it the reason is.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A value is missing, unknown, of the wrong type or past its limit.
    #[error("{}`{field}`: {problem}", Place(*.sample, *.layer))]
    Field {
        /// The sample, counted from 0, unless the value belongs to the whole plan.
        sample: Option<usize>,
        /// The layer, counted from 0, unless the value belongs to the sample or its scene.
        layer: Option<usize>,
        /// The field, as a path into the JSON below the layer, the sample or the plan.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A pack that the plan refers to can no longer be read.
    #[error(transparent)]
    Bank(#[from] BankError),
}

struct Place(Option<usize>, Option<usize>);

impl Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sample) = self.0 {
            write!(formatter, "sample {sample}, ")?;
        }
        if let Some(layer) = self.1 {
            write!(formatter, "layer {layer}, ")?;
        }
        Ok(())
    }
}

impl PlanError {
    pub(crate) fn new(
        sample: Option<usize>,
        layer: Option<usize>,
        field: impl Into<String>,
        problem: impl Display,
    ) -> PlanError {
        PlanError::Field {
            sample,
            layer,
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// Turns a path such as `samples[3].layers[2].blend` into sample 3, layer 2, `blend`.
    pub(crate) fn from_json(path: &Path, error: &serde_json::Error) -> PlanError {
        let segments: Vec<&Segment> = path.iter().collect();
        let (sample, rest) = strip_index(&segments, "samples");
        let (layer, rest) = match sample {
            Some(_) => strip_index(rest, "layers"),
            None => (None, rest),
        };
        let mut field = String::new();
        for segment in rest {
            let separator = match segment {
                Segment::Seq { .. } => "",
                _ if field.is_empty() => "",
                _ => ".",
            };
            field = format!("{field}{separator}{segment}");
        }
        if field.is_empty() {
            field = match (sample, layer) {
                (_, Some(_)) => "layer",
                (Some(_), None) => "sample",
                (None, None) => "plan",
            }
            .to_owned();
        }
        PlanError::new(sample, layer, field, error)
    }
}

fn strip_index<'a, 'b>(
    segments: &'a [&'b Segment],
    name: &str,
) -> (Option<usize>, &'a [&'b Segment]) {
    match segments {
        [Segment::Map { key }, Segment::Seq { index }, rest @ ..] if key == name => {
            (Some(*index), rest)
        }
        _ => (None, segments),
    }
}
