//! Opening a bank of a million cutouts: a map of each shard and one validity pass.
//!
//! `cargo bench --bench open`

mod common;
#[path = "../tests/common/packs.rs"]
#[allow(dead_code)]
mod packs;

use common::{machine, measure};
use pastebank::bank::CutoutBank;
use pastebank::sampler::{RecipeSettings, Sampler};
use std::sync::Arc;

const ROWS: usize = 1_000_000;
const SHARDS: usize = 10;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let bank_folder = folder.path().join("bank");
    packs::write_large_bank(&bank_folder, ROWS, SHARDS);
    println!("machine: {}", machine());
    let opening = measure(15, || {
        assert_eq!(CutoutBank::open(&bank_folder).unwrap().len(), ROWS);
    });
    println!(
        "opening {ROWS} cutouts in {SHARDS} shards: median {:.1} ms [{:.1}..{:.1}]",
        opening.median.as_secs_f64() * 1e3,
        opening.least.as_secs_f64() * 1e3,
        opening.greatest.as_secs_f64() * 1e3
    );
    let options = common::pack_options(folder.path(), 1);
    let options = pastebank::pack::PackOptions {
        bank: None,
        ..options
    };
    pastebank::pack::pack(&options, |_| true).unwrap();
    let scenes = pastebank::bank::ScenePack::open(options.scenes.as_ref().unwrap()).unwrap();
    let (scenes, bank) = (
        Arc::new(scenes),
        Arc::new(CutoutBank::open(&bank_folder).unwrap()),
    );
    let recipe = Arc::new(RecipeSettings::xpaste());
    let sampler = || {
        Sampler::new(
            scenes.clone(),
            bank.clone(),
            recipe.clone(),
            [1024, 1024],
            0,
        )
        .unwrap()
    };
    let making = measure(15, || drop(sampler()));
    println!(
        "indexing their categories for a sampler: median {:.1} ms",
        making.median.as_secs_f64() * 1e3
    );
    let sampler = sampler();
    let drawing = measure(15, || drop(sampler.plan(0..1000)));
    println!(
        "drawing a sample's plan: median {:.2} us",
        drawing.median.as_secs_f64() * 1e6 / 1000.0
    );
}
