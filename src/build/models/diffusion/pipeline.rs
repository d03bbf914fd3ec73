//! From prompts to images.

use candle_core::{DType, Result, Tensor};
use image::RgbImage;
use serde_json::Value;

use crate::build::device::Compute;
use crate::build::models::{Generator, ModelError, Request};
use crate::build::weights::{ModelFiles, Weights};

use super::config::{UNetConfig, VaeConfig};
use super::files::json_of;
use super::noise::{ImageNoise, drawn};
use super::schedulers::{SchedulerConfig, SchedulerKind, Spacing};
use super::text::{Conditioning, TextFiles, Texts};
use super::unet::{Added, UNet};
use super::vae::Decoder;

/// Largest height and width of an image.
const MOST_PIXELS: usize = 4096;

/// What may be chosen. What is not is X-Paste's (arXiv 2212.03863): DPM-Solver++ 2M, 50 steps,
/// guidance 7.5. A model whose own scheduler is Euler ancestral with trailing time steps is XL-Turbo,
/// which was made for that scheduler, few steps (4) and no guidance (arXiv 2311.17042).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiffusionOptions {
    /// The scheduler.
    pub scheduler: Option<SchedulerKind>,
    /// Its steps.
    pub steps: Option<usize>,
    /// Factor of classifier-free guidance (arXiv 2207.12598); up to 1 there is none.
    pub guidance: Option<f64>,
    /// Height and width in pixels; else those that the model was trained on.
    pub size: Option<usize>,
    /// Noise levels by Karras et al. where the scheduler is a solver.
    pub karras: Option<bool>,
}

/// The networks and what they are run with.
pub(super) struct Networks {
    pub unet: UNet,
    pub decoder: Decoder,
    pub schedule: SchedulerConfig,
    pub kind: SchedulerKind,
    pub steps: usize,
    pub guidance: f64,
    pub compute: Compute,
}

/// Stable Diffusion 1.5, 2.1, XL or XL-Turbo, from a folder in diffusers' layout.
///
/// Latents, guidance and the scheduler are computed in F32, and so are images from latents: XL's
/// decoder overflows in half precision. Text encoders and the UNet have the device's precision.
pub struct Diffusion {
    model: String,
    texts: Texts,
    pub(super) networks: Networks,
    /// Whether nothing is put in the place of an empty negative prompt, as in XL.
    zeros_for_empty: bool,
    size: usize,
    latents: (usize, usize, usize),
}

impl Diffusion {
    /// From `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler` and, for XL, `text_encoder_2` and
    /// `tokenizer_2`.
    ///
    /// # Errors
    /// [`ModelError`] names the file, the field or the tensor that is missing or wrong, or the option
    /// that is out of its range.
    pub fn load(
        files: &ModelFiles,
        options: &DiffusionOptions,
        compute: &Compute,
    ) -> std::result::Result<Diffusion, ModelError> {
        let unet = json_of(files, "unet/config.json", UNetConfig::from_json)?;
        let vae = json_of(files, "vae/config.json", VaeConfig::from_json)?;
        let name = "scheduler/scheduler_config.json";
        let schedule = json_of(files, name, SchedulerConfig::from_json)?;
        let chosen = Chosen::new(files.model(), options, &schedule, &unet, &vae)?;
        let zeros_for_empty = zeros_for_empty(files, unet.addition_embed_type.is_some())?;
        let exact = Compute {
            dtype: DType::F32,
            ..compute.clone()
        };
        // All files are opened before a network is built, which takes long: what is missing is told
        // at once.
        let texts = TextFiles::open(files, compute.dtype)?;
        let unet_weights = weights(files, "unet", compute.dtype)?;
        let vae_weights = weights(files, "vae", exact.dtype)?;
        let texts = texts.build(compute)?;
        let networks = Networks {
            unet: unet_weights.build(compute, |vb| UNet::new(vb, &unet))?,
            decoder: vae_weights.build(&exact, |vb| Decoder::new(vb, &vae))?,
            schedule: chosen.schedule,
            kind: chosen.kind,
            steps: chosen.steps,
            guidance: chosen.guidance,
            compute: compute.clone(),
        };
        let side = chosen.size / vae.pixels_per_latent();
        Ok(Diffusion {
            model: files.model().to_owned(),
            texts,
            networks,
            zeros_for_empty,
            size: chosen.size,
            latents: (unet.in_channels, side, side),
        })
    }

