//! A shard of a stage: an append-only journal and the blobs that its lines refer to.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::lock::Lock;
use super::reader::{mixed, shards_of};
use super::{Shard, StateError};
use crate::bank::write::replace_file;
use crate::resume::{Settings, difference};

pub(super) const JOURNAL_FILE: &str = "journal.jsonl";
pub(super) const BLOB_FILE: &str = "blobs.bin";
pub(super) const COMPLETE_FILE: &str = "complete.json";
const FORMAT: &str = "pastebank-stage";
const VERSION: u32 = 1;

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    pub settings: Settings,
}

/// Bytes of the blob file that belong to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
    /// Their XXH3-64.
    pub xxh3: u64,
}

impl Blob {
    /// One past the last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// What a stage says of one item: a row, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line<R> {
    /// The item.
    pub key: String,
    /// What came out.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub row: Option<R>,
    /// Why nothing came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The bytes that came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Blob>,
}

fn none<R>() -> Option<R> {
    None
}

/// A shard that this process is working on.
pub struct Log<R> {
    folder: PathBuf,
    journal: File,
    blobs: File,
    blob_bytes: u64,
    done: HashSet<String>,
    problems: HashSet<String>,
    _lock: Lock,
    rows: PhantomData<R>,
}

impl<R: Serialize + DeserializeOwned> Log<R> {
    /// Opens the shard of `stage` in the folder `state`, made if it is not there, and forgets the
    /// batch that a killed worker left half-written. `restart` throws away what the shard holds.
    ///
    /// # Errors
    /// [`StateError`]: another worker holds it, it was made with other settings, or it is damaged.
    pub fn open(
        state: &Path,
        stage: &str,
        shard: Shard,
        settings: &Settings,
        restart: bool,
    ) -> Result<Log<R>, StateError> {
        // Before anything is made: a part that is refused leaves nothing behind.
        check_siblings(state, stage, shard, settings)?;
        let folder = state.join(stage).join(shard.folder_name());
        fs::create_dir_all(&folder).map_err(StateError::io(&folder))?;
        let lock = Lock::take(&folder)?;
        let (journal_path, blob_path) = (folder.join(JOURNAL_FILE), folder.join(BLOB_FILE));
        if restart {
            for path in [folder.join(COMPLETE_FILE), journal_path.clone()] {
                remove(&path)?;
            }
        }
        let found = read_journal::<R>(&journal_path)?;
        let (whole_bytes, lines) = match found {
            Some(found) => {
                if let Some(difference) = difference(&found.settings, settings) {
                    return Err(StateError::Settings { folder, difference });
                }
                (found.whole_bytes, found.lines)
            }
            None => (write_header(&journal_path, settings)?, Vec::new()),
        };
        let mut journal = open_for_append(&journal_path, whole_bytes)?;
        let ends = lines
            .iter()
            .filter_map(|line| line.blob)
            .map(|blob| blob.end());
        let blob_bytes = ends.max().unwrap_or(0);
        check_blobs(&blob_path, blob_bytes)?;
        let blobs = open_for_append(&blob_path, blob_bytes)?;
        journal.flush().map_err(StateError::io(&journal_path))?;
        let mut log = Log {
            folder,
            journal,
            blobs,
            blob_bytes,
            done: HashSet::new(),
            problems: HashSet::new(),
            _lock: lock,
            rows: PhantomData,
        };
        for line in lines {
            log.note(line.key, line.problem.is_some());
        }
        Ok(log)
    }

    /// A later line of the same item replaces an earlier one.
    fn note(&mut self, key: String, is_problem: bool) {
        match is_problem {
            true => self.problems.insert(key.clone()),
            false => self.problems.remove(&key),
        };
        self.done.insert(key);
    }

    /// Whether the item has its line.
    pub fn has(&self, key: &str) -> bool {
        self.done.contains(key)
    }

    /// Whether the item's line says that nothing came out.
    pub fn has_problem(&self, key: &str) -> bool {
        self.problems.contains(key)
    }

    /// Takes back a shard in which nothing has been done: a stage that could not begin has not begun.
    pub fn leave_if_empty(self) {
        if self.done.is_empty() {
            // Whatever cannot be removed is an empty shard, which does no harm but to look begun.
            let _ = fs::remove_dir_all(&self.folder);
            let _ = self.folder.parent().map(fs::remove_dir);
        }
    }

    /// The shard is being worked on again: readers wait for [`Log::complete`].
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn reopen(&mut self) -> Result<(), StateError> {
        remove(&self.folder.join(COMPLETE_FILE))
    }

