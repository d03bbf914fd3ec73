//! The examples in their short form. They say by their exit code whether what they show is so;
//! here they are started, and what they print is held against what was asked for.
#![cfg(all(feature = "cli", feature = "candle"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo builds examples with the tests, into a folder beside theirs.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo test` or `cargo build --examples` first",
        path.display()
    );
    path
}

/// Runs an example over a folder and returns what it printed.
fn run(name: &str, folder: &Path, flags: &[&str]) -> String {
    let mut command = Command::new(binary(name));
    let output = command.arg("--out").arg(folder).args(flags).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}:\n{text}{errors}");
    println!("{name}:\n{text}");
    text
}

/// The number after `before` in the line that begins with `line`.
#[track_caller]
fn number(text: &str, line: &str, before: &str) -> f64 {
    let line = text.lines().find_map(|text| text.strip_prefix(line));
    let number = line.and_then(|line| line.split_once(before));
    let digits = number.map(|(_, rest)| rest.trim_start());
    let end = |digits: &str| {
        let is_part = |letter: char| letter.is_ascii_digit() || letter == '.';
        digits
            .find(|letter| !is_part(letter))
            .unwrap_or(digits.len())
    };
    let number = digits.and_then(|digits| digits[..end(digits)].parse().ok());
    number.unwrap_or_else(|| panic!("no number after {before:?} in {text}"))
}

#[test]
fn a_network_learns_from_composed_batches() {
    let folder = tempfile::tempdir().unwrap();
    let text = run("train_candle", folder.path(), &["--steps", "120"]);
    let before = number(&text, "held out, before", "mean IoU");
    let after = number(&text, "held out, after", "mean IoU");
    let constant = number(&text, "held out, after", "all background:");
    assert!(after > before && after > 1.5 * constant, "{text}");
    let [first, last] = [("loss", ":"), ("loss", "in the first tenth,")]
        .map(|(line, before)| number(&text, line, before));
    assert!(last < 0.9 * first, "{text}");
    let picture = image::open(folder.path().join("held_out.png")).unwrap();
    assert!(picture.width() > 1000 && picture.height() > 1000);
}

#[test]
fn an_interrupted_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = run("resume", folder.path(), &[]);
    // 24 scenes in batches of 4 over 3 epochs, 9 of them before the state was saved.
    assert!(
        text.contains("resumed at step 9: 9 batches of 18 equal, 36 samples"),
        "{text}"
    );
    assert!(
        text.contains("another run is refused: the saved state's `seed`"),
        "{text}"
    );
    assert!(
        fs::metadata(folder.path().join("loader.json"))
            .unwrap()
            .len()
            < 65_536
    );
}

#[test]
fn two_processes_share_every_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let text = run("two_ranks", folder.path(), &[]);
    let of_rank = |rank: &str| number(&text, rank, ":");
    // 27 scenes in each of 2 epochs.
    assert_eq!(of_rank("rank 0") + of_rank("rank 1"), 54.0, "{text}");
    assert!(of_rank("rank 1") >= 24.0, "{text}");
    assert!(
        text.contains("together: 54 samples of 2 epochs, each once"),
        "{text}"
    );
}

#[test]
fn a_recipe_in_code_draws_a_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let text = run("custom_recipe", folder.path(), &[]);
    let sheet = image::open(folder.path().join("horizon.png")).unwrap();
    // Four tiles of 384 pixels in a row.
    assert!(sheet.width() >= 4 * 384 && sheet.height() >= 3 * 288);
    let path = folder.path().join("horizon.png");
    let line = format!("{}: 12 samples, ", path.display());
    // At least 6 are pasted on each, of which later ones hide some.
    assert!(
        number(&text, &line[..line.len() - 12], "samples,") >= 36.0,
        "{text}"
    );
}
