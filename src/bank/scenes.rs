//! Scene packs: training images with their instances.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::cutouts::{first_rows, locate};
use super::error::BankError;
use super::join::Part;
use super::manifest::{Kind, Manifest, ShardEntry, shard_path};
use super::mip;
use super::shard::{Column, Element, ListColumn, Shard, part};
use crate::geometry::Size;

/// Channels of a scene's texels: red, green and blue.
pub const SCENE_CHANNELS: usize = 3;

/// A scene pack, opened: mapped, and every row and instance checked against its shard.
#[derive(Debug)]
pub struct ScenePack {
    pub(super) directory: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) shards: Vec<SceneShard>,
    pub(super) first_rows: Vec<usize>,
    pub(super) parts: Vec<Part>,
}

/// One scene: a row of a scene pack.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    shard: &'a SceneShard,
    /// Size of level 0 in pixels.
    pub size: Size,
    /// Id of the image in its data set.
    pub image: i64,
    /// The pixels as they are stored.
    pub pixels: ScenePixels<'a>,
    row: usize,
    first_instance: usize,
    end_instance: usize,
}

/// How a scene's pixels are stored.
#[derive(Clone, Copy, Debug)]
pub enum ScenePixels<'a> {
    /// The whole mip chain, RGB interleaved: the exact one.
    Raw(&'a [u8]),
    /// A JPEG file whose decoded RGB is level 0.
    Jpeg(&'a [u8]),
}

/// One annotated instance of a scene.
#[derive(Clone, Copy, Debug)]
pub struct SceneInstance<'a> {
    /// Category id.
    pub category: i64,
    /// Annotation id in its data set.
    pub annotation: i64,
    /// COCO's crowd flag.
    pub iscrowd: u8,
    /// The annotation's score, where a model made it; NaN where there is none.
    pub score: f32,
    /// x, y, width and height at source resolution, inside the scene.
    pub bounding_box: [u32; 4],
    /// The box's bits, row after row without gaps, bit 0 of a byte first.
    pub mask: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct SceneShard {
    pub shard: Shard,
    size: Column<u16, 2>,
    image: Column<i64, 1>,
    encoding: Column<u8, 1>,
    offset: Column<u64, 1>,
    length: Column<u64, 1>,
    pixels: Range<usize>,
    instance_start: Column<u64, 1>,
    category: Column<i64, 1>,
    annotation: Column<i64, 1>,
    iscrowd: Column<u8, 1>,
    bounding_box: Column<i32, 4>,
    mask_offset: Column<u64, 1>,
    mask_bits: Range<usize>,
    score: Option<Column<f32, 1>>,
    file_name: Option<ListColumn<u8>>,
    negative: Option<ListColumn<i64>>,
    not_exhaustive: Option<ListColumn<i64>>,
}

/// The `encoding` of raw mip chains.
pub(crate) const ENCODING_RAW: u8 = 0;
/// The `encoding` of JPEG files.
pub(crate) const ENCODING_JPEG: u8 = 1;

/// Names of a list's two columns: starts and values.
type ListNames = (&'static str, &'static str);
pub(super) const INSTANCES: ListNames = ("instance_start", "instance_category");
/// Extra column: the image's file name, UTF-8.
pub(super) const FILE_NAMES: ListNames = ("file_name_start", "file_name");
/// Extra column, from LVIS: categories known to be absent from the image.
pub(super) const NEGATIVE_CATEGORIES: ListNames = ("neg_category_ids_start", "neg_category_ids");
/// Extra column, from LVIS: categories whose instances are not all annotated in the image.
pub(super) const NOT_EXHAUSTIVE_CATEGORIES: ListNames = (
    "not_exhaustive_category_ids_start",
    "not_exhaustive_category_ids",
);

impl SceneShard {
    pub fn open(path: &Path, entry: &ShardEntry) -> Result<SceneShard, BankError> {
        let shard = Shard::open(path, entry)?;
        let rows = shard.rows();
        let category: Column<i64, 1> = shard.vector(INSTANCES.1)?;
        let instances = category.len();
        let opened = SceneShard {
            size: shard.column("size", rows)?,
            image: shard.column("image", rows)?,
            encoding: shard.column("encoding", rows)?,
            offset: shard.column("offset", rows)?,
            length: shard.column("length", rows)?,
            pixels: shard.bytes_of("pixels")?,
            instance_start: shard.starts(INSTANCES.0, rows, instances)?,
            annotation: shard.column("instance_annotation", instances)?,
            iscrowd: shard.column("instance_iscrowd", instances)?,
            bounding_box: shard.column("instance_box", instances)?,
            mask_offset: shard.column("mask_offset", instances)?,
            mask_bits: shard.bytes_of("mask_bits")?,
            score: shard.optional_column("instance_score", instances)?,
            file_name: shard.optional_list(FILE_NAMES, rows)?,
            negative: shard.optional_list(NEGATIVE_CATEGORIES, rows)?,
            not_exhaustive: shard.optional_list(NOT_EXHAUSTIVE_CATEGORIES, rows)?,
            category,
            shard,
        };
        for row in 0..rows {
            opened.check_row(row)?;
        }
        Ok(opened)
    }

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
        let length = self.length.value(&self.shard, row);
        let fits = usize::try_from(length)
            .ok()
            .and_then(|length| part(self.pixels.len(), offset, length))
            .is_some();
        if !fits {
            return error(
                "offset",
                format!(
                    "{length} bytes at {offset}; `pixels` has {} bytes",
                    self.pixels.len()
                ),
            );
        }
        let chain = mip::chain_bytes(size, SCENE_CHANNELS) as u64;
        match self.encoding.value(&self.shard, row) {
            ENCODING_RAW if length != chain => {
                return error(
                    "length",
                    format!("{length}; the mip chain of {size} pixels has {chain} bytes"),
                );
            }
            ENCODING_RAW | ENCODING_JPEG => {}
            other => {
                return error("encoding", format!("{other}; 0 (raw) or 1 (JPEG) expected"));
            }
        }
        let [first, end] = self.instances_of(row);
        (first..end).try_for_each(|instance| self.check_instance(row, instance, size))
    }

    fn check_instance(&self, row: usize, instance: usize, size: Size) -> Result<(), BankError> {
        let error = |column, problem: String| {
            let problem = format!("instance {instance}: {problem}");
            Err(self.shard.column_error(column, Some(row), problem))
        };
        let [x, y, w, h] = self.bounding_box.get(&self.shard, instance).map(i64::from);
        let inside = x >= 0
            && y >= 0
            && w >= 0
            && h >= 0
            && x + w <= size.width().into()
            && y + h <= size.height().into();
        if !inside {
            return error(
                "instance_box",
                format!("[{x}, {y}, {w}, {h}] does not fit in the scene's {size} pixels"),
            );
        }
        let bytes = mask_bytes([x as u32, y as u32, w as u32, h as u32]);
        let offset = self.mask_offset.value(&self.shard, instance);
        if part(self.mask_bits.len(), offset, bytes).is_none() {
            return error(
                "mask_offset",
                format!(
                    "{bytes} bytes at {offset}; `mask_bits` has {} bytes",
                    self.mask_bits.len()
                ),
            );
        }
        Ok(())
    }

    fn instances_of(&self, row: usize) -> [usize; 2] {
        [row, row + 1].map(|row| self.instance_start.value(&self.shard, row) as usize)
    }

    /// Where the pixels of row `row`, which must be below the rows, lie in `pixels`.
    pub fn pixel_range(&self, row: usize) -> Option<Range<usize>> {
        let length = usize::try_from(self.length.value(&self.shard, row)).ok()?;
        part(
            self.pixels.len(),
            self.offset.value(&self.shard, row),
            length,
        )
    }

    pub fn get(&self, row: usize) -> Option<Scene<'_>> {
        let shard = &self.shard;
        if row >= shard.rows() {
            return None;
        }
        let [width, height] = self.size.get(shard, row);
        let size = Size::new(width.into(), height.into())?;
        let length = usize::try_from(self.length.value(shard, row)).ok()?;
        let range = part(self.pixels.len(), self.offset.value(shard, row), length)?;
        let bytes = &shard.blob(&self.pixels)[range];
        let pixels = match self.encoding.value(shard, row) {
            ENCODING_RAW if length == mip::chain_bytes(size, SCENE_CHANNELS) => {
                ScenePixels::Raw(bytes)
            }
            ENCODING_JPEG => ScenePixels::Jpeg(bytes),
            _ => return None,
        };
        let [first_instance, end_instance] = self.instances_of(row);
        Some(Scene {
            shard: self,
            size,
            image: self.image.value(shard, row),
            pixels,
            row,
            first_instance,
            end_instance,
        })
    }

    fn instance(&self, instance: usize) -> Option<SceneInstance<'_>> {
        let shard = &self.shard;
        if instance >= self.category.len() {
            return None;
        }
        let bounding_box = self.bounding_box.get(shard, instance).map(|v| v as u32);
        let bytes = mask_bytes(bounding_box);
        let offset = self.mask_offset.value(shard, instance);
        let range = part(self.mask_bits.len(), offset, bytes)?;
        Some(SceneInstance {
            category: self.category.value(shard, instance),
            annotation: self.annotation.value(shard, instance),
            iscrowd: self.iscrowd.value(shard, instance),
            score: self
                .score
                .as_ref()
                .map_or(f32::NAN, |score| score.value(shard, instance)),
            bounding_box,
            mask: &shard.blob(&self.mask_bits)[range],
        })
    }
}

