//! Composed data sets: what is written, held against plans, rules and readers.
#![cfg(all(feature = "dataset", feature = "pack"))]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::composed::{
    CANVAS, Packs, SEED, check_masks, instances, list, mask, open, packing, recipe,
};
use pastebank::annotations::coco::DataSet;
use pastebank::compose::{
    Backend, Batch, CpuBackend, Encoded, InstanceSource, Layout, OutputSpec, Simd,
};
use pastebank::dataset::{Annotations, DatasetOptions, ImageFormat, Style, write};
use pastebank::pack::{PackOptions, pack};
use pastebank::plan::{CheckedPlan, Plan};
use pastebank::sampler::{RecipeSettings, Sampler};
use serde_json::{Value, json};

/// Per sample: the instances of its scene by category, composed without any layer.
fn before_pasting(packs: &Packs, mut plan: Plan) -> Vec<BTreeMap<i64, u64>> {
    plan.samples.iter_mut().for_each(|s| s.layers.clear());
    let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
    let mut batch = Batch::new(OutputSpec::default());
    CpuBackend::new(None)
        .compose(&Encoded::new(&checked).unwrap(), &mut batch)
        .unwrap();
    let samples = (0..plan.samples.len()).map(|sample| {
        let mut counts = BTreeMap::new();
        for &category in batch.sample(sample).unwrap().labels {
            *counts.entry(category).or_default() += 1;
        }
        counts
    });
    samples.collect()
}

#[test]
fn images_and_annotations_are_what_the_plans_give() {
    let packs = Packs::new();
    let mut options = packs.options("out", 30);
    options.format = ImageFormat::Png;
    let report = packs.write(&options);
    let data = instances(&options);
    let annotations = list(&data, "annotations");
    // Composed once more, all at once, with masks as bits.
    let sampler = packs.sampler();
    let plan = sampler.plan(0..30);
    let checked = CheckedPlan::new(&plan, &packs.scenes, &packs.bank).unwrap();
    let mut batch = Batch::new(OutputSpec {
        layout: Layout::Hwc,
        ..OutputSpec::default()
    });
    CpuBackend::new(None)
        .compose(&Encoded::new(&checked).unwrap(), &mut batch)
        .unwrap();
    let before = before_pasting(&packs, plan.clone());
    let (mut next, mut pasted) = (0, 0);
    for (sample, own) in before.iter().enumerate() {
        let image = &list(&data, "images")[sample];
        let name = format!("{sample:012}.png");
        assert_eq!(
            (&image["id"], &image["file_name"]),
            (&json!(sample), &json!(name))
        );
        let scene = packs.scenes.get(plan.samples[sample].scene.index as usize);
        assert_eq!(image["scene_image_id"], scene.unwrap().image);
        assert_eq!(image["scene"], plan.samples[sample].scene.index);
        assert_eq!(image["before"], json!(own));
        let written = image::open(options.folder.join("images").join(&name)).unwrap();
        assert_eq!((written.width(), written.height()), CANVAS.into());
        assert_eq!(written.as_bytes(), batch.pixels(sample).unwrap());
        let view = batch.sample(sample).unwrap();
        for instance in 0..view.labels.len() {
            let annotation = &annotations[next];
            assert_eq!(annotation["image_id"], sample);
            assert_eq!(annotation["category_id"], view.labels[instance]);
            assert_eq!(annotation["iscrowd"], view.iscrowd[instance]);
            assert_eq!(annotation.get("ignore"), None);
            let expected = batch.run_lengths(sample, instance).unwrap();
            assert_eq!(mask(&annotation["segmentation"], CANVAS), expected);
            let source = match (view.sources[instance], view.layers[instance]) {
                (InstanceSource::Annotation(id), _) => json!({ "annotation": id }),
                (InstanceSource::Cutout(row), layer) => {
                    pasted += 1;
                    json!({"cutout": row, "image": -1, "annotation": -1, "layer": layer})
                }
            };
            assert_eq!(annotation["source"], source);
            next += 1;
        }
    }
    assert_eq!(next, annotations.len());
    assert_eq!(check_masks(&data), next);
    // Pastes hide some of the scenes' own instances.
    let scenes_own: u64 = before.iter().flat_map(BTreeMap::values).sum();
    assert!(scenes_own > (next - pasted) as u64, "{scenes_own}");
    assert!(pasted > 50 && next - pasted > 10, "{pasted} of {next}");
    assert_eq!(report.pasted_annotations, pasted as u64);
    assert_eq!(report.scene_annotations, (next - pasted) as u64);
    assert_eq!((report.images, report.categories), (30, 3));
    assert_eq!(
        data["categories"][0],
        json!({"id": 1, "name": "category 1", "colour": "kept"})
    );
    assert!(!options.folder.join("compose-journal.jsonl").exists());
}

