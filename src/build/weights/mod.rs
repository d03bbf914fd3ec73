//! Weights: where they are, and what is wrong with them.
//!
//! A source is a folder, a single file, or a Hugging Face id with its revision. Files are
//! safetensors, or PyTorch archives (.pth, .pt, .bin) read by candle's own reader, which executes
//! nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::device::Compute;

/// What is wrong with the files of a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file that is not there.
    #[error("{model}: {file} was not found in {place}; {remedy}")]
    Missing {
        /// The model's name.
        model: String,
        /// Names of the files that would do.
        file: String,
        /// The folder or the hub id that was searched.
        place: String,
        /// How to get it.
        remedy: String,
    },
    /// A file that cannot be read, or is not what it should be.
    #[error("{model}: {}: {problem}", file.display())]
    File {
        /// The model's name.
        model: String,
        /// The file.
        file: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A tensor that is missing or has another shape.
    #[error("{model}: {}: tensor {tensor:?}: {problem}", file.display())]
    Tensor {
        /// The model's name.
        model: String,
        /// The file, or the first of several.
        file: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// What was found, and what was expected.
        problem: String,
    },
}

/// The tensors of one network, by the names that its authors gave them.
pub struct Weights {
    model: String,
    file: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Opens one file.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn open(model: &str, file: &Path) -> Result<Weights, WeightsError> {
        let error = |source: candle_core::Error| WeightsError::File {
            model: model.to_owned(),
            file: file.to_owned(),
            problem: source.to_string(),
        };
        let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu);
        Ok(Weights {
            model: model.to_owned(),
            file: file.to_owned(),
            tensors: tensors.map_err(error)?,
        })
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Builds a network from them.
    ///
    /// # Errors
    /// [`WeightsError`]: a tensor that is missing or has another shape is told by its name.
    pub fn build<T>(
        &self,
        compute: &Compute,
        make: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<T>,
    ) -> Result<T, WeightsError> {
        let tensors = self.tensors.clone();
        let builder = VarBuilder::from_tensors(tensors, compute.dtype, &compute.device);
        make(builder).map_err(|source| WeightsError::File {
            model: self.model.clone(),
            file: self.file.clone(),
            problem: source.to_string(),
        })
    }
}

/// The files of one model: a folder, a single file, or a hub id.
pub struct ModelFiles {
    model: String,
    place: PathBuf,
}

impl ModelFiles {
    /// The files in a folder, or one file that serves for any name.
    pub fn at(model: &str, place: &Path) -> ModelFiles {
        ModelFiles {
            model: model.to_owned(),
            place: place.to_owned(),
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The first of `names` that is there; names may hold folders, such as `unet/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Missing`].
    pub fn find(&self, names: &[&str]) -> Result<PathBuf, WeightsError> {
        let mut found = names.iter().map(|name| self.place.join(name));
        found
            .find(|path| path.is_file())
            .ok_or_else(|| WeightsError::Missing {
                model: self.model.clone(),
                file: names.join(" or "),
                place: self.place.display().to_string(),
                remedy: "give the folder that holds it".to_owned(),
            })
    }

    /// The tensors of the first of `names` that is there.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub fn weights(&self, names: &[&str]) -> Result<Weights, WeightsError> {
        Weights::open(&self.model, &self.find(names)?)
    }
}
