//! What is finished, written after every shard, so that the same command goes on where it was
//! stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::PackError;
use crate::annotations::problems::Problems;
use crate::bank::write::{is_temporary, replace_file};
use crate::bank::{BankError, MANIFEST_FILE, ShardEntry, SizeStatistics};
use crate::resume::{Settings, difference, file_names};

/// The journal's name in an unfinished pack.
pub(super) const JOURNAL_FILE: &str = "pack-journal.json";

/// The state after the last finished shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub settings: Settings,
    /// The first source that is not in a finished shard.
    pub next_source: usize,
    pub scene_shards: Vec<ShardEntry>,
    pub bank_shards: Vec<ShardEntry>,
    pub counts: Counts,
    pub problems: Problems,
    pub sizes: Sizes,
}

/// What has been packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images or pictures that were looked at.
    pub sources: u64,
    /// Scenes written.
    pub scenes: u64,
    /// Instances written with them, crowds included.
    pub instances: u64,
    /// Crowds among the instances.
    pub crowds: u64,
    /// Cutouts written.
    pub cutouts: u64,
    /// Annotations left out for their score.
    pub below_score: u64,
}

/// Running mean and squared deviation of sqrt(box area / image area) per category (Welford).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sizes {
    categories: BTreeMap<i64, (u64, f64, f64)>,
}

impl Sizes {
    pub fn add(&mut self, category: i64, size: f64) {
        let (count, mean, squares) = self.categories.entry(category).or_default();
        *count += 1;
        let difference = size - *mean;
        *mean += difference / *count as f64;
        *squares += difference * (size - *mean);
    }

    pub fn statistics(&self) -> Vec<SizeStatistics> {
        let of = |(&category_id, &(instances, size_mean, squares)): (&i64, &(u64, f64, f64))| {
            SizeStatistics {
                category_id,
                instances,
                size_mean,
                size_std: (squares / instances as f64).sqrt(),
            }
        };
        self.categories.iter().map(of).collect()
    }
}

impl Journal {
    pub fn new(settings: Settings) -> Journal {
        Journal {
            settings,
            next_source: 0,
            scene_shards: Vec::new(),
            bank_shards: Vec::new(),
            counts: Counts::default(),
            problems: Problems::default(),
            sizes: Sizes::default(),
        }
    }

    /// Writes the journal into each of the folders.
    pub fn write(&self, folders: &[&Path]) -> Result<(), BankError> {
        for folder in folders {
            let path = folder.join(JOURNAL_FILE);
            let text =
                serde_json::to_vec(self).map_err(|error| BankError::write(&path, error.into()))?;
            replace_file(&path, &text)?;
        }
        Ok(())
    }

