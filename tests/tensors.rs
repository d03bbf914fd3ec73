//! Batches as candle tensors: shapes, types and values are those of the slices.
#![cfg(feature = "candle")]

mod common;

use candle_core::{DType, Device};
use common::packs::{write_bank, write_scenes};
use common::plans::random_plan;
use common::{ChaCha8Rng, SeedableRng};
use half::f16;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{
    Backend, Batch, CpuBackend, ElementType, Encoded, ImageData, InstanceSource, Layout,
    MaskOutput, OutputSpec,
};
use pastebank::plan::{CheckedPlan, Plan};

fn compose(seed: u64, spec: OutputSpec) -> Batch {
    let folder = tempfile::tempdir().unwrap();
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    write_scenes(&scenes, &mut draw, 6, 1);
    write_bank(&bank, &mut draw, 10, 1);
    let scenes = ScenePack::open(&scenes).unwrap();
    let bank = CutoutBank::open(&bank).unwrap();
    let plan = random_plan(&mut draw, 5, 6, 10);
    let plan = Plan::from_json(plan.to_string().as_bytes()).unwrap();
    let checked = CheckedPlan::new(&plan, &scenes, &bank).unwrap();
    let mut batch = Batch::new(spec);
    let encoded = Encoded::new(&checked).unwrap();
    CpuBackend::new(None).compose(&encoded, &mut batch).unwrap();
    batch
}

#[test]
fn images_keep_type_layout_and_values() {
    for (element, dtype) in [
        (ElementType::U8, DType::U8),
        (ElementType::F16, DType::F16),
        (ElementType::BF16, DType::BF16),
        (ElementType::F32, DType::F32),
    ] {
        for layout in [Layout::Chw, Layout::Hwc] {
            let batch = compose(
                3,
                OutputSpec {
                    element,
                    layout,
                    ..OutputSpec::default()
                },
            );
            let tensor = batch.image_tensor(&Device::Cpu).unwrap();
            let [width, height] =
                [batch.canvas().width(), batch.canvas().height()].map(|side| side as usize);
            let expected = match layout {
                Layout::Chw => [5, 3, height, width],
                Layout::Hwc => [5, height, width, 3],
            };
            assert_eq!((tensor.dims(), tensor.dtype()), (&expected[..], dtype));
            if let ImageData::F16(values) = batch.image() {
                let found: Vec<f16> = tensor.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(&found, values);
            }
        }
    }
}

#[test]
fn instances_are_those_of_the_slices() {
    let mut instances = 0;
    for seed in 0..20 {
        let batch = compose(seed, OutputSpec::default());
        for sample in 0..batch.len() {
            let view = batch.sample(sample).unwrap();
            let n = view.labels.len();
            let tensors = batch.sample_tensors(sample, &Device::Cpu).unwrap().unwrap();
            assert_eq!(tensors.image_id, view.image_id);
            assert_eq!(tensors.boxes.dims(), [n, 4]);
            let boxes: Vec<Vec<f32>> = tensors.boxes.to_vec2().unwrap();
            assert!(boxes.iter().zip(view.boxes).all(|(a, b)| a == b));
            assert_eq!(tensors.labels.to_vec1::<i64>().unwrap(), view.labels);
            assert_eq!(tensors.areas.to_vec1::<u32>().unwrap(), view.areas);
            assert_eq!(tensors.iscrowd.to_vec1::<u8>().unwrap(), view.iscrowd);
            assert_eq!(
                tensors.full_areas.to_vec1::<u32>().unwrap(),
                view.full_areas
            );
            let pasted = tensors.is_pasted.to_vec1::<u8>().unwrap();
            let ids = tensors.source_ids.to_vec1::<i64>().unwrap();
            let layers = tensors.layers.to_vec1::<i64>().unwrap();
            for (index, source) in view.sources.iter().enumerate() {
                let layer = view.layers[index].map_or(-1, i64::from);
                let expected = match *source {
                    InstanceSource::Annotation(id) => (0, id, layer),
                    InstanceSource::Cutout(cutout) => (1, cutout as i64, layer),
                };
                assert_eq!((pasted[index], ids[index], layers[index]), expected);
            }
            let masks = tensors.masks.unwrap();
            let canvas = batch.canvas();
            let sides = [canvas.height() as usize, canvas.width() as usize];
            assert_eq!(masks.dims(), [n, sides[0], sides[1]]);
            if n > 0 {
                let sums = masks.to_dtype(DType::U32).unwrap().flatten_from(1).unwrap();
                let sums: Vec<u32> = sums.sum(1).unwrap().to_vec1().unwrap();
                assert_eq!(sums, view.areas);
            }
            instances += n;
        }
        assert!(batch.sample_tensors(99, &Device::Cpu).unwrap().is_none());
    }
    assert!(instances > 50, "{instances}");
    let without = OutputSpec {
        masks: MaskOutput::None,
        ..OutputSpec::default()
    };
    let tensors = compose(1, without)
        .sample_tensors(0, &Device::Cpu)
        .unwrap()
        .unwrap();
    assert!(tensors.masks.is_none());
}
