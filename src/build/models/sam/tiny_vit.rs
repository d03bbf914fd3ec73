//! MobileSAM's image encoder: a TinyViT (arXiv 2207.10666) whose last stage keeps its resolution
//! (MobileSAM, arXiv 2306.14289).

use std::collections::HashMap;

use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, batch_norm, conv2d_no_bias, layer_norm,
    linear,
};

use super::layers::{Neck, join_windows, windows};
use super::vit::softmax;

/// Sizes of the four stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyVitConfig {
    /// Channels.
    pub widths: [usize; 4],
    /// Blocks.
    pub depths: [usize; 4],
    /// Heads of each attention; the first stage has none.
    pub heads: [usize; 4],
    /// Tokens along a window's side; the first stage has none.
    pub windows: [usize; 4],
}

/// The image encoder.
#[derive(Debug)]
pub struct TinyVit {
    stem1: Conv2d,
    stem2: Conv2d,
    first: Vec<MobileBlock>,
    stages: Vec<Stage>,
    neck: Neck,
}

/// What makes the maps of the stage before smaller and wider, and the blocks after it.
#[derive(Debug)]
struct Stage {
    merge: Merge,
    blocks: Vec<Block>,
}

impl TinyVit {
    /// The encoder, into maps of `output` channels.
    ///
    /// # Errors
    /// What the weights lack.
    pub fn new(config: &TinyVitConfig, output: usize, vb: VarBuilder) -> Result<TinyVit> {
        let [width, .., last] = config.widths;
        let stem = vb.pp("patch_embed.seq");
        let layers = vb.pp("layers");
        let mobile = |index| MobileBlock::new(width, layers.pp(0).pp("blocks").pp(index));
        let stage = |index: usize| -> Result<Stage> {
            let before = layers.pp(index - 1).pp("downsample");
            let widths = (config.widths[index - 1], config.widths[index]);
            let stride = if index == 3 { 1 } else { 2 };
            let block = |block: usize| {
                let (heads, window) = (config.heads[index], config.windows[index]);
                let vb = layers.pp(index).pp("blocks").pp(block);
                Block::new(widths.1, heads, window, vb)
            };
            Ok(Stage {
                merge: Merge::new(widths, stride, before)?,
                blocks: (0..config.depths[index])
                    .map(block)
                    .collect::<Result<_>>()?,
            })
        };
        Ok(TinyVit {
            stem1: normed(3, width / 2, Kernel::strided(2), stem.pp(0))?,
            stem2: normed(width / 2, width, Kernel::strided(2), stem.pp(2))?,
            first: (0..config.depths[0]).map(mobile).collect::<Result<_>>()?,
            stages: (1..4).map(stage).collect::<Result<_>>()?,
            neck: Neck::new(last, output, vb.pp("neck"))?,
        })
    }
}

impl Module for TinyVit {
    /// From images [images, 3, size, size] to maps [images, output, size / 16, size / 16].
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let stem = images.apply(&self.stem1)?.gelu_erf()?;
        let mut maps = stem.apply(&self.stem2)?;
        for block in &self.first {
            maps = block.forward(&maps)?;
        }
        for stage in &self.stages {
            maps = stage.merge.forward(&maps)?;
            for block in &stage.blocks {
                maps = block.forward(&maps)?;
            }
        }
        maps.apply(&self.neck)
    }
}

/// A convolution's kernel: of one pixel, or of three by three with a stride, perhaps for each
/// channel by itself.
#[derive(Clone, Copy)]
struct Kernel {
    side: usize,
    stride: usize,
    groups: usize,
}

impl Kernel {
    const POINT: Kernel = Kernel {
        side: 1,
        stride: 1,
        groups: 1,
    };

    fn strided(stride: usize) -> Kernel {
        Kernel {
            side: 3,
            stride,
            groups: 1,
        }
    }

    fn of_each_channel(channels: usize, stride: usize) -> Kernel {
        Kernel {
            side: 3,
            stride,
            groups: channels,
        }
    }
}

/// A convolution with the batch norm after it folded into its weights, in 32-bit floats.
fn normed(from: usize, to: usize, kernel: Kernel, vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig {
        padding: kernel.side / 2,
        stride: kernel.stride,
        groups: kernel.groups,
        ..Conv2dConfig::default()
    };
    let wide = vb.to_dtype(DType::F32);
    let convolution = conv2d_no_bias(from, to, kernel.side, config, wide.pp("c"))?;
    let folded = convolution.absorb_bn(&batch_norm(to, 1e-5, wide.pp("bn"))?)?;
    let bias = folded.bias().map(|bias| bias.to_dtype(vb.dtype()));
    Ok(Conv2d::new(
        folded.weight().to_dtype(vb.dtype())?,
        bias.transpose()?,
        config,
    ))
}

/// A block of convolutions, of the first stage.
#[derive(Debug)]
struct MobileBlock {
    widen: Conv2d,
    mix: Conv2d,
    narrow: Conv2d,
}

impl MobileBlock {
    fn new(width: usize, vb: VarBuilder) -> Result<MobileBlock> {
        let wide = 4 * width;
        let each = Kernel::of_each_channel(wide, 1);
        Ok(MobileBlock {
            widen: normed(width, wide, Kernel::POINT, vb.pp("conv1"))?,
            mix: normed(wide, wide, each, vb.pp("conv2"))?,
            narrow: normed(wide, width, Kernel::POINT, vb.pp("conv3"))?,
        })
    }
}

