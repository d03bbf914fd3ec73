//! CLIPSeg's network: CLIP's towers, a decoder of the image tower's hidden states, and the prompt's
//! vector that scales and shifts what the decoder sees.

use candle_core::{Module, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, LayerNorm, Linear, VarBuilder,
    conv_transpose2d, conv2d, layer_norm, linear,
};
use serde::Deserialize;

use crate::build::models::clip::TextNetwork;
use crate::build::models::clip::layers::{Activation, LayerSizes, Mlp, SelfAttention};
use crate::build::models::clip::text::TextConfig;
use crate::build::models::clip::vision::{VisionConfig, VisionTransformer};

/// The decoder, as the `config.json` of transformers describes it. What a file leaves out is as in
/// rd64-refined, but for the convolution, which is then the simple one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct DecoderConfig {
    /// The image tower's layers, from 0, whose outputs are decoded, from first to last.
    pub extract_layers: Vec<usize>,
    /// Width of the decoder's tokens.
    pub reduce_dim: usize,
    /// Attention heads of the decoder's layers.
    pub decoder_num_attention_heads: usize,
    /// Width between the two linear layers of the decoder's layers.
    pub decoder_intermediate_size: usize,
    /// The decoder's layer, from 0, before which the prompt comes in.
    pub conditional_layer: usize,
    /// Whether three convolutions make pixels of tokens and not one.
    pub use_complex_transposed_convolution: bool,
}

impl Default for DecoderConfig {
    fn default() -> DecoderConfig {
        DecoderConfig {
            extract_layers: vec![3, 6, 9],
            reduce_dim: 64,
            decoder_num_attention_heads: 4,
            decoder_intermediate_size: 2048,
            conditional_layer: 0,
            use_complex_transposed_convolution: false,
        }
    }
}

/// All of CLIPSeg's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipSegConfig {
    /// The text tower.
    pub text: TextConfig,
    /// The image tower.
    pub vision: VisionConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
}

impl ClipSegConfig {
    /// rd64, or rd64-refined.
    pub fn rd64(is_refined: bool) -> ClipSegConfig {
        ClipSegConfig {
            text: TextConfig::default(),
            vision: VisionConfig {
                patch_size: 16,
                ..VisionConfig::default()
            },
            decoder: DecoderConfig {
                use_complex_transposed_convolution: is_refined,
                ..DecoderConfig::default()
            },
        }
    }

    /// From the text of a `config.json`.
    ///
    /// # Errors
    /// Text that is not JSON, or a field that is not what it should be.
    pub fn from_json(json: &str) -> serde_json::Result<ClipSegConfig> {
        Ok(ClipSegConfig {
            text: TextConfig::from_json(json)?,
            vision: VisionConfig::from_json(json)?,
            decoder: serde_json::from_str(json)?,
        })
    }
}

/// CLIPSeg.
#[derive(Clone, Debug)]
pub struct ClipSegNetwork {
    text: TextNetwork,
    vision: VisionTransformer,
    taps: Vec<usize>,
    decoder: Decoder,
}

impl ClipSegNetwork {
    /// From `clip` and `decoder`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &ClipSegConfig) -> Result<ClipSegNetwork> {
        let clip = vb.pp("clip");
        let depth = config.vision.num_hidden_layers;
        let taps = &config.decoder.extract_layers;
        if taps.is_empty() || taps.iter().any(|&layer| layer >= depth) {
            candle_core::bail!("extract_layers {taps:?} of an image tower of {depth} layers");
        }
        Ok(ClipSegNetwork {
            text: TextNetwork::new(clip.clone(), &config.text)?,
            vision: VisionTransformer::new(clip.pp("vision_model"), &config.vision)?,
            taps: taps.clone(),
            decoder: Decoder::new(vb.pp("decoder"), config)?,
        })
    }

    /// The vectors of prompts, tokens [N, L] of U32 to [N, projection].
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn prompts(&self, ids: &Tensor) -> Result<Tensor> {
        self.text.forward(ids)
    }

    /// Images [N, 3, H, W] and a prompt's vector for each, [N, projection], to logits [N, H, W];
    /// H and W are multiples of the patch.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, images: &Tensor, prompts: &Tensor) -> Result<Tensor> {
        let deepest = self.taps.iter().max().map_or(0, |&layer| layer + 1);
        // The first of the states is what goes into the first layer.
        let states = self.vision.hidden_states(images, deepest)?;
        let tapped: Vec<&Tensor> = self.taps.iter().map(|&layer| &states[layer + 1]).collect();
        let (_, _, height, width) = images.dims4()?;
        self.decoder.forward(&tapped, prompts, height, width)
    }
}

#[derive(Clone, Debug)]
struct Decoder {
    scale: Linear,
    shift: Linear,
    conditional_layer: usize,
    reduces: Vec<Linear>,
    layers: Vec<DecoderLayer>,
    patch: usize,
    pixels: Pixels,
}

