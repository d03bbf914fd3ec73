//! Models as they are asked for, and `pastebank build models`.

use std::num::NonZero;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use super::super::common::{Usage, say};
use crate::build::device::{Compute, DeviceChoice, Precision};
use crate::build::models::licences::{OFFERED, Offered, Task, find};
use crate::build::weights::{HubId, ModelFiles};

/// Where models run.
#[derive(Args, Clone)]
pub(super) struct Computing {
    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// What it computes in: f32, or f16 and bf16 on a GPU.
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: Precision,
    /// Use models whose licence forbids commercial use.
    #[arg(long)]
    accept_non_commercial: bool,
}

impl Computing {
    /// What a settings file says; the flags' defaults where it says nothing.
    pub fn of_settings(
        device: Option<&str>,
        precision: Option<&str>,
        accept_non_commercial: bool,
    ) -> Result<Computing> {
        Ok(Computing {
            device: device.unwrap_or("auto").parse()?,
            precision: precision.unwrap_or("f32").parse()?,
            accept_non_commercial,
        })
    }

    /// As it is written on the command line.
    pub fn precision_name(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }

    pub fn open(&self) -> Result<Compute> {
        Ok(Compute::open(self.device, self.precision)?)
    }
}

/// A model and its weights.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub name: &'a str,
    pub weights: Option<&'a str>,
}

impl Chosen<'_> {
    /// The model's row of the table and its files, which need not be there yet.
    pub fn files(&self, task: Task, computing: &Computing) -> Result<ModelFiles> {
        let offered = self.offered(task)?;
        if offered.non_commercial && !computing.accept_non_commercial {
            bail!(
                "{}: its licence ({}) forbids commercial use; --accept-non-commercial says that \
                 this is known",
                offered.name,
                offered.licence
            );
        }
        if let Some(weights) = self.weights {
            let ending = Path::new(weights).extension().unwrap_or_default();
            let is_file = WEIGHT_ENDINGS.iter().any(|known| ending == *known);
            if is_file && !Path::new(weights).exists() {
                bail!("--weights: there is no file {weights}");
            }
            return Ok(ModelFiles::open(self.name, weights)?);
        }
        if offered.source.parse::<HubId>().is_err() {
            let problem = format!(
                "{}: --weights is needed; get {} from {}",
                offered.name,
                offered.files.join(" or "),
                offered.source
            );
            return Err(Usage(problem).into());
        }
        Ok(ModelFiles::open(self.name, offered.source)?)
    }

    fn offered(&self, task: Task) -> Result<&'static Offered> {
        let offered = find(self.name).filter(|offered| offered.task == task);
        offered.ok_or_else(|| {
            let names = OFFERED.iter().filter(|offered| offered.task == task);
            let names: Vec<&str> = names.map(|offered| offered.name).collect();
            let problem = format!("--model: {:?} is none of {}", self.name, names.join(", "));
            Usage(problem).into()
        })
    }

    /// What a stage's settings say of the model.
    pub fn settings(&self) -> [(&'static str, serde_json::Value); 2] {
        [
            ("model", json!(self.name)),
            ("weights", json!(self.weights)),
        ]
    }
}

/// Endings of files that are weights: what bears one is no id of a hub.
const WEIGHT_ENDINGS: [&str; 5] = ["safetensors", "pth", "pt", "bin", "ckpt"];

/// Items that a model works on at once; halved by itself when memory runs out.
pub(super) fn batch_size(batch: Option<NonZero<usize>>, default: usize) -> NonZero<usize> {
    batch
        .or(NonZero::new(default))
        .unwrap_or(NonZero::<usize>::MIN)
}

/// List the models: what they do, where their weights are, under which licence.
#[derive(Args)]
pub(in crate::cli) struct Models {}

impl Models {
    pub fn run(self) -> Result<()> {
        for task in [Task::Segmenter, Task::Scorer, Task::Generator] {
            say(match task {
                Task::Segmenter => "segmenters",
                Task::Scorer => "scorers",
                Task::Generator => "generators",
            })?;
            for offered in OFFERED.iter().filter(|offered| offered.task == task) {
                let note = match offered.non_commercial {
                    true => " (no commercial use: --accept-non-commercial)",
                    false => "",
                };
                say(format_args!(
                    "  {:<18} {:<58} {}{note}",
                    offered.name, offered.source, offered.licence
                ))?;
            }
        }
        say("  (sam-…-centre: by the centre point instead of the corners)")?;
        say("  alpha              the image's own transparency, no weights")
    }
}
