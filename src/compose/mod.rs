//! Composition: from a checked plan to images, masks, boxes and labels, to the bit.
//!
//! [`encode`] turns a plan into flat arrays of integers; a [`Backend`] executes them and fills a
//! [`Batch`]. All of it is integer arithmetic over the functions in [`rules`], so that every back
//! end gives equal results.
//!
//! The [loader](crate::loader) does all of this on many threads. By hand, step by step:
//!
//! ```no_run
//! use std::sync::Arc;
//! use pastebank::bank::{CutoutBank, ScenePack};
//! use pastebank::compose::{Backend, Batch, CpuBackend, Encoded, OutputSpec};
//! use pastebank::plan::CheckedPlan;
//! use pastebank::sampler::{RecipeSettings, Sampler};
//!
//! let scenes = Arc::new(ScenePack::open("scenes".as_ref())?);
//! let bank = Arc::new(CutoutBank::open("bank".as_ref())?);
//! let recipe = Arc::new(RecipeSettings::xpaste());
//! let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, [1024, 1024], 0)?;
//! let mut backend = CpuBackend::new(None);
//! let mut batch = Batch::new(OutputSpec::default());
//! let plan = sampler.plan(0..16);
//! let checked = CheckedPlan::new(&plan, &scenes, &bank)?;
//! backend.compose(&Encoded::new(&checked)?, &mut batch)?;
//! println!("{} instances in {} images", batch.instance_count(), batch.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batch;
pub mod cpu;
pub mod encode;
mod error;
pub(crate) mod jpeg;
pub(crate) mod masks;
pub mod output;
pub(crate) mod pixels;
pub mod rules;
mod simd;
#[cfg(feature = "candle")]
mod tensors;

pub use batch::{Batch, ImageData, InstanceSource, SampleView};
pub use cpu::{CpuBackend, StageCost, StageCosts};
pub use encode::{Encoded, Encoder};
pub use error::ComposeError;
pub use output::{ElementType, Layout, MaskOutput, OutputSpec};
pub use simd::Simd;
#[cfg(feature = "candle")]
pub use tensors::SampleTensors;

/// Executes encoded plans, a whole batch at a time.
pub trait Backend {
    /// Composes the samples of `encoded` that `samples` lists (positions in
    /// [`Encoded::samples`]), in that order, into `batch`, whose former contents are lost.
    ///
    /// # Errors
    /// [`ComposeError`]; the batch is empty then.
    fn compose_samples(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        batch: &mut Batch,
    ) -> Result<(), ComposeError>;

    /// Composes all samples of `encoded` into `batch`, whose former contents are lost.
    ///
    /// # Errors
    /// [`ComposeError`]; the batch is empty then.
    fn compose(&mut self, encoded: &Encoded<'_>, batch: &mut Batch) -> Result<(), ComposeError> {
        let samples: Vec<usize> = (0..encoded.samples.len()).collect();
        self.compose_samples(encoded, &samples, batch)
    }
}