    /// Writes the lines of a batch with their blobs, and returns when they would outlive a loss of
    /// power.
    ///
    /// # Errors
    /// [`StateError::Io`]. What was written of the batch is ignored when the shard is opened again.
    pub fn append(&mut self, batch: Vec<(Line<R>, Option<Vec<u8>>)>) -> Result<(), StateError> {
        let mut text = Vec::new();
        let mut keys = Vec::with_capacity(batch.len());
        let mut blob_bytes = Vec::new();
        for (mut line, blob) in batch {
            line.blob = blob.map(|bytes| {
                let offset = self.blob_bytes + blob_bytes.len() as u64;
                blob_bytes.extend_from_slice(&bytes);
                Blob {
                    offset,
                    length: bytes.len() as u64,
                    xxh3: XxHash3_64::oneshot(&bytes),
                }
            });
            let path = self.folder.join(JOURNAL_FILE);
            serde_json::to_writer(&mut text, &line)
                .map_err(|error| StateError::io(&path)(error.into()))?;
            text.push(b'\n');
            keys.push((line.key, line.problem.is_some()));
        }
        if !blob_bytes.is_empty() {
            let path = self.folder.join(BLOB_FILE);
            let written = self.blobs.write_all(&blob_bytes);
            written
                .and_then(|()| self.blobs.sync_data())
                .map_err(StateError::io(&path))?;
            self.blob_bytes += blob_bytes.len() as u64;
        }
        let path = self.folder.join(JOURNAL_FILE);
        let written = self.journal.write_all(&text);
        written
            .and_then(|()| self.journal.sync_data())
            .map_err(StateError::io(&path))?;
        for (key, is_problem) in keys {
            self.note(key, is_problem);
        }
        Ok(())
    }

    /// Every item of the shard has its line.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn complete(self) -> Result<(), StateError> {
        let path = self.folder.join(COMPLETE_FILE);
        let text = format!("{{\"lines\": {}}}\n", self.done.len());
        replace_file(&path, text.as_bytes())
            .map_err(|error| StateError::io(&path)(std::io::Error::other(error)))
    }
}

/// Holds the other shards' number and settings against those of this one, before any work.
fn check_siblings(
    state: &Path,
    stage: &str,
    shard: Shard,
    settings: &Settings,
) -> Result<(), StateError> {
    for sibling in shards_of(state, stage)? {
        if sibling.shard.count != shard.count {
            return Err(StateError::Unfinished {
                state: state.to_owned(),
                stage: stage.to_owned(),
                problem: mixed(shard.count, sibling.shard.count),
            });
        }
        let folder = state.join(stage).join(sibling.shard.folder_name());
        let header = match sibling.shard == shard {
            true => None,
            false => read_header(&folder.join(JOURNAL_FILE))?,
        };
        let difference = header.and_then(|header| difference(&header.settings, settings));
        if let Some(difference) = difference {
            return Err(StateError::Settings { folder, difference });
        }
    }
    Ok(())
}

/// The first line of a journal; none where there is no file, or no whole line.
fn read_header(path: &Path) -> Result<Option<Header>, StateError> {
    let mut line = Vec::new();
    match File::open(path) {
        Ok(file) => BufReader::new(file)
            .read_until(b'\n', &mut line)
            .map_err(StateError::io(path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::io(path)(source)),
    };
    // A damaged one is told when its own shard is opened.
    Ok(serde_json::from_slice(&line).ok())
}

/// A journal as far as it is whole.
pub(super) struct Found<R> {
    pub settings: Settings,
    pub lines: Vec<Line<R>>,
    /// Bytes of the header and the whole lines.
    pub whole_bytes: u64,
}

/// Reads a journal; none where there is no file, or not even a whole header.
pub(super) fn read_journal<R: DeserializeOwned>(
    path: &Path,
) -> Result<Option<Found<R>>, StateError> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut text).map_err(StateError::io(path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::io(path)(source)),
    };
    // A line without its end is what a killed worker left of a batch.
    let whole = text
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut lines = text[..whole].split(|&byte| byte == b'\n').enumerate();
    let error = |line: usize, problem: String| StateError::Line {
        path: path.to_owned(),
        line: line + 1,
        problem,
    };
    let Some((_, header)) = lines.next().filter(|(_, header)| !header.is_empty()) else {
        return Ok(None);
    };
    let header: Header = serde_json::from_slice(header)
        .map_err(|problem| error(0, format!("no header of a stage: {problem}")))?;
    if header.format != FORMAT || header.version != VERSION {
        let problem = format!(
            "format {:?} version {}; {FORMAT:?} version {VERSION} was expected",
            header.format, header.version
        );
        return Err(error(0, problem));
    }
    let mut rows = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let row = serde_json::from_slice(line);
        rows.push(row.map_err(|problem| error(number, problem.to_string()))?);
    }
    Ok(Some(Found {
        settings: header.settings,
        lines: rows,
        whole_bytes: whole as u64,
    }))
}

fn write_header(path: &Path, settings: &Settings) -> Result<u64, StateError> {
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        settings: settings.clone(),
    };
    let io = |error: std::io::Error| StateError::io(path)(error);
    let mut text = serde_json::to_vec(&header).map_err(|error| io(error.into()))?;
    text.push(b'\n');
    replace_file(path, &text).map_err(|error| io(std::io::Error::other(error)))?;
    Ok(text.len() as u64)
}

/// A file cut to its whole part, to be written on from there.
fn open_for_append(path: &Path, bytes: u64) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let open = || {
        let mut file = options.open(path)?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        Ok(file)
    };
    open().map_err(StateError::io(path))
}

/// Blobs are synced before the lines that refer to them: fewer bytes are damage.
fn check_blobs(path: &Path, expected: u64) -> Result<(), StateError> {
    let found = fs::metadata(path).map_or(0, |file| file.len());
    if found >= expected {
        return Ok(());
    }
    Err(StateError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(format!(
            "it has {found} bytes; the journal beside it refers to {expected}"
        )),
    })
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::io(path)(error))
        }
        _ => Ok(()),
    }
}
