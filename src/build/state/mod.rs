//! The state folder: what every stage has done so far.
//!
//! ```text
//! STATE/categories.json          the categories, fixed by the first run
//! STATE/folder/0-of-4/           a shard: what worker 0 of 4 did of the stage `folder`
//!                journal.jsonl   a header with the settings, then a line for each item
//!                blobs.bin       the images, masks or vectors that lines refer to
//!                complete.json   there once every item of the shard has its line
//!                lock            held by the worker while it runs
//! STATE/generate/…  STATE/segment-u2netp/…  STATE/references/…  STATE/score/…
//! ```
//!
//! A batch's blobs are synced before its lines are written, and a line is whole or ignored: a worker
//! that is killed loses the batch in hand and nothing else.

mod journal;
mod lock;
mod reader;
mod status;

#[cfg(feature = "cli")]
pub(crate) use lock::Lock;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use twox_hash::XxHash3_64;

pub use journal::{Blob, Line, Log};
pub use reader::{Items, StageReader};
pub use status::{ShardStatus, status};

/// What is wrong with a state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is not what a stage writes.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A blob that is not what its line says.
    #[error("{}: the blob of {key:?}: {problem}", path.display())]
    Blob {
        /// The file of the blobs.
        path: PathBuf,
        /// Whose blob.
        key: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A shard that was made with other settings.
    #[error(
        "{}: was made with other settings: {difference}; choose another state folder, or throw \
         away what this stage has done with --restart (of this stage's own command)",
        folder.display()
    )]
    Settings {
        /// The shard's folder.
        folder: PathBuf,
        /// The first setting that differs, with both values.
        difference: String,
    },
    /// A shard that somebody else is working on.
    #[error("{}: is being worked on by {holder}", folder.display())]
    Locked {
        /// The shard's folder.
        folder: PathBuf,
        /// Process and machine.
        holder: String,
    },
    /// A stage that is not whole yet.
    #[error("stage {stage:?} of {} is not finished: {problem}", state.display())]
    Unfinished {
        /// The state folder.
        state: PathBuf,
        /// The stage.
        stage: String,
        /// Which shards are missing.
        problem: String,
    },
}

impl StateError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StateError + '_ {
        |source| StateError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// One worker's part of a stage: items whose key's XXH3-64, modulo `count`, is `index`. Which part
/// an item belongs to depends on nothing but its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Part `index` of `count`; none unless `index < count`.
    pub fn new(index: u32, count: u32) -> Option<Shard> {
        (index < count).then_some(Shard { index, count })
    }

    /// Whether the item belongs to this part.
    pub fn takes(self, key: &str) -> bool {
        XxHash3_64::oneshot(key.as_bytes()) % u64::from(self.count) == u64::from(self.index)
    }

    /// How many parts there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The name of its folder.
    pub fn folder_name(self) -> String {
        format!("{}-of-{}", self.index, self.count)
    }

    fn of_folder_name(name: &str) -> Option<Shard> {
        let (index, count) = name.split_once("-of-")?;
        let shard = Shard::new(index.parse().ok()?, count.parse().ok()?)?;
        (shard.folder_name() == name).then_some(shard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let shard = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.parse().ok()?, count.parse().ok()?);
            Shard::new(index, count)
        });
        shard.ok_or_else(|| "I/N with 0 <= I < N was expected, such as 0/8 to 7/8".to_owned())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod shard_tests {
    use super::*;

    #[test]
    fn every_key_belongs_to_one_shard() {
        for count in [1, 3, 8] {
            let shards: Vec<_> = (0..count).map(|index| Shard::new(index, count)).collect();
            for number in 0..200 {
                let key = format!("folder/cat/{number}.jpg");
                let takers = shards.iter().flatten().filter(|shard| shard.takes(&key));
                assert_eq!(takers.count(), 1);
            }
        }
        // XXH3-64 of "a" is e6c632b61e964e1f: part 7 of 8.
        assert!(Shard::new(7, 8).unwrap().takes("a"));
    }

    #[test]
    fn shards_are_read_or_refused() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        for wrong in ["", "8/8", "3", "a/b", "-1/2", "0/0", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        let shard = Shard::new(3, 8).unwrap();
        assert_eq!(Shard::of_folder_name(&shard.folder_name()), Some(shard));
        for wrong in ["3-of-08", "8-of-8", "x", "3-of-"] {
            assert_eq!(Shard::of_folder_name(wrong), None, "{wrong}");
        }
    }
}
