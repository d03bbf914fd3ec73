//! Reading the configurations and the weights of a diffusers folder.

use std::fs;
use std::path::Path;

use candle_core::DType;

use crate::build::models::ModelError;
use crate::build::weights::{ModelFiles, Weights, WeightsError};

/// A configuration by its name in the folder.
pub(super) fn json_of<T>(
    files: &ModelFiles,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ModelError> {
    json_at(files, &files.find(&[name])?, parse)
}

/// A configuration that has been found.
pub(super) fn json_at<T>(
    files: &ModelFiles,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ModelError> {
    let text = fs::read_to_string(path).map_err(|source| error(files, path, source.to_string()))?;
    Ok(parse(&text).map_err(|problem| error(files, path, problem))?)
}

/// A network's tensors: `{stem}.safetensors`, the same in halves, or else the PyTorch archive. A
/// network that computes in 16 bits takes the halves first, which are half as much to download and
/// to read.
pub(super) fn weights(
    files: &ModelFiles,
    stem: &str,
    archive: &str,
    dtype: DType,
) -> Result<Weights, ModelError> {
    let (whole, halves) = (
        format!("{stem}.safetensors"),
        format!("{stem}.fp16.safetensors"),
    );
    let names = match dtype {
        DType::F16 | DType::BF16 => [halves.as_str(), whole.as_str(), archive],
        _ => [whole.as_str(), halves.as_str(), archive],
    };
    Ok(files.weights(&names)?)
}

fn error(files: &ModelFiles, path: &Path, problem: String) -> WeightsError {
    WeightsError::File {
        model: files.model().to_owned(),
        file: path.to_owned(),
        problem,
    }
}
