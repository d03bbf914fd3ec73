//! DINOv2: vectors of images that were learnt without texts (arXiv 2304.07193).
//!
//! Loads facebook/dinov2-small, -base and -large as transformers publishes them, and the files of
//! their authors (`dinov2_vitb14_pretrain.pth`). Positions of other image sizes are interpolated as
//! transformers does it; the authors' code shifts them by a tenth of a patch.

mod network;

use candle_core::{Device, Tensor};
use image::RgbImage;

pub use network::{Dinov2Config, Dinov2Network};

use super::clip::layers::unit_rows;
use super::preprocess::{Preprocessing, Resize};
use super::{ImageEmbedder, ModelError};
use crate::build::device::Compute;
use crate::build::imaging::{Filter, IMAGENET_MEAN, IMAGENET_STD};
use crate::build::weights::{ModelFiles, WeightsError};

/// Names of files in the order in which they are looked for.
const FILES: [&str; 5] = [
    "model.safetensors",
    "pytorch_model.bin",
    "dinov2_vits14_pretrain.pth",
    "dinov2_vitb14_pretrain.pth",
    "dinov2_vitl14_pretrain.pth",
];

/// DINOv2's embeddings of images: the class token after the last layer norm, of unit length.
pub struct Dinov2 {
    model: String,
    network: Dinov2Network,
    compute: Compute,
}

impl Dinov2 {
    /// Loads the model. Without a `config.json` its sizes are those that its tensors have, at
    /// 64 of a vector's width a head.
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be, a feed-forward part that
    /// the largest model alone has, or register tokens (arXiv 2309.16588), without which such a
    /// network would still load and see something else.
    pub fn load(files: &ModelFiles, compute: &Compute) -> Result<Dinov2, ModelError> {
        let weights = files.weights(&FILES)?;
        let refused = |problem: String| ModelError::Setting {
            model: files.model().to_owned(),
            problem,
        };
        if let Some(name) = weights
            .names()
            .find(|name| name.ends_with("register_tokens"))
        {
            return Err(refused(format!(
                "there is a tensor {name:?}, of DINOv2 with registers; one without was expected"
            )));
        }
        let config = match files.find_optional(&["config.json"])? {
            Some(file) => read_config(files.model(), &file)?,
            None => Dinov2Config::of(|name| weights.shape(name)),
        };
        if config.use_swiglu_ffn {
            return Err(refused(
                "use_swiglu_ffn, of dinov2-giant; -small, -base or -large was expected".to_owned(),
            ));
        }
        let is_authors = weights.names().any(|name| name == "pos_embed");
        let make = |vb| match is_authors {
            true => Dinov2Network::from_authors(vb, &config),
            false => Dinov2Network::new(vb, &config),
        };
        Ok(Dinov2 {
            model: files.model().to_owned(),
            network: weights.build(compute, make)?,
            compute: compute.clone(),
        })
    }
}

impl ImageEmbedder for Dinov2 {
    fn embed_images(&self, images: &[RgbImage]) -> Result<Tensor, ModelError> {
        let embed = || {
            let pixels = preprocessing().apply(images, &self.compute)?;
            unit_rows(&self.network.forward(&pixels)?)?.to_device(&Device::Cpu)
        };
        embed().map_err(ModelError::computing(&self.model))
    }
}

/// As the authors evaluate it: the shorter side at 256 by Pillow's bicubic filter, 224 of the
/// middle, and ImageNet's values.
fn preprocessing() -> Preprocessing {
    Preprocessing {
        resize: Resize::Shorter(256),
        filter: Filter::Bicubic,
        crop: 224,
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
    }
}

fn read_config(model: &str, file: &std::path::Path) -> Result<Dinov2Config, WeightsError> {
    let error = |problem: String| WeightsError::File {
        model: model.to_owned(),
        file: file.to_owned(),
        problem,
    };
    let json = std::fs::read_to_string(file).map_err(|source| error(source.to_string()))?;
    serde_json::from_str(&json).map_err(|source| error(source.to_string()))
}

#[cfg(test)]
mod tests;
