//! CLIP's embeddings of images and of texts.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use image::RgbImage;

use super::config::{ClipConfig, is_open_clip};
use super::layers::unit_rows;
use super::layout::Layout;
use super::network::{TextNetwork, VisionNetwork};
use crate::build::device::Compute;
use crate::build::models::preprocess::Preprocessing;
use crate::build::models::{ImageEmbedder, ModelError, TextEmbedder};
use crate::build::tokenizer::ClipTokenizer;
use crate::build::weights::{ModelFiles, Weights};

/// Names of files with both towers, in the order in which they are looked for. Repositories of
/// OpenCLIP's hold copies for other programs, too, which their authors' own file goes before.
fn names(model: &str) -> [&'static str; 4] {
    match is_open_clip(model) {
        true => [
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin",
            "model.safetensors",
            "pytorch_model.bin",
        ],
        false => [
            "model.safetensors",
            "open_clip_model.safetensors",
            "pytorch_model.bin",
            "open_clip_pytorch_model.bin",
        ],
    }
}

/// CLIP's embeddings of images.
pub struct ClipImages {
    model: String,
    network: VisionNetwork,
    preprocessing: Preprocessing,
    compute: Compute,
}

impl ClipImages {
    /// Loads the image half of a model in transformers' layout or OpenCLIP's.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<ClipImages, ModelError> {
        let config = ClipConfig::find(files)?;
        let make = |vb| VisionNetwork::new(vb, &config.vision);
        Ok(ClipImages {
            model: files.model().to_owned(),
            network: build(&files.weights(&names(files.model()))?, compute, make)?,
            preprocessing: Preprocessing {
                mean: config.mean,
                std: config.std,
                ..Preprocessing::clip(config.vision.image_size as u32)
            },
            compute: compute.clone(),
        })
    }
}

impl ImageEmbedder for ClipImages {
    fn embed_images(&self, images: &[RgbImage]) -> Result<Tensor, ModelError> {
        let embed = || {
            let pixels = self.preprocessing.apply(images, &self.compute)?;
            unit_rows(&self.network.forward(&pixels)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

/// CLIP's embeddings of texts.
pub struct ClipTexts {
    model: String,
    network: TextNetwork,
    tokenizer: ClipTokenizer,
    most_tokens: usize,
    compute: Compute,
}

impl ClipTexts {
    /// Loads the text half of a model in transformers' layout or OpenCLIP's, with its vocabulary.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<ClipTexts, ModelError> {
        let config = ClipConfig::find(files)?;
        let make = |vb| TextNetwork::new(vb, &config.text);
        Ok(ClipTexts {
            model: files.model().to_owned(),
            tokenizer: ClipTokenizer::from_files(files)?,
            network: build(&files.weights(&names(files.model()))?, compute, make)?,
            most_tokens: config.text.max_position_embeddings,
            compute: compute.clone(),
        })
    }
}

impl TextEmbedder for ClipTexts {
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor, ModelError> {
        let embed = || {
            let ids = pad_to_longest(&self.tokenizer, texts, self.most_tokens)?;
            let ids = ids.to_device(&self.compute.device)?;
            unit_rows(&self.network.forward(&ids)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

/// Tokens of the texts, [texts, tokens of the longest]. No token sees what comes after it, so that
/// less padding than the model was trained with changes nothing.
pub(crate) fn pad_to_longest(
    tokenizer: &ClipTokenizer,
    texts: &[&str],
    most: usize,
) -> candle_core::Result<Tensor> {
    let lengths = texts.iter().map(|text| tokenizer.encode(text).len());
    let longest = lengths.max().unwrap_or(0).min(most);
    tokenizer.encode_padded(texts, longest, 0)
}

/// A half of a model, whichever way its tensors are named.
pub(crate) fn build<T>(
    weights: &Weights,
    compute: &Compute,
    make: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<T>,
) -> Result<T, ModelError> {
    let layout = Layout::of(weights.names());
    Ok(weights.build(compute, |vb| make(layout.apply(vb)))?)
}
