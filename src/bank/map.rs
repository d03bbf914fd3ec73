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
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::error::BankError;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    map: Mmap,
    asked: Asked,
}

/// Bytes that are asked for together.
const BLOCK: usize = 1 << 14;

/// Which blocks of a file were asked for: asking again takes some microseconds a request even where all
/// pages are there. They are forgotten when pages have gone.
#[derive(Debug)]
struct Asked(Vec<AtomicU64>);

impl Asked {
    fn nothing(bytes: usize) -> Asked {
        let words = bytes.div_ceil(BLOCK).div_ceil(64);
        Asked((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether some of these blocks were not asked for; now all count as asked for.
    fn ask(&self, blocks: Range<usize>) -> bool {
        let mut is_new = false;
        for block in blocks {
            let (word, bit) = (&self.0[block / 64], 1 << (block % 64));
            // Marks guard no memory: with an old one, a request is made once more or left out once.
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
                is_new = true;
            }
        }
        is_new
    }

    fn forget(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }
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
            asked: Asked::nothing(map.len()),
            map,
        })
    }

    /// The file's contents.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Asks the system to read these bytes soon, all at once rather than page by page at the first
    /// touch, unless it was asked already since [`MappedFile::release`] or [`MappedFile::ask_again`]. A
    /// request that the system refuses costs time later and nothing else.
    pub fn read_ahead(&self, range: Range<usize>) {
        if range.start >= range.end || range.end > self.map.len() {
            return;
        }
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        if self.asked.ask(blocks.clone()) {
            let start = blocks.start * BLOCK;
            let end = (blocks.end * BLOCK).min(self.map.len());
            let _ = self.map.advise_range(Advice::WillNeed, start, end - start);
        }
    }

    /// Gives the process's resident pages of the file back. The system may keep them in its cache,
    /// from where the next touch maps them again.
    pub fn release(&self) {
        // The advice is unchecked since it throws away what was written to private memory.
        // SAFETY: this map is shared, of a file, and read-only: nothing is ever written to it, and
        // the next touch reads the same bytes again; threads that read meanwhile only fault.
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        self.asked.forget();
    }

    /// Makes the next requests whatever was asked for already: the system has taken pages away.
    pub fn ask_again(&self) {
        self.asked.forget();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_asked_for_once_until_pages_are_given_back() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &vec![7; 70 * BLOCK + 1]).unwrap();
        let map = MappedFile::open(file.path()).unwrap();
        for _ in 0..2 {
            assert!(map.asked.ask(3..5));
            assert!(!map.asked.ask(3..5));
            assert!(map.asked.ask(4..6));
            // The last block is a part of one.
            assert!(map.asked.ask(63..71));
            assert!(!map.asked.ask(70..71));
            map.release();
        }
        // Whatever is asked for, the bytes are the same.
        map.read_ahead(0..map.bytes().len());
        map.read_ahead(5..5);
        map.read_ahead(5..usize::MAX);
        assert!(map.bytes().iter().all(|&byte| byte == 7));
    }
}
