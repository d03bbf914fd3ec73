//! Opening a bank of a million cutouts: a map of each shard and one validity pass.
//! `pastebank bench --sweep bank-size` shows what it costs a loader besides.
//!
//! `cargo bench --bench open`

mod common;

use std::sync::Arc;

use common::{machine, measure};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::bench::write_large_bank;
use pastebank::sampler::{RecipeSettings, Sampler};

const ROWS: usize = 1_000_000;
/// Photographs of 8 instances each: as many cutouts as a large bank has pixels of.
const SCENES: usize = 128;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let bank_folder = folder.path().join("large");
    let options = common::pack_options(folder.path(), SCENES);
    pastebank::pack::pack(&options, |_| true).unwrap();
    let few = CutoutBank::open(options.bank.as_ref().unwrap()).unwrap();
    write_large_bank(&bank_folder, &few, ROWS, &|| true).unwrap();
    println!("machine: {}", machine());
    let opening = measure(15, || {
        assert_eq!(CutoutBank::open(&bank_folder).unwrap().len(), ROWS);
    });
    let bank = Arc::new(CutoutBank::open(&bank_folder).unwrap());
    println!(
        "opening {ROWS} cutouts in {} shards: median {:.1} ms [{:.1}..{:.1}]",
        bank.manifest().shards.len(),
        opening.median.as_secs_f64() * 1e3,
        opening.least.as_secs_f64() * 1e3,
        opening.greatest.as_secs_f64() * 1e3
    );
    let scenes = Arc::new(ScenePack::open(options.scenes.as_ref().unwrap()).unwrap());
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
