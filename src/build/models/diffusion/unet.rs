//! Stable Diffusion's UNet: 1.5 (arXiv 2112.10752), 2.1, XL (arXiv 2307.01952) and XL-Turbo.
//!
//! Our own and not candle-transformers', because that one has no added conditioning, which XL needs,
//! and gates its feed-forward layers with the approximate GELU. Tensors have the names of diffusers'
//! `UNet2DConditionModel`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Conv2d, GroupNorm, Linear, Module, VarBuilder, linear};

use super::attention::{AttentionSizes, SpatialTransformer};
use super::blocks::{Downsample, Norm, ResnetBlock, Upsample, conv3};
use super::config::{DownBlockType, Level, UNetConfig, UpBlockType};

/// XL's added conditioning.
#[derive(Clone, Debug)]
pub struct Added {
    /// The second text encoder's pooled and projected texts, [N, P].
    pub pooled: Tensor,
    /// Height and width of the original, top and left of the crop, height and width of the target:
    /// [N, 6].
    pub sizes: Tensor,
}

/// Predicts the noise, or the velocity, in noisy latents.
#[derive(Debug)]
pub struct UNet {
    frequencies: Frequencies,
    time: Embedding,
    added: Option<AddedEmbedding>,
    into: Conv2d,
    down: Vec<Block<Downsample>>,
    middle: Middle,
    up: Vec<Block<Upsample>>,
    norm: GroupNorm,
    out_of: Conv2d,
    dtype: DType,
}

impl UNet {
    /// `vb` stands at the root of `unet/diffusion_pytorch_model.safetensors`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &UNetConfig) -> Result<UNet> {
        let sizes = Sizes::new(config)?;
        let first = sizes.level(0)?.channels;
        let frequencies = Frequencies {
            cosines_first: config.flip_sin_to_cos,
            shift: config.freq_shift,
            width: first,
        };
        // Channels of what the way down leaves for the way up.
        let mut skips = vec![first];
        let down = (0..sizes.levels())
            .map(|level| sizes.down(&vb, level, &mut skips))
            .collect::<Result<_>>()?;
        let middle = Middle::new(vb.pp("mid_block"), &sizes)?;
        let up = (0..sizes.levels())
            .map(|index| sizes.up(&vb, index, &mut skips))
            .collect::<Result<_>>()?;
        Ok(UNet {
            frequencies,
            time: Embedding::new(vb.pp("time_embedding"), first, sizes.time)?,
            added: AddedEmbedding::new(&vb, config, sizes.time)?,
            into: conv3(config.in_channels, first, vb.pp("conv_in"))?,
            down,
            middle,
            up,
            norm: sizes.norm().layer(first, vb.pp("conv_norm_out"))?,
            out_of: conv3(first, config.out_channels, vb.pp("conv_out"))?,
            dtype: vb.dtype(),
        })
    }

    /// Latents [N, C, H, W] at a time step, with texts [N, L, D], to what is predicted [N, C, H, W].
    ///
    /// # Errors
    /// Other shapes, added conditioning that is missing, or the device's.
    pub fn forward(
        &self,
        latents: &Tensor,
        timestep: f64,
        text: &Tensor,
        added: Option<&Added>,
    ) -> Result<Tensor> {
        let time = self.embed(timestep, latents, added)?;
        let mut xs = self.into.forward(&latents.to_dtype(self.dtype)?)?;
        let text = text.to_dtype(self.dtype)?;
        let mut skips = vec![xs.clone()];
        for block in &self.down {
            for (index, resnet) in block.resnets.iter().enumerate() {
                xs = block.transform(index, resnet.forward(&xs, Some(&time))?, &text)?;
                skips.push(xs.clone());
            }
            if let Some(sampler) = &block.sampler {
                xs = sampler.forward(&xs)?;
                skips.push(xs.clone());
            }
        }
        xs = self.middle.forward(&xs, &time, &text)?;
        for block in &self.up {
            for (index, resnet) in block.resnets.iter().enumerate() {
                xs = Tensor::cat(&[&xs, &taken(&mut skips)?], 1)?;
                xs = block.transform(index, resnet.forward(&xs, Some(&time))?, &text)?;
            }
            if let Some(sampler) = &block.sampler {
                // Odd sizes were rounded up on the way down.
                let skip = skips.last().map(Tensor::dims4).transpose()?;
                let (_, _, height, width) = skip.unwrap_or_default();
                xs = sampler.forward(&xs, (height, width))?;
            }
        }
        self.norm.forward(&xs)?.silu()?.apply(&self.out_of)
    }

    /// The embedding of the time step and of all that is added, [N, width].
    fn embed(&self, timestep: f64, latents: &Tensor, added: Option<&Added>) -> Result<Tensor> {
        let times = Tensor::full(timestep as f32, latents.dim(0)?, latents.device())?;
        let time = self.frequencies.of(&times)?.to_dtype(self.dtype)?;
        let time = self.time.forward(&time)?;
        match (&self.added, added) {
            (None, _) => Ok(time),
            (Some(layer), Some(added)) => time + layer.forward(added, self.dtype)?,
            (Some(_), None) => {
                candle_core::bail!("no pooled texts and sizes, which this network needs")
            }
        }
    }
}

