//! Polygons to masks, by the rule of the COCO API (`rleFrPoly` of `maskApi`, known as `pycocotools`).
//!
//! The rule draws the outline on a grid five times finer than the pixels, where vertices and the points along each edge
//! are rounded to whole grid positions. Each place where the outline passes the middle of a pixel column changes the
//! mask from there on, downwards and through the columns that follow, until the next such place. Pixels are thus inside
//! by the even-odd rule. The mask has no zero-length runs but perhaps the first.
//!
//! Only the places where an edge passes the middle of a column are computed here, not all grid points of the outline.
//! The result is the same to the bit.

use std::ops::Range;

use thiserror::Error;

use crate::annotations::rle::{Rle, RleError, pixel_count};

/// Coordinates may not be larger than this, nor smaller than its negative, in pixels.
pub const MAX_COORDINATE: f64 = 1_048_576.0;

/// An outline may pass the middles of pixel columns at most this often.
///
/// The number bounds memory (128 MiB while a mask is made) and time; an outline would have to run through an image of
/// 4096 columns from side to side 4096 times to meet it.
pub const MAX_CROSSINGS: u64 = 1 << 24;

/// Why a polygon could not be made into a mask.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PolygonError {
    /// A coordinate has no partner.
    #[error(
        "a polygon has {coordinates} coordinates, expected an even number (x, y of each point)"
    )]
    OddCoordinateCount {
        /// How many coordinates there are.
        coordinates: usize,
    },
    /// Fewer than 3 points enclose nothing.
    #[error("a polygon has {points} points, expected at least 3")]
    TooFewPoints {
        /// How many points there are.
        points: usize,
    },
    /// A coordinate is infinite, not a number, or too far outside of any image.
    #[error(
        "coordinate {index} of a polygon is {value}, expected -{MAX_COORDINATE} to {MAX_COORDINATE}"
    )]
    CoordinateOutOfRange {
        /// Which coordinate it is in the list x0, y0, x1, y1 and so on, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The outline is too long; see [`MAX_CROSSINGS`].
    #[error(
        "a polygon passes the middles of pixel columns {crossings} times, expected at most {MAX_CROSSINGS}"
    )]
    TooManyCrossings {
        /// How often it does.
        crossings: u64,
    },
    /// The image cannot have a mask.
    #[error(transparent)]
    Mask(#[from] RleError),
}

/// The mask of one polygon in an image of `width` x `height` pixels.
///
/// `points` lists x0, y0, x1, y1 and so on, in pixels from the image's top left corner. The outline closes by itself.
/// It may leave the image, cross itself and repeat points. The mask may be empty.
///
/// Takes time proportional to the number of points plus the number of column middles that the outline passes, times its
/// logarithm, wherever the points lie.
///
/// ```
/// use pastebank::annotations::polygon::polygon_to_rle;
///
/// let square = polygon_to_rle(&[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0], 4, 4)?;
/// assert_eq!(square.counts(), [5, 2, 2, 2, 5]);
/// # Ok::<(), pastebank::annotations::polygon::PolygonError>(())
/// ```
///
/// # Errors
///
/// [`PolygonError`], where the list of points is malformed, has coordinates beyond [`MAX_COORDINATE`] or passes column
/// middles more than [`MAX_CROSSINGS`] times, or the image has more pixels than 32 bits can number.
pub fn polygon_to_rle(points: &[f64], width: u32, height: u32) -> Result<Rle, PolygonError> {
    pixel_count(width, height)?;
    let edges = outline(points)?;
    let crossings = edges
        .iter()
        .map(|edge| edge.columns(width).len() as u64)
        .sum();
    if crossings > MAX_CROSSINGS {
        return Err(PolygonError::TooManyCrossings { crossings });
    }
    let mut changes = Vec::with_capacity(crossings as usize);
    for edge in &edges {
        edge.for_each_crossing(width, |column, grid_row| {
            changes.push(column * height + first_pixel(grid_row, height));
        });
    }
    changes.sort_unstable();
    Ok(Rle::from_changes(width, height, changes)?)
}

/// Grid positions per pixel, along each axis.
const GRID_SCALE: i32 = 5;
/// The grid column just before the middle of pixel column 0: an outline that steps from here to the next grid column,
/// or back, passes the middle.
const BEFORE_MIDDLE: i32 = 2;

/// A position on the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct GridPoint {
    x: i32,
    y: i32,
}

