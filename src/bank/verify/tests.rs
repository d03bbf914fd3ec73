use std::cell::Cell;
use std::fs;
use std::sync::Mutex;

use super::*;
use crate::bank::test_banks::{
    category, instance, list_again, row, spoil, write_bank, write_scenes,
};
use crate::bank::{CUTOUT_CHANNELS, mip};
use crate::geometry::Size;

fn run(directory: &Path) -> VerifyReport {
    let one = verify(directory, NonZero::new(1), &|_| true).unwrap();
    let many = verify(directory, NonZero::new(5), &|_| true).unwrap();
    assert_eq!(one, many, "the report must not depend on the threads");
    one
}

fn lines(report: &VerifyReport) -> Vec<String> {
    let path = |problem: &Problem| format!("{}/", problem.shard.parent().unwrap().display());
    let problems = report.problems.iter();
    problems
        .map(|p| p.to_string().replace(&path(p), ""))
        .collect()
}

fn bank(directory: &Path) {
    let rows = (0..40)
        .map(|index| row(3 + index % 9, 1 + i64::from(index % 2), 5))
        .collect();
    write_bank(
        directory,
        &[category(1, "a"), category(2, "b")],
        &[rows, vec![row(8, 1, 1)], vec![]],
    );
}

#[test]
fn a_sound_bank_has_no_problems_and_all_its_bytes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    let done = Mutex::new(Cell::new(0));
    let progress = |bytes| {
        let done = done.lock().unwrap();
        assert!(bytes >= done.get());
        done.set(bytes);
        true
    };
    let report = verify(folder.path(), NonZero::new(3), &progress).unwrap();
    assert_eq!(lines(&report), [""; 0]);
    assert!(report.is_sound());
    assert_eq!((report.shards, report.rows), (3, 41));
    assert_eq!(done.lock().unwrap().get(), report.bytes);
}

#[test]
fn damage_without_a_new_checksum_names_checksum_and_row() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    // The last texel of row 0's chain: its 1x1 level. Sides 3, 2, 1.
    spoil(folder.path(), "pixels", (9 + 4) * 4, &[1, 2, 3, 4]);
    let lines = lines(&run(folder.path()));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("00000.safetensors: the file's XXH3-64 is "));
    assert!(
        lines[1].starts_with(
            "00000.safetensors, row 0, column `pixels`: mip level 2, texel (0, 0): [1, 2, 3, 4]; \
             level 1 makes ["
        ),
        "{}",
        lines[1]
    );
}

fn chain_bytes(side: u32) -> u64 {
    mip::chain_bytes(Size::new(side, side).unwrap(), CUTOUT_CHANNELS) as u64
}

#[test]
fn every_column_of_a_cutout_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    spoil(folder.path(), "category", 8, &99i64.to_le_bytes());
    spoil(folder.path(), "area", 4 * 2, &8u32.to_le_bytes());
    spoil(folder.path(), "box", 8 * 3, &[0, 0]);
    spoil(folder.path(), "score", 4 * 4, &f32::INFINITY.to_le_bytes());
    // Row 9 begins one texel into row 8, which has a side of 11.
    let eight: u64 = (3..11).map(chain_bytes).sum();
    let into_eight = eight + 4;
    spoil(folder.path(), "offset", 8 * 9, &into_eight.to_le_bytes());
    list_again(folder.path(), Kind::Cutouts);
    let report = run(folder.path());
    let expected = [
        "row 1, column `category`: 99; the manifest's",
        "row 2, column `area`: 8; 9 texels have alpha ≥ 128",
        "row 3, column `box`: [0, 1, 4, 4]; the tight box of alpha ≥ 128 is [1, 1, 4, 4]",
        "row 4, column `score`: inf; a finite",
        "row 9, column `offset`: bytes ",
    ];
    let lines = lines(&report);
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(&format!("00000.safetensors, {expected}")),
            "{line}"
        );
    }
    assert!(
        lines[4].ends_with("of row 8; rows may only share identical ranges"),
        "{}",
        lines[4]
    );
    assert!(
        lines[5..].iter().all(|line| line.contains("row 9")),
        "{lines:?}"
    );
}

#[test]
fn identical_pixel_ranges_may_be_shared() {
    let folder = tempfile::tempdir().unwrap();
    write_bank(
        folder.path(),
        &[category(1, "a")],
        &[vec![row(5, 1, 1), row(5, 1, 1), row(6, 1, 1)]],
    );
    spoil(folder.path(), "offset", 8, &0u64.to_le_bytes());
    list_again(folder.path(), Kind::Cutouts);
    assert_eq!(lines(&run(folder.path())), [""; 0]);
}

