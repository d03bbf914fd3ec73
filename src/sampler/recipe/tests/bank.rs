use rand::RngExt;

use super::*;
use crate::plan::Blend;
use crate::sampler::placement::PlacementMode;
use crate::sampler::random::Draws;
use crate::sampler::recipe::{BlendChoice, Categories, Reject, SizeSource, SizeTable};
use crate::sampler::test_packs::{assert_shares, assert_uniform, packs};

const CANVAS: [u32; 2] = [1000, 1000];

/// Abramowitz and Stegun 7.1.26: within 1.5e-7.
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let factors = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let polynomial = factors.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    let half = 0.5 * polynomial * (-x * x).exp();
    if z > 0.0 { 1.0 - half } else { half }
}

fn side(layer: &LayerPlan) -> f64 {
    (f64::from(layer.resized[0]) * f64::from(layer.resized[1])).sqrt()
}

#[test]
fn counts_and_flips_are_uniform() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    let samples = samples(&packs, &steady(), CANVAS, 4000);
    let counts = samples.iter().map(|sample| sample.plan.layers.len());
    assert_shares(&tally(21, counts), &[1.0; 21]);
    let flips = layers(&samples).map(|layer| usize::from(layer.flip));
    assert_shares(&tally(2, flips), &[1.0; 2]);
    let mut always = steady();
    (always.bank.count, always.bank.flip) = ([3, 3], 1.0);
    let samples = super::samples(&packs, &always, CANVAS, 50);
    assert!(samples.iter().all(|sample| sample.plan.layers.len() == 3));
    assert!(layers(&samples).all(|layer| layer.flip));
}

#[test]
fn sizes_are_normal_and_clipped() {
    let statistics = [(1, 0.2, 0.05), (2, 0.1, 0.2)];
    let packs = packs(&[plain_scene()], &[square(1), square(2)], &statistics);
    let samples = samples(&packs, &steady(), CANVAS, 1000);
    let sides = |row| {
        let of_row = layers(&samples).filter(move |layer| layer.cutout == row);
        of_row
            .map(|layer| side(layer) / 1000.0)
            .collect::<Vec<f64>>()
    };
    let below = |&side: &f64| normal_below((side - 0.2) / 0.05);
    assert_uniform(sides(0).iter().map(below).collect());
    // 10 px and half the canvas, where what lies beyond piles up.
    let wide = sides(1);
    let (mut at_ends, mut between) = ([0, 0], Vec::new());
    for &side in &wide {
        match side {
            0.01 => at_ends[0] += 1,
            0.5 => at_ends[1] += 1,
            _ => between.push(normal_below((side - 0.1) / 0.2)),
        }
    }
    let [low, high] = [normal_below(-0.45), 1.0 - normal_below(2.0)];
    assert_shares(
        &[at_ends[0], at_ends[1], between.len() as u64],
        &[low, high, 1.0 - low - high],
    );
    assert_uniform(
        between
            .iter()
            .map(|v| (v - low) / (1.0 - low - high))
            .collect(),
    );
}

