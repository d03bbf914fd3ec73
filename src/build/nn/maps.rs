//! Maps [images, channels, height, width] made smaller and larger.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// The greatest of each two by two values; a row or a column left over is by itself (PyTorch's
/// `max_pool2d(2, stride=2, ceil_mode=True)`): [images, channels, ⌈height / 2⌉, ⌈width / 2⌉].
///
/// # Errors
/// What candle says, also of tensors that have not four dimensions.
pub fn max_pool_by_two(maps: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = maps.dims4()?;
    if is_ours(maps) {
        return maps.contiguous()?.apply_op1_no_bwd(&MaxPool);
    }
    // candle has no ceil mode; the last row, once more, changes no maximum.
    let even = maps.pad_with_same(2, 0, height % 2)?;
    even.pad_with_same(3, 0, width % 2)?.max_pool2d(2)
}

/// Maps in another size, as PyTorch's `interpolate(mode="bilinear")` does it: not antialiased.
///
/// # Errors
/// What candle says, also of tensors that have not four dimensions; maps without values.
pub fn upsample_bilinear(
    maps: &Tensor,
    height: usize,
    width: usize,
    align_corners: bool,
) -> Result<Tensor> {
    let (_, _, from_height, from_width) = maps.dims4()?;
    // candle ignores the strides of a tensor that has that size already.
    if (from_height, from_width) == (height, width) {
        return Ok(maps.clone());
    }
    let maps = maps.contiguous()?;
    if is_ours(&maps) {
        return maps.apply_op1_no_bwd(&Upsample {
            size: [height, width],
            align_corners,
        });
    }
    maps.upsample_bilinear2d(height, width, align_corners)
}

fn is_ours(maps: &Tensor) -> bool {
    maps.device().is_cpu() && maps.dtype() == DType::F32
}

/// The values of a contiguous tensor, and its shape.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<(&'a [f32], [usize; 4])> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("maps that are not contiguous: {layout:?}");
    };
    Ok((
        &storage.as_slice::<f32>()?[start..end],
        layout.shape().dims4()?.into(),
    ))
}

struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "maximum of two by two"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, [images, channels, height, width]) = values(storage, layout)?;
        let size = [height.div_ceil(2), width.div_ceil(2)];
        let shape = Shape::from((images, channels, size[0], size[1]));
        let mut result = vec![0.0; shape.elem_count()];
        if !result.is_empty() {
            let maps = values.par_chunks_exact(height * width);
            let results = result.par_chunks_exact_mut(size[0] * size[1]);
            maps.zip(results).for_each(|(map, result)| {
                let pairs = map.chunks(2 * width);
                for (rows, result) in pairs.zip(result.chunks_exact_mut(size[1])) {
                    let (upper, lower) = rows.split_at(width);
                    pool_rows(upper, if lower.is_empty() { upper } else { lower }, result);
                }
            });
        }
        Ok((CpuStorage::F32(result), shape))
    }
}

fn pool_rows(upper: &[f32], lower: &[f32], result: &mut [f32]) {
    let (upper, upper_rest) = upper.as_chunks::<2>();
    let (lower, lower_rest) = lower.as_chunks::<2>();
    for ((upper, lower), result) in upper.iter().zip(lower).zip(&mut *result) {
        *result = upper[0].max(upper[1]).max(lower[0].max(lower[1]));
    }
    if let ([upper], [lower], Some(last)) = (upper_rest, lower_rest, result.last_mut()) {
        *last = upper.max(*lower);
    }
}

struct Upsample {
    size: [usize; 2],
    align_corners: bool,
}

/// Between which two values of a line a new one is, and how far from the first.
#[derive(Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    part: f32,
}

