//! Segment Anything's image encoder: a vision transformer with attention in windows, but for a few
//! layers, and with positions relative to the token that attends (ViTDet, arXiv 2203.16527; MViTv2,
//! arXiv 2112.01526).

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, conv2d, layer_norm, linear, ops,
};

use super::layers::{Neck, join_windows, windows};

/// Attention is computed for so many heads at once that no more numbers than these are held: a
/// layer of ViT-H without windows takes 268 million otherwise, and several times over.
const MOST_SCORES: usize = 1 << 25;

/// Sizes of the transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VitConfig {
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// The blocks that attend everywhere, from 0.
    pub global: Vec<usize>,
    /// Tokens along a window's side.
    pub window: usize,
    /// Pixels along a patch's side.
    pub patch: usize,
}

/// The image encoder.
#[derive(Debug)]
pub struct Vit {
    patches: Conv2d,
    positions: Tensor,
    blocks: Vec<Block>,
    neck: Neck,
}

impl Vit {
    /// The encoder of square images, into maps of `output` channels.
    ///
    /// # Errors
    /// What the weights lack.
    pub fn new(
        config: &VitConfig,
        image_size: usize,
        output: usize,
        vb: VarBuilder,
    ) -> Result<Vit> {
        let (width, grid) = (config.width, image_size / config.patch);
        let patches = Conv2dConfig {
            stride: config.patch,
            ..Conv2dConfig::default()
        };
        let block = |index: usize| {
            let window = (!config.global.contains(&index)).then_some(config.window);
            Block::new(config, window, grid, vb.pp("blocks").pp(index))
        };
        Ok(Vit {
            patches: conv2d(3, width, config.patch, patches, vb.pp("patch_embed.proj"))?,
            positions: vb.get((1, grid, grid, width), "pos_embed")?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            neck: Neck::new(width, output, vb.pp("neck"))?,
        })
    }
}

impl Module for Vit {
    /// From images [images, 3, size, size] to maps [images, output, size / patch, size / patch].
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let patches = images.apply(&self.patches)?.permute((0, 2, 3, 1))?;
        let mut tokens = patches.broadcast_add(&self.positions)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens)?;
        }
        tokens
            .permute((0, 3, 1, 2))?
            .contiguous()?
            .apply(&self.neck)
    }
}

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
    window: Option<usize>,
}

impl Block {
    fn new(
        config: &VitConfig,
        window: Option<usize>,
        grid: usize,
        vb: VarBuilder,
    ) -> Result<Block> {
        let width = config.width;
        let side = window.unwrap_or(grid);
        Ok(Block {
            norm1: layer_norm(width, 1e-6, vb.pp("norm1"))?,
            attention: Attention::new(width, config.heads, side, vb.pp("attn"))?,
            norm2: layer_norm(width, 1e-6, vb.pp("norm2"))?,
            widen: linear(width, 4 * width, vb.pp("mlp.lin1"))?,
            narrow: linear(4 * width, width, vb.pp("mlp.lin2"))?,
            window,
        })
    }
}

impl Module for Block {
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (_, height, width, _) = tokens.dims4()?;
        let normed = tokens.apply(&self.norm1)?;
        let attended = match self.window {
            Some(side) => {
                let attended = self.attention.forward(&windows(&normed, side)?)?;
                join_windows(&attended, height, width)?
            }
            None => self.attention.forward(&normed)?,
        };
        let tokens = (tokens + attended)?;
        let wide = tokens.apply(&self.norm2)?.apply(&self.widen)?;
        tokens + wide.gelu_erf()?.apply(&self.narrow)?
    }
}

/// Attention among the tokens of a square.
///
/// A score is `scale q·k + q·H[y - y'] + q·W[x - x']`. The last two depend on the row and on the
/// column of the other token alone, so they are computed for each row and for each column; beside
/// `q` they meet, beside `k`, ones where the other token's row and column are, and one product of
/// matrices adds all three.
#[derive(Debug)]
struct Attention {
    qkv: Linear,
    output: Linear,
    heads: usize,
    /// [own row, channel, other row]
    rows: Tensor,
    /// [own column, channel, other column]
    columns: Tensor,
    /// [tokens, 2 side]: ones in each token's row and column.
    places: Tensor,
}

