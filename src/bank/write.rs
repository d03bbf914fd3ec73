//! Writing packs: shards that appear whole or not at all.
//!
//! A shard is written under a temporary name, synced and renamed; the manifest likewise, last. The
//! pixels are streamed to the file behind a header of fixed length that is filled in at the end
//! (safetensors allows trailing spaces), so that memory does not grow with the shard.

mod cutouts;
mod further;
#[cfg(any(test, feature = "pack"))]
mod scenes;
#[cfg(feature = "cli")]
mod sparse;

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Map, json};
use twox_hash::XxHash3_64;

use super::error::BankError;
use super::manifest::ShardEntry;
use crate::geometry::Size;
pub(crate) use cutouts::CutoutShardWriter;
#[cfg(any(test, feature = "pack"))]
pub(crate) use scenes::{InstanceRow, SceneRow, SceneShardWriter};
#[cfg(feature = "cli")]
pub(crate) use sparse::SparseCutouts;

/// Bytes before the data: the 8 of the header's length and the header, filled up with spaces.
const HEADER_BYTES: usize = 8192;
/// Bytes after which a shard in the making is synced.
#[cfg(feature = "pack")]
const SYNC_BYTES: u64 = 32 << 20;
/// The ending of files that are not finished.
const TEMPORARY_ENDING: &str = ".tmp";

/// Writes `contents` under a temporary name beside `path`, syncs and renames it.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> Result<(), BankError> {
    replace_file_with(path, |mut file| {
        file.write_all(contents)
            .map_err(|source| BankError::write(path, source))
    })
}

/// As [`replace_file`], for contents that are written bit by bit. On an error nothing is left.
pub(crate) fn replace_file_with<E: From<BankError>>(
    path: &Path,
    write: impl FnOnce(&File) -> Result<(), E>,
) -> Result<(), E> {
    let temporary = temporary_path(path);
    let error = |source| BankError::write(path, source);
    let file = File::create(&temporary).map_err(error)?;
    let place = || {
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path)
    };
    let written = write(&file).and_then(|()| Ok(place().map_err(error)?));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Removes what interrupted writers left in `directory`.
#[cfg(any(feature = "pack", feature = "dataset"))]
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
#[cfg(any(feature = "pack", feature = "dataset"))]
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
    #[cfg(feature = "pack")]
    synced: u64,
}

/// One tensor to be written behind the pixels.
struct Tensor {
    name: String,
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
            #[cfg(feature = "pack")]
            synced: 0,
        })
    }

    /// The file, each time that much has come to it, for a thread that syncs it while more is
    /// written: the last sync then finds little left to do.
    #[cfg(feature = "pack")]
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

    fn write_tensors(&mut self, tensors: Vec<Tensor>) -> io::Result<()> {
        let tensors = aligned(tensors);
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

/// Wider types first: every column then lies at a multiple of its own width.
fn aligned(mut tensors: Vec<Tensor>) -> Vec<Tensor> {
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
    tensors
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
        entry(&tensor.name, tensor.dtype, &tensor.shape, start, end);
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
    push!(u16s: u16, u32s: u32, u64s: u64, i32s: i32, i64s: i64, f32s: f32);

    fn tensor(self, name: &str, dtype: Dtype, values_per_row: usize) -> Tensor {
        let values = self.bytes.len() * 8 / dtype.bitsize();
        let shape = match values_per_row {
            1 => vec![values],
            n => vec![values / n, n],
        };
        Tensor {
            name: name.to_owned(),
            dtype,
            shape,
            bytes: self.bytes,
        }
    }
}

fn sides(size: Size) -> [u16; 2] {
    // A size's sides are at most 16384.
    [size.width() as u16, size.height() as u16]
}
