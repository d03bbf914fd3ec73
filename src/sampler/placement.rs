//! Where a layer goes on the canvas.

#[cfg(test)]
mod tests;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::geometry::{MAX_CANVAS_SIDE, MAX_OFFSET, Rect, Size};

/// Most attempts of [`PlacementMode::Overlap`], so that a crowded canvas cannot hold up a loader.
const MAX_ATTEMPTS: u32 = 10_000;

/// How the place of a layer is drawn.
///
/// ```
/// use pastebank::sampler::placement::PlacementMode;
/// let mode: PlacementMode = serde_json::from_str(r#"{"overlap": {"most": 0.3, "attempts": 20}}"#)?;
/// assert_eq!(mode, PlacementMode::Overlap { most: 0.3, attempts: 20 });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PlacementMode {
    /// The centre of the object's box uniform over the canvas, as X-Paste (arXiv 2212.03863) does
    /// it; up to three quarters of the box may lie outside.
    #[default]
    Uniform,
    /// The object's box inside the canvas, uniform over all the whole pixels where it is. Along an
    /// axis where it does not fit it is centred.
    Inside,
    /// As `Inside`, drawn anew until the box overlaps no other by more than `most`.
    Overlap {
        /// Greatest area that the box may share with another one, as a share of the smaller of the
        /// two boxes' areas, 0..=1.
        most: f64,
        /// How many places are drawn before the layer is left out, 1..=10000.
        attempts: u32,
    },
    /// Layer number n in cell n mod (columns·rows) of a grid over the canvas, cells in reading
    /// order; inside its cell as `Inside` is inside the canvas.
    Grid {
        /// Cells across, 1..=8192.
        columns: u32,
        /// Cells down, 1..=8192.
        rows: u32,
    },
}

/// The box of the object inside its resized (and mirrored, and rotated) layer, in canvas pixels
/// from the layer's top left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectBox {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// From the left edge to the right one.
    pub width: f64,
    /// From the top edge to the bottom one.
    pub height: f64,
}

/// The boxes that are on a canvas already: the scene's instances and the layers placed so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    boxes: Vec<Rect>,
}

impl Taken {
    /// Forgets all boxes and keeps their memory.
    pub fn clear(&mut self) {
        self.boxes.clear();
    }

    /// Adds a box, which should be clipped to the canvas; an empty one is in nobody's way.
    pub fn push(&mut self, rect: Rect) {
        if !rect.is_empty() {
            self.boxes.push(rect);
        }
    }

    /// The boxes, in the order in which they were added.
    pub fn boxes(&self) -> &[Rect] {
        &self.boxes
    }

    /// Whether `rect` shares at most `most` of the smaller box's area with each of these.
    fn leave_room(&self, rect: Rect, most: f64) -> bool {
        self.boxes.iter().all(|&other| {
            let smaller = area(rect).min(area(other));
            area(rect.intersect(other)) <= most * smaller
        })
    }
}

fn area(rect: Rect) -> f64 {
    rect.width() as f64 * rect.height() as f64
}

