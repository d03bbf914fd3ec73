//! The pipelines with real networks: real photographs through U²-NetP's published weights, and small
//! networks of random weights for making images, scores and likeness.
#![cfg(all(feature = "cli", feature = "build"))]

mod generate;
mod photographs;
mod score;
mod studio;

use std::path::{Path, PathBuf};
use std::process::Command;

#[track_caller]
fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Real photographs, or none with words on why.
fn test_data() -> Option<PathBuf> {
    let data = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("SKIPPED: PASTEBANK_TEST_DATA names no folder of real photographs");
    }
    data
}
