//! What the `config.json` files of a diffusers folder say of the networks.
//!
//! A folder that asks for something that these networks do not do is refused by the field's name,
//! because a network built without it would still load and draw something else.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A number for every level of a network, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same everywhere.
    All(usize),
    /// From the level of full size to the smallest.
    Each(Vec<usize>),
}

impl PerLevel {
    fn at(&self, level: usize) -> Option<usize> {
        match self {
            PerLevel::All(number) => Some(*number),
            PerLevel::Each(numbers) => numbers.get(level).copied(),
        }
    }
}

/// What a block on the way down is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks only.
    DownBlock2D,
    /// Residual blocks, each with a transformer after it.
    CrossAttnDownBlock2D,
}

/// What a block on the way up is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks only.
    UpBlock2D,
    /// Residual blocks, each with a transformer after it.
    CrossAttnUpBlock2D,
}

/// What is added to the embedding of the time step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AdditionEmbedding {
    /// XL: the pooled text, and sizes and crops as sines and cosines.
    #[serde(rename = "text_time")]
    TextTime,
}

/// `unet/config.json`. Defaults are those of diffusers' `UNet2DConditionModel`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UNetConfig {
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of what is predicted.
    pub out_channels: usize,
    /// Height and width of the latents that it was trained on.
    pub sample_size: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Blocks on the way down.
    pub down_block_types: Vec<DownBlockType>,
    /// Blocks on the way up, the smallest first.
    pub up_block_types: Vec<UpBlockType>,
    /// Residual blocks of a level on the way down; there is one more on the way up.
    #[serde(default = "two")]
    pub layers_per_block: usize,
    /// Attention heads: the field's name is an old mistake of diffusers.
    pub attention_head_dim: PerLevel,
    /// Transformer blocks after each residual block.
    #[serde(default = "one")]
    pub transformer_layers_per_block: PerLevel,
    /// Width of the text's vectors.
    pub cross_attention_dim: usize,
    /// Linear layers around transformers instead of 1×1 convolutions.
    #[serde(default)]
    pub use_linear_projection: bool,
    /// Whether attention's logits are computed in F32 whatever the network's precision.
    #[serde(default)]
    pub upcast_attention: Option<bool>,
    /// Groups of group norms.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// Added to variances in the residual blocks' group norms.
    #[serde(default = "small")]
    pub norm_eps: f64,
    /// Cosines before sines in the embedding of the time step.
    #[serde(default = "yes")]
    pub flip_sin_to_cos: bool,
    /// Shifts the frequencies of that embedding.
    #[serde(default)]
    pub freq_shift: f64,
    /// XL's added conditioning.
    #[serde(default)]
    pub addition_embed_type: Option<AdditionEmbedding>,
    /// Width of the sines and cosines of each size and crop.
    #[serde(default)]
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the pooled text and all sines and cosines together.
    #[serde(default)]
    pub projection_class_embeddings_input_dim: Option<usize>,
}

fn one() -> PerLevel {
    PerLevel::All(1)
}

fn two() -> usize {
    2
}

fn thirty_two() -> usize {
    32
}

fn small() -> f64 {
    1e-5
}

fn yes() -> bool {
    true
}

/// One level of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Channels.
    pub channels: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks after each residual block.
    pub depth: usize,
}

impl UNetConfig {
    /// From the text of `unet/config.json`.
    ///
    /// # Errors
    /// The field that is missing, malformed, or asks for what is not done here.
    pub fn from_json(json: &str) -> Result<UNetConfig, String> {
        let config: UNetConfig = parse(json, &unet_fields())?;
        config.check()?;
        Ok(config)
    }

    /// The level's sizes; `None` beyond the last level.
    pub(super) fn level(&self, level: usize) -> Option<Level> {
        Some(Level {
            channels: *self.block_out_channels.get(level)?,
            heads: self.attention_head_dim.at(level)?,
            depth: self.transformer_layers_per_block.at(level)?,
        })
    }

