//! The xpaste recipe: each draw against its distribution, with fixed seeds.

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use common::packs::{write_bank, write_large_bank, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use pastebank::bank::{CutoutBank, ScenePack, SizeStatistics};
use pastebank::plan::{Blend, CheckedPlan, LayerPlan, Plan};
use pastebank::sampler::{RecipeSettings, Sampler};

const SCENES: usize = 7;
const CUTOUTS: usize = 31;
const SAMPLES: u64 = 3000;
const CANVAS: [u32; 2] = [800, 600];

fn packs(folder: &Path) -> (Arc<ScenePack>, Arc<CutoutBank>) {
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.join(name));
    let mut draw = ChaCha8Rng::seed_from_u64(4);
    write_scenes(&scenes, &mut draw, SCENES, 1);
    write_bank(&bank, &mut draw, CUTOUTS, 1);
    let opened = ScenePack::open(&scenes).unwrap();
    let mut manifest = opened.manifest().clone();
    manifest.statistics = (1..4)
        .map(|category_id| SizeStatistics {
            category_id,
            instances: 100,
            size_mean: 0.1 * category_id as f64,
            size_std: 0.03,
        })
        .collect();
    manifest.write(&scenes).unwrap();
    (
        Arc::new(ScenePack::open(&scenes).unwrap()),
        Arc::new(CutoutBank::open(&bank).unwrap()),
    )
}

fn sampler(scenes: &Arc<ScenePack>, bank: &Arc<CutoutBank>, seed: u64) -> Sampler {
    let recipe = Arc::new(RecipeSettings::xpaste());
    Sampler::new(scenes.clone(), bank.clone(), recipe, CANVAS, seed).unwrap()
}

fn plan(scenes: &Arc<ScenePack>, bank: &Arc<CutoutBank>) -> Plan {
    sampler(scenes, bank, 11).plan(0..SAMPLES)
}

fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let square = |&count: &u64| (count as f64 - expected).powi(2) / expected;
    counts.iter().map(square).sum()
}

/// The largest distance of the empirical distribution from the uniform one on 0..1, times √n: above
/// 1.95 in one run of a thousand.
fn kolmogorov_smirnov(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(rank, value): (usize, &f64)| {
        (value - rank as f64 / n)
            .abs()
            .max(((rank + 1) as f64 / n - value).abs())
    };
    n.sqrt() * values.iter().enumerate().map(distance).fold(0.0, f64::max)
}

fn layers(plan: &Plan) -> impl Iterator<Item = &LayerPlan> {
    plan.samples.iter().flat_map(|sample| &sample.layers)
}

#[test]
fn plans_fit_their_packs_and_do_not_depend_on_how_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (scenes, bank) = packs(folder.path());
    let whole = plan(&scenes, &bank);
    CheckedPlan::new(&whole, &scenes, &bank).unwrap();
    let same = sampler(&scenes, &bank, 11);
    for index in [2999, 0, 17, 1234] {
        assert_eq!(same.sample(index).plan, whole.samples[index as usize]);
    }
    let other = sampler(&scenes, &bank, 12);
    assert_ne!(other.plan(0..20).samples[..], whole.samples[..20]);
    for epoch in whole.samples.chunks_exact(SCENES) {
        let seen: HashSet<u64> = epoch.iter().map(|sample| sample.scene.index).collect();
        assert_eq!(seen.len(), SCENES);
    }
}

#[test]
fn counts_categories_and_flips_are_uniform() {
    let folder = tempfile::tempdir().unwrap();
    let (scenes, _) = packs(folder.path());
    // Squares, of which none is rejected.
    let squares = folder.path().join("squares");
    write_large_bank(&squares, CUTOUTS, 1);
    let bank = Arc::new(CutoutBank::open(&squares).unwrap());
    let plan = plan(&scenes, &bank);
    let mut by_count = [0; 21];
    plan.samples
        .iter()
        .for_each(|sample| by_count[sample.layers.len()] += 1);
    // 20 degrees of freedom: 99.9 % below 45.3.
    assert!(chi_square(&by_count) < 45.3, "{by_count:?}");
    let mut by_category = [0; 3];
    let mut by_cutout = [0; CUTOUTS];
    for layer in layers(&plan) {
        let category = bank.get(layer.cutout as usize).unwrap().category;
        by_category[category as usize - 1] += 1;
        by_cutout[layer.cutout as usize] += 1;
        assert_eq!(layer.blend, Blend::Gaussian { sigma: 2.0 });
    }
    assert!(chi_square(&by_category) < 13.8, "{by_category:?}");
    let first_category: Vec<u64> = by_cutout.iter().copied().step_by(3).collect();
    assert!(chi_square(&first_category) < 29.6, "{by_cutout:?}");
    for flips in [
        layers(&plan).map(|layer| layer.flip).collect::<Vec<_>>(),
        plan.samples
            .iter()
            .map(|sample| sample.scene.flip)
            .collect(),
    ] {
        let set = flips.iter().filter(|&&flip| flip).count() as u64;
        assert!(chi_square(&[set, flips.len() as u64 - set]) < 10.8);
    }
}

