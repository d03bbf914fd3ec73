//! Banks: packs of cutouts.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::BankError;
use super::further::FurtherColumns;
use super::join::Part;
use super::manifest::{Kind, Manifest, ShardEntry, shard_path};
use super::mip;
use super::shard::{Column, Shard, part};
use crate::geometry::Size;

/// Channels of a cutout's texels: red, green, blue and straight alpha.
pub const CUTOUT_CHANNELS: usize = 4;

/// The columns of the specification; a shard may have others, which [`Cutout`] does not carry.
const COLUMNS: [&str; 11] = [
    "size",
    "offset",
    "pixels",
    "category",
    "area",
    "box",
    "score",
    "image",
    "annotation",
    "origin",
    "source_size",
];

/// A bank of cutouts, opened: mapped, and every row checked against its shard.
///
/// ```no_run
/// use pastebank::bank::CutoutBank;
/// let bank = CutoutBank::open("bank".as_ref())?;
/// if let Some(cutout) = bank.get(0) {
///     println!("{} texels, category {}", cutout.size, cutout.category);
/// }
/// # Ok::<(), pastebank::bank::BankError>(())
/// ```
#[derive(Debug)]
pub struct CutoutBank {
    pub(super) directory: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) shards: Vec<CutoutShard>,
    /// The index of each shard's first row, and behind the last one the number of all rows.
    pub(super) first_rows: Vec<usize>,
    pub(super) parts: Vec<Part>,
}

/// One cutout: a row of a bank.
#[derive(Clone, Copy, Debug)]
pub struct Cutout<'a> {
    /// Size of level 0 in texels, margin included.
    pub size: Size,
    /// The whole mip chain, RGBA interleaved.
    pub chain: &'a [u8],
    /// Category id.
    pub category: i64,
    /// Texels of level 0 with alpha ≥ 128.
    pub area: u32,
    /// Tight box of those texels inside the cutout: x, y, width, height.
    pub bounding_box: [u16; 4],
    /// Score of the annotation or of a model; NaN where there is none.
    pub score: f32,
    /// Id of the source image, or -1.
    pub image: i64,
    /// Id of the source annotation, or -1.
    pub annotation: i64,
    /// Position of the cutout's top left texel in its source image: x, y.
    pub origin: [i32; 2],
    /// Size of the source image: width, height.
    pub source_size: [u16; 2],
}

#[derive(Debug)]
pub(crate) struct CutoutShard {
    pub shard: Shard,
    size: Column<u16, 2>,
    offset: Column<u64, 1>,
    pixels: Range<usize>,
    category: Column<i64, 1>,
    area: Column<u32, 1>,
    bounding_box: Column<u16, 4>,
    score: Column<f32, 1>,
    image: Column<i64, 1>,
    annotation: Column<i64, 1>,
    origin: Column<i32, 2>,
    source_size: Column<u16, 2>,
}

impl CutoutShard {
    pub fn open(path: &Path, entry: &ShardEntry) -> Result<CutoutShard, BankError> {
        let shard = Shard::open(path, entry)?;
        let rows = shard.rows();
        let opened = CutoutShard {
            size: shard.column("size", rows)?,
            offset: shard.column("offset", rows)?,
            pixels: shard.bytes_of("pixels")?,
            category: shard.column("category", rows)?,
            area: shard.column("area", rows)?,
            bounding_box: shard.column("box", rows)?,
            score: shard.column("score", rows)?,
            image: shard.column("image", rows)?,
            annotation: shard.column("annotation", rows)?,
            origin: shard.column("origin", rows)?,
            source_size: shard.column("source_size", rows)?,
            shard,
        };
        for row in 0..rows {
            opened.check_row(row)?;
        }
        Ok(opened)
    }

