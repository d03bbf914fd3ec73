use std::collections::BTreeMap;

use super::*;
use crate::geometry::Rect;
use crate::plan::ColorMatrix;
use crate::sampler::test_packs::{assert_shares, assert_uniform, packs};

const CANVAS: [u32; 2] = [500, 400];

/// Scenes with so many objects, each a cutout of its own in the scene's place, category = scene.
fn with_objects(counts: &[usize]) -> TestPacks {
    let (mut scenes, mut cutouts) = (Vec::new(), Vec::new());
    for (image, &count) in counts.iter().enumerate() {
        let mut scene = plain_scene();
        for object in 0..count {
            let annotation = (100 * image + object) as i64;
            let x = 7 * object as u32;
            scene
                .instances
                .push((image as i64, annotation, 0, [x, 10, 7, 5]));
            cutouts.push(TestCutout {
                image: image as i64,
                annotation,
                origin: [x as i32, 10],
                source_size: [100, 80],
                ..TestCutout::new([7, 5], image as i64)
            });
        }
        scenes.push(scene);
    }
    packs(&scenes, &cutouts, &[])
}

/// Simple Copy-Paste with second scenes that are never cropped.
fn uncropped() -> RecipeSettings {
    let mut settings = RecipeSettings::simple_copy_paste();
    settings.copy.scale = [0.1, 1.0];
    settings
}

#[test]
fn the_second_scene_is_uniform() {
    let packs = with_objects(&[1, 1, 1, 1, 1]);
    let samples = samples(&packs, &uncropped(), CANVAS, 3000);
    assert!(samples.iter().all(|sample| sample.plan.layers.len() == 1));
    let pairs = samples.iter().map(|sample| {
        let layer = &sample.plan.layers[0];
        (sample.plan.scene.index * 5 + layer.cutout) as usize
    });
    assert_shares(&tally(25, pairs), &[1.0; 25]);
}

#[test]
fn the_number_of_objects_is_uniform_up_to_all() {
    let packs = with_objects(&[6]);
    let number = |settings: &RecipeSettings| {
        let samples = samples(&packs, settings, CANVAS, 2000);
        tally(8, samples.iter().map(|sample| sample.plan.layers.len()))
    };
    let mut settings = uncropped();
    assert_eq!(settings.copy.objects, [1, 65_534]);
    assert_shares(
        &number(&settings),
        &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    );
    settings.copy.objects = [0, 2];
    assert_shares(
        &number(&settings),
        &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    );
    settings.copy.objects = [9, 12];
    assert_shares(
        &number(&settings),
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    );
}

#[test]
fn subsets_are_uniform_and_in_stored_order() {
    let packs = with_objects(&[5]);
    let mut settings = uncropped();
    settings.copy.objects = [2, 2];
    let samples = samples(&packs, &settings, CANVAS, 3000);
    let mut subsets: BTreeMap<Vec<u64>, u64> = BTreeMap::new();
    for sample in &samples {
        let rows: Vec<u64> = sample
            .plan
            .layers
            .iter()
            .map(|layer| layer.cutout)
            .collect();
        assert!(rows.is_sorted());
        *subsets.entry(rows).or_default() += 1;
    }
    assert_eq!(subsets.len(), 10);
    assert_shares(&subsets.into_values().collect::<Vec<_>>(), &[1.0; 10]);
}