/// Bytes of a box's mask: its bits, rounded up to a whole byte.
pub(crate) fn mask_bytes([_, _, width, height]: [u32; 4]) -> usize {
    (u64::from(width) * u64::from(height)).div_ceil(8) as usize
}

impl<'a> Scene<'a> {
    /// How many instances are annotated.
    pub fn instance_count(&self) -> usize {
        self.end_instance.saturating_sub(self.first_instance)
    }

    /// The instances in stored order.
    pub fn instances(&self) -> impl Iterator<Item = SceneInstance<'a>> + use<'a> {
        let shard = self.shard;
        (self.first_instance..self.end_instance).filter_map(|index| shard.instance(index))
    }

    /// The image's file name in its data set; empty where the pack does not say.
    pub fn file_name(&self) -> String {
        let bytes: Vec<u8> = list(self.shard, &self.shard.file_name, self.row).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// LVIS: categories that were looked for and are not in the image.
    pub fn negative_categories(&self) -> impl Iterator<Item = i64> + use<'a> {
        list(self.shard, &self.shard.negative, self.row)
    }

    /// LVIS: categories of which the image may hold instances without annotation.
    pub fn not_exhaustive_categories(&self) -> impl Iterator<Item = i64> + use<'a> {
        list(self.shard, &self.shard.not_exhaustive, self.row)
    }
}