/// What the way down left last.
fn taken(skips: &mut Vec<Tensor>) -> Result<Tensor> {
    skips
        .pop()
        .ok_or_else(|| candle_core::Error::msg("more blocks on the way up than down"))
}

/// Numbers as sines and cosines (Attention Is All You Need, arXiv 1706.03762).
#[derive(Clone, Copy, Debug)]
struct Frequencies {
    width: usize,
    cosines_first: bool,
    shift: f64,
}

impl Frequencies {
    /// [N] to [N, width], in F32: half precision has not the digits for a time step of 999.
    fn of(&self, numbers: &Tensor) -> Result<Tensor> {
        let half = self.width / 2;
        let exponent = |index| -(10000f64.ln()) * index as f64 / (half as f64 - self.shift);
        let frequencies = (0..half).map(|index| exponent(index).exp() as f32);
        let frequencies = Tensor::from_iter(frequencies, &Device::Cpu)?;
        let frequencies = frequencies.to_device(numbers.device())?.unsqueeze(0)?;
        let angles = numbers.to_dtype(DType::F32)?.unsqueeze(1)?;
        let angles = angles.broadcast_mul(&frequencies)?;
        let (sines, cosines) = (angles.sin()?, angles.cos()?);
        match self.cosines_first {
            true => Tensor::cat(&[cosines, sines], 1),
            false => Tensor::cat(&[sines, cosines], 1),
        }
    }
}

/// Two linear layers with a SiLU between them.
#[derive(Debug)]
struct Embedding {
    first: Linear,
    second: Linear,
}

impl Embedding {
    fn new(vb: VarBuilder, inputs: usize, outputs: usize) -> Result<Embedding> {
        Ok(Embedding {
            first: linear(inputs, outputs, vb.pp("linear_1"))?,
            second: linear(outputs, outputs, vb.pp("linear_2"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(xs)?.silu()?)
    }
}

/// XL's embedding of pooled texts and sizes.
#[derive(Debug)]
struct AddedEmbedding {
    frequencies: Frequencies,
    layers: Embedding,
}

impl AddedEmbedding {
    fn new(vb: &VarBuilder, config: &UNetConfig, time: usize) -> Result<Option<AddedEmbedding>> {
        let widths = (
            config.addition_time_embed_dim,
            config.projection_class_embeddings_input_dim,
        );
        let (Some(_), (Some(width), Some(inputs))) = (config.addition_embed_type, widths) else {
            return Ok(None);
        };
        let frequencies = Frequencies {
            cosines_first: config.flip_sin_to_cos,
            shift: config.freq_shift,
            width,
        };
        let layers = Embedding::new(vb.pp("add_embedding"), inputs, time)?;
        Ok(Some(AddedEmbedding {
            frequencies,
            layers,
        }))
    }

    fn forward(&self, added: &Added, dtype: DType) -> Result<Tensor> {
        let batch = added.sizes.dim(0)?;
        let sizes = self.frequencies.of(&added.sizes.flatten_all()?)?;
        let sizes = sizes.reshape((batch, ()))?.to_dtype(dtype)?;
        let both = Tensor::cat(&[&added.pooled.to_dtype(dtype)?, &sizes], 1)?;
        self.layers.forward(&both)
    }
}

/// A level on the way down or up.
#[derive(Debug)]
struct Block<S> {
    resnets: Vec<ResnetBlock>,
    /// One for each residual block, or none.
    transformers: Vec<SpatialTransformer>,
    sampler: Option<S>,
}

impl<S> Block<S> {
    fn transform(&self, index: usize, xs: Tensor, text: &Tensor) -> Result<Tensor> {
        match self.transformers.get(index) {
            Some(transformer) => transformer.forward(&xs, text),
            None => Ok(xs),
        }
    }
}

/// The level of smallest size, between the ways down and up.
#[derive(Debug)]
struct Middle {
    before: ResnetBlock,
    transformer: SpatialTransformer,
    after: ResnetBlock,
}

impl Middle {
    fn new(vb: VarBuilder, sizes: &Sizes) -> Result<Middle> {
        let level = sizes.level(sizes.levels().saturating_sub(1))?;
        let channels = (level.channels, level.channels);
        Ok(Middle {
            before: sizes.resnet(vb.pp("resnets.0"), channels)?,
            transformer: sizes.transformer(vb.pp("attentions.0"), level)?,
            after: sizes.resnet(vb.pp("resnets.1"), channels)?,
        })
    }

    fn forward(&self, xs: &Tensor, time: &Tensor, text: &Tensor) -> Result<Tensor> {
        let xs = self.before.forward(xs, Some(time))?;
        let xs = self.transformer.forward(&xs, text)?;
        self.after.forward(&xs, Some(time))
    }
}

/// Builds blocks of a configuration.
struct Sizes<'a> {
    config: &'a UNetConfig,
    /// Width of the embedding of the time step.
    time: usize,
}

impl Sizes<'_> {
    fn new(config: &UNetConfig) -> Result<Sizes<'_>> {
        let mut sizes = Sizes { config, time: 0 };
        sizes.time = 4 * sizes.level(0)?.channels;
        Ok(sizes)
    }

