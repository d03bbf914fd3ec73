//! Schedulers: how noise becomes latents, step by step.
//!
//! Ours and not candle-transformers', so that each gives the time steps and samples that diffusers'
//! scheduler of that name gives for the same `scheduler_config.json`. Samples and predictions are
//! F32 whatever the network's precision.

mod ddim;
mod dpm_solver;
mod euler_ancestral;
mod schedule;
#[cfg(test)]
mod tests;
mod unipc;

use std::str::FromStr;

use candle_core::{Result, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::parse;

/// What the network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity (arXiv 2202.00512), as Stable Diffusion 2.1's 768 pixels.
    VPrediction,
}

/// Which of the training's time steps are taken (arXiv 2305.08891, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Multiples from 0.
    Leading,
    /// Evenly from the last to the first.
    Linspace,
    /// Multiples down from the last.
    Trailing,
}

/// How the variances of training grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Evenly in their square roots: latent diffusion's.
    ScaledLinear,
}

/// The noise that is left after the last step, in solvers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// None.
    #[default]
    Zero,
    /// The least of training.
    SigmaMin,
}

/// What solvers do for second order. Nothing is chosen by it: each solver here has one way, and files
/// that ask for another, such as `heun` or `bh1`, are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// DPM-Solver++'s.
    Midpoint,
    /// UniPC's.
    Bh2,
    /// An older solver's, for which diffusers takes each solver's own.
    Logrho,
}

/// A scheduler by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// DDIM without noise (arXiv 2010.02502, eta 0).
    Ddim,
    /// Euler's method with fresh noise at each step.
    EulerAncestral,
    /// UniPC of order 2 with B2(h) (arXiv 2302.04867).
    UniPc,
    /// DPM-Solver++ 2M by midpoints (arXiv 2211.01095).
    DpmSolver,
}

impl FromStr for SchedulerKind {
    type Err = String;

    /// `ddim`, `euler-ancestral`, `unipc` or `dpm-solver++`.
    fn from_str(name: &str) -> std::result::Result<SchedulerKind, String> {
        match name {
            "ddim" => Ok(SchedulerKind::Ddim),
            "euler-ancestral" => Ok(SchedulerKind::EulerAncestral),
            "unipc" => Ok(SchedulerKind::UniPc),
            "dpm-solver++" => Ok(SchedulerKind::DpmSolver),
            _ => Err(format!(
                "scheduler is {name:?}; ddim, euler-ancestral, unipc or dpm-solver++ was expected"
            )),
        }
    }
}

/// `scheduler/scheduler_config.json`. What a file leaves out is as in diffusers' class of that kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SchedulerConfig {
    /// The class that the model's authors chose.
    #[serde(default, rename = "_class_name")]
    pub class: Option<String>,
    /// Time steps of training.
    #[serde(default = "thousand")]
    pub num_train_timesteps: usize,
    /// The first variance.
    pub beta_start: f64,
    /// The last variance.
    pub beta_end: f64,
    /// How they grow.
    pub beta_schedule: BetaSchedule,
    /// What the network predicts.
    #[serde(default = "epsilon")]
    pub prediction_type: Prediction,
    /// Which time steps are taken; each kind has its own where `None` is given.
    #[serde(default)]
    pub timestep_spacing: Option<Spacing>,
    /// Added to time steps of leading spacing.
    #[serde(default)]
    pub steps_offset: usize,
    /// DDIM: whether nothing is left of the noise after the last step.
    #[serde(default = "yes")]
    pub set_alpha_to_one: bool,
    /// DDIM: whether predicted samples are cut off.
    #[serde(default = "yes")]
    pub clip_sample: bool,
    /// DDIM: where they are cut off.
    #[serde(default = "unit")]
    pub clip_sample_range: f64,
    /// Solvers: noise levels by Karras et al. (arXiv 2206.00364).
    #[serde(default)]
    pub use_karras_sigmas: Option<bool>,
    /// Solvers: what is left after the last step.
    #[serde(default)]
    pub final_sigmas_type: FinalSigma,
    /// Solvers: what they do for second order.
    #[serde(default)]
    pub solver_type: Option<SolverType>,
}

fn thousand() -> usize {
    1000
}

fn epsilon() -> Prediction {
    Prediction::Epsilon
}

fn yes() -> bool {
    true
}

fn unit() -> f64 {
    1.0
}

