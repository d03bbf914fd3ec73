//! How a convolution is cut into tiles, and what is done with each.
//!
//! The result is cut into bands of rows, one task each, and bands into tiles. A tile's part of the
//! maps, borders and zeros of the padding and all, is copied into a buffer, where rows follow one
//! another without a gap. There a position of the tile is one number, and a tap of the kernel reads
//! a constant distance from it, so the innermost loop runs over positions as if the tile were one
//! long row; what it sums at the ends of rows is nobody's. With a stride, rows and columns are dealt
//! out to one plane for each remainder, within which again neighbours are neighbours.

use std::cell::RefCell;

use candle_core::{Result, Tensor, bail};
use candle_nn::Conv2dConfig;
use multiversion::multiversion;
use pulp::Arch;
use rayon::prelude::*;

use super::kernel::{BLOCK, BlockSums, OVERRUN};

/// Values that a tile may have: half a megabyte, half of a usual second-level cache.
const TILE_VALUES: usize = 1 << 17;

/// Columns that a tile may have: wider ones are long in the buffer for few rows.
const TILE_COLUMNS: usize = 96;

/// Rows that a band has unless there would be too few bands: less, and most of it is borders.
const LEAST_ROWS: usize = 8;

/// A tensor's maps where they lie.
pub(super) struct Maps<'a> {
    /// From the first value.
    pub values: &'a [f32],
    pub images: usize,
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// From one image, channel, row and column to the next.
    pub strides: [usize; 4],
}

/// A convolution of one group.
pub(super) struct Direct {
    /// By block of outputs, channel and tap; outputs that fill the last block are zeros.
    weights: Vec<[f32; BLOCK]>,
    bias: Vec<f32>,
    /// Height and width.
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    dilation: usize,
}

thread_local! {
    /// The tile and the sums of a task: page faults of new ones would cost as much as the work.
    static BUFFERS: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A band of the result: rows of one image, of all outputs.
struct Band<'a> {
    image: usize,
    first_row: usize,
    /// One an output.
    rows: Vec<&'a mut [f32]>,
    /// What the result is added to.
    base: Vec<&'a [f32]>,
}

/// A rectangle of a band, and its planes in the buffer.
struct Tile {
    first: [usize; 2],
    size: [usize; 2],
    /// Rows and columns of a plane.
    plane: [usize; 2],
}

