//! Composed data sets on disk: images and one COCO or LVIS instance file, for trainers that read
//! files.
//!
//! [`write()`] draws, composes, encodes and writes on many threads and records every finished sample
//! in a journal, in order, from which the instance file is streamed at the end. Memory does not grow
//! with the data set; the same call goes on where a run was interrupted; all files are equal to the
//! byte for any number of threads and interruptions.
//!
//! # What is written
//!
//! `images/000000000000.jpg` and so on, by the sample's number, and `instances.json`:
//!
//! - `info` has the settings and the report; `licenses` are those of the scenes' data set.
//! - An image has `id` (its number), `width`, `height`, `file_name`, and where its scene comes from:
//!   `scene`, its row in the scene pack, which tells scenes of several packs apart where ids do
//!   not, `scene_image_id`, `scene_file_name`. `before`, `{"category id": count}`, counts the
//!   scene's own instances on this canvas as they are without any paste, by the same rules of what
//!   stays; only the LVIS form leaves crowds out.
//! - An annotation has `id` (counted from 1), `image_id`, `category_id`, `bbox`, `area`, `iscrowd`,
//!   `segmentation` and its `source`: `{"annotation": id}` for the scene's own, `{"cutout": row,
//!   "image": id, "annotation": id, "layer": number}` for a pasted one, with the ids of the cutout's
//!   source, or -1. `"ignore": 1` says that its label was dropped. mmdetection's reader of COCO
//!   files leaves such annotations out; pycocotools does not honour the key, as its evaluation
//!   writes `iscrowd` over `ignore`.
//! - `area` and `bbox` are what pycocotools computes from the segmentation. Polygons run along pixel
//!   edges and give the very same masks as run lengths would ([`outlines`]); every one of them is
//!   held against its mask before it is written. Crowds are run lengths.
//! - Categories have all keys that the packs keep, those of the scenes before those of the bank.
//!
//! In the LVIS form ([`Style::Lvis`]) images have the scene's `neg_category_ids`, without those that
//! are in the image now, and `not_exhaustive_category_ids`, with the categories of crowds and of
//! instances whose labels were dropped, both of which LVIS does not annotate, and `coco_url`, `images/` with the file's name, by which LVIS's readers
//! find files below a folder; annotations have no `iscrowd`; and the categories' `image_count`,
//! `instance_count` and `frequency` are those of the composed data set.
//!
//! # Checking with pycocotools
//!
//! ```text
//! import sys
//! import numpy as np
//! from pycocotools.coco import COCO
//!
//! coco = COCO(sys.argv[1] + "/instances.json")
//! for annotation in coco.dataset["annotations"]:
//!     mask = coco.annToMask(annotation)
//!     assert mask.sum() == annotation["area"], annotation["id"]
//!     rows, columns = np.nonzero(mask)
//!     x, y = columns.min(), rows.min()
//!     box = [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
//!     assert box == annotation["bbox"], annotation["id"]
//! print(len(coco.imgs), "images,", len(coco.anns), "annotations agree")
//! ```

mod annotate;
mod composer;
mod counts;
mod encode;
mod error;
mod folder;
mod instances;
mod journal;
mod outline;
mod own;
mod record;
mod samples;
mod write;

use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use crate::resume::Progress;
pub use composer::Composer;
pub use counts::DatasetReport;
pub use error::{DatasetError, EncodeError};
pub use instances::INSTANCES_FILE;
pub use outline::outlines;
pub use record::Replaced;
pub use write::write;

/// Quality of JPEG images unless told otherwise.
pub const DEFAULT_QUALITY: u8 = 90;
/// Share of samples whose scenes may be undecodable unless told otherwise.
pub const DEFAULT_MAX_REPLACED: f64 = 0.01;
/// Most samples of a data set: file names have 12 digits.
const MOST_SAMPLES: u64 = 1_000_000_000_000;

/// How images are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// JPEG files.
    Jpeg {
        /// 1..=100.
        quality: u8,
    },
    /// PNG files, which keep every pixel as it was composed.
    Png,
}

/// How masks are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Annotations {
    /// Compressed run lengths.
    #[default]
    Rle,
    /// Polygons along pixel edges that give the same masks.
    Polygons,
}

/// The form of the annotation file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// COCO's instances.
    #[default]
    Coco,
    /// LVIS's.
    Lvis,
}

/// What [`write()`] does.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetOptions {
    /// How many samples, at least 1.
    pub count: u64,
    /// The folder to write to.
    pub folder: PathBuf,
    /// How images are stored.
    pub format: ImageFormat,
    /// How masks are written.
    pub annotations: Annotations,
    /// The form of the annotation file.
    pub style: Style,
    /// Share of the samples, 0..=1, of which more end the run if their scenes cannot be decoded.
    pub max_replaced: f64,
    /// Worker threads; all the machine has where `None` is given.
    pub threads: Option<NonZero<usize>>,
    /// Replace a composed data set that is in the folder.
    pub force: bool,
}

impl DatasetOptions {
    /// A COCO data set of JPEG images and run lengths.
    pub fn new(folder: &Path, count: u64) -> DatasetOptions {
        DatasetOptions {
            count,
            folder: folder.to_owned(),
            format: ImageFormat::Jpeg {
                quality: DEFAULT_QUALITY,
            },
            annotations: Annotations::default(),
            style: Style::default(),
            max_replaced: DEFAULT_MAX_REPLACED,
            threads: None,
            force: false,
        }
    }

    fn check(&self) -> Result<(), DatasetError> {
        let error = |option, problem: String| Err(DatasetError::Option { option, problem });
        match self.format {
            ImageFormat::Jpeg { quality } if !(1..=100).contains(&quality) => {
                return error("--quality", format!("{quality}; 1..=100 was expected"));
            }
            _ => {}
        }
        if !(1..=MOST_SAMPLES).contains(&self.count) {
            let problem = format!("{}; 1..={MOST_SAMPLES} was expected", self.count);
            return error("--count", problem);
        }
        if !(0.0..=1.0).contains(&self.max_replaced) {
            let problem = format!("{}; a share of 0..=1 was expected", self.max_replaced);
            return error("--max-replaced", problem);
        }
        Ok(())
    }
}

impl ImageFormat {
    /// The ending of the files' names.
    fn ending(self) -> &'static str {
        match self {
            ImageFormat::Jpeg { .. } => "jpg",
            ImageFormat::Png => "png",
        }
    }
}
