//! Segment Anything (arXiv 2304.02643) and MobileSAM (arXiv 2306.14289).
//!
//! Weights are the authors' own files: `sam_vit_{b,l,h}_*.pth` of
//! github.com/facebookresearch/segment-anything and `mobile_sam.pt` of
//! github.com/ChaoningZhang/MobileSAM. An [image encoder](Sam::encode) looks at an image once; what
//! is looked for on it is told by [points](Sam::predict). [`SamSegmenter`] finds objects with it.
//!
//! The networks are our own: candle-transformers' have GELU by tanh where the authors have it by
//! the error function, prompts in 32-bit floats alone, and a size of images that is fixed.

mod decoder;
mod layers;
mod segmenter;
mod tiny_vit;
mod transformer;
mod vit;

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

pub use decoder::{DecoderConfig, MaskDecoder, Point, Prediction, PromptEncoder};
pub use segmenter::{MaskChoice, Prompt, SamOptions, SamSegmenter};
pub use tiny_vit::{TinyVit, TinyVitConfig};
pub use vit::{Vit, VitConfig};

/// The networks that were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// ViT-B, 94 million parameters.
    VitB,
    /// ViT-L, 312 million parameters.
    VitL,
    /// ViT-H, 641 million parameters; the one that DiverGen used.
    VitH,
    /// MobileSAM, 10 million parameters.
    Mobile,
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 4] = [Variant::VitB, Variant::VitL, Variant::VitH, Variant::Mobile];

    /// The name that it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            Variant::VitB => "sam-vit-b",
            Variant::VitL => "sam-vit-l",
            Variant::VitH => "sam-vit-h",
            Variant::Mobile => "mobile-sam",
        }
    }

    /// Its sizes.
    pub fn config(self) -> SamConfig {
        let vit = |width, depth, heads, global: [usize; 4]| {
            EncoderConfig::Vit(VitConfig {
                width,
                depth,
                heads,
                global: global.to_vec(),
                window: 14,
                patch: 16,
            })
        };
        SamConfig {
            image_size: 1024,
            encoder: match self {
                Variant::VitB => vit(768, 12, 12, [2, 5, 8, 11]),
                Variant::VitL => vit(1024, 24, 16, [5, 11, 17, 23]),
                Variant::VitH => vit(1280, 32, 16, [7, 15, 23, 31]),
                Variant::Mobile => EncoderConfig::TinyVit(TinyVitConfig {
                    widths: [64, 128, 160, 320],
                    depths: [2, 2, 6, 2],
                    heads: [2, 4, 5, 10],
                    windows: [7, 7, 14, 7],
                }),
            },
            decoder: DecoderConfig {
                width: 256,
                depth: 2,
                heads: 8,
                mlp: 2048,
            },
        }
    }

    /// The file as it was published, and copies of it.
    fn files(self) -> &'static [&'static str] {
        match self {
            Variant::VitB => &["sam_vit_b_01ec64.pth", "sam_vit_b_01ec64.safetensors"],
            Variant::VitL => &["sam_vit_l_0b3195.pth", "sam_vit_l_0b3195.safetensors"],
            Variant::VitH => &["sam_vit_h_4b8939.pth", "sam_vit_h_4b8939.safetensors"],
            Variant::Mobile => &["mobile_sam.pt", "mobile_sam.safetensors"],
        }
    }
}

/// Sizes of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamConfig {
    /// Pixels along the side of its square images.
    pub image_size: usize,
    /// The image encoder.
    pub encoder: EncoderConfig,
    /// The mask decoder.
    pub decoder: DecoderConfig,
}

/// Sizes of an image encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderConfig {
    /// Segment Anything's.
    Vit(VitConfig),
    /// MobileSAM's.
    TinyVit(TinyVitConfig),
}

/// The network.
#[derive(Debug)]
pub struct Sam {
    encoder: Encoder,
    prompt: PromptEncoder,
    decoder: MaskDecoder,
    image_size: usize,
}

#[derive(Debug)]
enum Encoder {
    Vit(Box<Vit>),
    TinyVit(Box<TinyVit>),
}

impl Sam {
    /// The network of that configuration, from tensors by the authors' names.
    ///
    /// # Errors
    /// What the weights lack.
    pub fn new(config: &SamConfig, vb: VarBuilder) -> Result<Sam> {
        let (size, width) = (config.image_size, config.decoder.width);
        let encoder = vb.pp("image_encoder");
        Ok(Sam {
            encoder: match &config.encoder {
                EncoderConfig::Vit(config) => {
                    Encoder::Vit(Box::new(Vit::new(config, size, width, encoder)?))
                }
                EncoderConfig::TinyVit(config) => {
                    Encoder::TinyVit(Box::new(TinyVit::new(config, width, encoder)?))
                }
            },
            prompt: PromptEncoder::new(width, size, vb.pp("prompt_encoder"))?,
            decoder: MaskDecoder::new(&config.decoder, vb.pp("mask_decoder"))?,
            image_size: size,
        })
    }

    /// Pixels along the side of its square images.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Maps [images, width, size / 16, size / 16] of images [images, 3, size, size].
    ///
    /// # Errors
    /// What candle says.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        match &self.encoder {
            Encoder::Vit(vit) => vit.forward(images),
            Encoder::TinyVit(vit) => vit.forward(images),
        }
    }

    /// Masks of one image by points, from its maps [1, width, size / 16, size / 16].
    ///
    /// # Errors
    /// What candle says.
    pub fn predict(&self, maps: &Tensor, points: &[Point]) -> Result<Prediction> {
        self.decoder.forward(maps, &self.prompt, points)
    }
}

#[cfg(test)]
mod tests;
