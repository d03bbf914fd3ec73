//! Writing a shard that is as long as many cutouts and holds the pixels of few.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Map;
use twox_hash::XxHash3_64;

use super::cutouts::CutoutColumns;
use super::{HEADER_BYTES, Tensor, aligned, header, replace_file_with};
use crate::bank::Cutout;
use crate::bank::error::BankError;
use crate::bank::manifest::ShardEntry;

/// Holes are hashed in pieces of this length, which stay in a processor's cache.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
/// Pieces between two questions whether to go on.
const PIECES: usize = 1 << 10;

/// Rows that refer to a few cutouts, which lie evenly over a file as long as if each row had a mip
/// chain of its own. What lies between them is never written: on a file system that knows holes the
/// shard takes the room of its columns and of those few cutouts.
pub(crate) struct SparseCutouts<'a> {
    cutouts: Vec<Cutout<'a>>,
    rows: usize,
    /// Where each of the cutouts begins in the pixels.
    offsets: Vec<u64>,
    /// Length of the pixels.
    pixels: u64,
}

impl SparseCutouts<'_> {
    /// So many rows; row `r` is the cutout `r` modulo their number.
    pub fn new(cutouts: Vec<Cutout<'_>>, rows: usize) -> SparseCutouts<'_> {
        let copies = rows.div_ceil(cutouts.len().max(1)) as u64;
        let mut pixels = 0;
        let offset = |cutout: &Cutout<'_>| {
            let start = pixels;
            pixels += copies * cutout.chain.len() as u64;
            start
        };
        SparseCutouts {
            offsets: cutouts.iter().map(offset).collect(),
            // Whole eights, so that the columns behind lie aligned.
            pixels: pixels.next_multiple_of(8),
            cutouts,
            rows,
        }
    }

    /// Writes the shard under a temporary name, syncs and renames it. `goes_on` is asked now and
    /// then.
    ///
    /// # Errors
    /// [`BankError::Write`] if the file cannot be written, [`BankError::Stopped`] if `goes_on` says no.
    pub fn write(&self, path: &Path, goes_on: &dyn Fn() -> bool) -> Result<ShardEntry, BankError> {
        let mut written = (0, String::new());
        replace_file_with(path, |file| {
            let result = self.write_to(file, goes_on);
            written = result.map_err(|source| match source.kind() {
                ErrorKind::Interrupted => BankError::Stopped,
                _ => BankError::write(path, source),
            })?;
            Ok::<_, BankError>(())
        })?;
        let (bytes, xxh3) = written;
        let name = path.file_name().unwrap_or_default();
        Ok(ShardEntry {
            file: name.to_string_lossy().into_owned(),
            rows: self.rows as u64,
            bytes,
            xxh3,
            other: Map::new(),
        })
    }

    /// Gives the length and the XXH3-64 of what it wrote.
    fn write_to(&self, file: &File, goes_on: &dyn Fn() -> bool) -> io::Result<(u64, String)> {
        let tensors = aligned(self.columns());
        let mut file = Hashed {
            file: BufWriter::with_capacity(1 << 16, file),
            hash: XxHash3_64::new(),
            length: 0,
        };
        file.append(&header(self.pixels, &tensors)?)?;
        let start = HEADER_BYTES as u64;
        for (cutout, offset) in self.cutouts.iter().zip(&self.offsets) {
            file.hole_up_to(start + offset, goes_on)?;
            file.append(cutout.chain)?;
        }
        file.hole_up_to(start + self.pixels, goes_on)?;
        for tensor in &tensors {
            file.append(&tensor.bytes)?;
        }
        file.file.flush()?;
        Ok((file.length, format!("{:016x}", file.hash.finish())))
    }

    fn columns(&self) -> Vec<Tensor> {
        let mut columns = CutoutColumns::default();
        let cutouts = self.cutouts.iter().zip(&self.offsets);
        for (cutout, offset) in cutouts.cycle().take(self.rows) {
            columns.push(cutout, *offset);
        }
        columns.tensors()
    }
}

/// A file that is hashed while it is written: reading its holes again would fill the system's cache
/// with zeros.
struct Hashed<'a> {
    file: BufWriter<&'a File>,
    hash: XxHash3_64,
    length: u64,
}

impl Hashed<'_> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.write(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Leaves a hole from here to `position`.
    fn hole_up_to(&mut self, position: u64, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
        for piece in 0.. {
            let bytes = position.saturating_sub(self.length).min(ZEROS.len() as u64);
            if bytes == 0 {
                break;
            }
            if piece % PIECES == 0 && !goes_on() {
                return Err(ErrorKind::Interrupted.into());
            }
            self.hash.write(&ZEROS[..bytes as usize]);
            self.length += bytes;
        }
        self.file.seek(SeekFrom::Start(position))?;
        Ok(())
    }
}
