//! A third reading of the specification, for tests only.
//!
//! The library says what a plan means once for the CPU and once for CUDA. This module says it
//! again, as slowly and as plainly as it can: every rule is a small function or two that carry the
//! rule's number, every pixel is worked out from scratch, and nothing is shared with the library.
//! Where the library and this module differ, one of them has misread a rule.
//!
//! It trusts its input: a bad file, a bad plan or a broken limit panics or gives nonsense. Rule 15
//! (other element types) is not here; the 8-bit pixels are the result.

// Several test binaries include this module, and none of them uses all of it.
#![allow(dead_code, unused_imports)]

mod compose;
mod pack;
mod rle;

use serde_json::{Value, json};

pub use compose::compose;
pub use pack::{Bank, Cutout, Picture, Scene, SceneInstance, Scenes, read_bank, read_scenes};
pub use rle::rle_counts;

/// One composed picture and what stays on it, in the order of rule 14.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub width: usize,
    pub height: usize,
    /// height × width × 3 bytes.
    pub rgb: Vec<u8>,
    pub instances: Vec<Instance>,
    /// The `image` column of the scene.
    pub image_id: i64,
}

/// One instance that stays on a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub category_id: i64,
    /// As stored for a scene instance, 0 for a layer.
    pub iscrowd: u8,
    /// The annotation id as stored, of a scene instance; none for a layer.
    pub annotation: Option<i64>,
    /// The index in the bank, of a layer; none for a scene instance.
    pub cutout: Option<usize>,
    /// The position in the plan's `layers`; none for a scene instance.
    pub layer: Option<usize>,
    /// The tight box of the visible mask, half open: [x0, y0, x1, y1).
    pub box_xyxy: [i64; 4],
    /// The pixels of the visible mask.
    pub area: u64,
    /// The pixels of the mask on the canvas before occlusion.
    pub full_area: u64,
    /// The visible mask, row after row.
    pub mask: Vec<bool>,
}

/// The content of `annotations.json` of the conformance command.
pub fn annotations_json(samples: &[Sample]) -> Value {
    let samples: Vec<Value> = samples
        .iter()
        .map(|sample| {
            let instances: Vec<Value> = sample
                .instances
                .iter()
                .map(|instance| instance_json(sample, instance))
                .collect();
            json!({ "instances": instances })
        })
        .collect();
    json!({ "samples": samples })
}

fn instance_json(sample: &Sample, instance: &Instance) -> Value {
    let [x0, y0, x1, y1] = instance.box_xyxy;
    let source = match instance.cutout {
        Some(index) => json!({ "cutout": index }),
        None => json!({ "annotation": instance.annotation }),
    };
    json!({
        "category_id": instance.category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": instance.area,
        "full_area": instance.full_area,
        "iscrowd": instance.iscrowd,
        "segmentation": {
            "size": [sample.height, sample.width],
            "counts": rle_counts(&instance.mask, sample.width, sample.height),
        },
        "source": source,
    })
}