    fn read(folder: &Path) -> Option<Journal> {
        let text = fs::read(folder.join(JOURNAL_FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What an output folder allows.
#[derive(Debug)]
pub(super) enum Start {
    /// Nothing is there, or what is there may be replaced.
    Fresh,
    /// An unfinished pack of the same settings.
    Continue(Box<Journal>),
    /// The same pack, finished.
    Finished(Box<Journal>),
}

/// Looks at the output folders (made if they are not there) and refuses those that hold anything
/// but this pack, unless `force` says that our own files in them may be replaced.
pub(super) fn start(
    folders: &[&Path],
    settings: &Settings,
    force: bool,
) -> Result<Start, PackError> {
    for folder in folders {
        fs::create_dir_all(folder).map_err(|source| BankError::write(folder, source))?;
    }
    if force {
        for folder in folders {
            remove_former_pack(folder)?;
        }
        return Ok(Start::Fresh);
    }
    let mut journals = Vec::new();
    for folder in folders {
        match look(folder, settings)? {
            Found::Nothing => {}
            Found::Unfinished(journal) => journals.push((false, journal)),
            Found::Finished(journal) => journals.push((true, journal)),
        }
    }
    // The folders' journals are written one after another: the one that is behind is true of both.
    let finished =
        journals.len() == folders.len() && journals.iter().all(|(finished, _)| *finished);
    let all_there = journals.len() == folders.len();
    let least = journals.into_iter().min_by_key(|(_, j)| j.next_source);
    let Some((_, journal)) = least else {
        return Ok(Start::Fresh);
    };
    check_shards(folders, &journal, all_there)?;
    let journal = Box::new(journal);
    Ok(if finished {
        Start::Finished(journal)
    } else {
        Start::Continue(journal)
    })
}

/// Refuses to continue a pack of which something finished has gone.
fn check_shards(folders: &[&Path], journal: &Journal, all_there: bool) -> Result<(), PackError> {
    let shards = || journal.scene_shards.iter().chain(&journal.bank_shards);
    let missing = shards().find(|shard| {
        let is_there = |folder: &&Path| {
            fs::metadata(folder.join(&shard.file)).is_ok_and(|file| file.len() == shard.bytes)
        };
        !folders.iter().any(is_there)
    });
    let reason = match missing {
        Some(shard) => format!("its finished shard {} is gone or changed", shard.file),
        None if !all_there && journal.next_source > 0 => {
            "it holds one half of a pack whose other half is gone".to_owned()
        }
        None => return Ok(()),
    };
    Err(PackError::Occupied {
        folder: folders[0].to_owned(),
        reason,
    })
}

enum Found {
    Nothing,
    Unfinished(Journal),
    Finished(Journal),
}

fn look(folder: &Path, settings: &Settings) -> Result<Found, PackError> {
    let names = file_names(folder)?;
    if names.iter().all(|name| is_temporary(name)) {
        return Ok(Found::Nothing);
    }
    let Some(journal) = Journal::read(folder) else {
        let other = names.iter().find(|name| !is_temporary(name));
        return Err(PackError::Occupied {
            folder: folder.to_owned(),
            reason: format!("it holds {:?}", other.map_or("", String::as_str)),
        });
    };
    if let Some(reason) = difference(&journal.settings, settings) {
        return Err(PackError::Occupied {
            folder: folder.to_owned(),
            reason: format!("it holds a pack made with other settings: {reason}"),
        });
    }
    if names.iter().any(|name| name == MANIFEST_FILE) {
        return Ok(Found::Finished(journal));
    }
    Ok(Found::Unfinished(journal))
}

/// Removes a former pack: the manifest first, so that nothing half-removed opens.
pub(crate) fn remove_former_pack(folder: &Path) -> Result<(), PackError> {
    let mut names = file_names(folder)?;
    names.retain(|name| {
        let is_shard = name
            .strip_suffix(".safetensors")
            .is_some_and(|stem| !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit()));
        name == MANIFEST_FILE || name == JOURNAL_FILE || is_shard || is_temporary(name)
    });
    names.sort_by_key(|name| name != MANIFEST_FILE);
    for name in names {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|source| BankError::write(&path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(margin: u32) -> Settings {
        Settings::from([("margin".to_owned(), json!(margin))])
    }

    #[test]
    fn folders_are_continued_refused_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path()];
        let start = |margin, force| start(&folders, &settings(margin), force);
        assert!(matches!(start(8, false), Ok(Start::Fresh)));
        let mut journal = Journal::new(settings(8));
        journal.sizes.add(1, 0.1);
        journal.sizes.add(1, 0.7);
        journal.write(&folders).unwrap();
        fs::write(folder.path().join(".x.tmp"), "").unwrap();
        match start(8, false) {
            Ok(Start::Continue(found)) => assert_eq!(*found, journal),
            other => panic!("{other:?}"),
        }
        let error = start(9, false).unwrap_err().to_string();
        assert!(error.contains("`margin` was 8, now it is 9"), "{error}");
        fs::write(folder.path().join(MANIFEST_FILE), "{}").unwrap();
        assert!(matches!(start(8, false), Ok(Start::Finished(_))));
        assert!(matches!(start(9, true), Ok(Start::Fresh)));
        fs::write(folder.path().join("thesis.doc"), "").unwrap();
        let error = start(9, false).unwrap_err().to_string();
        assert!(
            error.contains("thesis.doc") && error.contains("--force"),
            "{error}"
        );
        assert!(start(9, true).is_ok());
        assert!(folder.path().join("thesis.doc").exists());
    }

    #[test]
    fn sizes_have_the_population_deviation() {
        let mut sizes = Sizes::default();
        for size in [0.2, 0.4, 0.9] {
            sizes.add(4, size);
        }
        let statistics = sizes.statistics()[0];
        assert!((statistics.size_mean - 0.5).abs() < 1e-15);
        let deviation = ((0.09 + 0.01 + 0.16) / 3.0f64).sqrt();
        assert!((statistics.size_std - deviation).abs() < 1e-15);
    }
}
