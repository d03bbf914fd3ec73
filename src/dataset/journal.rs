//! What is finished, one line a sample, so that the same command goes on where it was stopped.
//!
//! A line is the XXH3-64 of a JSON text as 16 hexadecimal digits, a space and that text. The first
//! has the settings and is put in its place whole; each of the others is one [`Record`] and is
//! appended in one piece after its image has its final name. Whatever does not match its checksum
//! ends the journal: a line that was cut off is as if it had never been written.
//!
//! Lines are made where the sample is ([`Line`]), and read again in blocks that any number of
//! threads can take apart: the thread that keeps the order only appends bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash3_64;

use super::record::Record;
use crate::bank::BankError;
use crate::bank::write::replace_file;
use crate::resume::Settings;

/// The journal's name in an unfinished data set.
pub(super) const JOURNAL_FILE: &str = "compose-journal.jsonl";
/// Bytes of lines from which on a block is full.
const BLOCK_BYTES: u64 = 1 << 18;

/// The journal of an unfinished data set, open for more.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Where the last line ends.
    end: u64,
    blocks: Vec<Block>,
    block_bytes: u64,
}

/// Some records that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    start: u64,
    /// Length of its lines.
    pub bytes: u64,
    /// Annotations of the records before it.
    pub annotations_before: u64,
    /// Annotations of its own records.
    pub annotations: u64,
}

/// One record as it is appended.
pub(super) struct Line {
    bytes: Vec<u8>,
    annotations: u64,
}

impl Line {
    /// The line of a record in the journal of that folder.
    pub fn new(folder: &Path, record: &Record) -> Result<Line, BankError> {
        Ok(Line {
            bytes: line(&folder.join(JOURNAL_FILE), record)?,
            annotations: record.annotations.len() as u64,
        })
    }
}

impl Journal {
    /// A journal without records.
    pub fn create(folder: &Path, settings: &Settings) -> Result<Journal, BankError> {
        let path = folder.join(JOURNAL_FILE);
        let settings = line(&path, settings)?;
        replace_file(&path, &settings)?;
        Journal::append_to(path, settings.len() as u64)
    }

    /// The journal in `folder` as far as it is whole. Each of its records is handed to `take`,
    /// which says whether what it tells of is still there; the journal ends before the first for
    /// which it is not.
    pub fn resume(
        folder: &Path,
        mut take: impl FnMut(&Record) -> bool,
    ) -> Result<Journal, BankError> {
        let path = folder.join(JOURNAL_FILE);
        let mut lines = Lines::open(&path)?;
        lines.next::<Settings>()?;
        let mut journal = Journal::append_to(path, lines.end)?;
        while let Some(record) = lines.next::<Record>()? {
            if !take(&record) {
                break;
            }
            journal.count(lines.end - journal.end, record.annotations.len() as u64);
        }
        let cut = journal.file.set_len(journal.end);
        cut.map_err(|source| BankError::write(&journal.path, source))?;
        Ok(journal)
    }

    fn append_to(path: PathBuf, end: u64) -> Result<Journal, BankError> {
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| BankError::write(&path, source))?;
        Ok(Journal {
            path,
            file,
            end,
            blocks: Vec::new(),
            block_bytes: BLOCK_BYTES,
        })
    }

    /// Appends a record.
    pub fn append(&mut self, line: &Line) -> Result<(), BankError> {
        let written = self.file.write_all(&line.bytes);
        written.map_err(|source| BankError::write(&self.path, source))?;
        self.count(line.bytes.len() as u64, line.annotations);
        Ok(())
    }

    /// Takes a line of so many bytes into the last block, or into another if that is full.
    fn count(&mut self, bytes: u64, annotations: u64) {
        let mut block = match self.blocks.pop() {
            Some(block) if block.bytes < self.block_bytes => block,
            full => {
                self.blocks.extend(full);
                Block {
                    start: self.end,
                    bytes: 0,
                    annotations_before: full
                        .map_or(0, |full| full.annotations_before + full.annotations),
                    annotations: 0,
                }
            }
        };
        block.bytes += bytes;
        block.annotations += annotations;
        self.blocks.push(block);
        self.end += bytes;
    }

    /// All records, in blocks of about the same length.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Reads the records of a block; an error if they are not what was appended.
    pub fn read(&self, block: &Block) -> Result<Vec<Record>, BankError> {
        let failed = |source| BankError::read(&self.path, source);
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(block.start)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(block.bytes)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let record = |line| serde_json::from_slice(checked_text(line)?).ok();
        let records: Option<Vec<Record>> = lines.map(record).collect();
        let records = records.ok_or_else(|| self.changed())?;
        let annotations: usize = records.iter().map(|record| record.annotations.len()).sum();
        match bytes.len() as u64 == block.bytes && annotations as u64 == block.annotations {
            true => Ok(records),
            false => Err(self.changed()),
        }
    }

    /// It does not have the records any more that were written to it.
    pub fn changed(&self) -> BankError {
        let problem = "somebody else changed it, or the disk lost a part of it";
        BankError::read(&self.path, std::io::Error::other(problem))
    }

    /// Removes the journal, when what it was kept for is in its place.
    pub fn remove(self) -> Result<(), BankError> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(|source| BankError::write(&self.path, source))
    }
}

