//! One sample as the annotation file has it, in the form in which the journal keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A composed sample: all that the annotation file and the report need to know of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub image: ImageEntry,
    /// Without ids, which are counted when the annotation file is written.
    pub annotations: Vec<AnnotationEntry>,
    /// Length of the image's file.
    pub bytes: u64,
    /// The scenes that were drawn first and could not be decoded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// Masks that were to be polygons and are run lengths.
    pub fallbacks: u64,
    /// Crowds that the LVIS form has no place for.
    pub crowds_left_out: u64,
    /// Instances without labels that the LVIS form has no place for.
    pub ignored_left_out: u64,
}

/// One entry of the annotation file's `images`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ImageEntry {
    pub id: u64,
    pub width: u32,
    pub height: u32,
    pub file_name: String,
    /// LVIS's readers find files by the last two parts of this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coco_url: Option<String>,
    /// The scene's row in its pack.
    pub scene: u64,
    pub scene_image_id: i64,
    pub scene_file_name: String,
    /// By category: the scene's own instances on this canvas, were nothing pasted.
    pub before: BTreeMap<i64, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neg_category_ids: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_exhaustive_category_ids: Option<Vec<i64>>,
}

/// One entry of the annotation file's `annotations`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnnotationEntry {
    #[serde(default)]
    pub id: u64,
    pub image_id: u64,
    pub category_id: i64,
    /// x, y, width and height.
    pub bbox: [u32; 4],
    pub area: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iscrowd: Option<u8>,
    /// 1 where the label was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u8>,
    /// A list of polygons, or run lengths.
    pub segmentation: Box<RawValue>,
    pub source: SourceEntry,
}

/// Where an annotation comes from: only `annotation` for one of the scene's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SourceEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<i64>,
    pub annotation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u16>,
}

/// A scene that was drawn and could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The sample it was drawn for.
    pub sample: u64,
    /// Its row in the scene pack.
    pub scene: u64,
    /// What the decoder said.
    pub problem: String,
}

impl AnnotationEntry {
    /// Whether a cutout was pasted here.
    pub fn is_pasted(&self) -> bool {
        self.source.cutout.is_some()
    }
}