#[test]
fn shards_that_do_not_open_do_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    bank(folder.path());
    fs::remove_file(folder.path().join("00001.safetensors")).unwrap();
    let first = folder.path().join("00000.safetensors");
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..bytes.len() - 1]).unwrap();
    let report = run(folder.path());
    let lines = lines(&report);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("00000.safetensors: the file has "),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("00001.safetensors: cannot be read: "),
        "{}",
        lines[1]
    );
    assert_eq!((report.rows, report.errors), (0, 2));
}

#[test]
fn more_problems_than_are_listed_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let rows = vec![row(3, 77, 1); PROBLEMS_PER_SHARD + 50];
    write_bank(folder.path(), &[category(1, "a")], &[rows]);
    let report = run(folder.path());
    assert_eq!(report.problems.len(), PROBLEMS_PER_SHARD);
    assert_eq!(
        (report.errors, report.not_listed()),
        (PROBLEMS_PER_SHARD as u64 + 50, 50)
    );
    assert_eq!(
        report.problems[PROBLEMS_PER_SHARD - 1].row,
        Some(PROBLEMS_PER_SHARD as u64 - 1)
    );
}

#[test]
fn scenes_are_compared_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut loose = instance(1, [0, 0, 4, 2], 0);
    loose.mask = vec![0b0111_0111];
    let mut empty = instance(1, [2, 2, 3, 3], 0);
    empty.mask = vec![0, 0];
    let instances = [
        instance(1, [1, 1, 5, 4], 1),
        loose,
        empty,
        instance(5, [0, 0, 1, 1], 0),
    ];
    write_scenes(folder.path(), &[category(1, "a")], &[9], &instances);
    spoil(folder.path(), "pixels", 9 * 9 * 3, &[0, 1, 2]);
    list_again(folder.path(), Kind::Scenes);
    let report = run(folder.path());
    let expected = [
        "00000.safetensors, row 0, column `pixels`: mip level 1, texel (0, 0): [0, 1, 2]; level 0",
        "warning: 00000.safetensors, row 0, column `instance_box`: instance 1 (annotation 7): the \
         box [0, 0, 4, 2] is not tight: no bit is set in its last column",
        "00000.safetensors, row 0, column `mask_bits`: instance 2 (annotation 7): no bit is set",
        "00000.safetensors, row 0, column `instance_category`: instance 3 (annotation 7): 5; the",
    ];
    let lines = lines(&report);
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!((report.errors, report.warnings), (3, 1));
}

#[test]
fn a_jpeg_that_does_not_decode_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_scenes(folder.path(), &[category(1, "a")], &[9], &[]);
    spoil(folder.path(), "encoding", 0, &[1]);
    list_again(folder.path(), Kind::Scenes);
    let lines = lines(&run(folder.path()));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("row 0, column `pixels`: no valid JPEG"),
        "{}",
        lines[0]
    );
}

#[test]
fn a_wrong_manifest_and_a_wish_to_stop_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = verify(folder.path(), None, &|_| true).unwrap_err();
    assert!(matches!(missing, BankError::NoManifest { .. }), "{missing}");
    bank(folder.path());
    for after in [0, 3, 5] {
        let calls = Mutex::new(0);
        let progress = |_| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            *calls <= after
        };
        let stopped = verify(folder.path(), NonZero::new(2), &progress).unwrap_err();
        assert!(matches!(stopped, BankError::Stopped), "{stopped}");
    }
    let path = folder.path().join(MANIFEST_FILE);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"version\": 1", "\"version\": 2");
    fs::write(&path, text).unwrap();
    let version = verify(folder.path(), None, &|_| true).unwrap_err();
    assert!(version.to_string().contains("version"), "{version}");
}

#[test]
fn no_changed_byte_goes_unseen() {
    let folder = tempfile::tempdir().unwrap();
    write_bank(
        folder.path(),
        &[category(1, "a")],
        &[vec![row(5, 1, 1), row(6, 1, 2)]],
    );
    let path = folder.path().join("00000.safetensors");
    let whole = fs::read(&path).unwrap();
    // All of the header's length, then some of everything.
    for at in (0..8).chain((8..whole.len()).step_by(13)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        let report = verify(folder.path(), NonZero::new(1), &|_| true).unwrap();
        assert!(!report.is_sound(), "byte {at}");
    }
}