    /// What the UNet is shown: negative prompts first where there is guidance.
    fn conditioning(&self, requests: &[Request]) -> Result<Conditioning> {
        let prompts: Vec<&str> = requests.iter().map(|request| &*request.prompt).collect();
        let prompts = self.texts.encode(&prompts)?;
        if !self.networks.is_guided() {
            return Ok(prompts);
        }
        let negatives = requests.iter().map(|request| &*request.negative_prompt);
        let negatives: Vec<&str> = negatives.collect();
        let mut conditioning = self.texts.encode(&negatives)?;
        if self.zeros_for_empty {
            let keep: Vec<bool> = negatives.iter().map(|text| !text.is_empty()).collect();
            conditioning = conditioning.masked(&keep)?;
        }
        conditioning.then(&prompts)
    }

    fn make(&self, requests: &[Request]) -> Result<Vec<RgbImage>> {
        let noises = requests.iter().map(|request| ImageNoise::new(request.seed));
        let noises: Vec<ImageNoise> = noises.collect();
        let conditioning = self.conditioning(requests)?;
        let noise = |stream| drawn(&noises, stream, self.latents, &self.networks.compute.device);
        let pixels = (self.size, self.size);
        let latents = self.networks.denoise(&conditioning, pixels, &noise)?;
        self.networks.decode(&latents)
    }
}

impl Generator for Diffusion {
    fn generate(&self, requests: &[Request]) -> std::result::Result<Vec<RgbImage>, ModelError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.make(requests).map_err(|source| ModelError::Compute {
            model: self.model.clone(),
            source,
        })
    }
}

impl Networks {
    fn is_guided(&self) -> bool {
        self.guidance > 1.0
    }

    /// Latents from noise. `noise` gives that of a stream: 0 is the beginning, n + 1 is for step n.
    pub fn denoise(
        &self,
        conditioning: &Conditioning,
        (height, width): (usize, usize),
        noise: &dyn Fn(u64) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let scheduler = self.schedule.scheduler(self.kind, self.steps);
        let mut scheduler = scheduler.map_err(candle_core::Error::msg)?;
        let mut latents = (noise(0)? * scheduler.init_noise_sigma())?;
        let added = added(conditioning, height, width)?;
        for (index, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            let input = scheduler.scale_model_input(&latents, index)?;
            let input = match self.is_guided() {
                true => Tensor::cat(&[&input, &input], 0)?,
                false => input,
            };
            let output =
                self.unet
                    .forward(&input, timestep, &conditioning.texts, added.as_ref())?;
            let output = self.guided(&output.to_dtype(DType::F32)?)?;
            let fresh = scheduler.is_ancestral().then(|| noise(index as u64 + 1));
            latents = scheduler.step(&output, index, &latents, fresh.transpose()?.as_ref())?;
        }
        Ok(latents)
    }

    /// Away from the negative prompts, whose predictions come first.
    fn guided(&self, output: &Tensor) -> Result<Tensor> {
        if !self.is_guided() {
            return Ok(output.clone());
        }
        let half = output.dim(0)? / 2;
        let (negative, positive) = (output.narrow(0, 0, half)?, output.narrow(0, half, half)?);
        &negative + ((positive - &negative)? * self.guidance)?
    }

    /// Images from latents, one after the other: a decoder needs much memory.
    pub fn decode(&self, latents: &Tensor) -> Result<Vec<RgbImage>> {
        let images = (0..latents.dim(0)?).map(|index| {
            let image = self.decoder.forward(&latents.narrow(0, index, 1)?)?;
            to_image(&image.get(0)?)
        });
        images.collect()
    }
}

