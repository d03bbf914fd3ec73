use std::path::Path;

use super::*;
use crate::bank::test_banks::{add_texts, category, list_again, row, spoil, write_bank};
use crate::bank::write::{CutoutShardWriter, shard_file_name};
use crate::bank::{Kind, Manifest, verify};

fn provenances() -> [Provenance; 2] {
    let made = Provenance {
        key: "cat/7".into(),
        source_kind: "generated".into(),
        segmenter: "u2netp".into(),
        clip: Some(24.5),
        similarity: None,
        area_fraction: 0.25,
        prompt: Some("a photo of a single cat".into()),
        seed: Some(u64::MAX),
        path: None,
        source: None,
        licence: None,
    };
    let found = Provenance {
        key: "cat/Kätzchen.jpg".into(),
        source_kind: "folder".into(),
        segmenter: "alpha".into(),
        clip: None,
        similarity: Some(0.75),
        area_fraction: 1.0,
        prompt: None,
        seed: None,
        path: Some("/pictures/cat/Kätzchen.jpg".into()),
        source: Some("https://example.org/1".into()),
        licence: Some("CC0".into()),
    };
    [made, found]
}

/// A bank whose one shard says where its two cutouts are from.
fn bank(directory: &Path) {
    write_bank(
        directory,
        &[category(1, "cat")],
        &[vec![row(4, 1, 1), row(5, 1, 2)]],
    );
    let plain = CutoutBank::open(directory).unwrap();
    let path = directory.join(shard_file_name(1));
    let mut writer = CutoutShardWriter::with_further(&path, &Provenance::columns()).unwrap();
    for (index, provenance) in provenances().iter().enumerate() {
        let cells = provenance.cells();
        let cells: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
        writer
            .push_with(&plain.get(index).unwrap(), &cells)
            .unwrap();
    }
    let entry = writer.finish().unwrap();
    drop(plain);
    // The only shard from now on, under the first name, where `spoil` looks for it.
    std::fs::rename(&path, directory.join(shard_file_name(0))).unwrap();
    let mut manifest = Manifest::read(directory, Kind::Cutouts).unwrap();
    manifest.shards = vec![crate::bank::ShardEntry {
        file: shard_file_name(0),
        ..entry
    }];
    manifest.write(directory).unwrap();
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    let bank = CutoutBank::open(folder.path()).unwrap();
    for (index, expected) in provenances().into_iter().enumerate() {
        assert_eq!(bank.provenance(index).unwrap(), Some(expected));
    }
    assert_eq!(bank.provenance(2).unwrap(), None);
}

#[test]
fn banks_without_the_columns_have_no_provenance() {
    let folder = tempfile::tempdir().unwrap();
    write_bank(folder.path(), &[category(1, "cat")], &[vec![row(4, 1, 1)]]);
    let open = || CutoutBank::open(folder.path()).unwrap();
    assert_eq!(open().provenance(0).unwrap(), None);
    add_texts(folder.path(), "key", &["cat/7"]);
    let error = open().provenance(0).unwrap_err().to_string();
    assert!(
        error.ends_with("column `seeded`: the shard does not have this column"),
        "{error}"
    );
}

#[test]
fn damaged_columns_are_errors_that_name_them() {
    for (column, at, bytes, expected) in [
        (
            "seeded",
            1,
            &[2][..],
            "row 1, column `seeded`: 2; 0 or 1 was expected",
        ),
        (
            "key_start",
            8,
            &[255; 8],
            "row 1, column `key_start`: 18446744073709551615 to ",
        ),
        (
            "key_start",
            16,
            &[3],
            "row 1, column `key_start`: 5 to 3; `key` has ",
        ),
        (
            "path_start",
            16,
            &[200],
            "row 1, column `path_start`: 0 to 200; `path` has ",
        ),
        ("key", 10, &[255], "row 1, column `key`: no UTF-8: "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        bank(folder.path());
        spoil(folder.path(), column, at, bytes);
        list_again(folder.path(), Kind::Cutouts);
        let bank = CutoutBank::open(folder.path()).unwrap();
        let error = bank.provenance(1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        // Without it the bank can be used all the same.
        let report = verify(folder.path(), None, &|_| true).unwrap();
        assert!(report.is_sound() && report.warnings > 0, "{report:?}");
        let warnings: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert!(
            warnings.iter().any(|warning| warning.contains(expected)),
            "{warnings:?}"
        );
    }
}
