//! Masks of real annotations against what `pycocotools` makes of them.
//!
//! Needs the folder that the environment variable `PASTEBANK_TEST_DATA` names.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pastebank::annotations::polygon::polygon_to_rle;
use pastebank::annotations::rle::Rle;
use serde_json::Value;

const DATA_SETS: [&str; 4] = ["coco_cc", "pixabay17", "pixelwise_rle", "fruits_nuts"];

#[test]
fn masks_equal_those_of_pycocotools() {
    let Some(folder) = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from) else {
        // Written past the test runner's capture, which shows only what failed.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED golden masks: PASTEBANK_TEST_DATA is not set"
        );
        return;
    };
    for data_set in DATA_SETS {
        let compared = compare_data_set(&folder.join(data_set));
        println!("{data_set}: {compared} masks are equal");
    }
}

/// Compares every entry of `mask_goldens.json` and gives their number.
fn compare_data_set(folder: &Path) -> usize {
    let instances = read_json(&folder.join("instances.json"));
    let goldens = read_json(&folder.join("mask_goldens.json"));
    let annotations = instances["annotations"].as_array().expect("annotations");
    let goldens = goldens["masks"].as_object().expect("masks");
    assert!(!goldens.is_empty());
    for (id, golden) in goldens {
        let annotation = annotations
            .iter()
            .find(|annotation| annotation["id"].as_u64() == id.parse().ok())
            .unwrap_or_else(|| panic!("no annotation {id}"));
        let (width, height) = image_size(&instances, &annotation["image_id"]);
        match mask(&annotation["segmentation"], width, height) {
            Some(mask) => assert_equal(&mask, golden, id),
            None => assert!(golden.is_null(), "annotation {id}"),
        }
    }
    goldens.len()
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn image_size(instances: &Value, image_id: &Value) -> (u32, u32) {
    let images = instances["images"].as_array().expect("images");
    let image = images
        .iter()
        .find(|image| image["id"] == *image_id)
        .unwrap_or_else(|| panic!("no image {image_id}"));
    (number(&image["width"]), number(&image["height"]))
}

fn number(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or_else(|| panic!("{value} is not a size"))
}

/// The mask of a segmentation; `None` where no polygon has 3 points.
fn mask(segmentation: &Value, width: u32, height: u32) -> Option<Rle> {
    if let Some(polygons) = segmentation.as_array() {
        return polygons_mask(polygons, width, height);
    }
    let (width, height) = (
        number(&segmentation["size"][1]),
        number(&segmentation["size"][0]),
    );
    let mask = match &segmentation["counts"] {
        Value::String(text) => Rle::from_string(width, height, text),
        counts => {
            let counts = counts.as_array().expect("counts");
            Rle::from_counts(width, height, counts.iter().map(number).collect())
        }
    };
    Some(mask.expect("the mask is valid"))
}

fn polygons_mask(polygons: &[Value], width: u32, height: u32) -> Option<Rle> {
    let parts: Vec<Rle> = polygons
        .iter()
        .map(|polygon| {
            let coordinates = polygon.as_array().expect("polygon");
            coordinates.iter().map(|c| c.as_f64().expect("coordinate"))
        })
        .map(Iterator::collect::<Vec<f64>>)
        .filter(|points| points.len() >= 6)
        .map(|points| polygon_to_rle(&points, width, height).expect("the polygon is valid"))
        .collect();
    (!parts.is_empty()).then(|| Rle::union(&parts).expect("the parts have one size"))
}

fn assert_equal(mask: &Rle, golden: &Value, id: &str) {
    assert_eq!(golden["size"][0], mask.height(), "annotation {id}");
    assert_eq!(golden["size"][1], mask.width(), "annotation {id}");
    let compressed = golden["counts"].as_str().expect("counts");
    assert_eq!(mask.compressed(), compressed, "annotation {id}");
    assert_eq!(
        golden["area"].as_u64(),
        Some(mask.area()),
        "annotation {id}"
    );
    let box_xywh = mask.bounding_box().unwrap_or_default();
    let expected = golden["bbox"].as_array().expect("bbox");
    let found: Vec<f64> = box_xywh.map(f64::from).to_vec();
    let expected: Vec<f64> = expected.iter().filter_map(Value::as_f64).collect();
    assert_eq!(found, expected, "annotation {id}");
    let read_back = Rle::from_string(mask.width(), mask.height(), compressed);
    assert_eq!(read_back.as_ref(), Ok(mask), "annotation {id}");
}
