//! Polygons against the pixels that they were traced from.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// A mask of which `is_set` tells every pixel.
fn mask_of(width: u32, height: u32, is_set: impl Fn(u32, u32) -> bool) -> Rle {
    let mut changes = Vec::new();
    let mut before = false;
    for (number, (x, y)) in (0..).zip((0..width).flat_map(|x| (0..height).map(move |y| (x, y)))) {
        if is_set(x, y) != before {
            changes.push(number);
            before = !before;
        }
    }
    if before {
        changes.push(width * height);
    }
    Rle::from_changes(width, height, changes).unwrap()
}

/// A mask drawn as a picture: `#` is a set pixel.
fn picture(rows: &[&str]) -> Rle {
    let is_set = |x: u32, y: u32| rows[y as usize].as_bytes()[x as usize] == b'#';
    mask_of(rows[0].len() as u32, rows.len() as u32, is_set)
}

/// Whether the middle of a pixel is within a polygon, by counting the edges to its left.
fn holds(polygon: &[u32], x: u32, y: u32) -> bool {
    let points = polygon.as_chunks::<2>().0;
    let following = points.iter().cycle().skip(1);
    let crossed = points.iter().zip(following).filter(|(a, b)| {
        let (top, bottom) = (a[1].min(b[1]), a[1].max(b[1]));
        a[0] == b[0] && a[0] <= x && (top..bottom).contains(&y)
    });
    crossed.count() % 2 == 1
}

/// Twice the signed area.
fn doubled_area(polygon: &[u32]) -> i64 {
    let points = polygon.as_chunks::<2>().0;
    let following = points.iter().cycle().skip(1);
    let product = |([x0, y0], [x1, y1]): (&[u32; 2], &[u32; 2])| {
        i64::from(*x0) * i64::from(*y1) - i64::from(*x1) * i64::from(*y0)
    };
    points.iter().zip(following).map(product).sum()
}

/// All that is promised of a mask's polygons; gives how many there are.
fn check(mask: &Rle) -> usize {
    // By the crate's own rasteriser, which is pycocotools' to the bit.
    let polygons = outlines(mask).unwrap_or_else(|| panic!("no polygons of {mask:?}"));
    for polygon in &polygons {
        assert!(polygon.len() >= 8, "{polygon:?}");
        let points = polygon.as_chunks::<2>().0;
        for (a, b) in points.iter().zip(points.iter().cycle().skip(1)) {
            assert!((a[0] == b[0]) != (a[1] == b[1]), "{a:?} to {b:?}");
        }
    }
    // By geometry: slits have no width, parts do not overlap.
    let area: i64 = polygons.iter().map(|polygon| doubled_area(polygon)).sum();
    assert_eq!(area, 2 * mask.area() as i64);
    if mask.width() * mask.height() < 2000 {
        let bounds = [0, 0, mask.width(), mask.height()];
        let plane = mask.box_plane(bounds).unwrap();
        for (number, &pixel) in (0..).zip(&plane) {
            let (x, y) = (number % mask.width(), number / mask.width());
            let within = polygons.iter().filter(|polygon| holds(polygon, x, y));
            assert_eq!(within.count(), usize::from(pixel), "pixel {x}, {y}");
        }
    }
    polygons.len()
}

#[test]
fn parts_holes_and_islands() {
    assert_eq!(check(&picture(&["#"])), 1);
    assert_eq!(check(&picture(&["....", ".##.", "...."])), 1);
    assert_eq!(check(&picture(&["#.", ".#"])), 2);
    assert_eq!(check(&picture(&[".#", "#."])), 2);
    assert_eq!(check(&picture(&["###", "#.#", "###"])), 1);
    // A hole that touches the outside at a corner is no hole.
    assert_eq!(check(&picture(&["###", "#.#", "##."])), 1);
    // Two holes that touch at a corner are one.
    assert_eq!(check(&picture(&["####", "#.##", "##.#", "####"])), 1);
    // Holes side by side, one above the other, and in steps.
    assert_eq!(check(&picture(&["#####", "#.#.#", "#####"])), 1);
    assert_eq!(check(&picture(&["###", "#.#", "###", "#.#", "###"])), 1);
    assert_eq!(
        check(&picture(&[
            "#######", "#..#..#", "#.###.#", "##...##", "#######"
        ])),
        1
    );
    // An island in a hole, with a hole of its own.
    let nested = [
        "#########",
        "#.......#",
        "#.#####.#",
        "#.#...#.#",
        "#.#.#.#.#",
        "#.#...#.#",
        "#.#####.#",
        "#.......#",
        "#########",
    ];
    assert_eq!(check(&picture(&nested)), 3);
}

