//! What is finished, one line a sample, so that the same command goes on where it was stopped.
//!
//! A line is the XXH3-64 of a JSON text as 16 hexadecimal digits, a space and that text. The first
//! has the settings and is put in its place whole; each of the others is one [`Record`] and is
//! appended in one piece after its image has its final name. Whatever does not match its checksum
//! ends the journal: a line that was cut off is as if it had never been written.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
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

/// The journal of an unfinished data set, open for more.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// A journal without records.
    pub fn create(folder: &Path, settings: &Settings) -> Result<Journal, BankError> {
        let path = folder.join(JOURNAL_FILE);
        replace_file(&path, &line(&path, settings)?)?;
        Journal::append_to(path)
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
        let mut end = lines.end;
        while let Some(record) = lines.next::<Record>()? {
            if !take(&record) {
                break;
            }
            end = lines.end;
        }
        let journal = Journal::append_to(path)?;
        let cut = journal.file.set_len(end);
        cut.map_err(|source| BankError::write(&journal.path, source))?;
        Ok(journal)
    }

    fn append_to(path: PathBuf) -> Result<Journal, BankError> {
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| BankError::write(&path, source))?;
        Ok(Journal { path, file })
    }

    /// Appends a record.
    pub fn append(&mut self, record: &Record) -> Result<(), BankError> {
        let line = line(&self.path, record)?;
        let written = self.file.write_all(&line);
        written.map_err(|source| BankError::write(&self.path, source))
    }

    /// Reads the records from the first on.
    pub fn records(&self) -> Result<Records, BankError> {
        let mut lines = Lines::open(&self.path)?;
        lines.next::<Settings>()?;
        Ok(Records { lines })
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

/// A journal's records in order.
pub(super) struct Records {
    lines: Lines,
}

impl Iterator for Records {
    type Item = Result<Record, BankError>;
    fn next(&mut self) -> Option<Result<Record, BankError>> {
        self.lines.next().transpose()
    }
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

    fn ids(journal: &Journal) -> Vec<u64> {
        let records = journal.records().unwrap();
        records.map(|record| record.unwrap().image.id).collect()
    }

    #[test]
    fn a_journal_ends_where_it_was_cut_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL_FILE);
        let wanted = Settings::from([("seed".to_owned(), json!(3))]);
        let mut journal = Journal::create(folder.path(), &wanted).unwrap();
        assert_eq!(settings(folder.path()), Some(wanted));
        let header = fs::metadata(&path).unwrap().len() as usize;
        (0..3).for_each(|id| journal.append(&record(id)).unwrap());
        assert_eq!(ids(&journal), [0, 1, 2]);
        let whole = fs::read(&path).unwrap();
        let length = (whole.len() - header) / 3;
        // Cut anywhere, it keeps the records that are whole and takes further ones.
        for cut in header..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::resume(folder.path(), |_| true).unwrap();
            let kept = (cut - header) / length;
            assert_eq!(ids(&journal).len(), kept, "cut at {cut}");
            (kept as u64..3).for_each(|id| journal.append(&record(id)).unwrap());
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
}
