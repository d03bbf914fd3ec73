//! CLIP: images and texts in one space (arXiv 2103.00020).
//!
//! Our own transformers, because hidden states, interpolated positions and both kinds of GELU are
//! needed: [`text`] for scores and for Stable Diffusion, [`vision`] for scores and for CLIPSeg.
//! [`ClipImages`] and [`ClipTexts`] are the embedders; each loads its own half of a model, so that
//! embeddings of texts that are kept in a file need no network.

pub mod config;
mod embed;
pub mod layers;
mod layout;
mod network;
pub mod text;
pub mod vision;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use embed::{ClipImages, ClipTexts};
pub(crate) use embed::{build, pad_to_longest};
pub use network::{TextNetwork, VisionNetwork};

/// A section of a `config.json`, or the whole where there is no such section. Early files repeat the
/// section under `{name}_dict`, which then goes before it, and sections may hold a width of the
/// shared space that is not the model's.
fn section<T: DeserializeOwned>(json: &str, name: &str) -> serde_json::Result<T> {
    let mut whole: Value = serde_json::from_str(json)?;
    let before = whole.get_mut(format!("{name}_dict")).map(Value::take);
    let shared = whole.get("projection_dim").cloned();
    let mut section = match whole.get_mut(name).map(Value::take) {
        Some(section) if !section.is_null() => section,
        _ => whole,
    };
    if let Value::Object(section) = &mut section {
        if let Some(Value::Object(before)) = before {
            section.extend(before);
        }
        section.extend(shared.map(|shared| ("projection_dim".to_owned(), shared)));
    }
    serde_json::from_value(section)
}

#[cfg(test)]
mod tests;
