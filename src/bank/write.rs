//! Writing packs: shards that appear whole or not at all.
//!
//! A shard is written under a temporary name, synced and renamed; the manifest likewise, last. The
//! pixels are streamed to the file behind a header of fixed length that is filled in at the end
//! (safetensors allows trailing spaces), so that memory does not grow with the shard.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Map, json};
use twox_hash::XxHash3_64;

use super::cutouts::Cutout;
use super::error::BankError;
use super::manifest::ShardEntry;
use super::scenes::{ENCODING_JPEG, ENCODING_RAW, ScenePixels};
use crate::geometry::Size;

/// Bytes before the data: the 8 of the header's length and the header, filled up with spaces.
const HEADER_BYTES: usize = 8192;
/// Bytes after which a shard in the making is synced.
const SYNC_BYTES: u64 = 32 << 20;
/// The ending of files that are not finished.
const TEMPORARY_ENDING: &str = ".tmp";

/// Writes `contents` under a temporary name beside `path`, syncs and renames it.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> Result<(), BankError> {
    let temporary = temporary_path(path);
    let error = |source| BankError::write(path, source);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(error)?;
    sync_directory(path).map_err(error)
}

/// Removes what interrupted writers left in `directory`.
pub(crate) fn remove_temporaries(directory: &Path) -> Result<(), BankError> {
    let error = |source| BankError::write(directory, source);
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(error)?;
        }
    }
    Ok(())
}

/// Whether a file name is that of an unfinished file of ours.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY_ENDING)
}

/// The name under which `path` is written until it is whole.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}{TEMPORARY_ENDING}", std::process::id()))
}

/// Makes a rename last: on Unix the folder itself must be synced.
pub(crate) fn sync_directory(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// The file name of shard `number`.
pub(crate) fn shard_file_name(number: usize) -> String {
    format!("{number:05}.safetensors")
}

/// A shard in the making: its pixels on disk already, its columns to follow.
struct ShardFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    pixels: u64,
    /// Bytes of `pixels` that somebody was asked to sync.
    synced: u64,
}

/// One tensor to be written behind the pixels.
struct Tensor {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl ShardFile {
    fn create(path: &Path) -> Result<ShardFile, BankError> {
        let error = |source| BankError::write(path, source);
        let temporary = temporary_path(path);
        let mut file = BufWriter::with_capacity(1 << 16, File::create(&temporary).map_err(error)?);
        file.write_all(&[b' '; HEADER_BYTES]).map_err(error)?;
        Ok(ShardFile {
            path: path.to_owned(),
            temporary,
            file,
            pixels: 0,
            synced: 0,
        })
    }

    /// The file, each time that much has come to it, for a thread that syncs it while more is
    /// written: the last sync then finds little left to do.
    fn unsynced(&mut self) -> Option<File> {
        if self.pixels - self.synced < SYNC_BYTES {
            return None;
        }
        self.synced = self.pixels;
        self.file.get_ref().try_clone().ok()
    }

    /// Appends to the `pixels` blob and returns where the bytes begin in it.
    fn append_pixels(&mut self, bytes: &[u8]) -> Result<u64, BankError> {
        let offset = self.pixels;
        self.file
            .write_all(bytes)
            .map_err(|source| BankError::write(&self.path, source))?;
        self.pixels += bytes.len() as u64;
        Ok(offset)
    }

    /// Writes columns and header, syncs, hashes and renames.
    fn finish(mut self, tensors: Vec<Tensor>, rows: usize) -> Result<ShardEntry, BankError> {
        // Whole eights, so that the columns behind lie aligned for those who map them.
        let padding = self.pixels.next_multiple_of(8) - self.pixels;
        self.append_pixels(&vec![0; padding as usize])?;
        let path = self.path.clone();
        let error = |source| BankError::write(&path, source);
        self.write_tensors(tensors).map_err(error)?;
        let (bytes, xxh3) = hash_file(&self.temporary)?;
        fs::rename(&self.temporary, &self.path).map_err(error)?;
        sync_directory(&self.path).map_err(error)?;
        let name = self.path.file_name().unwrap_or_default();
        Ok(ShardEntry {
            file: name.to_string_lossy().into_owned(),
            rows: rows as u64,
            bytes,
            xxh3,
            other: Map::new(),
        })
    }

