//! Benchmarks of a few pixels, whose figures mean nothing.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::bench::{BenchError, BenchOptions, Effort, On, Packs, Report, Told, run};

use super::packs::{write_bank, write_scenes};
use super::{ChaCha8Rng, SeedableRng};

/// Runs of each measurement.
pub const RUNS: usize = 2;

/// Six scenes and nine cutouts of random pictures, written below `folder`.
pub fn packs(folder: &Path) -> Packs {
    let mut draw = ChaCha8Rng::seed_from_u64(11);
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.join(name));
    write_scenes(&scenes, &mut draw, 6, 1);
    write_bank(&bank, &mut draw, 9, 1);
    Packs {
        name: "random pictures".to_owned(),
        scenes: Arc::new(ScenePack::open(&scenes).unwrap()),
        bank: Arc::new(CutoutBank::open(&bank).unwrap()),
    }
}

/// A few pixels.
pub fn options(layers: usize) -> BenchOptions {
    BenchOptions {
        canvas: [70, 40],
        batch: 2,
        layers,
        layer_side: 20,
        threads: NonZero::new(2),
        effort: Effort {
            least_runs: RUNS,
            most_runs: RUNS,
            time: Duration::from_secs(600),
            loader_run: Duration::from_millis(1),
            copied_bytes: 1 << 16,
        },
        ..BenchOptions::default()
    }
}

/// Measures random pictures.
pub fn measure(on: &On, options: &BenchOptions) -> Result<Report, BenchError> {
    let folder = tempfile::tempdir().unwrap();
    let mut told = String::new();
    let mut tell = |it: Told<'_>| {
        if !matches!(it, Told::Begins(_)) {
            told += &format!("{it}\n");
        }
    };
    let report = run(&packs(folder.path()), on, options, &|| true, &mut tell)?;
    // What is told bit by bit is the whole report.
    assert_eq!(told.trim_end(), report.to_string().trim_end());
    Ok(report)
}
