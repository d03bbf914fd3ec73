//! DDIM without noise (arXiv 2010.02502, formula 12 with eta 0).

use candle_core::{Result, Tensor};

use super::schedule::{Level, alphas, timesteps};
use super::{Prediction, Scheduler, SchedulerConfig, Spacing, at};

#[derive(Debug)]
pub(super) struct Ddim {
    timesteps: Vec<f64>,
    /// Of the time steps, and after the last.
    alphas: Vec<f64>,
    prediction: Prediction,
    clip: Option<f64>,
}

impl Ddim {
    pub fn new(config: &SchedulerConfig, steps: usize) -> Ddim {
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Leading);
        let timesteps = timesteps(config, spacing, steps, false);
        let timesteps: Vec<f64> = timesteps.into_iter().map(f64::round_ties_even).collect();
        let training = alphas(config);
        let last = training.len() - 1;
        let alpha = |step: f64| training[(step as usize).min(last)];
        // What comes after a step is so many time steps of training away, whatever the spacing.
        let ratio = (config.num_train_timesteps / steps) as f64;
        let after = |step: f64| match step - ratio {
            before if before >= 0.0 => alpha(before),
            _ if config.set_alpha_to_one => 1.0,
            _ => training[0],
        };
        let pairs = timesteps
            .iter()
            .flat_map(|&step| [alpha(step), after(step)]);
        Ddim {
            alphas: pairs.collect(),
            timesteps,
            prediction: config.prediction_type,
            clip: config.clip_sample.then_some(config.clip_sample_range),
        }
    }

    fn level(&self, index: usize) -> Result<Level> {
        let alpha = at(&self.alphas, index)?;
        Ok(Level {
            alpha: alpha.sqrt(),
            sigma: (1.0 - alpha).sqrt(),
            lambda: (alpha / (1.0 - alpha)).ln() / 2.0,
        })
    }
}

impl Scheduler for Ddim {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
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
        let (now, next) = (self.level(2 * index)?, self.level(2 * index + 1)?);
        let (mut image, noise) = now.predicted(self.prediction, sample, model_output)?;
        if let Some(range) = self.clip {
            image = image.clamp(-range, range)?;
        }
        (image * next.alpha)? + (noise * next.sigma)?
    }
}
