//! Masks sampled at the resolution at which they are drawn.

use image::{Rgb, RgbImage};

use super::placement::Placement;
use super::{Mask, mix};
use crate::annotations::rle::Rle;

/// How much of the tint covers the pixels of a mask.
const TINT_SHARE: f32 = 0.45;
/// How much of its outline colour covers the edge of a mask.
const OUTLINE_SHARE: f32 = 0.85;

/// The pixels of a mask on the canvas, within their bounds.
pub(super) struct Stencil {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    set: Vec<bool>,
}

impl Stencil {
    /// Samples the part of a mask that is set; none where nothing is.
    pub(super) fn sample(mask: &Mask, placement: &Placement) -> Option<Stencil> {
        let (source, drawn) = (placement.source, placement.drawn);
        let [left, top, right, bottom] = extent(mask, source)?;
        let (from_x, to_x) = reach(left, right, source.0, drawn.0);
        let (from_y, to_y) = reach(top, bottom, source.1, drawn.1);
        let mut shares = Vec::new();
        for y in from_y..to_y {
            let rows = source_range(y, source.1, drawn.1);
            for x in from_x..to_x {
                let columns = source_range(x, source.0, drawn.0);
                shares.push(share_set(mask, columns, rows));
            }
        }
        // An instance too thin to fill half of any pixel is still to be seen.
        let most = shares.iter().copied().fold(0.0, f32::max);
        let least = if most < 0.5 { f32::MIN_POSITIVE } else { 0.5 };
        Some(Stencil {
            left: placement.left + from_x,
            top: placement.top + from_y,
            width: to_x - from_x,
            height: to_y - from_y,
            set: shares.into_iter().map(|share| share >= least).collect(),
        })
    }

    /// The same as run lengths of a picture of that size, in which it must lie.
    pub(super) fn run_lengths(&self, (width, height): (u32, u32)) -> Option<Rle> {
        let stride = self.width.div_ceil(32) as usize;
        let mut bits = vec![0; stride * self.height as usize];
        let rows = bits.chunks_exact_mut(stride.max(1));
        for (row, set) in rows.zip(self.set.chunks_exact(self.width.max(1) as usize)) {
            for (x, _) in set.iter().enumerate().filter(|(_, set)| **set) {
                row[x / 32] |= 1 << (x % 32);
            }
        }
        let place = [self.left, self.top, self.width, self.height];
        Rle::from_box_bits(width, height, place, stride, &bits).ok()
    }

    /// Whether a pixel counted from the corner of the stencil is set.
    fn get(&self, x: i64, y: i64) -> bool {
        let inside =
            (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y);
        inside && self.set[y as usize * self.width as usize + x as usize]
    }

    /// Whether something unset lies within so many steps of a pixel.
    fn is_edge(&self, x: i64, y: i64, steps: i64) -> bool {
        (-steps..=steps).any(|down| {
            let across = steps - down.abs();
            (-across..=across).any(|right| !self.get(x + right, y + down))
        })
    }

    /// Tints the pixels that are set and darkens the edge of the shape.
    pub(super) fn paint(&self, canvas: &mut RgbImage, tint: Rgb<u8>, stroke: i64) {
        let dark = mix(Rgb([0; 3]), tint, 0.4);
        for y in 0..self.height {
            for x in 0..self.width {
                if !self.get(x.into(), y.into()) {
                    continue;
                }
                let edge = self.is_edge(x.into(), y.into(), stroke);
                let (colour, share) = if edge {
                    (dark, OUTLINE_SHARE)
                } else {
                    (tint, TINT_SHARE)
                };
                if let Some(pixel) = canvas.get_pixel_mut_checked(self.left + x, self.top + y) {
                    *pixel = mix(*pixel, colour, share);
                }
            }
        }
    }
}

/// The smallest box, half open, around all set pixels of a mask for an image of that size.
fn extent(mask: &Mask, (width, height): (u32, u32)) -> Option<[u32; 4]> {
    let mut found: Option<[u32; 4]> = None;
    for y in 0..height {
        for column in 0..width.div_ceil(32) {
            let start = column * 32;
            // Bits beyond the width are padding, whatever they hold.
            let kept = u32::MAX >> (32 - (width - start).min(32));
            let word = mask.word(column as usize, y as usize) & kept;
            if word == 0 {
                continue;
            }
            let first = start + word.trailing_zeros();
            let end = start + (32 - word.leading_zeros());
            let [left, top, right, _] = found.unwrap_or([first, y, end, y]);
            found = Some([left.min(first), top, right.max(end), y + 1]);
        }
    }
    found
}

