//! MobileCLIP: CLIP with an image side of convolutions (arXiv 2311.17049).
//!
//! Loads apple/MobileCLIP-S1-OpenCLIP, -S2-OpenCLIP and their like. The image side is
//! candle-transformers' FastViT, the text side CLIP's whose tokens see all others.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Func;
use candle_transformers::models::fastvit::{self, Config};
use image::RgbImage;

use super::clip::layers::{Activation, unit_rows};
use super::clip::text::TextConfig;
use super::clip::{TextNetwork, build};
use super::preprocess::{Preprocessing, Resize};
use super::{ImageEmbedder, ModelError, TextEmbedder};
use crate::build::device::Compute;
use crate::build::imaging::Filter;
use crate::build::tokenizer::{CONTEXT, ClipTokenizer};
use crate::build::weights::{ModelFiles, Weights};

/// Names of files in the order in which they are looked for.
const FILES: [&str; 3] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
];

/// Side of the images that the network was trained with.
const SIDE: u32 = 256;

/// Where the image side's tensors are.
const TRUNK: &str = "visual.trunk";

/// MobileCLIP's embeddings of images.
pub struct MobileClipImages {
    model: String,
    network: Func<'static>,
    compute: Compute,
}

impl MobileClipImages {
    /// Loads the image half of a model. It computes in 32-bit floats whatever `compute` says:
    /// FastViT joins its convolutions in these.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<MobileClipImages, ModelError> {
        let weights = files.weights(&FILES)?;
        let (config, dimension) = expect_trunk(files.model(), &weights)?;
        let compute = Compute {
            dtype: DType::F32,
            ..compute.clone()
        };
        let make = |vb: candle_nn::VarBuilder| fastvit::fastvit(&config, dimension, vb.pp(TRUNK));
        Ok(MobileClipImages {
            model: files.model().to_owned(),
            network: weights.build(&compute, make)?,
            compute,
        })
    }
}

impl ImageEmbedder for MobileClipImages {
    fn embed_images(&self, images: &[RgbImage]) -> Result<Tensor, ModelError> {
        let embed = || {
            let pixels = preprocessing().apply(images, &self.compute)?;
            unit_rows(&self.network.forward(&pixels)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

/// As OpenCLIP's `_mccfg` has it: bilinear, the square in the middle, values from 0 to 1.
fn preprocessing() -> Preprocessing {
    Preprocessing {
        resize: Resize::Shorter(SIDE),
        filter: Filter::Bilinear,
        crop: SIDE,
        mean: [0.; 3],
        std: [1.; 3],
    }
}

/// The image side's sizes, of a file that is a MobileCLIP's.
fn expect_trunk(model: &str, weights: &Weights) -> Result<(Config, usize), ModelError> {
    image_config(weights).ok_or_else(|| ModelError::Setting {
        model: model.to_owned(),
        problem: format!(
            "no tensors of a FastViT under {TRUNK:?}; MobileCLIP-S1's or -S2's were expected"
        ),
    })
}

/// The sizes of the image side, which its tensors' shapes tell, and the width of what comes out.
fn image_config(weights: &Weights) -> Option<(Config, usize)> {
    let shape = |name: &str| weights.shape(&format!("{TRUNK}.{name}"));
    let channels = *shape("stem.0.conv_kxk.0.conv.weight")?.first()?;
    let dimension = *shape("head.fc.weight")?.first()?;
    let blocks = |stage: usize| {
        let name = |block: usize| format!("stages.{stage}.blocks.{block}.mlp.fc1.weight");
        (0..)
            .take_while(|&block| shape(&name(block)).is_some())
            .count()
    };
    let config = Config {
        in_channels: channels,
        blocks: [0, 1, 2, 3].map(blocks),
        ..Config::mci1()
    };
    Some((config, dimension))
}

/// MobileCLIP's embeddings of texts.
pub struct MobileClipTexts {
    model: String,
    network: TextNetwork,
    tokenizer: ClipTokenizer,
    compute: Compute,
}

impl MobileClipTexts {
    /// Loads the text half of a model, with its vocabulary. Other CLIPs have a text side of the same
    /// names, whose tokens see less: the image side tells them apart.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<MobileClipTexts, ModelError> {
        let weights = files.weights(&FILES)?;
        expect_trunk(files.model(), &weights)?;
        let config = text_config();
        let make = |vb| TextNetwork::new(vb, &config).map(TextNetwork::bidirectional);
        Ok(MobileClipTexts {
            model: files.model().to_owned(),
            tokenizer: ClipTokenizer::from_files(files)?,
            network: build(&weights, compute, make)?,
            compute: compute.clone(),
        })
    }
}

/// That of all MobileCLIPs: ViT-B/32's with the other activation.
fn text_config() -> TextConfig {
    TextConfig {
        hidden_act: Activation::Gelu,
        ..TextConfig::default()
    }
}

impl TextEmbedder for MobileClipTexts {
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor, ModelError> {
        let embed = || {
            // Tokens see the padding, so that its length is that of training.
            let ids = self.tokenizer.encode_padded(texts, CONTEXT, 0)?;
            let ids = ids.to_device(&self.compute.device)?;
            unit_rows(&self.network.forward(&ids)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

#[cfg(test)]
mod tests;
