//! Writing one shard of a bank.

#[cfg(feature = "pack")]
use std::fs::File;
use std::path::Path;

use safetensors::Dtype;

use super::further::FurtherRows;
use super::{Rows, ShardFile, Tensor, sides};
use crate::bank::Cutout;
use crate::bank::error::BankError;
use crate::bank::further::FurtherColumn;
use crate::bank::manifest::ShardEntry;

/// The specification's columns of a bank's shard, growing row by row.
#[derive(Default)]
pub(super) struct CutoutColumns {
    size: Rows,
    offset: Rows,
    category: Rows,
    area: Rows,
    bounding_box: Rows,
    score: Rows,
    image: Rows,
    annotation: Rows,
    origin: Rows,
    source_size: Rows,
}

impl CutoutColumns {
    /// Appends a row whose mip chain begins at `offset` of the shard's pixels.
    pub fn push(&mut self, cutout: &Cutout<'_>, offset: u64) {
        self.size.u16s(&sides(cutout.size));
        self.offset.u64s(&[offset]);
        self.category.i64s(&[cutout.category]);
        self.area.u32s(&[cutout.area]);
        self.bounding_box.u16s(&cutout.bounding_box);
        self.score.f32s(&[cutout.score]);
        self.image.i64s(&[cutout.image]);
        self.annotation.i64s(&[cutout.annotation]);
        self.origin.i32s(&cutout.origin);
        self.source_size.u16s(&cutout.source_size);
    }

    pub fn tensors(self) -> Vec<Tensor> {
        vec![
            self.size.tensor("size", Dtype::U16, 2),
            self.offset.tensor("offset", Dtype::U64, 1),
            self.category.tensor("category", Dtype::I64, 1),
            self.area.tensor("area", Dtype::U32, 1),
            self.bounding_box.tensor("box", Dtype::U16, 4),
            self.score.tensor("score", Dtype::F32, 1),
            self.image.tensor("image", Dtype::I64, 1),
            self.annotation.tensor("annotation", Dtype::I64, 1),
            self.origin.tensor("origin", Dtype::I32, 2),
            self.source_size.tensor("source_size", Dtype::U16, 2),
        ]
    }
}

/// Writes one shard of a bank.
pub(crate) struct CutoutShardWriter {
    file: ShardFile,
    rows: usize,
    columns: CutoutColumns,
    further: FurtherRows,
}

impl CutoutShardWriter {
    #[cfg(test)]
    pub fn create(path: &Path) -> Result<CutoutShardWriter, BankError> {
        CutoutShardWriter::with_further(path, &[])
    }

    /// A shard with these columns beside those of the specification.
    pub fn with_further(
        path: &Path,
        columns: &[FurtherColumn],
    ) -> Result<CutoutShardWriter, BankError> {
        Ok(CutoutShardWriter {
            file: ShardFile::create(path)?,
            rows: 0,
            columns: CutoutColumns::default(),
            further: FurtherRows::new(columns),
        })
    }

    #[cfg(test)]
    pub fn push(&mut self, cutout: &Cutout<'_>) -> Result<(), BankError> {
        self.push_with(cutout, &[])
    }

    /// Whether these are its further columns, in this order.
    pub fn has_further(&self, columns: &[FurtherColumn]) -> bool {
        self.further.are(columns)
    }

    /// Appends a row; its `chain` must be the whole mip chain of its `size`, and there must be a cell
    /// for each of the further columns.
    pub fn push_with(&mut self, cutout: &Cutout<'_>, cells: &[&[u8]]) -> Result<(), BankError> {
        let checked = self.further.check(cells);
        checked.map_err(|error| BankError::write(&self.file.path, error))?;
        self.further.push(cells);
        let offset = self.file.append_pixels(cutout.chain)?;
        self.columns.push(cutout, offset);
        self.rows += 1;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.file.pixels
    }

    /// See [`ShardFile::unsynced`].
    #[cfg(feature = "pack")]
    pub fn unsynced(&mut self) -> Option<File> {
        self.file.unsynced()
    }

    pub fn finish(self) -> Result<ShardEntry, BankError> {
        let mut tensors = self.columns.tensors();
        tensors.extend(self.further.tensors(self.rows));
        self.file.finish(tensors, self.rows)
    }
}
