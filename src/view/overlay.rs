//! Instances drawn over a picture: tinted masks, outlines, boxes and tags.

use image::{Rgb, RgbImage};

use super::placement::{Area, Placement, place_tag};
use super::sheet::{centred, fit, scaled};
use super::stencil::Stencil;
use super::text::Typeface;
use super::{MOST_PIXELS, Overlay};

/// Pixels of a tag left and right of its text.
const TAG_PADDING: u32 = 2;
/// From this shorter side on a picture has lines two pixels wide.
const WIDE_STROKE_SIDE: u32 = 512;
/// A box narrower than this has thin lines on any picture, or it would be nothing but lines.
const THIN_BOX_SIDE: i64 = 24;

/// Which parts of overlays are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Tinted masks with their outlines.
    pub masks: bool,
    /// Boxes.
    pub boxes: bool,
    /// Tags with the labels.
    pub names: bool,
}

impl Default for Style {
    /// All of them.
    fn default() -> Style {
        Style {
            masks: true,
            boxes: true,
            names: true,
        }
    }
}

/// Draws the overlays over the image they belong to: first all masks, then all boxes, then the
/// tags. A tag that would cover another one is left out.
pub fn draw_overlays(image: &mut RgbImage, overlays: &[Overlay]) {
    let size = image.dimensions();
    let placement = Placement {
        source: size,
        drawn: size,
        left: 0,
        top: 0,
    };
    draw_placed(image, overlays, &placement, Style::default());
}

/// Scales the image into a tile of exactly that size and draws the overlays at the resolution
/// of the tile, so that lines and tags stay legible. A tile too large to be made comes out empty.
pub fn tile_with_overlays(image: &RgbImage, overlays: &[Overlay], tile: (u32, u32)) -> RgbImage {
    tile_in_style(image, overlays, tile, Style::default())
}

/// As [`tile_with_overlays`], with only the chosen parts of the overlays.
pub fn tile_in_style(
    image: &RgbImage,
    overlays: &[Overlay],
    tile: (u32, u32),
    style: Style,
) -> RgbImage {
    if u64::from(tile.0) * u64::from(tile.1) > MOST_PIXELS {
        return RgbImage::new(0, 0);
    }
    let drawn = fit(image.dimensions(), tile);
    let mut canvas = centred(&scaled(image, tile), tile);
    let placement = Placement {
        source: image.dimensions(),
        drawn,
        left: (tile.0 - drawn.0) / 2,
        top: (tile.1 - drawn.1) / 2,
    };
    draw_placed(&mut canvas, overlays, &placement, style);
    canvas
}

/// Draws overlays of a picture that lies so on the canvas.
fn draw_placed(canvas: &mut RgbImage, overlays: &[Overlay], placement: &Placement, style: Style) {
    if placement.drawn.0 == 0 || placement.drawn.1 == 0 {
        return;
    }
    let shorter_side = placement.drawn.0.min(placement.drawn.1);
    let stroke = if shorter_side < WIDE_STROKE_SIDE {
        1
    } else {
        2
    };
    for overlay in overlays.iter().filter(|_| style.masks) {
        if let Some(stencil) = Stencil::sample(&overlay.mask, placement) {
            stencil.paint(canvas, Rgb(overlay.tint), stroke);
        }
    }
    let boxes: Vec<Area> = overlays
        .iter()
        .map(|overlay| placement.area(overlay.box_xyxy))
        .collect();
    for (overlay, area) in overlays.iter().zip(&boxes).filter(|_| style.boxes) {
        draw_box(canvas, *area, Rgb(overlay.tint), stroke);
    }
    if style.names {
        draw_tags(canvas, overlays, &boxes);
    }
}

/// Draws the outline of a box just inside its bounds. Sides beyond the canvas are not seen.
fn draw_box(canvas: &mut RgbImage, area: Area, colour: Rgb<u8>, stroke: i64) {
    let (width, height) = (area.right - area.left, area.bottom - area.top);
    if width <= 0 || height <= 0 {
        return;
    }
    let thin = width.min(height) < THIN_BOX_SIDE;
    let stroke = if thin { 1 } else { stroke };
    let (right, left) = (area.right - stroke, area.left + stroke);
    let (bottom, top) = (area.bottom - stroke, area.top + stroke);
    for side in [
        Area {
            right: left,
            ..area
        },
        Area {
            left: right,
            ..area
        },
        Area {
            bottom: top,
            ..area
        },
        Area {
            top: bottom,
            ..area
        },
    ] {
        side.fill(canvas, colour);
    }
}

