//! The kernels' own sources against the CPU back end: equal in every byte of every output, on
//! thousands of generated plans and all named ones, for several block sizes and orders.
//!
//! Without a GPU the kernels run on the CPU, compiled by the host's C++ compiler over a shim. With one
//! the same tests run on it too.

#![cfg(feature = "cuda")]

mod common;

use std::num::NonZero;
use std::path::Path;

use common::equal::difference;
use common::gpus::{self, TestGpu};
use common::packs::{write_bank, write_scenes};
use common::plans::{random_layer, random_plan};
use common::{ChaCha8Rng, RngExt, SeedableRng};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{
    Backend, Batch, CpuBackend, ElementType, Encoded, Layout, MaskOutput, OutputSpec,
};
use pastebank::cuda::CudaBackend;
use pastebank::plan::{CheckedPlan, Plan};
use serde_json::{Value, json};

const SCENES: usize = 12;
const CUTOUTS: usize = 40;
const PACKS: u64 = 4;
const PLANS_PER_PACK: u64 = 150;

struct Packs {
    folder: tempfile::TempDir,
    scenes: ScenePack,
    bank: CutoutBank,
}

fn make_packs(seed: u64) -> Packs {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
    write_scenes(&scenes, &mut draw, SCENES, 1 + seed as usize % 3);
    write_bank(&bank, &mut draw, CUTOUTS, 1 + seed as usize % 2);
    Packs {
        scenes: ScenePack::open(&scenes).unwrap(),
        bank: CutoutBank::open(&bank).unwrap(),
        folder,
    }
}

/// A form of output: every element type, layout and form of masks comes round.
fn output(number: u64) -> OutputSpec {
    let elements = [
        ElementType::U8,
        ElementType::F16,
        ElementType::BF16,
        ElementType::F32,
    ];
    let masks = [MaskOutput::Bits, MaskOutput::Rle, MaskOutput::None];
    OutputSpec {
        element: elements[number as usize % 4],
        layout: [Layout::Chw, Layout::Hwc][number as usize / 4 % 2],
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        masks: masks[number as usize / 8 % 3],
    }
}

/// Composes on both and says what differs.
fn compare(
    plan: &Value,
    packs: &Packs,
    cpu: &mut CpuBackend,
    gpu: &mut CudaBackend,
    spec: OutputSpec,
) -> Option<String> {
    let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
    let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
    let encoded = Encoded::new(&checked).unwrap();
    let [mut expected, mut found] = [(); 2].map(|()| Batch::new(spec));
    cpu.compose(&encoded, &mut expected).unwrap();
    if let Err(error) = gpu.compose(&encoded, &mut found) {
        return Some(format!("the GPU failed: {error}"));
    }
    difference(&found, &expected)
}

/// Keeps the plan and its packs where a developer can replay them.
fn save_failure(packs: Packs, plan: &Value, problem: &str) -> ! {
    let folder = packs.folder.keep();
    std::fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    panic!("{problem}; plan and packs are kept in {}", folder.display());
}

/// Runs plans that `make` draws on that GPU; fails at the first difference.
fn run_plans(
    gpu: &TestGpu,
    packs: u64,
    plans: u64,
    make: impl Fn(&mut ChaCha8Rng, u64) -> Value,
) -> u64 {
    let mut cpu = CpuBackend::new(NonZero::new(1));
    let mut backend = CudaBackend::new(gpu.gpu.clone()).unwrap();
    let mut composed = 0;
    for seed in 0..packs {
        let packs = make_packs(seed);
        for number in 0..plans {
            let mut draw = ChaCha8Rng::seed_from_u64(seed << 32 | number | 1 << 60);
            let plan = make(&mut draw, number);
            let problem = compare(&plan, &packs, &mut cpu, &mut backend, output(number / 4));
            if let Some(problem) = problem {
                save_failure(packs, &plan, &format!("{}: {problem}", gpu.name));
            }
            composed += 1;
        }
    }
    composed
}

#[test]
fn generated_plans_equal_the_cpu() {
    for gpu in gpus::all("generated plans") {
        let make = |draw: &mut ChaCha8Rng, number| {
            random_plan(draw, 1 + number as usize % 3, SCENES, CUTOUTS)
        };
        let composed = run_plans(&gpu, PACKS, PLANS_PER_PACK, make);
        println!("{}: {composed} generated plans equal", gpu.name);
    }
}

