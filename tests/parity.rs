//! The CPU back end against the naive reading in `reference`: equal in every pixel, mask, box,
//! area and order, on thousands of generated plans.

mod common;
mod reference;

use std::num::NonZero;
use std::path::Path;

use common::packs::{write_bank, write_scenes};
use common::plans::random_plan;
use common::{ChaCha8Rng, SeedableRng};
use half::{bf16, f16};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{
    Backend, Batch, CpuBackend, ElementType, Encoded, ImageData, InstanceSource, Layout,
    MaskOutput, OutputSpec, Simd,
};
use pastebank::plan::{CheckedPlan, Plan};
use serde_json::Value;

const SCENES: usize = 12;
const CUTOUTS: usize = 40;
const PACKS: u64 = 8;
const PLANS_PER_PACK: u64 = 500;
const SAMPLES_PER_PLAN: usize = 2;

struct Packs {
    folder: tempfile::TempDir,
    scenes: ScenePack,
    bank: CutoutBank,
    reference_scenes: reference::Scenes,
    reference_bank: reference::Bank,
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
        reference_scenes: reference::read_scenes(&scenes),
        reference_bank: reference::read_bank(&bank),
        folder,
    }
}

fn compose(packs: &Packs, plan: &Value, spec: OutputSpec, backend: &mut CpuBackend) -> Batch {
    let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
    let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
    let encoded = Encoded::new(&checked).unwrap();
    let mut batch = Batch::new(spec);
    backend.compose(&encoded, &mut batch).unwrap();
    batch
}

/// Says what differs first: sample, stage, pixel and both values.
fn difference(batch: &Batch, expected: &[reference::Sample]) -> Option<String> {
    if batch.len() != expected.len() {
        return Some(format!("{} samples, not {}", batch.len(), expected.len()));
    }
    expected.iter().enumerate().find_map(|(index, expected)| {
        pixel_difference(batch, index, expected)
            .or_else(|| instance_difference(batch, index, expected))
            .map(|text| format!("sample {index}: {text}"))
    })
}

fn pixel_difference(batch: &Batch, index: usize, expected: &reference::Sample) -> Option<String> {
    let pixels = batch.pixels(index).unwrap();
    assert_eq!(pixels.len(), expected.rgb.len());
    let at = pixels.iter().zip(&expected.rgb).position(|(a, b)| a != b)?;
    let (x, y) = (at / 3 % expected.width, at / 3 / expected.width);
    Some(format!(
        "compose: channel {} of pixel ({x}, {y}) is {}, not {}",
        at % 3,
        pixels[at],
        expected.rgb[at]
    ))
}

fn instance_difference(
    batch: &Batch,
    index: usize,
    expected: &reference::Sample,
) -> Option<String> {
    let view = batch.sample(index).unwrap();
    assert_eq!(view.image_id, expected.image_id);
    if view.labels.len() != expected.instances.len() {
        return Some(format!(
            "settle: {} instances, not {}",
            view.labels.len(),
            expected.instances.len()
        ));
    }
    let mut masks = Vec::new();
    batch.masks_u8(index, &mut masks);
    let pixels = expected.width * expected.height;
    for (number, expected_instance) in expected.instances.iter().enumerate() {
        let source = match view.sources[number] {
            InstanceSource::Annotation(id) => (Some(id), None),
            InstanceSource::Cutout(cutout) => (None, Some(cutout as usize)),
        };
        let found = (
            view.labels[number],
            view.boxes[number].map(|edge| edge as i64),
            u64::from(view.areas[number]),
            u64::from(view.full_areas[number]),
            view.iscrowd[number],
            source,
            view.layers[number].map(usize::from),
        );
        let wanted = (
            expected_instance.category_id,
            expected_instance.box_xyxy,
            expected_instance.area,
            expected_instance.full_area,
            expected_instance.iscrowd,
            (expected_instance.annotation, expected_instance.cutout),
            expected_instance.layer,
        );
        if found != wanted {
            return Some(format!(
                "settle: instance {number} is {found:?}, not {wanted:?}"
            ));
        }
        let mask = &masks[number * pixels..(number + 1) * pixels];
        let differs = |(&a, &b): (&u8, &bool)| (a == 1) != b;
        if let Some(at) = mask.iter().zip(&expected_instance.mask).position(differs) {
            let (x, y) = (at % expected.width, at / expected.width);
            return Some(format!(
                "visible: mask of instance {number} at ({x}, {y}) is {}, not {}",
                mask[at], expected_instance.mask[at]
            ));
        }
        let run_lengths = batch.run_lengths(index, number).unwrap().compressed();
        let wanted =
            reference::rle_counts(&expected_instance.mask, expected.width, expected.height);
        if run_lengths != wanted {
            return Some(format!(
                "run lengths of {number}: {run_lengths}, not {wanted}"
            ));
        }
    }
    None
}

