//! The transformer layers that CLIP's text and image towers are made of.
//!
//! Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020): layer
//! norms come before attention and before the two linear layers, and each is added to its input.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder, layer_norm, linear};
use serde::Deserialize;

/// The function between the two linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x · sigmoid(1.702 x), of OpenAI's models.
    #[default]
    QuickGelu,
    /// x · Φ(x) with the exact error function, of OpenCLIP's.
    Gelu,
    /// The same by way of tanh, of SigLIP's.
    #[serde(alias = "gelu_new")]
    GeluPytorchTanh,
    /// max(x, 0), of CLIPSeg's decoder.
    Relu,
}

impl Module for Activation {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Activation::QuickGelu => input * candle_nn::ops::sigmoid(&(input * 1.702)?)?,
            Activation::Gelu => input.gelu_erf(),
            Activation::GeluPytorchTanh => input.gelu(),
            Activation::Relu => input.relu(),
        }
    }
}

/// The sizes of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerSizes {
    /// Width of a token's vector.
    pub hidden: usize,
    /// Width between the two linear layers.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Added to variances in layer norms.
    pub eps: f64,
    /// Between the two linear layers.
    pub activation: Activation,
}

/// Multi-head attention of tokens to tokens.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
}

impl SelfAttention {
    /// From `q_proj`, `k_proj`, `v_proj` and `out_proj`, or with the first three in one as PyTorch's
    /// own module has them.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or heads that do not divide the width.
    pub fn new(vb: VarBuilder, hidden: usize, heads: usize) -> Result<SelfAttention> {
        let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
        SelfAttention::named(vb, hidden, heads, names)
    }

    /// The same with the linear layers under other names.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or heads that do not divide the width.
    pub fn named(
        vb: VarBuilder,
        hidden: usize,
        heads: usize,
        names: [&str; 4],
    ) -> Result<SelfAttention> {
        if heads == 0 || !hidden.is_multiple_of(heads) {
            candle_core::bail!("{heads} attention heads do not divide a width of {hidden}");
        }
        let [query, key, value] = if vb.contains_tensor("in_proj_weight") {
            let weights = vb.get((3 * hidden, hidden), "in_proj_weight")?;
            let biases = vb.get(3 * hidden, "in_proj_bias")?;
            let part = |index: usize| -> Result<Linear> {
                let weight = weights.narrow(0, index * hidden, hidden)?;
                let bias = biases.narrow(0, index * hidden, hidden)?;
                Ok(Linear::new(weight, Some(bias)))
            };
            [part(0)?, part(1)?, part(2)?]
        } else {
            let part = |index: usize| linear(hidden, hidden, vb.pp(names[index]));
            [part(0)?, part(1)?, part(2)?]
        };
        Ok(SelfAttention {
            query,
            key,
            value,
            out: linear(hidden, hidden, vb.pp(names[3]))?,
            heads,
        })
    }

    /// [N, L, D] to the same, `mask` [L, L] being added to the logits.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, input: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, length, hidden) = input.dims3()?;
        let width = hidden / self.heads;
        let split = |projected: Tensor| {
            let heads = projected.reshape((batch, length, self.heads, width))?;
            heads.transpose(1, 2)?.contiguous()
        };
        let query = split((self.query.forward(input)? * (width as f64).powf(-0.5))?)?;
        let key = split(self.key.forward(input)?)?;
        let value = split(self.value.forward(input)?)?;
        let mut logits = query.matmul(&key.t()?)?;
        if let Some(mask) = mask {
            logits = logits.broadcast_add(mask)?;
        }
        // The sum over many tokens needs more than half precision.
        let shares = candle_nn::ops::softmax_last_dim(&logits.to_dtype(DType::F32)?)?;
        let mixed = shares.to_dtype(input.dtype())?.matmul(&value)?;
        let joined = mixed.transpose(1, 2)?.reshape((batch, length, hidden))?;
        self.out.forward(&joined)
    }
}

