//! Journals that were torn, damaged, replaced, shared.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::resume::Settings;

const STAGE: &str = "masks";

fn settings(value: u32) -> Settings {
    Settings::from([("steps".to_owned(), json!(value))])
}

fn open(state: &Path, value: u32) -> Result<Log<u32>, StateError> {
    Log::open(state, STAGE, Shard::WHOLE, &settings(value), false)
}

fn line(key: &str, row: u32) -> (Line<u32>, Option<Vec<u8>>) {
    let line = Line {
        key: key.to_owned(),
        row: Some(row),
        problem: None,
        blob: None,
    };
    (line, Some(vec![row as u8; row as usize]))
}

fn failed(key: &str) -> (Line<u32>, Option<Vec<u8>>) {
    let line = Line {
        key: key.to_owned(),
        row: None,
        problem: Some("is a teapot".to_owned()),
        blob: None,
    };
    (line, None)
}

fn path(state: &Path, name: &str) -> std::path::PathBuf {
    state.join(STAGE).join("0-of-1").join(name)
}

/// Two batches, whole.
fn written(state: &Path) {
    let mut log = open(state, 1).unwrap();
    log.append(vec![line("a", 3), failed("b")]).unwrap();
    log.append(vec![line("c", 5)]).unwrap();
}

#[test]
fn what_was_written_is_read_again() {
    let state = tempfile::tempdir().unwrap();
    written(state.path());
    let unfinished = StageReader::<u32>::open(state.path(), STAGE)
        .unwrap_err()
        .to_string();
    assert!(unfinished.contains("missing: 0/1"), "{unfinished}");
    let log = open(state.path(), 1).unwrap();
    assert!(log.has("a") && log.has("b") && !log.has("d"));
    assert!(log.has_problem("b") && !log.has_problem("a"));
    log.complete().unwrap();
    let reader = StageReader::<u32>::open(state.path(), STAGE)
        .unwrap()
        .unwrap();
    assert_eq!(reader.items["c"].0.row, Some(5));
    assert_eq!(reader.blob("c").unwrap(), Some(vec![5; 5]));
    assert_eq!(reader.blob("b").unwrap(), None);
    assert_eq!(reader.items["b"].0.problem.as_deref(), Some("is a teapot"));
    assert!(
        StageReader::<u32>::open(state.path(), "none")
            .unwrap()
            .is_none()
    );
}

#[test]
fn whatever_byte_a_worker_died_at_its_whole_lines_stay() {
    let state = tempfile::tempdir().unwrap();
    written(state.path());
    let (journal, blobs) = (
        path(state.path(), "journal.jsonl"),
        path(state.path(), "blobs.bin"),
    );
    let (text, bytes) = (fs::read(&journal).unwrap(), fs::read(&blobs).unwrap());
    let header = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for length in header..=text.len() {
        // Blobs are written first: they may be longer than the journal says, never shorter.
        fs::write(&journal, &text[..length]).unwrap();
        fs::write(&blobs, [&bytes[..], &[9; 7]].concat()).unwrap();
        let mut log = open(state.path(), 1).unwrap();
        let whole = text[..length].iter().filter(|&&byte| byte == b'\n').count() - 1;
        let keys = ["a", "b", "c"];
        assert!(keys[..whole].iter().all(|key| log.has(key)), "{length}");
        assert!(keys[whole..].iter().all(|key| !log.has(key)), "{length}");
        let rest = [line("a", 3), failed("b"), line("c", 5)]
            .into_iter()
            .skip(whole);
        log.append(rest.collect()).unwrap();
        drop(log);
        assert_eq!(fs::read(&journal).unwrap(), text, "{length}");
        assert_eq!(fs::read(&blobs).unwrap(), bytes, "{length}");
    }
}