/// The drawn pixels that a half open range of source pixels touches.
fn reach(from: u32, to: u32, source: u32, drawn: u32) -> (u32, u32) {
    let (from, to) = (u64::from(from), u64::from(to));
    let (source, wide) = (u64::from(source), u64::from(drawn));
    let start = from * wide / source;
    let end = (to * wide).div_ceil(source);
    (start.min(wide) as u32, end.min(wide) as u32)
}

/// The half open range of source pixels that a drawn one stands for; it is never empty.
fn source_range(position: u32, source: u32, drawn: u32) -> (u32, u32) {
    let (position, source, drawn) = (u64::from(position), u64::from(source), u64::from(drawn));
    if drawn >= source {
        // Enlarged: the source pixel below the centre, as in the picture itself.
        let nearest = ((2 * position + 1) * source / (2 * drawn)) as u32;
        return (nearest, nearest + 1);
    }
    let start = position * source / drawn;
    let end = (position + 1) * source / drawn;
    (start as u32, end as u32)
}

/// Which share of a block of source pixels is set.
fn share_set(mask: &Mask, columns: (u32, u32), rows: (u32, u32)) -> f32 {
    let block = (rows.0..rows.1).flat_map(|y| (columns.0..columns.1).map(move |x| (x, y)));
    let (set, all) = block.fold((0_u64, 0_u64), |(set, all), (x, y)| {
        (set + u64::from(mask.get(x, y)), all + 1)
    });
    set as f32 / all.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(source: (u32, u32), drawn: (u32, u32)) -> Placement {
        Placement {
            source,
            drawn,
            left: 0,
            top: 0,
        }
    }

    #[test]
    fn extent_ignores_padding_and_missing_rows() {
        let bits = [0, 1 << 9, 1 << 4, 1 << 2];
        let mask = Mask {
            bits: &bits,
            stride_words: 2,
        };
        assert_eq!(extent(&mask, (40, 50)), Some([4, 1, 35, 2]));
        assert_eq!(extent(&mask, (42, 50)), Some([4, 0, 42, 2]));
        assert_eq!(extent(&mask, (0, 50)), None);
        assert_eq!(extent(&mask, (4, 50)), None);
    }

    #[test]
    fn source_ranges_cover_every_pixel_once() {
        for (source, drawn) in [(100, 30), (31, 30), (30, 30), (7, 1)] {
            let mut next = 0;
            for position in 0..drawn {
                let (start, end) = source_range(position, source, drawn);
                assert!(start == next && end > start);
                next = end;
            }
            assert_eq!(next, source);
        }
        let enlarged: Vec<u32> = (0..6).map(|x| source_range(x, 2, 6).0).collect();
        assert_eq!(enlarged, [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn reduced_masks_keep_shape_and_thin_instances() {
        let block = [0x0000_ffff_u32; 16];
        let mask = Mask {
            bits: &block,
            stride_words: 1,
        };
        let stencil = Stencil::sample(&mask, &placement((32, 32), (8, 8))).unwrap();
        assert_eq!(stencil.set, [true; 16]);
        let dot = [0, 0, 1 << 9];
        let mask = Mask {
            bits: &dot,
            stride_words: 1,
        };
        let stencil = Stencil::sample(&mask, &placement((32, 32), (4, 4))).unwrap();
        assert_eq!((stencil.left, stencil.top, stencil.set), (1, 0, vec![true]));
    }

    #[test]
    fn edges_are_the_outermost_pixels() {
        let rows = [0b1_1111_u32; 5];
        let mask = Mask {
            bits: &rows,
            stride_words: 1,
        };
        let stencil = Stencil::sample(&mask, &placement((32, 9), (32, 9))).unwrap();
        let edges = |steps| {
            let places = (0..5).flat_map(|y| (0..5).map(move |x| (x, y)));
            places
                .filter(|&(x, y)| stencil.is_edge(x, y, steps))
                .count()
        };
        assert_eq!((edges(1), edges(2)), (16, 24));
    }
}