    /// The validity pass of one row: after it, [`CutoutShard::get`] cannot fail.
    fn check_row(&self, row: usize) -> Result<(), BankError> {
        let error = |column, problem| Err(self.shard.column_error(column, Some(row), problem));
        let [width, height] = self.size.get(&self.shard, row);
        let Some(size) = Size::new(width.into(), height.into()) else {
            return error(
                "size",
                format!("{width}x{height}; sides of 1..=16384 were expected"),
            );
        };
        let offset = self.offset.value(&self.shard, row);
        let bytes = mip::chain_bytes(size, CUTOUT_CHANNELS);
        if part(self.pixels.len(), offset, bytes).is_none() {
            return error(
                "offset",
                format!(
                    "a mip chain of {bytes} bytes at {offset}; `pixels` has {} bytes",
                    self.pixels.len()
                ),
            );
        }
        let [x, y, w, h] = self.bounding_box.get(&self.shard, row);
        if u32::from(x) + u32::from(w) > size.width() || u32::from(y) + u32::from(h) > size.height()
        {
            return error(
                "box",
                format!("[{x}, {y}, {w}, {h}] does not fit in the cutout's {size} texels"),
            );
        }
        let area = self.area.value(&self.shard, row);
        if u64::from(area) > u64::from(w) * u64::from(h) {
            return error(
                "area",
                format!("{area} texels; the box [{x}, {y}, {w}, {h}] holds fewer"),
            );
        }
        Ok(())
    }

    pub fn get(&self, row: usize) -> Option<Cutout<'_>> {
        let shard = &self.shard;
        if row >= shard.rows() {
            return None;
        }
        // Checked at opening; checked again since a mapped file's bytes may be changed by others.
        let [width, height] = self.size.get(shard, row);
        let size = Size::new(width.into(), height.into())?;
        let bytes = mip::chain_bytes(size, CUTOUT_CHANNELS);
        let range = part(self.pixels.len(), self.offset.value(shard, row), bytes)?;
        Some(Cutout {
            size,
            chain: &shard.blob(&self.pixels)[range],
            category: self.category.value(shard, row),
            area: self.area.value(shard, row),
            bounding_box: self.bounding_box.get(shard, row),
            score: self.score.value(shard, row),
            image: self.image.value(shard, row),
            annotation: self.annotation.value(shard, row),
            origin: self.origin.get(shard, row),
            source_size: self.source_size.get(shard, row),
        })
    }

    /// Where the mip chain of row `row`, which must be below the rows, lies in `pixels`.
    pub fn pixel_range(&self, row: usize) -> Option<Range<usize>> {
        let [width, height] = self.size.get(&self.shard, row);
        let size = Size::new(width.into(), height.into())?;
        let bytes = mip::chain_bytes(size, CUTOUT_CHANNELS);
        part(
            self.pixels.len(),
            self.offset.value(&self.shard, row),
            bytes,
        )
    }

    /// Asks for one mip level of row `row`, which must be below the rows, to be read soon.
    pub fn read_ahead(&self, row: usize, level: usize) {
        let [width, height] = self.size.get(&self.shard, row);
        let level = Size::new(width.into(), height.into())
            .and_then(|size| mip::level_range(size, level, CUTOUT_CHANNELS));
        if let (Some(chain), Some((_, level))) = (self.pixel_range(row), level) {
            let start = self.pixels.start + chain.start;
            let range = start + level.start..start + level.end;
            self.shard.file().read_ahead(range);
        }
    }

    /// Asks for the mip chain of row `row`, which must be below the rows, to be read soon.
    #[cfg(feature = "cuda")]
    pub fn read_chain_ahead(&self, row: usize) {
        if let Some(chain) = self.pixel_range(row) {
            let start = self.pixels.start;
            let range = start + chain.start..start + chain.end;
            self.shard.file().read_ahead(range);
        }
    }

    /// The columns that [`Cutout`] does not carry, for copying rows without loss.
    pub fn further_columns(&self) -> Result<FurtherColumns<'_>, BankError> {
        FurtherColumns::of(&self.shard, &COLUMNS)
    }

    /// Row `row` for copying: refuses a shard that has changed since it was opened.
    pub fn get_unchanged(&self, row: usize) -> Result<Cutout<'_>, BankError> {
        self.shard.file().check_length()?;
        self.get(row).ok_or_else(|| {
            let problem = "the row no longer fits; packs must not be changed in place";
            self.shard
                .column_error("offset", Some(row), problem.to_owned())
        })
    }
}

