//! Merging: several banks under one manifest.
//!
//! Shards are hard links to those of the sources where the file system allows it, and copies where
//! it does not: pixels are written again only where category ids have to change. Linked files are
//! one file under two names, which is sound because packs are immutable: writers make new files and
//! rename them. A program that changes a shard in place changes it in every bank that shares it.

mod categories;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cutouts::{Cutout, CutoutBank, CutoutShard};
use super::error::BankError;
use super::filter::remove_shards;
use super::further::FurtherColumns;
use super::manifest::{Kind, Manifest, ShardEntry};
use super::write::{CutoutShardWriter, shard_file_name, sync_directory, temporary_path};
use categories::{Union, common_keys, pool_statistics};

/// Bytes that are copied between two looks at whether to go on.
const BYTES_PER_COPY: usize = 1 << 20;

/// Why banks cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A bank cannot be read or the new one not be written, or the caller asked to stop.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// Two categories have one id.
    #[error(
        "category id {id} is {first_name:?} in the bank {} and {second_name:?} in the bank {}: \
         pack one of them with other ids",
        first_bank.display(),
        second_bank.display()
    )]
    CategoryConflict {
        /// The id.
        id: i64,
        /// The bank that has it first.
        first_bank: PathBuf,
        /// What it is there.
        first_name: String,
        /// The bank that has it again.
        second_bank: PathBuf,
        /// What it is there, which no earlier bank has under another id.
        second_name: String,
    },
}

/// What [`merge`] did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MergeReport {
    /// Cutouts of the new bank.
    pub rows: u64,
    /// Bytes of its shards.
    pub bytes: u64,
    /// Its categories.
    pub categories: u64,
    /// Shards that are links to a source's.
    pub linked: u64,
    /// Shards that are copies, since they could not be linked.
    pub copied: u64,
    /// Shards that were written again with other category ids.
    pub rewritten: u64,
    /// Category ids that changed.
    pub renumbered: Vec<Renumbered>,
    /// Manifest keys that differ between the sources, or say how a source was packed: left out.
    pub dropped_keys: Vec<String>,
}

/// A category of a source that has another id in the merged bank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Renumbered {
    /// The source.
    pub bank: PathBuf,
    /// The category's name.
    pub name: String,
    /// Its id in the source.
    pub from: i64,
    /// Its id in the merged bank.
    pub to: i64,
}

/// Merges the banks in the folders `sources` into a new one in the folder `output`, which is there
/// and empty. Rows keep their order, source after source.
///
/// Categories of the same name become one, which has the id of the first bank that names it and
/// all keys that any of them has (the first bank's value where they differ). A name that no earlier
/// bank has keeps its id. Statistics are pooled. Other manifest keys stay where all sources agree.
/// The manifest is written last.
///
/// `progress` is told how many of the sources' bytes are done and answers whether to go on.
///
/// # Errors
/// [`MergeError`]: a bank that does not open, a cutout of a category that its manifest does not
/// have, an id that two categories claim, or a shard that has to be written again and would lose
/// columns, all before anything is written; a file that cannot be written; or
/// [`BankError::Stopped`]. What was written so far is then removed.
pub fn merge(
    sources: &[PathBuf],
    output: &Path,
    progress: &dyn Fn(u64) -> bool,
) -> Result<MergeReport, MergeError> {
    let banks = sources
        .iter()
        .map(|source| CutoutBank::open(source))
        .collect::<Result<Vec<_>, _>>()?;
    let mut union = Union::default();
    let mut parts = Vec::new();
    for bank in &banks {
        let ids = union.add(bank.directory(), &bank.manifest().categories)?;
        for (shard, entry) in bank.shards().iter().zip(&bank.manifest().shards) {
            parts.push(Part::new(shard, entry, &ids)?);
        }
    }
    let mut report = MergeReport {
        categories: union.categories().len() as u64,
        renumbered: union.renumbered().to_vec(),
        ..MergeReport::default()
    };
    let manifest = merged_manifest(&banks, union, &mut report);
    let mut merger = Merger {
        output,
        entries: Vec::new(),
        report,
        progress: Progress {
            done: Cell::new(0),
            callback: progress,
        },
    };
    if let Err(error) = merger.write(&parts, manifest) {
        remove_shards(output, &merger.entries);
        return Err(error.into());
    }
    Ok(merger.report)
}

/// All but the shards.
fn merged_manifest(banks: &[CutoutBank], union: Union, report: &mut MergeReport) -> Manifest {
    let manifests: Vec<&Manifest> = banks.iter().map(CutoutBank::manifest).collect();
    let statistics = pool_statistics(&manifests, &union);
    let mut manifest = Manifest::new(Kind::Cutouts, Vec::new(), union.into_categories());
    manifest.statistics = statistics;
    (manifest.other, report.dropped_keys) = common_keys(&manifests);
    manifest
}

/// A shard of a source and what has to become of it.
struct Part<'a> {
    shard: &'a CutoutShard,
    entry: &'a ShardEntry,
    /// What is needed where any row has to have a new id.
    rewrite: Option<Rewrite<'a>>,
}

