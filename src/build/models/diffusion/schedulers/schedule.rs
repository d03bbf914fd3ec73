//! Noise levels and time steps that the schedulers share.

use candle_core::{Result, Tensor};

use super::{BetaSchedule, FinalSigma, Prediction, SchedulerConfig, Spacing, at};

/// Products of 1 − β up to each time step of training.
///
/// Rounded where the reference rounds, because 1 − ᾱ cancels at small time steps.
pub(super) fn alphas(config: &SchedulerConfig) -> Vec<f64> {
    let root = |beta: f64| match config.beta_schedule {
        BetaSchedule::Linear => beta as f32,
        BetaSchedule::ScaledLinear => beta.sqrt() as f32,
    };
    let (start, end) = (root(config.beta_start), root(config.beta_end));
    let last = config.num_train_timesteps - 1;
    let step = (end - start) / last as f32;
    let mut product = 1f64;
    let mut alphas = Vec::with_capacity(last + 1);
    for index in 0..=last {
        // PyTorch's linspace goes from both ends to the middle.
        let beta = match index < config.num_train_timesteps / 2 {
            true => start + step * index as f32,
            false => end - step * (last - index) as f32,
        };
        let beta = match config.beta_schedule {
            BetaSchedule::Linear => beta,
            BetaSchedule::ScaledLinear => beta * beta,
        };
        product *= f64::from(1.0 - beta);
        alphas.push(f64::from(product as f32));
    }
    alphas
}

/// The deviation of the noise beside a sample of deviation 1.
pub(super) fn sigma(alpha: f64) -> f64 {
    let alpha = alpha as f32;
    f64::from(((1.0 - alpha) / alpha).sqrt())
}

/// Time steps, from noise to image. Solvers space for one more than they take.
pub(super) fn timesteps(
    config: &SchedulerConfig,
    spacing: Spacing,
    steps: usize,
    solver: bool,
) -> Vec<f64> {
    let train = config.num_train_timesteps;
    let spaced = steps + usize::from(solver);
    match spacing {
        Spacing::Linspace => {
            let step = (train - 1) as f64 / (spaced - 1).max(1) as f64;
            let ascending = (0..spaced).map(|index| index as f64 * step);
            let mut steps: Vec<f64> = ascending.rev().take(steps).collect();
            if spaced > 1 {
                steps[0] = (train - 1) as f64;
            }
            steps
        }
        Spacing::Leading => {
            let ratio = train / spaced;
            let ascending = (0..spaced).map(|index| (index * ratio + config.steps_offset) as f64);
            ascending.rev().take(steps).collect()
        }
        Spacing::Trailing => {
            let ratio = train as f64 / steps as f64;
            let descending = (0..steps).map(|index| train as f64 - index as f64 * ratio);
            descending
                .map(|step| step.round_ties_even() - 1.0)
                .collect()
        }
    }
}

/// Time steps and noise levels of a solver; of the latter there is one more.
#[derive(Debug)]
pub(super) struct Levels {
    pub timesteps: Vec<f64>,
    pub sigmas: Vec<f64>,
}

impl Levels {
    /// As diffusers' multistep solvers.
    pub fn of_solver(config: &SchedulerConfig, steps: usize) -> Levels {
        let training: Vec<f64> = alphas(config).into_iter().map(sigma).collect();
        let spacing = config.timestep_spacing.unwrap_or(Spacing::Linspace);
        let (timesteps, mut sigmas) = if config.use_karras_sigmas.unwrap_or(false) {
            let sigmas = karras(&training, steps);
            let timesteps = sigmas.iter().map(|&sigma| timestep_of(sigma, &training));
            (timesteps.map(f64::round_ties_even).collect(), sigmas)
        } else {
            let timesteps = timesteps(config, spacing, steps, true);
            let timesteps: Vec<f64> = timesteps.into_iter().map(f64::round_ties_even).collect();
            let sigmas = timesteps.iter().map(|&step| interpolated(&training, step));
            let sigmas = sigmas.collect();
            (timesteps, sigmas)
        };
        sigmas.push(match config.final_sigmas_type {
            FinalSigma::Zero => 0.0,
            FinalSigma::SigmaMin => training[0],
        });
        Levels { timesteps, sigmas }
    }

    /// The factors of image and noise in a sample at `index`, and the logarithm of their ratio.
    pub fn level(&self, index: usize) -> Result<Level> {
        let sigma = at(&self.sigmas, index)?;
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        Ok(Level {
            alpha,
            sigma: sigma * alpha,
            lambda: -sigma.ln(),
        })
    }
}

/// A noise level: a sample is alpha times the image and sigma times the noise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub alpha: f64,
    pub sigma: f64,
    /// Half the logarithm of the ratio of signal to noise.
    pub lambda: f64,
}

impl Level {
    /// The image and the noise that are in a sample, as the network predicts them.
    pub fn predicted(
        self,
        prediction: Prediction,
        sample: &Tensor,
        output: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let Level { alpha, sigma, .. } = self;
        Ok(match prediction {
            Prediction::Epsilon => (((sample - (output * sigma)?)? / alpha)?, output.clone()),
            Prediction::VPrediction => (
                ((sample * alpha)? - (output * sigma)?)?,
                ((output * alpha)? + (sample * sigma)?)?,
            ),
        })
    }
}

/// Karras et al., equation 5 with rho 7.
fn karras(training: &[f64], steps: usize) -> Vec<f64> {
    let (least, most) = (training[0], training[training.len() - 1]);
    let (least, most) = (least.powf(1.0 / 7.0), most.powf(1.0 / 7.0));
    let ramp = |index: usize| index as f64 / (steps - 1).max(1) as f64;
    (0..steps)
        .map(|index| (most + ramp(index) * (least - most)).powi(7))
        .collect()
}

/// The time step of training that has a noise level, between two where none has it.
fn timestep_of(sigma: f64, training: &[f64]) -> f64 {
    let above = training.partition_point(|&level| level <= sigma);
    let low = above.saturating_sub(1).min(training.len() - 2);
    let (from, to) = (training[low].ln(), training[low + 1].ln());
    let weight = (from - sigma.max(1e-10).ln()) / (from - to);
    low as f64 + weight.clamp(0.0, 1.0)
}

/// A value between entries; the ends go on.
pub(super) fn interpolated(values: &[f64], position: f64) -> f64 {
    let last = values.len() - 1;
    let position = position.clamp(0.0, last as f64);
    let low = (position.floor() as usize).min(last);
    let high = (low + 1).min(last);
    values[low] + (values[high] - values[low]) * (position - low as f64)
}
