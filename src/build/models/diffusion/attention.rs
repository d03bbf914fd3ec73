//! Attention between the places of an image, and from these to a text.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{
    Conv2d, GroupNorm, LayerNorm, Linear, Module, VarBuilder, layer_norm, linear, linear_no_bias,
};

use super::blocks::{Norm, conv1};

/// Attention's logits are computed for so many queries at a time that there are no more than these.
const MOST_LOGITS: usize = 1 << 28;

/// Names of the queries', keys', values' and the output's layers.
pub(super) type AttentionNames = [&'static str; 4];

/// The names in today's files.
pub(super) const NAMES: AttentionNames = ["to_q", "to_k", "to_v", "to_out.0"];

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionSizes {
    /// Width of what attends.
    pub width: usize,
    /// Width of what is attended to.
    pub context: usize,
    /// Heads.
    pub heads: usize,
    /// Whether queries, keys and values have biases.
    pub bias: bool,
    /// Whether logits are computed in F32 whatever the precision.
    pub upcast: bool,
}

/// Attention of several heads.
#[derive(Debug)]
pub(super) struct Attention {
    queries: Linear,
    keys: Linear,
    values: Linear,
    output: Linear,
    sizes: AttentionSizes,
}

impl Attention {
    pub fn new(vb: VarBuilder, names: AttentionNames, sizes: AttentionSizes) -> Result<Attention> {
        let [queries, keys, values, output] = names;
        let make = if sizes.bias { linear } else { linear_no_bias };
        Ok(Attention {
            queries: make(sizes.width, sizes.width, vb.pp(queries))?,
            keys: make(sizes.context, sizes.width, vb.pp(keys))?,
            values: make(sizes.context, sizes.width, vb.pp(values))?,
            output: linear(sizes.width, sizes.width, vb.pp(output))?,
            sizes,
        })
    }

    /// [N, L, width] attends to [N, K, context], or to itself.
    pub fn forward(&self, xs: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let context = context.unwrap_or(xs);
        let queries = self.split(&self.queries.forward(xs)?)?;
        let keys = self.split(&self.keys.forward(context)?)?;
        let values = self.split(&self.values.forward(context)?)?;
        let logits = queries.dims4()?.0 * self.sizes.heads * keys.dim(2)?;
        let length = queries.dim(2)?;
        let chunk = (MOST_LOGITS / logits.max(1)).clamp(1, length.max(1));
        let mut parts = Vec::new();
        for start in (0..length).step_by(chunk) {
            let queries = queries.narrow(2, start, chunk.min(length - start))?;
            parts.push(self.attend(&queries, &keys, &values)?);
        }
        let attended = Tensor::cat(&parts, 2)?;
        let joined = attended.transpose(1, 2)?.flatten_from(D::Minus2)?;
        self.output.forward(&joined)
    }

    /// [N, L, width] to [N, heads, L, width / heads].
    fn split(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, length, width) = xs.dims3()?;
        let heads = self.sizes.heads;
        let xs = xs.reshape((batch, length, heads, width / heads))?;
        xs.transpose(1, 2)?.contiguous()
    }

    fn attend(&self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
        let scale = 1.0 / (queries.dim(D::Minus1)? as f64).sqrt();
        let upcast = |xs: &Tensor| match self.sizes.upcast {
            true => xs.to_dtype(DType::F32),
            false => Ok(xs.clone()),
        };
        // Scaling first keeps the sums within half precision.
        let queries = (upcast(queries)?.contiguous()? * scale)?;
        let logits = queries.matmul(&upcast(keys)?.t()?)?;
        let weights = softmax_last_dim(&logits)?.to_dtype(values.dtype())?;
        weights.matmul(values)
    }
}

/// Two linear layers with a gated GELU between them. The GELU is the exact one, by the error
/// function.
#[derive(Debug)]
struct FeedForward {
    inner: Linear,
    outer: Linear,
}

