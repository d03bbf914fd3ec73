//! Patches and position embeddings of image transformers, also for images of another size than they
//! were learnt at.

use candle_core::{Result, Tensor};

/// Keys' cubic convolution with the constant that PyTorch's `interpolate` has.
const CUBIC: f64 = -0.75;

/// Images of larger sides would be no such network's.
const MOST_SIDE: usize = 4096;

/// Tokens of the square images that positions were learnt for: the class's, and one a patch.
///
/// # Errors
/// A patch of no size, an image that is smaller than a patch, or one larger than any network's.
pub(crate) fn tokens(image_size: usize, patch_size: usize) -> Result<usize> {
    expect_sizes(image_size, patch_size).map_err(candle_core::Error::msg)?;
    Ok((image_size / patch_size).pow(2) + 1)
}

/// The same check for networks that count their own tokens.
///
/// # Errors
/// As [`tokens`], in words.
pub(crate) fn expect_sizes(
    image_size: usize,
    patch_size: usize,
) -> std::result::Result<(), String> {
    if patch_size == 0 {
        return Err("patch_size is 0".to_owned());
    }
    if !(patch_size..=MOST_SIDE).contains(&image_size) {
        return Err(format!(
            "image_size is {image_size}; {patch_size}, which is patch_size, to {MOST_SIDE} was \
             expected"
        ));
    }
    Ok(())
}

/// That images [N, 3, H, W] have room for a patch, which a convolution does not ask.
///
/// # Errors
/// Images smaller than a patch, or of another number of dimensions.
pub(crate) fn expect_room(images: &Tensor, patch_size: usize) -> Result<()> {
    let (_, _, height, width) = images.dims4()?;
    if height.min(width) < patch_size {
        candle_core::bail!(
            "images of {width} × {height} pixels; at least a patch of {patch_size} × {patch_size} \
             was expected"
        );
    }
    Ok(())
}

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
