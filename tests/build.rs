//! `pastebank build` as a user meets it: from images to a bank, stopped, killed, shared and wrong.
#![cfg(all(feature = "cli", feature = "build"))]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use image::{Rgba, RgbaImage};
use pastebank::bank::CutoutBank;
use pastebank::build::state::{Log, Shard, StageReader};

const CATEGORIES: [&str; 3] = ["cup", "tea_pot", "tray"];

fn pastebank(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = pastebank(arguments, folder);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn fails(arguments: &[&str], folder: &Path, code: i32, parts: &[&str]) {
    let output = pastebank(arguments, folder);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// An ellipse with a soft edge on transparent ground, and a stray speck; no two are alike.
fn picture(number: u32) -> RgbaImage {
    let (width, height) = (90 + number * 7 % 40, 80 + number * 11 % 50);
    let (x0, y0) = (width as f32 / 2.0, height as f32 / 2.0 + 4.0);
    let (a, b) = (x0 * (0.5 + number as f32 * 0.013 % 0.4), y0 * 0.7);
    RgbaImage::from_fn(width, height, |x, y| {
        let (dx, dy) = ((x as f32 - x0) / a, (y as f32 - y0) / b);
        let distance = (dx * dx + dy * dy).sqrt();
        let alpha = ((1.1 - distance) * 1000.0).clamp(0.0, 255.0) as u8;
        let speck = x < 3 && y < 3;
        let stripe = ((x * (number % 5 + 1) + y * (number % 3)) % 64 * 4) as u8;
        Rgba([
            stripe,
            (number * 37 % 256) as u8,
            90,
            if speck { 255 } else { alpha },
        ])
    })
}

/// A folder of `count` pictures for each category, and a settings file for the whole way.
fn images(count: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, category) in CATEGORIES.iter().enumerate() {
        let place = folder.path().join("images").join(category);
        fs::create_dir_all(&place).unwrap();
        for number in 0..count {
            let path = place.join(format!("{number:03}.png"));
            picture(index as u32 * count + number).save(path).unwrap();
        }
    }
    let config = "state = \"state\"\nbank = \"bank\"\n[folder]\ninput = \"images\"\n\
                  [[segment]]\nmodel = \"alpha\"\nbatch = 1\n[filter]\nkeep_alike = true\n";
    fs::write(folder.path().join("build.toml"), config).unwrap();
    folder
}

const ALL: [&str; 4] = ["build", "all", "--config", "build.toml"];

/// Every file of a folder but reports, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
    }
    found
}

/// What a bank holds, whatever order it is in.
fn cutouts(bank: &Path) -> Vec<(i64, Vec<u8>)> {
    let bank = CutoutBank::open(bank).unwrap();
    let mut cutouts: Vec<_> = (0..bank.len())
        .map(|row| bank.get(row).unwrap())
        .map(|cutout| (cutout.category, cutout.chain.to_vec()))
        .collect();
    cutouts.sort();
    cutouts
}

