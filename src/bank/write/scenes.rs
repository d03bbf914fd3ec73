//! Writing one shard of a scene pack.

#[cfg(feature = "pack")]
use std::fs::File;
use std::path::Path;

use safetensors::Dtype;

use super::{Rows, ShardFile, Tensor, sides};
use crate::bank::ScenePixels;
use crate::bank::error::BankError;
use crate::bank::manifest::ShardEntry;
use crate::bank::scenes::{
    ENCODING_JPEG, ENCODING_RAW, FILE_NAMES, INSTANCES, NEGATIVE_CATEGORIES,
    NOT_EXHAUSTIVE_CATEGORIES,
};
use crate::geometry::Size;

impl Rows {
    fn u8s(&mut self, values: &[u8]) {
        self.bytes.extend_from_slice(values);
    }
}

/// One scene to be written.
pub(crate) struct SceneRow<'a> {
    pub size: Size,
    pub image: i64,
    pub pixels: ScenePixels<'a>,
    pub instances: &'a [InstanceRow],
    pub file_name: &'a str,
    pub negative_categories: &'a [i64],
    pub not_exhaustive_categories: &'a [i64],
}

/// One instance of a scene to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InstanceRow {
    pub category: i64,
    pub annotation: i64,
    pub iscrowd: u8,
    pub score: f32,
    /// x, y, width, height.
    pub bounding_box: [u32; 4],
    /// The box's bits as the pack stores them.
    pub mask: Vec<u8>,
}

/// Lists of different lengths, one a row: `start` has one more entry than there are rows.
struct ListRows {
    start: Rows,
    values: Rows,
    count: u64,
}

impl ListRows {
    fn new() -> ListRows {
        let mut start = Rows::default();
        start.u64s(&[0]);
        ListRows {
            start,
            values: Rows::default(),
            count: 0,
        }
    }

    fn end_row(&mut self, added: usize) {
        self.count += added as u64;
        self.start.u64s(&[self.count]);
    }

    fn tensors(self, start: &'static str, values: &'static str, dtype: Dtype) -> [Tensor; 2] {
        [
            self.start.tensor(start, Dtype::U64, 1),
            self.values.tensor(values, dtype, 1),
        ]
    }
}

/// Writes one shard of a scene pack.
pub(crate) struct SceneShardWriter {
    file: ShardFile,
    rows: usize,
    size: Rows,
    image: Rows,
    encoding: Rows,
    offset: Rows,
    length: Rows,
    instance_category: ListRows,
    instance_annotation: Rows,
    instance_iscrowd: Rows,
    instance_score: Rows,
    instance_box: Rows,
    mask_offset: Rows,
    mask_bits: Rows,
    file_name: ListRows,
    negative: ListRows,
    not_exhaustive: ListRows,
}

impl SceneShardWriter {
    pub fn create(path: &Path) -> Result<SceneShardWriter, BankError> {
        Ok(SceneShardWriter {
            file: ShardFile::create(path)?,
            rows: 0,
            size: Rows::default(),
            image: Rows::default(),
            encoding: Rows::default(),
            offset: Rows::default(),
            length: Rows::default(),
            instance_category: ListRows::new(),
            instance_annotation: Rows::default(),
            instance_iscrowd: Rows::default(),
            instance_score: Rows::default(),
            instance_box: Rows::default(),
            mask_offset: Rows::default(),
            mask_bits: Rows::default(),
            file_name: ListRows::new(),
            negative: ListRows::new(),
            not_exhaustive: ListRows::new(),
        })
    }

    pub fn push(&mut self, scene: &SceneRow<'_>) -> Result<(), BankError> {
        let (encoding, bytes) = match scene.pixels {
            ScenePixels::Raw(chain) => (ENCODING_RAW, chain),
            ScenePixels::Jpeg(file) => (ENCODING_JPEG, file),
        };
        let offset = self.file.append_pixels(bytes)?;
        self.size.u16s(&sides(scene.size));
        self.image.i64s(&[scene.image]);
        self.encoding.u8s(&[encoding]);
        self.offset.u64s(&[offset]);
        self.length.u64s(&[bytes.len() as u64]);
        for instance in scene.instances {
            self.push_instance(instance);
        }
        self.instance_category.end_row(scene.instances.len());
        self.file_name.values.u8s(scene.file_name.as_bytes());
        self.file_name.end_row(scene.file_name.len());
        self.negative.values.i64s(scene.negative_categories);
        self.negative.end_row(scene.negative_categories.len());
        let not_exhaustive = scene.not_exhaustive_categories;
        self.not_exhaustive.values.i64s(not_exhaustive);
        self.not_exhaustive.end_row(not_exhaustive.len());
        self.rows += 1;
        Ok(())
    }

    fn push_instance(&mut self, instance: &InstanceRow) {
        self.instance_category.values.i64s(&[instance.category]);
        self.instance_annotation.i64s(&[instance.annotation]);
        self.instance_iscrowd.u8s(&[instance.iscrowd]);
        self.instance_score.f32s(&[instance.score]);
        self.instance_box
            .i32s(&instance.bounding_box.map(|side| side as i32));
        self.mask_offset.u64s(&[self.mask_bits.bytes.len() as u64]);
        self.mask_bits.u8s(&instance.mask);
    }

    pub fn bytes(&self) -> u64 {
        self.file.pixels + self.mask_bits.bytes.len() as u64
    }

    /// See [`ShardFile::unsynced`].
    #[cfg(feature = "pack")]
    pub fn unsynced(&mut self) -> Option<File> {
        self.file.unsynced()
    }

    pub fn finish(self) -> Result<ShardEntry, BankError> {
        let mut tensors = vec![
            self.size.tensor("size", Dtype::U16, 2),
            self.image.tensor("image", Dtype::I64, 1),
            self.encoding.tensor("encoding", Dtype::U8, 1),
            self.offset.tensor("offset", Dtype::U64, 1),
            self.length.tensor("length", Dtype::U64, 1),
            self.instance_annotation
                .tensor("instance_annotation", Dtype::I64, 1),
            self.instance_iscrowd
                .tensor("instance_iscrowd", Dtype::U8, 1),
            self.instance_score.tensor("instance_score", Dtype::F32, 1),
            self.instance_box.tensor("instance_box", Dtype::I32, 4),
            self.mask_offset.tensor("mask_offset", Dtype::U64, 1),
            self.mask_bits.tensor("mask_bits", Dtype::U8, 1),
        ];
        let lists = [
            (self.instance_category, INSTANCES, Dtype::I64),
            (self.file_name, FILE_NAMES, Dtype::U8),
            (self.negative, NEGATIVE_CATEGORIES, Dtype::I64),
            (self.not_exhaustive, NOT_EXHAUSTIVE_CATEGORIES, Dtype::I64),
        ];
        for (list, (start, values), dtype) in lists {
            tensors.extend(list.tensors(start, values, dtype));
        }
        self.file.finish(tensors, self.rows)
    }
}
