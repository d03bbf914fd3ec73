//! CLIPSeg: masks of what a text names (arXiv 2112.10003).
//!
//! Loads CIDAS/clipseg-rd64-refined and CIDAS/clipseg-rd64 as transformers publishes them.

mod network;

use candle_core::{DType, Device, Tensor};
use image::{GrayImage, RgbImage};

pub use network::{ClipSegConfig, ClipSegNetwork, DecoderConfig};

use super::clip::pad_to_longest;
use super::preprocess::{Preprocessing, Resize};
use super::{ModelError, Segmenter};
use crate::build::device::Compute;
use crate::build::imaging::{self, Filter, IMAGENET_MEAN, IMAGENET_STD};
use crate::build::picture::Picture;
use crate::build::tokenizer::ClipTokenizer;
use crate::build::weights::{ModelFiles, WeightsError};

/// Side of the images that the network was trained with, whatever their proportions were.
const SIDE: u32 = 352;

/// What is asked for, `{name}` being the category: the prompt that `models/clipseg.py` of the
/// authors' github.com/timojl/clipseg calls "fixed", its default.
pub const PROMPT: &str = "a photo of a {name}.";

/// CLIPSeg as a segmenter.
pub struct ClipSeg {
    model: String,
    network: ClipSegNetwork,
    tokenizer: ClipTokenizer,
    most_tokens: usize,
    prompt: String,
    compute: Compute,
}

impl ClipSeg {
    /// Loads the model with its vocabulary. `prompt` is [`PROMPT`] or another text with `{name}` in
    /// it.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be, or a prompt without a
    /// name.
    pub fn load(
        files: &ModelFiles,
        prompt: &str,
        compute: &Compute,
    ) -> Result<ClipSeg, ModelError> {
        if !prompt.contains("{name}") {
            return Err(ModelError::Setting {
                model: files.model().to_owned(),
                problem: format!("the prompt {prompt:?} has no {{name}} in it"),
            });
        }
        let tokenizer = ClipTokenizer::from_files(files)?;
        let weights = files.weights(&["model.safetensors", "pytorch_model.bin"])?;
        let config = match files.find_optional(&["config.json"])? {
            Some(file) => read_config(files.model(), &file)?,
            None => {
                let refined = "decoder.transposed_convolution.0.weight";
                ClipSegConfig::rd64(weights.names().any(|name| name == refined))
            }
        };
        Ok(ClipSeg {
            model: files.model().to_owned(),
            network: weights.build(compute, |vb| ClipSegNetwork::new(vb, &config))?,
            tokenizer,
            most_tokens: config.text.max_position_embeddings,
            prompt: prompt.to_owned(),
            compute: compute.clone(),
        })
    }

    /// Probabilities of the pictures' categories, [N, 352, 352].
    fn probabilities(&self, pictures: &[Picture]) -> candle_core::Result<Tensor> {
        let preprocessing = preprocessing();
        let images: Vec<RgbImage> = pictures.iter().map(|one| one.pixels.clone()).collect();
        let images = preprocessing.apply(&images, &self.compute)?;
        // Pictures of a batch often are of one category.
        let mut names: Vec<&str> = pictures.iter().map(|one| one.category.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let place = |picture: &Picture| {
            let place = names.binary_search(&picture.category.as_str());
            place.unwrap_or_default() as u32
        };
        let places: Vec<u32> = pictures.iter().map(place).collect();
        let places = Tensor::new(places, &self.compute.device)?;
        let prompts = self.prompts(&names)?.index_select(&places, 0)?;
        let logits = self.network.forward(&images, &prompts)?;
        candle_nn::ops::sigmoid(&logits.to_dtype(DType::F32)?)
    }

    fn prompts(&self, names: &[&str]) -> candle_core::Result<Tensor> {
        let texts = names.iter().map(|name| self.prompt.replace("{name}", name));
        let texts: Vec<String> = texts.collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let ids = pad_to_longest(&self.tokenizer, &texts, self.most_tokens)?;
        self.network.prompts(&ids.to_device(&self.compute.device)?)
    }
}

impl Segmenter for ClipSeg {
    fn name(&self) -> &str {
        "clipseg"
    }

    fn segment(&self, pictures: &[Picture]) -> Result<Vec<GrayImage>, ModelError> {
        let compute = || {
            let maps = self.probabilities(pictures)?.to_device(&Device::Cpu)?;
            let values = maps.flatten_from(1)?.to_vec2::<f32>()?;
            Ok(values.into_iter().zip(pictures).map(mask).collect())
        };
        compute().map_err(ModelError::computing(&self.model))
    }
}

/// As transformers' image processor does it with the published settings: a square by Pillow's
/// bilinear filter, and ImageNet's values.
fn preprocessing() -> Preprocessing {
    Preprocessing {
        resize: Resize::Square(SIDE),
        filter: Filter::Bilinear,
        crop: SIDE,
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
    }
}

/// Probabilities of 352 × 352 pixels as a mask of the picture's size.
fn mask((values, picture): (Vec<f32>, &Picture)) -> GrayImage {
    let (width, height) = picture.pixels.dimensions();
    let bytes = values.iter().map(|value| (value * 255.).round() as u8);
    let square = GrayImage::from_raw(SIDE, SIDE, bytes.collect());
    // There are as many values as pixels.
    let square = square.unwrap_or_else(|| GrayImage::new(SIDE, SIDE));
    imaging::resize_gray(&square, width, height, Filter::Bilinear)
}

fn read_config(model: &str, file: &std::path::Path) -> Result<ClipSegConfig, WeightsError> {
    let error = |problem: String| WeightsError::File {
        model: model.to_owned(),
        file: file.to_owned(),
        problem,
    };
    let json = std::fs::read_to_string(file).map_err(|source| error(source.to_string()))?;
    ClipSegConfig::from_json(&json).map_err(|source| error(source.to_string()))
}

#[cfg(test)]
mod tests;
