//! Resizing 8-bit images to the byte as Pillow does it, which is what models' authors resized with.
//!
//! Pillow's `Image.resize` (its Resample.c) filters rows and then columns, rounds to 8 bits in
//! between, and widens the filter by the factor of reduction. Weights are integers of 22 fractional
//! bits; crates that keep fewer bits, for speed, differ from it by one here and there.

use std::f64::consts::PI;

use image::{GrayImage, RgbImage};
use multiversion::multiversion;

/// Fractional bits of a weight: 8 bits are the value's, and 2 are left for overshoot.
const FRACTION: u32 = 32 - 8 - 2;

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle, one pixel to each side.
    Bilinear,
    /// Keys' cubic with a = -0.5, two pixels to each side.
    Bicubic,
    /// A sinc under a sinc, three pixels to each side.
    Lanczos,
}

impl Filter {
    /// Pixels that the filter reaches to each side.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// Its weight at a distance.
    fn weight(self, at: f64) -> f64 {
        let x = at.abs();
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * PI).sin() / (x * PI)
            }
        };
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// The image in another size, as Pillow's `Image.resize`. An image without pixels becomes black.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let from = [image.width(), image.height()];
    let bytes = resample::<3>(image.as_raw(), from, [width, height], filter);
    RgbImage::from_raw(width, height, bytes).unwrap_or_else(|| RgbImage::new(width, height))
}

/// The mask in another size, as Pillow's `Image.resize`. A mask without pixels becomes black.
pub fn resize_gray(mask: &GrayImage, width: u32, height: u32, filter: Filter) -> GrayImage {
    let from = [mask.width(), mask.height()];
    let bytes = resample::<1>(mask.as_raw(), from, [width, height], filter);
    GrayImage::from_raw(width, height, bytes).unwrap_or_else(|| GrayImage::new(width, height))
}

/// Rows, then columns; a side that keeps its length is left alone.
fn resample<const CHANNELS: usize>(
    pixels: &[u8],
    from: [u32; 2],
    to: [u32; 2],
    filter: Filter,
) -> Vec<u8> {
    let [from_width, from_height] = from.map(|side| side as usize);
    let [width, height] = to.map(|side| side as usize);
    if from.contains(&0) || to.contains(&0) {
        return vec![0; width * height * CHANNELS];
    }
    let mut rows = pixels.to_vec();
    if width != from_width {
        let taps = taps(from_width, width, filter);
        rows = vec![0; width * from_height * CHANNELS];
        let from_rows = pixels.chunks_exact(from_width * CHANNELS);
        for (from, to) in from_rows.zip(rows.chunks_exact_mut(width * CHANNELS)) {
            filter_row::<CHANNELS>(from, to, &taps);
        }
    }
    if height == from_height {
        return rows;
    }
    let stride = width * CHANNELS;
    let mut columns = vec![0; height * stride];
    let mut sums = vec![0; stride];
    let taps = taps(from_height, height, filter);
    for (taps, to) in taps.iter().zip(columns.chunks_exact_mut(stride)) {
        filter_columns(&rows[taps.first * stride..], taps, &mut sums, to);
    }
    columns
}

/// What one output pixel is made of.
struct Taps {
    /// The first input pixel.
    first: usize,
    /// Weights of it and of those after it.
    weights: Vec<i32>,
}

/// The taps of each of `to` pixels over `from` pixels.
fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let taps_at = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |x: usize| filter.weight((x as f64 - centre + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let whole = f64::from(1u32 << FRACTION);
        let fixed = |weight: &f64| (weight / sum * whole).round() as i32;
        Taps {
            first,
            weights: weights.iter().map(fixed).collect(),
        }
    };
    (0..to).map(taps_at).collect()
}

/// Drops the fraction of a sum that began at one half.
fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

fn filter_row<const CHANNELS: usize>(from: &[u8], to: &mut [u8], taps: &[Taps]) {
    let from = from.as_chunks::<CHANNELS>().0;
    for (taps, to) in taps.iter().zip(to.as_chunks_mut::<CHANNELS>().0) {
        let mut sums = [1i32 << (FRACTION - 1); CHANNELS];
        for (pixel, weight) in from[taps.first..].iter().zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        *to = sums.map(to_byte);
    }
}

#[multiversion(targets = "simd")]
fn filter_columns(rows: &[u8], taps: &Taps, sums: &mut [i32], to: &mut [u8]) {
    sums.fill(1 << (FRACTION - 1));
    for (row, weight) in rows.chunks_exact(sums.len()).zip(&taps.weights) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += i32::from(*value) * weight;
        }
    }
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = to_byte(*sum);
    }
}
