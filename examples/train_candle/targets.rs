//! What the network is to say of each pixel.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use candle_nn::ops::log_softmax;
use pastebank::compose::Batch;

/// The network's class of each category id; class 0 is the background.
pub type Classes = BTreeMap<i64, u32>;

/// Most pixels are background: at full weight, saying nothing else would do too well at first.
const BACKGROUND_WEIGHT: f32 = 0.3;

/// The class of every pixel of a batch.
pub struct Targets {
    /// u32 `[batch, height, width]`.
    pub classes: Tensor,
    /// What each pixel counts, 0 in crowds and where the label was dropped: f32, the same shape.
    pub weights: Tensor,
}

impl Targets {
    pub fn new(batch: &Batch, classes: &Classes, device: &Device) -> Result<Targets> {
        let [width, height] =
            [batch.canvas().width(), batch.canvas().height()].map(|side| side as usize);
        let pixels = width * height;
        let mut of_pixels = vec![0u32; batch.len() * pixels];
        let mut weights = vec![BACKGROUND_WEIGHT; batch.len() * pixels];
        let mut masks = Vec::new();
        for number in 0..batch.len() {
            let sample = batch.sample(number).context("a batch has its samples")?;
            masks.clear();
            batch.masks_u8(number, &mut masks);
            for (instance, mask) in masks.chunks_exact(pixels).enumerate() {
                let is_counted = sample.iscrowd[instance] == 0 && sample.ignored[instance] == 0;
                let inside = (0..pixels).filter(|&pixel| mask[pixel] == 1);
                for pixel in inside.map(|pixel| number * pixels + pixel) {
                    if is_counted {
                        of_pixels[pixel] = classes[&sample.labels[instance]];
                        weights[pixel] = 1.0;
                    } else if of_pixels[pixel] == 0 {
                        weights[pixel] = 0.0;
                    }
                }
            }
        }
        let shape = (batch.len(), height, width);
        Ok(Targets {
            classes: Tensor::from_vec(of_pixels, shape, device)?,
            weights: Tensor::from_vec(weights, shape, device)?,
        })
    }

    /// Cross entropy, the weighted mean over all pixels.
    pub fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        let chosen = log_softmax(logits, 1)?
            .gather(&self.classes.unsqueeze(1)?, 1)?
            .squeeze(1)?;
        let sum = (chosen * &self.weights)?.sum_all()?;
        Ok((sum / self.weights.sum_all()?)?.neg()?)
    }
}
