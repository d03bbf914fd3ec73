//! Part 1 of the specification, rule by rule, as integer functions of one pixel or one axis.
//!
//! Everything that composes goes through these functions, so each rule stands in one place. No
//! function here holds a floating-point operation; sines and Gaussians end in
//! [`encode`](super::encode).

use crate::geometry::Size;

/// Fraction bits of a rotated coordinate: distances are in 2^-19 of a resized pixel (rule 12).
pub const ROTATED_BITS: u32 = 19;

/// Rule 1: twice the distance of canvas pixel `x`'s centre from the placed source's left edge.
#[inline(always)]
pub fn doubled_distance(x: i32, offset: i32, resized: u32, flip: bool) -> i64 {
    let distance = 2 * (i64::from(x) - i64::from(offset)) + 1;
    if flip {
        2 * i64::from(resized) - distance
    } else {
        distance
    }
}

/// Rule 1: whether a doubled distance lies within the resized side.
#[inline(always)]
pub fn is_inside(doubled: i64, resized: u32) -> bool {
    0 < doubled && doubled < 2 * i64::from(resized)
}

/// Rule 2: the size of the mip level below `size`.
#[inline(always)]
pub fn next_level(size: Size) -> Size {
    // Both sides stay within 1..=MAX_SOURCE_SIDE, so the constructor cannot refuse them.
    Size::new((size.width() + 1) >> 1, (size.height() + 1) >> 1).unwrap_or(size)
}

/// Rule 2: the mean of four texels of one channel.
#[inline(always)]
pub fn mean_of_four(a: u8, b: u8, c: u8, d: u8) -> u8 {
    ((u32::from(a) + u32::from(b) + u32::from(c) + u32::from(d) + 2) >> 2) as u8
}

/// Rule 3: the highest level at least as large as `resized` on both sides, or 0.
pub fn choose_level(source: Size, resized: Size) -> usize {
    let covers =
        |level: Size| level.width() >= resized.width() && level.height() >= resized.height();
    let mut size = source;
    let mut chosen = 0;
    for level in 0.. {
        if covers(size) {
            chosen = level;
        }
        if size.longer_side() == 1 || !covers(size) {
            break;
        }
        size = next_level(size);
    }
    chosen
}

/// Rule 4 along one axis: two texels and the weight of the second, in 256ths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tap {
    /// The first texel, clamped to the level.
    pub first: u32,
    /// The next one, clamped to the level.
    pub second: u32,
    /// Weight of the second texel, 0..=255; the first has 256 minus this.
    pub weight: u32,
}

/// Rule 4: floor(n·2^32 / m) for a level side of n texels and a resized side of m pixels.
#[inline(always)]
pub fn step(level_side: u32, resized: u32) -> i64 {
    ((u64::from(level_side) << 32) / u64::from(resized)) as i64
}

/// Rule 12's form of rule 4's step: floor(n·2^28 / m).
#[inline(always)]
pub fn rotated_step(level_side: u32, resized: u32) -> i64 {
    ((u64::from(level_side) << 28) / u64::from(resized)) as i64
}

/// Rule 4: the tap of a doubled distance, which is clamped to [0, 2m] first.
#[inline(always)]
pub fn tap(doubled: i64, step: i64, resized: u32, level_side: u32) -> Tap {
    let clamped = doubled.clamp(0, 2 * i64::from(resized));
    tap_at(((step * clamped) >> 1) - (1 << 31), level_side)
}

/// Rule 12's form of rule 4: the tap of a distance in 2^-19 of a resized pixel.
#[inline(always)]
pub fn rotated_tap(distance: i64, step: i64, resized: u32, level_side: u32) -> Tap {
    let clamped = distance.clamp(0, i64::from(resized) << ROTATED_BITS);
    tap_at(((step * clamped) >> 15) - (1 << 31), level_side)
}

#[inline(always)]
fn tap_at(position: i64, level_side: u32) -> Tap {
    let last = i64::from(level_side) - 1;
    let first = position >> 32;
    Tap {
        first: first.clamp(0, last) as u32,
        second: (first + 1).clamp(0, last) as u32,
        weight: ((position >> 24) & 255) as u32,
    }
}

