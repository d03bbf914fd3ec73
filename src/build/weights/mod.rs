//! Weights: where they are, and what is wrong with them.
//!
//! A source is a folder, a single file, or a Hugging Face id with its revision ([`ModelFiles`]).
//! Files are safetensors, or PyTorch archives (.pth, .pt, .bin), whose pickle is read as
//! plain data: nothing in it is ever executed.
//!
//! Opening a file reads its table of contents alone. Tensors are read one by one while the network
//! is built, converted, and moved to the device, so that memory holds the network and not the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::device::Compute;

mod files;
mod hub;
mod pickle;
mod pth;
mod safetensors;
mod stored;

pub use files::ModelFiles;
pub use hub::{HubId, HubSettings};
use stored::Stored;

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
    /// A file that the hub did not give.
    #[error("{model}: {file} could not be had from {place}: {problem}")]
    Download {
        /// The model's name.
        model: String,
        /// The file's name in the repository.
        file: String,
        /// The hub id and the revision.
        place: String,
        /// What the hub or the network said, and what may be done.
        problem: String,
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
#[derive(Clone)]
pub struct Weights {
    model: String,
    file: PathBuf,
    tensors: HashMap<String, Entry>,
}

/// A tensor in a file, or one that was made.
#[derive(Clone)]
enum Entry {
    Stored(Stored),
    Made(Tensor),
}

impl Entry {
    fn shape(&self) -> &[usize] {
        match self {
            Entry::Stored(stored) => &stored.shape,
            Entry::Made(tensor) => tensor.dims(),
        }
    }
}

impl Weights {
    /// Opens one file: safetensors or a PyTorch archive, told apart by their first bytes.
    ///
    /// # Errors
    /// [`WeightsError::File`] when it cannot be read, is cut short or is of another kind.
    pub fn open(model: &str, file: &Path) -> Result<Weights, WeightsError> {
        Weights::open_all(model, &[file.to_owned()])
    }

    /// Opens the files that a network was split into; each tensor is in one of them.
    ///
    /// # Errors
    /// [`WeightsError::File`] as [`Weights::open`], and when two files hold the same tensor.
    pub fn open_all(model: &str, files: &[PathBuf]) -> Result<Weights, WeightsError> {
        let mut weights = Weights {
            model: model.to_owned(),
            file: files.first().cloned().unwrap_or_default(),
            tensors: HashMap::new(),
        };
        for file in files {
            let error = |problem| WeightsError::File {
                model: model.to_owned(),
                file: file.clone(),
                problem,
            };
            for (name, stored) in stored::read_contents(file).map_err(error)? {
                let former = weights.tensors.insert(name.clone(), Entry::Stored(stored));
                if former.is_some() {
                    return Err(error(format!("tensor {name:?} is there twice")));
                }
            }
        }
        Ok(weights)
    }

    /// Tensors that were made and not read; errors name `origin` as their file.
    pub fn from_tensors(model: &str, origin: &Path, tensors: HashMap<String, Tensor>) -> Weights {
        let made = |(name, tensor)| (name, Entry::Made(tensor));
        Weights {
            model: model.to_owned(),
            file: origin.to_owned(),
            tensors: tensors.into_iter().map(made).collect(),
        }
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape, where there is such a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Entry::shape)
    }

    /// Gives each tensor the name that `rename` makes of its own; those without one are left out.
    /// Of tensors that get the same name, one stays.
    pub fn rename(self, rename: impl Fn(&str) -> Option<String>) -> Weights {
        let tensors = self.tensors.into_iter();
        let renamed = tensors.filter_map(|(name, entry)| Some((rename(&name)?, entry)));
        Weights {
            tensors: renamed.collect(),
            ..self
        }
    }

    /// Holds the tensors against names and shapes, without reading any.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] for the first that is missing or has another shape.
    pub fn check<'a>(
        &self,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<(), WeightsError> {
        for (name, shape) in expected {
            self.expect(name, Some(shape))?;
        }
        Ok(())
    }

    /// One tensor, as the file holds it but in the precision and on the device asked for.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`].
    pub fn tensor(&self, name: &str, compute: &Compute) -> Result<Tensor, WeightsError> {
        self.load(name, None, compute.dtype, &compute.device)
    }

    /// Builds a network from them.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] for a tensor that is missing, has another shape or cannot be read;
    /// [`WeightsError::File`] for whatever else candle has to say.
    pub fn build<T>(
        &self,
        compute: &Compute,
        make: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<T>,
    ) -> Result<T, WeightsError> {
        let failure = Arc::new(Mutex::new(None));
        let backend = Backend {
            weights: self.clone(),
            failure: Arc::clone(&failure),
        };
        let builder =
            VarBuilder::from_backend(Box::new(backend), compute.dtype, compute.device.clone());
        make(builder).map_err(|source| {
            let failure = failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            failure.unwrap_or_else(|| WeightsError::File {
                model: self.model.clone(),
                file: self.file.clone(),
                problem: source.to_string(),
            })
        })
    }

    fn expect(&self, name: &str, shape: Option<&[usize]>) -> Result<&Entry, WeightsError> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(self.tensor_error(name, self.missing(name, shape)));
        };
        match shape {
            Some(expected) if expected != entry.shape() => {
                let found = entry.shape();
                let problem = format!("has shape {found:?}, where {expected:?} was expected");
                Err(self.tensor_error(name, problem))
            }
            _ => Ok(entry),
        }
    }

    /// A file of another model, or one with a prefix before its names, is best told by what it has.
    fn missing(&self, name: &str, shape: Option<&[usize]>) -> String {
        let expected = shape.map_or(String::new(), |shape| format!(" of shape {shape:?}"));
        let ending = format!(".{name}");
        let other = self.names().filter(|other| other.ends_with(&ending)).min();
        let hint = match (other, self.names().min()) {
            (Some(other), _) => format!("; there is {other:?}, under a prefix"),
            (None, Some(first)) => format!("; the names begin with {first:?}"),
            (None, None) => String::new(),
        };
        let count = self.tensors.len();
        format!("is not among the {count} tensors; one{expected} was expected{hint}")
    }

    fn load(
        &self,
        name: &str,
        shape: Option<&[usize]>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, WeightsError> {
        let read = || match self.expect(name, shape)? {
            Entry::Stored(stored) => stored
                .read()
                .map_err(|problem| self.tensor_error(name, problem)),
            Entry::Made(tensor) => Ok(tensor.clone()),
        };
        // Converted before it is moved: half as much goes over the bus.
        let converted = read()?.to_dtype(dtype);
        converted
            .and_then(|tensor| tensor.to_device(device))
            .map_err(|source| self.tensor_error(name, source.to_string()))
    }

    fn tensor_error(&self, name: &str, problem: String) -> WeightsError {
        let file = match self.tensors.get(name) {
            Some(Entry::Stored(stored)) => stored.file.to_path_buf(),
            _ => self.file.clone(),
        };
        WeightsError::Tensor {
            model: self.model.clone(),
            file,
            tensor: name.to_owned(),
            problem,
        }
    }
}

/// Gives candle its tensors, and keeps our error where candle only carries words.
struct Backend {
    weights: Weights,
    failure: Arc<Mutex<Option<WeightsError>>>,
}

impl Backend {
    fn load(
        &self,
        name: &str,
        shape: Option<&[usize]>,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.weights
            .load(name, shape, dtype, device)
            .map_err(|error| {
                let words = candle_core::Error::msg(&error);
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                words
            })
    }
}

impl SimpleBackend for Backend {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.load(name, Some(shape.dims()), dtype, device)
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.load(name, None, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(name)
    }
}

#[cfg(test)]
mod tests;
