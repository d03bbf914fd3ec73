//! Named plans, each about one thing, with the output that they must give.
//!
//! The packs are drawn from a fixed seed. The stored outputs were made by the naive reading in
//! `reference`; `PASTEBANK_BLESS=1 cargo test --test named_plans` makes them anew.

mod common;
mod reference;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use common::packs::{write_bank, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use image::RgbImage;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{CpuBackend, Simd};
use pastebank::plan::Plan;
use pastebank::render::render;
use serde_json::Value;

fn folders() -> Vec<PathBuf> {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut folders: Vec<PathBuf> = fs::read_dir(plans)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    folders
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn named_plans_give_their_stored_output() {
    let packs = tempfile::tempdir().unwrap();
    let [scenes, bank] = ["scenes", "bank"].map(|name| packs.path().join(name));
    let mut draw = ChaCha8Rng::seed_from_u64(2207);
    // Fewer than five scenes, so that none is a JPEG: decoders may differ by a grey level.
    write_scenes(&scenes, &mut draw, 3, 1);
    write_bank(&bank, &mut draw, 8, 1);
    if std::env::var_os("PASTEBANK_BLESS").is_some() {
        bless(&scenes, &bank);
    }
    let scenes = ScenePack::open(&scenes).unwrap();
    let bank = CutoutBank::open(&bank).unwrap();
    for folder in folders() {
        for simd in Simd::available() {
            renders_as_stored(&folder, &scenes, &bank, simd);
        }
    }
    println!("{} named plans", folders().len());
}

fn renders_as_stored(folder: &Path, scenes: &ScenePack, bank: &CutoutBank, simd: Simd) {
    let out = tempfile::tempdir().unwrap();
    let plan = Plan::from_json(&fs::read(folder.join("plan.json")).unwrap()).unwrap();
    let threads = NonZero::new(2).unwrap();
    let mut cpu = CpuBackend::with_simd(Some(threads), simd);
    render(&plan, scenes, bank, out.path(), &mut cpu, threads, |_| true).unwrap();
    let annotations = |folder: &Path| read_json(&folder.join("annotations.json"));
    let place = format!("{} at {simd}", folder.display());
    assert_eq!(annotations(out.path()), annotations(folder), "{place}");
    for sample in 0..plan.samples.len() {
        let image = |folder: &Path| {
            image::open(folder.join(format!("{sample}.png")))
                .unwrap()
                .into_rgb8()
        };
        let (found, expected) = (image(out.path()), image(folder));
        let differs = found
            .enumerate_pixels()
            .find(|(x, y, p)| *p != expected.get_pixel(*x, *y));
        assert!(differs.is_none(), "{place}, sample {sample}: {differs:?}");
    }
}

fn bless(scenes: &Path, bank: &Path) {
    let (scenes, bank) = (reference::read_scenes(scenes), reference::read_bank(bank));
    for folder in folders() {
        let samples = reference::compose(&read_json(&folder.join("plan.json")), &bank, &scenes);
        let annotations = reference::annotations_json(&samples).to_string() + "\n";
        fs::write(folder.join("annotations.json"), annotations).unwrap();
        for (number, sample) in samples.into_iter().enumerate() {
            let (width, height) = (sample.width as u32, sample.height as u32);
            let image = RgbImage::from_raw(width, height, sample.rgb).unwrap();
            image.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
}
