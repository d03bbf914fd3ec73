//! SigLIP: CLIP with a loss of pairs (arXiv 2303.15343), by candle-transformers.
//!
//! Loads google/siglip-* as transformers publishes them.

mod tokenizer;

use candle_core::{Device, Module, Tensor};
use candle_transformers::models::siglip::{Config, TextModel, VisionModel};
use image::RgbImage;

pub use tokenizer::SiglipTokenizer;

use super::clip::layers::unit_rows;
use super::positions::expect_sizes;
use super::preprocess::{Preprocessing, Resize};
use super::{ImageEmbedder, ModelError, TextEmbedder};
use crate::build::device::Compute;
use crate::build::imaging::Filter;
use crate::build::weights::{ModelFiles, WeightsError};

/// Names of files in the order in which they are looked for.
const FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// SigLIP's embeddings of images.
pub struct SiglipImages {
    model: String,
    network: VisionModel,
    preprocessing: Preprocessing,
    compute: Compute,
}

impl SiglipImages {
    /// Loads the image half of a model; the sizes are those of siglip-base-patch16-224 where there
    /// is no `config.json`.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<SiglipImages, ModelError> {
        let config = config(files)?.vision_config;
        let make =
            |vb: candle_nn::VarBuilder| VisionModel::new(&config, true, vb.pp("vision_model"));
        let side = config.image_size as u32;
        Ok(SiglipImages {
            model: files.model().to_owned(),
            network: files.weights(&FILES)?.build(compute, make)?,
            preprocessing: Preprocessing {
                resize: Resize::Square(side),
                filter: Filter::Bicubic,
                crop: side,
                mean: [0.5; 3],
                std: [0.5; 3],
            },
            compute: compute.clone(),
        })
    }
}

impl ImageEmbedder for SiglipImages {
    fn embed_images(&self, images: &[RgbImage]) -> Result<Tensor, ModelError> {
        let embed = || {
            let pixels = self.preprocessing.apply(images, &self.compute)?;
            unit_rows(&self.network.forward(&pixels)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

/// SigLIP's embeddings of texts.
pub struct SiglipTexts {
    model: String,
    network: TextModel,
    tokenizer: SiglipTokenizer,
    compute: Compute,
}

impl SiglipTexts {
    /// Loads the text half of a model with its `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<SiglipTexts, ModelError> {
        let config = config(files)?.text_config;
        let make = |vb: candle_nn::VarBuilder| TextModel::new(&config, vb.pp("text_model"));
        let length = config.max_position_embeddings;
        Ok(SiglipTexts {
            model: files.model().to_owned(),
            tokenizer: SiglipTokenizer::from_files(files, length, config.pad_token_id)?,
            network: files.weights(&FILES)?.build(compute, make)?,
            compute: compute.clone(),
        })
    }
}

impl TextEmbedder for SiglipTexts {
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor, ModelError> {
        let embed = || {
            let ids = self
                .tokenizer
                .encode(texts)?
                .to_device(&self.compute.device)?;
            unit_rows(&self.network.forward(&ids)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

fn config(files: &ModelFiles) -> Result<Config, WeightsError> {
    let Some(file) = files.find_optional(&["config.json"])? else {
        return Ok(Config::base_patch16_224());
    };
    let error = |problem: String| WeightsError::File {
        model: files.model().to_owned(),
        file: file.clone(),
        problem,
    };
    let json = std::fs::read(&file).map_err(|source| error(source.to_string()))?;
    let config: Config =
        serde_json::from_slice(&json).map_err(|source| error(source.to_string()))?;
    let (text, vision) = (&config.text_config, &config.vision_config);
    if [text.num_attention_heads, vision.num_attention_heads].contains(&0) {
        return Err(error("num_attention_heads is 0".to_owned()));
    }
    expect_sizes(vision.image_size, vision.patch_size).map_err(error)?;
    Ok(config)
}

#[cfg(test)]
mod tests;
