//! Properties of masks, each against a slow and plain reading of the same rule.

use pastebank::annotations::polygon::polygon_to_rle;
use pastebank::annotations::rle::Rle;
use proptest::collection::vec;
use proptest::prelude::*;

/// A plain mask: whether each pixel is set, column by column.
#[derive(Debug, Clone, PartialEq)]
struct Plane {
    width: u32,
    height: u32,
    pixels: Vec<bool>,
}

impl Plane {
    fn of(rle: &Rle) -> Plane {
        let mut pixels = Vec::new();
        for (run, &count) in rle.counts().iter().enumerate() {
            pixels.resize(pixels.len() + count as usize, run % 2 == 1);
        }
        Plane {
            width: rle.width(),
            height: rle.height(),
            pixels,
        }
    }

    fn get(&self, x: u32, y: u32) -> bool {
        self.pixels[(x * self.height + y) as usize]
    }

    /// The runs without zero-length ones but perhaps the first.
    fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0];
        let mut value = false;
        for &pixel in &self.pixels {
            if pixel != value {
                counts.push(0);
                value = pixel;
            }
            *counts.last_mut().expect("there is a first run") += 1;
        }
        counts
    }

    fn bounding_box(&self) -> Option<[u32; 4]> {
        let is_set = |&(x, y): &(u32, u32)| self.get(x, y);
        let all = (0..self.width).flat_map(|x| (0..self.height).map(move |y| (x, y)));
        let set: Vec<(u32, u32)> = all.filter(is_set).collect();
        let left = set.iter().map(|p| p.0).min()?;
        let right = set.iter().map(|p| p.0).max()?;
        let top = set.iter().map(|p| p.1).min()?;
        let bottom = set.iter().map(|p| p.1).max()?;
        Some([left, top, right - left + 1, bottom - top + 1])
    }
}

/// Runs of any lengths, zero often included, as a mask one pixel wide, one pixel high or of any factors in between.
fn any_rle() -> impl Strategy<Value = Rle> {
    let length = prop_oneof![Just(0u32), 0u32..6, 0u32..100, 0u32..5000];
    (vec(length, 0..40), any::<prop::sample::Index>()).prop_map(|(counts, choice)| {
        let pixels: u32 = counts.iter().sum();
        let heights: Vec<u32> = (1..=pixels).filter(|h| pixels.is_multiple_of(*h)).collect();
        let height = if heights.is_empty() {
            3
        } else {
            *choice.get(&heights)
        };
        Rle::from_counts(pixels / height, height, counts).expect("counts cover the image")
    })
}

/// Masks of the given size with short and long runs.
fn rle_of_size(width: u32, height: u32) -> impl Strategy<Value = Rle> {
    vec(prop_oneof![Just(0u32), 0u32..4, 0u32..60], 0..60).prop_map(move |lengths| {
        let mut left = width * height;
        let mut counts: Vec<u32> = Vec::new();
        for length in lengths {
            counts.push(length.min(left));
            left -= length.min(left);
        }
        counts.push(left);
        Rle::from_counts(width, height, counts).expect("counts cover the image")
    })
}

fn several_of_one_size() -> impl Strategy<Value = Vec<Rle>> {
    (1u32..20, 1u32..20).prop_flat_map(|(width, height)| vec(rle_of_size(width, height), 2..5))
}

/// Image size and a box within it.
fn image_and_box() -> impl Strategy<Value = (u32, u32, [u32; 4])> {
    (1u32..100, 1u32..40).prop_flat_map(|(width, height)| {
        (0..=width, 0..=height).prop_flat_map(move |(left, top)| {
            (0..=width - left, 0..=height - top)
                .prop_map(move |(w, h)| (width, height, [left, top, w, h]))
        })
    })
}

/// Coordinates around a small image: whole, on the fivefold grid, any, and far away.
fn coordinate() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-5i32..40).prop_map(f64::from),
        3 => (-25i32..200).prop_map(|grid| f64::from(grid) / 5.0),
        3 => (-50i32..400).prop_map(|tenths| f64::from(tenths) / 10.0),
        6 => -5.0..40.0,
        1 => -300.0..300.0,
        1 => -20_000.0..20_000.0,
    ]
}

