//! Points of the plane and signed distances to simple figures.
//!
//! A signed distance is negative inside the figure. Some of them are exact only near the outline,
//! which is all that an anti-aliased edge needs. The y axis points down, as in an image.

use std::ops::{Add, Mul, Sub};

/// A point or a vector of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// The point with these coordinates.
pub const fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Add for Point {
    type Output = Point;

    fn add(self, other: Point) -> Point {
        at(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Point;

    fn sub(self, other: Point) -> Point {
        at(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Point;

    fn mul(self, factor: f32) -> Point {
        at(self.x * factor, self.y * factor)
    }
}

impl Point {
    /// The scalar product.
    pub fn dot(self, other: Point) -> f32 {
        self.x * other.x + self.y * other.y
    }

    /// The distance from the origin.
    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The point turned about the origin, clockwise on screen for a positive angle in radians.
    pub fn turned(self, angle: f32) -> Point {
        let (sine, cosine) = angle.sin_cos();
        at(
            cosine * self.x - sine * self.y,
            sine * self.x + cosine * self.y,
        )
    }

    /// The point folded onto the right half plane, for figures with a vertical mirror axis.
    pub fn folded(self) -> Point {
        at(self.x.abs(), self.y)
    }
}

/// The value at `share` of the way between two values.
pub fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// A smooth rise from 0 at `low` to 1 at `high`.
pub fn rise(low: f32, high: f32, value: f32) -> f32 {
    let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
    share * share * (3.0 - 2.0 * share)
}

/// Distance to a disc.
pub fn disc(point: Point, centre: Point, radius: f32) -> f32 {
    (point - centre).length() - radius
}

/// Distance to an ellipse with axes along x and y.
pub fn ellipse(point: Point, centre: Point, radii: Point) -> f32 {
    let offset = point - centre;
    let scaled = at(offset.x / radii.x, offset.y / radii.y);
    let gradient = at(scaled.x / radii.x, scaled.y / radii.y).length();
    let level = scaled.length();
    // The gradient vanishes at the centre, where the distance is minus the smaller radius.
    if gradient < 1e-4 {
        return -radii.x.min(radii.y);
    }
    level * (level - 1.0) / gradient
}

/// Distance to a box with rounded corners; `half` is half of its width and height.
pub fn rounded_box(point: Point, centre: Point, half: Point, radius: f32) -> f32 {
    let offset = point - centre;
    let beyond = at(
        offset.x.abs() - half.x + radius,
        offset.y.abs() - half.y + radius,
    );
    let outside = at(beyond.x.max(0.0), beyond.y.max(0.0)).length();
    outside + beyond.x.max(beyond.y).min(0.0) - radius
}

/// Distance to a bar with round ends whose radius changes from one end to the other.
pub fn capsule(point: Point, ends: [Point; 2], radii: [f32; 2]) -> f32 {
    let along = ends[1] - ends[0];
    let offset = point - ends[0];
    let share = (offset.dot(along) / along.dot(along)).clamp(0.0, 1.0);
    (offset - along * share).length() - mix(radii[0], radii[1], share)
}

/// Distance to an upright lens: two circular arcs that meet in the points `(0, ±half_length)`.
pub fn lens(point: Point, half_length: f32, half_width: f32) -> f32 {
    let radius = (half_length * half_length + half_width * half_width) / (2.0 * half_width);
    at(point.x.abs() + radius - half_width, point.y).length() - radius
}

/// Distance to a polygon.
pub fn polygon(point: Point, corners: &[Point]) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let mut previous = corners.last().copied().unwrap_or(point);
    for &corner in corners {
        let edge = previous - corner;
        let offset = point - corner;
        let share = (offset.dot(edge) / edge.dot(edge).max(1e-9)).clamp(0.0, 1.0);
        let apart = offset - edge * share;
        nearest = nearest.min(apart.dot(apart));
        let crosses = (corner.y > point.y) != (previous.y > point.y);
        if crosses && offset.x < edge.x * offset.y / edge.y {
            inside = !inside;
        }
        previous = corner;
    }
    if inside {
        -nearest.sqrt()
    } else {
        nearest.sqrt()
    }
}

/// Distance to the union of two figures with a fillet of about `width` where they meet.
pub fn blended(first: f32, second: f32, width: f32) -> f32 {
    let overlap = (width - (first - second).abs()).max(0.0) / width;
    first.min(second) - overlap * overlap * width * 0.25
}
