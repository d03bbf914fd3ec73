//! The network: a U of residual U-blocks.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{Conv2dConfig, VarBuilder, ops};

use crate::build::nn::Conv2d;
use crate::build::nn::maps::{max_pool_by_two, upsample_bilinear};

/// PyTorch's default, which the authors left.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Channels of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of what it is given.
    pub inputs: usize,
    /// Of its convolutions but the first and the last.
    pub inner: usize,
    /// Of what it gives.
    pub outputs: usize,
}

/// Channels of the whole network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Stages 1 to 6, downwards.
    pub encoder: [Widths; 6],
    /// Stages 1d to 5d, the topmost first.
    pub decoder: [Widths; 5],
}

impl Config {
    /// U²-Net, 176 MB.
    pub fn u2net() -> Config {
        let widths = |[inputs, inner, outputs]: [usize; 3]| Widths {
            inputs,
            inner,
            outputs,
        };
        let encoder = [
            [3, 32, 64],
            [64, 32, 128],
            [128, 64, 256],
            [256, 128, 512],
            [512, 256, 512],
            [512, 256, 512],
        ];
        let decoder = [
            [128, 16, 64],
            [256, 32, 64],
            [512, 64, 128],
            [1024, 128, 256],
            [1024, 256, 512],
        ];
        Config {
            encoder: encoder.map(widths),
            decoder: decoder.map(widths),
        }
    }

    /// U²-NetP, 4.7 MB.
    pub fn u2netp() -> Config {
        Config::uniform(64, 16)
    }

    /// Blocks that are all as wide.
    pub fn uniform(outputs: usize, inner: usize) -> Config {
        let block = |inputs| Widths {
            inputs,
            inner,
            outputs,
        };
        let mut encoder = [block(outputs); 6];
        encoder[0] = block(3);
        Config {
            encoder,
            decoder: [block(2 * outputs); 5],
        }
    }
}

/// What makes a convolution of a weight, a bias and settings, with or without a rectifier.
pub type MakeConvolution = fn(Tensor, Option<Tensor>, Conv2dConfig, bool) -> Result<Conv2d>;

/// U²-Net without what is done to images before and to maps after.
pub struct Network {
    encoder: Vec<Block>,
    /// The topmost first.
    decoder: Vec<Block>,
    /// A map from each decoder, the topmost first, and from the last encoder.
    sides: Vec<Conv2d>,
    fuse: Conv2d,
}

impl Network {
    /// Takes the weights by the authors' names. Batch norms are folded into the convolutions.
    ///
    /// # Errors
    /// Weights that are missing or have another shape.
    pub fn new(vb: VarBuilder, config: &Config) -> Result<Network> {
        Network::with_convolutions(vb, config, Conv2d::new)
    }

    /// As [`Network::new`], of convolutions that are made by another function: [`Conv2d::stock`].
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn with_convolutions(
        vb: VarBuilder,
        config: &Config,
        make: MakeConvolution,
    ) -> Result<Network> {
        let from = Source { vb, make };
        let stages = config.encoder.iter().zip(1..);
        let encoder = stages
            .clone()
            .map(|(widths, stage)| Block::new(from.pp(format!("stage{stage}")), stage, widths))
            .collect::<Result<_>>()?;
        let decoder = config.decoder.iter().zip(1..);
        let decoder = decoder
            .map(|(widths, stage)| Block::new(from.pp(format!("stage{stage}d")), stage, widths))
            .collect::<Result<_>>()?;
        let wide = config.decoder.iter().chain(config.encoder.last());
        let sides = wide
            .zip(1..)
            .map(|(widths, side)| from.pp(format!("side{side}")).plain(widths.outputs, 3));
        Ok(Network {
            encoder,
            decoder,
            sides: sides.collect::<Result<_>>()?,
            fuse: from.pp("outconv").plain(6, 1)?,
        })
    }

    /// How much each pixel of [images, 3, height, width] is of the object, in [0, 1]:
    /// [images, 1, height, width], the map that the authors call d0.
    ///
    /// # Errors
    /// What candle says, also of tensors of another shape.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = images.dims4()?;
        let mut down: Vec<Tensor> = Vec::new();
        for block in &self.encoder {
            let next = match down.last() {
                None => block.forward(images, None)?,
                Some(maps) => block.forward(&max_pool_by_two(maps)?, None)?,
            };
            down.push(next);
        }
        let Some((mut maps, (first, sides))) = down.pop().zip(self.sides.split_last()) else {
            bail!("a network without stages");
        };
        let mut logits = vec![upsample_bilinear(
            &first.forward(&maps)?,
            height,
            width,
            false,
        )?];
        let up = self.decoder.iter().zip(sides).zip(down).rev();
        for ((block, side), like) in up {
            let (_, _, rows, columns) = like.dims4()?;
            maps = upsample_bilinear(&maps, rows, columns, false)?;
            maps = block.forward(&maps, Some(&like))?;
            logits.insert(
                0,
                upsample_bilinear(&side.forward(&maps)?, height, width, false)?,
            );
        }
        ops::sigmoid(&self.fuse.forward(&Tensor::cat(&logits, 1)?)?)
    }
}