impl Decoder {
    fn new(vb: VarBuilder, config: &ClipSegConfig) -> Result<Decoder> {
        let width = config.decoder.reduce_dim;
        let (hidden, shared) = (config.vision.hidden_size, config.vision.projection_dim);
        let sizes = LayerSizes {
            hidden: width,
            intermediate: config.decoder.decoder_intermediate_size,
            heads: config.decoder.decoder_num_attention_heads,
            eps: config.vision.layer_norm_eps,
            activation: Activation::Relu,
        };
        let depth = config.decoder.extract_layers.len();
        let reduce = |index: usize| linear(hidden, width, vb.pp(format!("reduces.{index}")));
        let layer = |index: usize| DecoderLayer::new(vb.pp(format!("layers.{index}")), &sizes);
        Ok(Decoder {
            scale: linear(shared, width, vb.pp("film_mul"))?,
            shift: linear(shared, width, vb.pp("film_add"))?,
            conditional_layer: config.decoder.conditional_layer,
            reduces: (0..depth).map(reduce).collect::<Result<_>>()?,
            layers: (0..depth).map(layer).collect::<Result<_>>()?,
            patch: config.vision.patch_size,
            pixels: Pixels::new(vb.pp("transposed_convolution"), config)?,
        })
    }

    /// From the deepest state to the first, each added to what was made of those before it.
    fn forward(
        &self,
        tapped: &[&Tensor],
        prompts: &Tensor,
        height: usize,
        width: usize,
    ) -> Result<Tensor> {
        let mut decoded: Option<Tensor> = None;
        let layers = self.reduces.iter().zip(&self.layers).enumerate();
        for ((index, (reduce, layer)), state) in layers.zip(tapped.iter().rev()) {
            let mut tokens = reduce.forward(state)?;
            if let Some(decoded) = &decoded {
                tokens = (tokens + decoded)?;
            }
            if index == self.conditional_layer {
                let scale = self.scale.forward(prompts)?.unsqueeze(1)?;
                let shift = self.shift.forward(prompts)?.unsqueeze(1)?;
                tokens = tokens.broadcast_mul(&scale)?.broadcast_add(&shift)?;
            }
            decoded = Some(layer.forward(&tokens)?);
        }
        let Some(decoded) = decoded else {
            candle_core::bail!("a decoder without layers");
        };
        let (batch, tokens, channels) = decoded.dims3()?;
        let (rows, columns) = (height / self.patch, width / self.patch);
        let patches = decoded.narrow(1, 1, tokens - 1)?.transpose(1, 2)?;
        let map = patches.reshape((batch, channels, rows, columns))?;
        self.pixels.forward(&map)?.squeeze(1)
    }
}

/// A transformer's layer with layer norms after the sums, as they first were.
#[derive(Clone, Debug)]
struct DecoderLayer {
    attention: SelfAttention,
    after_attention: LayerNorm,
    mlp: Mlp,
    after_mlp: LayerNorm,
}

impl DecoderLayer {
    fn new(vb: VarBuilder, sizes: &LayerSizes) -> Result<DecoderLayer> {
        let (hidden, eps) = (sizes.hidden, sizes.eps);
        Ok(DecoderLayer {
            attention: SelfAttention::new(vb.pp("self_attn"), hidden, sizes.heads)?,
            after_attention: layer_norm(hidden, eps, vb.pp("layer_norm1"))?,
            mlp: Mlp::new(vb.pp("mlp"), sizes)?,
            after_mlp: layer_norm(hidden, eps, vb.pp("layer_norm2"))?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let attended = (self.attention.forward(input, None)? + input)?;
        let attended = self.after_attention.forward(&attended)?;
        let sum = (self.mlp.forward(&attended)? + &attended)?;
        self.after_mlp.forward(&sum)
    }
}

/// Makes a patch's pixels of its token.
#[derive(Clone, Debug)]
enum Pixels {
    /// rd64: at once.
    Simple(ConvTranspose2d),
    /// rd64-refined: with its neighbours, and in two steps.
    Complex(Conv2d, ConvTranspose2d, ConvTranspose2d),
}

impl Pixels {
    fn new(vb: VarBuilder, config: &ClipSegConfig) -> Result<Pixels> {
        let (width, patch) = (config.decoder.reduce_dim, config.vision.patch_size);
        let enlarge = |from: usize, to: usize, by: usize, vb: VarBuilder| {
            let stride = ConvTranspose2dConfig {
                stride: by,
                ..ConvTranspose2dConfig::default()
            };
            conv_transpose2d(from, to, by, stride, vb)
        };
        if !config.decoder.use_complex_transposed_convolution {
            return Ok(Pixels::Simple(enlarge(width, 1, patch, vb)?));
        }
        let padding = Conv2dConfig {
            padding: 1,
            ..Conv2dConfig::default()
        };
        let step = patch / 4;
        Ok(Pixels::Complex(
            conv2d(width, width, 3, padding, vb.pp("0"))?,
            enlarge(width, width / 2, step, vb.pp("2"))?,
            enlarge(width / 2, 1, step, vb.pp("4"))?,
        ))
    }

    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        match self {
            Pixels::Simple(enlarge) => enlarge.forward(map),
            Pixels::Complex(mix, first, second) => {
                let mixed = mix.forward(map)?.relu()?;
                second.forward(&first.forward(&mixed)?.relu()?)
            }
        }
    }
}
