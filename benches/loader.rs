//! The loader: what it costs over composing alone, and its memory over a long run.
//!
//! `cargo bench --bench loader` (a few minutes, about 3 GB of disk);
//! `cargo bench --bench loader -- soak 10000` or `-- speed` for one part.

mod common;
#[path = "../tests/common/packs.rs"]
#[allow(dead_code)]
mod packs;

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::{machine, pack_options};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::bench::{Workload, output};
use pastebank::compose::{Backend, Batch, CpuBackend, Encoded};
use pastebank::loader::{Loader, LoaderOptions};
use pastebank::plan::{CheckedPlan, Plan};
use pastebank::sampler::{RecipeSettings, Sampler};

const BATCH: usize = 16;
const BATCHES: usize = 10;
const RUNS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let part = arguments.get(1).map(String::as_str);
    let batches = arguments.get(2).and_then(|text| text.parse().ok());
    println!("machine: {}", machine());
    if part != Some("soak") {
        speed();
    }
    if part != Some("speed") {
        soak(batches.unwrap_or(10_000));
    }
}

/// The loader's images a second against composing plans that were drawn before, in turn.
fn speed() {
    let folder = tempfile::tempdir().unwrap();
    let options = pack_options(folder.path(), 16);
    pastebank::pack::pack(&options, |_| true).unwrap();
    let scenes = Arc::new(ScenePack::open(options.scenes.as_ref().unwrap()).unwrap());
    let bank = Arc::new(CutoutBank::open(options.bank.as_ref().unwrap()).unwrap());
    let sampler = Sampler::new(
        scenes.clone(),
        bank.clone(),
        Arc::new(Workload::default()),
        [1024, 1024],
        0,
    )
    .unwrap();
    println!(
        "1024x1024, 8 scene instances, 20 Gaussian layers, f16 CHW, bit masks, batch {BATCH}: \
         {BATCHES} batches a run, {RUNS} runs in turn, median images/s"
    );
    let all = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    for threads in [1, all] {
        let (mut alone, mut loaded) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            alone.push(compose_alone(&sampler, threads));
            loaded.push(stream(&sampler, threads));
        }
        let [alone, loaded] = [alone, loaded].map(median);
        println!(
            "{threads} threads: composing alone {alone:.1}, loader {loaded:.1}: {:.1} %",
            100.0 * loaded / alone
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Images a second of composing, nothing else: the plans are drawn, checked and encoded before.
fn compose_alone(sampler: &Sampler, threads: usize) -> f64 {
    let ground = sampler.ground();
    let plans: Vec<Plan> = (0..BATCHES)
        .map(|batch| {
            let first = (batch * BATCH) as u64;
            sampler.plan(first..first + BATCH as u64)
        })
        .collect();
    let checked: Vec<CheckedPlan<'_>> = plans
        .iter()
        .map(|plan| CheckedPlan::new(plan, &ground.scenes, &ground.bank).unwrap())
        .collect();
    let encoded: Vec<Encoded<'_>> = checked.iter().map(|p| Encoded::new(p).unwrap()).collect();
    let mut backend = CpuBackend::new(NonZero::new(threads));
    let mut batch = Batch::new(output());
    backend.compose(&encoded[0], &mut batch).unwrap();
    let started = Instant::now();
    for encoded in &encoded {
        backend.compose(encoded, &mut batch).unwrap();
    }
    (BATCHES * BATCH) as f64 / started.elapsed().as_secs_f64()
}

/// Images a second through the loader, from the second batch on.
fn stream(sampler: &Sampler, threads: usize) -> f64 {
    let options = LoaderOptions {
        batch_size: BATCH,
        threads: NonZero::new(threads),
        output: output(),
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(sampler.clone(), options).unwrap();
    // The ring is full and its memory touched.
    (0..3).for_each(|_| drop(loader.next().unwrap().unwrap()));
    let started = Instant::now();
    (0..BATCHES).for_each(|_| drop(loader.next().unwrap().unwrap()));
    (BATCHES * BATCH) as f64 / started.elapsed().as_secs_f64()
}

/// Resident memory over a long run, from a small bank and from one 50 times as large.
fn soak(batches: u64) {
    let folder = tempfile::tempdir().unwrap();
    let options = pack_options(folder.path(), 64);
    let options = pastebank::pack::PackOptions {
        bank: None,
        ..options
    };
    pastebank::pack::pack(&options, |_| true).unwrap();
    let scenes = Arc::new(ScenePack::open(options.scenes.as_ref().unwrap()).unwrap());
    println!(
        "soak: {batches} batches of 8 at 160x160, xpaste, all threads, pages of maps released from 128 MiB on"
    );
    for rows in [2_000, 100_000] {
        let path = folder.path().join(rows.to_string());
        packs::write_distinct_bank(&path, rows);
        curve(&scenes, &path, batches);
        std::fs::remove_dir_all(&path).unwrap();
    }
}

fn curve(scenes: &Arc<ScenePack>, bank: &Path, batches: u64) {
    let bank = Arc::new(CutoutBank::open(bank).unwrap());
    println!(
        "bank of {} cutouts, {:.2} GB",
        bank.len(),
        bank.manifest().bytes() as f64 / 1e9
    );
    let recipe = Arc::new(RecipeSettings::xpaste());
    let sampler = Sampler::new(scenes.clone(), bank, recipe, [160, 160], 0).unwrap();
    let options = LoaderOptions {
        batch_size: 8,
        mapped_limit: 128 << 20,
        output: output(),
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(sampler, options).unwrap();
    println!("   batch   anonymous MB   mapped MB");
    for batch in 1..=batches {
        drop(loader.next().unwrap().unwrap());
        if batch == 100 || batch % (batches / 10).max(1) == 0 {
            let [anonymous, mapped] = ["RssAnon:", "RssFile:"].map(resident_megabytes);
            println!("{batch:8} {anonymous:14.1} {mapped:11.1}");
        }
    }
    println!("{}", loader.statistics());
}

/// A line of this process's status, in MB.
fn resident_megabytes(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|text| {
        text.strip_prefix(line)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    kilobytes.map_or(f64::NAN, |kilobytes: f64| kilobytes * 1024.0 / 1e6)
}
