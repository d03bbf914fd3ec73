use std::cell::Cell;
use std::fs;

use safetensors::Dtype;

use super::*;
use crate::bank::test_banks::{Row, add_tensor, add_texts, category, row, write_bank};
use crate::bank::{Kind, SizeStatistics, mip, verify};
use crate::geometry::Size;

/// Two shards: sides 4, 6, 8, 10 with areas 4, 16, 36, 64 and different scores and categories.
fn bank(directory: &Path) -> CutoutBank {
    let scored = |side, category, score| Row {
        score,
        ..row(side, category, 1)
    };
    let shards = [
        vec![row(4, 1, 1), scored(6, 2, 0.25)],
        vec![scored(8, 1, 0.5), scored(10, 1, 0.75)],
    ];
    let mut manifest = write_bank(directory, &[category(1, "a"), category(2, "b")], &shards);
    manifest.statistics = vec![SizeStatistics {
        category_id: 1,
        instances: 3,
        size_mean: 0.5,
        size_std: 0.25,
    }];
    for key in ["info", PACK_SETTINGS_KEY] {
        manifest.other.insert(key.to_owned(), "kept?".into());
    }
    manifest.write(directory).unwrap();
    CutoutBank::open(directory).unwrap()
}

fn sides(filter_by: &Filter) -> (FilterReport, Vec<u32>) {
    let [source, output] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let bank = bank(source.path());
    let report = filter(&bank, output.path(), filter_by, 1 << 20, &|_| true).unwrap();
    assert!(verify(output.path(), None, &|_| true).unwrap().is_sound());
    let filtered = CutoutBank::open(output.path()).unwrap();
    let rows = (0..filtered.len()).filter_map(|index| filtered.get(index));
    (report, rows.map(|cutout| cutout.size.width()).collect())
}

/// The sides that pass a filter with one change.
fn passing(change: impl FnOnce(&mut Filter)) -> Vec<u32> {
    let mut filter = Filter::default();
    change(&mut filter);
    sides(&filter).1
}

#[test]
fn every_rule_drops_what_breaks_it() {
    assert_eq!(passing(|_| ()), [4, 6, 8, 10]);
    assert_eq!(passing(|filter| filter.categories = Some(vec![2])), [6]);
    assert_eq!(passing(|filter| filter.min_score = Some(0.5)), [4, 8, 10]);
    assert_eq!(passing(|filter| filter.max_score = Some(0.5)), [4, 6, 8]);
    assert_eq!(passing(|filter| filter.require_score = true), [6, 8, 10]);
    assert_eq!(passing(|filter| filter.min_area = Some(16)), [6, 8, 10]);
    assert_eq!(passing(|filter| filter.max_area = Some(36)), [4, 6, 8]);
    assert_eq!(passing(|filter| filter.min_side = Some(5)), [8, 10]);
    assert_eq!(passing(|filter| filter.max_side = Some(4)), [4, 6]);
}

#[test]
fn a_dropped_cutout_counts_for_the_first_rule_it_breaks() {
    let filter = Filter {
        categories: Some(vec![1]),
        require_score: true,
        min_score: Some(0.7),
        min_area: Some(50),
        ..Filter::default()
    };
    let (report, kept) = sides(&filter);
    assert_eq!(kept, [10]);
    let expected = FilterReport {
        kept: 1,
        dropped_by_category: 1,
        dropped_without_score: 1,
        dropped_by_score: 1,
        shards: 1,
        bytes: report.bytes,
        ..FilterReport::default()
    };
    assert_eq!(report, expected);
}

#[test]
fn shards_end_at_their_size_and_the_manifest_is_kept() {
    let [source, output] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let bank = bank(source.path());
    let two = [4, 6].map(|side| mip::chain_bytes(Size::new(side, side).unwrap(), 4) as u64);
    let limit = two.iter().sum();
    let report = filter(&bank, output.path(), &Filter::default(), limit, &|_| true).unwrap();
    assert_eq!((report.kept, report.shards), (4, 3));
    let filtered = CutoutBank::open(output.path()).unwrap();
    let rows: Vec<u64> = filtered.manifest().shards.iter().map(|s| s.rows).collect();
    assert_eq!(rows, [2, 1, 1]);
    assert_eq!(filtered.manifest().statistics, bank.manifest().statistics);
    assert_eq!(filtered.manifest().categories, bank.manifest().categories);
    let keys: Vec<_> = filtered.manifest().other.keys().collect();
    assert_eq!(keys, ["info"]);
}

#[test]
fn stopping_and_columns_of_unknown_form_leave_nothing_behind() {
    let [source, output] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let files = || fs::read_dir(output.path()).unwrap().count();
    let opened = bank(source.path());
    let calls = Cell::new(0);
    let progress = |rows| {
        calls.set(rows);
        rows < 3
    };
    let stopped = filter(&opened, output.path(), &Filter::default(), 1, &progress);
    assert!(matches!(stopped, Err(BankError::Stopped)));
    assert_eq!((calls.get(), files()), (3, 0));
    drop(opened);
    // Neither a value a row nor a list.
    let column = (Dtype::U8, &[3][..]);
    add_tensor(source.path(), "embedding", column, &[0; 3], Kind::Cutouts);
    let bank = CutoutBank::open(source.path()).unwrap();
    let error = filter(&bank, output.path(), &Filter::default(), 1, &|_| true).unwrap_err();
    assert!(error.to_string().contains("00000.safetensors"), "{error}");
    assert!(
        error.to_string().ends_with("would be lost: embedding"),
        "{error}"
    );
    assert_eq!(files(), 0);
}

#[test]
fn further_columns_go_along_and_shards_with_others_stay_apart() {
    let [source, output] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    bank(source.path());
    let embedding: Vec<u8> = (0..16).collect();
    let column = (Dtype::F16, &[2, 2, 2][..]);
    add_tensor(
        source.path(),
        "embedding",
        column,
        &embedding,
        Kind::Cutouts,
    );
    add_texts(source.path(), "note", &["two words", ""]);
    let opened = CutoutBank::open(source.path()).unwrap();
    let report = filter(&opened, output.path(), &Filter::default(), 1 << 30, &|_| {
        true
    })
    .unwrap();
    assert_eq!((report.kept, report.shards), (4, 2));
    let filtered = CutoutBank::open(output.path()).unwrap();
    let [first, second] = [0, 1].map(|shard| filtered.shards()[shard].further_columns().unwrap());
    let names: Vec<&str> = first.columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["embedding", "note"]);
    assert_eq!(first.cells(0).unwrap(), [&embedding[..8], b"two words"]);
    assert_eq!(first.cells(1).unwrap(), [&embedding[8..], b""]);
    assert!(second.columns().is_empty());
    assert!(verify(output.path(), None, &|_| true).unwrap().is_sound());
    // Only the second row of the first shard.
    let output = tempfile::tempdir().unwrap();
    let only = Filter {
        categories: Some(vec![2]),
        ..Filter::default()
    };
    filter(&opened, output.path(), &only, 1, &|_| true).unwrap();
    let filtered = CutoutBank::open(output.path()).unwrap();
    let further = filtered.shards()[0].further_columns().unwrap();
    assert_eq!(further.columns(), first.columns());
    assert_eq!(further.cells(0).unwrap(), [&embedding[8..], b""]);
}