/// A residual U-block: down by halves and up again, or all at one size with growing dilation.
struct Block {
    entry: Conv2d,
    down: Vec<Conv2d>,
    /// The topmost first.
    up: Vec<Conv2d>,
    is_dilated: bool,
}

impl Block {
    /// The block of a stage, from 1: the deeper the stage, the flatter the block.
    fn new(from: Source, stage: usize, widths: &Widths) -> Result<Block> {
        let Widths {
            inputs,
            inner,
            outputs,
        } = *widths;
        let is_dilated = stage > 4;
        let depth = if is_dilated { 4 } else { 8 - stage };
        let dilation = |level: usize| match is_dilated {
            true => 1 << (level - 1),
            // Below it nothing is halved any more.
            false if level == depth => 2,
            false => 1,
        };
        let down = (1..=depth).map(|level| {
            let inputs = if level == 1 { outputs } else { inner };
            let from = from.pp(format!("rebnconv{level}"));
            from.rebnconv(inputs, inner, dilation(level))
        });
        let up = (1..depth).map(|level| {
            let outputs = if level == 1 { outputs } else { inner };
            let from = from.pp(format!("rebnconv{level}d"));
            from.rebnconv(2 * inner, outputs, dilation(level))
        });
        Ok(Block {
            entry: from.pp("rebnconvin").rebnconv(inputs, outputs, 1)?,
            down: down.collect::<Result<_>>()?,
            up: up.collect::<Result<_>>()?,
            is_dilated,
        })
    }

    /// Of maps, or of maps and more maps of the same size.
    fn forward(&self, maps: &Tensor, more: Option<&Tensor>) -> Result<Tensor> {
        let entry = match more {
            None => self.entry.forward(maps)?,
            Some(more) => self.entry.forward_joined(maps, more)?,
        };
        let mut down: Vec<Tensor> = Vec::new();
        for (level, convolution) in self.down.iter().enumerate() {
            let is_halved = !self.is_dilated && level > 0 && level + 1 < self.down.len();
            let next = match down.last() {
                None => convolution.forward(&entry)?,
                Some(maps) if is_halved => convolution.forward(&max_pool_by_two(maps)?)?,
                Some(maps) => convolution.forward(maps)?,
            };
            down.push(next);
        }
        let Some((mut maps, (last, up))) = down.pop().zip(self.up.split_first()) else {
            bail!("a block without levels");
        };
        let mut levels = down.into_iter();
        let top = levels.next();
        for (convolution, like) in up.iter().zip(levels).rev() {
            maps = upsample_like(&maps, &like)?;
            maps = convolution.forward_joined(&maps, &like)?;
        }
        match top {
            Some(like) => last.forward_joined_onto(&upsample_like(&maps, &like)?, &like, &entry),
            None => bail!("a block without levels"),
        }
    }
}

fn upsample_like(maps: &Tensor, like: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = like.dims4()?;
    upsample_bilinear(maps, height, width, false)
}

/// Where convolutions come from.
struct Source<'a> {
    vb: VarBuilder<'a>,
    make: MakeConvolution,
}

impl<'a> Source<'a> {
    fn pp(&self, name: impl ToString) -> Source<'a> {
        Source {
            vb: self.vb.pp(name),
            make: self.make,
        }
    }

    /// Convolution, batch norm and rectifier, as one convolution.
    fn rebnconv(&self, inputs: usize, outputs: usize, dilation: usize) -> Result<Conv2d> {
        let [weight, bias] = parameters(self.vb.pp("conv_s1"), inputs, outputs, 3)?;
        let norm = self.vb.pp("bn_s1").set_dtype(DType::F32);
        let of_norm = |name| norm.get(outputs, name);
        let deviation = (of_norm("running_var")? + BATCH_NORM_EPS)?.sqrt()?;
        let scale = (of_norm("weight")? / deviation)?;
        let weight = weight.broadcast_mul(&scale.reshape((outputs, 1, 1, 1))?)?;
        let bias = ((bias - of_norm("running_mean")?)? * scale)? + of_norm("bias")?;
        self.convolution(weight, bias?, dilation, true)
    }

    /// A convolution to one map.
    fn plain(&self, inputs: usize, side: usize) -> Result<Conv2d> {
        let [weight, bias] = parameters(self.vb.clone(), inputs, 1, side)?;
        self.convolution(weight, bias, side / 2, false)
    }

    /// A convolution in the precision that the network runs in.
    fn convolution(
        &self,
        weight: Tensor,
        bias: Tensor,
        padding: usize,
        relu: bool,
    ) -> Result<Conv2d> {
        let config = Conv2dConfig {
            padding,
            // A kernel of three by three keeps the size of maps, a single one has no reach.
            dilation: padding.max(1),
            ..Conv2dConfig::default()
        };
        let [weight, bias] = [weight, bias].map(|tensor| tensor.to_dtype(self.vb.dtype()));
        (self.make)(weight?, Some(bias?), config, relu)
    }
}

/// A convolution's weight and bias, in 32-bit floats: half of one would lose what is folded in.
fn parameters(vb: VarBuilder, inputs: usize, outputs: usize, side: usize) -> Result<[Tensor; 2]> {
    let vb = vb.set_dtype(DType::F32);
    let weight = vb.get((outputs, inputs, side, side), "weight")?;
    Ok([weight, vb.get(outputs, "bias")?])
}