#[test]
fn objects_land_where_their_scene_brings_them() {
    // The first cutout is the whole picture: where it lies is where the second scene lies.
    let boxes = [
        [0u32, 0, 100, 80],
        [13, 40, 20, 9],
        [33, 40, 11, 9],
        [93, 72, 7, 8],
    ];
    let mut scene = plain_scene();
    let mut cutouts = Vec::new();
    for (annotation, [x, y, w, h]) in (0i64..).zip(boxes) {
        scene.instances.push((1, annotation, 0, [x, y, w, h]));
        cutouts.push(TestCutout {
            image: 0,
            annotation,
            origin: [x as i32, y as i32],
            source_size: [100, 80],
            ..TestCutout::new([w, h], 1)
        });
    }
    let packs = packs(&[scene], &cutouts, &[]);
    let mut settings = RecipeSettings::simple_copy_paste();
    settings.copy.objects = [4, 4];
    settings.copy.scale = [0.5, 1.25];
    settings.copy.color.brightness = 0.5;
    let samples = samples(&packs, &settings, CANVAS, 1000);
    let (mut scales, mut flips, mut crops) = (Vec::new(), Vec::new(), Vec::new());
    for sample in &samples {
        let [whole, objects @ ..] = &sample.plan.layers[..] else {
            panic!("no layers");
        };
        scales.push((f64::from(whole.resized[0]) / 500.0 - 0.5) / 0.75);
        flips.push(usize::from(whole.flip));
        let room = f64::from(whole.resized[0]) - 500.0;
        if room > 50.0 {
            crops.push(-f64::from(whole.offset[0]) / room);
        } else if room <= 0.0 {
            assert_eq!(whole.offset, [0, 0]);
        }
        for object in objects {
            // The crop may take one away.
            let [x, y, w, h] = &boxes[object.cutout as usize];
            assert_eq!((object.flip, object.color), (whole.flip, whole.color));
            let x = if whole.flip { 100 - x - w } else { *x };
            for (axis, start, length, source) in [(0, x, *w, 100.0), (1, *y, *h, 80.0)] {
                let scale = f64::from(whole.resized[axis]) / source;
                let edges = [start, start + length].map(|edge| f64::from(edge) * scale);
                let found = object.offset[axis] - whole.offset[axis];
                let found = [found, found + object.resized[axis] as i32].map(f64::from);
                for (found, expected) in found.into_iter().zip(edges) {
                    assert!((found - expected).abs() <= 1.0, "{object:?} in {whole:?}");
                }
            }
        }
        // The first two touch.
        let [left, right] = if whole.flip { [1, 0] } else { [0, 1] };
        let end = objects[left].offset[0] + objects[left].resized[0] as i32;
        assert_eq!(end, objects[right].offset[0]);
    }
    assert_uniform(scales);
    assert_uniform(crops);
    assert_shares(&tally(2, flips), &[1.0, 1.0]);
    assert!(layers(&samples).any(|layer| layer.color != ColorMatrix::default()));
}

#[test]
fn objects_that_the_crop_takes_away_are_not_counted() {
    // At three times the size that fits, a third of each axis is seen: of the two in the middle
    // both, one or neither, and never all three.
    let mut scene = plain_scene();
    let mut cutouts = Vec::new();
    for (annotation, [x, y]) in [(0, [0, 0]), (1, [46, 37]), (2, [56, 37])] {
        scene.instances.push((1, annotation, 0, [x, y, 7, 5]));
        cutouts.push(TestCutout {
            image: 0,
            annotation,
            origin: [x as i32, y as i32],
            source_size: [100, 80],
            ..TestCutout::new([7, 5], 1)
        });
    }
    let packs = packs(&[scene], &cutouts, &[]);
    let mut settings = RecipeSettings::simple_copy_paste();
    settings.copy.scale = [3.0, 3.0];
    // All three: what is there shows what can be seen. The draws of the crop are the same below.
    settings.copy.objects = [3, 3];
    let all = samples(&packs, &settings, CANVAS, 4000);
    settings.copy.objects = [1, 65_534];
    let some = samples(&packs, &settings, CANVAS, 4000);
    let canvas = Rect {
        x0: 0,
        y0: 0,
        x1: CANVAS[0] as i32,
        y1: CANVAS[1] as i32,
    };
    let mut by_seen = [[0; 4]; 4];
    for (all, some) in all.iter().zip(&some) {
        for layer in &all.plan.layers {
            let [x0, y0] = layer.offset;
            let [width, height] = layer.resized.map(|side| side as i32);
            let rect = Rect {
                x0,
                y0,
                x1: x0 + width,
                y1: y0 + height,
            };
            assert!(!rect.intersect(canvas).is_empty(), "{layer:?}");
        }
        let (seen, taken) = (all.plan.layers.len(), some.plan.layers.len());
        by_seen[seen][taken] += 1;
    }
    assert!(
        by_seen[0][0] > 0 && by_seen[0][1..] == [0, 0, 0],
        "{by_seen:?}"
    );
    assert!(by_seen[1][1] > 100 && by_seen[1][0] == 0, "{by_seen:?}");
    assert_shares(&by_seen[2], &[0.0, 1.0, 1.0, 0.0]);
    assert_eq!(by_seen[3], [0; 4]);
}

#[test]
fn synthetic_scenes_are_no_second_scene() {
    let packs = with_objects(&[1, 1, 1, 1]);
    let sampler = sampler(&packs, &uncropped(), CANVAS);
    let sampler = sampler.with_synthetic(2).unwrap();
    let samples = drawn(&sampler, 500);
    let rows = tally(4, layers(&samples).map(|layer| layer.cutout as usize));
    assert_shares(&rows, &[1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn packs_without_common_objects_are_refused() {
    let packs = packs(&[plain_scene()], &[square(1)], &[]);
    for name in ["simple-copy-paste", "both", "p:0.5"] {
        let recipe = Arc::new(RecipeSettings::built_in(name).unwrap());
        let (scenes, bank) = (packs.scenes.clone(), packs.bank.clone());
        let error = Sampler::new(scenes, bank, recipe, CANVAS, 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`use`"), "{error}");
    }
}
