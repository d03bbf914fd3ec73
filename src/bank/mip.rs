//! Mip chains (rule 2): how large they are and how they are made.
//!
//! A chain lies level after level, channels interleaved, without padding, down to 1×1.

use std::ops::Range;

use multiversion::multiversion;

use crate::compose::rules::{mean_of_four, next_level};
use crate::geometry::Size;

/// The sizes of a chain's levels, from level 0 to 1×1.
pub fn levels(size: Size) -> impl Iterator<Item = Size> {
    std::iter::successors(Some(size), |&level| {
        (level.longer_side() > 1).then(|| next_level(level))
    })
}

/// Bytes of a whole chain.
pub fn chain_bytes(size: Size, channels: usize) -> usize {
    levels(size).map(Size::pixels).sum::<usize>() * channels
}

/// The size of one level and where its bytes lie in the chain; `None` past 1×1.
pub fn level_range(size: Size, level: usize, channels: usize) -> Option<(Size, Range<usize>)> {
    let mut start = 0;
    for (index, level_size) in levels(size).enumerate() {
        let end = start + level_size.pixels() * channels;
        if index == level {
            return Some((level_size, start..end));
        }
        start = end;
    }
    None
}

/// Appends to `pixels`, which ends with level 0 of `CHANNELS` interleaved bytes a texel, all the
/// levels below it.
pub fn append_chain<const CHANNELS: usize>(pixels: &mut Vec<u8>, size: Size) {
    let level_bytes = size.pixels() * CHANNELS;
    pixels.reserve_exact(chain_bytes(size, CHANNELS) - level_bytes);
    let mut start = pixels.len() - level_bytes;
    let mut current = size;
    while current.longer_side() > 1 {
        let next = next_level(current);
        let end = pixels.len();
        pixels.resize(end + next.pixels() * CHANNELS, 0);
        let (above, below) = pixels.split_at_mut(end);
        halve::<CHANNELS>(&above[start..], current, below);
        start = end;
        current = next;
    }
}

/// Level `level` made from level 0 alone, for sources whose chain is not stored.
pub fn make_level<const CHANNELS: usize>(level0: Vec<u8>, size: Size, level: usize) -> Vec<u8> {
    let mut pixels = level0;
    reduce_to_level::<CHANNELS>(&mut pixels, size, level);
    pixels
}

/// As [`make_level`], in the memory that holds level 0 of an image of `size`.
pub fn reduce_to_level<const CHANNELS: usize>(pixels: &mut Vec<u8>, size: Size, level: usize) {
    let mut row = Vec::new();
    for above in levels(size).take(level) {
        let below = next_level(above);
        let (stride, below_stride) = (row_bytes::<CHANNELS>(above), row_bytes::<CHANNELS>(below));
        row.resize(below_stride, 0);
        let last_row = above.height() as usize - 1;
        for y in 0..below.height() as usize {
            let top = &pixels[2 * y * stride..][..stride];
            let bottom = &pixels[(2 * y + 1).min(last_row) * stride..][..stride];
            halve_row::<CHANNELS>(top, bottom, &mut row);
            // A row ends before the rows begin that later ones are made of.
            pixels[y * below_stride..][..below_stride].copy_from_slice(&row);
        }
        pixels.truncate(below_stride * below.height() as usize);
    }
}

fn row_bytes<const CHANNELS: usize>(size: Size) -> usize {
    size.width() as usize * CHANNELS
}

/// One step of rule 2: `below` becomes the level under `above`, which has size `size`.
fn halve<const CHANNELS: usize>(above: &[u8], size: Size, below: &mut [u8]) {
    let stride = size.width() as usize * CHANNELS;
    let last_row = size.height() as usize - 1;
    let below_stride = next_level(size).width() as usize * CHANNELS;
    for (y, row) in below.chunks_exact_mut(below_stride).enumerate() {
        let top = &above[2 * y * stride..][..stride];
        let bottom = &above[(2 * y + 1).min(last_row) * stride..][..stride];
        halve_row::<CHANNELS>(top, bottom, row);
    }
}

#[multiversion(targets = "simd")]
fn halve_row<const CHANNELS: usize>(top: &[u8], bottom: &[u8], row: &mut [u8]) {
    let pairs = top
        .chunks_exact(2 * CHANNELS)
        .zip(bottom.chunks_exact(2 * CHANNELS));
    for (texel, (top, bottom)) in row.chunks_exact_mut(CHANNELS).zip(pairs) {
        for channel in 0..CHANNELS {
            texel[channel] = mean_of_four(
                top[channel],
                top[CHANNELS + channel],
                bottom[channel],
                bottom[CHANNELS + channel],
            );
        }
    }
    // An odd width leaves one column, whose right neighbour is clamped to itself.
    if !top.len().is_multiple_of(2 * CHANNELS) {
        let last = top.len() - CHANNELS;
        let texel = row.len() - CHANNELS;
        for channel in 0..CHANNELS {
            let (a, c) = (top[last + channel], bottom[last + channel]);
            row[texel + channel] = mean_of_four(a, a, c, c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_at_one_texel() {
        let size = Size::new(5, 3).unwrap();
        let sizes: Vec<_> = levels(size).map(|s| (s.width(), s.height())).collect();
        assert_eq!(sizes, [(5, 3), (3, 2), (2, 1), (1, 1)]);
        assert_eq!(chain_bytes(size, 4), (15 + 6 + 2 + 1) * 4);
        assert_eq!(level_range(size, 1, 3).unwrap().1, 45..63);
        assert!(level_range(size, 4, 3).is_none());
    }

    #[test]
    fn odd_sides_repeat_their_edge() {
        let size = Size::new(3, 3).unwrap();
        let mut pixels = vec![0, 10, 20, 30, 40, 50, 60, 70, 81];
        append_chain::<1>(&mut pixels, size);
        assert_eq!(pixels[9..13], [20, 35, 65, 81]);
        assert_eq!(pixels[13..], [50]);
        assert_eq!(make_level::<1>(pixels[..9].to_vec(), size, 2), [50]);
    }

    #[test]
    fn levels_made_in_place_are_those_of_the_chain() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 2), (33, 20), (64, 64), (101, 7)] {
            let size = Size::new(width, height).unwrap();
            let level0: Vec<u8> = (0..size.pixels() * 3).map(|v| (v * v / 7) as u8).collect();
            let mut chain = level0.clone();
            append_chain::<3>(&mut chain, size);
            for level in 0..levels(size).count() + 2 {
                let range = level_range(size, level, 3).map(|(_, range)| range);
                // Past 1x1 nothing is made.
                let range = range.unwrap_or(chain.len() - 3..chain.len());
                let made = make_level::<3>(level0.clone(), size, level);
                assert_eq!(made, chain[range], "level {level} of {size}");
            }
        }
    }
}
