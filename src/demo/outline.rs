//! From the pixels of a figure to polygons and run lengths.

use super::geometry::{Point, at};

/// Parts and holes with fewer pixels than this are overlooked, as they are in drawn annotations.
const LEAST_PIXELS: usize = 14;

/// How far a polygon may pass from the middle of a pixel edge on the outline, in pixels.
const TOLERANCE: f32 = 0.6;

/// The pixels of one figure in a window with an empty margin of one pixel.
struct Mask {
    left: i32,
    top: i32,
    width: usize,
    set: Vec<bool>,
}

/// The outer polygons of an owner's pixels, in image coordinates.
///
/// Polygons of a COCO annotation have no holes, so that a part with a hole is cut in two.
pub fn polygons(owners: &[u16], width: usize, owner: u16) -> Vec<Vec<Point>> {
    let mut open: Vec<Mask> = mask_of(owners, width, owner).into_iter().collect();
    let mut polygons = Vec::new();
    while let Some(mask) = open.pop() {
        for mut part in mask.parts() {
            match part.hole() {
                Some(column) => open.extend(part.cut(column)),
                None => polygons.push(simplified(&part.outline())),
            }
        }
    }
    polygons.retain(|polygon| polygon.len() >= 3);
    polygons
}

/// The area inside a polygon.
pub fn area(polygon: &[Point]) -> f64 {
    let next = polygon.iter().cycle().skip(1);
    let twice: f64 = polygon
        .iter()
        .zip(next)
        .map(|(from, to)| f64::from(from.x) * f64::from(to.y) - f64::from(to.x) * f64::from(from.y))
        .sum();
    twice.abs() / 2.0
}

/// The lengths of the runs of pixels outside and inside, in turn, down the columns one by one.
pub fn run_lengths(owners: &[u16], width: usize, owner: u16) -> Vec<u32> {
    let height = owners.len() / width.max(1);
    let mut counts = Vec::new();
    let (mut inside, mut run) = (false, 0);
    for column in 0..width {
        for row in 0..height {
            if (owners[row * width + column] == owner) != inside {
                counts.push(run);
                inside = !inside;
                run = 0;
            }
            run += 1;
        }
    }
    counts.push(run);
    counts
}

fn mask_of(owners: &[u16], width: usize, owner: u16) -> Option<Mask> {
    let rows: Vec<&[u16]> = owners.chunks(width.max(1)).collect();
    let shows = |row: &&[u16]| row.contains(&owner);
    let top = rows.iter().position(shows)?;
    let bottom = rows.iter().rposition(shows)?;
    let shown = &rows[top..=bottom];
    let first = |row: &&[u16]| row.iter().position(|&own| own == owner);
    let last = |row: &&[u16]| row.iter().rposition(|&own| own == owner);
    let left = shown.iter().filter_map(first).min()?;
    let right = shown.iter().filter_map(last).max()?;
    let inner = right - left + 1;
    let mut set = vec![false; (inner + 2) * (shown.len() + 2)];
    for (row, line) in shown.iter().enumerate() {
        let start = (row + 1) * (inner + 2) + 1;
        for (place, own) in set[start..].iter_mut().zip(&line[left..=right]) {
            *place = *own == owner;
        }
    }
    Some(Mask {
        left: left as i32 - 1,
        top: top as i32 - 1,
        width: inner + 2,
        set,
    })
}

impl Mask {
    fn at(&self, column: i32, row: i32) -> bool {
        let inside = column >= 0 && row >= 0 && (column as usize) < self.width;
        let index = row.max(0) as usize * self.width + column.max(0) as usize;
        inside && self.set.get(index).is_some_and(|&set| set)
    }

    /// The pixels with the value `self.set[start]` that connect to `start`: through their sides
    /// inside the figure, and through their corners too outside it.
    fn flooded(&self, start: usize, seen: &mut [bool]) -> Vec<usize> {
        let value = self.set[start];
        let width = self.width as isize;
        let sides = [-1, 1, -width, width];
        let corners = [-width - 1, -width + 1, width - 1, width + 1];
        let reach = if value { 0 } else { 4 };
        let steps = sides.iter().chain(corners.iter().take(reach));
        let mut found = vec![start];
        seen[start] = true;
        let mut next = 0;
        while next < found.len() {
            for step in steps.clone() {
                // Steps over the left or right edge lead from one empty margin to the other.
                let Some(place) = found[next].checked_add_signed(*step) else {
                    continue;
                };
                if self.set.get(place) == Some(&value) && !seen[place] {
                    seen[place] = true;
                    found.push(place);
                }
            }
            next += 1;
        }
        found
    }

