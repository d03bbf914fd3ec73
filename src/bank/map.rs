//! Memory maps of shard files, and the contract that makes them sound.
//!
//! A pack's files are never changed in place: writers make a new file under a temporary name and
//! rename it, which leaves the maps of readers on the old file whole. What remains is a third
//! party that truncates or rewrites a mapped file. Rewritten bytes can only change what a reader
//! sees, since every offset was checked against the map's fixed length and columns are copied out
//! value by value. A truncation would end the process with SIGBUS at the first touch past the new
//! end; [`MappedFile::check_length`] turns that into an error and is asked of every shard when a
//! sampler is made, and of the shards that a plan touches each time before it is composed. Drawing
//! a sample reads the rows of its scene and cutouts without asking again. A file that is cut between
//! the question and the read ends the process: no reader of maps can rule that out.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::error::BankError;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`BankError`] if it cannot be opened, is no regular file, is empty or cannot be mapped.
    pub fn open(path: &Path) -> Result<MappedFile, BankError> {
        let read = |source| BankError::read(path, source);
        // Asked before opening: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(read)?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(BankError::Shard {
                shard: path.to_owned(),
                problem: "it is empty or no regular file; a safetensors file was expected".into(),
            });
        }
        let file = File::open(path).map_err(read)?;
        // SAFETY: read-only and private to this type, which hands out no reference that outlives it.
        // Every range that is read is checked against the map's fixed length, so bytes that others
        // change against the contract in this module's head cannot lead a reader outside.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        Ok(MappedFile {
            path: path.to_owned(),
            file,
            map,
        })
    }

    /// The file's contents.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Asks the system to read these bytes soon, all at once rather than page by page at the first
    /// touch. A request that the system refuses costs time later and nothing else.
    pub fn read_ahead(&self, range: Range<usize>) {
        if range.start < range.end && range.end <= self.map.len() {
            let length = range.end - range.start;
            let _ = self.map.advise_range(Advice::WillNeed, range.start, length);
        }
    }

    /// Gives the process's resident pages of the file back. The system may keep them in its cache,
    /// from where the next touch maps them again.
    pub fn release(&self) {
        // The advice is unchecked since it throws away what was written to private memory.
        // SAFETY: this map is shared, of a file, and read-only: nothing is ever written to it, and
        // the next touch reads the same bytes again; threads that read meanwhile only fault.
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file that has become shorter than its map.
    ///
    /// # Errors
    /// [`BankError::Shard`] with both lengths.
    pub fn check_length(&self) -> Result<(), BankError> {
        let now = self
            .file
            .metadata()
            .map_err(|source| BankError::read(&self.path, source))?
            .len();
        if now >= self.map.len() as u64 {
            return Ok(());
        }
        Err(BankError::Shard {
            shard: self.path.clone(),
            problem: format!(
                "the file shrank from {} to {now} bytes after it was opened; packs must not be \
                 changed in place",
                self.map.len()
            ),
        })
    }
}