/// Keeps the plan and its packs where a developer can replay them.
fn save_failure(packs: Packs, plan: &Value, problem: &str) -> ! {
    let folder = packs.folder.keep();
    std::fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    panic!("{problem}; plan and packs are kept in {}", folder.display());
}

fn hwc(masks: MaskOutput) -> OutputSpec {
    OutputSpec {
        layout: Layout::Hwc,
        masks,
        ..OutputSpec::default()
    }
}

/// A back end for each instruction set that this machine has; all of them must give the same.
fn at_every_level(threads: usize) -> Vec<(Simd, CpuBackend)> {
    let levels = Simd::available().into_iter();
    levels
        .map(|simd| (simd, CpuBackend::with_simd(NonZero::new(threads), simd)))
        .collect()
}

#[test]
fn generated_plans_equal_the_reference() {
    let mut backends = at_every_level(1);
    let (mut instances, mut dropped) = (0, 0);
    for seed in 0..PACKS {
        let packs = make_packs(seed);
        for number in 0..PLANS_PER_PACK {
            let mut draw = ChaCha8Rng::seed_from_u64(seed << 32 | number);
            let plan = random_plan(&mut draw, SAMPLES_PER_PLAN, SCENES, CUTOUTS);
            let expected =
                reference::compose(&plan, &packs.reference_bank, &packs.reference_scenes);
            let mut kept = 0;
            for (simd, backend) in &mut backends {
                let bits = compose(&packs, &plan, hwc(MaskOutput::Bits), backend);
                if let Some(problem) = difference(&bits, &expected) {
                    save_failure(packs, &plan, &format!("{simd}: {problem}"));
                }
                let rle = compose(&packs, &plan, hwc(MaskOutput::Rle), backend);
                for (sample, expected) in expected.iter().enumerate() {
                    for instance in 0..expected.instances.len() {
                        assert_eq!(
                            rle.run_lengths(sample, instance),
                            bits.run_lengths(sample, instance)
                        );
                    }
                }
                kept = bits.instance_count();
            }
            instances += kept;
            dropped += candidates(&plan) - kept.min(candidates(&plan));
        }
    }
    let plans = PACKS * PLANS_PER_PACK;
    println!("{plans} plans of {SAMPLES_PER_PLAN} samples equal; {instances} instances stayed");
    // A generator whose plans show nothing would prove nothing.
    assert!(instances as u64 > 2 * plans, "{instances} instances");
    assert!(dropped as u64 > plans / 10, "{dropped} dropped layers");
}

/// Layers of a plan; scene instances come on top.
fn candidates(plan: &Value) -> usize {
    let samples = plan["samples"].as_array().unwrap();
    samples
        .iter()
        .map(|sample| sample["layers"].as_array().unwrap().len())
        .sum()
}

#[test]
fn threads_element_types_and_layouts_agree() {
    let packs = make_packs(77);
    let mut draw = ChaCha8Rng::seed_from_u64(5);
    let mut one = CpuBackend::new(NonZero::new(1));
    let mut fours = at_every_level(4);
    let mean = [0.485, 0.456, 0.406];
    let std = [0.229, 0.224, 0.225];
    for _ in 0..30 {
        let plan = random_plan(&mut draw, 9, SCENES, CUTOUTS);
        let bytes = compose(&packs, &plan, hwc(MaskOutput::Bits), &mut one);
        let ImageData::U8(bytes) = bytes.image() else {
            unreachable!()
        };
        let [width, height] = [0, 1].map(|axis| plan["canvas"][axis].as_u64().unwrap() as usize);
        for (element, layout) in [
            (ElementType::U8, Layout::Chw),
            (ElementType::F16, Layout::Chw),
            (ElementType::BF16, Layout::Chw),
            (ElementType::BF16, Layout::Hwc),
            (ElementType::F16, Layout::Hwc),
            (ElementType::F32, Layout::Chw),
            (ElementType::F32, Layout::Hwc),
        ] {
            let spec = OutputSpec {
                element,
                layout,
                mean,
                std,
                masks: MaskOutput::Bits,
            };
            let mut batches = fours
                .iter_mut()
                .map(|(simd, backend)| (*simd, compose(&packs, &plan, spec, backend)));
            let (_, batch) = batches.next().unwrap();
            for (simd, other) in batches {
                let is_equal = other.image_bytes() == batch.image_bytes();
                assert!(is_equal, "{element:?} {layout:?} at {simd}");
            }
            let values = as_f64(batch.image());
            for (index, &byte) in bytes.iter().enumerate() {
                let (channel, pixel) = (index % 3, index / 3);
                let (sample, pixel) = (pixel / (width * height), pixel % (width * height));
                let place = match layout {
                    Layout::Hwc => index,
                    Layout::Chw => (3 * sample + channel) * width * height + pixel,
                };
                let exact = (f64::from(byte) / 255.0 - mean[channel]) / std[channel];
                let expected = match element {
                    ElementType::U8 => f64::from(byte),
                    ElementType::F16 => nearest(exact, |value| f16::from_f64_const(value).into()),
                    ElementType::BF16 => nearest(exact, |value| bf16::from_f64_const(value).into()),
                    ElementType::F32 => f64::from(exact as f32),
                };
                assert_eq!(values[place], expected, "{element:?} {layout:?}");
            }
        }
    }
}

