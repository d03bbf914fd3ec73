//! The transformer of Segment Anything's mask decoder: tokens attend to the image's maps, and the
//! maps to the tokens.

use candle_core::{Module, Result, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder, layer_norm, linear};

use super::decoder::DecoderConfig;
use super::layers::Mlp;
use super::vit::softmax;

/// Of PyTorch, which the authors did not change here.
const EPSILON: f64 = 1e-5;

#[derive(Debug)]
pub(super) struct TwoWayTransformer {
    layers: Vec<Layer>,
    last: Attention,
    norm: LayerNorm,
}

impl TwoWayTransformer {
    pub(super) fn new(config: &DecoderConfig, vb: VarBuilder) -> Result<TwoWayTransformer> {
        let (width, heads) = (config.width, config.heads);
        let layer = |index: usize| Layer::new(config, vb.pp("layers").pp(index));
        let last = vb.pp("final_attn_token_to_image");
        Ok(TwoWayTransformer {
            layers: (0..config.depth).map(layer).collect::<Result<_>>()?,
            last: Attention::new(width, width / 2, heads, last)?,
            norm: layer_norm(width, EPSILON, vb.pp("norm_final_attn"))?,
        })
    }

    /// The tokens [1, tokens, width], and the maps [1, width, height, width] as places
    /// [1, places, width], after both have attended to each other. `grid` is the positions of
    /// the maps' places, in the maps' shape.
    pub(super) fn forward(
        &self,
        tokens: &Tensor,
        maps: &Tensor,
        grid: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let as_places = |maps: &Tensor| maps.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let (positions, grid) = (tokens, as_places(grid)?);
        let (mut tokens, mut places) = (tokens.clone(), as_places(maps)?);
        for (index, layer) in self.layers.iter().enumerate() {
            // The first layer is given positions alone.
            tokens = match index {
                0 => layer.own.forward(&tokens, &tokens, &tokens)?,
                _ => {
                    let placed = (&tokens + positions)?;
                    (&tokens + layer.own.forward(&placed, &placed, &tokens)?)?
                }
            };
            tokens = tokens.apply(&layer.norm1)?;
            (tokens, places) = layer.forward(&tokens, positions, &places, &grid)?;
        }
        let (query, key) = ((&tokens + positions)?, (&places + grid)?);
        let tokens = (tokens + self.last.forward(&query, &key, &places)?)?;
        Ok((tokens.apply(&self.norm)?, places))
    }
}

#[derive(Debug)]
struct Layer {
    own: Attention,
    norm1: LayerNorm,
    to_places: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
    to_tokens: Attention,
    norm4: LayerNorm,
}

impl Layer {
    fn new(config: &DecoderConfig, vb: VarBuilder) -> Result<Layer> {
        let (width, heads) = (config.width, config.heads);
        let half = |name: &str| Attention::new(width, width / 2, heads, vb.pp(name));
        let norm = |name: &str| layer_norm(width, EPSILON, vb.pp(name));
        let name = |index| format!("lin{}", index + 1);
        Ok(Layer {
            own: Attention::new(width, width, heads, vb.pp("self_attn"))?,
            norm1: norm("norm1")?,
            to_places: half("cross_attn_token_to_image")?,
            norm2: norm("norm2")?,
            mlp: Mlp::new(&[width, config.mlp, width], vb.pp("mlp"), name)?,
            norm3: norm("norm3")?,
            to_tokens: half("cross_attn_image_to_token")?,
            norm4: norm("norm4")?,
        })
    }

    /// All of the layer but the tokens' attention to one another.
    fn forward(
        &self,
        tokens: &Tensor,
        positions: &Tensor,
        places: &Tensor,
        grid: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let placed = (places + grid)?;
        let query = (tokens + positions)?;
        let tokens = (tokens + self.to_places.forward(&query, &placed, places)?)?;
        let tokens = tokens.apply(&self.norm2)?;
        let tokens = (&tokens + tokens.apply(&self.mlp)?)?.apply(&self.norm3)?;
        let key = (&tokens + positions)?;
        let places = (places + self.to_tokens.forward(&placed, &key, &tokens)?)?;
        Ok((tokens, places.apply(&self.norm4)?))
    }
}

#[derive(Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    fn new(width: usize, inner: usize, heads: usize, vb: VarBuilder) -> Result<Attention> {
        let input = |name: &str| linear(width, inner, vb.pp(name));
        Ok(Attention {
            query: input("q_proj")?,
            key: input("k_proj")?,
            value: input("v_proj")?,
            output: linear(inner, width, vb.pp("out_proj"))?,
            heads,
        })
    }

    fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let heads = |tokens: &Tensor, layer: &Linear| {
            let (images, count, _) = tokens.dims3()?;
            let split = layer
                .forward(tokens)?
                .reshape((images, count, self.heads, ()))?;
            split.transpose(1, 2)?.contiguous()
        };
        let query = heads(query, &self.query)?;
        let (key, value) = (heads(key, &self.key)?, heads(value, &self.value)?);
        let scores = (query.matmul(&key.t()?)? / (query.dim(3)? as f64).sqrt())?;
        let attended = softmax(&scores)?.matmul(&value)?.transpose(1, 2)?;
        let (images, count, _, _) = attended.dims4()?;
        attended.reshape((images, count, ()))?.apply(&self.output)
    }
}