/// Two linear layers with a function between.
#[derive(Clone, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Mlp {
    /// From `fc1` and `fc2`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, sizes: &LayerSizes) -> Result<Mlp> {
        Ok(Mlp {
            first: linear(sizes.hidden, sizes.intermediate, vb.pp("fc1"))?,
            second: linear(sizes.intermediate, sizes.hidden, vb.pp("fc2"))?,
            activation: sizes.activation,
        })
    }
}

impl Module for Mlp {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let inner = self.activation.forward(&self.first.forward(input)?)?;
        self.second.forward(&inner)
    }
}

/// Attention and two linear layers.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    attention: SelfAttention,
    before_attention: LayerNorm,
    mlp: Mlp,
    before_mlp: LayerNorm,
}

impl EncoderLayer {
    /// From `self_attn`, `layer_norm1`, `mlp` and `layer_norm2`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, sizes: &LayerSizes) -> Result<EncoderLayer> {
        let (hidden, eps) = (sizes.hidden, sizes.eps);
        Ok(EncoderLayer {
            attention: SelfAttention::new(vb.pp("self_attn"), hidden, sizes.heads)?,
            before_attention: layer_norm(hidden, eps, vb.pp("layer_norm1"))?,
            mlp: Mlp::new(vb.pp("mlp"), sizes)?,
            before_mlp: layer_norm(hidden, eps, vb.pp("layer_norm2"))?,
        })
    }

    /// [N, L, D] to the same.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, input: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let normed = self.before_attention.forward(input)?;
        let attended = (self.attention.forward(&normed, mask)? + input)?;
        let normed = self.before_mlp.forward(&attended)?;
        attended + self.mlp.forward(&normed)?
    }
}

/// Layers in a row.
#[derive(Clone, Debug)]
pub struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// From `layers.0`, `layers.1`, ….
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, sizes: &LayerSizes, depth: usize) -> Result<Encoder> {
        let layer = |index: usize| EncoderLayer::new(vb.pp(format!("layers.{index}")), sizes);
        Ok(Encoder {
            layers: (0..depth).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The input [N, L, D], then what each layer makes of it.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, input: Tensor, mask: Option<&Tensor>) -> Result<Vec<Tensor>> {
        self.forward_through(self.layers.len(), input, mask)
    }

    /// The same of the first `depth` layers alone.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward_through(
        &self,
        depth: usize,
        input: Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Vec<Tensor>> {
        let mut states = Vec::with_capacity(depth + 1);
        let mut state = input;
        for layer in self.layers.iter().take(depth) {
            let next = layer.forward(&state, mask)?;
            states.push(std::mem::replace(&mut state, next));
        }
        states.push(state);
        Ok(states)
    }
}

/// The vectors of tokens at one place each, [N, L, D] and N places to [N, D].
///
/// # Errors
/// A place outside of the tokens.
pub(crate) fn tokens_at(states: &Tensor, places: &[u32]) -> Result<Tensor> {
    let (batch, length, _) = states.dims3()?;
    let rows = places.iter().enumerate();
    let rows: Vec<u32> = rows
        .map(|(row, &place)| (row * length) as u32 + place)
        .collect();
    if rows.len() != batch || places.iter().any(|&place| place as usize >= length) {
        candle_core::bail!("places {places:?} in {batch} rows of {length} tokens");
    }
    let rows = Tensor::new(rows, states.device())?;
    states.flatten_to(1)?.index_select(&rows, 0)
}

/// Rows of length one, in 32-bit floats.
///
/// # Errors
/// Candle's.
pub(crate) fn unit_rows(vectors: &Tensor) -> Result<Tensor> {
    let vectors = vectors.to_dtype(DType::F32)?;
    let lengths = vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    // A row of zeros stays one.
    vectors.broadcast_div(&lengths.maximum(f32::MIN_POSITIVE)?)
}