/// The fields that must be as they are here, where they are there at all.
fn fields() -> Vec<(&'static str, Value)> {
    vec![
        ("algorithm_type", json!("dpmsolver++")),
        ("disable_corrector", json!([])),
        ("euler_at_final", json!(false)),
        ("lambda_min_clipped", Value::Null),
        ("lower_order_final", json!(true)),
        ("predict_x0", json!(true)),
        ("rescale_betas_zero_snr", json!(false)),
        ("solver_order", json!(2)),
        ("thresholding", json!(false)),
        ("trained_betas", Value::Null),
        ("use_beta_sigmas", json!(false)),
        ("use_exponential_sigmas", json!(false)),
        ("use_flow_sigmas", json!(false)),
        ("use_lu_lambdas", json!(false)),
    ]
}

impl SchedulerConfig {
    /// From the text of `scheduler_config.json`.
    ///
    /// # Errors
    /// The field that is missing, malformed, or asks for what is not done here.
    pub fn from_json(json: &str) -> std::result::Result<SchedulerConfig, String> {
        // Python writes infinities, which JSON does not have: no `lambda_min_clipped`.
        let json = json.replace("-Infinity", "null");
        let config: SchedulerConfig = parse(&json, &fields())?;
        let betas = [config.beta_start, config.beta_end];
        if betas.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            return Err(format!(
                "beta_start and beta_end are {betas:?}; numbers between 0 and 1 were expected"
            ));
        }
        if !(2..=1_000_000).contains(&config.num_train_timesteps) {
            return Err(format!(
                "num_train_timesteps is {}; 2 to a million was expected",
                config.num_train_timesteps
            ));
        }
        if config.steps_offset >= config.num_train_timesteps {
            return Err(format!(
                "steps_offset is {}; less than the {} of num_train_timesteps was expected",
                config.steps_offset, config.num_train_timesteps
            ));
        }
        Ok(config)
    }

    /// A scheduler of so many steps.
    ///
    /// # Errors
    /// A number of steps that the training's time steps do not hold, or time steps that an offset
    /// takes past the last: solvers would divide by nothing there.
    pub fn scheduler(
        &self,
        kind: SchedulerKind,
        steps: usize,
    ) -> std::result::Result<Box<dyn Scheduler>, String> {
        let most = match (kind, self.timestep_spacing) {
            // A solver's leading spacing has a time step more, which is not taken.
            (SchedulerKind::UniPc | SchedulerKind::DpmSolver, _) => self.num_train_timesteps - 1,
            _ => self.num_train_timesteps,
        };
        if !(1..=most).contains(&steps) {
            return Err(format!("{steps} steps; 1 to {most} were expected"));
        }
        let scheduler: Box<dyn Scheduler> = match kind {
            SchedulerKind::Ddim => Box::new(ddim::Ddim::new(self, steps)),
            SchedulerKind::EulerAncestral => {
                Box::new(euler_ancestral::EulerAncestral::new(self, steps))
            }
            SchedulerKind::UniPc => Box::new(unipc::UniPc::new(self, steps)),
            SchedulerKind::DpmSolver => Box::new(dpm_solver::DpmSolver::new(self, steps)),
        };
        let last = (self.num_train_timesteps - 1) as f64;
        match scheduler.timesteps().iter().find(|&&step| step > last) {
            None => Ok(scheduler),
            Some(step) => Err(format!(
                "{steps} steps reach time step {step} with a steps_offset of {}; {last} is the last",
                self.steps_offset
            )),
        }
    }
}

/// Takes a sample from noise to latents. One is made for each batch: solvers remember predictions.
pub trait Scheduler: Send {
    /// The time step of each step: what the network is told.
    fn timesteps(&self) -> &[f64];

    /// What unit noise is multiplied with to be the first sample.
    fn init_noise_sigma(&self) -> f64;

    /// Whether [`Scheduler::step`] needs noise.
    fn is_ancestral(&self) -> bool {
        false
    }

    /// What the network is shown at a step.
    ///
    /// # Errors
    /// No such step, or the device's.
    fn scale_model_input(&self, sample: &Tensor, _index: usize) -> Result<Tensor> {
        Ok(sample.clone())
    }

    /// The next sample, from this one and what the network predicted in it. Steps are taken in
    /// order. `noise` is unit noise of the sample's shape.
    ///
    /// # Errors
    /// No such step, noise that is missing, other shapes, or the device's.
    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: Option<&Tensor>,
    ) -> Result<Tensor>;
}

/// A number of the schedule.
fn at(numbers: &[f64], index: usize) -> Result<f64> {
    let error = || candle_core::Error::msg(format!("no step {index} of {}", numbers.len()));
    numbers.get(index).copied().ok_or_else(error)
}