#[test]
fn sizes_come_from_a_table_or_a_range() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sizes.json");
    std::fs::write(&path, r#"{"1": [0.3, 0.01], "7": [0.9, 0.0]}"#).unwrap();
    let packs = packs(
        &[plain_scene()],
        &[square(1), square(2)],
        &[(1, 0.05, 0.0), (2, 0.1, 0.0)],
    );
    let mut settings = steady();
    settings.bank.sizes = SizeSource::Table(SizeTable::read(&path).unwrap());
    settings.bank.unmeasured = Some([0.1, 0.4]);
    let samples = samples(&packs, &settings, CANVAS, 500);
    let sides = |row| {
        let of_row = layers(&samples).filter(move |layer| layer.cutout == row);
        of_row.map(|layer| side(layer) / 1000.0)
    };
    assert_uniform(
        sides(0)
            .map(|side| normal_below((side - 0.3) / 0.01))
            .collect(),
    );
    assert_uniform(sides(1).map(|side| (side - 0.1) / 0.3).collect());
    assert!(settings.settings()["bank"]["sizes"]["xxh3"].is_string());
    // Without that range, the mean of all that the packs measured: not the packs' category 2.
    settings.bank.unmeasured = None;
    let pooled = super::samples(&packs, &settings, CANVAS, 20);
    let of_second: Vec<&LayerPlan> = layers(&pooled).filter(|layer| layer.cutout == 1).collect();
    assert!(!of_second.is_empty());
    let mean = of_second.iter().map(|layer| side(layer)).sum::<f64>() / of_second.len() as f64;
    assert!(
        (mean - 75.0).abs() < 25.0 * 4.0 / (of_second.len() as f64).sqrt(),
        "{mean}"
    );
    for (text, expected) in [
        ("{\"1\": [0.1]}", "expected"),
        ("{\"a\": [0.1, 0.1]}", "\"a\""),
        ("{\"1\": [0.1, -0.1]}", "category 1"),
        ("[]", "expected"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = SizeTable::read(&path).unwrap_err();
        assert!(
            error.contains(expected) && error.contains("sizes.json"),
            "{error}"
        );
    }
}

#[test]
fn aspects_and_angles_are_uniform() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    let mut settings = steady();
    (settings.bank.aspect_jitter, settings.bank.angle) = (0.2, [-30.0, 10.0]);
    settings.bank.unmeasured = Some([0.4, 0.4]);
    let samples = samples(&packs, &settings, CANVAS, 300);
    let aspect = |layer: &LayerPlan| f64::from(layer.resized[0]) / f64::from(layer.resized[1]);
    assert_uniform(
        layers(&samples)
            .map(|layer| (aspect(layer) - 0.8) / 0.4)
            .collect(),
    );
    assert!(layers(&samples).all(|layer| (side(layer) - 400.0).abs() < 1.0));
    assert_uniform(
        layers(&samples)
            .map(|layer| (layer.angle + 30.0) / 40.0)
            .collect(),
    );
}

#[test]
fn blends_come_by_weight() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    let kinds = [
        Blend::Gaussian { sigma: 2.0 },
        Blend::Box { radius: 2 },
        Blend::Soft,
        Blend::Hard,
    ];
    let weights = [1.0, 0.5, 0.0, 2.5];
    let mut settings = steady();
    let choices = kinds.iter().zip(weights);
    settings.bank.blend = choices
        .map(|(&blend, weight)| BlendChoice { weight, blend })
        .collect();
    let samples = samples(&packs, &settings, CANVAS, 400);
    let kind = |layer: &LayerPlan| kinds.iter().position(|kind| *kind == layer.blend).unwrap();
    assert_shares(&tally(4, layers(&samples).map(kind)), &weights);
}

#[test]
fn present_categories_are_those_of_the_scene() {
    let with = |categories: &[(i64, u8)]| TestScene {
        instances: categories
            .iter()
            .map(|&(category, crowd)| (category, -1, crowd, [0, 0, 9, 9]))
            .collect(),
        ..plain_scene()
    };
    // Category 4 is a crowd, 9 has no cutout.
    let scenes = [
        with(&[(1, 0), (3, 0), (3, 0), (4, 1), (9, 0)]),
        with(&[(9, 0)]),
        with(&[(4, 1)]),
    ];
    let packs = packs(&scenes, &[1, 2, 3, 3, 4].map(square), &[]);
    let mut settings = steady();
    settings.bank.categories = Categories::Present;
    settings.scene.scale = [0.2, 1.0];
    let samples = samples(&packs, &settings, CANVAS, 1000);
    for (scene, shares) in [
        (0, [1.0, 0.0, 0.5, 0.5, 0.0]),
        (1, [0.0; 5]),
        (2, [1.0, 1.0, 0.5, 0.5, 1.0]),
    ] {
        let over = samples
            .iter()
            .filter(|sample| sample.plan.scene.index == scene);
        let rows = over.flat_map(|sample| sample.plan.layers.iter().map(|l| l.cutout as usize));
        assert_shares(&tally(5, rows), &shares);
    }
}

