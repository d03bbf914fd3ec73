//! One sample after another on one thread: drawn, checked, encoded, composed.

use std::num::NonZero;

use super::Replaced;
use super::error::DatasetError;
use super::own::{OwnInstance, own_instances};
use super::samples;
use crate::compose::{
    Backend, Batch, ComposeError, CpuBackend, Encoded, Layout, MaskOutput, OutputSpec,
};
use crate::plan::CheckedPlan;
use crate::sampler::{MOST_ATTEMPTS, Sample, Sampler};

/// Composes samples one by one and keeps its memory from one to the next.
#[derive(Debug)]
pub struct Composer {
    backend: CpuBackend,
    batch: Batch,
}

/// What was composed in the end.
pub(super) struct Composed {
    pub drawn: Sample,
    /// The scene's own instances, were nothing pasted.
    pub own: Vec<OwnInstance>,
    /// The scenes that were drawn before and could not be decoded.
    pub replaced: Vec<Replaced>,
}

impl Composer {
    /// One that gives masks of that form.
    pub fn new(masks: MaskOutput) -> Composer {
        Composer {
            backend: CpuBackend::new(Some(NonZero::<usize>::MIN)),
            batch: Batch::new(OutputSpec {
                layout: Layout::Hwc,
                masks,
                ..OutputSpec::default()
            }),
        }
    }

    /// Sample `number` as a batch of one: 8-bit pixels `[1, height, width, 3]`. A sample whose
    /// scene cannot be decoded is drawn anew, at most 16 times.
    ///
    /// # Errors
    /// [`DatasetError`] if the sample cannot be composed.
    pub fn compose(&mut self, sampler: &Sampler, number: u64) -> Result<&Batch, DatasetError> {
        self.compose_drawn(sampler, number)?;
        Ok(&self.batch)
    }

    /// What [`Composer::compose_drawn`] made.
    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// As [`Composer::compose`], and says what was drawn.
    pub(super) fn compose_drawn(
        &mut self,
        sampler: &Sampler,
        number: u64,
    ) -> Result<Composed, DatasetError> {
        let mut replaced = Vec::new();
        for attempt in 0..MOST_ATTEMPTS {
            let drawn = sampler.sample_again(number, attempt);
            let plan = samples::plan(sampler, drawn.plan.clone());
            let checked =
                CheckedPlan::new(&plan, &sampler.ground().scenes, &sampler.ground().bank)?;
            let encoded = Encoded::new(&checked)?;
            match self.backend.compose(&encoded, &mut self.batch) {
                Err(ComposeError::Decode { scene, problem }) => replaced.push(Replaced {
                    sample: number,
                    scene: scene as u64,
                    problem,
                }),
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    let samples = encoded.samples.iter();
                    let own = samples.flat_map(|sample| own_instances(&encoded, sample));
                    return Ok(Composed {
                        own: own.collect(),
                        drawn,
                        replaced,
                    });
                }
            }
        }
        Err(undecodable(number, replaced))
    }
}

fn undecodable(sample: u64, mut replaced: Vec<Replaced>) -> DatasetError {
    let (scene, problem) = replaced
        .pop()
        .map_or((0, String::new()), |last| (last.scene, last.problem));
    DatasetError::Undecodable {
        sample,
        draws: MOST_ATTEMPTS,
        scene,
        problem,
    }
}
