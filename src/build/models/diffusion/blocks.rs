//! Convolutional blocks that the UNet and the decoder of images are made of.

use candle_core::{Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, GroupNorm, Linear, Module, VarBuilder, conv2d, group_norm, linear,
};

/// A 3×3 convolution that keeps the size.
pub(super) fn conv3(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig {
        padding: 1,
        ..Conv2dConfig::default()
    };
    conv2d(inputs, outputs, 3, config, vb)
}

/// A 1×1 convolution.
pub(super) fn conv1(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Conv2d> {
    conv2d(inputs, outputs, 1, Conv2dConfig::default(), vb)
}

/// Groups of a group norm, and what is added to its variances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub groups: usize,
    pub eps: f64,
}

impl Norm {
    pub fn layer(self, channels: usize, vb: VarBuilder) -> Result<GroupNorm> {
        group_norm(self.groups, channels, self.eps, vb)
    }
}

/// A residual block: twice group norm, SiLU and a 3×3 convolution, with the embedding of the time
/// step added in between where there is one.
#[derive(Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// `time` is the width of the embedding of the time step.
    pub fn new(
        vb: VarBuilder,
        (inputs, outputs): (usize, usize),
        time: Option<usize>,
        norm: Norm,
    ) -> Result<ResnetBlock> {
        let time = time.map(|width| linear(width, outputs, vb.pp("time_emb_proj")));
        let shortcut = (inputs != outputs).then(|| conv1(inputs, outputs, vb.pp("conv_shortcut")));
        Ok(ResnetBlock {
            norm1: norm.layer(inputs, vb.pp("norm1"))?,
            conv1: conv3(inputs, outputs, vb.pp("conv1"))?,
            time: time.transpose()?,
            norm2: norm.layer(outputs, vb.pp("norm2"))?,
            conv2: conv3(outputs, outputs, vb.pp("conv2"))?,
            shortcut: shortcut.transpose()?,
        })
    }

    /// [N, inputs, H, W] and the embedding of the time step [N, width] to [N, outputs, H, W].
    pub fn forward(&self, xs: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let mut inner = self.norm1.forward(xs)?.silu()?.apply(&self.conv1)?;
        if let (Some(layer), Some(time)) = (&self.time, time) {
            let time = layer.forward(&time.silu()?)?;
            inner = inner.broadcast_add(&time.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        let inner = self.norm2.forward(&inner)?.silu()?.apply(&self.conv2)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(xs)? + inner,
            None => xs + inner,
        }
    }
}

/// A 3×3 convolution that halves the size.
#[derive(Debug)]
pub(super) struct Downsample(Conv2d);

impl Downsample {
    pub fn new(vb: VarBuilder, channels: usize) -> Result<Downsample> {
        let config = Conv2dConfig {
            padding: 1,
            stride: 2,
            ..Conv2dConfig::default()
        };
        let layer = conv2d(channels, channels, 3, config, vb.pp("downsamplers.0.conv"))?;
        Ok(Downsample(layer))
    }

    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(xs)
    }
}

/// Nearest neighbours, then a 3×3 convolution.
#[derive(Debug)]
pub(super) struct Upsample(Conv2d);

impl Upsample {
    pub fn new(vb: VarBuilder, channels: usize) -> Result<Upsample> {
        Ok(Upsample(conv3(
            channels,
            channels,
            vb.pp("upsamplers.0.conv"),
        )?))
    }

    pub fn forward(&self, xs: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
        xs.upsample_nearest2d(height, width)?.apply(&self.0)
    }
}
