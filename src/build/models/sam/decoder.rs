//! Segment Anything's prompt encoder, for points, and its mask decoder.

use std::f64::consts::TAU;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{ConvTranspose2d, ConvTranspose2dConfig, VarBuilder, conv_transpose2d};

use super::layers::{LayerNorm2d, Mlp};
use super::transformer::TwoWayTransformer;

/// Masks of each prompt: one for when there is no doubt, and three of growing extent.
const MASKS: usize = 4;

/// Sizes of the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderConfig {
    /// Width of the tokens, and channels of the image's maps.
    pub width: usize,
    /// Layers of the transformer.
    pub depth: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width of the transformer's perceptrons.
    pub mlp: usize,
}

/// A point on the image and what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Pixels from the left, of the image that the encoder was given.
    pub x: f64,
    /// Pixels from the top.
    pub y: f64,
    /// Whether the point is on what is looked for.
    pub inside: bool,
}

/// Points become tokens. Positions are computed in 32-bit floats on the CPU: they are few.
#[derive(Debug)]
pub struct PromptEncoder {
    /// [2, width / 2]: random frequencies, fixed when the model was trained.
    frequencies: Tensor,
    outside: Tensor,
    inside: Tensor,
    padding: Tensor,
    /// What stands for a mask that is not given.
    no_mask: Tensor,
    image_size: usize,
    device: Device,
}

impl PromptEncoder {
    /// The encoder for square images.
    ///
    /// # Errors
    /// What the weights lack.
    pub fn new(width: usize, image_size: usize, vb: VarBuilder) -> Result<PromptEncoder> {
        let device = vb.device().clone();
        let no_mask = vb.get((1, width), "no_mask_embed.weight")?;
        let vb = vb.to_dtype(DType::F32);
        let on_cpu = |shape, name: &str| vb.get(shape, name)?.to_device(&Device::Cpu);
        let name = "pe_layer.positional_encoding_gaussian_matrix";
        Ok(PromptEncoder {
            frequencies: on_cpu((2, width / 2), name)?,
            outside: on_cpu((1, width), "point_embeddings.0.weight")?,
            inside: on_cpu((1, width), "point_embeddings.1.weight")?,
            padding: on_cpu((1, width), "not_a_point_embed.weight")?,
            no_mask: no_mask.reshape((1, width, 1, 1))?,
            image_size,
            device,
        })
    }

    /// Sines and cosines of positions [points, 2] between 0 and 1: [points, width].
    fn encode(&self, positions: Vec<f32>) -> Result<Tensor> {
        let positions = Tensor::from_vec(positions, ((), 2), &Device::Cpu)?;
        let angles = ((positions * 2.0)? - 1.0)?.matmul(&self.frequencies)?;
        let angles = (angles * TAU)?;
        Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)
    }

    /// Tokens [1, points + 1, width] of points; one that says nothing stands where a box would.
    fn points(&self, points: &[Point], dtype: DType) -> Result<Tensor> {
        let size = self.image_size as f64;
        // Coordinates name pixels, and a point is in the middle of its pixel.
        let within = |coordinate: f64| ((coordinate + 0.5) / size) as f32;
        let positions = points
            .iter()
            .flat_map(|point| [point.x, point.y].map(within));
        let mut tokens = Vec::with_capacity(points.len() + 1);
        if !points.is_empty() {
            let encoded = self.encode(positions.collect())?;
            for (index, point) in points.iter().enumerate() {
                let kind = if point.inside {
                    &self.inside
                } else {
                    &self.outside
                };
                tokens.push((encoded.narrow(0, index, 1)? + kind)?);
            }
        }
        tokens.push(self.padding.clone());
        let tokens = Tensor::cat(&tokens, 0)?.unsqueeze(0)?;
        tokens.to_dtype(dtype)?.to_device(&self.device)
    }

    /// Positions of all places of the image's maps, [1, width, grid, grid].
    fn grid(&self, grid: usize, dtype: DType) -> Result<Tensor> {
        let middle = |index: usize| (index as f32 + 0.5) / grid as f32;
        let places =
            (0..grid * grid).flat_map(|place| [middle(place % grid), middle(place / grid)]);
        self.encode(places.collect())?
            .t()?
            .reshape((1, (), grid, grid))?
            .to_dtype(dtype)?
            .to_device(&self.device)
    }
}

