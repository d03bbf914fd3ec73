//! Verification: all that a pack says of itself, compared with its bytes.
//!
//! Opening a pack checks what reading needs (columns and offsets), in a moment. [`verify`] reads
//! every byte: checksums, mip chains, areas, boxes, masks. It goes on after a problem and lists
//! them all, in the order of shards and rows whatever the number of threads.

mod report;
mod rows;
mod tasks;

use std::collections::HashSet;
use std::num::NonZero;
use std::path::Path;

use super::error::BankError;
use super::manifest::{Kind, MANIFEST_FILE, Manifest};
use report::ProblemList;
pub use report::{PROBLEMS_PER_SHARD, Problem, VerifyReport};
use tasks::{ListedShard, Run};

/// Verifies the bank or scene pack in `directory` on `threads` threads (all the machine has where
/// `None` is given).
///
/// Of every shard: length, XXH3-64, header, columns and offsets, and that no two rows' pixels
/// overlap in part (rows may share identical ranges). Of every cutout: a known category, a score
/// that is not infinite, `area` and `box` as alpha ≥ 128 has them ([0, 0, 0, 0] where there is no
/// such texel), and a mip chain that is rule 2 of its level 0. Of every scene: the raw mip chain
/// likewise, or a JPEG that decodes to the row's size; instances of known categories, with masks
/// that are not empty. A mask's box that is not tight is a warning: it is allowed, and wasteful.
///
/// `progress` is told, by any thread but never by two at once, how many of the shards' bytes are
/// done, and answers whether to go on.
///
/// # Errors
/// [`BankError`] if the manifest is missing or not one that this version reads, and
/// [`BankError::Stopped`] if `progress` said so. All else is in the report.
pub fn verify(
    directory: &Path,
    threads: Option<NonZero<usize>>,
    progress: &(dyn Fn(u64) -> bool + Sync),
) -> Result<VerifyReport, BankError> {
    let manifest = read_manifest(directory)?;
    let mut report = VerifyReport {
        shards: manifest.shards.len() as u64,
        ..VerifyReport::default()
    };
    report.take(manifest_problems(&manifest, &directory.join(MANIFEST_FILE)));
    let mut shards = Vec::new();
    for entry in &manifest.shards {
        if !progress(0) {
            return Err(BankError::Stopped);
        }
        let shard = ListedShard::open(manifest.kind, directory, entry);
        report.rows += shard.rows() as u64;
        report.bytes = report.bytes.saturating_add(entry.bytes);
        shards.push(shard);
    }
    let categories = manifest.categories.iter().map(|c| c.id).collect();
    let threads = threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    for problems in Run::new(&shards, &categories, progress).all(threads)? {
        report.take(problems);
    }
    Ok(report)
}

/// The manifest of either kind of pack.
fn read_manifest(directory: &Path) -> Result<Manifest, BankError> {
    match Manifest::read(directory, Kind::Cutouts) {
        // The only thing wrong may be that it is the other kind.
        Err(BankError::Manifest { field, .. }) if field == "kind" => {
            Manifest::read(directory, Kind::Scenes)
        }
        other => other,
    }
}

fn manifest_problems(manifest: &Manifest, path: &Path) -> ProblemList {
    let mut problems = ProblemList::default();
    let mut ids = HashSet::new();
    for (index, category) in manifest.categories.iter().enumerate() {
        if !ids.insert(category.id) {
            let id = category.id;
            let problem = format!("`categories[{index}].id`: {id} is listed twice");
            problems.add(Problem::error(path, None, None, problem));
        }
    }
    for (index, statistics) in manifest.statistics.iter().enumerate() {
        let id = statistics.category_id;
        if !ids.contains(&id) {
            let problem = format!("`statistics[{index}].category_id`: {id} is not in `categories`");
            problems.add(Problem::error(path, None, None, problem));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