/// Canvases of several tiles and more layers than a block culls at once.
#[test]
fn many_layers_on_large_canvases_equal_the_cpu() {
    for gpu in gpus::all("many layers") {
        let make = |draw: &mut ChaCha8Rng, number| {
            let mut plan = random_plan(draw, 1, SCENES, CUTOUTS);
            let canvas = [0, 1].map(|_| draw.random_range(100..330));
            plan["canvas"] = json!(canvas);
            let count = if number % 4 == 0 { 300 } else { 40 };
            let layers = (0..count)
                .map(|_| Value::Object(random_layer(draw, canvas, CUTOUTS)))
                .collect();
            plan["samples"][0]["layers"] = Value::Array(layers);
            plan
        };
        let composed = run_plans(&gpu, 2, 12, make);
        println!("{}: {composed} large plans equal", gpu.name);
    }
}

#[test]
fn named_plans_equal_the_cpu() {
    // Cargo's variable where the test runs: elsewhere than it was built, scripts/gpu-check sets it.
    let root = std::env::var_os("CARGO_MANIFEST_DIR");
    let root = root.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let plans = Path::new(&root).join("tests/plans");
    let packs = make_packs(2207);
    for gpu in gpus::all("named plans") {
        let mut cpu = CpuBackend::new(NonZero::new(1));
        let mut backend = CudaBackend::new(gpu.gpu.clone()).unwrap();
        let mut count = 0;
        for entry in std::fs::read_dir(&plans).unwrap() {
            let folder = entry.unwrap().path();
            let text = std::fs::read(folder.join("plan.json")).unwrap();
            let plan: Value = serde_json::from_slice(&text).unwrap();
            for number in [0, 1, 7] {
                let spec = output(number);
                let problem = compare(&plan, &packs, &mut cpu, &mut backend, spec);
                assert_eq!(problem, None, "{}: {}", gpu.name, folder.display());
            }
            count += 1;
        }
        println!("{}: {count} named plans equal", gpu.name);
    }
}

#[test]
fn golden_examples_equal_the_cpu() {
    let Some(golden) = common::folder_from_environment("PASTEBANK_GOLDEN", "golden examples")
    else {
        return;
    };
    let scenes = ScenePack::open(&golden.join("scenes")).unwrap();
    let bank = CutoutBank::open(&golden.join("bank")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let packs = Packs {
        folder,
        scenes,
        bank,
    };
    let mut cpu = CpuBackend::new(NonZero::new(1));
    for gpu in gpus::all("golden examples") {
        let mut backend = CudaBackend::new(gpu.gpu.clone()).unwrap();
        let mut compared = 0;
        for entry in std::fs::read_dir(&golden).unwrap() {
            let Ok(text) = std::fs::read(entry.unwrap().path().join("plan.json")) else {
                continue;
            };
            let plan: Value = serde_json::from_slice(&text).unwrap();
            let problem = compare(&plan, &packs, &mut cpu, &mut backend, output(compared));
            assert_eq!(problem, None, "{}: {plan}", gpu.name);
            compared += 1;
        }
        assert!(compared >= 5, "only {compared} examples found");
    }
}

/// A sample that is not there is refused, and the back end goes on.
#[test]
fn a_batch_that_failed_is_empty_and_the_next_one_is_whole() {
    for gpu in gpus::all("failing batches") {
        let packs = make_packs(3);
        let mut draw = ChaCha8Rng::seed_from_u64(9);
        let plan = random_plan(&mut draw, 3, SCENES, CUTOUTS);
        let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
        let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
        let encoded = Encoded::new(&checked).unwrap();
        let mut backend = CudaBackend::new(gpu.gpu.clone()).unwrap();
        let mut batch = Batch::new(output(0));
        backend.compose(&encoded, &mut batch).unwrap();
        assert_eq!(batch.len(), 3);
        let error = backend
            .compose_samples(&encoded, &[2, 7], &mut batch)
            .unwrap_err();
        assert_eq!(error.to_string(), "sample 7 was asked for; the plan has 3");
        assert!(batch.is_empty() && batch.sample(0).is_none());
        backend.compose_samples(&encoded, &[], &mut batch).unwrap();
        assert!(batch.is_empty());
        backend
            .compose_samples(&encoded, &[2, 2], &mut batch)
            .unwrap();
        assert_eq!(batch.len(), 2);
        let mut expected = Batch::new(output(0));
        let mut cpu = CpuBackend::new(NonZero::new(1));
        cpu.compose_samples(&encoded, &[2, 2], &mut expected)
            .unwrap();
        assert_eq!(difference(&batch, &expected), None);
    }
}