    fn check(&self) -> Result<(), String> {
        let levels = self.block_out_channels.len();
        if levels == 0
            || self.down_block_types.len() != levels
            || self.up_block_types.len() != levels
        {
            return Err(format!(
                "block_out_channels, down_block_types and up_block_types have {levels}, {} and {} \
                 entries; as many of each were expected",
                self.down_block_types.len(),
                self.up_block_types.len()
            ));
        }
        self.check_sizes()?;
        for level in 0..levels {
            let sizes = self.level(level).ok_or_else(|| {
                format!(
                    "attention_head_dim or transformer_layers_per_block has no entry for level \
                     {level} of {levels}"
                )
            })?;
            divides("attention_head_dim", sizes.heads, sizes.channels)?;
            divides("norm_num_groups", self.norm_num_groups, sizes.channels)?;
        }
        self.check_added()
    }

    fn check_sizes(&self) -> Result<(), String> {
        in_range("sample_size", self.sample_size, MOST_LATENTS)?;
        in_range("layers_per_block", self.layers_per_block, MOST_LAYERS)?;
        in_range("in_channels", self.in_channels, MOST_CHANNELS)?;
        in_range("out_channels", self.out_channels, MOST_CHANNELS)?;
        in_range(
            "cross_attention_dim",
            self.cross_attention_dim,
            MOST_CHANNELS,
        )?;
        for &channels in &self.block_out_channels {
            in_range("block_out_channels", channels, MOST_CHANNELS)?;
        }
        Ok(())
    }

    /// XL's conditioning has a pooled text beside six sizes and crops.
    fn check_added(&self) -> Result<(), String> {
        let added = (
            self.addition_time_embed_dim,
            self.projection_class_embeddings_input_dim,
        );
        if self.addition_embed_type.is_some() && !matches!(added, (Some(_), Some(_))) {
            return Err(
                "addition_embed_type is text_time without addition_time_embed_dim and \
                 projection_class_embeddings_input_dim"
                    .to_owned(),
            );
        }
        let (Some(each), together) = added else {
            return Ok(());
        };
        in_range("addition_time_embed_dim", each, MOST_CHANNELS)?;
        match together {
            Some(together) if together <= 6 * each => Err(format!(
                "projection_class_embeddings_input_dim is {together}; more than {} was expected, \
                 six times addition_time_embed_dim",
                6 * each
            )),
            _ => Ok(()),
        }
    }
}

/// Larger latents than any network's.
const MOST_LATENTS: usize = 4096;

/// More residual blocks in a level than any network's.
const MOST_LAYERS: usize = 16;

/// More channels than any network's.
const MOST_CHANNELS: usize = 65536;

fn in_range(field: &str, value: usize, most: usize) -> Result<(), String> {
    if !(1..=most).contains(&value) {
        return Err(format!("{field} is {value}; 1 to {most} was expected"));
    }
    Ok(())
}

/// The fields that must be as they are in Stable Diffusion, where they are there at all.
fn unet_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("act_fn", json!("silu")),
        ("attention_type", json!("default")),
        ("center_input_sample", json!(false)),
        ("class_embed_type", Value::Null),
        ("class_embeddings_concat", json!(false)),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("cross_attention_norm", Value::Null),
        ("downsample_padding", json!(1)),
        ("dual_cross_attention", json!(false)),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("mid_block_only_cross_attention", json!(false)),
        ("mid_block_scale_factor", json!(1)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("num_attention_heads", Value::Null),
        ("num_class_embeds", Value::Null),
        ("only_cross_attention", json!(false)),
        ("resnet_out_scale_factor", json!(1)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_time_scale_shift", json!("default")),
        ("reverse_transformer_layers_per_block", Value::Null),
        ("time_cond_proj_dim", Value::Null),
        ("time_embedding_act_fn", Value::Null),
        ("time_embedding_dim", Value::Null),
        ("time_embedding_type", json!("positional")),
        ("timestep_post_act", Value::Null),
    ]
}

