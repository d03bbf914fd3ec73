//! CLIP's image tower.
//!
//! Tensors have the names that transformers' `CLIPVisionModel` gives them.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, VarBuilder, conv2d_no_bias, layer_norm};
use serde::Deserialize;

use super::layers::{Activation, Encoder, LayerSizes};
use super::section;
use crate::build::models::positions;

/// An image tower, as the `config.json` of transformers describes it. What a file leaves out is as
/// in ViT-B/32.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width between the two linear layers of a layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Side of the images that positions were learnt for, in pixels.
    pub image_size: usize,
    /// Side of the squares that become tokens, in pixels.
    pub patch_size: usize,
    /// Between the two linear layers of a layer.
    pub hidden_act: Activation,
    /// Added to variances in layer norms.
    pub layer_norm_eps: f64,
    /// Width of the space that texts and images share.
    pub projection_dim: usize,
}

impl Default for VisionConfig {
    fn default() -> VisionConfig {
        VisionConfig {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
        }
    }
}

impl VisionConfig {
    /// From the text of a `config.json`: that of an image encoder, or the `vision_config` of a
    /// CLIP's.
    ///
    /// # Errors
    /// Text that is not JSON, or a field that is not what it should be.
    pub fn from_json(json: &str) -> serde_json::Result<VisionConfig> {
        section(json, "vision_config")
    }

    pub(crate) fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: self.hidden_act,
        }
    }
}

/// What the image tower makes of N images, in L tokens of width D: the class's, then the patches'
/// by rows.
#[derive(Clone, Debug)]
pub struct VisionOutput {
    /// What the first layer is given, then the output of each layer: [N, L, D] each.
    pub hidden_states: Vec<Tensor>,
    /// The class token after the last layer norm, [N, D].
    pub pooled: Tensor,
}

/// The image tower.
#[derive(Clone, Debug)]
pub struct VisionTransformer {
    class: Tensor,
    patches: Conv2d,
    positions: Tensor,
    norm_before: LayerNorm,
    encoder: Encoder,
    norm_after: LayerNorm,
}

impl VisionTransformer {
    /// `vb` stands where `embeddings` and `encoder` are: in published files that is `vision_model`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or sizes of images and patches that do not
    /// go together.
    pub fn new(vb: VarBuilder, config: &VisionConfig) -> Result<VisionTransformer> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let tokens = positions::tokens(config.image_size, patch)?;
        let embeddings = vb.pp("embeddings");
        let stride = Conv2dConfig {
            stride: patch,
            ..Conv2dConfig::default()
        };
        let positions = embeddings.pp("position_embedding");
        let norm = |name: &str| layer_norm(hidden, config.layer_norm_eps, vb.pp(name));
        let depth = config.num_hidden_layers;
        Ok(VisionTransformer {
            class: embeddings.get(hidden, "class_embedding")?,
            patches: conv2d_no_bias(3, hidden, patch, stride, embeddings.pp("patch_embedding"))?,
            positions: positions.get((tokens, hidden), "weight")?,
            // The name is misspelt in every published file.
            norm_before: norm("pre_layrnorm")?,
            encoder: Encoder::new(vb.pp("encoder"), &config.layer_sizes(), depth)?,
            norm_after: norm("post_layernorm")?,
        })
    }

    /// Images [N, 3, H, W] of any size; positions are interpolated for other sizes than the
    /// network's own.
    ///
    /// # Errors
    /// Images smaller than a patch, or the device's.
    pub fn forward(&self, images: &Tensor) -> Result<VisionOutput> {
        let embedded = self.embed(images)?;
        let hidden_states = self.encoder.forward(embedded.clone(), None)?;
        // There is always one: the embeddings.
        let last = hidden_states.last().unwrap_or(&embedded);
        let class = last.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        let pooled = self.norm_after.forward(&class)?;
        Ok(VisionOutput {
            hidden_states,
            pooled,
        })
    }

    /// What the first layer is given, then the output of each of the first `depth` layers.
    ///
    /// # Errors
    /// Images smaller than a patch, or the device's.
    pub fn hidden_states(&self, images: &Tensor, depth: usize) -> Result<Vec<Tensor>> {
        let embedded = self.embed(images)?;
        self.encoder.forward_through(depth, embedded, None)
    }

    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        positions::expect_room(images, self.patches.config().stride)?;
        let patches = self.patches.forward(images)?;
        let (batch, hidden, rows, columns) = patches.dims4()?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?;
        let class = self.class.broadcast_as((batch, 1, hidden))?;
        let tokens = Tensor::cat(&[&class, &patches], 1)?;
        let positions = positions::interpolate(&self.positions, rows, columns)?;
        self.norm_before.forward(&tokens.broadcast_add(&positions)?)
    }
}