impl Module for MobileBlock {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let wide = maps.apply(&self.widen)?.gelu_erf()?;
        let mixed = wide.apply(&self.mix)?.gelu_erf()?;
        (mixed.apply(&self.narrow)? + maps)?.gelu_erf()
    }
}

/// The way from one stage to the next.
#[derive(Debug)]
struct Merge {
    widen: Conv2d,
    mix: Conv2d,
    output: Conv2d,
}

impl Merge {
    fn new((from, to): (usize, usize), stride: usize, vb: VarBuilder) -> Result<Merge> {
        let each = Kernel::of_each_channel(to, stride);
        Ok(Merge {
            widen: normed(from, to, Kernel::POINT, vb.pp("conv1"))?,
            mix: normed(to, to, each, vb.pp("conv2"))?,
            output: normed(to, to, Kernel::POINT, vb.pp("conv3"))?,
        })
    }
}

impl Module for Merge {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let wide = maps.apply(&self.widen)?.gelu_erf()?;
        wide.apply(&self.mix)?.gelu_erf()?.apply(&self.output)
    }
}

/// A block of the later stages: attention in windows, a convolution and a perceptron.
#[derive(Debug)]
struct Block {
    attention: Attention,
    mix: Conv2d,
    norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
    window: usize,
}

impl Block {
    fn new(width: usize, heads: usize, window: usize, vb: VarBuilder) -> Result<Block> {
        let mlp = vb.pp("mlp");
        let each = Kernel::of_each_channel(width, 1);
        Ok(Block {
            attention: Attention::new(width, heads, window, vb.pp("attn"))?,
            mix: normed(width, width, each, vb.pp("local_conv"))?,
            norm: layer_norm(width, 1e-5, mlp.pp("norm"))?,
            widen: linear(width, 4 * width, mlp.pp("fc1"))?,
            narrow: linear(4 * width, width, mlp.pp("fc2"))?,
            window,
        })
    }
}

impl Module for Block {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = maps.dims4()?;
        let tokens = maps.permute((0, 2, 3, 1))?.contiguous()?;
        let attended = self.attention.forward(&windows(&tokens, self.window)?)?;
        let tokens = (tokens + join_windows(&attended, height, width)?)?;
        let maps = tokens.permute((0, 3, 1, 2))?.contiguous()?;
        let tokens = maps.apply(&self.mix)?.permute((0, 2, 3, 1))?.contiguous()?;
        let wide = tokens.apply(&self.norm)?.apply(&self.widen)?.gelu_erf()?;
        let tokens = (tokens + wide.apply(&self.narrow)?)?;
        tokens.permute((0, 3, 1, 2))?.contiguous()
    }
}

/// Attention in a window, with a learned number for each distance of two tokens.
#[derive(Debug)]
struct Attention {
    norm: LayerNorm,
    qkv: Linear,
    output: Linear,
    heads: usize,
    /// [heads, tokens, tokens]
    biases: Tensor,
}

impl Attention {
    fn new(width: usize, heads: usize, side: usize, vb: VarBuilder) -> Result<Attention> {
        let (distances, count) = distances(side);
        let tokens = side * side;
        let biases = vb.get((heads, count), "attention_biases")?;
        let distances = Tensor::new(distances, vb.device())?;
        Ok(Attention {
            norm: layer_norm(width, 1e-5, vb.pp("norm"))?,
            qkv: linear(width, 3 * width, vb.pp("qkv"))?,
            output: linear(width, width, vb.pp("proj"))?,
            heads,
            biases: biases
                .contiguous()?
                .index_select(&distances, 1)?
                .reshape((heads, tokens, tokens))?,
        })
    }
}

impl Module for Attention {
    fn forward(&self, windows: &Tensor) -> Result<Tensor> {
        let (count, height, width, channels) = windows.dims4()?;
        let head = channels / self.heads;
        // Unlike in other transformers, a head's query, key and value stand together.
        let qkv = windows
            .apply(&self.norm)?
            .apply(&self.qkv)?
            .reshape((count, height * width, self.heads, 3, head))?
            .permute((3, 0, 2, 1, 4))?
            .contiguous()?;
        let query = (qkv.get(0)? * (head as f64).powf(-0.5))?;
        let scores = query.matmul(&qkv.get(1)?.t()?)?;
        let scores = scores.broadcast_add(&self.biases)?;
        softmax(&scores)?
            .matmul(&qkv.get(2)?)?
            .transpose(1, 2)?
            .reshape((count, height, width, channels))?
            .apply(&self.output)
    }
}

/// For each two tokens of a window the number of their distance, and how many distances there are.
/// Distances are down and across without sign, numbered in the order in which they first occur.
fn distances(side: usize) -> (Vec<u32>, usize) {
    let mut numbers = HashMap::new();
    let mut all = Vec::with_capacity(side.pow(4));
    for own in 0..side * side {
        for other in 0..side * side {
            let down = (own / side).abs_diff(other / side);
            let across = (own % side).abs_diff(other % side);
            let next = numbers.len() as u32;
            all.push(*numbers.entry((down, across)).or_insert(next));
        }
    }
    (all, numbers.len())
}
