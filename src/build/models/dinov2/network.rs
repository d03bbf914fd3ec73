//! DINOv2's network: a transformer of patches whose branches are scaled before they are added.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, VarBuilder, conv2d, layer_norm};
use serde::Deserialize;

use crate::build::models::clip::layers::{Activation, LayerSizes, Mlp, SelfAttention};
use crate::build::models::positions;

/// The network, as the `config.json` of transformers describes it. What a file leaves out is as in
/// dinov2-base.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Dinov2Config {
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Width between the two linear layers of a layer, in widths of a token.
    pub mlp_ratio: usize,
    /// Between the two linear layers of a layer.
    pub hidden_act: Activation,
    /// Added to variances in layer norms.
    pub layer_norm_eps: f64,
    /// Side of the images that positions were learnt for, in pixels.
    pub image_size: usize,
    /// Side of the squares that become tokens, in pixels.
    pub patch_size: usize,
    /// Whether gates stand in for the two linear layers.
    pub use_swiglu_ffn: bool,
}

impl Default for Dinov2Config {
    fn default() -> Dinov2Config {
        Dinov2Config {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            image_size: 518,
            patch_size: 14,
            use_swiglu_ffn: false,
        }
    }
}

impl Dinov2Config {
    /// The sizes of a file, by its tensors' shapes in either layout. What they do not say is as in
    /// dinov2-base.
    pub(super) fn of<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>) -> Dinov2Config {
        let mut config = Dinov2Config::default();
        if let Some(&[width]) = shape("layernorm.weight").or_else(|| shape("norm.weight")) {
            config.hidden_size = width;
            config.num_attention_heads = width / 64;
        }
        let is_there = |layer: &usize| {
            let names = ["encoder.layer", "blocks"];
            names
                .iter()
                .any(|name| shape(&format!("{name}.{layer}.norm1.weight")).is_some())
        };
        config.num_hidden_layers = (0..).take_while(is_there).count();
        config
    }

    fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            hidden: self.hidden_size,
            intermediate: self.hidden_size.saturating_mul(self.mlp_ratio),
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: self.hidden_act,
        }
    }
}

/// DINOv2.
#[derive(Clone, Debug)]
pub struct Dinov2Network {
    class: Tensor,
    patches: Conv2d,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

impl Dinov2Network {
    /// From tensors with the names of transformers' published files.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or sizes of images and patches that do not
    /// go together.
    pub fn new(vb: VarBuilder, config: &Dinov2Config) -> Result<Dinov2Network> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let tokens = positions::tokens(config.image_size, patch)?;
        let stride = Conv2dConfig {
            stride: patch,
            ..Conv2dConfig::default()
        };
        let embeddings = vb.pp("embeddings");
        let positions = embeddings.get((1, tokens, hidden), "position_embeddings")?;
        let projection = embeddings.pp("patch_embeddings.projection");
        let sizes = config.layer_sizes();
        let layer = |index: usize| Layer::new(vb.pp(format!("encoder.layer.{index}")), &sizes);
        Ok(Dinov2Network {
            class: embeddings.get((1, 1, hidden), "cls_token")?,
            patches: conv2d(3, hidden, patch, stride, projection)?,
            positions: positions.squeeze(0)?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            norm: layer_norm(hidden, config.layer_norm_eps, vb.pp("layernorm"))?,
        })
    }

    /// From tensors with the names of the authors' files.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or sizes of images and patches that do not
    /// go together.
    pub fn from_authors(vb: VarBuilder<'static>, config: &Dinov2Config) -> Result<Dinov2Network> {
        Dinov2Network::new(vb.rename_f(authors_name), config)
    }

    /// Images [N, 3, H, W] to the class token after the last layer norm, [N, D]. Positions are
    /// interpolated for other sizes than the network's own.
    ///
    /// # Errors
    /// Images smaller than a patch, or the device's.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        positions::expect_room(images, self.patches.config().stride)?;
        let patches = self.patches.forward(images)?;
        let (batch, hidden, rows, columns) = patches.dims4()?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?;
        let class = self.class.broadcast_as((batch, 1, hidden))?;
        let tokens = Tensor::cat(&[&class, &patches], 1)?;
        let positions = positions::interpolate(&self.positions, rows, columns)?;
        let mut tokens = tokens.broadcast_add(&positions)?;
        for layer in &self.layers {
            tokens = layer.forward(&tokens)?;
        }
        let class = tokens.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        self.norm.forward(&class)
    }
}

/// The authors' name of a tensor that has this one in transformers. Queries, keys and values are in
/// one there.
fn authors_name(name: &str) -> String {
    match name {
        "embeddings.cls_token" => return "cls_token".to_owned(),
        "embeddings.position_embeddings" => return "pos_embed".to_owned(),
        _ => {}
    }
    name.replace(
        "embeddings.patch_embeddings.projection.",
        "patch_embed.proj.",
    )
    .replace("encoder.layer.", "blocks.")
    .replace("attention.in_proj_", "attn.qkv.")
    .replace("attention.output.dense.", "attn.proj.")
    .replace("layer_scale1.lambda1", "ls1.gamma")
    .replace("layer_scale2.lambda1", "ls2.gamma")
    .replace("layernorm.", "norm.")
}

#[derive(Clone, Debug)]
struct Layer {
    before_attention: LayerNorm,
    attention: SelfAttention,
    attention_scale: Tensor,
    before_mlp: LayerNorm,
    mlp: Mlp,
    mlp_scale: Tensor,
}

impl Layer {
    fn new(vb: VarBuilder, sizes: &LayerSizes) -> Result<Layer> {
        let (hidden, eps) = (sizes.hidden, sizes.eps);
        let names = [
            "attention.query",
            "attention.key",
            "attention.value",
            "output.dense",
        ];
        Ok(Layer {
            before_attention: layer_norm(hidden, eps, vb.pp("norm1"))?,
            attention: SelfAttention::named(vb.pp("attention"), hidden, sizes.heads, names)?,
            attention_scale: vb.get(hidden, "layer_scale1.lambda1")?,
            before_mlp: layer_norm(hidden, eps, vb.pp("norm2"))?,
            mlp: Mlp::new(vb.pp("mlp"), sizes)?,
            mlp_scale: vb.get(hidden, "layer_scale2.lambda1")?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let normed = self.before_attention.forward(input)?;
        let branch = self.attention.forward(&normed, None)?;
        let attended = (branch.broadcast_mul(&self.attention_scale)? + input)?;
        let branch = self.mlp.forward(&self.before_mlp.forward(&attended)?)?;
        branch.broadcast_mul(&self.mlp_scale)? + attended
    }
}
