//! The networks of the pipelines, each loading the files that its authors published.

pub mod alpha;
pub mod clip;
pub mod clipseg;
pub mod diffusion;
pub mod dinov2;
#[cfg(test)]
pub(crate) mod goldens;
pub mod licences;
pub mod mobileclip;
#[cfg(test)]
pub(crate) mod names;
mod positions;
pub mod preprocess;
pub mod registry;
pub mod sam;
pub mod u2net;
pub mod siglip;

use candle_core::Tensor;
use image::{GrayImage, RgbImage};

use super::picture::Picture;
use super::weights::WeightsError;

/// What went wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A setting that the model does not take.
    #[error("{model}: {problem}")]
    Setting {
        /// The model's name.
        model: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A picture that is not for this model: the others are.
    #[error("{model}: {problem}")]
    Picture {
        /// The model's name.
        model: String,
        /// What the picture lacks.
        problem: String,
    },
    /// Computing it.
    #[error("{model}: {source}")]
    Compute {
        /// The model's name.
        model: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

impl ModelError {
    /// What candle said while it computed `model`.
    pub(crate) fn computing(model: &str) -> impl Fn(candle_core::Error) -> ModelError {
        move |source| ModelError::Compute {
            model: model.to_owned(),
            source,
        }
    }
}

/// Finds the object on an image.
pub trait Segmenter: Send {
    /// The name it is asked for by, such as `u2netp`; masks and scores carry it.
    fn name(&self) -> &str;

    /// A soft mask for each picture, of the picture's size: 0 is not the object, 255 is.
    ///
    /// # Errors
    /// [`ModelError`], also when the device has not memory enough for so many at once.
    fn segment(&self, pictures: &[Picture]) -> Result<Vec<GrayImage>, ModelError>;
}

/// Turns images into vectors whose cosine says how alike they are.
pub trait ImageEmbedder: Send {
    /// Unit vectors of the images, [images, dimension], F32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError`], also when the device has not memory enough for so many at once.
    fn embed_images(&self, images: &[RgbImage]) -> Result<Tensor, ModelError>;
}

/// Turns texts into vectors of the same space as an [`ImageEmbedder`]'s.
pub trait TextEmbedder: Send {
    /// Unit vectors of the texts, [texts, dimension], F32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError`].
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor, ModelError>;
}

/// One image that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen; may be empty.
    pub negative_prompt: String,
    /// All of the image's randomness: the same request gives the same image on the same device.
    pub seed: u64,
}

/// Makes images from text.
pub trait Generator: Send {
    /// An image for each request; what an image becomes does not depend on the others of the batch.
    ///
    /// # Errors
    /// [`ModelError`], also when the device has not memory enough for so many at once.
    fn generate(&self, requests: &[Request]) -> Result<Vec<RgbImage>, ModelError>;
}