/// How a shard is written again.
struct Rewrite<'a> {
    /// The new ids.
    ids: HashMap<i64, i64>,
    /// What goes along unchanged.
    further: FurtherColumns<'a>,
}

impl<'a> Part<'a> {
    /// `ids` says for every category of the source which one it is in the merged bank.
    fn new(
        shard: &'a CutoutShard,
        entry: &'a ShardEntry,
        ids: &HashMap<i64, i64>,
    ) -> Result<Part<'a>, BankError> {
        let mut changes = false;
        for row in 0..shard.shard.rows() {
            let category = shard.get_unchanged(row)?.category;
            let Some(&id) = ids.get(&category) else {
                let problem =
                    format!("{category}; the manifest's `categories` do not have this id");
                return Err(shard.shard.column_error("category", Some(row), problem));
            };
            changes |= id != category;
        }
        let rewrite = || {
            let further = shard.further_columns()?;
            let ids = ids.clone();
            Ok::<_, BankError>(Rewrite { ids, further })
        };
        Ok(Part {
            shard,
            entry,
            rewrite: changes.then(rewrite).transpose()?,
        })
    }
}

/// A merge under way.
struct Merger<'a> {
    output: &'a Path,
    entries: Vec<ShardEntry>,
    report: MergeReport,
    progress: Progress<'a>,
}

impl Merger<'_> {
    fn write(&mut self, parts: &[Part<'_>], mut manifest: Manifest) -> Result<(), BankError> {
        let mut bytes = 0;
        for part in parts {
            let entry = self.write_shard(part)?;
            self.entries.push(entry);
            bytes += part.entry.bytes;
            self.progress.set(bytes)?;
        }
        manifest.shards = self.entries.clone();
        self.report.rows = manifest.rows();
        self.report.bytes = manifest.bytes();
        manifest.write(self.output)
    }

    fn write_shard(&mut self, part: &Part<'_>) -> Result<ShardEntry, BankError> {
        let file = shard_file_name(self.entries.len());
        let target = self.output.join(&file);
        if let Some(how) = &part.rewrite {
            self.report.rewritten += 1;
            return rewrite(part.shard, how, &target, &self.progress);
        }
        let source = part.shard.shard.file().path();
        if link(source, &target).is_ok() {
            self.report.linked += 1;
        } else {
            // Another file system, or one without links; if it is worse, the copy says so.
            copy(source, &target, &self.progress)?;
            self.report.copied += 1;
        }
        Ok(ShardEntry {
            file,
            ..part.entry.clone()
        })
    }
}

fn link(source: &Path, target: &Path) -> io::Result<()> {
    // The file itself: a link to a symbolic link would break when that one goes.
    fs::hard_link(fs::canonicalize(source)?, target)?;
    sync_directory(target)
}

fn copy(source: &Path, target: &Path, progress: &Progress<'_>) -> Result<(), BankError> {
    let temporary = temporary_path(target);
    let copied = copy_contents(source, &temporary, progress).and_then(|()| {
        fs::rename(&temporary, target)
            .and_then(|()| sync_directory(target))
            .map_err(|error| BankError::write(target, error))
    });
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    copied
}

fn copy_contents(source: &Path, target: &Path, progress: &Progress<'_>) -> Result<(), BankError> {
    let read = |error| BankError::read(source, error);
    let write = |error| BankError::write(target, error);
    let mut from = File::open(source).map_err(read)?;
    let mut to = File::create(target).map_err(write)?;
    let mut buffer = vec![0; BYTES_PER_COPY];
    loop {
        let bytes = from.read(&mut buffer).map_err(read)?;
        if bytes == 0 {
            return to.sync_all().map_err(write);
        }
        to.write_all(&buffer[..bytes]).map_err(write)?;
        progress.add(bytes as u64)?;
    }
}

/// Writes a shard again, row by row, with other category ids.
fn rewrite(
    shard: &CutoutShard,
    how: &Rewrite<'_>,
    target: &Path,
    progress: &Progress<'_>,
) -> Result<ShardEntry, BankError> {
    let mut writer = CutoutShardWriter::with_further(target, how.further.columns())?;
    for row in 0..shard.shard.rows() {
        let cutout = shard.get_unchanged(row)?;
        let id = how.ids.get(&cutout.category).copied();
        let category = id.unwrap_or(cutout.category);
        let cells = how.further.cells(row)?;
        writer.push_with(&Cutout { category, ..cutout }, &cells)?;
        progress.add(cutout.chain.len() as u64)?;
    }
    writer.finish()
}

/// Bytes of the sources that are done.
struct Progress<'a> {
    done: Cell<u64>,
    callback: &'a dyn Fn(u64) -> bool,
}

impl Progress<'_> {
    fn add(&self, bytes: u64) -> Result<(), BankError> {
        self.set(self.done.get().saturating_add(bytes))
    }

    fn set(&self, bytes: u64) -> Result<(), BankError> {
        self.done.set(bytes);
        if (self.callback)(bytes) {
            Ok(())
        } else {
            Err(BankError::Stopped)
        }
    }
}

#[cfg(test)]
mod tests;
