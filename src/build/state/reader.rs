//! Reading what all shards of a stage have done.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use twox_hash::XxHash3_64;

use super::journal::{BLOB_FILE, Blob, COMPLETE_FILE, JOURNAL_FILE, Line, read_journal};
use super::{Shard, StateError};
use crate::resume::{Settings, difference};

/// A stage's lines by their keys, and whose shard's file holds their blobs.
pub type Items<R> = BTreeMap<String, (Line<R>, usize)>;

/// A finished stage.
#[derive(Debug)]
pub struct StageReader<R> {
    /// What the stage says of each item.
    pub items: Items<R>,
    /// The settings of its first shard.
    pub settings: Settings,
    blob_files: Vec<PathBuf>,
}

/// How far one shard of a stage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardState {
    pub shard: Shard,
    pub is_complete: bool,
}

impl<R: DeserializeOwned> StageReader<R> {
    /// Opens all shards of `stage`; none where the stage has not been begun.
    ///
    /// # Errors
    /// [`StateError`]: a shard is missing or not finished, shards do not belong together, or one is
    /// damaged.
    pub fn open(state: &Path, stage: &str) -> Result<Option<StageReader<R>>, StateError> {
        let shards = shards_of(state, stage)?;
        if shards.is_empty() {
            return Ok(None);
        }
        check_shards(state, stage, &shards)?;
        let mut reader = StageReader {
            items: Items::new(),
            settings: Settings::new(),
            blob_files: Vec::new(),
        };
        for (number, found) in shards.iter().enumerate() {
            let folder = state.join(stage).join(found.shard.folder_name());
            if let Some(journal) = read_journal(&folder.join(JOURNAL_FILE))? {
                if number == 0 {
                    reader.settings = journal.settings;
                } else if let Some(difference) = difference(&reader.settings, &journal.settings) {
                    return Err(StateError::Settings { folder, difference });
                }
                let lines = journal.lines.into_iter();
                let items = lines.map(|line: Line<R>| (line.key.clone(), (line, number)));
                reader.items.extend(items);
            }
            reader.blob_files.push(folder.join(BLOB_FILE));
        }
        Ok(Some(reader))
    }

    /// The bytes of an item's blob; none where the item has none.
    ///
    /// # Errors
    /// [`StateError`] if they cannot be read, or are not those that were written.
    pub fn blob(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let Some((line, shard)) = self.items.get(key) else {
            return Ok(None);
        };
        let (Some(blob), Some(path)) = (line.blob, self.blob_files.get(*shard)) else {
            return Ok(None);
        };
        let bytes = read_blob(path, blob).map_err(StateError::io(path))?;
        if bytes.len() as u64 != blob.length || XxHash3_64::oneshot(&bytes) != blob.xxh3 {
            return Err(StateError::Blob {
                path: path.clone(),
                key: key.to_owned(),
                problem: format!(
                    "the {} bytes at {} are not those that were written",
                    blob.length, blob.offset
                ),
            });
        }
        Ok(Some(bytes))
    }
}

fn read_blob(path: &Path, blob: Blob) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(blob.offset))?;
    let mut bytes = Vec::new();
    file.take(blob.length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parts of different wholes overlap.
pub(super) fn mixed(one: u32, other: u32) -> String {
    format!(
        "shards of {one} and of {other} are mixed; remove the folders N-of-{one} or N-of-{other}"
    )
}

/// The shards of a stage that have been begun, in order.
pub(crate) fn shards_of(state: &Path, stage: &str) -> Result<Vec<ShardState>, StateError> {
    let folder = state.join(stage);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StateError::io(&folder)(source)),
    };
    let mut shards = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StateError::io(&folder))?;
        if let Some(shard) = Shard::of_folder_name(&entry.file_name().to_string_lossy()) {
            let is_complete = entry.path().join(COMPLETE_FILE).is_file();
            shards.push(ShardState { shard, is_complete });
        }
    }
    shards.sort_by_key(|found| (found.shard.count, found.shard.index));
    Ok(shards)
}

fn check_shards(state: &Path, stage: &str, shards: &[ShardState]) -> Result<(), StateError> {
    let unfinished = |problem: String| StateError::Unfinished {
        state: state.to_owned(),
        stage: stage.to_owned(),
        problem,
    };
    let count = shards
        .iter()
        .map(|found| found.shard.count)
        .max()
        .unwrap_or(0);
    if let Some(other) = shards.iter().find(|found| found.shard.count != count) {
        return Err(unfinished(mixed(other.shard.count, count)));
    }
    let is_there = |index: &u32| {
        let mut complete = shards.iter().filter(|found| found.is_complete);
        complete.any(|found| found.shard.index == *index)
    };
    let missing: Vec<String> = (0..count)
        .filter(|index| !is_there(index))
        .map(|index| format!("{index}/{count}"))
        .take(10)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(unfinished(format!("missing: {}", missing.join(", ")))),
    }
}
