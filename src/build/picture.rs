//! What a model is shown.

use image::{GrayImage, RgbImage};

/// A decoded image and what is said to be on it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The upright image.
    pub pixels: RgbImage,
    /// The image's own transparency, of the same size, where the file has any.
    pub alpha: Option<GrayImage>,
    /// The category's name as it is written for people: spaces, no underscores.
    pub category: String,
}