/// Rule 4: one blend along x, kept in 256ths; at most 255·256, so it fits 16 bits.
#[inline(always)]
pub fn blend_across(first: u8, second: u8, weight: u32) -> u16 {
    ((256 - weight) * u32::from(first) + weight * u32::from(second)) as u16
}

/// Rule 4: the blend along y of two values of [`blend_across`], rounded to 8 bits.
#[inline(always)]
pub fn blend_down(top: u16, bottom: u16, weight: u32) -> u8 {
    (((256 - weight) * u32::from(top) + weight * u32::from(bottom) + 32_768) >> 16) as u8
}

/// Rule 5: the nearest texel of level 0 for a doubled distance that is inside.
#[inline(always)]
pub fn nearest(doubled: i64, step: i64, source_side: u32) -> u32 {
    ((step * doubled) >> 33).clamp(0, i64::from(source_side) - 1) as u32
}

/// Rule 6: a colour through a matrix of 3 rows [m0, m1, m2, b] in 1024ths.
#[inline(always)]
pub fn apply_colour(matrix: &[i32; 12], [red, green, blue]: [u8; 3]) -> [u8; 3] {
    let row = |row: usize| {
        let [m0, m1, m2, b] = [0, 1, 2, 3].map(|column| matrix[4 * row + column]);
        let sum = m0 * i32::from(red) + m1 * i32::from(green) + m2 * i32::from(blue) + b + 512;
        (sum >> 10).clamp(0, 255) as u8
    };
    [row(0), row(1), row(2)]
}

/// Rule 6's default: 1024 on the diagonal.
pub const IDENTITY_COLOUR: [i32; 12] = [1024, 0, 0, 0, 0, 1024, 0, 0, 0, 0, 1024, 0];

/// Rule 8: whether a coverage belongs to the mask.
#[inline(always)]
pub fn in_mask(coverage: u8) -> bool {
    coverage >= 128
}

/// Rule 9: the sum of one filter pass, rounded to 8 bits.
#[inline(always)]
pub fn round_filtered(sum: u32) -> u8 {
    ((sum + 32_768) >> 16) as u8
}

/// Rule 11: `foreground` over `background` with weight `a` in 255ths.
#[inline(always)]
pub fn blend(foreground: u8, background: u8, a: u8) -> u8 {
    let a = u32::from(a);
    let u = u32::from(foreground) * a + u32::from(background) * (255 - a) + 128;
    ((u + (u >> 8)) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_chosen_only_if_both_sides_cover() {
        let source = Size::new(100, 40).unwrap();
        let level = |w, h| choose_level(source, Size::new(w, h).unwrap());
        assert_eq!(level(100, 40), 0);
        assert_eq!(level(101, 1), 0);
        assert_eq!(level(50, 20), 1);
        assert_eq!(level(50, 21), 0);
        assert_eq!(level(1, 1), 7);
    }

    #[test]
    fn identity_colour_changes_nothing() {
        for value in 0..=255 {
            let colour = [value, 255 - value, value / 2];
            assert_eq!(apply_colour(&IDENTITY_COLOUR, colour), colour);
        }
    }

    #[test]
    fn full_and_no_weight_are_exact() {
        for value in 0..=255 {
            assert_eq!(blend(value, 77, 255), value);
            assert_eq!(blend(77, value, 0), value);
        }
    }

    #[test]
    fn the_largest_products_fit() {
        let side = crate::geometry::MAX_SOURCE_SIDE;
        let resized = crate::geometry::MAX_CANVAS_SIDE;
        for m in [1, 3, resized] {
            let last = tap(2 * i64::from(m), step(side, m), m, side);
            assert_eq!((last.first, last.second), (side - 1, side - 1));
            let far = rotated_tap(i64::MAX, rotated_step(side, m), m, side);
            assert_eq!((far.first, far.second), (side - 1, side - 1));
        }
    }
}
