//! Position embeddings of image transformers, for images of another size than they were learnt at.

use candle_core::{Result, Tensor};

/// Keys' cubic convolution with the constant that PyTorch's `interpolate` has.
const CUBIC: f64 = -0.75;

/// A table [1 + side², D], of one token before a square grid, as [1 + rows · columns, D]: the grid
/// is interpolated as PyTorch's `interpolate(mode="bicubic", align_corners=False)` does it. A table
/// of that size stays as it is.
///
/// # Errors
/// A table whose grid is not square, or candle's.
pub(crate) fn interpolate(table: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let (tokens, width) = table.dims2()?;
    let patches = tokens.saturating_sub(1);
    let side = patches.isqrt();
    if patches == 0 || side * side != patches {
        candle_core::bail!("{tokens} positions; one and a square number were expected");
    }
    if (rows, columns) == (side, side) {
        return Ok(table.clone());
    }
    let (dtype, device) = (table.dtype(), table.device());
    let weights = |to| Tensor::from_vec(weights(side, to), (to, side), device);
    let grid = table
        .narrow(0, 1, patches)?
        .to_dtype(candle_core::DType::F32)?;
    let down = weights(rows)?.matmul(&grid.reshape((side, side * width))?)?;
    let across = down.reshape((rows, side, width))?.transpose(0, 1)?;
    let across = across.reshape((side, rows * width))?;
    let across = weights(columns)?.matmul(&across)?;
    let resized = across.reshape((columns, rows, width))?.transpose(0, 1)?;
    let resized = resized.reshape((rows * columns, width))?.to_dtype(dtype)?;
    Tensor::cat(&[&table.narrow(0, 0, 1)?, &resized], 0)
}

/// How much each of `from` values has of each of `to` values, [to, from] by rows. What lies outside
/// is as the value at the edge.
fn weights(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.; from * to];
    let scale = from as f64 / to as f64;
    for (target, row) in weights.chunks_exact_mut(from).enumerate() {
        let center = (target as f64 + 0.5) * scale - 0.5;
        let first = center.floor() as i64 - 1;
        for tap in first..first + 4 {
            let place = tap.clamp(0, from as i64 - 1) as usize;
            row[place] += cubic((center - tap as f64).abs()) as f32;
        }
    }
    weights
}

fn cubic(x: f64) -> f64 {
    if x < 1. {
        ((CUBIC + 2.) * x - (CUBIC + 3.)) * x * x + 1.
    } else if x < 2. {
        (((x - 5.) * x + 8.) * x - 4.) * CUBIC
    } else {
        0.
    }
}
