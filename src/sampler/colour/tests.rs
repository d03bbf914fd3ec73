use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::compose::rules::apply_colour;

/// The largest distance of the empirical distribution from the uniform one on 0..1, times √n: above
/// 1.95 in one run of a thousand.
fn kolmogorov_smirnov(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(rank, value): (usize, &f64)| {
        let (below, above) = (rank as f64 / n, (rank + 1) as f64 / n);
        (value - below).abs().max((above - value).abs())
    };
    n.sqrt() * values.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// Rule 6.
fn by_rule(matrix: &ColorMatrix, colour: [u8; 3]) -> [u8; 3] {
    let flat: &[i32; 12] = matrix.0.as_flattened().try_into().unwrap();
    apply_colour(flat, colour)
}

fn all(probability: f64, amount: f64, hue: f64) -> ColorJitter {
    ColorJitter {
        probability,
        brightness: amount,
        contrast: amount,
        saturation: amount,
        hue,
    }
}

fn drawn(jitter: &ColorJitter, seed: u64) -> Affine {
    jitter.draw(&mut ChaCha8Rng::seed_from_u64(seed))
}

/// Brightness, contrast, saturation and turns of a jitter, found from its transform by linear
/// algebra that does not know how it was made.
fn recovered(affine: &Affine) -> [f64; 4] {
    let rows = affine.0;
    // Greys stay grey, so all biases are contrast's and the sum of a row is brightness·contrast.
    let contrast = 1.0 - rows[0][3] / 127.5;
    let gain = rows[0][..3].iter().sum::<f64>();
    // A rotation has determinant 1; saturation scales the plane of equal luma, twice.
    let m = |row: usize, column: usize| rows[row][column % 3];
    let minor = |column| m(1, column + 1) * m(2, column + 2) - m(1, column + 2) * m(2, column + 1);
    let determinant: f64 = (0..3).map(|column| m(0, column) * minor(column)).sum();
    let saturation = (determinant / gain.powi(3)).sqrt();
    // A colour of luma 0 is only scaled and turned: the angle of its part across the grey axis.
    let before = [0.587, -0.299, 0.0];
    let after = [0, 1, 2].map(|row| (0..3).map(|column| m(row, column) * before[column]).sum());
    let angle = |colour: [f64; 3]| {
        let [red, green, blue] = colour;
        (3f64.sqrt() * (green - blue)).atan2(2.0 * red - green - blue)
    };
    let turns = (angle(after) - angle(before)) / std::f64::consts::TAU;
    let turns = turns - turns.round();
    [gain / contrast, contrast, saturation, turns]
}

#[test]
fn nothing_set_changes_nothing() {
    for seed in 0..200 {
        let nothing = drawn(&ColorJitter::default(), seed);
        assert_eq!(nothing.to_matrix(), ColorMatrix::default());
        assert_eq!(drawn(&all(0.0, 0.9, 0.5), seed), Affine::default());
    }
    assert_eq!(Affine::from(ColorMatrix::default()), Affine::default());
}

#[test]
fn it_is_applied_as_often_as_the_probability_says() {
    let mut draw = ChaCha8Rng::seed_from_u64(3);
    let jitter = all(0.3, 0.5, 0.1);
    let applied = (0..10_000).filter(|_| jitter.draw(&mut draw) != Affine::default());
    // The deviation of a binomial of 10000 and 0.3 is 46; beyond 3.3 of them once in a thousand.
    assert!((f64::from(applied.count() as u32) - 3000.0).abs() < 151.0);
}

#[test]
fn factors_are_uniform_in_their_ranges() {
    let jitter = ColorJitter {
        probability: 1.0,
        brightness: 0.4,
        contrast: 0.3,
        // Beyond 1 the range begins at 0, as torchvision's does.
        saturation: 1.5,
        hue: 0.25,
    };
    let mut draw = ChaCha8Rng::seed_from_u64(11);
    let mut units = [(); 4].map(|()| Vec::new());
    for _ in 0..4000 {
        let [brightness, contrast, saturation, turns] = recovered(&jitter.draw(&mut draw));
        units[0].push((brightness - 0.6) / 0.8);
        units[1].push((contrast - 0.7) / 0.6);
        units[2].push(saturation / 2.5);
        units[3].push((turns + 0.25) / 0.5);
    }
    // No factor says anything about the next: the correlation of 4000 pairs is below 3.3/√4000.
    for pair in units.windows(2) {
        let covariance: f64 = (pair[0].iter().zip(&pair[1]))
            .map(|(a, b)| (a - 0.5) * (b - 0.5))
            .sum();
        assert!((covariance / 4000.0 * 12.0).abs() < 0.053, "{covariance}");
    }
    for (factor, units) in units.into_iter().enumerate() {
        assert!(units.iter().all(|unit| (-1e-9..1.0 + 1e-9).contains(unit)));
        let distance = kolmogorov_smirnov(units);
        assert!(distance < 1.95, "factor {factor}: {distance}");
    }
}

#[test]
fn changing_one_range_changes_no_other_factor_and_no_later_draw() {
    let base = all(1.0, 0.3, 0.1);
    let changed = [
        ColorJitter {
            brightness: 0.6,
            ..base
        },
        ColorJitter {
            contrast: 0.6,
            ..base
        },
        ColorJitter {
            saturation: 0.6,
            ..base
        },
        ColorJitter { hue: 0.2, ..base },
    ];
    for seed in 0..100 {
        let expected = recovered(&drawn(&base, seed));
        for (own, jitter) in changed.iter().enumerate() {
            let found = recovered(&drawn(jitter, seed));
            for factor in 0..4 {
                let same = (found[factor] - expected[factor]).abs() < 1e-9;
                assert_eq!(same, factor != own, "seed {seed}: {found:?}, {expected:?}");
            }
        }
        let after = |jitter: &ColorJitter| {
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            jitter.draw(&mut draw);
            draw.next_u64()
        };
        assert_eq!(after(&base), after(&all(0.0, 0.0, 0.0)));
    }
}

#[test]
fn greys_stay_exactly_grey_under_saturation_and_hue() {
    let jitter = ColorJitter {
        saturation: 3.0,
        hue: 0.5,
        ..ColorJitter::default()
    };
    for seed in 0..500 {
        let matrix = drawn(&jitter, seed).to_matrix();
        for grey in 0..=255 {
            assert_eq!(by_rule(&matrix, [grey; 3]), [grey; 3], "{matrix:?}");
        }
    }
}

#[test]
fn brightness_contrast_and_saturation_do_what_their_names_say() {
    let twice = by_rule(&Affine::grey(2.0, 0.0).to_matrix(), [10, 100, 200]);
    assert_eq!(twice, [20, 200, 255]);
    let flat = Affine::grey(0.0, MID_GREY).to_matrix();
    assert_eq!(by_rule(&flat, [3, 99, 250]), [128; 3]);
    // 0.299·200 + 0.587·100 + 0.114·50 = 124.2
    let grey = Affine::saturation(0.0).to_matrix();
    assert_eq!(by_rule(&grey, [200, 100, 50]), [124; 3]);
    let vivid = Affine::saturation(2.0).apply([200.0, 100.0, 50.0]);
    for (found, expected) in vivid.into_iter().zip([275.8, 75.8, -24.2]) {
        assert!((found - expected).abs() < 1e-9, "{vivid:?}");
    }
}

#[test]
fn half_a_turn_sends_red_to_cyan_and_a_third_to_green() {
    let half = Affine::hue(0.5).to_matrix();
    assert_eq!(by_rule(&half, [255, 0, 0]), [0, 170, 170]);
    let third = Affine::hue(1.0 / 3.0).to_matrix();
    assert_eq!(by_rule(&third, [255, 40, 7]), [7, 255, 40]);
    assert_eq!(Affine::hue(0.0), Affine::default());
}

/// The HSV shift of torchvision's `adjust_hue`.
fn shifted_hue(colour: [f64; 3], turns: f64) -> [f64; 3] {
    let [red, green, blue] = colour;
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0.0 {
        return colour;
    }
    let sixths = if value == red {
        (green - blue) / range
    } else if value == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    // How far a channel lies from the sixth at which it is greatest, in sixths of a turn.
    [0.0, 2.0, 4.0].map(|peak| {
        let away = (sixths + 6.0 * turns - peak).rem_euclid(6.0);
        value - range * (away.min(6.0 - away) - 1.0).clamp(0.0, 1.0)
    })
}

#[test]
fn hue_is_as_near_to_the_shift_of_hsv_as_documented() {
    let values = (0..9).map(|step| f64::from(step) * 255.0 / 8.0);
    let colours: Vec<[f64; 3]> = values
        .clone()
        .flat_map(|r| values.clone().map(move |g| (r, g)))
        .flat_map(|(r, g)| values.clone().map(move |b| [r, g, b]))
        .collect();
    for (turns, expected) in [
        (0.02, 4.97),
        (0.05, 11.11),
        (0.1, 17.65),
        (-0.05, 11.11),
        (1.0 / 3.0, 0.0),
        (-1.0 / 3.0, 0.0),
    ] {
        let rotation = Affine::hue(turns);
        let distance = |&colour: &[f64; 3]| -> f64 {
            let turned = rotation.apply(colour).map(|v| v.clamp(0.0, 255.0));
            let shifted = shifted_hue(colour, turns);
            (0..3).map(|c| (turned[c] - shifted[c]).abs()).sum()
        };
        let mean = colours.iter().map(distance).sum::<f64>() / (3 * colours.len()) as f64;
        assert!((mean - expected).abs() < 0.006, "{turns}: {mean}");
    }
}

#[test]
fn integers_stay_within_a_grey_level_of_the_transform() {
    let mut draw = ChaCha8Rng::seed_from_u64(5);
    let jitter = all(1.0, 0.9, 0.5);
    for _ in 0..2000 {
        let affine = jitter.draw(&mut draw);
        let matrix = affine.to_matrix();
        for _ in 0..50 {
            let colour: [u8; 3] = draw.random();
            let exact = affine.apply(colour.map(f64::from));
            for (found, exact) in by_rule(&matrix, colour).into_iter().zip(exact) {
                let difference = f64::from(found) - exact.clamp(0.0, 255.0);
                assert!(difference.abs() <= 1.0, "{matrix:?} {colour:?}");
            }
        }
    }
}

#[test]
fn a_chain_is_one_transform_after_the_other() {
    let mut draw = ChaCha8Rng::seed_from_u64(6);
    let mut random = || Affine([(); 3].map(|()| [(); 4].map(|()| draw.random_range(-2.0..2.0))));
    for _ in 0..200 {
        let (first, second) = (random(), random());
        let chained = first.then(&second).apply([13.0, 200.0, 90.0]);
        let stepwise = second.apply(first.apply([13.0, 200.0, 90.0]));
        for (chained, stepwise) in chained.into_iter().zip(stepwise) {
            assert!((chained - stepwise).abs() < 1e-9);
        }
        assert_ne!(first.then(&second), second.then(&first));
    }
}

#[test]
fn matrices_keep_the_limits_of_a_plan() {
    let far = Affine([
        [1e9, -1e9, f64::INFINITY, 1e9],
        [f64::NAN; 4],
        [8.1, 0.0, 0.0, -1025.0],
    ]);
    let expected = [
        [8192, -8192, 8192, 1 << 20],
        [0; 4],
        [8192, 0, 0, -(1 << 20)],
    ];
    assert_eq!(far.to_matrix(), ColorMatrix(expected));
    let half = Affine::grey(1.0 + 0.6 / 1024.0, -0.6 / 1024.0).to_matrix();
    assert_eq!(half.0[1], [0, 1025, 0, -1]);
}

#[test]
fn settings_out_of_range_are_named() {
    assert!(all(1.0, 7.0, 0.5).check().is_ok());
    let nothing = ColorJitter::default();
    for (jitter, name) in [
        (
            ColorJitter {
                probability: 1.5,
                ..nothing
            },
            "probability",
        ),
        (
            ColorJitter {
                brightness: -0.1,
                ..nothing
            },
            "brightness",
        ),
        (
            ColorJitter {
                contrast: f64::NAN,
                ..nothing
            },
            "contrast",
        ),
        (
            ColorJitter {
                saturation: 7.5,
                ..nothing
            },
            "saturation",
        ),
        (
            ColorJitter {
                hue: 0.6,
                ..nothing
            },
            "hue",
        ),
    ] {
        assert_eq!(jitter.check().unwrap_err().0, name);
    }
    let (_, problem) = ColorJitter {
        hue: 0.6,
        ..nothing
    }
    .check()
    .unwrap_err();
    assert_eq!(problem, "0.6; 0..=0.5");
    let unknown = serde_json::from_str::<ColorJitter>(r#"{"gamma": 0.1}"#).unwrap_err();
    assert!(unknown.to_string().contains("gamma"), "{unknown}");
    let text = serde_json::to_string(&all(0.5, 0.1, 0.2)).unwrap();
    let read: ColorJitter = serde_json::from_str(&text).unwrap();
    assert_eq!(read, all(0.5, 0.1, 0.2));
}
