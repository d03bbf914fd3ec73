use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const UNIFORM: PlacementMode = PlacementMode::Uniform;
const INSIDE: PlacementMode = PlacementMode::Inside;

fn canvas(width: u32, height: u32) -> Size {
    Size::canvas(width, height).unwrap()
}

fn object(x: f64, y: f64, width: f64, height: f64) -> ObjectBox {
    ObjectBox {
        x,
        y,
        width,
        height,
    }
}

fn random_object(draw: &mut ChaCha8Rng, longest: f64) -> ObjectBox {
    let [x, y] = [(); 2].map(|()| draw.random_range(0.0..20.0));
    let [width, height] = [(); 2].map(|()| draw.random_range(1.0..longest));
    object(x, y, width, height)
}

/// All offsets for which `fits` holds of the box's left, top, right and bottom edges.
fn offsets(object: ObjectBox, fits: impl Fn([f64; 4]) -> bool) -> Vec<[i32; 2]> {
    let near = -150..150;
    let all = near.clone().flat_map(|x| near.clone().map(move |y| [x, y]));
    all.filter(|&[x, y]| {
        let (left, top) = (f64::from(x) + object.x, f64::from(y) + object.y);
        fits([left, top, left + object.width, top + object.height])
    })
    .collect()
}

/// Holds the chi-square of `mode`'s places, over which `expected` should be uniform, below what one
/// run in a thousand exceeds (Wilson and Hilferty's approximation).
fn assert_uniform(
    mode: PlacementMode,
    canvas: Size,
    object: ObjectBox,
    number: usize,
    taken: &Taken,
    expected: &[[i32; 2]],
) {
    let mut draw = ChaCha8Rng::seed_from_u64(31);
    let mut counts = vec![0.0; expected.len()];
    let each = 60.0;
    let mut now = taken.clone();
    for _ in 0..(each as usize * expected.len()) {
        now.clone_from(taken);
        let offset = mode
            .place(&mut draw, canvas, object, number, &mut now)
            .unwrap();
        let place = expected.iter().position(|&place| place == offset);
        counts[place.unwrap_or_else(|| panic!("{offset:?} was not expected"))] += 1.0;
    }
    let chi_square: f64 = counts
        .iter()
        .map(|count| (count - each) * (count - each) / each)
        .sum();
    let freedom = (expected.len() - 1) as f64;
    let limit =
        freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.09 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    assert!(
        chi_square < limit,
        "{mode:?}: {chi_square}, not below {limit}"
    );
}

#[test]
fn uniform_centres_are_uniform_over_the_canvas() {
    let canvas = canvas(40, 30);
    // Its centre lies at half pixels, so that as many offsets as pixels are equally likely.
    let object = object(3.25, 1.0, 2.5, 9.0);
    let expected = offsets(object, |[left, top, right, bottom]| {
        let (x, y) = ((left + right) / 2.0, (top + bottom) / 2.0);
        (0.0..40.0).contains(&x) && (0.0..30.0).contains(&y)
    });
    assert_eq!(expected.len(), 40 * 30);
    assert_uniform(UNIFORM, canvas, object, 0, &Taken::default(), &expected);
}

#[test]
fn inside_is_uniform_over_all_places_where_the_box_is() {
    let canvas = canvas(40, 30);
    for object in [
        object(1.3, 2.7, 22.2, 13.1),
        object(0.0, 0.0, 40.0, 1.0),
        object(5.0, 6.0, 29.0, 30.0),
    ] {
        let expected = offsets(object, |[left, top, right, bottom]| {
            left >= 0.0 && top >= 0.0 && right <= 40.0 && bottom <= 30.0
        });
        assert!(expected.len() >= 12);
        assert_uniform(INSIDE, canvas, object, 0, &Taken::default(), &expected);
    }
}

#[test]
fn inside_always_is_inside_and_centres_what_does_not_fit() {
    let mut draw = ChaCha8Rng::seed_from_u64(2);
    let canvas = canvas(100, 70);
    let (mut inside, mut centred) = (0, 0);
    for _ in 0..5000 {
        let object = random_object(&mut draw, 130.0);
        let offset = INSIDE
            .place(&mut draw, canvas, object, 0, &mut Taken::default())
            .unwrap();
        let axes = [(100.0, object.across()), (70.0, object.down())];
        for ((side, [start, length]), offset) in axes.into_iter().zip(offset) {
            let start = start + f64::from(offset);
            if length <= side - 1.0 {
                assert!(start >= 0.0 && start + length <= side, "{object:?}");
                inside += 1;
            } else if length > side {
                assert!(
                    (start + length / 2.0 - side / 2.0).abs() <= 0.5 + 1e-9,
                    "{object:?}"
                );
                centred += 1;
            }
        }
    }
    assert!(inside > 3000 && centred > 2000, "{inside} {centred}");
}