/// The rule of the polygon module read plainly: walk the whole outline on the grid, and wherever it steps over the
/// middle of a pixel column, flip all pixels from there to the end of the mask.
fn polygon_plane(points: &[f64], width: u32, height: u32) -> Plane {
    let outline = grid_outline(points);
    let mut pixels = vec![false; (width * height) as usize];
    for step in outline.windows(2) {
        let (a, b) = (step[0], step[1]);
        let left = a.0.min(b.0);
        if a.0 == b.0
            || left.rem_euclid(5) != 2
            || !(0..i64::from(width)).contains(&(left.div_euclid(5)))
        {
            continue;
        }
        let middle_row = (a.1.min(b.1) as f64 + 0.5) / 5.0 - 0.5;
        let row = middle_row.clamp(0.0, f64::from(height)).ceil() as usize;
        let start = (left.div_euclid(5)) as usize * height as usize + row;
        pixels[start..]
            .iter_mut()
            .for_each(|pixel| *pixel = !*pixel);
    }
    Plane {
        width,
        height,
        pixels,
    }
}

/// All grid positions along the closed outline.
fn grid_outline(points: &[f64]) -> Vec<(i64, i64)> {
    let vertices: Vec<(i64, i64)> = points
        .chunks(2)
        .map(|p| ((5.0 * p[0] + 0.5) as i64, (5.0 * p[1] + 0.5) as i64))
        .collect();
    let mut outline = Vec::new();
    for (index, &a) in vertices.iter().enumerate() {
        let b = vertices[(index + 1) % vertices.len()];
        let wide = (a.0 - b.0).abs() >= (a.1 - b.1).abs();
        let turned = |p: (i64, i64)| if wide { p } else { (p.1, p.0) };
        let (from, to) = if turned(a).0 <= turned(b).0 {
            (a, b)
        } else {
            (b, a)
        };
        let (from, to) = (turned(from), turned(to));
        let slope = (to.1 - from.1) as f64 / (to.0 - from.0).max(1) as f64;
        let at = |d: i64| (from.0 + d, (from.1 as f64 + slope * d as f64 + 0.5) as i64);
        let mut edge: Vec<_> = (0..=to.0 - from.0).map(|d| turned(at(d))).collect();
        if turned(a) != from {
            edge.reverse();
        }
        outline.extend(edge);
    }
    outline
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn compressed_text_reads_back(rle in any_rle()) {
        let text = rle.compressed();
        prop_assert!(text.bytes().all(|byte| (b'0'..=b'o').contains(&byte)));
        prop_assert_eq!(Rle::from_string(rle.width(), rle.height(), &text), Ok(rle));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", width in any::<u32>(), height in any::<u32>()) {
        if let Ok(rle) = Rle::from_string(width, height, &text) {
            prop_assert_eq!(u64::from(width) * u64::from(height), total(&rle));
        }
    }

    #[test]
    fn any_text_of_the_alphabet_is_read_or_refused(text in "[0-o]{0,60}", short in "[0-?]{0,6}") {
        for text in [&text, &short] {
            let _ = Rle::from_string(640, 480, text);
            for pixels in 0..30 {
                if let Ok(rle) = Rle::from_string(pixels, 1, text) {
                    prop_assert_eq!(u64::from(pixels), total(&rle));
                    let again = Rle::from_string(pixels, 1, &rle.compressed());
                    prop_assert_eq!(again, Ok(rle));
                }
            }
        }
    }

    #[test]
    fn area_box_and_pieces_are_those_of_the_pixels(rle in any_rle()) {
        let plane = Plane::of(&rle);
        let area = plane.pixels.iter().filter(|&&pixel| pixel).count() as u64;
        prop_assert_eq!(rle.area(), area);
        prop_assert_eq!(rle.bounding_box(), plane.bounding_box());
        let mut last_end = 0;
        let mut drawn = vec![false; plane.pixels.len()];
        rle.for_each_run(|x, rows| {
            let start = x * rle.height() + rows.start;
            let end = x * rle.height() + rows.end;
            assert!(last_end <= start && start < end && rows.end <= rle.height());
            drawn[start as usize..end as usize].fill(true);
            last_end = end;
        });
        prop_assert_eq!(drawn, plane.pixels);
    }

    #[test]
    fn union_is_that_of_the_pixels(parts in several_of_one_size()) {
        let union = Rle::union(&parts).expect("the parts have one size");
        let mut plane = Plane::of(&parts[0]);
        for part in &parts[1..] {
            for (pixel, other) in plane.pixels.iter_mut().zip(Plane::of(part).pixels) {
                *pixel |= other;
            }
        }
        prop_assert_eq!(union.counts(), plane.counts());
    }

    #[test]
    fn box_bits_are_the_pixels(
        (width, height, box_xywh) in image_and_box(),
        spare_words in 0usize..3,
        style in 0u32..3,
        noise in vec(any::<u32>(), 1..300),
    ) {
        let [left, top, box_width, box_height] = box_xywh;
        let stride = box_width.div_ceil(32) as usize + spare_words;
        let word = |index: usize| match style {
            0 => noise[index % noise.len()],
            1 => u32::MAX,
            _ => if noise[index % noise.len()] % 8 == 0 { noise[0] } else { u32::MAX },
        };
        let bits: Vec<u32> = (0..stride * box_height as usize).map(word).collect();
        let rle = Rle::from_box_bits(width, height, box_xywh, stride, &bits).expect("box fits");
        let mut plane = Plane { width, height, pixels: vec![false; (width * height) as usize] };
        let mut row_major = vec![0; (box_width * box_height).div_ceil(8) as usize];
        for (y, x) in (0..box_height).flat_map(|y| (0..box_width).map(move |x| (y, x))) {
            let set = bits[y as usize * stride + x as usize / 32] >> (x % 32) & 1 == 1;
            plane.pixels[((left + x) * height + top + y) as usize] = set;
            let bit = (y * box_width + x) as usize;
            row_major[bit / 8] |= u8::from(set) << (bit % 8);
        }
        prop_assert_eq!(rle.counts(), plane.counts());
        let mut bytes = Vec::new();
        rle.fill_bits(box_xywh, &mut bytes).expect("box fits");
        prop_assert_eq!(bytes, row_major);
    }

    #[test]
    fn filled_bits_are_the_pixels_of_any_box(
        (rle, box_xywh) in image_and_box().prop_flat_map(|(width, height, box_xywh)| {
            (rle_of_size(width, height), Just(box_xywh))
        }),
    ) {
        let [left, top, box_width, box_height] = box_xywh;
        let plane = Plane::of(&rle);
        let mut bytes = vec![0xa5];
        rle.fill_bits(box_xywh, &mut bytes).expect("box fits");
        prop_assert_eq!(bytes.len(), 1 + (box_width * box_height).div_ceil(8) as usize);
        let bit_count = bytes.len() as u32 * 8 - 8;
        for bit in 0..bit_count {
            let found = bytes[1 + bit as usize / 8] >> (bit % 8) & 1 == 1;
            let expected = bit < box_width * box_height
                && plane.get(left + bit % box_width, top + bit / box_width);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn polygons_are_drawn_as_by_walking_the_outline(
        points in vec((coordinate(), coordinate()), 3..12),
        width in 1u32..40,
        height in 1u32..40,
    ) {
        let points: Vec<f64> = points.into_iter().flat_map(|(x, y)| [x, y]).collect();
        let rle = polygon_to_rle(&points, width, height).expect("polygon is valid");
        prop_assert_eq!(rle.counts(), polygon_plane(&points, width, height).counts());
    }

    #[test]
    fn any_numbers_are_a_polygon_or_refused(
        points in vec(any::<f64>(), 0..12),
        width in 0u32..1000,
        height in 0u32..1000,
    ) {
        if let Ok(rle) = polygon_to_rle(&points, width, height) {
            prop_assert_eq!((rle.width(), rle.height()), (width, height));
        }
    }
}

fn total(rle: &Rle) -> u64 {
    rle.counts().iter().map(|&count| u64::from(count)).sum()
}
