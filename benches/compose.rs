//! Composing on one core and on all: 1024x1024, 8 scene instances, 20 Gaussian-blended layers with
//! sides of 150 pixels on average, scenes raw at 640x480, f16 CHW out, bit masks.
//!
//! `cargo bench --bench compose`

mod common;

use std::num::NonZero;

use common::{Spread, machine, measure, pack_options};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{
    Backend, Batch, CpuBackend, ElementType, Encoded, Layout, MaskOutput, OutputSpec,
};
use pastebank::plan::{
    Blend, CheckedPlan, ColorMatrix, Keep, LayerPlan, Plan, SamplePlan, ScenePlan,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CANVAS: u32 = 1024;
const SCENES: usize = 16;
const LAYERS: usize = 20;
const BATCH: usize = 16;
const RUNS: usize = 15;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let options = pack_options(folder.path(), SCENES);
    pastebank::pack::pack(&options, |_| true).unwrap();
    let scenes = ScenePack::open(options.scenes.as_ref().unwrap()).unwrap();
    let bank = CutoutBank::open(options.bank.as_ref().unwrap()).unwrap();
    println!("machine: {}", machine());
    println!(
        "{CANVAS}x{CANVAS}, 8 scene instances, {LAYERS} Gaussian layers (sigma 2, mean side 150), \
         raw 640x480 scenes, bit masks, batch {BATCH}, {RUNS} runs: median [least..greatest]"
    );
    let f16 = output(ElementType::F16);
    let all = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let workload = |layers| plan(&bank, layers);
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
        layout: Layout::Chw,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        masks: MaskOutput::Bits,
    }
}

/// Every scene once, at 1.0 to 1.6 times its own size, with layers all over the canvas.
fn plan(bank: &CutoutBank, layers: usize) -> Plan {
    let mut draw = ChaCha8Rng::seed_from_u64(2);
    let samples = (0..BATCH).map(|index| {
        let scale = 1.0 + 0.6 * index as f64 / BATCH as f64;
        let scene = ScenePlan {
            index: (index % SCENES) as u64,
            resized: [640.0, 480.0].map(|side| (side * scale * 1.6f64) as u32),
            offset: [-draw.random_range(0..100), -draw.random_range(0..50)],
            flip: draw.random_bool(0.5),
            color: ColorMatrix::default(),
        };
        let layers = (0..layers).map(|_| layer(bank, &mut draw)).collect();
        SamplePlan { scene, layers }
    });
    Plan {
        canvas: [CANVAS, CANVAS],
        pad: [114; 3],
        keep: Keep::default(),
        samples: samples.collect(),
    }
}

fn layer(bank: &CutoutBank, draw: &mut ChaCha8Rng) -> LayerPlan {
    let resized = [(); 2].map(|()| draw.random_range(75..=225));
    LayerPlan {
        cutout: draw.random_range(0..bank.len() as u64),
        resized,
        offset: resized
            .map(|side| draw.random_range(-(side as i32) / 2..CANVAS as i32 - side as i32 / 2)),
        flip: draw.random_bool(0.5),
        angle: 0.0,
        blend: Blend::Gaussian { sigma: 2.0 },
        color: ColorMatrix::default(),
    }
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