/// XL is told that images are whole and of the size they have.
fn added(conditioning: &Conditioning, height: usize, width: usize) -> Result<Option<Added>> {
    let Some(pooled) = &conditioning.pooled else {
        return Ok(None);
    };
    let (height, width) = (height as f32, width as f32);
    let sizes = Tensor::new(&[[height, width, 0.0, 0.0, height, width]], pooled.device())?;
    Ok(Some(Added {
        sizes: sizes.repeat((pooled.dim(0)?, 1))?,
        pooled: pooled.clone(),
    }))
}

/// [3, H, W] of -1 to 1 to pixels; halves are rounded to even, as diffusers does.
fn to_image(image: &Tensor) -> Result<RgbImage> {
    let (_, height, width) = image.dims3()?;
    let values = ((image / 2.0)? + 0.5)?.clamp(0f32, 1f32)?;
    let values = values.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    let bytes = values
        .iter()
        .map(|value| (value * 255.0).round_ties_even() as u8);
    RgbImage::from_raw(width as u32, height as u32, bytes.collect())
        .ok_or_else(|| candle_core::Error::msg(format!("{width} × {height} pixels of 3 values")))
}

/// The options, with the model's own where there are none.
struct Chosen {
    kind: SchedulerKind,
    steps: usize,
    guidance: f64,
    size: usize,
    schedule: SchedulerConfig,
}

impl Chosen {
    fn new(
        model: &str,
        options: &DiffusionOptions,
        schedule: &SchedulerConfig,
        unet: &UNetConfig,
        vae: &VaeConfig,
    ) -> std::result::Result<Chosen, ModelError> {
        let error = |problem| ModelError::Setting {
            model: model.to_owned(),
            problem,
        };
        let is_turbo = schedule.class.as_deref() == Some("EulerAncestralDiscreteScheduler")
            && schedule.timestep_spacing == Some(Spacing::Trailing);
        let (kind, steps, guidance) = match is_turbo {
            true => (SchedulerKind::EulerAncestral, 4, 0.0),
            false => (SchedulerKind::DpmSolver, 50, 7.5),
        };
        let mut schedule = schedule.clone();
        schedule.use_karras_sigmas = options.karras.or(schedule.use_karras_sigmas);
        let pixels = vae.pixels_per_latent();
        let chosen = Chosen {
            kind: options.scheduler.unwrap_or(kind),
            steps: options.steps.unwrap_or(steps),
            guidance: options.guidance.unwrap_or(guidance),
            size: options.size.unwrap_or(unet.sample_size * pixels),
            schedule,
        };
        let scheduler = chosen.schedule.scheduler(chosen.kind, chosen.steps);
        scheduler.map_err(error)?;
        if !chosen.guidance.is_finite() {
            let problem = format!("guidance is {}; a number was expected", chosen.guidance);
            return Err(error(problem));
        }
        let size = chosen.size;
        if size == 0 || size > MOST_PIXELS || !size.is_multiple_of(pixels) {
            return Err(error(format!(
                "size is {size}; a multiple of {pixels} of at most {MOST_PIXELS} was expected"
            )));
        }
        if unet.in_channels != vae.latent_channels || unet.out_channels != vae.latent_channels {
            return Err(error(format!(
                "the UNet takes {} channels and gives {}, the decoder takes {}",
                unet.in_channels, unet.out_channels, vae.latent_channels
            )));
        }
        Ok(chosen)
    }
}

/// What `model_index.json` says of empty negative prompts; XL's pipeline has zeros for them.
fn zeros_for_empty(files: &ModelFiles, is_xl: bool) -> std::result::Result<bool, ModelError> {
    let name = "model_index.json";
    if !is_xl || files.find_optional(&[name])?.is_none() {
        return Ok(is_xl);
    }
    json_of(files, name, |json| {
        let index: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let zeros = index.get("force_zeros_for_empty_prompt");
        Ok(zeros.and_then(Value::as_bool).unwrap_or(true))
    })
}

fn weights(
    files: &ModelFiles,
    folder: &str,
    dtype: DType,
) -> std::result::Result<Weights, ModelError> {
    let stem = format!("{folder}/diffusion_pytorch_model");
    super::files::weights(files, &stem, &format!("{stem}.bin"), dtype)
}
