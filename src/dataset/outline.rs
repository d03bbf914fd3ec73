//! Masks as COCO polygons that pycocotools' rasteriser turns back into the very same mask.
//!
//! The outlines run along pixel edges. The rasteriser ([`polygon_to_rle`]) changes a column from
//! each place on where an outline passes the column's middle: an edge of whole pixels from
//! (x, y) to (x + 1, y) changes column x from row y on, and an upright edge at a whole x changes
//! nothing. So a ring along pixel edges gives exactly the pixels within it.
//!
//! Pixels that only touch at a corner belong to different parts, each a polygon of its own. A hole
//! is cut open by an upright slit of no width from its top left corner to the ring above it, which
//! is the part's outer ring or another hole's. A part with all its holes is one polygon.

use std::collections::BTreeMap;

use crate::annotations::polygon::polygon_to_rle;
use crate::annotations::rle::Rle;

/// The polygons of a mask, each as x0, y0, x1, y1 and so on in whole pixels; `None` if the
/// rasteriser does not make the same mask of them.
///
/// ```
/// use pastebank::annotations::rle::Rle;
/// use pastebank::dataset::outlines;
/// // The lower two of the three pixels of the first column.
/// let mask = Rle::from_counts(2, 3, vec![1, 2, 3])?;
/// assert_eq!(outlines(&mask), Some(vec![vec![0, 1, 1, 1, 1, 3, 0, 3]]));
/// # Ok::<(), pastebank::annotations::rle::RleError>(())
/// ```
pub fn outlines(mask: &Rle) -> Option<Vec<Vec<u32>>> {
    let polygons = trace(mask)?;
    let mut parts = Vec::with_capacity(polygons.len());
    let mut points = Vec::new();
    for polygon in &polygons {
        points.clear();
        points.extend(polygon.iter().map(|&coordinate| f64::from(coordinate)));
        parts.push(polygon_to_rle(&points, mask.width(), mask.height()).ok()?);
    }
    let drawn = Rle::union(&parts).ok()?;
    (drawn == *mask).then_some(polygons)
}

/// The polygons of a mask, not held against it yet; `None` for a mask without pixels.
fn trace(mask: &Rle) -> Option<Vec<Vec<u32>>> {
    let bounds = mask.bounding_box()?;
    let [left, top, width, height] = bounds;
    let mut plane = Plane {
        pixels: mask.box_plane(bounds).ok()?,
        width: i64::from(width),
        height: i64::from(height),
    };
    let mut parts = Parts::default();
    for y in 0..plane.height {
        let mut x = 0;
        while let Some(start) = plane.next_ring(x, y) {
            parts.add(plane.ring(start, y), &plane);
            x = start + 1;
        }
    }
    let outer = (0..parts.rings.len()).filter(|&ring| !parts.rings[ring].is_hole);
    Some(outer.map(|ring| parts.polygon(ring, [left, top])).collect())
}

/// A pixel that is set.
const SET: u8 = 1;
/// A set pixel whose upper edge lies on a ring that was followed already.
const FOLLOWED: u8 = 2;

/// The pixels of a mask's box, row after row.
struct Plane {
    pixels: Vec<u8>,
    width: i64,
    height: i64,
}

/// Where a ring goes on; set pixels are on its right-hand side, so outer rings run clockwise.
#[derive(Clone, Copy, PartialEq)]
enum Heading {
    Right,
    Down,
    Left,
    Up,
}

impl Heading {
    /// The step to the next corner of pixels.
    fn step(self) -> [i64; 2] {
        match self {
            Heading::Right => [1, 0],
            Heading::Down => [0, 1],
            Heading::Left => [-1, 0],
            Heading::Up => [0, -1],
        }
    }

    /// Of the four pixels about a corner, the two ahead: on the left hand and on the right.
    fn ahead(self, [x, y]: [i64; 2]) -> [[i64; 2]; 2] {
        match self {
            Heading::Right => [[x, y - 1], [x, y]],
            Heading::Down => [[x, y], [x - 1, y]],
            Heading::Left => [[x - 1, y], [x - 1, y - 1]],
            Heading::Up => [[x - 1, y - 1], [x, y - 1]],
        }
    }

    fn turned_right(self) -> Heading {
        match self {
            Heading::Right => Heading::Down,
            Heading::Down => Heading::Left,
            Heading::Left => Heading::Up,
            Heading::Up => Heading::Right,
        }
    }

    fn turned_left(self) -> Heading {
        self.turned_right().turned_right().turned_right()
    }
}

/// A closed line along pixel edges.
struct Ring {
    /// Each corner, as y and x in the box, from the upper left one on.
    corners: Vec<[u32; 2]>,
    is_hole: bool,
}

/// Up to eight pixels, the first in the lowest byte.
fn word_of(pixels: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..pixels.len()].copy_from_slice(pixels);
    u64::from_le_bytes(bytes)
}

/// In the lowest bit of each byte: whether the pixel is set and not followed, and the one above it
/// is not set.
fn begins_ring(pixels: u64, above: u64) -> u64 {
    const LOWEST_BITS: u64 = 0x0101_0101_0101_0101;
    let followed = pixels >> FOLLOWED.trailing_zeros();
    pixels & !followed & !above & LOWEST_BITS
}

impl Plane {
    fn at(&self, x: i64, y: i64) -> usize {
        (y * self.width + x) as usize
    }

