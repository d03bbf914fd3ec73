//! The two ways in which CLIP's tensors are named: transformers', and OpenAI's, which OpenCLIP took
//! over.

use candle_core::Result;
use candle_nn::{Linear, VarBuilder, linear_no_bias};

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `vision_model.encoder.layers.0.…`.
    Transformers,
    /// `visual.transformer.resblocks.0.…`.
    OpenClip,
    /// The same with the text tower under `text.`.
    OpenClipWithText,
}

impl Layout {
    /// The layout of a file with these tensors.
    pub(super) fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Layout {
        let found = names.find_map(|name| match name {
            "token_embedding.weight" => Some(Layout::OpenClip),
            "text.token_embedding.weight" => Some(Layout::OpenClipWithText),
            _ => None,
        });
        found.unwrap_or(Layout::Transformers)
    }

    /// Makes `vb` find tensors by transformers' names.
    pub(super) fn apply(self, vb: VarBuilder<'static>) -> VarBuilder<'static> {
        match self {
            Layout::Transformers => vb,
            Layout::OpenClip => vb.rename_f(|name| open_clip_name(name, "")),
            Layout::OpenClipWithText => vb.rename_f(|name| open_clip_name(name, "text.")),
        }
    }
}

/// OpenAI's name of a tensor that has this one in transformers.
fn open_clip_name(name: &str, text: &str) -> String {
    let (tower, name) = match name.split_once('.') {
        Some(("text_model", rest)) => (text, rest),
        Some(("vision_model", rest)) => ("visual.", rest),
        _ if name == "text_projection" => (text, name),
        _ if name == "visual_projection" => ("visual.", "proj"),
        _ => return name.to_owned(),
    };
    let name = match name {
        "embeddings.class_embedding" => "class_embedding".to_owned(),
        "embeddings.patch_embedding.weight" => "conv1.weight".to_owned(),
        "embeddings.token_embedding.weight" => "token_embedding.weight".to_owned(),
        "embeddings.position_embedding.weight" => "positional_embedding".to_owned(),
        _ => name
            .replace("encoder.layers.", "transformer.resblocks.")
            .replace("self_attn.", "attn.")
            .replace("layer_norm1.", "ln_1.")
            .replace("layer_norm2.", "ln_2.")
            .replace("mlp.fc1.", "mlp.c_fc.")
            .replace("mlp.fc2.", "mlp.c_proj.")
            .replace("final_layer_norm.", "ln_final.")
            .replace("pre_layrnorm.", "ln_pre.")
            .replace("post_layernorm.", "ln_post."),
    };
    format!("{tower}{name}")
}

/// A projection without a bias: transformers' linear layer, or OpenAI's matrix, which is its
/// transpose.
pub(super) fn projection(vb: VarBuilder, name: &str, from: usize, to: usize) -> Result<Linear> {
    if vb.contains_tensor(name) {
        let matrix = vb.get((from, to), name)?;
        return Ok(Linear::new(matrix.t()?.contiguous()?, None));
    }
    linear_no_bias(from, to, vb.pp(name))
}
