use proptest::prelude::*;

use super::*;

/// A mask from a drawing: `#` is 200, `+` 128, `-` 127, anything else 0.
fn drawing(rows: &[&str]) -> GrayImage {
    let width = rows[0].len() as u32;
    let value = |x: u32, y: u32| match rows[y as usize].as_bytes()[x as usize] {
        b'#' => 200,
        b'+' => 128,
        b'-' => 127,
        _ => 0,
    };
    GrayImage::from_fn(width, rows.len() as u32, |x, y| image::Luma([value(x, y)]))
}

#[test]
fn the_largest_component_and_its_holes_stay_as_soft_as_they_were() {
    let mask = drawing(&["###..##.", "#-#..##.", "#.#...+-", "###.....", "-..+...."]);
    let expected = drawing(&["###.....", "#-#.....", "#.#.....", "###.....", "...+...."]);
    assert_eq!(clean(&mask), Some(expected));
}

#[test]
fn corners_connect_the_object_and_not_the_ground() {
    // The ring closes over corners only, and what it holds is a hole.
    let mask = drawing(&[".#.", "#-#", ".#."]);
    assert_eq!(clean(&mask), Some(mask));
    // A gap in an edge lets the outside in.
    let mask = drawing(&[".#.", "#-#", "..."]);
    let expected = drawing(&[".#.", "#.#", "..."]);
    assert_eq!(clean(&mask), Some(expected));
}

#[test]
fn of_equal_components_the_first_stays() {
    let mask = drawing(&["...##", "##...", "...##"]);
    let expected = drawing(&["...##", ".....", "....."]);
    assert_eq!(clean(&mask), Some(expected));
}

#[test]
fn islands_in_holes_are_the_objects() {
    let mask = drawing(&["#####", "#---#", "#-+.#", "#...#", "#####"]);
    assert_eq!(clean(&mask), Some(mask));
}

#[test]
fn masks_without_an_object_have_no_shape() {
    for mask in [
        drawing(&["---", ". ."]),
        GrayImage::new(0, 0),
        GrayImage::new(0, 5),
    ] {
        assert_eq!(clean(&mask), None);
    }
    let whole = GrayImage::from_pixel(3, 2, image::Luma([255]));
    assert_eq!(clean(&whole), Some(whole.clone()));
}

/// Pixels reached from a place over neighbours that belong, one by one.
fn flood(
    size: (u32, u32),
    from: (u32, u32),
    corners: bool,
    belongs: &dyn Fn(u32, u32) -> bool,
) -> Vec<(u32, u32)> {
    let mut reached = vec![from];
    let mut next = 0;
    while next < reached.len() {
        let (x, y) = reached[next];
        next += 1;
        for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx: i32| (dx, dy))) {
            let (Some(x), Some(y)) = (x.checked_add_signed(dx), y.checked_add_signed(dy)) else {
                continue;
            };
            let inside = x < size.0 && y < size.1;
            let touches = corners || dx == 0 || dy == 0;
            if inside && touches && belongs(x, y) && !reached.contains(&(x, y)) {
                reached.push((x, y));
            }
        }
    }
    reached
}

/// What the documentation says, pixel by pixel.
fn by_flooding(mask: &GrayImage) -> Option<GrayImage> {
    let (width, height) = mask.dimensions();
    let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let on = |x: u32, y: u32| mask.get_pixel(x, y).0[0] >= 128;
    let mut best: Vec<(u32, u32)> = Vec::new();
    for (x, y) in places().filter(|&(x, y)| on(x, y)) {
        let component = flood((width, height), (x, y), true, &on);
        if component.len() > best.len() {
            best = component;
        }
    }
    if best.is_empty() {
        return None;
    }
    // A frame of one pixel around the mask is surely outside.
    let free = |x: u32, y: u32| {
        let inside = (1..=width).contains(&x) && (1..=height).contains(&y);
        !inside || !best.contains(&(x - 1, y - 1))
    };
    let outside = flood((width + 2, height + 2), (0, 0), false, &free);
    Some(GrayImage::from_fn(width, height, |x, y| {
        image::Luma([match () {
            _ if best.contains(&(x, y)) => mask.get_pixel(x, y).0[0],
            _ if outside.contains(&(x + 1, y + 1)) => 0,
            _ => mask.get_pixel(x, y).0[0],
        }])
    }))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(5),
        ..ProptestConfig::default()
    })]

    #[test]
    fn cleaning_is_flooding(
        (width, values) in (1..13usize, 1..13usize).prop_flat_map(|(width, height)| {
            let value = prop::sample::select(vec![0u8, 60, 127, 128, 129, 255]);
            let values = prop::collection::vec(value, width * height);
            (Just(width), values)
        }),
    ) {
        let height = values.len() / width;
        let mask = GrayImage::from_raw(width as u32, height as u32, values).unwrap();
        prop_assert_eq!(clean(&mask), by_flooding(&mask));
    }
}