/// Pixels of the canvas that a box touches at an offset, one by one.
fn touched(canvas: Size, object: ObjectBox, offset: [i32; 2]) -> Vec<bool> {
    let touches = |pixel: u32, offset: i32, [start, length]: [f64; 2]| {
        let (pixel, start) = (f64::from(pixel), start + f64::from(offset));
        pixel + 1.0 > start && pixel < start + length
    };
    let rows = 0..canvas.height();
    rows.flat_map(|y| (0..canvas.width()).map(move |x| (x, y)))
        .map(|(x, y)| {
            touches(x, offset[0], object.across()) && touches(y, offset[1], object.down())
        })
        .collect()
}

fn count(pixels: impl Iterator<Item = bool>) -> f64 {
    pixels.filter(|&set| set).count() as f64
}

#[test]
fn no_overlap_is_greater_than_allowed() {
    let mut draw = ChaCha8Rng::seed_from_u64(7);
    let canvas = canvas(90, 60);
    let (mut placed, mut left_out, mut shared) = (0, 0, 0);
    for round in 0..300 {
        let most = [0.0, 0.1, 0.3, 0.7][round % 4];
        let mode = PlacementMode::Overlap { most, attempts: 15 };
        let mut taken = Taken::default();
        let mut others: Vec<Vec<bool>> = Vec::new();
        for number in 0..14 {
            let object = random_object(&mut draw, 45.0);
            // Some objects were there before, wherever they are.
            if number < 3 {
                let offset = UNIFORM
                    .place(&mut draw, canvas, object, number, &mut taken)
                    .unwrap();
                others.push(touched(canvas, object, offset));
                continue;
            }
            let Some(offset) = mode.place(&mut draw, canvas, object, number, &mut taken) else {
                left_out += 1;
                continue;
            };
            let own = touched(canvas, object, offset);
            for other in &others {
                let both = count(own.iter().zip(other).map(|(&own, &other)| own && other));
                let smaller = count(own.iter().copied()).min(count(other.iter().copied()));
                assert!(both <= most * smaller + 1e-9, "{both} of {smaller}, {most}");
                shared += usize::from(both > 0.0);
            }
            others.push(own);
            placed += 1;
        }
        let boxes = taken.boxes().iter().map(|&rect| area(rect));
        assert!(boxes.eq(others.iter().map(|other| count(other.iter().copied()))));
    }
    // 3300 layers, and all branches were taken often.
    assert_eq!(placed + left_out, 3300);
    assert!(
        placed > 1000 && left_out > 300 && shared > 1000,
        "{placed} {left_out} {shared}"
    );
}

#[test]
fn overlap_is_uniform_over_the_places_that_are_allowed() {
    let (canvas, object) = (canvas(30, 20), object(2.0, 1.0, 8.0, 6.0));
    let mut taken = Taken::default();
    taken.push(Rect {
        x0: 5,
        y0: 4,
        x1: 15,
        y1: 12,
    });
    let expected = offsets(object, |[left, top, right, bottom]| {
        let inside = left >= 0.0 && top >= 0.0 && right <= 30.0 && bottom <= 20.0;
        let across = (right.min(15.0) - left.max(5.0)).max(0.0);
        let down = (bottom.min(12.0) - top.max(4.0)).max(0.0);
        inside && across * down <= 0.25 * 48.0
    });
    assert!(expected.len() > 100 && expected.len() < 23 * 15);
    let mode = PlacementMode::Overlap {
        most: 0.25,
        attempts: 500,
    };
    assert_uniform(mode, canvas, object, 0, &taken, &expected);
}

#[test]
fn attempts_are_bounded() {
    let (canvas, object) = (canvas(50, 50), object(0.0, 0.0, 10.0, 10.0));
    let mut full = Taken::default();
    full.push(canvas.rect());
    let used = |mode: PlacementMode, taken: &mut Taken| {
        let mut draw = ChaCha8Rng::seed_from_u64(1);
        let place = mode.place(&mut draw, canvas, object, 0, taken);
        (place, draw.get_word_pos())
    };
    let (first, one) = used(INSIDE, &mut Taken::default());
    for attempts in [1, 2, 37] {
        let mode = PlacementMode::Overlap {
            most: 0.99,
            attempts,
        };
        assert_eq!(used(mode, &mut full), (None, u128::from(attempts) * one));
        assert_eq!(full.boxes().len(), 1);
        // Where there is room the first draw is as good as any.
        assert_eq!(used(mode, &mut Taken::default()), (first, one));
    }
    let all = PlacementMode::Overlap {
        most: 1.0,
        attempts: 1,
    };
    assert_eq!(used(all, &mut full), (first, one));
    assert_eq!(full.boxes().len(), 2);
    full.clear();
    assert_eq!(full, Taken::default());
}