#[test]
fn single_pixels_whole_canvases_and_nothing() {
    for [width, height] in [[1, 1], [1, 9], [9, 1], [33, 31], [640, 3]] {
        assert_eq!(check(&mask_of(width, height, |_, _| true)), 1);
        let corner = mask_of(width, height, |x, y| x + 1 == width && y + 1 == height);
        assert_eq!(check(&corner), 1);
        assert_eq!(outlines(&mask_of(width, height, |_, _| false)), None);
    }
}

#[test]
fn chequers_rings_and_combs() {
    check(&mask_of(64, 48, |x, y| (x + y) % 2 == 0));
    check(&mask_of(65, 65, |x, y| x % 2 == 0 || y % 2 == 0));
    check(&mask_of(65, 65, |x, y| {
        x.min(64 - x).min(y.min(64 - y)) % 2 == 0
    }));
    check(&mask_of(300, 40, |x, y| y == 0 || x % 2 == 0));
    // Thousands of holes, each of which hangs on the one above.
    let ladder = mask_of(3, 8001, |x, y| x != 1 || y % 2 == 0);
    assert_eq!(check(&ladder), 1);
}

/// Pixels set at random, or blocks of them, or the space between random discs.
fn random_mask(draw: &mut ChaCha8Rng, width: u32, height: u32) -> Rle {
    let kind = draw.random_range(0..4);
    let density = draw.random_range(0.02..0.98);
    let block = if kind == 1 {
        draw.random_range(1..6)
    } else {
        1
    };
    let across = width / block + 1;
    let cells: Vec<bool> = (0..across * (height / block + 1))
        .map(|_| draw.random_bool(density))
        .collect();
    let discs: Vec<[f64; 3]> = (0..draw.random_range(1..7))
        .map(|_| {
            let radius = draw.random_range(0.5..f64::from(width.max(height)));
            [
                draw.random_range(0.0..f64::from(width)),
                draw.random_range(0.0..f64::from(height)),
                radius,
            ]
        })
        .collect();
    mask_of(width, height, |x, y| {
        let covered = discs.iter().filter(|[disc_x, disc_y, radius]| {
            (f64::from(x) + 0.5 - disc_x).hypot(f64::from(y) + 0.5 - disc_y) < *radius
        });
        match kind {
            0 | 1 => cells[(y / block * across + x / block) as usize],
            // Rings within rings that cut one another.
            2 => covered.count() % 2 == 1,
            _ => covered.count() > 0 && cells[(y * across + x) as usize],
        }
    })
}

#[test]
fn four_thousand_random_masks_need_no_fallback() {
    let mut draw = ChaCha8Rng::seed_from_u64(11);
    let (mut checked, mut fallbacks) = (0, 0);
    for _ in 0..4000 {
        let (width, height) = (draw.random_range(1..40), draw.random_range(1..40));
        let mask = random_mask(&mut draw, width, height);
        if mask.area() > 0 {
            checked += 1;
            fallbacks += usize::from(outlines(&mask).is_none());
            check(&mask);
        }
    }
    assert!(checked > 3500, "{checked}");
    assert_eq!(fallbacks, 0);
}

#[test]
fn masks_of_the_size_of_photographs() {
    let mut draw = ChaCha8Rng::seed_from_u64(12);
    for [width, height] in [[641, 479], [1023, 200], [97, 1025]] {
        for _ in 0..4 {
            check(&random_mask(&mut draw, width, height));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_small_mask_comes_back(width in 1u32..9, bits in prop::collection::vec(any::<bool>(), 1..90)) {
        let height = (bits.len() as u32).div_ceil(width);
        let mask = mask_of(width, height, |x, y| {
            bits.get((y * width + x) as usize).copied().unwrap_or(false)
        });
        if mask.area() > 0 {
            check(&mask);
        }
    }
}