impl<'a> Cutout<'a> {
    /// One mip level's size and texels.
    pub fn level(&self, level: usize) -> Option<(Size, &'a [u8])> {
        let (size, range) = mip::level_range(self.size, level, CUTOUT_CHANNELS)?;
        let chain: &'a [u8] = self.chain;
        Some((size, chain.get(range)?))
    }
}

impl CutoutBank {
    /// Opens the bank in `directory`: a map of each shard and one validity pass over its rows.
    ///
    /// # Errors
    /// [`BankError`], which names the file, the row and the column that do not fit.
    pub fn open(directory: &Path) -> Result<CutoutBank, BankError> {
        let manifest = Manifest::read(directory, Kind::Cutouts)?;
        let shards = manifest
            .shards
            .iter()
            .map(|entry| CutoutShard::open(&shard_path(directory, entry), entry))
            .collect::<Result<Vec<_>, _>>()?;
        let first_rows = first_rows(shards.iter().map(|shard| shard.shard.rows()));
        Ok(CutoutBank {
            directory: directory.to_owned(),
            manifest,
            parts: vec![Part {
                directory: directory.to_owned(),
                rows: 0..first_rows.last().copied().unwrap_or(0),
            }],
            shards,
            first_rows,
        })
    }

    /// Cutouts in the bank.
    pub fn len(&self) -> usize {
        self.first_rows.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cutout of that index, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<Cutout<'_>> {
        let (shard, row) = locate(&self.first_rows, index)?;
        self.shards.get(shard)?.get(row)
    }

    /// The category ids of all cutouts, in order.
    pub fn category_ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.shards
            .iter()
            .flat_map(|shard| shard.category.iter(&shard.shard))
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder it was opened from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn shards(&self) -> &[CutoutShard] {
        &self.shards
    }

    /// Bytes of all mip chains.
    #[cfg(feature = "cuda")]
    pub(crate) fn pixel_bytes(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.pixels.len() as u64).sum()
    }

    /// Asks for one mip level of a cutout to be read soon.
    pub(crate) fn read_ahead(&self, index: usize, level: usize) {
        if let Some((shard, row)) = locate(&self.first_rows, index) {
            self.shards[shard].read_ahead(row, level);
        }
    }

    /// Asks for all mip levels of a cutout to be read soon.
    #[cfg(feature = "cuda")]
    pub(crate) fn read_chain_ahead(&self, index: usize) {
        if let Some((shard, row)) = locate(&self.first_rows, index) {
            self.shards[shard].read_chain_ahead(row);
        }
    }

    /// Gives the resident pages of all shards back to the system.
    pub(crate) fn release(&self) {
        let shards = self.shards.iter();
        shards.for_each(|shard| shard.shard.file().release());
    }

    /// Asks the system for pixels once more even if it was asked for them already.
    pub(crate) fn ask_again(&self) {
        let shards = self.shards.iter();
        shards.for_each(|shard| shard.shard.file().ask_again());
    }

    /// Which shard a cutout lies in, for [`CutoutBank::check_shard_length`].
    pub(crate) fn shard_of(&self, index: usize) -> Option<usize> {
        locate(&self.first_rows, index).map(|(shard, _)| shard)
    }

    /// Refuses a pack of which a shard has shrunk since it was mapped.
    pub(crate) fn check_lengths(&self) -> Result<(), BankError> {
        (0..self.shards.len()).try_for_each(|shard| self.check_shard_length(shard))
    }

    /// Refuses a shard that has shrunk since it was mapped.
    pub(crate) fn check_shard_length(&self, shard: usize) -> Result<(), BankError> {
        self.shards[shard].shard.file().check_length()
    }
}

/// Running sums of the shards' row counts, from 0.
pub(super) fn first_rows(rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sums = vec![0];
    for rows in rows {
        let last = sums.last().copied().unwrap_or(0);
        sums.push(last + rows);
    }
    sums
}

/// The shard of a row of the whole pack, and the row's number in it.
pub(super) fn locate(first_rows: &[usize], index: usize) -> Option<(usize, usize)> {
    let shard = first_rows
        .partition_point(|&first| first <= index)
        .checked_sub(1)?;
    // The last entry is the number of all rows: an index that lands there is past the end.
    (shard + 1 < first_rows.len()).then(|| (shard, index - first_rows[shard]))
}