/// `vae/config.json`. Defaults are those of diffusers' `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VaeConfig {
    /// Channels of images.
    pub out_channels: usize,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Channels of each level, that of full size first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of group norms.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// What latents were multiplied with: 0.18215, or XL's 0.13025.
    #[serde(default = "first_scaling")]
    pub scaling_factor: f64,
    /// Whether a 1×1 convolution goes before the decoder.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
}

fn first_scaling() -> f64 {
    0.18215
}

impl VaeConfig {
    /// From the text of `vae/config.json`.
    ///
    /// # Errors
    /// The field that is missing, malformed, or asks for what is not done here.
    pub fn from_json(json: &str) -> Result<VaeConfig, String> {
        let fields = [
            ("act_fn", json!("silu")),
            ("latents_mean", Value::Null),
            ("latents_std", Value::Null),
            ("mid_block_add_attention", json!(true)),
            ("out_channels", json!(3)),
            ("shift_factor", Value::Null),
        ];
        let config: VaeConfig = parse(json, &fields)?;
        if config.block_out_channels.is_empty() || config.block_out_channels.len() > 8 {
            return Err(format!(
                "block_out_channels has {} entries; 1 to 8 were expected",
                config.block_out_channels.len()
            ));
        }
        in_range("latent_channels", config.latent_channels, MOST_CHANNELS)?;
        in_range("layers_per_block", config.layers_per_block, MOST_LAYERS)?;
        for &channels in &config.block_out_channels {
            in_range("block_out_channels", channels, MOST_CHANNELS)?;
            divides("norm_num_groups", config.norm_num_groups, channels)?;
        }
        if !(config.scaling_factor.is_finite() && config.scaling_factor > 0.0) {
            return Err(format!(
                "scaling_factor is {}; a number above 0 was expected",
                config.scaling_factor
            ));
        }
        Ok(config)
    }

    /// Pixels of an image along a side for each of its latents.
    pub fn pixels_per_latent(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }
}

fn divides(field: &str, divisor: usize, channels: usize) -> Result<(), String> {
    if divisor == 0 || channels == 0 || !channels.is_multiple_of(divisor) {
        return Err(format!(
            "{field} is {divisor}, which does not divide {channels} channels"
        ));
    }
    Ok(())
}

