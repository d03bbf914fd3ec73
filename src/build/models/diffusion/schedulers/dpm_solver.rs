//! DPM-Solver++ 2M: the multistep solver of second order, by midpoints (arXiv 2211.01095,
//! algorithm 2).

use candle_core::{Result, Tensor};

use super::schedule::{Level, Levels};
use super::{FinalSigma, Prediction, Scheduler, SchedulerConfig};

/// Runs of fewer steps end with a step of first order, for stability.
const STEPS_FOR_SECOND_ORDER_AT_THE_END: usize = 15;

#[derive(Debug)]
pub(super) struct DpmSolver {
    levels: Levels,
    prediction: Prediction,
    ends_at_first_order: bool,
    /// The image that the step before predicted.
    before: Option<Tensor>,
}

impl DpmSolver {
    pub fn new(config: &SchedulerConfig, steps: usize) -> DpmSolver {
        DpmSolver {
            levels: Levels::of_solver(config, steps),
            prediction: config.prediction_type,
            ends_at_first_order: steps < STEPS_FOR_SECOND_ORDER_AT_THE_END
                || config.final_sigmas_type == FinalSigma::Zero,
            before: None,
        }
    }

    /// The predicted image, corrected by how it changed since the step before where that is there.
    fn corrected(&self, image: &Tensor, index: usize, now: Level, next: Level) -> Result<Tensor> {
        let is_last = index + 1 == self.levels.timesteps.len();
        let (Some(before), Some(index_before)) = (&self.before, index.checked_sub(1)) else {
            return Ok(image.clone());
        };
        if is_last && self.ends_at_first_order {
            return Ok(image.clone());
        }
        let earlier = self.levels.level(index_before)?;
        let ratio = (now.lambda - earlier.lambda) / (next.lambda - now.lambda);
        image + ((image - before)? * (0.5 / ratio))?
    }
}

impl Scheduler for DpmSolver {
    fn timesteps(&self) -> &[f64] {
        &self.levels.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        _noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (now, next) = (self.levels.level(index)?, self.levels.level(index + 1)?);
        let (image, _) = now.predicted(self.prediction, sample, model_output)?;
        let corrected = self.corrected(&image, index, now, next)?;
        self.before = Some(image);
        let shrunk = (now.lambda - next.lambda).exp_m1();
        (sample * (next.sigma / now.sigma))? - (corrected * (next.alpha * shrunk))?
    }
}