#[test]
fn categories_that_the_crop_took_away_are_not_present() {
    // At three times the size that fits no crop shows both corners.
    let mut scene = plain_scene();
    scene.instances = vec![(1, -1, 0, [0, 0, 9, 9]), (2, -1, 0, [91, 71, 9, 9])];
    let packs = packs(&[scene], &[square(1), square(2)], &[]);
    let mut settings = steady();
    settings.bank.categories = Categories::Present;
    (settings.scene.scale, settings.scene.flip) = ([3.0, 3.0], 0.0);
    settings.bank.count = [4, 4];
    let mut seen = [0; 3];
    for sample in samples(&packs, &settings, CANVAS, 2000) {
        let [x, y] = sample.plan.scene.offset.map(|start| -start);
        // The first ends at 270 px; the second starts at 2730 and 2130 px.
        let shown = [x < 270 && y < 270, x + 1000 > 2730 && y + 1000 > 2130];
        let rows: Vec<u64> = sample.plan.layers.iter().map(|l| l.cutout).collect();
        match shown {
            [true, false] => assert_eq!(rows, [0; 4]),
            [false, true] => assert_eq!(rows, [1; 4]),
            _ => assert_eq!(rows.len(), 4),
        }
        seen[usize::from(shown[0]) + 2 * usize::from(shown[1])] += 1;
    }
    assert!(seen.iter().all(|&samples| samples > 10), "{seen:?}");
}

#[test]
fn sizes_and_places_follow_the_scene_where_they_should() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    let mut settings = RecipeSettings::xpaste_original();
    (settings.scene.scale, settings.bank.aspect_jitter) = ([0.5, 0.5], 0.0);
    settings.bank.unmeasured = Some([0.3, 0.3]);
    let drawn = samples(&packs, &settings, CANVAS, 300);
    assert!(layers(&drawn).all(|layer| layer.blend == Blend::Hard));
    assert!(drawn.iter().all(|sample| sample.plan.layers.len() <= 19));
    let mut centres = [Vec::new(), Vec::new()];
    for layer in layers(&drawn) {
        // The scene is 500 by 400: 0.3·sqrt(200000) is 134.2, cut to whole pixels.
        assert_eq!(layer.resized, [134, 134]);
        for (axis, side) in [500.0, 400.0].into_iter().enumerate() {
            centres[axis].push((f64::from(layer.offset[axis]) + 67.0) / side);
        }
    }
    centres.into_iter().for_each(assert_uniform);
    // Limits: 10/400 and 0.5 of sqrt(W·H), 11.2 and 223.6 px.
    for (relative, side) in [(0.0, 11), (1.0, 223)] {
        settings.bank.unmeasured = Some([relative, relative]);
        let drawn = samples(&packs, &settings, CANVAS, 10);
        assert!(layers(&drawn).count() > 0);
        assert!(layers(&drawn).all(|layer| layer.resized == [side, side]));
    }
    // 5.9 px are cut to 5, which is not below 5; 4.9 px to 4, which is.
    settings.bank.min_side = 1.0;
    for (side, is_there) in [(5.9, true), (4.9, false)] {
        let relative = side / 200_000f64.sqrt();
        settings.bank.unmeasured = Some([relative, relative]);
        let drawn = samples(&packs, &settings, CANVAS, 10);
        assert_eq!(layers(&drawn).count() > 0, is_there);
    }
}

#[test]
fn rejected_layers_are_left_out_or_drawn_anew() {
    // Half the cutouts are lines, one texel high: of 100 px a side they are 1000 by 10 px.
    let line = TestCutout::new([100, 1], 2);
    let packs = packs(&[plain_scene()], &[square(1), line], &[]);
    let mut settings = steady();
    (settings.bank.count, settings.bank.unmeasured) = ([8, 8], Some([0.1, 0.1]));
    let drawn = samples(&packs, &settings, CANVAS, 500);
    assert!(
        layers(&drawn).all(|layer| layer.cutout == 0),
        "1000 px fill the canvas"
    );
    let chances = [1, 8, 28, 56, 70, 56, 28, 8, 1].map(f64::from);
    let counts = tally(9, drawn.iter().map(|sample| sample.plan.layers.len()));
    // Binomial; the outermost counts are too rare for the test.
    assert_shares(&counts[1..8], &chances[1..8]);
    settings.bank.reject = Reject::Redraw;
    let redrawn = samples(&packs, &settings, CANVAS, 200);
    // A layer stays out once in 2^11.
    assert!(layers(&redrawn).count() > 1590);
    assert!(layers(&redrawn).all(|layer| layer.cutout == 0));
    // At twice the width and height of the canvas it is the lowness that counts.
    (settings.bank.reject, settings.bank.reject_below) = (Reject::Drop, 20.0);
    assert!(layers(&samples(&packs, &settings, [2000, 2000], 200)).all(|l| l.cutout == 0));
    settings.bank.reject_below = 19.0;
    let drawn = samples(&packs, &settings, [2001, 2000], 200);
    let rows = tally(2, layers(&drawn).map(|layer| layer.cutout as usize));
    assert_shares(&rows, &[1.0, 1.0]);
}