    fn is_set(&self, [x, y]: [i64; 2]) -> bool {
        (0..self.width).contains(&x)
            && (0..self.height).contains(&y)
            && self.pixels[self.at(x, y)] & SET != 0
    }

    /// The first pixel of a row, from `x` on, whose upper edge lies on a ring that was not followed
    /// yet.
    fn next_ring(&self, x: i64, y: i64) -> Option<i64> {
        let row = &self.pixels[self.at(x, y)..self.at(self.width, y)];
        let above = match y {
            0 => &[],
            _ => &self.pixels[self.at(x, y - 1)..self.at(self.width, y - 1)],
        };
        // Eight pixels at a time: nearly all of them begin nothing.
        let (words, rest) = row.as_chunks::<8>();
        for (number, word) in words.iter().enumerate() {
            let above = above.get(8 * number..8 * number + 8);
            let above = above.map_or(0, word_of);
            let begins = begins_ring(word_of(word), above);
            if begins != 0 {
                let pixel = 8 * number + begins.trailing_zeros() as usize / 8;
                return Some(x + pixel as i64);
            }
        }
        let above = above.get(8 * words.len()..).unwrap_or_default();
        let begins = begins_ring(word_of(rest), word_of(above));
        let pixel = 8 * words.len() + begins.trailing_zeros() as usize / 8;
        (begins != 0).then_some(x + pixel as i64)
    }

    /// Follows the ring that goes right along the upper edge of a pixel.
    fn ring(&mut self, x: i64, y: i64) -> Ring {
        let start = [x, y];
        let (mut at, mut heading) = (start, Heading::Right);
        let mut corners = Vec::new();
        // Twice the area is not needed, only on which side it lies.
        let mut area = 0;
        loop {
            match heading {
                Heading::Right => {
                    let pixel = self.at(at[0], at[1]);
                    self.pixels[pixel] |= FOLLOWED;
                    area -= at[1];
                }
                Heading::Left => area += at[1],
                Heading::Down | Heading::Up => {}
            }
            let [dx, dy] = heading.step();
            at = [at[0] + dx, at[1] + dy];
            let [left, right] = heading.ahead(at);
            // Right first: pixels that touch at a corner belong to different parts.
            let next = match (self.is_set(left), self.is_set(right)) {
                (_, false) => heading.turned_right(),
                (false, true) => heading,
                (true, true) => heading.turned_left(),
            };
            if next != heading {
                corners.push([at[1] as u32, at[0] as u32]);
            }
            heading = next;
            if at == start && heading == Heading::Right {
                return Ring::new(corners, area < 0);
            }
        }
    }
}

impl Ring {
    fn new(mut corners: Vec<[u32; 2]>, is_hole: bool) -> Ring {
        let first = (0..corners.len()).min_by_key(|&corner| corners[corner]);
        corners.rotate_left(first.unwrap_or(0));
        Ring { corners, is_hole }
    }
}

/// The rings of a mask, and how its holes are cut open.
#[derive(Default)]
struct Parts {
    rings: Vec<Ring>,
    /// Where a slit leaves a ring, as y and x: the left end of a pixel's upper edge, and the hole
    /// below. No edge has two: the ray up from the lower hole would have met the upper one.
    slits: BTreeMap<[u32; 2], usize>,
}

/// What comes next on the way along a polygon.
enum Stop {
    Point([u32; 2]),
    Hole(usize),
}

impl Parts {
    fn add(&mut self, ring: Ring, plane: &Plane) {
        if let ([y, x], true) = (ring.corners[0], ring.is_hole) {
            // Up through set pixels from the hole's corner to the edge at which they end.
            let is_below_set = |y: u32| plane.is_set([i64::from(x), i64::from(y) - 1]);
            let top = (0..=y).rev().find(|&y| !is_below_set(y)).unwrap_or(0);
            self.slits.insert([top, x], self.rings.len());
        }
        self.rings.push(ring);
    }

    /// A part's outer ring and all its holes as one line, moved by `origin`.
    fn polygon(&self, outer: usize, [left, top]: [u32; 2]) -> Vec<u32> {
        let mut points: Vec<u32> = Vec::new();
        let mut under_way = vec![self.route(outer).into_iter()];
        // Not by recursion: a mask may have holes upon holes in the thousands.
        while let Some(route) = under_way.last_mut() {
            match route.next() {
                Some(Stop::Point([y, x])) => points.extend([left + x, top + y]),
                Some(Stop::Hole(hole)) => under_way.push(self.route(hole).into_iter()),
                None => drop(under_way.pop()),
            }
        }
        points
    }

    /// A ring with the slits that leave it.
    fn route(&self, ring: usize) -> Vec<Stop> {
        let Ring { corners, is_hole } = &self.rings[ring];
        let mut stops = Vec::with_capacity(corners.len() + 1);
        let following = corners.iter().cycle().skip(1);
        for (&from, &to) in corners.iter().zip(following) {
            stops.push(Stop::Point(from));
            if from[0] == to[0] && from[1] < to[1] {
                for (&foot, &hole) in self.slits.range(from..to) {
                    if foot != from {
                        stops.push(Stop::Point(foot));
                    }
                    stops.extend([Stop::Hole(hole), Stop::Point(foot)]);
                }
            }
        }
        if *is_hole {
            stops.extend(corners.first().map(|&first| Stop::Point(first)));
        }
        stops
    }
}

#[cfg(test)]
mod tests;