impl FeedForward {
    fn new(vb: VarBuilder, width: usize) -> Result<FeedForward> {
        Ok(FeedForward {
            inner: linear(width, 8 * width, vb.pp("net.0.proj"))?,
            outer: linear(4 * width, width, vb.pp("net.2"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let both = self.inner.forward(xs)?;
        let half = both.dim(D::Minus1)? / 2;
        let hidden = both.narrow(D::Minus1, 0, half)?;
        let gate = both.narrow(D::Minus1, half, half)?;
        let hidden = (hidden * gate.contiguous()?.gelu_erf()?)?;
        self.outer.forward(&hidden)
    }
}

/// Attention to itself, attention to the text, a feed-forward layer: each after a layer norm, each
/// added to what came in.
#[derive(Debug)]
struct TransformerBlock {
    norms: [LayerNorm; 3],
    itself: Attention,
    text: Attention,
    feed_forward: FeedForward,
}

impl TransformerBlock {
    fn new(vb: VarBuilder, sizes: AttentionSizes) -> Result<TransformerBlock> {
        let norm = |name: &str| layer_norm(sizes.width, 1e-5, vb.pp(name));
        let itself = AttentionSizes {
            context: sizes.width,
            ..sizes
        };
        Ok(TransformerBlock {
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            itself: Attention::new(vb.pp("attn1"), NAMES, itself)?,
            text: Attention::new(vb.pp("attn2"), NAMES, sizes)?,
            feed_forward: FeedForward::new(vb.pp("ff"), sizes.width)?,
        })
    }

    fn forward(&self, xs: &Tensor, text: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.norms;
        let xs = (self.itself.forward(&first.forward(xs)?, None)? + xs)?;
        let xs = (self.text.forward(&second.forward(&xs)?, Some(text))? + xs)?;
        self.feed_forward.forward(&third.forward(&xs)?)? + xs
    }
}

/// Into a transformer and out of it: 1×1 convolutions, or in Stable Diffusion 2 and XL linear layers.
#[derive(Debug)]
enum Projection {
    Convolution(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(vb: VarBuilder, width: usize, is_linear: bool) -> Result<Projection> {
        Ok(match is_linear {
            true => Projection::Linear(linear(width, width, vb)?),
            false => Projection::Convolution(conv1(width, width, vb)?),
        })
    }
}

/// A transformer over the places of an image.
#[derive(Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    into: Projection,
    blocks: Vec<TransformerBlock>,
    out_of: Projection,
}

impl SpatialTransformer {
    /// `depth` transformer blocks; the group norm's eps is 1e-6 whatever the network's.
    pub fn new(
        vb: VarBuilder,
        sizes: AttentionSizes,
        depth: usize,
        groups: usize,
        is_linear: bool,
    ) -> Result<SpatialTransformer> {
        let norm = Norm { groups, eps: 1e-6 };
        let block = |index| TransformerBlock::new(vb.pp("transformer_blocks").pp(index), sizes);
        Ok(SpatialTransformer {
            norm: norm.layer(sizes.width, vb.pp("norm"))?,
            into: Projection::new(vb.pp("proj_in"), sizes.width, is_linear)?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            out_of: Projection::new(vb.pp("proj_out"), sizes.width, is_linear)?,
        })
    }

    /// [N, C, H, W] with a text [N, L, D].
    pub fn forward(&self, xs: &Tensor, text: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = xs.dims4()?;
        let normed = self.norm.forward(xs)?;
        let mut inner = match &self.into {
            Projection::Convolution(layer) => to_places(&layer.forward(&normed)?)?,
            Projection::Linear(layer) => layer.forward(&to_places(&normed)?)?,
        };
        for block in &self.blocks {
            inner = block.forward(&inner, text)?;
        }
        let inner = match &self.out_of {
            Projection::Convolution(layer) => layer.forward(&to_image(&inner, height, width)?)?,
            Projection::Linear(layer) => to_image(&layer.forward(&inner)?, height, width)?,
        };
        inner + xs
    }
}

/// [N, C, H, W] to [N, H × W, C].
pub(super) fn to_places(xs: &Tensor) -> Result<Tensor> {
    xs.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

/// [N, H × W, C] to [N, C, H, W].
pub(super) fn to_image(xs: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, _, channels) = xs.dims3()?;
    let xs = xs.transpose(1, 2)?.contiguous()?;
    xs.reshape((batch, channels, height, width))
}