#[test]
fn layers_keep_off_what_is_there_and_take_its_light() {
    let mut scene = plain_scene();
    scene.instances.push((1, -1, 0, [0, 0, 50, 80]));
    let packs = packs(&[scene], &[square(1)], &[]);
    let mut settings = steady();
    (settings.scene.scale, settings.scene.flip) = ([1.0, 1.0], 0.0);
    (settings.bank.count, settings.bank.matching) = ([1, 1], 1.0);
    settings.bank.placement = PlacementMode::Overlap {
        most: 0.0,
        attempts: 100,
    };
    let samples = samples(&packs, &settings, [1000, 800], 100);
    assert_eq!(layers(&samples).count(), 100);
    for layer in layers(&samples) {
        assert!(layer.offset[0] >= 500, "{layer:?}");
        // Grey 128 becomes the scene's 200.
        for row in layer.color.0 {
            let grey = (row[..3].iter().sum::<i32>() * 128 + row[3] + 512) >> 10;
            assert!((grey - 200).abs() <= 1, "{row:?}");
        }
    }
}

#[test]
fn a_rotated_box_holds_the_rotated_object() {
    // Rule 12 by itself: which points of the canvas show the object.
    let mut draw = Draws::new(3, 0, 0).stream(0);
    for _ in 0..50 {
        let resized = [draw.random_range(20..90u32), draw.random_range(20..90u32)];
        let [width, height] = resized.map(f64::from);
        let object = crate::sampler::placement::ObjectBox {
            x: width * draw.random_range(0.0..0.5),
            y: height * draw.random_range(0.0..0.5),
            width: width * draw.random_range(0.2..0.5),
            height: height * draw.random_range(0.2..0.5),
        };
        let angle = draw.random_range(-180.0..180.0f64);
        let (sin, cos) = angle.to_radians().sin_cos();
        let mut edges = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        for (y, x) in (-480..800).flat_map(|y| (-480..800).map(move |x| (y, x))) {
            let [x, y] = [f64::from(x) / 4.0, f64::from(y) / 4.0];
            let [dx, dy] = [x - width / 2.0, y - height / 2.0];
            let inside = [
                cos * dx - sin * dy + width / 2.0,
                sin * dx + cos * dy + height / 2.0,
            ];
            let is_on = (object.x..object.x + object.width).contains(&inside[0])
                && (object.y..object.y + object.height).contains(&inside[1]);
            if is_on {
                edges = [
                    edges[0].min(x),
                    edges[1].min(y),
                    edges[2].max(x),
                    edges[3].max(y),
                ];
            }
        }
        let found = super::super::bank::rotated(&object, resized, angle);
        let expected = [
            found.x,
            found.y,
            found.x + found.width,
            found.y + found.height,
        ];
        for (edge, expected) in edges.into_iter().zip(expected) {
            // Sharp corners slip between the points.
            assert!((edge - expected).abs() < 1.5, "{edges:?}, not {expected:?}");
        }
    }
}

#[test]
fn labels_are_dropped_as_the_settings_say() {
    let scene = TestScene {
        not_exhaustive: vec![3],
        ..plain_scene()
    };
    let packs = packs(&[scene, plain_scene()], &[1, 2, 3].map(square), &[]);
    let mut settings = steady();
    settings.bank.ignore.probability = 0.3;
    settings.bank.ignore.categories = vec![2];
    settings.bank.ignore.not_exhaustive = true;
    let samples = samples(&packs, &settings, CANVAS, 1000);
    for scene in [0, 1] {
        for category in [0, 1, 2] {
            let over = samples
                .iter()
                .filter(|sample| sample.plan.scene.index == scene);
            let ignored = over.flat_map(|sample| {
                let pairs = sample.plan.layers.iter().zip(&sample.ignored);
                pairs.filter(|(layer, _)| layer.cutout == category)
            });
            let counts = tally(2, ignored.map(|(_, &ignored)| usize::from(ignored)));
            match (scene, category) {
                (_, 1) | (0, 2) => assert_eq!(counts[0], 0),
                _ => assert_shares(&counts, &[0.7, 0.3]),
            }
        }
    }
}