/// What the decoder says of one image and one prompt.
#[derive(Debug)]
pub struct Prediction {
    /// Logits [4, 4 grid, 4 grid], F32 on the CPU: above zero is in the mask. The first is the mask
    /// for prompts that leave no doubt; the other three are the alternatives.
    pub logits: Tensor,
    /// The quality that is expected of each: its intersection over union.
    pub quality: Vec<f32>,
}

/// The mask decoder.
#[derive(Debug)]
pub struct MaskDecoder {
    /// The tokens that become the quality and the masks, [1, 5, width].
    tokens: Tensor,
    transformer: TwoWayTransformer,
    enlarge1: ConvTranspose2d,
    norm: LayerNorm2d,
    enlarge2: ConvTranspose2d,
    masks: Vec<Mlp>,
    quality: Mlp,
}

impl MaskDecoder {
    /// The decoder.
    ///
    /// # Errors
    /// What the weights lack.
    pub fn new(config: &DecoderConfig, vb: VarBuilder) -> Result<MaskDecoder> {
        let width = config.width;
        let twice = ConvTranspose2dConfig {
            stride: 2,
            ..ConvTranspose2dConfig::default()
        };
        let enlarge = |from, to, index: usize| {
            conv_transpose2d(from, to, 2, twice, vb.pp("output_upscaling").pp(index))
        };
        let mlp = |output, vb| {
            let widths = [width, width, width, output];
            Mlp::new(&widths, vb, |index| format!("layers.{index}"))
        };
        let mask = |index: usize| mlp(width / 8, vb.pp("output_hypernetworks_mlps").pp(index));
        let quality = vb.get((1, width), "iou_token.weight")?;
        let masks = vb.get((MASKS, width), "mask_tokens.weight")?;
        Ok(MaskDecoder {
            tokens: Tensor::cat(&[quality, masks], 0)?.unsqueeze(0)?,
            transformer: TwoWayTransformer::new(config, vb.pp("transformer"))?,
            enlarge1: enlarge(width, width / 4, 0)?,
            norm: LayerNorm2d::new(width / 4, vb.pp("output_upscaling").pp(1))?,
            enlarge2: enlarge(width / 4, width / 8, 3)?,
            masks: (0..MASKS).map(mask).collect::<Result<_>>()?,
            quality: mlp(MASKS, vb.pp("iou_prediction_head"))?,
        })
    }

    /// Masks of one image, whose maps are [1, width, grid, grid], by points.
    ///
    /// # Errors
    /// What candle says.
    pub fn forward(
        &self,
        maps: &Tensor,
        prompt: &PromptEncoder,
        points: &[Point],
    ) -> Result<Prediction> {
        let grid = maps.dim(2)?;
        let dtype = maps.dtype();
        let tokens = Tensor::cat(&[&self.tokens, &prompt.points(points, dtype)?], 1)?;
        let source = maps.broadcast_add(&prompt.no_mask)?;
        let (tokens, source) =
            self.transformer
                .forward(&tokens, &source, &prompt.grid(grid, dtype)?)?;
        let maps = source.transpose(1, 2)?.contiguous()?;
        let maps = maps.reshape((1, (), grid, grid))?.apply(&self.enlarge1)?;
        let maps = maps.apply(&self.norm)?.gelu_erf()?.apply(&self.enlarge2)?;
        let maps = maps.gelu_erf()?.flatten_from(2)?.squeeze(0)?;
        let token = |index: usize| tokens.narrow(1, index, 1)?.squeeze(1);
        let masks = self.masks.iter().enumerate();
        let masks = masks.map(|(index, mask)| token(index + 1)?.apply(mask));
        let masks = Tensor::cat(&masks.collect::<Result<Vec<_>>>()?, 0)?;
        let logits = masks.matmul(&maps)?.reshape((MASKS, 4 * grid, 4 * grid))?;
        let quality = token(0)?.apply(&self.quality)?.squeeze(0)?;
        Ok(Prediction {
            logits: logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?,
            quality: quality.to_dtype(DType::F32)?.to_vec1()?,
        })
    }
}
