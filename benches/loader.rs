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
use pastebank::compose::{Backend, Batch, CpuBackend, ElementType, Encoded, OutputSpec};
use pastebank::loader::{Loader, LoaderOptions};
use pastebank::plan::{Blend, CheckedPlan, Keep, LayerPlan, Plan, SamplePlan};
use pastebank::sampler::{At, Ground, Recipe, RecipeSettings, Sample, Sampler, SamplerError};
use rand::{Rng, RngExt};

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

/// The workload of the compose benchmark as a recipe: every scene at 1.6 to 2.6 times its size, 20
/// Gaussian layers with sides of 150 pixels on average all over the canvas.
#[derive(Debug)]
struct Workload;

impl Recipe for Workload {
    fn draw(&self, ground: &Ground, at: &At, sample: &mut Sample) {
        let mut draw = at.draws().stream(0);
        let scale = draw.random_range(1.6..2.6);
        let scene = &mut sample.plan.scene;
        scene.index = at.scene;
        scene.resized = [640.0, 480.0].map(|side: f64| (side * scale) as u32);
        scene.offset = [-draw.random_range(0..100), -draw.random_range(0..50)];
        scene.flip = draw.random_bool(0.5);
        sample.plan.layers.clear();
        sample.ignored.clear();
        for _ in 0..20 {
            sample.plan.layers.push(layer(ground, &mut draw));
            sample.ignored.push(false);
        }
    }
    fn keep(&self) -> Keep {
        Keep::default()
    }
    fn pad(&self) -> [u8; 3] {
        [114; 3]
    }
    fn settings(&self) -> serde_json::Value {
        "the compose benchmark's".into()
    }
    fn check(&self, _: &Ground) -> Result<(), SamplerError> {
        Ok(())
    }
}

fn layer(ground: &Ground, draw: &mut impl Rng) -> LayerPlan {
    let resized = [(); 2].map(|()| draw.random_range(75..=225));
    let canvas = [ground.canvas.width(), ground.canvas.height()];
    let cutout = draw.random_range(0..ground.bank.len() as u64);
    let offset = [0, 1].map(|axis: usize| {
        let (side, canvas) = (resized[axis] as i32, canvas[axis] as i32);
        draw.random_range(-side / 2..canvas - side / 2)
    });
    LayerPlan {
        cutout,
        resized,
        offset,
        flip: draw.random_bool(0.5),
        angle: 0.0,
        blend: Blend::Gaussian { sigma: 2.0 },
        color: Default::default(),
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
        Arc::new(Workload),
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

fn output() -> OutputSpec {
    OutputSpec {
        element: ElementType::F16,
        ..OutputSpec::default()
    }
}

/// Images a second of composing, nothing else: the plans are drawn, checked and encoded before.
fn compose_alone(sampler: &Sampler, threads: usize) -> f64 {
    let ground = sampler.ground();
    let plans: Vec<Plan> = (0..BATCHES)
        .map(|batch| {
            let first = (batch * BATCH) as u64;
            let samples = (first..first + BATCH as u64).map(|index| -> SamplePlan {
                let mut sample = Sample::default();
                sampler.draw(index / 16, index % 16, 0, None, 0, &mut sample);
                sample.plan
            });
            Plan {
                canvas: [1024; 2],
                pad: [114; 3],
                keep: Keep::default(),
                samples: samples.collect(),
            }
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