/// A straight piece of the outline between two vertices.
///
/// It is rounded to grid positions as seen from `start`, so its direction is fixed: an edge that is at least as wide as
/// high goes right, any other goes down. Then it does not matter in which direction the polygon runs through it.
#[derive(Debug, Clone, Copy)]
struct Edge {
    start: GridPoint,
    end: GridPoint,
}

/// Checks a polygon's coordinates and gives its edges, the closing one included.
fn outline(points: &[f64]) -> Result<Vec<Edge>, PolygonError> {
    if !points.len().is_multiple_of(2) {
        return Err(PolygonError::OddCoordinateCount {
            coordinates: points.len(),
        });
    }
    if points.len() < 6 {
        return Err(PolygonError::TooFewPoints {
            points: points.len() / 2,
        });
    }
    let in_range = -MAX_COORDINATE..=MAX_COORDINATE;
    if let Some(index) = points.iter().position(|value| !in_range.contains(value)) {
        return Err(PolygonError::CoordinateOutOfRange {
            index,
            value: points[index],
        });
    }
    let vertices = points.chunks_exact(2).map(|point| GridPoint {
        x: to_grid(point[0]),
        y: to_grid(point[1]),
    });
    let next_vertices = vertices.clone().cycle().skip(1);
    Ok(vertices
        .zip(next_vertices)
        .map(|(a, b)| Edge::between(a, b))
        .collect())
}

/// The grid position of a coordinate: rounded, but for negative ones towards zero after half a position was added.
fn to_grid(coordinate: f64) -> i32 {
    round_towards_zero(f64::from(GRID_SCALE) * coordinate + 0.5)
}

/// Drops the fraction. Coordinates are limited, so that grid positions always fit 32 bits.
fn round_towards_zero(value: f64) -> i32 {
    value as i32
}

/// The first pixel of a column (or row) of `pixels` whose middle is at or behind a grid position; `pixels` where none
/// is.
fn first_pixel(grid_position: i32, pixels: u32) -> u32 {
    // Rounded up: the smallest pixel with pixel * GRID_SCALE + BEFORE_MIDDLE >= grid_position.
    let pixel = (grid_position - BEFORE_MIDDLE + GRID_SCALE - 1).div_euclid(GRID_SCALE);
    u32::try_from(pixel).unwrap_or(0).min(pixels)
}

impl Edge {
    fn between(a: GridPoint, b: GridPoint) -> Edge {
        let is_steep = a.x.abs_diff(b.x) < a.y.abs_diff(b.y);
        let is_backward = if is_steep { a.y > b.y } else { a.x > b.x };
        let (start, end) = if is_backward { (b, a) } else { (a, b) };
        Edge { start, end }
    }

    /// The pixel columns of the image whose middles the edge passes.
    fn columns(&self, width: u32) -> Range<u32> {
        let left = self.start.x.min(self.end.x);
        let right = self.start.x.max(self.end.x);
        first_pixel(left, width)..first_pixel(right, width)
    }

    /// Calls `visit` for each pixel column of the image whose middle the edge passes, with the grid row where it does:
    /// the upper one where the step to the next grid column also changes the row.
    fn for_each_crossing(&self, width: u32, mut visit: impl FnMut(u32, i32)) {
        let is_steep = self.end.x.abs_diff(self.start.x) < self.end.y.abs_diff(self.start.y);
        for column in self.columns(width) {
            // Columns that an edge passes are within MAX_COORDINATE, so this is below 2^31.
            let grid_column = column as i32 * GRID_SCALE + BEFORE_MIDDLE;
            let grid_row = if is_steep {
                self.last_row_before_passing(grid_column)
            } else {
                self.row_at(grid_column).min(self.row_at(grid_column + 1))
            };
            visit(column, grid_row);
        }
    }

    /// The grid row of an edge that is not steep, in a grid column.
    fn row_at(&self, grid_column: i32) -> i32 {
        let GridPoint { x, y } = self.start;
        let slope = f64::from(self.end.y - y) / f64::from(self.end.x - x);
        round_towards_zero(f64::from(y) + slope * f64::from(grid_column - x) + 0.5)
    }

    /// The grid column of a steep edge, in a grid row.
    fn column_at(&self, grid_row: i32) -> i32 {
        let GridPoint { x, y } = self.start;
        let slope = f64::from(self.end.x - x) / f64::from(self.end.y - y);
        round_towards_zero(f64::from(x) + slope * f64::from(grid_row - y) + 0.5)
    }