impl PlacementMode {
    /// Refuses settings out of their ranges.
    ///
    /// # Errors
    /// The field, and what was found in it and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let count = |field, value: u32, greatest: u32| match (1..=greatest).contains(&value) {
            true => Ok(()),
            false => Err((field, format!("{value}; 1..={greatest}"))),
        };
        match *self {
            PlacementMode::Uniform | PlacementMode::Inside => Ok(()),
            PlacementMode::Overlap { most, .. } if !(0.0..=1.0).contains(&most) => {
                Err(("most", format!("{most}; 0..=1")))
            }
            PlacementMode::Overlap { attempts, .. } => count("attempts", attempts, MAX_ATTEMPTS),
            PlacementMode::Grid { columns, rows } => {
                count("columns", columns, MAX_CANVAS_SIDE)?;
                count("rows", rows, MAX_CANVAS_SIDE)
            }
        }
    }

    /// Draws where the top left of layer `number`, the first being 0, goes so that its object lies
    /// as the mode says, within ±65536; what the object's box covers of the canvas is added to
    /// `taken`.
    ///
    /// `None` if no place was found: the layer is left out.
    pub fn place(
        &self,
        draw: &mut impl Rng,
        canvas: Size,
        object: ObjectBox,
        number: usize,
        taken: &mut Taken,
    ) -> Option<[i32; 2]> {
        let offset = match *self {
            PlacementMode::Uniform => centred_anywhere(draw, canvas, object),
            PlacementMode::Inside => inside(draw, canvas, object),
            PlacementMode::Overlap { most, attempts } => (0..attempts)
                .map(|_| inside(draw, canvas, object))
                .find(|&offset| taken.leave_room(object.on(canvas, offset), most))?,
            PlacementMode::Grid { columns, rows } => {
                let [columns, rows] = [columns, rows].map(|count| u64::from(count.max(1)));
                let cell = number as u64 % (columns * rows);
                let [column, row] = [cell % columns, cell / columns];
                [
                    between(draw, part(canvas.width(), column, columns), object.across()),
                    between(draw, part(canvas.height(), row, rows), object.down()),
                ]
            }
        };
        taken.push(object.on(canvas, offset));
        Some(offset)
    }
}

impl ObjectBox {
    /// Left edge and width.
    fn across(&self) -> [f64; 2] {
        [self.x, self.width]
    }

    /// Top edge and height.
    fn down(&self) -> [f64; 2] {
        [self.y, self.height]
    }

    /// The pixels of the canvas that the box touches when its layer lies at `offset`.
    pub(super) fn on(&self, canvas: Size, offset: [i32; 2]) -> Rect {
        let [x, y] = [f64::from(offset[0]) + self.x, f64::from(offset[1]) + self.y];
        let touched = Rect {
            x0: x.floor() as i32,
            y0: y.floor() as i32,
            x1: (x + self.width).ceil() as i32,
            y1: (y + self.height).ceil() as i32,
        };
        touched.intersect(canvas.rect())
    }
}

/// X-Paste's places: the centre of the box anywhere on the canvas.
fn centred_anywhere(draw: &mut impl Rng, canvas: Size, object: ObjectBox) -> [i32; 2] {
    let mut axis = |side: u32, [start, length]: [f64; 2]| {
        let centre = draw.random::<f64>() * f64::from(side);
        whole(centre - start - length / 2.0)
    };
    [
        axis(canvas.width(), object.across()),
        axis(canvas.height(), object.down()),
    ]
}

fn inside(draw: &mut impl Rng, canvas: Size, object: ObjectBox) -> [i32; 2] {
    let [width, height] = [canvas.width(), canvas.height()].map(f64::from);
    [
        between(draw, [0.0, width], object.across()),
        between(draw, [0.0, height], object.down()),
    ]
}

/// The edges of cell `index` of `count` cells along a side.
fn part(side: u32, index: u64, count: u64) -> [f64; 2] {
    [index, index + 1].map(|edge| f64::from(side) * edge as f64 / count as f64)
}

/// A uniform offset among those that bring [start, start + length] into [from, to]; the one that
/// centres it there if there are none.
fn between(draw: &mut impl Rng, [from, to]: [f64; 2], [start, length]: [f64; 2]) -> i32 {
    let least = (from - start).ceil();
    let greatest = (to - start - length).floor();
    if least <= greatest {
        // Drawn as 64 bits on every platform; the cast stops at the ends of their range.
        let drawn = draw.random_range(least as i64..=greatest as i64);
        whole(drawn as f64)
    } else {
        whole((from + to - length) / 2.0 - start)
    }
}

/// The nearest offset that a plan may have.
fn whole(offset: f64) -> i32 {
    let furthest = f64::from(MAX_OFFSET);
    offset.round().clamp(-furthest, furthest) as i32
}