#[test]
fn polygons_give_the_masks_of_the_run_lengths() {
    let packs = Packs::new();
    let rle = packs.options("rle", 60);
    let mut polygons = packs.options("polygons", 60);
    polygons.annotations = Annotations::Polygons;
    packs.write(&rle);
    let report = packs.write(&polygons);
    assert_eq!(report.rle_fallbacks, 0);
    let (a, b) = (instances(&rle), instances(&polygons));
    assert_eq!(check_masks(&b), check_masks(&a));
    let mut as_polygons = 0;
    for (a, b) in list(&a, "annotations").iter().zip(list(&b, "annotations")) {
        let masks = [a, b].map(|annotation| mask(&annotation["segmentation"], CANVAS));
        assert_eq!(masks[0], masks[1]);
        // Crowds, and only these, are run lengths all the same.
        assert_eq!(b["segmentation"].is_object(), b["iscrowd"] == 1);
        as_polygons += usize::from(b["segmentation"].is_array());
    }
    assert!(as_polygons > 100 && report.crowds > 0, "{as_polygons}");
}

#[test]
fn samples_without_instances_are_images_without_annotations() {
    let packs = Packs::new();
    let mut none = recipe();
    none.bank.count = [0, 0];
    (none.keep.0.min_area, none.keep.0.max_box_shift) = (u32::MAX, None);
    let sampler = packs.sampler_of(none, SEED);
    let options = packs.options("out", 6);
    let report = write(&sampler, &options, |_| true).unwrap();
    assert_eq!((report.images, report.categories), (6, 0));
    let data = instances(&options);
    assert_eq!(list(&data, "images").len(), 6);
    assert_eq!(data["annotations"], json!([]));
}

/// A small data set in LVIS's form, but for one crowd.
fn lvis_like(folder: &Path) -> PackOptions {
    fs::create_dir(folder.join("images")).unwrap();
    let mut images = Vec::new();
    let mut annotations = Vec::new();
    for id in 1..=3 {
        let picture = image::RgbImage::from_pixel(60, 50, image::Rgb([70 * id as u8, 90, 20]));
        let name = format!("{id}.png");
        picture.save(folder.join("images").join(&name)).unwrap();
        images.push(
            json!({"id": id, "file_name": name, "width": 60, "height": 50,
            "neg_category_ids": [4, 2], "not_exhaustive_category_ids": [3]}),
        );
        let mut add = |category: i64, x: i64, is_crowd: bool| {
            let mut annotation = json!({"id": 10 * id + category, "image_id": id,
                "category_id": category,
                "segmentation": [[x, 5, x + 12, 5, x + 12, 30, x, 30]]});
            if is_crowd {
                annotation["iscrowd"] = json!(1);
            }
            annotations.push(annotation);
        };
        add(1, 3, false);
        add(2 + i64::from(id > 1), 20, false);
        if id == 3 {
            add(5, 40, true);
        }
    }
    let categories: Vec<Value> = (1..=5)
        .map(|id| {
            json!({"id": id, "name": format!("thing {id}"), "synset": format!("thing.n.0{id}"),
                "synonyms": ["thing"], "def": "a thing", "frequency": "f",
                "image_count": 999, "instance_count": 9999})
        })
        .collect();
    let data = json!({"images": images, "annotations": annotations, "categories": categories,
        "licenses": [{"id": 1, "name": "free"}]});
    packing(folder, &data)
}

#[test]
fn the_lvis_form_has_its_keys_and_counts_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let packed = lvis_like(folder.path());
    pack(&packed, |_| true).unwrap();
    let (scenes, bank) = open(&packed);
    let recipe = Arc::new(recipe());
    let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, [160, 120], SEED).unwrap();
    let mut options = DatasetOptions::new(&folder.path().join("out"), 24);
    options.style = Style::Lvis;
    let report = write(&sampler, &options, |_| true).unwrap();
    let data = instances(&options);
    assert_eq!(data["licenses"], json!([{"id": 1, "name": "free"}]));
    let mut of_category: HashMap<i64, (Vec<i64>, u64)> = HashMap::new();
    let mut in_image: HashMap<i64, Vec<i64>> = HashMap::new();
    for annotation in list(&data, "annotations") {
        assert_eq!(annotation.get("iscrowd"), None);
        let id = |key: &str| annotation[key].as_i64().unwrap();
        let (images, count) = of_category.entry(id("category_id")).or_default();
        images.push(id("image_id"));
        *count += 1;
        in_image
            .entry(id("image_id"))
            .or_default()
            .push(id("category_id"));
    }
    let (mut with_crowd, mut shortened) = (0, 0);
    for image in list(&data, "images") {
        let ids = |key: &str| serde_json::from_value::<Vec<i64>>(image[key].clone()).unwrap();
        let present = in_image.get(&image["id"].as_i64().unwrap());
        let is_present = |id: &i64| present.is_some_and(|present| present.contains(id));
        let expected: Vec<i64> = [4, 2].into_iter().filter(|id| !is_present(id)).collect();
        assert_eq!(ids("neg_category_ids"), expected);
        let name = image["file_name"].as_str().unwrap();
        assert_eq!(image["coco_url"], format!("images/{name}"));
        shortened += usize::from(expected.len() < 2);
        let not_exhaustive = ids("not_exhaustive_category_ids");
        assert!([vec![3], vec![3, 5]].contains(&not_exhaustive));
        if not_exhaustive.len() == 2 {
            assert_eq!(image["scene_file_name"], "3.png");
            with_crowd += 1;
        }
    }
    assert!(with_crowd > 2 && with_crowd == report.crowds_left_out);
    assert!(shortened > 10, "{shortened}");
    for category in list(&data, "categories") {
        let (mut images, instances) = of_category
            .remove(&category["id"].as_i64().unwrap())
            .unwrap_or_default();
        images.dedup();
        assert_eq!(category["image_count"], images.len());
        assert_eq!(category["instance_count"], instances);
        let frequency = if images.len() <= 10 { "r" } else { "c" };
        assert_eq!(category["frequency"], frequency);
        assert_eq!(category["def"], "a thing");
    }
    // In the COCO form the keys are those of the packs.
    options.style = Style::Coco;
    options.force = true;
    let report = write(&sampler, &options, |_| true).unwrap();
    assert_eq!((report.crowds, report.crowds_left_out), (with_crowd, 0));
    let data = instances(&options);
    assert_eq!(data["categories"][0]["image_count"], 999);
    for key in [
        "neg_category_ids",
        "not_exhaustive_category_ids",
        "coco_url",
    ] {
        assert_eq!(data["images"][0].get(key), None);
    }
}