    /// The connected parts that are not too small.
    fn parts(&self) -> Vec<Mask> {
        let mut seen = vec![false; self.set.len()];
        let mut parts = Vec::new();
        for start in 0..self.set.len() {
            if !self.set[start] || seen[start] {
                continue;
            }
            let pixels = self.flooded(start, &mut seen);
            if pixels.len() >= LEAST_PIXELS {
                let mut set = vec![false; self.set.len()];
                pixels.iter().for_each(|&pixel| set[pixel] = true);
                parts.push(Mask { set, ..*self });
            }
        }
        parts
    }

    /// The middle column of a hole; holes that are too small are filled.
    fn hole(&mut self) -> Option<usize> {
        let mut seen = vec![false; self.set.len()];
        self.flooded(0, &mut seen);
        for start in 0..self.set.len() {
            if self.set[start] || seen[start] {
                continue;
            }
            let pixels = self.flooded(start, &mut seen);
            if pixels.len() >= LEAST_PIXELS {
                let sum: usize = pixels.iter().map(|pixel| pixel % self.width).sum();
                return Some(sum / pixels.len());
            }
            pixels.iter().for_each(|&pixel| self.set[pixel] = true);
        }
        None
    }

    /// The pixels left of a column, and the others.
    fn cut(&self, column: usize) -> [Mask; 2] {
        [true, false].map(|left| {
            let kept = |(index, &set): (usize, &bool)| set && (index % self.width < column) == left;
            let set = self.set.iter().enumerate().map(kept).collect();
            Mask { set, ..*self }
        })
    }

    /// The middles of the pixel edges around the figure, clockwise on screen.
    fn outline(&self) -> Vec<Point> {
        let Some(start) = self.set.iter().position(|&set| set) else {
            return Vec::new();
        };
        let first = ((start % self.width) as i32, (start / self.width) as i32);
        let ((mut column, mut row), mut heading) = (first, (1, 0));
        let mut middles = Vec::new();
        loop {
            let middle = at(
                (self.left + column) as f32 + heading.0 as f32 * 0.5,
                (self.top + row) as f32 + heading.1 as f32 * 0.5,
            );
            middles.push(middle);
            column += heading.0;
            row += heading.1;
            let right = (-heading.1, heading.0);
            let ahead = |side: i32| {
                let across = (heading.0 + side * right.0 - 1) / 2;
                let down = (heading.1 + side * right.1 - 1) / 2;
                self.at(column + across, row + down)
            };
            if !ahead(1) {
                heading = right;
            } else if ahead(-1) {
                heading = (-right.0, -right.1);
            }
            if (column, row) == first && heading == (1, 0) {
                return middles;
            }
        }
    }
}

/// The closed polygon with only the corners that matter (Ramer, Douglas and Peucker).
fn simplified(points: &[Point]) -> Vec<Point> {
    let Some(&start) = points.first() else {
        return Vec::new();
    };
    let mut closed = points.to_vec();
    closed.push(start);
    let last = closed.len() - 1;
    let farthest = (0..last)
        .max_by(|&one, &two| {
            let (one, two) = (closed[one] - start, closed[two] - start);
            one.length().total_cmp(&two.length())
        })
        .unwrap_or(0);
    let mut kept = vec![false; closed.len()];
    kept[0] = true;
    kept[farthest] = true;
    let mut spans = vec![(0, farthest), (farthest, last)];
    while let Some((from, to)) = spans.pop() {
        let offsets = (from + 1..to).map(|index| {
            let offset = offset_from(closed[index], closed[from], closed[to]);
            (offset, index)
        });
        let Some((offset, index)) = offsets.max_by(|one, two| one.0.total_cmp(&two.0)) else {
            continue;
        };
        if offset > TOLERANCE {
            kept[index] = true;
            spans.extend([(from, index), (index, to)]);
        }
    }
    let corners = points.iter().zip(kept).filter(|(_, keep)| *keep);
    corners.map(|(point, _)| *point).collect()
}

/// The distance of a point from a line segment.
fn offset_from(point: Point, from: Point, to: Point) -> f32 {
    let along = to - from;
    let offset = point - from;
    let share = offset.dot(along) / along.dot(along).max(1e-9);
    (offset - along * share.clamp(0.0, 1.0)).length()
}
