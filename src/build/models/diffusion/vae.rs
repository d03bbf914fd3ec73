//! The decoder that turns latents into images: the half of diffusers' `AutoencoderKL` that
//! generation needs.
//!
//! Attention is found under today's names (`to_q`, …) and under the old ones (`query`, …) that the
//! published files of Stable Diffusion 1.5 have.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Conv2d, GroupNorm, Module, VarBuilder};

use super::attention::{Attention, AttentionNames, AttentionSizes, NAMES, to_image, to_places};
use super::blocks::{Norm, ResnetBlock, Upsample, conv1, conv3};
use super::config::VaeConfig;

/// The names in old files.
const OLD_NAMES: AttentionNames = ["query", "key", "value", "proj_attn"];

/// The decoder of images.
#[derive(Debug)]
pub struct Decoder {
    first: Option<Conv2d>,
    into: Conv2d,
    middle: Middle,
    levels: Vec<Level>,
    norm: GroupNorm,
    out_of: Conv2d,
    scaling: f64,
    dtype: DType,
}

impl Decoder {
    /// `vb` stands at the root of `vae/diffusion_pytorch_model.safetensors`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &VaeConfig) -> Result<Decoder> {
        let latents = config.latent_channels;
        let norm = Norm {
            groups: config.norm_num_groups,
            eps: 1e-6,
        };
        let first = || conv1(latents, latents, vb.pp("post_quant_conv"));
        let first = config.use_post_quant_conv.then(first).transpose()?;
        let dtype = vb.dtype();
        let vb = vb.pp("decoder");
        let error = || candle_core::Error::msg("block_out_channels is empty");
        let mut channels = *config.block_out_channels.last().ok_or_else(error)?;
        let into = conv3(latents, channels, vb.pp("conv_in"))?;
        let middle = Middle::new(vb.pp("mid_block"), channels, norm)?;
        let mut levels = Vec::new();
        for (index, &outputs) in config.block_out_channels.iter().rev().enumerate() {
            let vb = vb.pp("up_blocks").pp(index);
            let is_last = index + 1 == config.block_out_channels.len();
            let resnets = config.layers_per_block + 1;
            levels.push(Level::new(vb, (channels, outputs), resnets, norm, is_last)?);
            channels = outputs;
        }
        Ok(Decoder {
            first,
            into,
            middle,
            levels,
            norm: norm.layer(channels, vb.pp("conv_norm_out"))?,
            out_of: conv3(channels, config.out_channels, vb.pp("conv_out"))?,
            scaling: config.scaling_factor,
            dtype,
        })
    }

    /// Latents as the UNet has them, [N, C, H, W], to images [N, 3, 8 H, 8 W] of about -1 to 1.
    ///
    /// # Errors
    /// Other shapes, or the device's.
    pub fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut xs = (latents.to_dtype(self.dtype)? / self.scaling)?;
        if let Some(first) = &self.first {
            xs = first.forward(&xs)?;
        }
        xs = self.middle.forward(&self.into.forward(&xs)?)?;
        for level in &self.levels {
            xs = level.forward(xs)?;
        }
        self.norm.forward(&xs)?.silu()?.apply(&self.out_of)
    }
}

/// The smallest level, where all places attend to one another with one head.
#[derive(Debug)]
struct Middle {
    before: ResnetBlock,
    norm: GroupNorm,
    attention: Attention,
    after: ResnetBlock,
}

impl Middle {
    fn new(vb: VarBuilder, channels: usize, norm: Norm) -> Result<Middle> {
        let resnet = |name| ResnetBlock::new(vb.pp(name), (channels, channels), None, norm);
        let sizes = AttentionSizes {
            width: channels,
            context: channels,
            heads: 1,
            bias: true,
            upcast: false,
        };
        let attention = vb.pp("attentions.0");
        let is_old = attention.contains_tensor("query.weight");
        let names = if is_old { OLD_NAMES } else { NAMES };
        Ok(Middle {
            before: resnet("resnets.0")?,
            norm: norm.layer(channels, attention.pp("group_norm"))?,
            attention: Attention::new(attention, names, sizes)?,
            after: resnet("resnets.1")?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = self.before.forward(xs, None)?;
        let (_, _, height, width) = xs.dims4()?;
        let places = to_places(&self.norm.forward(&xs)?)?;
        let attended = self.attention.forward(&places, None)?;
        let xs = (to_image(&attended, height, width)? + xs)?;
        self.after.forward(&xs, None)
    }
}

#[derive(Debug)]
struct Level {
    resnets: Vec<ResnetBlock>,
    upsample: Option<Upsample>,
}

impl Level {
    fn new(
        vb: VarBuilder,
        (inputs, outputs): (usize, usize),
        resnets: usize,
        norm: Norm,
        is_last: bool,
    ) -> Result<Level> {
        let resnet = |index| {
            let inputs = if index == 0 { inputs } else { outputs };
            ResnetBlock::new(vb.pp("resnets").pp(index), (inputs, outputs), None, norm)
        };
        let resnets = (0..resnets).map(resnet).collect::<Result<_>>()?;
        let upsample = (!is_last).then(|| Upsample::new(vb, outputs)).transpose()?;
        Ok(Level { resnets, upsample })
    }

    fn forward(&self, mut xs: Tensor) -> Result<Tensor> {
        for resnet in &self.resnets {
            xs = resnet.forward(&xs, None)?;
        }
        let Some(upsample) = &self.upsample else {
            return Ok(xs);
        };
        let (_, _, height, width) = xs.dims4()?;
        upsample.forward(&xs, (2 * height, 2 * width))
    }
}
