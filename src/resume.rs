//! What resumable runs share: the settings that decide their output, and how far they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::bank::BankError;

/// What decides the output: two runs with equal settings give equal files.
pub(crate) type Settings = BTreeMap<String, serde_json::Value>;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The first image or sample that this run looked at; those before were finished already.
    pub first: usize,
    /// Those that are done, earlier ones included.
    pub done: usize,
    /// All of them.
    pub total: usize,
}

/// What a folder holds, in order of the names.
pub(crate) fn file_names(folder: &Path) -> Result<Vec<String>, BankError> {
    let error = |source| BankError::read(folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The first setting that differs, with both values.
pub(crate) fn difference(found: &Settings, wanted: &Settings) -> Option<String> {
    let keys = wanted.keys().chain(found.keys());
    keys.filter(|key| found.get(*key) != wanted.get(*key))
        .map(|key| {
            let value = |settings: &Settings| {
                settings
                    .get(key)
                    .map_or("not set".to_owned(), ToString::to_string)
            };
            format!("`{key}` was {}, now it is {}", value(found), value(wanted))
        })
        .next()
}
