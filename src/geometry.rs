//! Sizes, rectangles and placements: small types that keep their guarantees.
//!
//! Pixel (0, 0) is the top left, x to the right, y down; rectangles are half open.

use std::fmt;

use bytemuck::{Pod, Zeroable};

/// Longest side of a source (a scene, a cutout, a photograph), in pixels.
pub const MAX_SOURCE_SIDE: u32 = 16_384;
/// Longest side of a canvas or of a resized source, in pixels.
pub const MAX_CANVAS_SIDE: u32 = 8_192;
/// Furthest that a placement may lie from the canvas origin, in pixels.
pub const MAX_OFFSET: u32 = 65_536;

/// Width and height in pixels: each at least 1 and at most [`MAX_SOURCE_SIDE`].
///
/// ```
/// use pastebank::geometry::Size;
/// let size = Size::new(640, 480).unwrap();
/// assert_eq!(size.pixels(), 307_200);
/// assert!(Size::new(0, 480).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// One pixel.
    pub const SMALLEST: Size = Size {
        width: 1,
        height: 1,
    };

    /// `None` where a side is 0 or longer than [`MAX_SOURCE_SIDE`].
    pub fn new(width: u32, height: u32) -> Option<Size> {
        let fits = |side| (1..=MAX_SOURCE_SIDE).contains(&side);
        (fits(width) && fits(height)).then_some(Size { width, height })
    }

    /// As [`Size::new`], for canvases and resized sources: sides of at most [`MAX_CANVAS_SIDE`].
    pub fn canvas(width: u32, height: u32) -> Option<Size> {
        Size::new(width, height).filter(|size| size.longer_side() <= MAX_CANVAS_SIDE)
    }

    /// Pixels from the left edge to the right one.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Pixels from the top edge to the bottom one.
    pub fn height(self) -> u32 {
        self.height
    }

    /// The longer of the two sides.
    pub fn longer_side(self) -> u32 {
        self.width.max(self.height)
    }

    /// Width times height; fits, since both sides are bounded.
    pub fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The rectangle from (0, 0) that has this size.
    pub fn rect(self) -> Rect {
        Rect {
            x0: 0,
            y0: 0,
            x1: self.width as i32,
            y1: self.height as i32,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.width, self.height)
    }
}

/// A half-open rectangle [x0, x1) × [y0, y1); empty where x1 ≤ x0 or y1 ≤ y0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Rect {
    /// Left edge, inside.
    pub x0: i32,
    /// Top edge, inside.
    pub y0: i32,
    /// Right edge, outside.
    pub x1: i32,
    /// Bottom edge, outside.
    pub y1: i32,
}

impl Rect {
    /// Contains nothing, and is the start of a union by [`Rect::include`].
    pub const NOTHING: Rect = Rect {
        x0: i32::MAX,
        y0: i32::MAX,
        x1: i32::MIN,
        y1: i32::MIN,
    };

    /// Whether it holds no pixel.
    pub fn is_empty(self) -> bool {
        self.x1 <= self.x0 || self.y1 <= self.y0
    }

    /// Pixels across; 0 where it is empty.
    pub fn width(self) -> usize {
        (i64::from(self.x1) - i64::from(self.x0)).max(0) as usize
    }

    /// Pixels down; 0 where it is empty.
    pub fn height(self) -> usize {
        (i64::from(self.y1) - i64::from(self.y0)).max(0) as usize
    }

    /// What lies in both.
    pub fn intersect(self, other: Rect) -> Rect {
        Rect {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// Grown by `margin` on all four sides.
    pub fn grown(self, margin: i32) -> Rect {
        Rect {
            x0: self.x0 - margin,
            y0: self.y0 - margin,
            x1: self.x1 + margin,
            y1: self.y1 + margin,
        }
    }

    /// The least rectangle that holds this one and the pixels [x0, x1) of row `y`.
    pub fn include(&mut self, y: i32, x0: i32, x1: i32) {
        self.x0 = self.x0.min(x0);
        self.x1 = self.x1.max(x1);
        self.y0 = self.y0.min(y);
        self.y1 = self.y1.max(y + 1);
    }

    /// This one, or an all-zero rectangle where it is empty.
    pub fn or_zero(self) -> Rect {
        if self.is_empty() {
            Rect::default()
        } else {
            self
        }
    }

    /// COCO's form: [x, y, width, height].
    pub fn xywh(self) -> [i64; 4] {
        [
            i64::from(self.x0),
            i64::from(self.y0),
            i64::from(self.x1) - i64::from(self.x0),
            i64::from(self.y1) - i64::from(self.y0),
        ]
    }
}

/// Rule 1: a source resized, perhaps mirrored left-right, its top left pixel at `offset` of the
/// canvas. Any of it may lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The size the source is resized to.
    pub resized: Size,
    /// Canvas position of the resized source's top left pixel: x, y.
    pub offset: [i32; 2],
    /// Whether the source is mirrored left-right.
    pub flip: bool,
}

impl Placement {
    /// The canvas pixels that the resized source covers, clipped to nothing.
    pub fn rect(&self) -> Rect {
        Rect {
            x0: self.offset[0],
            y0: self.offset[1],
            x1: self.offset[0] + self.resized.width() as i32,
            y1: self.offset[1] + self.resized.height() as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_bounds() {
        assert!(Size::new(16_384, 1).is_some());
        assert!(Size::new(16_385, 1).is_none());
        assert!(Size::canvas(8_192, 8_192).is_some());
        assert!(Size::canvas(8_193, 1).is_none());
    }

    #[test]
    fn the_empty_rectangle_absorbs_and_is_absorbed() {
        let mut rect = Rect::NOTHING;
        assert!(rect.is_empty());
        assert_eq!((rect.width(), rect.height()), (0, 0));
        rect.include(3, 5, 9);
        rect.include(4, 2, 3);
        assert_eq!(rect.xywh(), [2, 3, 7, 2]);
        assert_eq!(Rect::NOTHING.or_zero(), Rect::default());
    }
}