impl Direct {
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, config: &Conv2dConfig) -> Result<Direct> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        let columns = inputs * height * width;
        let flat: Vec<f32> = weight.flatten_all()?.to_vec1()?;
        let mut weights = vec![[0.0; BLOCK]; outputs.div_ceil(BLOCK) * columns];
        for (output, row) in flat.chunks_exact(columns).enumerate() {
            let block = weights[output / BLOCK * columns..].iter_mut();
            for (weights, weight) in block.zip(row) {
                weights[output % BLOCK] = *weight;
            }
        }
        Ok(Direct {
            weights,
            bias: bias.map_or_else(|| Ok(vec![0.0; outputs]), Tensor::to_vec1)?,
            kernel: [height, width],
            stride: config.stride,
            padding: config.padding,
            dilation: config.dilation,
        })
    }

    /// Images, height and width of the result.
    pub fn shape(&self, maps: &[Maps]) -> Result<[usize; 3]> {
        let Some(first) = maps.first() else {
            bail!("a convolution was given no maps");
        };
        let alike = |maps: &Maps| (maps.images, maps.size) == (first.images, first.size);
        if !maps.iter().all(alike) {
            bail!("maps that are convolved together must have one size");
        }
        let [height, width] = std::array::from_fn(|axis| {
            let padded = first.size[axis] + 2 * self.padding;
            let spread = (self.kernel[axis] - 1) * self.dilation;
            padded
                .checked_sub(spread + 1)
                .map(|left| left / self.stride + 1)
        });
        match (height, width) {
            (Some(height), Some(width)) => Ok([first.images, height, width]),
            _ => bail!(
                "maps of {:?} are smaller than a kernel of {:?}, padding {} and dilation {}",
                first.size,
                self.kernel,
                self.padding,
                self.dilation
            ),
        }
    }

    /// The result, [images, outputs, height, width], added to `base` if there is one.
    pub fn run(&self, maps: &[Maps], base: Option<&[f32]>, relu: bool) -> Result<Vec<f32>> {
        let [images, height, width] = self.shape(maps)?;
        let outputs = self.bias.len();
        let mut result = vec![0.0; images * outputs * height * width];
        if result.is_empty() {
            return Ok(result);
        }
        let channels = maps.iter().map(|maps| maps.channels).sum();
        let columns = width.div_ceil(width.div_ceil(TILE_COLUMNS));
        let rows = self.band_rows(channels, images, height, columns);
        let bands = bands(&mut result, base, [outputs, height, width], rows);
        let arch = Arch::new();
        bands.into_par_iter().for_each(|mut band| {
            let rows = band.rows.first().map_or(0, |rows| rows.len() / width);
            for first in (0..width).step_by(columns) {
                let size = [rows, columns.min(width - first)];
                let reach = |axis: usize| (self.kernel[axis] - 1) * self.dilation / self.stride;
                let tile = Tile {
                    first: [band.first_row, first],
                    size,
                    plane: [size[0] + reach(0), size[1] + reach(1)],
                };
                self.run_tile(arch, maps, &tile, &mut band, relu);
            }
        });
        Ok(result)
    }

    /// Rows of a band: as many as fit the buffer, few enough that every thread gets some.
    fn band_rows(&self, channels: usize, images: usize, height: usize, columns: usize) -> usize {
        let reach = |axis: usize| (self.kernel[axis] - 1) * self.dilation / self.stride;
        let row = channels * self.stride * self.stride * (columns + reach(1));
        let rows = (TILE_VALUES / row.max(1)).saturating_sub(reach(0));
        let bands = height.div_ceil(rows.max(LEAST_ROWS));
        let wanted = (2 * rayon::current_num_threads()).div_ceil(images);
        height.div_ceil(bands.max(wanted).min(height))
    }

    fn run_tile(&self, arch: Arch, maps: &[Maps], tile: &Tile, band: &mut Band, relu: bool) {
        let [rows, columns] = tile.plane;
        let taps = self.taps(tile.plane);
        let plane = self.stride * self.stride * rows * columns;
        let positions = (tile.size[0] - 1) * columns + tile.size[1];
        let channels: usize = maps.iter().map(|maps| maps.channels).sum();
        BUFFERS.with_borrow_mut(|(buffer, sums)| {
            // What is beyond the planes may be anything: only nobody's sums read it.
            buffer.resize(buffer.len().max(channels * plane + OVERRUN), 0.0);
            sums.resize(BLOCK * (positions + OVERRUN), 0.0);
            let mut planes = buffer.chunks_exact_mut(plane.max(1));
            for maps in maps {
                for (channel, plane) in planes.by_ref().take(maps.channels).enumerate() {
                    self.pack(maps, [band.image, channel], tile, plane);
                }
            }
            let blocks = self.weights.chunks_exact(channels * taps.len());
            for (block, weights) in blocks.enumerate() {
                let first = block * BLOCK;
                arch.dispatch(BlockSums {
                    tile: buffer,
                    plane,
                    taps: &taps,
                    weights,
                    outputs: self.bias.len() - first,
                    positions,
                    sums,
                });
                self.store(tile, first, sums, band, relu);
            }
        });
    }

    /// How far from a position of the tile each tap reads.
    fn taps(&self, [rows, columns]: [usize; 2]) -> Vec<usize> {
        let [height, width] = self.kernel;
        let tap = |at: usize| {
            let [y, x] = [at / width * self.dilation, at % width * self.dilation];
            let plane = y % self.stride * self.stride + x % self.stride;
            (plane * rows + y / self.stride) * columns + x / self.stride
        };
        (0..height * width).map(tap).collect()
    }

    /// Copies one channel's part of the tile: a plane for each remainder of rows and of columns.
    fn pack(&self, maps: &Maps, [image, channel]: [usize; 2], tile: &Tile, planes: &mut [f32]) {
        let values = &maps.values[image * maps.strides[0] + channel * maps.strides[1]..];
        let [rows, columns] = tile.plane;
        for (plane, planes) in planes.chunks_exact_mut(rows * columns).enumerate() {
            let [y, x] = [plane / self.stride, plane % self.stride];
            for (row, to) in planes.chunks_exact_mut(columns).enumerate() {
                let y = (tile.first[0] + row) * self.stride + y;
                match y.checked_sub(self.padding) {
                    Some(y) if y < maps.size[0] => {
                        let from = &values[y * maps.strides[2]..];
                        self.pack_row(from, maps, tile.first[1] * self.stride + x, to);
                    }
                    _ => to.fill(0.0),
                }
            }
        }
    }

    /// Copies every `stride`th value of a row from the padded column `first`, with zeros around.
    fn pack_row(&self, from: &[f32], maps: &Maps, first: usize, to: &mut [f32]) {
        let columns = to.len();
        let steps_to = |column: usize| column.saturating_sub(first).div_ceil(self.stride);
        let begin = steps_to(self.padding).min(columns);
        let end = steps_to(self.padding + maps.size[1]).clamp(begin, columns);
        to[..begin].fill(0.0);
        to[end..].fill(0.0);
        let to = &mut to[begin..end];
        if to.is_empty() {
            return;
        }
        let column = first + begin * self.stride - self.padding;
        let step = self.stride * maps.strides[3];
        let from = &from[column * maps.strides[3]..];
        match step {
            1 => to.copy_from_slice(&from[..to.len()]),
            _ => {
                for (to, from) in to.iter_mut().zip(from.iter().step_by(step.max(1))) {
                    *to = *from;
                }
            }
        }
    }

    /// Writes the sums of a block where they belong, with bias, rectifier and base.
    fn store(&self, tile: &Tile, first: usize, sums: &[f32], band: &mut Band, relu: bool) {
        let width = band.rows[0].len() / tile.size[0];
        let begin = tile.first[1];
        let end = begin + tile.size[1];
        let outputs = self.bias.iter().zip(&mut band.rows).enumerate().skip(first);
        for ((output, (bias, rows)), sums) in outputs.zip(sums.chunks_exact(sums.len() / BLOCK)) {
            let sums = sums.chunks(tile.plane[1]);
            for (row, (to, sums)) in rows.chunks_exact_mut(width).zip(sums).enumerate() {
                let to = &mut to[begin..end];
                finish_row(to, sums, *bias, relu);
                if let Some(base) = band.base.get(output) {
                    for (to, base) in to.iter_mut().zip(&base[row * width + begin..]) {
                        *to += base;
                    }
                }
            }
        }
    }
}