    /// The last grid row in which a steep edge is on the side of `grid_column` that it begins on. The side changes only
    /// once, so the row is found by halving.
    fn last_row_before_passing(&self, grid_column: i32) -> i32 {
        let begins_right = self.start.x > grid_column;
        let (mut before, mut after) = (self.start.y, self.end.y);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if (self.column_at(middle) > grid_column) == begins_right {
                before = middle;
            } else {
                after = middle;
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(points: &[f64], width: u32, height: u32) -> Vec<u32> {
        let mask = polygon_to_rle(points, width, height).expect("polygon is valid");
        mask.counts().to_vec()
    }

    #[test]
    fn whole_pixels() {
        let square = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0];
        assert_eq!(counts(&square, 4, 4), [5, 2, 2, 2, 5]);
        let reversed = [1.0, 3.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0];
        assert_eq!(counts(&reversed, 4, 4), [5, 2, 2, 2, 5]);
    }

    #[test]
    fn outside_the_image() {
        let all = [-9.0, -9.0, 20.0, -9.0, 20.0, 20.0, -9.0, 20.0];
        assert_eq!(counts(&all, 4, 4), [0, 16]);
        let left = [-9.0, 0.0, -1.0, 0.0, -1.0, 4.0, -9.0, 4.0];
        assert_eq!(counts(&left, 4, 4), [16]);
        let below = [0.0, 5.0, 4.0, 5.0, 4.0, 9.0, 0.0, 9.0];
        assert_eq!(counts(&below, 4, 4), [16]);
        assert_eq!(counts(&all, 0, 4), [0]);
        assert_eq!(counts(&all, 4, 0), [0]);
    }

    #[test]
    fn no_area() {
        assert_eq!(counts(&[2.0; 6], 4, 4), [16]);
        assert_eq!(counts(&[0.0, 0.0, 3.0, 3.0, 0.0, 0.0], 4, 4), [16]);
    }

    #[test]
    fn diagonal_takes_the_upper_row() {
        // The diagonal passes the middle of column x between grid rows 5 x + 2 and 5 x + 3: pixel (x, x) is below it.
        let triangle = [0.0, 0.0, 4.0, 4.0, 0.0, 4.0];
        assert_eq!(counts(&triangle, 4, 4), [0, 4, 1, 3, 2, 2, 3, 1]);
    }

    #[test]
    fn steep_edges_pass_columns_once() {
        let triangle = [0.0, 0.0, 2.0, 0.0, 0.0, 6.0];
        // The right edge passes the middle of column 0 after grid row 22 and that of column 1 after grid row 7.
        assert_eq!(counts(&triangle, 3, 6), [0, 4, 2, 1, 11]);
    }

    #[test]
    fn malformed_polygons_are_refused() {
        let refuse =
            |points: &[f64]| polygon_to_rle(points, 4, 4).expect_err("polygon is malformed");
        assert_eq!(
            refuse(&[0.0; 7]),
            PolygonError::OddCoordinateCount { coordinates: 7 }
        );
        assert_eq!(refuse(&[0.0; 4]), PolygonError::TooFewPoints { points: 2 });
        assert_eq!(refuse(&[]), PolygonError::TooFewPoints { points: 0 });
        for value in [
            1e300,
            -1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            MAX_COORDINATE + 1.0,
        ] {
            assert_eq!(
                refuse(&[0.0, 0.0, 1.0, value, 1.0, 1.0]),
                PolygonError::CoordinateOutOfRange { index: 3, value }
            );
        }
        assert!(matches!(
            refuse(&[f64::NAN, 0.0, 1.0, 1.0, 1.0, 0.0]),
            PolygonError::CoordinateOutOfRange { index: 0, .. }
        ));
        assert!(matches!(
            polygon_to_rle(&[0.0; 6], 1 << 16, 1 << 16),
            Err(PolygonError::Mask(RleError::TooManyPixels { .. }))
        ));
    }

    #[test]
    fn endless_outlines_are_refused() {
        let limit = MAX_COORDINATE;
        let zigzag: Vec<f64> = [-limit, 0.0, limit, 9.0].repeat(20);
        assert_eq!(
            polygon_to_rle(&zigzag, 1_000_000, 10),
            Err(PolygonError::TooManyCrossings {
                crossings: 40_000_000
            })
        );
        assert!(polygon_to_rle(&zigzag, 1_000, 10).is_ok());
    }
}