#[test]
fn from_a_folder_of_images_to_a_bank_and_a_report() {
    let folder = images(4);
    let here = folder.path();
    // One is broken, one came twice, one has no alpha, one is hardly there.
    fs::write(
        here.join("images/cup/broken.png"),
        b"\x89PNG\r\n\x1a\nno more",
    )
    .unwrap();
    fs::copy(
        here.join("images/tray/000.png"),
        here.join("images/tray/copy.png"),
    )
    .unwrap();
    let opaque = image::RgbImage::from_pixel(64, 64, [9, 9, 9].into());
    opaque.save(here.join("images/tea_pot/opaque.png")).unwrap();
    let mut speck = RgbaImage::new(100, 100);
    speck.put_pixel(50, 50, Rgba([255; 4]));
    speck.save(here.join("images/tea_pot/speck.png")).unwrap();
    let text = succeeds(&ALL, here);
    for part in [
        "broken.png",
        "1 are copies",
        "masks: 13 done, 1 failed",
        "no scores",
        "16 images came; 12 cutouts stayed",
        "1 could not be opened",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let bank = CutoutBank::open(&here.join("bank")).unwrap();
    assert_eq!(bank.len(), 12);
    let names: Vec<&str> = bank
        .manifest()
        .categories
        .iter()
        .map(|c| &c.name[..])
        .collect();
    assert_eq!(names, CATEGORIES);
    for row in 0..bank.len() {
        // The speck is not of the largest component: only the ellipse is left, in its crop.
        let cutout = bank.get(row).unwrap();
        assert!(cutout.size.width() < 100, "{row}");
        assert_eq!(cutout.category, row as i64 / 4 + 1);
    }
    succeeds(&["bank", "verify", "bank"], here);
    let report = fs::read_to_string(here.join("bank-report/report.json")).unwrap();
    assert!(report.contains("\"kept\": 4"), "{report}");
    // Again: nothing is left to do.
    let again = succeeds(&ALL, here);
    assert!(again.contains("finished already"), "{again}");
    let status = succeeds(&["build", "status", "--state", "state"], here);
    assert!(
        status.contains("segment-alpha") && status.contains("finished"),
        "{status}"
    );
}

#[test]
fn killed_at_any_moment_it_ends_as_if_it_had_not_been() {
    let folder = images(20);
    let here = folder.path();
    let start = Instant::now();
    succeeds(&ALL, here);
    let whole = start.elapsed();
    let expected = files(&here.join("bank"));
    let lines = |state: &Path| -> Vec<(String, Option<f32>)> {
        type Row = pastebank::build::segment::Segmented;
        let reader = StageReader::<Row>::open(state, "segment-alpha")
            .unwrap()
            .unwrap();
        let items = reader.items.iter();
        items
            .map(|(key, (line, _))| (key.clone(), line.row.as_ref().map(|r| r.area)))
            .collect()
    };
    let undisturbed = lines(&here.join("state"));
    let mut killed = 0;
    for round in 0..4u32 {
        fs::remove_dir_all(here.join("state")).unwrap();
        fs::remove_dir_all(here.join("bank")).unwrap();
        // Short runs first, each of which gets a little further than the one before, at moments that
        // differ from round to round.
        for moment in 1..200u32 {
            let part = f64::from(4 * moment + round) / 64.0;
            let mut child = Command::new(env!("CARGO_BIN_EXE_pastebank"))
                .args(ALL)
                .current_dir(here)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole.mul_f64(part));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        succeeds(&ALL, here);
        assert_eq!(files(&here.join("bank")), expected, "round {round}");
        assert_eq!(lines(&here.join("state")), undisturbed, "round {round}");
    }
    assert!(killed >= 4, "only {killed} were killed");
}

#[test]
fn parts_on_many_machines_make_the_same_bank() {
    let folder = images(6);
    let here = folder.path();
    succeeds(&ALL, here);
    let expected = cutouts(&here.join("bank"));
    let stages: [&[&str]; 3] = [
        &["build", "folder", "--state", "s", "--input", "images"],
        &["build", "segment", "--state", "s", "--model", "alpha"],
        &[
            "build",
            "filter",
            "--state",
            "s",
            "--out",
            "parts",
            "--keep-alike",
        ],
    ];
    for stage in stages {
        let part = |part: &'static str| [stage, &["--shard", part]].concat();
        succeeds(&part("2/3"), here);
        succeeds(&part("0/3"), here);
        if stage[1] == "folder" {
            // The next stage waits for the part that is missing.
            let next = ["build", "segment", "--state", "s", "--model", "alpha"];
            fails(&next, here, 1, &["folder", "missing: 1/3"]);
        }
        succeeds(&part("1/3"), here);
    }
    succeeds(&["build", "merge", "parts", "--out", "merged"], here);
    assert_eq!(cutouts(&here.join("merged")), expected);
    fs::remove_file(here.join("parts/1-of-3/manifest.json")).unwrap();
    let merge = ["build", "merge", "parts", "--out", "again"];
    fails(&merge, here, 1, &["1-of-3", "not finished"]);
}

#[test]
fn a_threshold_changes_the_last_stage_alone() {
    let folder = images(3);
    let here = folder.path();
    succeeds(&ALL, here);
    let journal =
        |stage: &str| fs::read(here.join("state").join(stage).join("0-of-1/journal.jsonl"));
    let before = [
        journal("folder").unwrap(),
        journal("segment-alpha").unwrap(),
    ];
    let stricter = [
        "build",
        "filter",
        "--state",
        "state",
        "--keep-alike",
        "--min-area",
        "0.3",
    ];
    let text = succeeds(&[&stricter[..], &["--out", "stricter"]].concat(), here);
    assert!(text.contains("9 images came"), "{text}");
    let kept = cutouts(&here.join("stricter")).len();
    assert!(kept > 0 && kept < 9, "{kept}");
    assert_eq!(
        before,
        [
            journal("folder").unwrap(),
            journal("segment-alpha").unwrap()
        ]
    );
    // Other thresholds are another bank: one that is there is not silently replaced.
    let same_folder = [&stricter[..], &["--out", "bank"]].concat();
    fails(&same_folder, here, 1, &["min_area", "--force"]);
    succeeds(&[&same_folder[..], &["--force"]].concat(), here);
    assert_eq!(cutouts(&here.join("bank")).len(), kept);
}

#[test]
fn two_workers_on_one_part_are_refused() {
    let folder = images(2);
    let here = folder.path();
    let input = ["build", "folder", "--state", "s", "--input", "images"];
    let state = here.join("s");
    let log: Log<serde_json::Value> =
        Log::open(&state, "folder", Shard::WHOLE, &BTreeMap::new(), false).unwrap();
    let holder = format!("process {}", std::process::id());
    fails(&input, here, 1, &["being worked on by", &holder]);
    let status = succeeds(&["build", "status", "--state", "s"], here);
    assert!(status.contains(&holder), "{status}");
    drop(log);
    // Nor two on one bank.
    let report = here.join("bank-report");
    fs::create_dir_all(&report).unwrap();
    let lock = fs::File::create(report.join("lock")).unwrap();
    lock.lock().unwrap();
    fails(
        &ALL,
        here,
        1,
        &["bank-report", "being worked on by another process"],
    );
    drop(lock);
    // What the other one has begun has other settings.
    fails(&input, here, 1, &["`input` was not set", "--restart"]);
    // Parts of different wholes are refused before they do anything twice.
    let part = [&input[..], &["--shard", "0/2"]].concat();
    fails(&part, here, 1, &["mixed", "N-of-2"]);
    succeeds(&[&input[..], &["--restart"]].concat(), here);
}

#[test]
fn masks_of_a_folder_by_themselves() {
    let folder = images(2);
    let here = folder.path();
    let flags = [
        "build",
        "segment",
        "--model",
        "alpha",
        "--input",
        "images/cup",
        "--output",
        "m",
    ];
    succeeds(&flags, here);
    for number in 0..2 {
        let mask = image::open(here.join(format!("m/{number:03}.png"))).unwrap();
        let expected = picture(number);
        assert_eq!(mask.color(), image::ColorType::L8);
        let alphas: Vec<u8> = expected.pixels().map(|pixel| pixel.0[3]).collect();
        assert_eq!(mask.into_luma8().into_raw(), alphas);
    }
    fs::copy(
        here.join("images/cup/000.png"),
        here.join("images/cup/000.webp"),
    )
    .unwrap();
    fails(&flags, here, 1, &["000.png", "000.webp", "same mask file"]);
    fs::remove_file(here.join("images/cup/000.webp")).unwrap();
    let opaque = image::RgbImage::new(8, 8);
    opaque.save(here.join("images/cup/opaque.png")).unwrap();
    fails(&flags, here, 1, &["1 of 3 images have no mask"]);
}

#[test]
fn wrong_use_is_told_before_any_work() {
    let folder = images(1);
    let here = folder.path();
    let b = |rest: &[&'static str]| [&["build"][..], rest].concat();
    fails(
        &b(&["folder", "--state", "s"]),
        here,
        2,
        &["--input", "--list"],
    );
    fails(
        &b(&["folder", "--state", "s", "--input", "none"]),
        here,
        1,
        &["none"],
    );
    fails(
        &b(&["folder", "--state", "s", "--input", "images/cup"]),
        here,
        1,
        &["no folders"],
    );
    fails(
        &b(&["folder", "--state", "s", "--list", "l.csv"]),
        here,
        2,
        &["--categories"],
    );
    fails(
        &b(&["segment", "--model", "alpha", "--state", "s"]),
        here,
        1,
        &["build folder"],
    );
    fails(&b(&["segment", "--model", "alpha"]), here, 2, &["--state"]);
    fails(
        &b(&[
            "folder", "--state", "s", "--input", "images", "--shard", "3/3",
        ]),
        here,
        2,
        &["I/N"],
    );
    succeeds(&b(&["folder", "--state", "s", "--input", "images"]), here);
    fails(
        &b(&["segment", "--state", "s", "--model", "rmbg"]),
        here,
        2,
        &["\"rmbg\"", "u2netp", "sam-vit-b"],
    );
    let missing = b(&["segment", "--state", "s", "--model", "u2netp"]);
    fails(
        &missing,
        here,
        2,
        &["--weights", "u2netp.pth", "github.com/xuebinqin"],
    );
    let empty = [&missing[..], &["--weights", "images"]].concat();
    fails(&empty, here, 1, &["u2netp", "images", "u2netp.pth"]);
    let wrong = [&missing[..], &["--weights", "images/cup/000.png"]].concat();
    fails(&wrong, here, 1, &["000.png"]);
    fails(
        &b(&["filter", "--state", "s", "--out", "o", "--min-area", "2"]),
        here,
        2,
        &["min_area", "2"],
    );
    fails(
        &b(&[
            "score",
            "--state",
            "s",
            "--model",
            "clip-vit-b-32",
            "--weights",
            "w",
        ]),
        here,
        2,
        &["build segment"],
    );
    let sam = b(&["segment", "--state", "s", "--model", "sam-vit-b-centre"]);
    fails(&sam, here, 2, &["--weights", "sam_vit_b_01ec64.pth"]);
    fails(
        &b(&["segment", "--state", "s", "--model", "u2netp-centre"]),
        here,
        2,
        &["u2netp-centre"],
    );
    let mistyped = [&missing[..], &["--weights", "weights/u2netp.pth"]].concat();
    fails(&mistyped, here, 1, &["no file weights/u2netp.pth"]);
    let similar = [
        "filter",
        "--state",
        "s",
        "--out",
        "o",
        "--min-similarity",
        "0.6",
    ];
    succeeds(&b(&["segment", "--state", "s", "--model", "alpha"]), here);
    fails(
        &b(&similar),
        here,
        2,
        &["--min-similarity", "build references"],
    );
    let turbo = [
        "generate",
        "--state",
        "g",
        "--model",
        "sdxl-turbo",
        "--categories",
        "c.txt",
    ];
    fs::write(here.join("c.txt"), "cup\ntray\n").unwrap();
    fails(
        &b(&turbo),
        here,
        1,
        &["forbids commercial use", "--accept-non-commercial"],
    );
    for (text, parts) in [
        ("bank = \"b\"", &["build.toml", "state"][..]),
        (
            "state = \"s\"\nbank = \"b\"\nsegment = []",
            &["[folder]", "[generate]"],
        ),
        (
            "state = \"s\"\nbank = \"b\"\nsegment = []\n[folder]\nimput = \"x\"",
            &["imput"],
        ),
        (
            "state = \"s\"\nbank = \"b\"\n[[segment]]\nmodel = 3\n[folder]\ninput = \"x\"",
            &["model"],
        ),
        (
            "state = \"s\"\nbank = \"b\"\ndevice = \"tpu\"\nsegment = []\n[folder]\ninput = \"x\"",
            &["tpu"],
        ),
    ] {
        fs::write(here.join("build.toml"), text).unwrap();
        let output = pastebank(&ALL, here);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{text}: {error}"
        );
    }
}