    fn write_tensors(&mut self, mut tensors: Vec<Tensor>) -> io::Result<()> {
        // Wider types first: every column then lies at a multiple of its own width.
        tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
        for tensor in &tensors {
            self.file.write_all(&tensor.bytes)?;
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(self.pixels, &tensors)?)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl Drop for ShardFile {
    fn drop(&mut self) {
        // After a rename there is nothing under the temporary name, and nothing to do.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn header(pixels: u64, tensors: &[Tensor]) -> io::Result<Vec<u8>> {
    let mut entries = Map::new();
    let mut entry = |name: &str, dtype: Dtype, shape: &[usize], start: u64, end: u64| {
        let value = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        entries.insert(name.to_owned(), value);
    };
    entry("pixels", Dtype::U8, &[pixels as usize], 0, pixels);
    let mut start = pixels;
    for tensor in tensors {
        let end = start + tensor.bytes.len() as u64;
        entry(tensor.name, tensor.dtype, &tensor.shape, start, end);
        start = end;
    }
    let mut text = serde_json::to_vec(&entries)?;
    if text.len() > HEADER_BYTES - 8 {
        return Err(io::Error::other("too many columns for the header"));
    }
    text.resize(HEADER_BYTES - 8, b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    Ok(bytes)
}

/// Length and XXH3-64 of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(u64, String), BankError> {
    let error = |source| BankError::read(path, source);
    let mut file = File::open(path).map_err(error)?;
    let mut hasher = XxHash3_64::new();
    // Read rather than mapped: a buffer that stays in the cache costs less than page faults.
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(error)?;
        if read == 0 {
            return Ok((bytes, format!("{:016x}", hasher.finish())));
        }
        hasher.write(&buffer[..read]);
        bytes += read as u64;
    }
}

/// A column that grows row by row, kept as the little-endian bytes that go to disk.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
}

macro_rules! push {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(&mut self, values: &[$type]) {
            for value in values {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    )*};
}

impl Rows {
    push!(u8s: u8, u16s: u16, u32s: u32, u64s: u64, i32s: i32, i64s: i64, f32s: f32);

    fn tensor(self, name: &'static str, dtype: Dtype, values_per_row: usize) -> Tensor {
        let values = self.bytes.len() * 8 / dtype.bitsize();
        let shape = match values_per_row {
            1 => vec![values],
            n => vec![values / n, n],
        };
        Tensor {
            name,
            dtype,
            shape,
            bytes: self.bytes,
        }
    }
}

/// Writes one shard of a bank.
pub(crate) struct CutoutShardWriter {
    file: ShardFile,
    rows: usize,
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

impl CutoutShardWriter {
    pub fn create(path: &Path) -> Result<CutoutShardWriter, BankError> {
        Ok(CutoutShardWriter {
            file: ShardFile::create(path)?,
            rows: 0,
            size: Rows::default(),
            offset: Rows::default(),
            category: Rows::default(),
            area: Rows::default(),
            bounding_box: Rows::default(),
            score: Rows::default(),
            image: Rows::default(),
            annotation: Rows::default(),
            origin: Rows::default(),
            source_size: Rows::default(),
        })
    }

    /// Appends a row; its `chain` must be the whole mip chain of its `size`.
    pub fn push(&mut self, cutout: &Cutout<'_>) -> Result<(), BankError> {
        let offset = self.file.append_pixels(cutout.chain)?;
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
        self.rows += 1;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.file.pixels
    }

    /// See [`ShardFile::unsynced`].
    pub fn unsynced(&mut self) -> Option<File> {
        self.file.unsynced()
    }

    pub fn finish(self) -> Result<ShardEntry, BankError> {
        let tensors = vec![
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
        ];
        self.file.finish(tensors, self.rows)
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

/// Names of a list's two columns: starts and values.
type ListNames = (&'static str, &'static str);
const INSTANCES: ListNames = ("instance_start", "instance_category");
/// Extra column: the image's file name, UTF-8.
pub(super) const FILE_NAMES: ListNames = ("file_name_start", "file_name");
/// Extra column, from LVIS: categories known to be absent from the image.
pub(super) const NEGATIVE_CATEGORIES: ListNames = ("neg_category_ids_start", "neg_category_ids");
/// Extra column, from LVIS: categories whose instances are not all annotated in the image.
pub(super) const NOT_EXHAUSTIVE_CATEGORIES: ListNames = (
    "not_exhaustive_category_ids_start",
    "not_exhaustive_category_ids",
);

fn sides(size: Size) -> [u16; 2] {
    // A size's sides are at most 16384.
    [size.width() as u16, size.height() as u16]
}