fn list<'a, T: Element + 'a>(
    shard: &'a SceneShard,
    column: &'a Option<ListColumn<T>>,
    row: usize,
) -> impl Iterator<Item = T> + 'a {
    column
        .iter()
        .flat_map(move |column| column.get(&shard.shard, row))
}

impl SceneInstance<'_> {
    /// Whether the mask has the pixel at `x`, `y` of the box.
    pub fn has(&self, x: u32, y: u32) -> bool {
        let bit = y as usize * self.bounding_box[2] as usize + x as usize;
        self.mask
            .get(bit / 8)
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

impl ScenePack {
    /// Opens the pack in `directory`: a map of each shard and one validity pass over its rows.
    ///
    /// # Errors
    /// [`BankError`], which names the file, the row and the column that do not fit.
    pub fn open(directory: &Path) -> Result<ScenePack, BankError> {
        let manifest = Manifest::read(directory, Kind::Scenes)?;
        let shards = manifest
            .shards
            .iter()
            .map(|entry| SceneShard::open(&shard_path(directory, entry), entry))
            .collect::<Result<Vec<_>, _>>()?;
        let first_rows = first_rows(shards.iter().map(|shard| shard.shard.rows()));
        Ok(ScenePack {
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

    /// Scenes in the pack.
    pub fn len(&self) -> usize {
        self.first_rows.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The scene of that index, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<Scene<'_>> {
        let (shard, row) = locate(&self.first_rows, index)?;
        self.shards.get(shard)?.get(row)
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder it was opened from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Asks for what a scene placed at mip level `level` needs to be read soon: that level, or the
    /// whole file of a JPEG scene.
    pub(crate) fn read_ahead(&self, index: usize, level: usize) {
        let Some((shard, row)) = locate(&self.first_rows, index) else {
            return;
        };
        let scene = &self.shards[shard];
        let [width, height] = scene.size.get(&scene.shard, row);
        let level = Size::new(width.into(), height.into())
            .and_then(|size| mip::level_range(size, level, SCENE_CHANNELS));
        if let (Some(pixels), Some((_, level))) = (scene.pixel_range(row), level) {
            let start = scene.pixels.start + pixels.start;
            let range = match scene.encoding.value(&scene.shard, row) {
                ENCODING_JPEG => start..start + pixels.len(),
                _ => start + level.start..start + level.end,
            };
            scene.shard.file().read_ahead(range);
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

    /// Which shard a scene lies in, for [`ScenePack::check_shard_length`].
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