/// For these values the library's own rounding is right: none is within 2^-32 of a tie.
fn nearest(exact: f64, round: impl Fn(f64) -> f64) -> f64 {
    round(exact)
}

fn as_f64(image: ImageData<'_>) -> Vec<f64> {
    match image {
        ImageData::U8(values) => values.iter().map(|&value| value.into()).collect(),
        ImageData::F16(values) => values.iter().map(|&value| value.into()).collect(),
        ImageData::BF16(values) => values.iter().map(|&value| value.into()).collect(),
        ImageData::F32(values) => values.iter().map(|&value| value.into()).collect(),
    }
}

#[test]
fn a_batch_that_failed_is_empty() {
    let packs = make_packs(3);
    let mut draw = ChaCha8Rng::seed_from_u64(9);
    let plan = random_plan(&mut draw, 3, SCENES, CUTOUTS);
    let mut backend = CpuBackend::new(NonZero::new(2));
    let mut batch = compose(&packs, &plan, hwc(MaskOutput::Bits), &mut backend);
    assert_eq!(batch.len(), 3);
    let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
    let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
    let encoded = Encoded::new(&checked).unwrap();
    let error = backend
        .compose_samples(&encoded, &[2, 7], &mut batch)
        .unwrap_err();
    assert_eq!(error.to_string(), "sample 7 was asked for; the plan has 3");
    assert!(batch.is_empty() && batch.sample(0).is_none() && batch.pixels(0).is_none());
    backend.compose_samples(&encoded, &[2], &mut batch).unwrap();
    assert_eq!(batch.len(), 1);
}

#[test]
fn golden_examples_are_rendered_exactly() {
    let Some(golden) = common::folder_from_environment("PASTEBANK_GOLDEN", "golden examples")
    else {
        return;
    };
    let scenes = ScenePack::open(&golden.join("scenes")).unwrap();
    let bank = CutoutBank::open(&golden.join("bank")).unwrap();
    let mut passed = 0;
    for entry in std::fs::read_dir(&golden).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("plan.json").exists() {
            compare_rendering(&folder, &scenes, &bank);
            passed += 1;
        }
    }
    println!("{passed} golden examples rendered exactly");
    assert!(passed >= 5, "only {passed} examples found");
}

fn compare_rendering(folder: &Path, scenes: &ScenePack, bank: &CutoutBank) {
    let out = tempfile::tempdir().unwrap();
    let plan = Plan::from_json(&std::fs::read(folder.join("plan.json")).unwrap()).unwrap();
    let threads = NonZero::new(2).unwrap();
    let mut cpu = CpuBackend::new(Some(threads));
    pastebank::render::render(&plan, scenes, bank, out.path(), &mut cpu, threads, |_| true)
        .unwrap();
    let json = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path.join("annotations.json")).unwrap()).unwrap()
    };
    assert_eq!(json(out.path()), json(folder), "{}", folder.display());
    for sample in 0..plan.samples.len() {
        let pixels = |path: &Path| image::open(path.join(format!("{sample}.png"))).unwrap();
        assert_eq!(
            pixels(out.path()).into_rgb8(),
            pixels(folder).into_rgb8(),
            "{} sample {sample}",
            folder.display()
        );
    }
}
