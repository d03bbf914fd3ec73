//! U²-Net (arXiv 2005.09007) and its small sister U²-NetP: the salient object of an image.
//!
//! What is done around the network is the authors' (github.com/xuebinqin/U-2-Net):
//! - before, `RescaleT(320)` and `ToTensorLab(flag=0)` of data_loader.py: 320x320 whatever the
//!   proportions, divided by the greatest value of the image, ImageNet's mean and deviation. They
//!   resize floats with scikit-image; here it is Pillow's bilinear filter on bytes, as in most that
//!   run their network since.
//! - after, `normPRED` and `save_output` of u2net_test.py: the first of seven maps, stretched to
//!   [0, 1], as bytes, resized to the image's size by Pillow's bilinear filter.

mod network;

use candle_core::{Tensor, bail};
use image::{GrayImage, RgbImage};

pub use network::{Config, MakeConvolution, Network, Widths};

use super::{ModelError, Segmenter};
use crate::build::device::Compute;
use crate::build::imaging::{self, Filter, IMAGENET_MEAN, IMAGENET_STD};
use crate::build::picture::Picture;
use crate::build::weights::ModelFiles;

/// Sides of what the network is shown.
pub const SIDE: u32 = 320;

/// U²-Net with its pre- and post-processing.
pub struct U2Net {
    model: String,
    network: Network,
    compute: Compute,
}

impl U2Net {
    /// Loads `{model}.safetensors` or `{model}.pth` with the authors' names; batch norms may be
    /// folded into the convolutions already, which leaves them as identities. The model is named
    /// as the files are: `u2net` with [`Config::u2net`], `u2netp` with [`Config::u2netp`].
    ///
    /// # Errors
    /// [`ModelError`]: files that are missing or not what they should be.
    pub fn load(
        files: &ModelFiles,
        config: &Config,
        compute: &Compute,
    ) -> Result<U2Net, ModelError> {
        let model = files.model().to_owned();
        let names = ["safetensors", "pth"].map(|ending| format!("{model}.{ending}"));
        let weights = files.weights(&[&names[0], &names[1]])?;
        Ok(U2Net {
            network: weights.build(compute, |vb| Network::new(vb, config))?,
            model,
            compute: compute.clone(),
        })
    }

    fn masks(&self, pictures: &[Picture]) -> candle_core::Result<Vec<GrayImage>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = pictures.iter().map(|picture| self.input(&picture.pixels));
        let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
        let maps = self.network.forward(&Tensor::cat(&inputs, 0)?)?;
        let maps = imaging::min_max(&maps.to_dtype(candle_core::DType::F32)?)?;
        // Fractions are cut off, as Pillow does where the authors leave it to it.
        let bytes = (maps.flatten_from(1)? * 255.0)?.to_dtype(candle_core::DType::U8)?;
        let masks = bytes.to_vec2::<u8>()?.into_iter().zip(pictures);
        masks
            .map(|(bytes, picture)| {
                let Some(mask) = GrayImage::from_raw(SIDE, SIDE, bytes) else {
                    bail!("the network gave a map that is not {SIDE}x{SIDE}");
                };
                let (width, height) = picture.pixels.dimensions();
                Ok(imaging::resize_gray(&mask, width, height, Filter::Bilinear))
            })
            .collect()
    }

    /// What the network is shown of an image, [1, 3, 320, 320].
    fn input(&self, image: &RgbImage) -> candle_core::Result<Tensor> {
        input(
            &imaging::resize(image, SIDE, SIDE, Filter::Bilinear),
            &self.compute,
        )
    }
}

/// An image as the network takes it: `(value / greatest - mean) / std`. A black image stays so.
fn input(image: &RgbImage, compute: &Compute) -> candle_core::Result<Tensor> {
    let greatest = image.iter().copied().max().unwrap_or(0).max(1);
    let greatest = f32::from(greatest) / 255.0;
    imaging::to_tensor(
        std::slice::from_ref(image),
        IMAGENET_MEAN.map(|mean| mean * greatest),
        IMAGENET_STD.map(|std| std * greatest),
        compute,
    )
}

impl Segmenter for U2Net {
    fn name(&self) -> &str {
        &self.model
    }

    fn segment(&self, pictures: &[Picture]) -> Result<Vec<GrayImage>, ModelError> {
        self.masks(pictures)
            .map_err(ModelError::computing(&self.model))
    }
}

#[cfg(test)]
mod tests;
