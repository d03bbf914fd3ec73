//! `pastebank bench --sweep` and `--predict` on the command line; the figures mean nothing.

#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output};

use pastebank::bench::Report;
use pastebank::bench::sweep::Sweep;
use serde_json::Value;

/// A set of a few pixels that is measured in a moment.
const TINY: [&str; 16] = [
    "--synthetic-scenes",
    "3",
    "--scene-size",
    "60x50",
    "--instances",
    "2",
    "--canvas",
    "64x48",
    "--batch",
    "2",
    "--layers",
    "2",
    "--layer-side",
    "20",
    "--seconds",
    "0.01",
];

fn pastebank(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .arg("bench")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn run(arguments: &[&str], folder: &Path) -> String {
    let output = pastebank(arguments, folder);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_sweep_gives_a_table_csv_json_and_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = [
        "--quick", "--sweep", "layers", "--values", "4,0", "--csv", "a.csv", "--json", "a.json",
        "--plot", "a.svg",
    ];
    let text = run(&[&TINY[..], &sweep].concat(), folder.path());
    let head = text
        .lines()
        .position(|line| line.starts_with("layers    "))
        .unwrap();
    let rows: Vec<&str> = text.lines().skip(head + 1).take(2).collect();
    assert!(
        rows[0].starts_with("0 ") && rows[1].starts_with("4 "),
        "{text}"
    );
    let csv = std::fs::read_to_string(folder.path().join("a.csv")).unwrap();
    let starts: Vec<_> = csv
        .lines()
        .map(|line| line.split(',').take(2).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        starts,
        [["axis", "value"], ["layers", "0"], ["layers", "4"]]
    );
    let found = json(&folder.path().join("a.json"));
    assert_eq!(found["workload"]["layers"], 2);
    let sweeps: Vec<Sweep> = serde_json::from_value(found["sweep"].clone()).unwrap();
    assert_eq!(sweeps[0].points[1].report.workload.layers, 4);
    assert_eq!(
        found["sweep"][0]["points"][1]["loader"]["threads"],
        found["loader"]["threads"]
    );
    // A baseline is read from the same file.
    Report::read(&folder.path().join("a.json")).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("a.svg")).unwrap();
    assert!(svg.contains("Images a second by layers") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn several_sweeps_are_drawn_into_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let sweeps = [
        "--quick",
        "--sweep",
        "threads",
        "--sweep",
        "instances",
        "--plot",
        "a.svg",
        "--csv",
        "a.csv",
    ];
    run(&[&TINY[..], &sweeps].concat(), folder.path());
    for name in ["a-threads.svg", "a-instances.svg"] {
        assert!(folder.path().join(name).exists(), "no {name}");
    }
    let csv = std::fs::read_to_string(folder.path().join("a.csv")).unwrap();
    assert_eq!(
        csv.lines()
            .filter(|line| line.starts_with("instances,"))
            .count(),
        5
    );
}

#[test]
fn a_prediction_is_made_from_a_report_or_from_a_quick_look() {
    let folder = tempfile::tempdir().unwrap();
    run(
        &[&TINY[..], &["--quick", "--json", "a.json"]].concat(),
        folder.path(),
    );
    let job = [
        "--predict",
        "--gpus",
        "4",
        "--gpu-images-per-second",
        "25",
        "--cores",
        "10",
    ];
    let text = run(&[&job[..], &["--from", "a.json"]].concat(), folder.path());
    let report = json(&folder.path().join("a.json"));
    assert!(
        text.contains("4 GPUs x 25 images/s = 100 images/s of 64x48 with 2 layers, raw"),
        "{text}"
    );
    let row = text
        .lines()
        .find(|line| line.starts_with("cores, composing on the CPU"))
        .unwrap();
    // 10 cores of those that were measured.
    let most = 10.0
        * report["loader"]["images_per_second_per_core"]
            .as_f64()
            .unwrap();
    let told: f64 = row
        .split_whitespace()
        .last()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap();
    assert!((told - most).abs() <= 1.0, "{row}, not {most}");
    let larger = ["--from", "a.json", "--canvas", "256x192"];
    let larger = run(&[&job[..], &larger].concat(), folder.path());
    assert!(
        larger.contains("images/s of 256x192 with 2 layers"),
        "{larger}"
    );
    let looked = run(&[&TINY[..], &job].concat(), folder.path());
    assert!(looked.contains("first limit the"), "{looked}");
}

#[test]
fn wrong_flags_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(
        &[&TINY[..], &["--quick", "--json", "a.json"]].concat(),
        folder.path(),
    );
    for (arguments, part) in [
        (&["--sweep", "canvases"][..], "bank-size"),
        (&["--values", "1,2"], "--sweep"),
        (&["--plot", "a.svg"], "--sweep"),
        (&["--sweep", "threads", "--plot", "a.png"], ".svg"),
        (&["--sweep", "threads", "--values", "1,0"], "1..=1024"),
        (
            &["--sweep", "threads", "--sweep", "batch", "--values", "1"],
            "one was expected",
        ),
        (&["--sweep", "batch", "--sweep", "batch"], "given twice"),
        (
            &["--sweep", "instances", "--scenes", "a", "--bank", "b"],
            "--synthetic was expected",
        ),
        (&["--gpus", "2"], "--predict"),
        (&["--predict", "--gpus", "0"], "1.."),
        (&["--predict", "--disk-gbps", "0"], "above 0"),
        (&["--predict", "--sweep", "threads"], "--sweep"),
        (
            &["--predict", "--from", "a.json", "--encoding", "jpeg"],
            "are of raw scenes",
        ),
        (
            &["--predict", "--from", "a.json", "--batch", "4"],
            "cannot be used with '--batch",
        ),
        (&["--predict", "--from", "none.json"], "none.json"),
    ] {
        let output = pastebank(arguments, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        let code = if part == "none.json" { 1 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}