/// Reads a composed data set as any other, packs it, and holds the packed masks against it.
fn pack_again(options: &DatasetOptions, out: &Path) -> usize {
    let file = options.folder.join("instances.json");
    let data = DataSet::read(&file, out).unwrap();
    assert!(data.problems.is_empty(), "{}", data.problems);
    let json = instances(options);
    assert_eq!(data.annotation_count(), list(&json, "annotations").len());
    let images = options.folder.join("images");
    let packing = PackOptions::new(&file, &images, &out.join("scenes"), &out.join("bank"));
    let report = pack(&packing, |_| true).unwrap();
    assert!(report.problems.is_empty(), "{}", report.problems);
    let (scenes, _) = open(&packing);
    let mut annotations = list(&json, "annotations").iter();
    for row in 0..scenes.len() {
        for instance in scenes.get(row).unwrap().instances() {
            let annotation = annotations.next().unwrap();
            assert_eq!(json!(instance.bounding_box), annotation["bbox"]);
            let area: u32 = instance.mask.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(annotation["area"], area);
            assert_eq!(annotation["id"], instance.annotation);
        }
    }
    assert!(annotations.next().is_none());
    data.annotation_count()
}

#[test]
fn a_composed_data_set_is_a_data_set() {
    let packs = Packs::new();
    for annotations in [Annotations::Rle, Annotations::Polygons] {
        let mut options = packs.options(&format!("{annotations:?}"), 20);
        options.annotations = annotations;
        packs.write(&options);
        let out = tempfile::tempdir().unwrap();
        assert!(pack_again(&options, out.path()) > 50);
    }
}

#[test]
fn real_data_sets_are_composed_and_packed_again() {
    let Some(data) = common::folder_from_environment("PASTEBANK_TEST_DATA", "composed data sets")
    else {
        return;
    };
    let coco = (
        data.join("coco_cc/instances.json"),
        data.join("coco_cc/images"),
    );
    let lvis = (
        data.join("lvis/lvis_v0.5_mini.json"),
        data.join("lvis/images"),
    );
    for ((annotations, images), style) in [(coco, Style::Coco), (lvis, Style::Lvis)] {
        let folder = tempfile::tempdir().unwrap();
        let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
        let packing = PackOptions::new(&annotations, &images, &scenes, &bank);
        pack(&packing, |_| true).unwrap();
        let (scenes, bank) = open(&packing);
        let recipe = Arc::new(RecipeSettings::xpaste());
        let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, [320, 256], 1).unwrap();
        let mut written = Vec::new();
        for annotations in [Annotations::Rle, Annotations::Polygons] {
            let mut options =
                DatasetOptions::new(&folder.path().join(format!("{annotations:?}")), 16);
            (options.annotations, options.style) = (annotations, style);
            let report = write(&sampler, &options, |_| true).unwrap();
            assert_eq!(report.rle_fallbacks, 0);
            let composed = instances(&options);
            assert!(check_masks(&composed) > 40);
            for image in list(&composed, "images") {
                assert!(image["scene_file_name"].as_str().unwrap().ends_with(".jpg"));
            }
            let again = folder.path().join(format!("{annotations:?}-again"));
            fs::create_dir(&again).unwrap();
            pack_again(&options, &again);
            written.push(composed);
        }
        let pairs = list(&written[0], "annotations")
            .iter()
            .zip(list(&written[1], "annotations"));
        for (a, b) in pairs {
            let masks = [a, b].map(|annotation| mask(&annotation["segmentation"], [320, 256]));
            assert_eq!(masks[0], masks[1]);
        }
    }
}

/// The checks run the tests once for each instruction set; what they name must be what is tested.
#[test]
fn the_instruction_set_that_is_named_is_used() {
    let Ok(named) = std::env::var("PASTEBANK_SIMD") else {
        println!("PASTEBANK_SIMD names no instruction set: skipped");
        return;
    };
    named.parse::<Simd>().unwrap();
    assert_eq!(Simd::detected().to_string(), named);
}
