//! Texts as the UNet is shown them: one CLIP text encoder, or XL's two.

use std::sync::Once;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear_no_bias};
use serde_json::{Map, Value};

use crate::build::device::Compute;
use crate::build::models::ModelError;
use crate::build::models::clip::text::{TextConfig, TextTransformer};
use crate::build::tokenizer::{CONTEXT, ClipTokenizer};
use crate::build::weights::{ModelFiles, Weights};

use super::files::{json_at, json_of, weights};

/// What the UNet is shown of N texts.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// A vector for each token, [N, L, D].
    pub texts: Tensor,
    /// XL: one vector for the whole text, [N, P].
    pub pooled: Option<Tensor>,
}

impl Conditioning {
    /// These and then those.
    pub(super) fn then(&self, others: &Conditioning) -> Result<Conditioning> {
        let pooled = match (&self.pooled, &others.pooled) {
            (Some(these), Some(those)) => Some(Tensor::cat(&[these, those], 0)?),
            _ => None,
        };
        Ok(Conditioning {
            texts: Tensor::cat(&[&self.texts, &others.texts], 0)?,
            pooled,
        })
    }

    /// Zeros where `keep` is false.
    pub(super) fn masked(&self, keep: &[bool]) -> Result<Conditioning> {
        let mask = keep.iter().map(|&keep| f32::from(u8::from(keep)));
        let mask = Tensor::from_iter(mask, &Device::Cpu)?.to_device(self.texts.device())?;
        let mask = mask.to_dtype(self.texts.dtype())?.unsqueeze(1)?;
        let pooled = self.pooled.as_ref();
        Ok(Conditioning {
            texts: self.texts.broadcast_mul(&mask.unsqueeze(2)?)?,
            pooled: pooled
                .map(|pooled| pooled.broadcast_mul(&mask))
                .transpose()?,
        })
    }
}

/// A text encoder; `vb` stands at the root of `text_encoder/model.safetensors`.
///
/// # Errors
/// A tensor that is missing or has another shape.
pub fn encoder(vb: VarBuilder, config: &TextConfig) -> Result<TextTransformer> {
    TextTransformer::new(vb.pp("text_model"), config)
}

/// XL's second text encoder and its projection of pooled texts.
///
/// # Errors
/// A tensor that is missing or has another shape.
pub fn projected(vb: VarBuilder, config: &TextConfig) -> Result<(TextTransformer, Linear)> {
    let (width, projected) = (config.hidden_size, config.projection_dim);
    let projection = linear_no_bias(width, projected, vb.pp("text_projection"))?;
    Ok((encoder(vb, config)?, projection))
}

/// The networks alone, for tokens.
#[derive(Debug)]
pub enum TextEncoders {
    /// The last layer's vectors after the final norm: Stable Diffusion 1.5 and 2.1.
    One(TextTransformer),
    /// XL: the last layer but one of both side by side, and the second's pooled and projected text.
    Two(Box<[TextTransformer; 2]>, Linear),
}

impl TextEncoders {
    /// Tokens [N, L] of U32, one for each encoder.
    ///
    /// # Errors
    /// Ids that are missing or out of range, or the device's.
    pub fn forward(&self, ids: &[Tensor]) -> Result<Conditioning> {
        match (self, ids) {
            (TextEncoders::One(encoder), [ids]) => Ok(Conditioning {
                texts: encoder.forward(ids)?.last,
                pooled: None,
            }),
            (TextEncoders::Two(encoders, projection), [first_ids, second_ids]) => {
                let [first, second] = &**encoders;
                let first = first.forward(first_ids)?;
                let second = second.forward(second_ids)?;
                let texts = [
                    penultimate(&first.hidden_states)?,
                    penultimate(&second.hidden_states)?,
                ];
                Ok(Conditioning {
                    texts: Tensor::cat(&texts, D::Minus1)?,
                    pooled: Some(projection.forward(&second.pooled)?),
                })
            }
            (_, ids) => candle_core::bail!("tokens of {} encoders", ids.len()),
        }
    }
}

fn penultimate(states: &[Tensor]) -> Result<&Tensor> {
    let index = states.len().checked_sub(2);
    let state = index.and_then(|index| states.get(index));
    state.ok_or_else(|| candle_core::Error::msg("a text encoder without layers"))
}

/// Splits texts for one encoder.
struct Tokens {
    tokenizer: ClipTokenizer,
    pad: u32,
}

impl Tokens {
    /// From a folder of the model: `tokenizer` or `tokenizer_2`.
    fn load(files: &ModelFiles, folder: &str) -> std::result::Result<Tokens, ModelError> {
        let tokenizer = ClipTokenizer::from_folder(files, &format!("{folder}/"))?;
        let file = format!("{folder}/special_tokens_map.json");
        let other = format!("{folder}/tokenizer_config.json");
        let pad = match files.find_optional(&[&file, &other])? {
            Some(path) => json_at(files, &path, pad_of)?,
            None => None,
        };
        // Without a word of it, padding is with the end token, as transformers does for CLIP.
        let pad = match pad.as_deref() {
            None | Some("<|endoftext|>") => tokenizer.end(),
            Some("!") => 0,
            Some(token) => {
                return Err(ModelError::Setting {
                    model: files.model().to_owned(),
                    problem: format!(
                        "{folder}: pad_token is {token:?}; \"!\" or \"<|endoftext|>\" was expected"
                    ),
                });
            }
        };
        Ok(Tokens { tokenizer, pad })
    }

