//! `manifest.json`: the shards, the categories and what else a pack says of itself.

use std::collections::HashMap;
use std::fs;
use std::hash::Hasher;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::BankError;
use super::write::replace_file;

/// The name of the file in a pack's folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The key of a packed pack that holds the settings it was made with. Other writers drop it: what
/// they make is no longer that pack.
pub(crate) const PACK_SETTINGS_KEY: &str = "packed";
const FORMAT: &str = "pastebank";
const VERSION: u64 = 1;

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A bank: object cutouts.
    Cutouts,
    /// A scene pack: training images with their instances.
    Scenes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Cutouts => "cutouts",
            Kind::Scenes => "scenes",
        }
    }
}

/// The contents of `manifest.json`. Keys that this version does not know are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u64,
    /// What the shards hold.
    pub kind: Kind,
    /// The shards in row order: a row's index is its position over all of them.
    pub shards: Vec<ShardEntry>,
    /// The categories that rows refer to by id.
    pub categories: Vec<Category>,
    /// Per category, how large its instances are; from [`pack`](crate::pack).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<SizeStatistics>,
    /// All other keys.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One shard as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// File name inside the pack's folder.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// XXH3-64 of the whole file, seed 0, as 16 hexadecimal digits.
    pub xxh3: String,
    /// All other keys.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A category with all that COCO or LVIS say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// The id that rows and annotations use.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `supercategory`, `frequency`, `synset`, `synonyms`, `def` and whatever else there was.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Mean and standard deviation of sqrt(box area / image area) over a category's instances that are
/// no crowds: X-Paste's size statistics (arXiv 2212.03863).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeStatistics {
    /// The category.
    pub category_id: i64,
    /// How many instances were measured.
    pub instances: u64,
    /// Mean of sqrt(box area / image area), 0..=1.
    pub size_mean: f64,
    /// Population standard deviation of the same.
    pub size_std: f64,
}

impl SizeStatistics {
    /// Mean and population standard deviation of two sets of instances together; the category is
    /// that of the first.
    pub(crate) fn pooled_with(&self, other: &SizeStatistics) -> SizeStatistics {
        if other.instances == 0 {
            return *self;
        }
        if self.instances == 0 {
            return SizeStatistics {
                category_id: self.category_id,
                ..*other
            };
        }
        let instances = self.instances.saturating_add(other.instances);
        let share = other.instances as f64 / instances as f64;
        let distance = other.size_mean - self.size_mean;
        let within = (1.0 - share) * self.size_std.powi(2) + share * other.size_std.powi(2);
        let between = share * (1.0 - share) * distance.powi(2);
        SizeStatistics {
            category_id: self.category_id,
            instances,
            size_mean: self.size_mean + share * distance,
            size_std: (within + between).sqrt(),
        }
    }
}

impl Manifest {
    /// A manifest of this version.
    pub fn new(kind: Kind, shards: Vec<ShardEntry>, categories: Vec<Category>) -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            kind,
            shards,
            categories,
            statistics: Vec::new(),
            other: Map::new(),
        }
    }

    /// Reads the manifest of the pack in `directory`.
    ///
    /// # Errors
    /// [`BankError`] if it is missing, no JSON of this form, of another version or kind, or lists
    /// a shard by anything but a plain file name.
    pub fn read(directory: &Path, kind: Kind) -> Result<Manifest, BankError> {
        let path = directory.join(MANIFEST_FILE);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => BankError::NoManifest {
                folder: directory.to_owned(),
            },
            _ => BankError::read(&path, source),
        })?;
        let manifest = parse(&path, &text)?;
        manifest.check(&path, kind)?;
        Ok(manifest)
    }

    /// Writes the manifest under a temporary name and renames it: call this last.
    ///
    /// # Errors
    /// [`BankError::Write`] if the file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), BankError> {
        let path = directory.join(MANIFEST_FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| BankError::Write {
            path: path.clone(),
            source: error.into(),
        })?;
        text.push(b'\n');
        replace_file(&path, &text)
    }

    /// Rows over all shards.
    pub fn rows(&self) -> u64 {
        self.shards
            .iter()
            .fold(0, |sum, shard| sum.saturating_add(shard.rows))
    }

    /// Bytes over all shards.
    pub fn bytes(&self) -> u64 {
        self.shards
            .iter()
            .fold(0, |sum, shard| sum.saturating_add(shard.bytes))
    }

    /// 16 hexadecimal digits that stand for all a plan can draw from this pack: its shards' sums and
    /// order and its categories. Names of files and folders do not count.
    pub fn fingerprint(&self) -> String {
        let mut hash = twox_hash::XxHash3_64::new();
        let mut add = |bytes: &[u8]| {
            hash.write(&(bytes.len() as u64).to_le_bytes());
            hash.write(bytes);
        };
        add(self.kind.name().as_bytes());
        for shard in &self.shards {
            add(&shard.rows.to_le_bytes());
            add(shard.xxh3.as_bytes());
        }
        for category in &self.categories {
            add(&category.id.to_le_bytes());
            add(category.name.as_bytes());
        }
        // Sizes of objects are drawn from these.
        for entry in &self.statistics {
            add(&entry.category_id.to_le_bytes());
            add(&entry.size_mean.to_bits().to_le_bytes());
            add(&entry.size_std.to_bits().to_le_bytes());
        }
        format!("{:016x}", hash.finish())
    }

    /// The category names by id.
    pub fn names(&self) -> HashMap<i64, &str> {
        self.categories
            .iter()
            .map(|category| (category.id, category.name.as_str()))
            .collect()
    }

    fn check(&self, path: &Path, kind: Kind) -> Result<(), BankError> {
        if self.kind != kind {
            return Err(BankError::manifest(
                path,
                "kind",
                format!(
                    "the folder holds {}; {} were expected",
                    self.kind.name(),
                    kind.name()
                ),
            ));
        }
        for (index, shard) in self.shards.iter().enumerate() {
            if !is_plain_file_name(&shard.file) {
                return Err(BankError::manifest(
                    path,
                    &format!("shards[{index}].file"),
                    format!(
                        "found {:?}; a file name without folders was expected",
                        shard.file
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Only names that stay inside the folder: a manifest must not make a reader open other files.
fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0', ':'])
}

fn parse(path: &Path, text: &[u8]) -> Result<Manifest, BankError> {
    // Format and version first: another version may have another form.
    #[derive(Deserialize)]
    struct Head {
        format: Option<Value>,
        version: Option<Value>,
    }
    let head: Head = from_json(path, text)?;
    let expect = |key: &str, found: Option<Value>, expected: Value| {
        if found.as_ref() == Some(&expected) {
            return Ok(());
        }
        let found = found.map_or("nothing".to_owned(), |value| value.to_string());
        let problem = format!("found {found}; this program reads {expected}");
        Err(BankError::manifest(path, key, problem))
    };
    expect("format", head.format, FORMAT.into())?;
    expect("version", head.version, VERSION.into())?;
    from_json(path, text)
}

fn from_json<'a, T: Deserialize<'a>>(path: &Path, text: &'a [u8]) -> Result<T, BankError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| json_error(path, &error.path().to_string(), error.inner()))?;
    deserializer
        .end()
        .map_err(|error| json_error(path, ".", &error))?;
    Ok(value)
}

fn json_error(path: &Path, field: &str, error: &serde_json::Error) -> BankError {
    BankError::manifest(path, field, error.to_string())
}

/// The path of a listed shard.
pub(crate) fn shard_path(directory: &Path, entry: &ShardEntry) -> PathBuf {
    directory.join(&entry.file)
}
