//! The sizes of published CLIPs: from their configuration files, or by name where there is none.

use std::path::Path;

use serde::Deserialize;
use serde::de::{Error, IgnoredAny};

use super::layers::Activation;
use super::text::TextConfig;
use super::vision::VisionConfig;
use crate::build::models::ModelError;
use crate::build::models::preprocess::{OPENAI_MEAN, OPENAI_STD};
use crate::build::weights::{ModelFiles, WeightsError};

/// Names that stand for sizes where a model's folder has no configuration file.
pub const PRESETS: [&str; 5] = [
    "clip-vit-b32",
    "clip-vit-b16",
    "clip-vit-l14",
    "clip-vit-l14-336",
    "openclip",
];

/// Whether a model's name says that it is OpenCLIP's; hyphens do not count.
pub(super) fn is_open_clip(model: &str) -> bool {
    model.replace('-', "").starts_with("openclip")
}

/// Both towers, and the values of the images.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipConfig {
    /// The text tower.
    pub text: TextConfig,
    /// The image tower.
    pub vision: VisionConfig,
    /// Mean of the images' channels, in parts of 255.
    pub mean: [f32; 3],
    /// Standard deviation of the images' channels, in parts of 255.
    pub std: [f32; 3],
}

impl ClipConfig {
    /// By the name of a preset; hyphens do not count.
    pub fn preset(name: &str) -> Option<ClipConfig> {
        let name = name.replace('-', "");
        let is_open_clip = ["openclip", "openclipvitb32"].contains(&name.as_str());
        let (patch_size, image_size, is_large) = match name.as_str() {
            "clipvitb16" => (16, 224, false),
            "clipvitl14" => (14, 224, true),
            "clipvitl14336" => (14, 336, true),
            _ if is_open_clip || name == "clipvitb32" => (32, 224, false),
            _ => return None,
        };
        let mut config = ClipConfig::of(TextConfig::default(), VisionConfig::default());
        config.vision.patch_size = patch_size;
        config.vision.image_size = image_size;
        if is_large {
            config.set_widths(768, 1024, 768);
            config.vision.num_hidden_layers = 24;
        }
        if is_open_clip {
            config.set_activation(Activation::Gelu);
        }
        Some(config)
    }

    /// What the model's folder says: `config.json` of transformers, or `open_clip_config.json`, which
    /// goes first where the model's name begins with `openclip`; else what the model's name says.
    ///
    /// # Errors
    /// [`ModelError`]: a file that is not what it should be, or no file and a name that is no
    /// preset.
    pub fn find(files: &ModelFiles) -> Result<ClipConfig, ModelError> {
        let names = match is_open_clip(files.model()) {
            true => ["open_clip_config.json", "config.json"],
            false => ["config.json", "open_clip_config.json"],
        };
        if let Some(file) = files.find_optional(&names)? {
            return Ok(ClipConfig::read(files.model(), &file)?);
        }
        ClipConfig::preset(files.model()).ok_or_else(|| ModelError::Setting {
            model: files.model().to_owned(),
            problem: format!(
                "config.json was not found; without it one of {} was expected as the model's name",
                PRESETS.join(", ")
            ),
        })
    }

    fn read(model: &str, file: &Path) -> Result<ClipConfig, WeightsError> {
        let error = |problem: String| WeightsError::File {
            model: model.to_owned(),
            file: file.to_owned(),
            problem,
        };
        let json = std::fs::read_to_string(file).map_err(|source| error(source.to_string()))?;
        ClipConfig::from_json(&json).map_err(|source| error(source.to_string()))
    }

    /// From the text of either file.
    ///
    /// # Errors
    /// Text that is not JSON, a field that is not what it should be, or a file that says nothing of
    /// the towers: with the sizes of ViT-B/32 it could be another network.
    pub fn from_json(json: &str) -> serde_json::Result<ClipConfig> {
        let probe: OpenClipFile = serde_json::from_str(json)?;
        if let Some(model) = probe.model_cfg {
            return Ok(model.into_config(probe.preprocess_cfg));
        }
        if probe.text_config.is_none() || probe.vision_config.is_none() {
            return Err(serde_json::Error::custom(
                "there is neither model_cfg, as in open_clip_config.json, nor both text_config and \
                 vision_config, as in transformers' config.json of a CLIP",
            ));
        }
        Ok(ClipConfig::of(
            TextConfig::from_json(json)?,
            VisionConfig::from_json(json)?,
        ))
    }

    fn of(text: TextConfig, vision: VisionConfig) -> ClipConfig {
        ClipConfig {
            text,
            vision,
            mean: OPENAI_MEAN,
            std: OPENAI_STD,
        }
    }

    /// Heads are 64 wide and linear layers four times as wide as tokens, in all of OpenAI's.
    fn set_widths(&mut self, text: usize, vision: usize, projection: usize) {
        self.text.hidden_size = text;
        self.text.num_attention_heads = text / 64;
        self.text.intermediate_size = 4 * text;
        self.text.projection_dim = projection;
        self.vision.hidden_size = vision;
        self.vision.num_attention_heads = vision / 64;
        self.vision.intermediate_size = 4 * vision;
        self.vision.projection_dim = projection;
    }

    fn set_activation(&mut self, activation: Activation) {
        self.text.hidden_act = activation;
        self.vision.hidden_act = activation;
    }
}

/// `open_clip_config.json`, or what tells that it is transformers' `config.json`.
#[derive(Deserialize)]
struct OpenClipFile {
    model_cfg: Option<OpenClipModel>,
    preprocess_cfg: Option<OpenClipPreprocessing>,
    text_config: Option<IgnoredAny>,
    vision_config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OpenClipModel {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
}

#[derive(Deserialize)]
struct OpenClipVision {
    image_size: usize,
    layers: usize,
    width: usize,
    patch_size: usize,
    #[serde(default = "head_width")]
    head_width: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
}

#[derive(Deserialize)]
struct OpenClipText {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
}

#[derive(Deserialize)]
struct OpenClipPreprocessing {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

fn head_width() -> usize {
    64
}

fn mlp_ratio() -> f64 {
    4.
}

impl OpenClipModel {
    fn into_config(self, preprocessing: Option<OpenClipPreprocessing>) -> ClipConfig {
        let (text, vision) = (self.text_cfg, self.vision_cfg);
        let wide = |width: usize, ratio: f64| (width as f64 * ratio) as usize;
        let mut config = ClipConfig::of(TextConfig::default(), VisionConfig::default());
        config.text.vocab_size = text.vocab_size;
        config.text.max_position_embeddings = text.context_length;
        config.text.hidden_size = text.width;
        config.text.intermediate_size = wide(text.width, text.mlp_ratio);
        config.text.num_hidden_layers = text.layers;
        config.text.num_attention_heads = text.heads;
        config.text.projection_dim = self.embed_dim;
        config.vision.hidden_size = vision.width;
        config.vision.intermediate_size = wide(vision.width, vision.mlp_ratio);
        config.vision.num_hidden_layers = vision.layers;
        config.vision.num_attention_heads = vision.width / vision.head_width.max(1);
        config.vision.image_size = vision.image_size;
        config.vision.patch_size = vision.patch_size;
        config.vision.projection_dim = self.embed_dim;
        if !self.quick_gelu {
            config.set_activation(Activation::Gelu);
        }
        if let Some(preprocessing) = preprocessing {
            config.mean = preprocessing.mean.unwrap_or(config.mean);
            config.std = preprocessing.std.unwrap_or(config.std);
        }
        config
    }
}
