//! CLIP: images and texts in one space (arXiv 2103.00020).
//!
//! Our own transformers, because hidden states, interpolated positions and both kinds of GELU are
//! needed: [`text`] for scores and for Stable Diffusion.

pub mod layers;
pub mod text;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A section of a `config.json`, or the whole where there is no such section. Early files repeat the
/// section under `{name}_dict`, which then goes before it.
fn section<T: DeserializeOwned>(json: &str, name: &str) -> serde_json::Result<T> {
    let mut whole: Value = serde_json::from_str(json)?;
    let before = whole.get_mut(format!("{name}_dict")).map(Value::take);
    let mut section = match whole.get_mut(name).map(Value::take) {
        Some(section) if !section.is_null() => section,
        _ => whole,
    };
    if let (Value::Object(section), Some(Value::Object(before))) = (&mut section, before) {
        section.extend(before);
    }
    serde_json::from_value(section)
}
