use std::path::Path;

use super::*;
use crate::bank::test_banks::{add_tensor, add_texts, category, row, spoil, write_bank};
use crate::bank::{CutoutBank, Kind, Manifest};

fn bank(directory: &Path) {
    let rows = vec![row(4, 1, 1), row(5, 1, 2)];
    write_bank(directory, &[category(1, "cat")], &[rows]);
}

/// What opening the further columns of the bank's only shard says.
fn problem(directory: &Path) -> String {
    let bank = CutoutBank::open(directory).unwrap();
    bank.shards()[0].further_columns().unwrap_err().to_string()
}

#[test]
fn columns_are_found_with_their_form() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    // Two bytes in all: were it not for its starts, it would be a value a row.
    add_texts(folder.path(), "text", &["", "ab"]);
    let add = |name, form: (Dtype, &[usize]), bytes: &[u8]| {
        add_tensor(folder.path(), name, form, bytes, Kind::Cutouts);
    };
    add("a_start", (Dtype::U8, &[2]), &[1, 2]);
    add("none", (Dtype::F32, &[2, 0]), &[]);
    add("nibbles", (Dtype::F4, &[2, 2]), &[7, 8]);
    let opened = CutoutBank::open(folder.path()).unwrap();
    let further = opened.shards()[0].further_columns().unwrap();
    let names: Vec<&str> = further.columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a_start", "nibbles", "none", "text"]);
    assert_eq!(further.columns()[3], FurtherColumn::text("text"));
    assert_eq!(further.cells(0).unwrap(), [&[1][..], &[7], &[], b""]);
    assert_eq!(further.cells(1).unwrap(), [&[2][..], &[8], &[], b"ab"]);
    assert!(further.cells(2).is_err());
}

#[test]
fn what_cannot_be_carried_is_named() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    let add = |name, form: (Dtype, &[usize]), bytes: &[u8]| {
        add_tensor(folder.path(), name, form, bytes, Kind::Cutouts);
    };
    add("half_bytes", (Dtype::F4, &[2, 1]), &[7]);
    add("of_all", (Dtype::U8, &[3]), &[1, 2, 3]);
    add("single", (Dtype::U8, &[]), &[1]);
    add("whole", (Dtype::U8, &[2]), &[1, 2]);
    let error = problem(folder.path());
    assert!(
        error.ends_with("would be lost: half_bytes, of_all, single"),
        "{error}"
    );
}

#[test]
fn starts_must_fit_their_values() {
    for (row, start, found) in [
        (
            0,
            1u64,
            "row 0, column `text`: 1 after 0; starts that rise from 0 to 5 were expected",
        ),
        (1, 6, "row 1, column `text`: 6 after 0; "),
        (
            1,
            u64::MAX,
            "row 1, column `text`: 18446744073709551615 after 0; ",
        ),
        (2, 4, "row 2, column `text`: 4 after 3; "),
        (2, 2, "row 2, column `text`: 2 after 3; "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        bank(folder.path());
        add_texts(folder.path(), "text", &["abc", "de"]);
        spoil(folder.path(), "text_start", row * 8, &start.to_le_bytes());
        let error = problem(folder.path());
        assert!(error.contains(found), "{error}");
    }
}

#[test]
fn a_shard_refuses_cells_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    let opened = CutoutBank::open(folder.path()).unwrap();
    let columns = [
        FurtherColumn::value("seed", Dtype::U64),
        FurtherColumn::text("text"),
    ];
    let path = folder.path().join("another.safetensors");
    let mut writer = crate::bank::write::CutoutShardWriter::with_further(&path, &columns).unwrap();
    let cutout = opened.get(0).unwrap();
    let bad: [&[&[u8]]; 3] = [&[], &[b"1234567", b""], &[b"12345678", b"", b""]];
    for cells in bad {
        let error = writer.push_with(&cutout, cells).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("cells of ["), "{source}");
    }
    writer.push_with(&cutout, &[b"12345678", b"any"]).unwrap();
    let entry = writer.finish().unwrap();
    assert_eq!(entry.rows, 1);
    let manifest = Manifest::new(Kind::Cutouts, vec![entry], vec![category(1, "cat")]);
    manifest.write(folder.path()).unwrap();
    let opened = CutoutBank::open(folder.path()).unwrap();
    let further = opened.shards()[0].further_columns().unwrap();
    assert_eq!(further.columns(), columns);
    assert_eq!(further.cells(0).unwrap(), [&b"12345678"[..], b"any"]);
}