#[test]
fn sizes_follow_the_statistics_and_centres_the_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let (scenes, bank) = packs(folder.path());
    let plan = plan(&scenes, &bank);
    let (mut sides, mut centres) = ([(); 3].map(|()| Vec::new()), [Vec::new(), Vec::new()]);
    for layer in layers(&plan) {
        let cutout = bank.get(layer.cutout as usize).unwrap();
        let [x, y, w, h] = cutout.bounding_box.map(f64::from);
        let source = [cutout.size.width(), cutout.size.height()].map(f64::from);
        if w * h == 0.0 {
            continue;
        }
        let scale = [0, 1].map(|axis| f64::from(layer.resized[axis]) / source[axis]);
        let side = (w * scale[0] * h * scale[1]).sqrt();
        assert!((9.0..=301.0).contains(&side), "{side}");
        sides[cutout.category as usize - 1].push(side);
        let middle = match layer.flip {
            true => source[0] - x - w / 2.0,
            false => x + w / 2.0,
        };
        centres[0].push((f64::from(layer.offset[0]) + middle * scale[0]) / 800.0);
        centres[1].push((f64::from(layer.offset[1]) + (y + h / 2.0) * scale[1]) / 600.0);
    }
    for (category, sides) in sides.iter().enumerate() {
        // Unclipped means: 0.1, 0.2 and 0.3 of sqrt(800·600); the deviation is 20.8 px.
        let mean = sides.iter().sum::<f64>() / sides.len() as f64;
        let expected = 0.1 * (category + 1) as f64 * 480_000f64.sqrt();
        assert!(
            (mean - expected).abs() < 1.5,
            "{category}: {mean}, not {expected}"
        );
    }
    for centres in centres {
        assert!(kolmogorov_smirnov(centres) < 1.95);
    }
}

#[test]
fn scenes_are_scaled_cropped_and_padded_as_jitter_says() {
    let folder = tempfile::tempdir().unwrap();
    let (scenes, bank) = packs(folder.path());
    let plan = plan(&scenes, &bank);
    let mut scales = Vec::new();
    for sample in &plan.samples {
        let source = scenes.get(sample.scene.index as usize).unwrap().size;
        let source = [source.width(), source.height()].map(f64::from);
        let fit = (800.0 / source[0]).min(600.0 / source[1]);
        let axis = usize::from(source[1] > source[0]);
        scales.push(f64::from(sample.scene.resized[axis]) / source[axis] / fit);
        for axis in [0, 1] {
            let room = sample.scene.resized[axis] as i32 - CANVAS[axis] as i32;
            let offset = sample.scene.offset[axis];
            assert!((-room.max(0)..=0).contains(&offset), "{sample:?}");
        }
    }
    let uniform: Vec<f64> = scales.iter().map(|scale| (scale - 0.1) / 1.9).collect();
    assert!(kolmogorov_smirnov(uniform) < 1.95);
}

#[test]
fn packs_that_name_a_category_differently_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (scenes, bank) = packs(folder.path());
    let mut manifest = bank.manifest().clone();
    manifest.categories[1].name = "unicorn".to_owned();
    manifest.write(bank.directory()).unwrap();
    let bank = Arc::new(CutoutBank::open(bank.directory()).unwrap());
    let recipe = Arc::new(RecipeSettings::xpaste());
    let error = Sampler::new(scenes, bank, recipe, CANVAS, 0).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("category 2\" in the scenes and \"unicorn\""),
        "{text}"
    );
}