impl Upsample {
    /// Where each of `to` new values is among `from`.
    fn between(&self, from: usize, to: usize) -> Vec<Between> {
        let at = |index: usize| match self.align_corners {
            true if to > 1 => index as f64 * (from - 1) as f64 / (to - 1) as f64,
            true => 0.0,
            false => ((index as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0),
        };
        let between = |index| {
            let at = at(index);
            let first = (at as usize).min(from - 1);
            Between {
                first,
                second: (first + 1).min(from - 1),
                part: (at - first as f64) as f32,
            }
        };
        (0..to).map(between).collect()
    }
}

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "bilinear upsampling"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, [images, channels, height, width]) = values(storage, layout)?;
        let [to_height, to_width] = self.size;
        let shape = Shape::from((images, channels, to_height, to_width));
        let mut result = vec![0.0; shape.elem_count()];
        if values.is_empty() && !result.is_empty() {
            bail!("maps without values cannot be made {to_width}x{to_height}");
        }
        if !result.is_empty() {
            let columns = self.between(width, to_width);
            let rows = self.between(height, to_height);
            let maps = values.par_chunks_exact(height * width);
            let results = result.par_chunks_exact_mut(to_height * to_width);
            maps.zip(results)
                .for_each_init(Vec::new, |stretched, (map, result)| {
                    stretch_rows(map, width, &columns, stretched);
                    for (row, result) in rows.iter().zip(result.chunks_exact_mut(to_width)) {
                        let first = &stretched[row.first * to_width..];
                        let second = &stretched[row.second * to_width..];
                        for ((result, first), second) in result.iter_mut().zip(first).zip(second) {
                            *result = first + (second - first) * row.part;
                        }
                    }
                });
        }
        Ok((CpuStorage::F32(result), shape))
    }
}

/// The rows of a map with other columns, one after another.
fn stretch_rows(map: &[f32], width: usize, columns: &[Between], stretched: &mut Vec<f32>) {
    stretched.clear();
    for row in map.chunks_exact(width) {
        let value = |column: &Between| {
            let [first, second] = [row[column.first], row[column.second]];
            first + (second - first) * column.part
        };
        stretched.extend(columns.iter().map(value));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};
    use proptest::prelude::*;

    use super::*;

    fn noise(shape: (usize, usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn difference(found: &Tensor, expected: &Tensor) -> f32 {
        let difference = (found - expected).unwrap().abs().unwrap();
        let flat = difference.flatten_all().unwrap();
        flat.max(D::Minus1).unwrap().to_scalar().unwrap()
    }

    fn double(maps: &Tensor) -> Tensor {
        maps.to_dtype(DType::F64).unwrap()
    }

    proptest! {
        /// In 64-bit floats both are candle's.
        #[test]
        fn ours_are_candles(
            shape in (1..3usize, 1..4usize, 1..12usize, 1..12usize),
            size in (1..25usize, 1..25usize),
            align_corners: bool,
        ) {
            let maps = noise(shape);
            let pooled = max_pool_by_two(&maps).unwrap();
            let expected = max_pool_by_two(&double(&maps)).unwrap();
            prop_assert_eq!(difference(&double(&pooled), &expected), 0.0);
            let (height, width) = size;
            let larger = upsample_bilinear(&maps, height, width, align_corners).unwrap();
            let expected = upsample_bilinear(&double(&maps), height, width, align_corners).unwrap();
            prop_assert!(difference(&double(&larger), &expected) < 1e-5);
        }
    }

    #[test]
    fn odd_rows_and_columns_are_pooled_by_themselves() {
        let maps = Tensor::arange(0f32, 9.0, &Device::Cpu).unwrap();
        let maps = (maps.reshape((1, 1, 3, 3)).unwrap() * -1.0).unwrap();
        for maps in [maps.clone(), double(&maps)] {
            let pooled = max_pool_by_two(&maps)
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap();
            let pooled: Vec<f32> = pooled.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(pooled, [0.0, -2.0, -6.0, -8.0]);
        }
    }

    #[test]
    fn maps_of_the_same_size_keep_their_strides() {
        let maps = noise((1, 1, 4, 4));
        let turned = maps.transpose(2, 3).unwrap();
        let same = upsample_bilinear(&turned, 4, 4, false).unwrap();
        assert_eq!(difference(&same, &turned.contiguous().unwrap()), 0.0);
        assert!(upsample_bilinear(&noise((1, 1, 4, 4)), 0, 3, false).is_ok());
    }
}
