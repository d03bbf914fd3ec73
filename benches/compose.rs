//! Composing on one core and on all: 1024x1024, 8 scene instances, 20 Gaussian-blended layers with
//! sides of 150 pixels on average, scenes raw at 640x480, f16 CHW out, bit masks.
//!
//! `cargo bench --bench compose`

mod common;

use std::num::NonZero;
use std::sync::Arc;

use common::{Spread, machine, measure, pack_options};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::bench::Workload;
use pastebank::compose::{Backend, Batch, CpuBackend, ElementType, Encoded, OutputSpec};
use pastebank::plan::{CheckedPlan, Plan};
use pastebank::sampler::Sampler;

const CANVAS: u32 = 1024;
const SCENES: usize = 16;
const LAYERS: usize = 20;
const BATCH: usize = 16;
const RUNS: usize = 15;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let options = pack_options(folder.path(), SCENES);
    pastebank::pack::pack(&options, |_| true).unwrap();
    let scenes = Arc::new(ScenePack::open(options.scenes.as_ref().unwrap()).unwrap());
    let bank = Arc::new(CutoutBank::open(options.bank.as_ref().unwrap()).unwrap());
    println!("machine: {}", machine());
    println!(
        "{CANVAS}x{CANVAS}, 8 scene instances, {LAYERS} Gaussian layers (sigma 2, mean side 150), \
         raw 640x480 scenes, bit masks, batch {BATCH}, {RUNS} runs: median [least..greatest]"
    );
    let f16 = output(ElementType::F16);
    let all = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let workload = |layers| plan(&scenes, &bank, layers);
    let one = report(
        "f16 CHW, 1 thread",
        &workload(LAYERS),
        f16,
        1,
        &scenes,
        &bank,
    );
    let many = report(
        "f16 CHW, all threads",
        &workload(LAYERS),
        f16,
        all,
        &scenes,
        &bank,
    );
    report(
        "u8 CHW, 1 thread",
        &workload(LAYERS),
        output(ElementType::U8),
        1,
        &scenes,
        &bank,
    );
    report(
        "f16, no layers, 1 thread",
        &workload(0),
        f16,
        1,
        &scenes,
        &bank,
    );
    println!("{all} threads / 1 thread: {:.2} times", one / many);
}

fn output(element: ElementType) -> OutputSpec {
    OutputSpec {
        element,
        ..pastebank::bench::output()
    }
}

/// A batch by the benchmarks' recipe.
fn plan(scenes: &Arc<ScenePack>, bank: &Arc<CutoutBank>, layers: usize) -> Plan {
    let recipe = Arc::new(Workload {
        layers,
        ..Workload::default()
    });
    let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, [CANVAS; 2], 0).unwrap();
    sampler.plan(0..BATCH as u64)
}

/// Prints one line and returns milliseconds an image.
fn report(
    name: &str,
    plan: &Plan,
    output: OutputSpec,
    threads: usize,
    scenes: &ScenePack,
    bank: &CutoutBank,
) -> f64 {
    let mut backend = CpuBackend::new(NonZero::new(threads));
    let mut batch = Batch::new(output);
    let Spread {
        median,
        least,
        greatest,
    } = measure(RUNS, || {
        let checked = CheckedPlan::new(plan, scenes, bank).unwrap();
        let encoded = Encoded::new(&checked).unwrap();
        backend.compose(&encoded, &mut batch).unwrap();
    });
    let per_image = |duration: std::time::Duration| duration.as_secs_f64() * 1e3 / BATCH as f64;
    println!(
        "{name:>26}: {:6.2} ms an image [{:.2}..{:.2}] = {:6.1} images/s",
        per_image(median),
        per_image(least),
        per_image(greatest),
        1e3 / per_image(median)
    );
    per_image(median)
}