/// Sums with bias and rectifier.
#[multiversion(targets = "simd")]
fn finish_row(to: &mut [f32], sums: &[f32], bias: f32, relu: bool) {
    match relu {
        true => {
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = (sum + bias).max(0.0);
            }
        }
        false => {
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = sum + bias;
            }
        }
    }
}

/// Cuts a result into bands of `rows` rows.
fn bands<'a>(
    result: &'a mut [f32],
    base: Option<&'a [f32]>,
    [outputs, height, width]: [usize; 3],
    rows: usize,
) -> Vec<Band<'a>> {
    let mut all = Vec::new();
    let image = outputs * height * width;
    for (image_index, result) in result.chunks_exact_mut(image).enumerate() {
        let new = |first_row| Band {
            image: image_index,
            first_row,
            rows: Vec::with_capacity(outputs),
            base: Vec::new(),
        };
        let mut bands: Vec<Band> = (0..height).step_by(rows).map(new).collect();
        for output in result.chunks_exact_mut(height * width) {
            for (band, rows) in bands.iter_mut().zip(output.chunks_mut(rows * width)) {
                band.rows.push(rows);
            }
        }
        let base = base.map_or(&[][..], |base| &base[image_index * image..][..image]);
        for output in base.chunks_exact(height * width) {
            for (band, rows) in bands.iter_mut().zip(output.chunks(rows * width)) {
                band.base.push(rows);
            }
        }
        all.append(&mut bands);
    }
    all
}