#[test]
fn a_grid_takes_its_cells_in_reading_order() {
    let mode = PlacementMode::Grid {
        columns: 3,
        rows: 2,
    };
    let canvas = canvas(100, 80);
    let box_in = object(4.4, 2.2, 12.3, 25.0);
    for number in [0, 4, 5, 6 + 2, 600 + 4] {
        let (column, row) = ((number % 6 % 3) as f64, (number % 6 / 3) as f64);
        let cell = [
            column * 100.0 / 3.0,
            row * 40.0,
            (column + 1.0) * 100.0 / 3.0,
            row * 40.0 + 40.0,
        ];
        let expected = offsets(box_in, |[left, top, right, bottom]| {
            left >= cell[0] && top >= cell[1] && right <= cell[2] && bottom <= cell[3]
        });
        assert!(expected.len() > 200);
        assert_uniform(mode, canvas, box_in, number, &Taken::default(), &expected);
        // Too large for the cell: centred in it, jittered only where it fits.
        let mut draw = ChaCha8Rng::seed_from_u64(3);
        let wide = object(4.0, 2.0, 60.0, 39.0);
        let [x, y] = mode
            .place(&mut draw, canvas, wide, number, &mut Taken::default())
            .unwrap();
        let centre = f64::from(x) + 4.0 + 30.0;
        assert!((centre - (cell[0] + cell[2]) / 2.0).abs() <= 0.5 + 1e-9);
        let top = f64::from(y) + 2.0;
        assert!(top >= cell[1] && top + 39.0 <= cell[3]);
    }
}

#[test]
fn layers_are_taken_as_far_as_they_are_on_the_canvas() {
    let mut taken = Taken::default();
    let mut draw = ChaCha8Rng::seed_from_u64(9);
    let canvas = canvas(40, 40);
    let large = object(0.0, 0.5, 60.0, 10.0);
    INSIDE
        .place(&mut draw, canvas, large, 0, &mut taken)
        .unwrap();
    let [only] = taken.boxes() else {
        panic!("{taken:?}");
    };
    assert_eq!((only.x0, only.x1, only.height()), (0, 40, 11));
    taken.push(Rect::NOTHING);
    assert_eq!(taken.boxes().len(), 1);
}

#[test]
fn whatever_the_box_offsets_stay_in_a_plans_limits() {
    let mut draw = ChaCha8Rng::seed_from_u64(4);
    let values = [
        0.0,
        5.5,
        -3e5,
        3e5,
        1e300,
        -1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let modes = [
        UNIFORM,
        INSIDE,
        PlacementMode::Overlap {
            most: 0.5,
            attempts: 3,
        },
        PlacementMode::Grid {
            columns: 2,
            rows: 2,
        },
        PlacementMode::Grid {
            columns: 0,
            rows: 0,
        },
    ];
    for [start, length] in values.iter().flat_map(|&a| values.map(|b| [a, b])) {
        for mode in modes {
            let object = object(start, start, length, length);
            let place = mode.place(
                &mut draw,
                canvas(64, 32),
                object,
                usize::MAX,
                &mut Taken::default(),
            );
            let limit = MAX_OFFSET as i32;
            assert!(
                place
                    .unwrap()
                    .iter()
                    .all(|offset| (-limit..=limit).contains(offset))
            );
        }
    }
}

#[test]
fn settings_are_read_and_refused_by_name() {
    let read = |text: &str| serde_json::from_str::<PlacementMode>(text);
    let modes = [
        (r#""uniform""#, UNIFORM),
        (r#""inside""#, INSIDE),
        (
            r#"{"overlap":{"most":0.3,"attempts":20}}"#,
            PlacementMode::Overlap {
                most: 0.3,
                attempts: 20,
            },
        ),
        (
            r#"{"grid":{"columns":4,"rows":3}}"#,
            PlacementMode::Grid {
                columns: 4,
                rows: 3,
            },
        ),
    ];
    for (text, mode) in modes {
        assert_eq!(read(text).unwrap(), mode);
        assert_eq!(serde_json::to_string(&mode).unwrap(), text);
        assert!(mode.check().is_ok());
    }
    let unknown = read(r#"{"grid": {"columns": 4, "rows": 3, "cells": 2}}"#).unwrap_err();
    assert!(unknown.to_string().contains("cells"), "{unknown}");
    assert!(read(r#"{"overlap": {"most": 0.3}}"#).is_err());
    for (mode, field, problem) in [
        (
            PlacementMode::Overlap {
                most: f64::NAN,
                attempts: 1,
            },
            "most",
            "NaN; 0..=1",
        ),
        (
            PlacementMode::Overlap {
                most: 0.5,
                attempts: 0,
            },
            "attempts",
            "0; 1..=10000",
        ),
        (
            PlacementMode::Grid {
                columns: 0,
                rows: 1,
            },
            "columns",
            "0; 1..=8192",
        ),
        (
            PlacementMode::Grid {
                columns: 1,
                rows: 9000,
            },
            "rows",
            "9000; 1..=8192",
        ),
    ] {
        assert_eq!(mode.check(), Err((field, problem.to_owned())));
    }
}