impl Attention {
    fn new(width: usize, heads: usize, side: usize, vb: VarBuilder) -> Result<Attention> {
        let channels = width / heads;
        let distances =
            (0..side).flat_map(|own| (0..side).map(move |other| own + side - 1 - other));
        let distances: Vec<u32> = distances.map(|distance| distance as u32).collect();
        let distances = Tensor::new(distances, vb.device())?;
        let table = |name: &str| {
            vb.get((2 * side - 1, channels), name)?
                .contiguous()?
                .index_select(&distances, 0)?
                .reshape((side, side, channels))?
                .transpose(1, 2)?
                .contiguous()
        };
        let mut places = vec![0_f32; 2 * side * side * side];
        for (token, places) in places.chunks_exact_mut(2 * side).enumerate() {
            places[token / side] = 1.0;
            places[side + token % side] = 1.0;
        }
        let places = Tensor::from_vec(places, (side * side, 2 * side), vb.device())?;
        Ok(Attention {
            qkv: linear(width, 3 * width, vb.pp("qkv"))?,
            output: linear(width, width, vb.pp("proj"))?,
            heads,
            rows: table("rel_pos_h")?,
            columns: table("rel_pos_w")?,
            places: places.to_dtype(vb.dtype())?,
        })
    }

    /// The terms of the relative positions, [squares, tokens, 2 side], for queries
    /// [squares, tokens, channels].
    fn positions(&self, query: &Tensor) -> Result<Tensor> {
        let (squares, tokens, channels) = query.dims3()?;
        let side = self.rows.dim(0)?;
        let query = query.reshape((squares, side, side, channels))?;
        let lines = |query: &Tensor, table: &Tensor| {
            let lines = query.reshape((side, squares * side, channels))?;
            lines.matmul(table)?.reshape((side, squares, side, side))
        };
        let by_row = query.permute((1, 0, 2, 3))?.contiguous()?;
        let by_column = query.permute((2, 0, 1, 3))?.contiguous()?;
        let rows = lines(&by_row, &self.rows)?.permute((1, 0, 2, 3))?;
        let columns = lines(&by_column, &self.columns)?.permute((1, 2, 0, 3))?;
        Tensor::cat(&[rows, columns], 3)?.reshape((squares, tokens, 2 * side))
    }

    /// What some heads attend to; all are [heads, tokens, channels].
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let (heads, tokens, channels) = query.dims3()?;
        let places = self.places.unsqueeze(0)?;
        let places = places.expand((heads, tokens, self.places.dim(1)?))?;
        let scaled = (query * (channels as f64).powf(-0.5))?;
        let query = Tensor::cat(&[&scaled, &self.positions(query)?], 2)?;
        let key = Tensor::cat(&[key, &places.contiguous()?], 2)?;
        let scores = query.matmul(&key.transpose(1, 2)?)?;
        softmax(&scores)?.matmul(value)
    }
}

impl Module for Attention {
    fn forward(&self, squares: &Tensor) -> Result<Tensor> {
        let (count, height, width, channels) = squares.dims4()?;
        let tokens = height * width;
        let heads = count * self.heads;
        let qkv = squares
            .apply(&self.qkv)?
            .reshape((count, tokens, 3, self.heads, ()))?
            .permute((2, 0, 3, 1, 4))?
            .reshape((3, heads, tokens, ()))?;
        let (query, key, value) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?);
        let at_once = (MOST_SCORES / (tokens * tokens)).clamp(1, heads);
        let attended = (0..heads).step_by(at_once).map(|first| {
            let count = at_once.min(heads - first);
            let part = |tensor: &Tensor| tensor.narrow(0, first, count);
            self.attend(&part(&query)?, &part(&key)?, &part(&value)?)
        });
        Tensor::cat(&attended.collect::<Result<Vec<_>>>()?, 0)?
            .reshape((count, self.heads, tokens, ()))?
            .transpose(1, 2)?
            .reshape((count, height, width, channels))?
            .apply(&self.output)
    }
}

/// Softmax over the last dimension; in half precision the sums of thousands of terms are kept wide.
pub(super) fn softmax(scores: &Tensor) -> Result<Tensor> {
    match scores.dtype() {
        DType::F16 | DType::BF16 => {
            let wide = ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?;
            wide.to_dtype(scores.dtype())
        }
        _ => ops::softmax_last_dim(scores),
    }
}
