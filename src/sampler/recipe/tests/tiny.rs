//! No setting that passes its check makes drawing panic or leave the limits of a plan, on the
//! smallest and on the most awkward packs.

use rand::{Rng, RngExt};

use super::*;
use crate::plan::Blend;
use crate::sampler::placement::PlacementMode;
use crate::sampler::random::Draws;
use crate::sampler::recipe::{BlendChoice, Categories, Reject, ScheduleStep, Use};
use crate::sampler::test_packs::packs;

/// A number in a range, often one of its ends.
fn number(draw: &mut impl Rng, [least, greatest]: [f64; 2]) -> f64 {
    match draw.random_range(0..4) {
        0 => least,
        1 => greatest,
        _ => draw.random_range(least..=greatest),
    }
}

fn range(draw: &mut impl Rng, limits: [f64; 2]) -> [f64; 2] {
    let mut range = [number(draw, limits), number(draw, limits)];
    range.sort_by(f64::total_cmp);
    range
}

fn counts(draw: &mut impl Rng, most: f64) -> [u32; 2] {
    range(draw, [0.0, most]).map(|count| count as u32)
}

fn blends(draw: &mut impl Rng) -> Vec<BlendChoice> {
    let sigma = number(draw, [0.1, 10.0]);
    let kinds = [
        Blend::Hard,
        Blend::Soft,
        Blend::Gaussian { sigma },
        Blend::Box { radius: 30 },
    ];
    kinds
        .into_iter()
        .map(|blend| BlendChoice {
            weight: 0.1 + number(draw, [0.0, 1e12]),
            blend,
        })
        .collect()
}

fn settings(draw: &mut impl Rng) -> RecipeSettings {
    let mut settings = RecipeSettings::xpaste();
    let uses = [Use::Bank, Use::Copy, Use::Both, Use::Choice(0.5)];
    settings.layers = uses[draw.random_range(0..4)];
    settings.probability = number(draw, [0.5, 1.0]);
    settings.scene.scale = range(draw, [0.001, 100.0]);
    settings.scene.color.brightness = number(draw, [0.0, 7.0]);
    settings.copy.scale = range(draw, [0.001, 100.0]);
    settings.copy.objects = counts(draw, 10.0);
    settings.copy.matching = number(draw, [0.0, 1.0]);
    settings.copy.blend = blends(draw);
    let bank = &mut settings.bank;
    bank.count = counts(draw, 12.0);
    bank.categories = match draw.random_range(0..4) {
        0 => Categories::Uniform,
        1 => Categories::RepeatFactor,
        2 => Categories::ByInstance,
        _ => Categories::Present,
    };
    bank.unmeasured = draw.random_bool(0.5).then(|| range(draw, [0.0, 1.0]));
    bank.min_side = number(draw, [1.0, 8192.0]);
    bank.max_side = number(draw, [0.001, 1.0]);
    bank.aspect_jitter = number(draw, [0.0, 0.999]);
    bank.angle = range(draw, [-360.0, 360.0]);
    bank.reject = [Reject::Drop, Reject::Redraw][draw.random_range(0..2)];
    bank.reject_below = number(draw, [0.0, 20.0]);
    bank.matching = number(draw, [0.0, 1.0]);
    bank.blend = blends(draw);
    bank.color.contrast = number(draw, [0.0, 7.0]);
    bank.placement = match draw.random_range(0..4) {
        0 => PlacementMode::Uniform,
        1 => PlacementMode::Inside,
        2 => PlacementMode::Overlap {
            most: 0.1,
            attempts: 5,
        },
        _ => PlacementMode::Grid {
            columns: 8192,
            rows: 3,
        },
    };
    settings.synthetic.probability = number(draw, [0.0, 1.0]);
    settings.schedule.linear = draw.random_bool(0.5);
    settings.schedule.steps = vec![
        ScheduleStep {
            from: 0,
            probability: number(draw, [0.0, 1.0]),
        },
        ScheduleStep {
            from: u64::MAX,
            probability: 1.0,
        },
    ];
    settings
}

/// One scene with one object; sizes and place as given.
fn one(scene: [u32; 2], object: [u32; 2], origin: [i32; 2]) -> TestPacks {
    let [x, y] = origin.map(|start| u32::try_from(start).unwrap_or(0));
    let inside = match x < scene[0] && y < scene[1] {
        true => [
            x,
            y,
            object[0].min(scene[0] - x),
            object[1].min(scene[1] - y),
        ],
        false => [0, 0, 1, 1],
    };
    let scenes = [TestScene {
        size: scene,
        level: 9,
        instances: vec![(1, 0, 0, inside)],
        not_exhaustive: vec![1],
    }];
    let cutouts = [TestCutout {
        image: 0,
        annotation: 0,
        origin,
        source_size: scene.map(|side| side as u16),
        ..TestCutout::new(object, 1)
    }];
    packs(&scenes, &cutouts, &[(1, 0.9, 3.0)])
}

/// Whether the scene's object is its cutout: a box that lies elsewhere is not.
fn is_linked(packs: &TestPacks) -> bool {
    let sampler = sampler(packs, &RecipeSettings::xpaste(), [8, 8]);
    !sampler.ground().cutouts_of_scene(0).is_empty()
}

#[test]
fn nothing_that_is_allowed_panics() {
    let mut draw = Draws::new(8, 0, 0).stream(0);
    let awkward = [
        one([1, 1], [1, 1], [0, 0]),
        one([2000, 1], [1, 900], [-70_000, 70_000]),
        one([3, 700], [16_384, 1], [i32::MIN, i32::MAX]),
        one([2000, 1], [1, 1], [1999, 0]),
        one([3, 700], [1, 700], [2, 0]),
    ];
    for packs in &awkward {
        for canvas in [[1, 1], [1, 8192], [8192, 8192], [33, 7]] {
            for _ in 0..12 {
                let mut settings = settings(&mut draw);
                if !is_linked(packs) {
                    settings.layers = Use::Bank;
                }
                settings.check_settings().unwrap();
                let samples = samples(packs, &settings, canvas, 20);
                assert_eq!(samples.len(), 20);
                let sampler = sampler(packs, &settings, canvas);
                assert!(!settings.explain(sampler.ground()).is_empty());
            }
        }
    }
}

#[test]
fn an_empty_bank_is_refused_only_where_cutouts_are_wanted() {
    let packs = packs(&[plain_scene()], &[], &[]);
    let new = |settings: RecipeSettings| {
        let (scenes, bank) = (packs.scenes.clone(), packs.bank.clone());
        Sampler::new(scenes, bank, Arc::new(settings), [8, 8], 0)
    };
    assert!(
        new(RecipeSettings::xpaste())
            .unwrap_err()
            .to_string()
            .contains("bank")
    );
    let mut none = RecipeSettings::xpaste();
    none.bank.count = [0, 0];
    assert!(new(none).unwrap().sample(3).plan.layers.is_empty());
}
