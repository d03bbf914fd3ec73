//! Banks as long as one likes, to show what the number of rows costs and what it does not.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::BenchError;
use crate::bank::manifest::{Kind, Manifest};
use crate::bank::write::{SparseCutouts, shard_file_name};
use crate::bank::{BankError, Cutout, CutoutBank};

/// Cutouts whose pixels a [large bank](write_large_bank) holds at most.
pub const DISTINCT_CUTOUTS: usize = 1000;
/// Rows of a shard at most.
const ROWS_PER_SHARD: usize = 100_000;

/// Writes a bank of so many `rows` into `folder`. It has the columns, the shards and the length in
/// bytes of a bank whose every row has pixels of its own; but the rows refer in turn to the first
/// [`DISTINCT_CUTOUTS`] cutouts of `bank`, which lie evenly over the shards with holes between them.
///
/// So composing finds real masks and real colours and does the same work whatever the number of rows.
/// What grows is what a large bank makes grow: the columns, the maps and how far apart the pixels lie.
/// What does not is how many pixels are read: what a bank beyond the memory costs, reading from disk,
/// this does not show. A million rows take some 200 MB where the file system knows holes.
///
/// `goes_on` is asked now and then.
///
/// # Errors
/// [`BenchError::NoCutouts`] if there is nothing to repeat, [`BenchError::Room`] if the disk is full,
/// [`BenchError::Bank`] if a file cannot be written otherwise, [`BenchError::Stopped`] if `goes_on`
/// says so.
pub fn write_large_bank(
    folder: &Path,
    bank: &CutoutBank,
    rows: usize,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(|error| BenchError::file(folder, error))?;
    let distinct = DISTINCT_CUTOUTS.min(bank.len()).min(rows);
    if distinct == 0 {
        return Err(BenchError::NoCutouts);
    }
    let cutouts: Vec<Cutout<'_>> = (0..distinct).filter_map(|row| bank.get(row)).collect();
    let count = rows.div_ceil(ROWS_PER_SHARD);
    let mut shards = Vec::new();
    for shard in 0..count {
        let [first, end] = [shard, shard + 1].map(|shard| shard * rows / count);
        let rows = SparseCutouts::new(cutouts[part(distinct, shard, count)].to_vec(), end - first);
        let entry = rows.write(&folder.join(shard_file_name(shard)), goes_on);
        shards.push(entry.map_err(|error| explain(error, folder, needed(&cutouts, end)))?);
    }
    let categories = bank.manifest().categories.clone();
    Ok(Manifest::new(Kind::Cutouts, shards, categories).write(folder)?)
}

/// The share of shard number `shard` in so many cutouts: at least one, where there is one.
fn part(cutouts: usize, shard: usize, shards: usize) -> std::ops::Range<usize> {
    let start = shard * cutouts / shards;
    start..((shard + 1) * cutouts / shards).max(start + 1)
}

/// Bytes of so many rows' columns.
const ROW_BYTES: usize = 64;

/// What the bank takes on disk where holes take nothing.
fn needed(cutouts: &[Cutout<'_>], rows: usize) -> u64 {
    let chains: usize = cutouts.iter().map(|cutout| cutout.chain.len()).sum();
    (chains + rows * ROW_BYTES) as u64
}

fn explain(error: BankError, folder: &Path, needed: u64) -> BenchError {
    match error {
        BankError::Stopped => BenchError::Stopped,
        BankError::Write { source, .. } if source.kind() == ErrorKind::StorageFull => {
            BenchError::Room {
                folder: folder.to_owned(),
                needed,
                source,
            }
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::test_banks::{self, row};
    use crate::bank::verify;

    fn few(folder: &Path, [a, b, c]: [u32; 3]) -> CutoutBank {
        let rows = [row(a, 1, 7), row(b, 2, 8), row(c, 1, 9)];
        let categories = [
            test_banks::category(1, "cat"),
            test_banks::category(2, "dog"),
        ];
        test_banks::write_bank(folder, &categories, &[rows.to_vec()]);
        CutoutBank::open(folder).unwrap()
    }

    #[test]
    fn rows_repeat_a_few_cutouts_and_everything_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let few = few(&folder.path().join("few"), [40, 9, 24]);
        let path = folder.path().join("many");
        write_large_bank(&path, &few, 500, &|| true).unwrap();
        let many = CutoutBank::open(&path).unwrap();
        assert_eq!(many.len(), 500);
        for index in 0..500 {
            let [found, expected] = [many.get(index), few.get(index % 3)].map(Option::unwrap);
            assert_eq!(found.chain, expected.chain, "row {index}");
            assert_eq!(found.category, expected.category);
            assert_eq!(found.bounding_box, expected.bounding_box);
        }
        assert_eq!(many.manifest().categories, few.manifest().categories);
        let report = verify(&path, None, &|_| true).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }

    #[test]
    #[cfg(unix)]
    fn what_lies_between_takes_no_room() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let few = few(&folder.path().join("few"), [40, 9, 24]);
        let path = folder.path().join("many");
        write_large_bank(&path, &few, 3000, &|| true).unwrap();
        let file = fs::metadata(path.join(shard_file_name(0))).unwrap();
        let chains: usize = (0..3).map(|row| few.get(row).unwrap().chain.len()).sum();
        assert!(file.len() > 1000 * chains as u64);
        assert!(
            512 * file.blocks() < file.len() / 10,
            "{} blocks",
            file.blocks()
        );
    }

    #[test]
    fn many_rows_lie_in_several_shards_and_no_row_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let few = few(&folder.path().join("few"), [3, 5, 4]);
        let path = folder.path().join("many");
        write_large_bank(&path, &few, 4 * ROWS_PER_SHARD + 1, &|| true).unwrap();
        let many = CutoutBank::open(&path).unwrap();
        assert_eq!(many.len(), 4 * ROWS_PER_SHARD + 1);
        assert_eq!(many.manifest().shards.len(), 5);
        assert_eq!(
            many.get(many.len() - 1).unwrap().chain,
            few.get(2).unwrap().chain
        );
    }

    #[test]
    fn nothing_to_repeat_and_a_stop_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let few = few(&folder.path().join("few"), [40, 9, 24]);
        let path = folder.path().join("many");
        let none = write_large_bank(&path, &few, 0, &|| true);
        assert!(matches!(none, Err(BenchError::NoCutouts)));
        let stopped = write_large_bank(&path, &few, 50, &|| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
        assert_eq!(
            fs::read_dir(&path).unwrap().count(),
            0,
            "something is left behind"
        );
    }
}
