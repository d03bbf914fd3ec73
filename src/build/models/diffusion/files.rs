//! Reading the configurations of a diffusers folder.

use std::fs;
use std::path::Path;

use crate::build::models::ModelError;
use crate::build::weights::{ModelFiles, WeightsError};

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

fn error(files: &ModelFiles, path: &Path, problem: String) -> WeightsError {
    WeightsError::File {
        model: files.model().to_owned(),
        file: path.to_owned(),
        problem,
    }
}
