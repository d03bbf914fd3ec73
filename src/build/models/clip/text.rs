//! CLIP's text tower, which is also the text encoder of Stable Diffusion.
//!
//! Tensors have the names that transformers' `CLIPTextModel` gives them.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, VarBuilder, embedding, layer_norm};
use serde::Deserialize;

use super::layers::{Activation, Encoder, LayerSizes, tokens_at};
use super::section;

/// The `eos_token_id` of early configuration files, which is no token that ends a text: there the
/// end is where the highest id is.
const LEGACY_END: u32 = 2;

/// A text tower, as the `config.json` of transformers describes it. What a file leaves out is as in
/// ViT-B/32.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Tokens.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width between the two linear layers of a layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Most tokens of a text.
    pub max_position_embeddings: usize,
    /// Between the two linear layers of a layer.
    pub hidden_act: Activation,
    /// Added to variances in layer norms.
    pub layer_norm_eps: f64,
    /// Width of the space that texts and images share.
    pub projection_dim: usize,
    /// The token that ends a text; 2 says that it is the highest id.
    pub eos_token_id: u32,
}

impl Default for TextConfig {
    fn default() -> TextConfig {
        TextConfig {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
            eos_token_id: 49407,
        }
    }
}

impl TextConfig {
    /// From the text of a `config.json`: that of a text encoder, or the `text_config` of a CLIP's.
    ///
    /// # Errors
    /// Text that is not JSON, or a field that is not what it should be.
    pub fn from_json(json: &str) -> serde_json::Result<TextConfig> {
        section(json, "text_config")
    }

    fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: self.hidden_act,
        }
    }
}

/// What the text tower makes of N texts of L tokens, in vectors of width D.
#[derive(Clone, Debug)]
pub struct TextOutput {
    /// The embeddings, then the output of each layer: [N, L, D] each, no layer norm after the last.
    pub hidden_states: Vec<Tensor>,
    /// The last layer's after the final layer norm, [N, L, D].
    pub last: Tensor,
    /// `last` at each text's end token, [N, D].
    pub pooled: Tensor,
}

/// The text tower.
#[derive(Clone, Debug)]
pub struct TextTransformer {
    tokens: Embedding,
    positions: Tensor,
    encoder: Encoder,
    final_norm: LayerNorm,
    end: u32,
    is_causal: bool,
}

impl TextTransformer {
    /// `vb` stands where `embeddings`, `encoder` and `final_layer_norm` are: in published files that
    /// is `text_model`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &TextConfig) -> Result<TextTransformer> {
        let hidden = config.hidden_size;
        let embeddings = vb.pp("embeddings");
        let positions = embeddings.pp("position_embedding");
        let depth = config.num_hidden_layers;
        Ok(TextTransformer {
            tokens: embedding(config.vocab_size, hidden, embeddings.pp("token_embedding"))?,
            positions: positions.get((config.max_position_embeddings, hidden), "weight")?,
            encoder: Encoder::new(vb.pp("encoder"), &config.layer_sizes(), depth)?,
            final_norm: layer_norm(hidden, config.layer_norm_eps, vb.pp("final_layer_norm"))?,
            end: config.eos_token_id,
            is_causal: true,
        })
    }

    /// The same where tokens see those after them too, padding among them, as MobileCLIP's do.
    pub fn bidirectional(self) -> TextTransformer {
        TextTransformer {
            is_causal: false,
            ..self
        }
    }

    /// Tokens [N, L] of U32, with their start and end tokens and padded to one length.
    ///
    /// # Errors
    /// More tokens than positions, an id outside of the vocabulary, or the device's.
    pub fn forward(&self, ids: &Tensor) -> Result<TextOutput> {
        let (_, length) = ids.dims2()?;
        let most = self.positions.dim(0)?;
        if length > most {
            candle_core::bail!("a text of {length} tokens; at most {most} were expected");
        }
        let positions = self.positions.narrow(0, 0, length)?;
        let embedded = self.tokens.forward(ids)?.broadcast_add(&positions)?;
        let mask = match self.is_causal {
            true => Some(causal_mask(length, embedded.dtype(), embedded.device())?),
            false => None,
        };
        let hidden_states = self.encoder.forward(embedded, mask.as_ref())?;
        // There is always one: the embeddings.
        let state = hidden_states.last().unwrap_or(&self.positions);
        let last = self.final_norm.forward(state)?;
        let pooled = tokens_at(&last, &self.ends(ids)?)?;
        Ok(TextOutput {
            hidden_states,
            last,
            pooled,
        })
    }

    /// Where each text ends. It is looked for on the CPU, because the highest of equal numbers is
    /// another one on every device.
    fn ends(&self, ids: &Tensor) -> Result<Vec<u32>> {
        let rows = ids.to_device(&Device::Cpu)?.to_vec2::<u32>()?;
        let end = |row: &Vec<u32>| {
            let highest = row.iter().max();
            let end = if self.end == LEGACY_END {
                highest
            } else {
                Some(&self.end)
            };
            // A text without an end token is taken at its start, as the reference does.
            row.iter().position(|id| Some(id) == end).unwrap_or(0) as u32
        };
        Ok(rows.iter().map(end).collect())
    }
}

/// No token sees the ones after it: [L, L] of zeros and minus infinity, to be added to logits.
fn causal_mask(length: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let later = |index: usize| index % length > index / length;
    let mask = (0..length * length).map(|index| if later(index) { f32::NEG_INFINITY } else { 0. });
    let mask = Tensor::from_iter(mask, device)?;
    mask.reshape((length, length))?.to_dtype(dtype)
}