#[test]
fn other_settings_are_refused_or_begun_anew() {
    let state = tempfile::tempdir().unwrap();
    written(state.path());
    let error = open(state.path(), 2).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`steps` was 1, now it is 2"), "{error}");
    let log: Log<u32> = Log::open(state.path(), STAGE, Shard::WHOLE, &settings(2), true).unwrap();
    assert!(!log.has("a"));
    assert_eq!(
        fs::metadata(path(state.path(), "blobs.bin")).unwrap().len(),
        0
    );
}

#[test]
fn damage_is_told_by_file_and_line() {
    let state = tempfile::tempdir().unwrap();
    written(state.path());
    open(state.path(), 1).unwrap().complete().unwrap();
    let (journal, blobs) = (
        path(state.path(), "journal.jsonl"),
        path(state.path(), "blobs.bin"),
    );
    let whole = fs::read(&journal).unwrap();

    fs::write(&blobs, [3, 3, 3, 5, 5, 5, 5, 6]).unwrap();
    let reader = StageReader::<u32>::open(state.path(), STAGE)
        .unwrap()
        .unwrap();
    assert!(reader.blob("a").is_ok());
    let error = reader.blob("c").unwrap_err().to_string();
    assert!(
        error.contains("blobs.bin") && error.contains("\"c\""),
        "{error}"
    );
    fs::write(&blobs, [3, 3, 3]).unwrap();
    assert!(reader.blob("c").is_err());
    let error = open(state.path(), 1).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("3 bytes") && error.contains('8'), "{error}");

    let mut file = OpenOptions::new().append(true).open(&journal).unwrap();
    file.write_all(b"{\"key\": 7}\n").unwrap();
    let error = open(state.path(), 1).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl: line 5"), "{error}");
    fs::write(&journal, [b"[]\n", &whole[..]].concat()).unwrap();
    let error = open(state.path(), 1).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn a_stage_is_whole_when_all_its_parts_are() {
    let state = tempfile::tempdir().unwrap();
    let part = |index, count| -> Log<u32> {
        let shard = Shard::new(index, count).unwrap();
        Log::open(state.path(), STAGE, shard, &settings(1), false).unwrap()
    };
    let mut first = part(0, 3);
    first.append(vec![line("a", 2)]).unwrap();
    first.complete().unwrap();
    part(2, 3).complete().unwrap();
    let read = || StageReader::<u32>::open(state.path(), STAGE);
    assert!(read().unwrap_err().to_string().contains("missing: 1/3"));
    let mut second = part(1, 3);
    second.append(vec![line("b", 1)]).unwrap();
    let shards = status(state.path()).unwrap();
    let held: Vec<bool> = shards.iter().map(|shard| shard.held_by.is_some()).collect();
    assert_eq!(held, [false, true, false]);
    assert_eq!((shards[0].lines, shards[1].is_complete), (1, false));
    second.complete().unwrap();
    let reader = read().unwrap().unwrap();
    assert_eq!(reader.blob("a").unwrap(), Some(vec![2, 2]));
    assert_eq!(reader.blob("b").unwrap(), Some(vec![1]));
    let open = |index, count, value| {
        let shard = Shard::new(index, count).unwrap();
        let log: Result<Log<u32>, _> =
            Log::open(state.path(), STAGE, shard, &settings(value), false);
        log.map(|_| ()).unwrap_err().to_string()
    };
    assert!(open(0, 3, 2).contains("`steps` was 1, now it is 2"));
    fs::remove_dir_all(state.path().join(STAGE).join("0-of-3")).unwrap();
    // Its own journal is gone: the others' settings still hold.
    assert!(open(0, 3, 2).contains("`steps` was 1, now it is 2"));
    assert!(open(0, 2, 1).contains("mixed"));
    assert!(read().unwrap_err().to_string().contains("missing: 0/3"));
    // What could not begin leaves nothing behind; what has begun stays.
    part(0, 3).leave_if_empty();
    assert!(!state.path().join(STAGE).join("0-of-3").exists());
    part(1, 3).leave_if_empty();
    assert!(
        state
            .path()
            .join(STAGE)
            .join("1-of-3/journal.jsonl")
            .exists()
    );
}
