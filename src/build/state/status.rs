//! How far a state folder is.

use std::path::Path;

use serde::Serialize;
use serde::de::IgnoredAny;

use super::journal::{JOURNAL_FILE, read_journal};
use super::lock::Lock;
use super::reader::shards_of;
use super::{Shard, StateError};

/// How far one shard of a stage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardStatus {
    /// The stage.
    pub stage: String,
    /// Which part of it, as `I/N`.
    pub shard: String,
    /// Items that have a line.
    pub lines: usize,
    /// Those of which nothing came.
    pub failed: usize,
    /// Whether every item of the shard has its line.
    pub is_complete: bool,
    /// Who is working on it.
    pub held_by: Option<String>,
}

/// How far every shard of every stage in the folder `state` is.
///
/// # Errors
/// [`StateError`] if the folder cannot be read or a journal is damaged.
pub fn status(state: &Path) -> Result<Vec<ShardStatus>, StateError> {
    let mut stages = Vec::new();
    for entry in std::fs::read_dir(state).map_err(StateError::io(state))? {
        let entry = entry.map_err(StateError::io(state))?;
        if entry.path().is_dir() {
            stages.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    stages.sort();
    let mut found = Vec::new();
    for stage in stages {
        for shard in shards_of(state, &stage)? {
            found.push(shard_status(state, &stage, shard.shard, shard.is_complete)?);
        }
    }
    Ok(found)
}

fn shard_status(
    state: &Path,
    stage: &str,
    shard: Shard,
    is_complete: bool,
) -> Result<ShardStatus, StateError> {
    let folder = state.join(stage).join(shard.folder_name());
    let journal = read_journal::<IgnoredAny>(&folder.join(JOURNAL_FILE))?;
    let lines = journal.map(|journal| journal.lines).unwrap_or_default();
    // A later line of the same item replaces an earlier one.
    let last: std::collections::HashMap<&str, bool> = lines
        .iter()
        .map(|line| (&line.key[..], line.problem.is_some()))
        .collect();
    Ok(ShardStatus {
        stage: stage.to_owned(),
        shard: shard.to_string(),
        lines: last.len(),
        failed: last.values().filter(|&&failed| failed).count(),
        is_complete,
        held_by: Lock::holder(&folder)?,
    })
}
