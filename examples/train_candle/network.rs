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
        let mut convolution = |from: usize, to: usize, side: usize| {
            let inputs = side * side * from;
            let spread = (2.0 / inputs as f32).sqrt();
            let draws = StandardNormal.sample_iter(&mut random);
            let weights: Vec<f32> = draws.take(to * inputs).map(|x: f32| x * spread).collect();
            let weights = Var::from_vec(weights, (to, inputs), device)?;
            let bias = Var::zeros((to, 1), DType::F32, device)?;
            let layer = Convolution {
                side,
                weights: weights.as_tensor().clone(),
                bias: bias.as_tensor().clone(),
            };
            variables.extend([weights, bias]);
            Result::Ok(layer)
        };
        let network = Network {
            down: [
                convolution(3 * PATCH * PATCH, 32, 3)?,
                convolution(32, 48, 3)?,
                convolution(48, 64, 3)?,
            ],
            up: [convolution(64 + 48, 48, 3)?, convolution(48 + 32, 48, 3)?],
            classes: convolution(48, classes * 4, 1)?,
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
        let middle = self.up[0].forward(&with_bridge(&small, &middle)?)?.relu()?;
        let large = self.up[1].forward(&with_bridge(&middle, &large)?)?.relu()?;
        // Four classes a patch, one for each quarter.
        let logits = pixel_shuffle(&self.classes.forward(&large)?, 2)?;
        enlarged(&logits, PATCH / 2)
    }
}

/// `small` at twice its size, and the features of that size from the way down.
fn with_bridge(small: &Tensor, bridge: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[&enlarged(small, 2)?, bridge], 1)
}

/// Every value repeated `times` times along both axes.
fn enlarged(features: &Tensor, times: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = features.dims4()?;
    let spread = features.reshape((batch * channels, height, 1, width, 1))?;
    let spread = spread.broadcast_as((batch * channels, height, times, width, times))?;
    spread.reshape((batch, channels, height * times, width * times))
}

/// A convolution as one matrix product: on a CPU candle's `conv2d` takes several times as long to
/// go back through.
struct Convolution {
    /// Side of the kernel, 1 or 3.
    side: usize,
    /// `[to, side² from]`.
    weights: Tensor,
    /// `[to, 1]`.
    bias: Tensor,
}

impl Module for Convolution {
    fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = features.dims4()?;
        let margin = self.side / 2;
        let padded = features.pad_with_zeros(2, margin, margin)?;
        let padded = padded.pad_with_zeros(3, margin, margin)?;
        let shifted = |tap: usize| {
            let rows = padded.narrow(2, tap / self.side, height)?;
            rows.narrow(3, tap % self.side, width)
        };
        let shifted = (0..self.side * self.side).map(shifted);
        let columns = Tensor::cat(&shifted.collect::<Result<Vec<Tensor>>>()?, 1)?;
        let columns = columns.reshape((batch, (), height * width))?;
        let sums = self.weights.broadcast_matmul(&columns)?;
        sums.broadcast_add(&self.bias)?
            .reshape((batch, (), height, width))
    }
}
