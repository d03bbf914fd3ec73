//! Euler's method with fresh noise at each step: k-diffusion's `sample_euler_ancestral`.

use candle_core::{Result, Tensor};

use super::schedule::{Levels, alphas, interpolated, sigma, timesteps};
use super::{Prediction, Scheduler, SchedulerConfig, Spacing, at};

#[derive(Debug)]
pub(super) struct EulerAncestral {
    levels: Levels,
    prediction: Prediction,
    init_noise_sigma: f64,
}

impl EulerAncestral {
    pub fn new(config: &SchedulerConfig, steps: usize) -> EulerAncestral {
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Linspace);
        let timesteps = timesteps(config, spacing, steps, false);
        let training: Vec<f64> = alphas(config).into_iter().map(sigma).collect();
        let sigmas = timesteps.iter().map(|&step| interpolated(&training, step));
        let sigmas: Vec<f64> = sigmas.chain([0.0]).collect();
        let most = sigmas.iter().copied().fold(0.0, f64::max);
        EulerAncestral {
            levels: Levels { timesteps, sigmas },
            prediction: config.prediction_type,
            init_noise_sigma: match spacing {
                Spacing::Leading => (most * most + 1.0).sqrt(),
                Spacing::Linspace | Spacing::Trailing => most,
            },
        }
    }
}

impl Scheduler for EulerAncestral {
    fn timesteps(&self) -> &[f64] {
        &self.levels.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn is_ancestral(&self) -> bool {
        true
    }

    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor> {
        sample * self.levels.level(index)?.alpha
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let from = at(&self.levels.sigmas, index)?;
        let to = at(&self.levels.sigmas, index + 1)?;
        let Some(noise) = noise else {
            candle_core::bail!("Euler ancestral needs noise at every step");
        };
        let image = match self.prediction {
            Prediction::Epsilon => (sample - (model_output * from)?)?,
            Prediction::VPrediction => {
                let squared = from * from + 1.0;
                ((sample / squared)? - (model_output * (from / squared.sqrt()))?)?
            }
        };
        let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
        let down = (to * to - up * up).sqrt();
        let slope = ((sample - image)? / from)?;
        (sample + (slope * (down - from))?)? + (noise * up)?
    }
}