    fn levels(&self) -> usize {
        self.config.block_out_channels.len()
    }

    fn level(&self, level: usize) -> Result<Level> {
        let error = || candle_core::Error::msg(format!("the configuration has no level {level}"));
        self.config.level(level).ok_or_else(error)
    }

    fn norm(&self) -> Norm {
        Norm {
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
        }
    }

    fn resnet(&self, vb: VarBuilder, channels: (usize, usize)) -> Result<ResnetBlock> {
        ResnetBlock::new(vb, channels, Some(self.time), self.norm())
    }

    fn transformer(&self, vb: VarBuilder, level: Level) -> Result<SpatialTransformer> {
        let sizes = AttentionSizes {
            width: level.channels,
            context: self.config.cross_attention_dim,
            heads: level.heads,
            bias: false,
            upcast: self.config.upcast_attention.unwrap_or(false),
        };
        let (groups, is_linear) = (
            self.config.norm_num_groups,
            self.config.use_linear_projection,
        );
        SpatialTransformer::new(vb, sizes, level.depth, groups, is_linear)
    }

    /// Residual blocks and transformers of a level, from these numbers of channels.
    fn block<S>(
        &self,
        vb: &VarBuilder,
        level: Level,
        inputs: &[usize],
        attends: bool,
    ) -> Result<Block<S>> {
        let resnets = inputs.iter().enumerate().map(|(index, &inputs)| {
            self.resnet(vb.pp("resnets").pp(index), (inputs, level.channels))
        });
        let transformers = (0..if attends { inputs.len() } else { 0 })
            .map(|index| self.transformer(vb.pp("attentions").pp(index), level));
        Ok(Block {
            resnets: resnets.collect::<Result<_>>()?,
            transformers: transformers.collect::<Result<_>>()?,
            sampler: None,
        })
    }

    fn down(
        &self,
        vb: &VarBuilder,
        index: usize,
        skips: &mut Vec<usize>,
    ) -> Result<Block<Downsample>> {
        let vb = vb.pp("down_blocks").pp(index);
        let level = self.level(index)?;
        let mut inputs = vec![level.channels; self.config.layers_per_block];
        if let (Some(first), Some(&before)) = (inputs.first_mut(), skips.last()) {
            *first = before;
        }
        let attends = self.config.down_block_types.get(index);
        let attends = attends == Some(&DownBlockType::CrossAttnDownBlock2D);
        let mut block = self.block(&vb, level, &inputs, attends)?;
        skips.extend(inputs.iter().map(|_| level.channels));
        if index + 1 < self.levels() {
            block.sampler = Some(Downsample::new(vb, level.channels)?);
            skips.push(level.channels);
        }
        Ok(block)
    }

    fn up(&self, vb: &VarBuilder, index: usize, skips: &mut Vec<usize>) -> Result<Block<Upsample>> {
        let vb = vb.pp("up_blocks").pp(index);
        let last = self.levels().saturating_sub(1);
        let level = self.level(last.saturating_sub(index))?;
        let below = self.level((last + 1).saturating_sub(index).min(last))?;
        let mut inputs = vec![level.channels; self.config.layers_per_block + 1];
        if let Some(first) = inputs.first_mut() {
            *first = below.channels;
        }
        for channels in &mut inputs {
            *channels += skips.pop().unwrap_or_default();
        }
        let attends = self.config.up_block_types.get(index);
        let attends = attends == Some(&UpBlockType::CrossAttnUpBlock2D);
        let mut block = self.block(&vb, level, &inputs, attends)?;
        if index < last {
            block.sampler = Some(Upsample::new(vb, level.channels)?);
        }
        Ok(block)
    }
}
