//! A small U-Net.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::ops::{pixel_shuffle, pixel_unshuffle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Side of the patches that the network begins and ends with, in pixels.
const PATCH: usize = 4;

/// Two steps down and two up, with a bridge between equal sizes.
pub struct Network {
    down: [Convolution; 3],
    up: [Convolution; 2],
    classes: Convolution,
}

impl Network {
    /// A network that has learnt nothing, and its variables.
    pub fn new(classes: usize, device: &Device) -> Result<(Network, Vec<Var>)> {
        let mut variables = Vec::new();
        // Not candle's generator, which has no seed on the CPU: each run gives the same numbers.
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut convolution = |from: usize, to: usize| {
            let inputs = 9 * from;
            let spread = (2.0 / inputs as f32).sqrt();
            let draws = StandardNormal.sample_iter(&mut random);
            let weights: Vec<f32> = draws.take(to * inputs).map(|x: f32| x * spread).collect();
            let weights = Var::from_vec(weights, (to, inputs), device)?;
            let bias = Var::zeros((to, 1), DType::F32, device)?;
            let layer = Convolution {
                weights: weights.as_tensor().clone(),
                bias: bias.as_tensor().clone(),
            };
            variables.extend([weights, bias]);
            Result::Ok(layer)
        };
        let network = Network {
            down: [
                convolution(3 * PATCH * PATCH, 32)?,
                convolution(32, 48)?,
                convolution(48, 64)?,
            ],
            up: [convolution(64 + 48, 48)?, convolution(48 + 32, 48)?],
            classes: convolution(48, classes * PATCH * PATCH)?,
        };
        Ok((network, variables))
    }
}

impl Module for Network {
    /// Logits `[batch, classes, height, width]` of images `[batch, 3, height, width]`, whose sides
    /// are multiples of 16.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let large = self.down[0]
            .forward(&pixel_unshuffle(images, PATCH)?)?
            .relu()?;
        let middle = self.down[1].forward(&large.avg_pool2d(2)?)?.relu()?;
        let small = self.down[2].forward(&middle.avg_pool2d(2)?)?.relu()?;
        let middle = self.up[0].forward(&enlarged(&small, &middle)?)?.relu()?;
        let large = self.up[1].forward(&enlarged(&middle, &large)?)?.relu()?;
        pixel_shuffle(&self.classes.forward(&large)?, PATCH)
    }
}

/// `small` at twice its size, and the features of that size from the way down.
fn enlarged(small: &Tensor, bridge: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = bridge.dims4()?;
    Tensor::cat(&[&small.upsample_nearest2d(height, width)?, bridge], 1)
}

/// 3×3, as one matrix product: on a CPU candle's `conv2d` takes several times as long to go back
/// through.
struct Convolution {
    /// `[to, 9 from]`.
    weights: Tensor,
    /// `[to, 1]`.
    bias: Tensor,
}

impl Module for Convolution {
    fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = features.dims4()?;
        let padded = features.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let shifted = |tap: usize| padded.narrow(2, tap / 3, height)?.narrow(3, tap % 3, width);
        let shifted = (0..9).map(shifted).collect::<Result<Vec<Tensor>>>()?;
        let columns = Tensor::cat(&shifted, 1)?.reshape((batch, 9 * channels, height * width))?;
        let sums = self
            .weights
            .broadcast_matmul(&columns)?
            .broadcast_add(&self.bias)?;
        sums.reshape((batch, (), height, width))
    }
}
