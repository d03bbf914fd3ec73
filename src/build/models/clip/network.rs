//! The towers with their projections into the space that images and texts share.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder};

use super::layout::projection;
use super::text::{TextConfig, TextTransformer};
use super::vision::{VisionConfig, VisionTransformer};

/// The image tower and its projection.
#[derive(Clone, Debug)]
pub struct VisionNetwork {
    transformer: VisionTransformer,
    projection: Linear,
}

impl VisionNetwork {
    /// From `vision_model` and `visual_projection`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &VisionConfig) -> Result<VisionNetwork> {
        let (hidden, shared) = (config.hidden_size, config.projection_dim);
        Ok(VisionNetwork {
            transformer: VisionTransformer::new(vb.pp("vision_model"), config)?,
            projection: projection(vb, "visual_projection", hidden, shared)?,
        })
    }

    /// Images [N, 3, H, W] to vectors [N, projection], not of unit length.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let pooled = self.transformer.forward(images)?.pooled;
        self.projection.forward(&pooled)
    }
}

/// The text tower and its projection.
#[derive(Clone, Debug)]
pub struct TextNetwork {
    transformer: TextTransformer,
    projection: Linear,
}

impl TextNetwork {
    /// From `text_model` and `text_projection`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn new(vb: VarBuilder, config: &TextConfig) -> Result<TextNetwork> {
        let (hidden, shared) = (config.hidden_size, config.projection_dim);
        Ok(TextNetwork {
            transformer: TextTransformer::new(vb.pp("text_model"), config)?,
            projection: projection(vb, "text_projection", hidden, shared)?,
        })
    }

    /// The same where tokens see those after them too.
    pub fn bidirectional(self) -> TextNetwork {
        TextNetwork {
            transformer: self.transformer.bidirectional(),
            ..self
        }
    }

    /// Tokens [N, L] of U32 to vectors [N, projection], not of unit length.
    ///
    /// # Errors
    /// Candle's, such as memory that runs out.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let pooled = self.transformer.forward(ids)?.pooled;
        self.projection.forward(&pooled)
    }
}
