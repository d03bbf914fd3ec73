//! Where things lie on the canvas: boxes of a scaled picture and their tags.

use image::{Rgb, RgbImage};

/// Steps in which the share of a box that a tag hides is counted.
const HIDDEN_STEPS: i64 = 20;

/// How a picture of the source size lies on a canvas.
pub(super) struct Placement {
    pub(super) source: (u32, u32),
    /// Size at which it is drawn; no side is zero where anything is drawn.
    pub(super) drawn: (u32, u32),
    pub(super) left: u32,
    pub(super) top: u32,
}

impl Placement {
    /// A box of the source on the canvas. One that is not empty keeps at least a pixel.
    pub(super) fn area(&self, [left, top, right, bottom]: [u32; 4]) -> Area {
        let across = span(left, right, self.source.0, self.drawn.0);
        let down = span(top, bottom, self.source.1, self.drawn.1);
        Area {
            left: across.0 + i64::from(self.left),
            top: down.0 + i64::from(self.top),
            right: across.1 + i64::from(self.left),
            bottom: down.1 + i64::from(self.top),
        }
    }
}

/// A half open range of source pixels scaled to drawn ones.
fn span(from: u32, to: u32, source: u32, drawn: u32) -> (i64, i64) {
    let scale = f64::from(drawn) / f64::from(source);
    let place = |value: u32| (f64::from(value) * scale).round() as i64;
    let start = place(from);
    let least = start + i64::from(to > from);
    (start, place(to).max(least))
}

/// A half open rectangle of canvas pixels, which may reach beyond the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) right: i64,
    pub(super) bottom: i64,
}

impl Area {
    /// The area of that size nearest to the corner that lies on the canvas.
    pub(super) fn kept_inside(
        (left, top): (i64, i64),
        size: (i64, i64),
        canvas: (i64, i64),
    ) -> Area {
        let left = left.min(canvas.0 - size.0).max(0);
        let top = top.min(canvas.1 - size.1).max(0);
        Area {
            left,
            top,
            right: left + size.0,
            bottom: top + size.1,
        }
    }

    /// How many pixels two areas share.
    pub(super) fn shared(&self, other: &Area) -> i64 {
        let across = self.right.min(other.right) - self.left.max(other.left);
        let down = self.bottom.min(other.bottom) - self.top.max(other.top);
        across.max(0).saturating_mul(down.max(0))
    }

    /// Fills the part of the area that lies on the canvas.
    pub(super) fn fill(&self, canvas: &mut RgbImage, colour: Rgb<u8>) {
        let clip = |value: i64, most: u32| value.clamp(0, most.into()) as u32;
        let (width, height) = canvas.dimensions();
        for y in clip(self.top, height)..clip(self.bottom, height) {
            for x in clip(self.left, width)..clip(self.right, width) {
                canvas.put_pixel(x, y, colour);
            }
        }
    }
}

/// The place for a tag where it hides least of the boxes, kept within the canvas. None where every
/// place would cover a tag that is already there.
pub(super) fn place_tag(
    area: Area,
    size: (i64, i64),
    canvas: (i64, i64),
    boxes: &[Area],
    tags: &[Area],
) -> Option<Area> {
    let (left, right) = (area.left, area.right - size.0);
    let (above, below) = (area.top - size.1, area.bottom);
    let (top, bottom) = (area.top, area.bottom - size.1);
    let corners = [
        (left, above),
        (right, above),
        (left, below),
        (right, below),
        (left, top),
        (right, top),
        (left, bottom),
        (right, bottom),
    ];
    // The first of equal places is taken, so that tags prefer the top left corner.
    corners
        .into_iter()
        .map(|corner| Area::kept_inside(corner, size, canvas))
        .filter(|place| tags.iter().all(|tag| place.shared(tag) == 0))
        .min_by_key(|place| boxes.iter().map(|other| hidden(other, place)).sum::<i64>())
}

/// How much of a box a tag would hide, in steps that overlook a little. As a share, so that small
/// boxes are spared and large ones can take a tag.
fn hidden(area: &Area, tag: &Area) -> i64 {
    let pixels = area.shared(area).max(1);
    area.shared(tag) * HIDDEN_STEPS / pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_stay_inside_and_prefer_the_top_left() {
        let area = |left, top, right, bottom| Area {
            left,
            top,
            right,
            bottom,
        };
        let place = |at, tags: &[Area]| place_tag(at, (40, 10), (100, 80), &[at], tags);
        assert_eq!(place(area(20, 30, 70, 60), &[]), Some(area(20, 20, 60, 30)));
        assert_eq!(
            place(area(20, 30, 70, 60), &[area(20, 20, 30, 21)]),
            Some(area(30, 20, 70, 30))
        );
        for corner in [(-500, -500), (95, 75), (9_000, 40), (0, 0)] {
            let at = area(corner.0, corner.1, corner.0 + 7, corner.1 + 7);
            let tag = place(at, &[]).unwrap();
            assert_eq!(tag.shared(&area(0, 0, 100, 80)), 400);
        }
        assert_eq!(place(area(5, 5, 9, 9), &[area(0, 0, 100, 80)]), None);
    }

    #[test]
    fn tags_spare_small_boxes() {
        let area = |left, top, right, bottom| Area {
            left,
            top,
            right,
            bottom,
        };
        let at = area(20, 30, 70, 60);
        let place = |other| place_tag(at, (40, 10), (100, 80), &[at, other], &[]);
        assert_eq!(place(area(22, 20, 30, 28)), Some(area(30, 20, 70, 30)));
        assert_eq!(place(area(0, 0, 100, 80)), Some(area(20, 20, 60, 30)));
    }
}