/// Draws the labels of overlays on filled tags at their boxes, where a place is free.
fn draw_tags(canvas: &mut RgbImage, overlays: &[Overlay], boxes: &[Area]) {
    let typeface = Typeface::tag(canvas.width().min(canvas.height()));
    let room = canvas.width().saturating_sub(2 * TAG_PADDING);
    let canvas_size = (canvas.width().into(), canvas.height().into());
    let mut tags = Vec::new();
    for (overlay, area) in overlays.iter().zip(boxes) {
        let text = typeface.cut(overlay.label, room);
        if text.is_empty() || typeface.height() > canvas.height() {
            continue;
        }
        let width = typeface.width(&text) + 2 * TAG_PADDING;
        let size = (width.into(), typeface.height().into());
        if let Some(tag) = place_tag(*area, size, canvas_size, boxes, &tags) {
            let colour = Rgb(overlay.tint);
            tag.fill(canvas, colour);
            let corner = (tag.left + i64::from(TAG_PADDING), tag.top);
            typeface.draw(canvas, corner, &text, ink_on(colour));
            tags.push(tag);
        }
    }
}

/// Black or white, whichever reads better on the colour.
fn ink_on(colour: Rgb<u8>) -> Rgb<u8> {
    let [red, green, blue] = colour.0.map(u32::from);
    let luma = (299 * red + 587 * green + 114 * blue) / 1000;
    Rgb(if luma > 120 { [16; 3] } else { [255; 3] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Mask;

    const RED: [u8; 3] = [255, 0, 0];

    fn overlay(box_xyxy: [u32; 4], label: &str) -> Overlay<'_> {
        let mask = Mask {
            bits: &[],
            stride_words: 1,
        };
        Overlay {
            mask,
            box_xyxy,
            label,
            tint: RED,
        }
    }

    #[test]
    fn boxes_are_half_open() {
        let mut image = RgbImage::new(8, 8);
        draw_overlays(&mut image, &[overlay([2, 1, 5, 4], " ")]);
        let drawn: Vec<(u32, u32)> = image
            .enumerate_pixels()
            .filter(|(_, _, pixel)| pixel.0 == RED)
            .map(|(x, y, _)| (x, y))
            .collect();
        assert_eq!(drawn.len(), 8);
        assert!(drawn.contains(&(2, 1)) && drawn.contains(&(4, 3)));
        assert!(!drawn.contains(&(3, 2)));
    }

    #[test]
    fn a_style_leaves_parts_out() {
        let image = RgbImage::new(60, 60);
        let bits = [0b1111_0000_u32; 20];
        let mut overlay = overlay([10, 30, 50, 50], "cup");
        overlay.mask.bits = &bits;
        let nothing = Style {
            masks: false,
            boxes: false,
            names: false,
        };
        let drawn = |style| {
            let tile = tile_in_style(&image, &[overlay], (60, 60), style);
            tile.pixels().filter(|pixel| pixel.0 != [0; 3]).count()
        };
        assert_eq!(drawn(nothing), 0);
        let boxes = Style {
            boxes: true,
            ..nothing
        };
        assert_eq!(drawn(boxes), 2 * 40 + 2 * 18);
        let masks = Style {
            masks: true,
            ..nothing
        };
        assert_eq!(drawn(masks), 4 * 20);
        let names = Style {
            names: true,
            ..nothing
        };
        assert!(drawn(names) > 50);
        assert!(drawn(Style::default()) > 2 * 40 + 2 * 18 + 4 * 20);
    }

    #[test]
    fn boxes_follow_the_picture_into_its_tile() {
        let image = RgbImage::new(100, 50);
        let tile = tile_with_overlays(&image, &[overlay([0, 0, 100, 50], "")], (50, 45));
        assert_eq!(tile.dimensions(), (50, 45));
        assert_eq!(tile.get_pixel(0, 10).0, RED);
        assert_eq!(tile.get_pixel(49, 34).0, RED);
        assert_ne!(tile.get_pixel(0, 9).0, RED);
        assert_ne!(tile.get_pixel(49, 35).0, RED);
    }

    #[test]
    fn odd_sizes_and_boxes_are_drawn() {
        let long = "label ".repeat(1000);
        let boxes = [
            [0; 4],
            [u32::MAX; 4],
            [9, 9, 3, 3],
            [0, 0, u32::MAX, u32::MAX],
        ];
        for (width, height) in [(0, 0), (0, 9), (1, 1), (3, 70), (70, 3), (40, 40)] {
            let mut image = RgbImage::new(width, height);
            for box_xyxy in boxes {
                let overlays = [overlay(box_xyxy, &long), overlay(box_xyxy, "a")];
                draw_overlays(&mut image, &overlays);
                for tile in [(0, 0), (1, 1), (5, 60), (60, 5), (64, 64)] {
                    let drawn = tile_with_overlays(&image, &overlays, tile);
                    assert_eq!(drawn.dimensions(), tile);
                }
            }
        }
        let absurd = tile_with_overlays(&RgbImage::new(2, 2), &[], (u32::MAX, u32::MAX));
        assert_eq!(absurd.dimensions(), (0, 0));
    }
}