/// The settings of the journal in `folder`, or `None` if there is none, or one whose first line is
/// not ours.
pub(super) fn settings(folder: &Path) -> Option<Settings> {
    Lines::open(&folder.join(JOURNAL_FILE)).ok()?.next().ok()?
}

/// A line with its checksum in front.
fn line(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, BankError> {
    let text = serde_json::to_vec(value).map_err(|error| BankError::write(path, error.into()))?;
    let mut line = format!("{:016x} ", XxHash3_64::oneshot(&text)).into_bytes();
    line.extend(text);
    line.push(b'\n');
    Ok(line)
}

/// Reads lines as far as they match their checksums.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    buffer: Vec<u8>,
    /// Where the last good line ends.
    end: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines, BankError> {
        let file = File::open(path).map_err(|source| BankError::read(path, source))?;
        Ok(Lines {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 16, file),
            buffer: Vec::new(),
            end: 0,
        })
    }

    /// The next value; `None` at the end of what is whole.
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, BankError> {
        self.buffer.clear();
        self.reader
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| BankError::read(&self.path, source))?;
        let Some(text) = checked_text(&self.buffer) else {
            return Ok(None);
        };
        let value = serde_json::from_slice(text).ok();
        self.end += self.buffer.len() as u64;
        Ok(value)
    }
}

/// The JSON of a line, if it is whole.
fn checked_text(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, text) = line.split_at_checked(17)?;
    let expected = format!("{:016x} ", XxHash3_64::oneshot(text));
    (checksum == expected.as_bytes()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::record::ImageEntry;
    use serde_json::json;

    fn record(id: u64) -> Record {
        Record {
            image: ImageEntry {
                id,
                width: 4,
                height: 3,
                file_name: format!("{id}.png"),
                coco_url: None,
                scene: 2,
                scene_image_id: 7,
                scene_file_name: "a\nb \"c\".jpg".to_owned(),
                before: [(3, 1)].into(),
                neg_category_ids: None,
                not_exhaustive_category_ids: Some(vec![]),
            },
            annotations: Vec::new(),
            bytes: 5,
            replaced: Vec::new(),
            fallbacks: 0,
            crowds_left_out: 0,
            ignored_left_out: 0,
        }
    }

    fn append(journal: &mut Journal, folder: &Path, id: u64) {
        let line = Line::new(folder, &record(id)).unwrap();
        journal.append(&line).unwrap();
    }

    fn ids(journal: &Journal) -> Vec<u64> {
        let records = journal.blocks().iter();
        let records = records.flat_map(|block| journal.read(block).unwrap());
        records.map(|record| record.image.id).collect()
    }

    #[test]
    fn a_journal_ends_where_it_was_cut_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL_FILE);
        let wanted = Settings::from([("seed".to_owned(), json!(3))]);
        let mut journal = Journal::create(folder.path(), &wanted).unwrap();
        assert_eq!(settings(folder.path()), Some(wanted));
        let header = fs::metadata(&path).unwrap().len() as usize;
        (0..3).for_each(|id| append(&mut journal, folder.path(), id));
        assert_eq!(ids(&journal), [0, 1, 2]);
        let whole = fs::read(&path).unwrap();
        let length = (whole.len() - header) / 3;
        // Cut anywhere, it keeps the records that are whole and takes further ones.
        for cut in header..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::resume(folder.path(), |_| true).unwrap();
            let kept = (cut - header) / length;
            assert_eq!(ids(&journal).len(), kept, "cut at {cut}");
            (kept as u64..3).for_each(|id| append(&mut journal, folder.path(), id));
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        // Damaged anywhere in a record, it ends before that one.
        for place in header..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let journal = Journal::resume(folder.path(), |_| true).unwrap();
            assert_eq!(ids(&journal).len(), (place - header) / length, "{place}");
        }
        fs::write(&path, &whole).unwrap();
        let journal = Journal::resume(folder.path(), |record| record.image.id < 1).unwrap();
        assert_eq!(ids(&journal), [0]);
        journal.remove().unwrap();
        assert_eq!(settings(folder.path()), None);
    }

    #[test]
    fn blocks_are_the_same_whether_appended_or_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &Settings::new()).unwrap();
        journal.block_bytes = 1000;
        (0..40).for_each(|id| append(&mut journal, folder.path(), id));
        assert!(journal.blocks().len() > 4, "{:?}", journal.blocks());
        assert_eq!(ids(&journal), (0..40).collect::<Vec<_>>());
        let sum: u64 = journal.blocks().iter().map(|block| block.bytes).sum();
        let last = journal.blocks().last().unwrap();
        assert_eq!(
            (last.start + last.bytes, sum),
            (journal.end, journal.end - journal.blocks[0].start)
        );
        let resumed = Journal::resume(folder.path(), |_| true).unwrap();
        assert_eq!((resumed.end, ids(&resumed)), (journal.end, ids(&journal)));
        // A byte that changes under a block is noticed.
        let mut file = fs::read(folder.path().join(JOURNAL_FILE)).unwrap();
        file[last.start as usize + 30] ^= 1;
        fs::write(folder.path().join(JOURNAL_FILE), file).unwrap();
        let error = journal.read(last).unwrap_err().to_string();
        assert!(error.contains("somebody else changed it"), "{error}");
    }
}