    fn encode(&self, texts: &[&str], device: &Device) -> Result<Tensor> {
        let ids = self.tokenizer.encode_padded(texts, CONTEXT, self.pad)?;
        ids.to_device(device)
    }

    /// Whether a text is cut off: with one token more it still has no room for padding.
    fn is_too_long(&self, text: &str) -> Result<bool> {
        let ids = self
            .tokenizer
            .encode_padded(&[text], CONTEXT + 1, u32::MAX)?;
        let last = ids.flatten_all()?.get(CONTEXT)?.to_scalar::<u32>()?;
        Ok(last != u32::MAX)
    }
}

/// The padding token of a configuration of a tokenizer, where it names one.
fn pad_of(json: &str) -> std::result::Result<Option<String>, String> {
    let config: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| error.to_string())?;
    let token = config.get("pad_token").unwrap_or(&Value::Null);
    match token.get("content").unwrap_or(token) {
        Value::Null => Ok(None),
        Value::String(token) => Ok(Some(token.clone())),
        other => Err(format!("pad_token is {other}; a token was expected")),
    }
}

/// A text encoder's sizes, and its tensors before any is read.
struct Opened {
    config: TextConfig,
    weights: Weights,
}

impl Opened {
    fn open(
        files: &ModelFiles,
        folder: &str,
        dtype: DType,
    ) -> std::result::Result<Opened, ModelError> {
        let config = json_of(files, &format!("{folder}/config.json"), |json| {
            TextConfig::from_json(json).map_err(|error| error.to_string())
        })?;
        let (stem, archive) = (
            format!("{folder}/model"),
            format!("{folder}/pytorch_model.bin"),
        );
        let weights = weights(files, &stem, &archive, dtype)?;
        Ok(Opened { config, weights })
    }
}

/// Everything that texts need, before a network is built.
pub(super) struct TextFiles {
    tokens: Vec<Tokens>,
    first: Opened,
    second: Option<Opened>,
}

impl TextFiles {
    /// From the folders `text_encoder` and `tokenizer`, and those with `_2` where they are there.
    pub fn open(files: &ModelFiles, dtype: DType) -> std::result::Result<TextFiles, ModelError> {
        let first = Opened::open(files, "text_encoder", dtype)?;
        let mut tokens = vec![Tokens::load(files, "tokenizer")?];
        let second = match files.find_optional(&["text_encoder_2/config.json"])? {
            Some(_) => {
                tokens.push(Tokens::load(files, "tokenizer_2")?);
                Some(Opened::open(files, "text_encoder_2", dtype)?)
            }
            None => None,
        };
        Ok(TextFiles {
            tokens,
            first,
            second,
        })
    }

    /// Builds the networks.
    pub fn build(self, compute: &Compute) -> std::result::Result<Texts, ModelError> {
        let Opened { config, weights } = self.first;
        let first = weights.build(compute, |vb| encoder(vb, &config))?;
        let encoders = match self.second {
            Some(Opened { config, weights }) => {
                let (second, projection) = weights.build(compute, |vb| projected(vb, &config))?;
                TextEncoders::Two(Box::new([first, second]), projection)
            }
            None => TextEncoders::One(first),
        };
        Ok(Texts {
            tokens: self.tokens,
            encoders,
            device: compute.device.clone(),
            warning: Once::new(),
        })
    }
}

/// Tokenizers and networks.
pub(super) struct Texts {
    tokens: Vec<Tokens>,
    encoders: TextEncoders,
    device: Device,
    warning: Once,
}

impl Texts {
    /// Texts of more than 77 tokens lose their ends, which is said once.
    pub fn encode(&self, texts: &[&str]) -> Result<Conditioning> {
        for (tokens, text) in self
            .tokens
            .iter()
            .flat_map(|tokens| texts.iter().map(move |text| (tokens, text)))
        {
            if !self.warning.is_completed() && tokens.is_too_long(text)? {
                self.warning.call_once(|| {
                    log::warn!("prompts are cut off after {CONTEXT} tokens, the first: {text:?}");
                });
            }
        }
        let ids = self
            .tokens
            .iter()
            .map(|tokens| tokens.encode(texts, &self.device));
        let conditioning = self.encoders.forward(&ids.collect::<Result<Vec<_>>>()?)?;
        let pooled = conditioning
            .pooled
            .map(|pooled| pooled.to_dtype(DType::F32));
        Ok(Conditioning {
            texts: conditioning.texts.to_dtype(DType::F32)?,
            pooled: pooled.transpose()?,
        })
    }
}
