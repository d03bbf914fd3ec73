//! One sample after another on one thread: drawn, checked, encoded, composed.

use std::collections::BTreeMap;
use std::num::NonZero;

use super::Replaced;
use super::error::DatasetError;
use super::samples;
use crate::compose::{
    Backend, Batch, ComposeError, CpuBackend, Encoded, Layout, MaskOutput, OutputSpec,
};
use crate::plan::{CheckedPlan, SamplePlan};
use crate::sampler::{MOST_ATTEMPTS, Sample, Sampler};

/// Composes samples one by one and keeps its memory from one to the next.
#[derive(Debug)]
pub struct Composer {
    backend: CpuBackend,
    batch: Batch,
    /// The same sample without its layers.
    twin: Batch,
}

/// What was composed in the end.
pub(super) struct Composed {
    pub drawn: Sample,
    /// The scenes that were drawn before and could not be decoded.
    pub replaced: Vec<Replaced>,
}

impl Composer {
    /// One that gives masks of that form.
    pub fn new(masks: MaskOutput) -> Composer {
        let batch = |masks| {
            Batch::new(OutputSpec {
                layout: Layout::Hwc,
                masks,
                ..OutputSpec::default()
            })
        };
        Composer {
            backend: CpuBackend::new(Some(NonZero::<usize>::MIN)),
            batch: batch(masks),
            twin: batch(MaskOutput::None),
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
                Ok(()) => return Ok(Composed { drawn, replaced }),
            }
        }
        Err(undecodable(number, replaced))
    }

    /// By category: the scene's own instances of the sample that [`Composer::compose_drawn`] made
    /// last, as they are on its canvas where nothing is pasted; crowds among them if so asked.
    pub(super) fn own_instances(
        &mut self,
        sampler: &Sampler,
        drawn: &Sample,
        with_crowds: bool,
    ) -> Result<BTreeMap<i64, u64>, DatasetError> {
        let mut batch = &self.batch;
        if !drawn.plan.layers.is_empty() {
            let (scene, layers) = (drawn.plan.scene.clone(), Vec::new());
            let plan = samples::plan(sampler, SamplePlan { scene, layers });
            let checked =
                CheckedPlan::new(&plan, &sampler.ground().scenes, &sampler.ground().bank)?;
            let encoded = Encoded::new(&checked)?;
            self.backend.compose(&encoded, &mut self.twin)?;
            batch = &self.twin;
        }
        let view = batch.sample(0).ok_or(ComposeError::NoSample {
            sample: 0,
            count: batch.len(),
        })?;
        let mut counts = BTreeMap::new();
        for (&category, &is_crowd) in view.labels.iter().zip(view.iscrowd) {
            if with_crowds || is_crowd == 0 {
                *counts.entry(category).or_default() += 1;
            }
        }
        Ok(counts)
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