/// Reads a configuration and refuses `fields` of other values; null and absent are no values.
pub(super) fn parse<T: DeserializeOwned>(
    json: &str,
    fields: &[(&str, Value)],
) -> Result<T, String> {
    let map: Map<String, Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    for (field, expected) in fields {
        let found = map.get(*field).unwrap_or(&Value::Null);
        // 1 and 1.0 are the same number, and false in every level is false.
        let same = |found: &Value| {
            found == expected
                || found
                    .as_f64()
                    .is_some_and(|number| Some(number) == expected.as_f64())
        };
        let each = found.as_array().is_some_and(|found| found.iter().all(same));
        if !(found.is_null() || same(found) || each) {
            return Err(format!("{field} is {found}; only {expected} is known"));
        }
    }
    serde_path_to_error::deserialize(Value::Object(map)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unet() -> Value {
        json!({
            "in_channels": 4, "out_channels": 4, "sample_size": 64,
            "block_out_channels": [32, 64],
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "attention_head_dim": [2, 4], "cross_attention_dim": 16,
            "mid_block_scale_factor": 1.0, "only_cross_attention": [false, false],
            "upcast_attention": null,
        })
    }

    fn with(field: &str, value: Value) -> String {
        let mut json = unet();
        json[field] = value;
        json.to_string()
    }

    fn refused(field: &str, value: Value) -> String {
        UNetConfig::from_json(&with(field, value)).unwrap_err()
    }

    #[test]
    fn fields_that_ask_for_something_else_are_refused_by_name() {
        assert!(UNetConfig::from_json(&unet().to_string()).is_ok());
        let message = refused("class_embed_type", json!("timestep"));
        assert_eq!(
            message,
            "class_embed_type is \"timestep\"; only null is known"
        );
        assert!(refused("mid_block_scale_factor", json!(1.5)).contains("only 1 is known"));
        assert!(
            refused(
                "down_block_types",
                json!(["DownBlock2D", "AttnDownBlock2D"])
            )
            .contains("AttnDownBlock2D")
        );
        assert!(refused("down_block_types", json!(["DownBlock2D"])).contains("2, 1 and 2 entries"));
        assert!(refused("attention_head_dim", json!([2])).contains("no entry for level 1"));
        assert!(refused("attention_head_dim", json!(0)).contains("does not divide"));
        assert!(refused("attention_head_dim", json!(3)).contains("does not divide 32"));
        assert!(refused("norm_num_groups", json!(0)).contains("norm_num_groups is 0"));
        assert!(refused("addition_embed_type", json!("text_time")).contains("without"));
        assert!(refused("in_channels", json!(-1)).contains("in_channels"));
    }

    #[test]
    fn sizes_beyond_any_network_are_refused() {
        for (field, value, expected) in [
            ("layers_per_block", json!(0), "is 0; 1 to 16 was expected"),
            ("layers_per_block", json!(17), "is 17; 1 to 16 was"),
            ("in_channels", json!(0), "is 0; 1 to 65536 was expected"),
            ("out_channels", json!(65537), "is 65537; 1 to 65536 was"),
            ("cross_attention_dim", json!(u64::MAX), "1 to 65536 was"),
            ("block_out_channels", json!([32, 65568]), "is 65568; 1 to"),
            ("sample_size", json!(4097), "is 4097; 1 to 4096 was"),
            ("addition_time_embed_dim", json!(65537), "is 65537; 1 to"),
        ] {
            let message = refused(field, value);
            assert!(message.starts_with(field), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        assert!(UNetConfig::from_json(&with("layers_per_block", json!(16))).is_ok());
    }

    #[test]
    fn there_is_room_for_a_pooled_text_beside_the_sizes() {
        let added = |together: usize| {
            let mut json = unet();
            json["addition_embed_type"] = json!("text_time");
            json["addition_time_embed_dim"] = json!(256);
            json["projection_class_embeddings_input_dim"] = json!(together);
            UNetConfig::from_json(&json.to_string())
        };
        assert!(added(2816).is_ok());
        assert_eq!(
            added(1536).unwrap_err(),
            "projection_class_embeddings_input_dim is 1536; more than 1536 was expected, six times \
             addition_time_embed_dim"
        );
    }

    fn vae() -> Value {
        json!({
            "out_channels": 3, "latent_channels": 4, "block_out_channels": [32, 64, 64],
            "layers_per_block": 2, "scaling_factor": 0.13025,
        })
    }

    #[test]
    fn a_decoder_of_sizes_beyond_any_is_refused() {
        for (field, value, expected) in [
            ("layers_per_block", json!(0), "is 0; 1 to 16 was expected"),
            ("layers_per_block", json!(17), "is 17; 1 to 16 was"),
            ("latent_channels", json!(0), "is 0; 1 to 65536 was"),
            ("block_out_channels", json!([65568]), "is 65568; 1 to 65536"),
        ] {
            let mut json = vae();
            json[field] = value;
            let message = VaeConfig::from_json(&json.to_string()).unwrap_err();
            assert!(message.starts_with(field), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_decoder_has_no_shift_and_a_real_scale() {
        let json = vae();
        let config = VaeConfig::from_json(&json.to_string()).unwrap();
        assert_eq!(config.pixels_per_latent(), 4);
        let refused = |field: &str, value: Value| {
            let mut json = json.clone();
            json[field] = value;
            VaeConfig::from_json(&json.to_string()).unwrap_err()
        };
        assert!(refused("shift_factor", json!(0.1)).contains("shift_factor is 0.1"));
        assert!(refused("scaling_factor", json!(0)).contains("above 0"));
        assert!(refused("block_out_channels", json!([])).contains("0 entries"));
    }
}
