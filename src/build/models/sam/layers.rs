//! Layers that several parts of Segment Anything have.

use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder, conv2d_no_bias, linear};

/// Layer normalisation over the channels of maps [images, channels, height, width].
#[derive(Debug)]
pub(super) struct LayerNorm2d {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm2d {
    pub(super) fn new(channels: usize, vb: VarBuilder) -> Result<LayerNorm2d> {
        let shape = (1, channels, 1, 1);
        Ok(LayerNorm2d {
            weight: vb.get(channels, "weight")?.reshape(shape)?,
            bias: vb.get(channels, "bias")?.reshape(shape)?,
        })
    }
}

impl Module for LayerNorm2d {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        // Squares of half precision overflow.
        let wide = maps.to_dtype(DType::F32)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(1)?)?;
        let variance = centred.sqr()?.mean_keepdim(1)?;
        centred
            .broadcast_div(&(variance + 1e-6)?.sqrt()?)?
            .to_dtype(maps.dtype())?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// What ends both image encoders: from tokens' width to the decoder's.
#[derive(Debug)]
pub(super) struct Neck {
    narrow: Conv2d,
    norm1: LayerNorm2d,
    smooth: Conv2d,
    norm2: LayerNorm2d,
}

impl Neck {
    pub(super) fn new(from: usize, to: usize, vb: VarBuilder) -> Result<Neck> {
        let around = Conv2dConfig {
            padding: 1,
            ..Conv2dConfig::default()
        };
        Ok(Neck {
            narrow: conv2d_no_bias(from, to, 1, Conv2dConfig::default(), vb.pp(0))?,
            norm1: LayerNorm2d::new(to, vb.pp(1))?,
            smooth: conv2d_no_bias(to, to, 3, around, vb.pp(2))?,
            norm2: LayerNorm2d::new(to, vb.pp(3))?,
        })
    }
}

impl Module for Neck {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let maps = maps.apply(&self.narrow)?.apply(&self.norm1)?;
        maps.apply(&self.smooth)?.apply(&self.norm2)
    }
}

/// Linear layers with a rectifier between each two.
#[derive(Debug)]
pub(super) struct Mlp(Vec<Linear>);

impl Mlp {
    /// Layers between `widths`, named by `name` of their number.
    pub(super) fn new(
        widths: &[usize],
        vb: VarBuilder,
        name: impl Fn(usize) -> String,
    ) -> Result<Mlp> {
        let pairs = widths.iter().zip(widths.iter().skip(1)).enumerate();
        let layers = pairs.map(|(index, (&from, &to))| linear(from, to, vb.pp(name(index))));
        layers.collect::<Result<_>>().map(Mlp)
    }
}

impl Module for Mlp {
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let mut tokens = tokens.clone();
        for (index, layer) in self.0.iter().enumerate() {
            if index > 0 {
                tokens = tokens.relu()?;
            }
            tokens = tokens.apply(layer)?;
        }
        Ok(tokens)
    }
}

/// Cuts tokens [images, height, width, channels] into windows [windows, side, side, channels];
/// zeros fill up those at the lower and the right edge.
pub(super) fn windows(tokens: &Tensor, side: usize) -> Result<Tensor> {
    let (images, height, width, channels) = tokens.dims4()?;
    let (down, across) = (height.div_ceil(side), width.div_ceil(side));
    tokens
        .pad_with_zeros(1, 0, down * side - height)?
        .pad_with_zeros(2, 0, across * side - width)?
        .reshape((images, down, side, across, side, channels))?
        .transpose(2, 3)?
        .reshape((images * down * across, side, side, channels))
}

/// Puts [`windows`] together again, as tokens of that height and width.
pub(super) fn join_windows(windows: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (count, side, _, channels) = windows.dims4()?;
    let (down, across) = (height.div_ceil(side), width.div_ceil(side));
    windows
        .reshape((count / (down * across), down, across, side, side, channels))?
        .transpose(2, 3)?
        .reshape(((), down * side, across * side, channels))?
        .narrow(1, 0, height)?
        .narrow(2, 0, width)?
        .contiguous()
}
