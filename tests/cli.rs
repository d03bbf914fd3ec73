//! The binary as a user meets it: what it prints, what it exits with, what it leaves behind.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

fn pastebank(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let output = pastebank(arguments, folder);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

/// Checks the exit code and that the message holds all `parts`.
#[track_caller]
fn fails(arguments: &[&str], folder: &Path, code: i32, parts: &[&str]) {
    let output = pastebank(arguments, folder);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// A folder in which the demo has run on a small canvas.
fn demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "demo",
        "--canvas",
        "256x192",
        "--batches",
        "2",
        "--batch-size",
        "4",
    ];
    let text = succeeds(&flags, folder.path());
    for part in ["48 images", "images/s", "sheet.png", "next "] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    folder
}

const PACKS: [&str; 4] = ["--scenes", "demo/scenes", "--bank", "demo/bank"];

fn with_packs<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [command, &PACKS, more].concat()
}

#[test]
fn the_whole_way_from_the_demo_to_rendered_pictures() {
    let folder = demo();
    let here = folder.path();
    assert!(image::open(here.join("demo/sheet.png")).unwrap().width() > 1000);
    // A second run finds its packs and changes nothing.
    let again = succeeds(&["demo", "--canvas", "256x192", "--batches", "1"], here);
    assert!(again.contains("packed already"), "{again}");
    let plan_flags = ["--canvas", "200x150", "--count", "5", "--seed", "3"];
    let printed = succeeds(&with_packs(&["plan"], &plan_flags), here);
    let plan: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(plan["samples"].as_array().unwrap().len(), 5);
    // A sample is the same whether it is drawn in a row or by itself.
    let alone = [
        &plan_flags[..2],
        &["--first", "3", "--count", "1", "--seed", "3"],
    ]
    .concat();
    let alone: Value =
        serde_json::from_str(&succeeds(&with_packs(&["plan"], &alone), here)).unwrap();
    assert_eq!(alone["samples"][0], plan["samples"][3]);
    fs::write(here.join("plan.json"), &printed).unwrap();
    for (threads, out) in [("1", "one"), ("3", "three")] {
        let flags = [
            "--plan",
            "plan.json",
            "--out",
            out,
            "--threads",
            threads,
            "--sheet",
            "s.png",
        ];
        succeeds(&with_packs(&["render"], &flags), here);
    }
    for name in ["0.png", "4.png", "annotations.json"] {
        let read = |out: &str| fs::read(here.join(out).join(name)).unwrap();
        assert_eq!(read("one"), read("three"), "{name}");
    }
    assert!(here.join("s.png").exists());
}

#[cfg(feature = "cuda")]
#[test]
fn without_a_gpu_cuda_fails_and_auto_says_that_it_is_on_the_cpu() {
    if pastebank::cuda::device_count() > 0 {
        println!("not run: this machine has a GPU");
        return;
    }
    let folder = demo();
    let here = folder.path();
    let with_device = |device| {
        let flags = [
            "--plan",
            "demo/plan.json",
            "--out",
            "out",
            "--device",
            device,
        ];
        with_packs(&["render"], &flags)
    };
    let driver_or_device = "CUDA d";
    for device in ["cuda", "cuda:1"] {
        let parts = ["--device cuda:", driver_or_device];
        fails(&with_device(device), here, 1, &parts);
    }
    assert!(
        !here.join("out").exists(),
        "a folder was made without a device"
    );
    let auto = pastebank(&with_device("auto"), here);
    let said = stderr(&auto);
    assert!(auto.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("composing on the CPU: ") && said.contains(driver_or_device),
        "{said}"
    );
    fs::rename(here.join("out"), here.join("by auto")).unwrap();
    let cpu = pastebank(&with_device("cpu"), here);
    assert_eq!(stderr(&cpu), "");
    for name in ["0.png", "annotations.json"] {
        let read = |out: &str| fs::read(here.join(out).join(name)).unwrap();
        assert_eq!(read("out"), read("by auto"), "{name}");
    }
}

#[test]
fn banks_are_shown_verified_merged_and_filtered() {
    let folder = demo();
    let here = folder.path();
    let info = succeeds(&["bank", "info", "demo/bank"], here);
    assert!(info.contains("cutouts") && info.contains("leaf"), "{info}");
    let scenes: Value =
        serde_json::from_str(&succeeds(&["bank", "info", "demo/scenes", "--json"], here)).unwrap();
    assert_eq!(scenes["scenes"], 48);
    succeeds(
        &[
            "bank",
            "show",
            "demo/bank",
            "--out",
            "show.png",
            "--category",
            "fish",
        ],
        here,
    );
    assert!(image::open(here.join("show.png")).is_ok());
    let filter = [
        "bank",
        "filter",
        "demo/bank",
        "--categories",
        "fish,mug",
        "--out",
        "few",
    ];
    assert!(succeeds(&filter, here).contains("cutouts kept"));
    let merged = succeeds(
        &["bank", "merge", "demo/bank", "few", "--out", "both"],
        here,
    );
    assert!(merged.contains("2 shards linked"), "{merged}");
    let again = ["bank", "merge", "demo/bank", "few", "--out", "both"];
    fails(&again, here, 1, &["--force"]);
    succeeds(&[&again[..], &["--force"]].concat(), here);
    for pack in ["demo/bank", "demo/scenes", "few", "both"] {
        assert!(succeeds(&["bank", "verify", pack], here).contains("0 errors"));
    }
    let shard = here.join("few/00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&shard, &bytes).unwrap();
    let output = pastebank(&["bank", "verify", "few"], here);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("XXH3") && text.contains("row"), "{text}");
    fs::write(&shard, &bytes[..middle]).unwrap();
    let parts = ["00000.safetensors", "the manifest says"];
    fails(&["bank", "info", "few"], here, 1, &parts);
}

#[test]
fn wrong_usage_says_what_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fails(&[], here, 2, &["Usage"]);
    fails(&["paste"], here, 2, &["unrecognized subcommand"]);
    fails(&["demo", "--canvas", "0x5"], here, 2, &["WIDTHxHEIGHT"]);
    fails(&["demo", "--batches", "0"], here, 2, &["--batches"]);
    fails(&["demo", "--images", "x"], here, 2, &["--annotations"]);
    fails(&["render", "--plan", "x"], here, 2, &["--scenes"]);
    fails(
        &["pack", "--annotations", "a", "--images", "b"],
        here,
        2,
        &["--scenes"],
    );
    let both = [
        "pack",
        "--annotations",
        "a",
        "--images",
        ".",
        "--scenes",
        "x",
        "--bank",
        "x",
    ];
    fails(&both, here, 2, &["--bank"]);
    let no_images = [
        "pack",
        "--annotations",
        "a",
        "--images",
        "gone",
        "--scenes",
        "x",
    ];
    fails(&no_images, here, 2, &["--images", "gone"]);
    let only = [&no_images[..], &["--scenes-only", "--bank", "y"]].concat();
    fails(&only, here, 2, &["--scenes-only"]);
    for threads in ["0", "1025", "18446744073709551615"] {
        let flags = [&no_images[..], &["--threads", threads]].concat();
        fails(&flags, here, 2, &["--threads", "1..=1024"]);
    }
    let score = [&no_images[..], &["--min-score", "nan"]].concat();
    fails(&score, here, 2, &["a finite number"]);
    for device in ["gpu", "cuda:", "cuda:-1", "CPU"] {
        let flags = ["--plan", "x", "--out", "y", "--device", device];
        let parts = ["--device", "cuda:N"];
        fails(&with_packs(&["render"], &flags), here, 2, &parts);
    }
    assert_eq!(
        fs::read_dir(here).unwrap().count(),
        0,
        "something was written"
    );
}

#[test]
fn failures_say_file_and_reason_and_exit_with_1() {
    let folder = demo();
    let here = folder.path();
    fails(
        &["bank", "info", "gone"],
        here,
        1,
        &["gone holds no manifest.json"],
    );
    fs::create_dir(here.join("empty")).unwrap();
    fails(&["bank", "verify", "empty"], here, 1, &["manifest.json"]);
    let swapped = [
        "plan",
        "--scenes",
        "demo/bank",
        "--bank",
        "demo/scenes",
        "--count",
        "1",
    ];
    fails(&swapped, here, 1, &["`kind`", "scenes were expected"]);
    let plan = json!({"canvas": [64, 64], "samples": [
        {"scene": {"index": 0, "resized": [64, 64], "offset": [0, 0]}, "layers": [
            {"cutout": 0, "resized": [9, 9], "offset": [0, 0]},
            {"cutout": 999_999, "resized": [9, 9], "offset": [0, 0]}]}]});
    fs::write(here.join("plan.json"), plan.to_string()).unwrap();
    let render = with_packs(&["render"], &["--plan", "plan.json", "--out", "out"]);
    let parts = ["plan.json", "sample 0, layer 1, `cutout`", "999999"];
    fails(&render, here, 1, &parts);
    assert!(!here.join("out").exists(), "a wrong plan made a folder");
    fs::write(
        here.join("plan.json"),
        r#"{"canvas": [64, 64], "samples": 3}"#,
    )
    .unwrap();
    fails(&render, here, 1, &["`samples`", "invalid type"]);
    fs::write(
        here.join("plan.json"),
        r#"{"canvas": [64, 64], "samples": []}"#,
    )
    .unwrap();
    fs::create_dir(here.join("out")).unwrap();
    fs::write(here.join("out/notes.txt"), "mine").unwrap();
    fails(&render, here, 1, &["notes.txt", "--force"]);
    fs::write(here.join("out/7.png"), "of an earlier plan").unwrap();
    succeeds(&[&render[..], &["--force"]].concat(), here);
    assert!(!here.join("out/7.png").exists() && here.join("out/notes.txt").exists());
    let category = ["bank", "show", "demo/bank", "--category", "unicorn"];
    fails(&category, here, 2, &["unicorn"]);
    fs::write(here.join("broken.json"), r#"{"images": [}"#).unwrap();
    let pack = [
        "pack",
        "--annotations",
        "broken.json",
        "--images",
        ".",
        "--scenes",
        "s2",
    ];
    fails(&pack, here, 1, &["broken.json", "line 1 column 13"]);
    fs::write(here.join("demo/thesis.doc"), "").unwrap();
    fails(&["demo"], here, 1, &["thesis.doc", "--out"]);
}

#[test]
fn transparent_pictures_are_imported_by_folder() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (category, alpha) in [("cup", 255), ("fork", 200)] {
        fs::create_dir_all(here.join("in").join(category)).unwrap();
        let picture = image::RgbaImage::from_fn(20, 16, |x, y| {
            let inside = (5..12).contains(&x) && (4..10).contains(&y);
            image::Rgba([200, 30, 60, if inside { alpha } else { 0 }])
        });
        picture
            .save(here.join("in").join(category).join("a.png"))
            .unwrap();
    }
    fs::write(here.join("in/cup/b.png"), "no picture").unwrap();
    let import = [
        "import",
        "--input",
        "in",
        "--bank",
        "bank",
        "--report",
        "report.json",
    ];
    let text = succeeds(&import, here);
    assert!(
        text.contains("2 cutouts") && text.contains("undecodable"),
        "{text}"
    );
    let report: Value =
        serde_json::from_slice(&fs::read(here.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["problems"]["undecodable_image"]["count"], 1);
    assert!(succeeds(&["bank", "verify", "bank"], here).contains("0 errors"));
    fs::write(
        here.join("categories.json"),
        r#"[{"id": 7, "name": "cup"}]"#,
    )
    .unwrap();
    let named = [&import[..4], &["other", "--categories", "categories.json"]].concat();
    fails(&named, here, 2, &["fork", "--categories"]);
}

/// A data set whose packing takes a while, and the flags that pack it into `out`.
fn slow_data(folder: &Path) -> PathBuf {
    let images = folder.join("images");
    fs::create_dir(&images).unwrap();
    let picture = image::RgbImage::from_fn(700, 500, |x, y| {
        image::Rgb([(x * y) as u8, (x + y) as u8, (x ^ y) as u8])
    });
    picture.save(images.join("0.png")).unwrap();
    let listed: Vec<Value> = (0..60)
        .map(|id| json!({"id": id, "file_name": "0.png", "width": 700, "height": 500}))
        .collect();
    let annotations: Vec<Value> = (0..60)
        .map(|id| {
            json!({"id": id, "image_id": id, "category_id": 1, "iscrowd": 0,
                "segmentation": [[10, 10, 300, 10, 300, 200, 10, 200]]})
        })
        .collect();
    let data = json!({"images": listed, "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}]});
    fs::write(folder.join("instances.json"), data.to_string()).unwrap();
    images
}

fn pack_flags<'a>(scenes: &'a str, bank: &'a str) -> [&'a str; 13] {
    [
        "pack",
        "--annotations",
        "instances.json",
        "--images",
        "images",
        "--scenes",
        scenes,
        "--bank",
        bank,
        "--shard-bytes",
        "5M",
        "--threads",
        "1",
    ]
}

/// Every file under its final name is whole: shards verify as far as a manifest lists them.
#[cfg(unix)]
#[test]
fn killed_and_interrupted_runs_leave_nothing_half_written_and_continue() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    slow_data(here);
    succeeds(&pack_flags("s", "b"), here);
    for (number, signal) in ["-KILL", "-INT", "-KILL", "-TERM", "-INT"]
        .into_iter()
        .enumerate()
    {
        let (scenes, bank) = (format!("s{number}"), format!("b{number}"));
        let flags = pack_flags(&scenes, &bank);
        let mut process = Command::new(env!("CARGO_BIN_EXE_pastebank"))
            .args(flags)
            .current_dir(here)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 60 * number as u64));
        let id = process.id().to_string();
        Command::new("kill").args([signal, &id]).status().unwrap();
        let status = process.wait().unwrap();
        // No code: the signal came before the process listened, or was a kill.
        if let Some(code) = status.code().filter(|&code| code != 0) {
            assert_eq!(code, 130);
            assert!(!here.join(&scenes).join("manifest.json").exists());
        }
        succeeds(&flags, here);
        for (made, reference) in [(&scenes, "s"), (&bank, "b")] {
            let made = here.join(made);
            let mut names = 0;
            for entry in fs::read_dir(here.join(reference)).unwrap() {
                let name = entry.unwrap().file_name();
                let read = |folder: &Path| fs::read(folder.join(&name)).unwrap();
                assert!(
                    read(&made) == read(&here.join(reference)),
                    "{name:?} after {signal}"
                );
                names += 1;
            }
            assert_eq!(
                fs::read_dir(&made).unwrap().count(),
                names,
                "something is left over"
            );
        }
    }
}

#[test]
fn recipes_are_chosen_changed_explained_and_kept() {
    let folder = demo();
    let here = folder.path();
    let plan = |flags: &[&str]| {
        let fixed = ["--canvas", "128", "--count", "40", "--seed", "5"];
        succeeds(&with_packs(&["plan"], &[&fixed, flags].concat()), here)
    };
    let explain = |flags: &[&str]| {
        let fixed = ["--canvas", "128", "--explain"];
        succeeds(&with_packs(&["plan"], &[&fixed, flags].concat()), here)
    };
    assert_eq!(plan(&[]), plan(&["--recipe", "xpaste"]));
    for name in ["simple-copy-paste", "xpaste", "both", "p:0.5"] {
        let text = explain(&["--recipe", name]);
        let (words, toml) = text.split_once("\n\n").unwrap();
        for part in ["48 scenes", "on average", "epoch       48 samples"] {
            assert!(words.contains(part), "no {part:?} in {words}");
        }
        fs::write(here.join("mine.toml"), toml).unwrap();
        assert_eq!(plan(&["--recipe", "mine.toml"]), plan(&["--recipe", name]));
    }
    let fixed = ["--set", "bank.count=[2, 2]", "--set", "bank.reject_below=0"];
    let printed: Value = serde_json::from_str(&plan(&fixed)).unwrap();
    let samples = printed["samples"].as_array().unwrap();
    assert!(
        samples
            .iter()
            .all(|s| s["layers"].as_array().unwrap().len() <= 2)
    );
    let sequential: Value = serde_json::from_str(&plan(&["--epoch-order", "sequential"])).unwrap();
    for (index, sample) in sequential["samples"].as_array().unwrap().iter().enumerate() {
        assert_eq!(sample["scene"]["index"], index);
    }
    let rare = explain(&["--epoch-order", "repeat-factor:0.9"]);
    assert!(rare.contains("by their repeat factor at 0.9"), "{rare}");
    let refused = |flags: &[&str], code, parts: &[&str]| {
        let fixed = ["--count", "1"];
        fails(
            &with_packs(&["plan"], &[&fixed, flags].concat()),
            here,
            code,
            parts,
        );
    };
    refused(
        &["--set", "bank.cuont=[1,5]"],
        2,
        &["bank.cuont", "unknown field"],
    );
    refused(&["--set", "bank.count=[5,1]"], 2, &["bank.count", "[5, 1]"]);
    refused(
        &["--recipe", "paste"],
        2,
        &["\"paste\"", "simple-copy-paste"],
    );
    refused(&["--epoch-order", "random"], 2, &["repeat-factor"]);
    fs::write(here.join("mine.toml"), "[bank]\ncount = \"many\"\n").unwrap();
    refused(
        &["--recipe", "mine.toml"],
        1,
        &["mine.toml, line 2, `bank.count`", "many"],
    );
    refused(&["--recipe", "none.toml"], 1, &["none.toml"]);
    fails(&with_packs(&["plan"], &[]), here, 2, &["--count"]);
    fails(&["demo", "--recipe", "paste"], here, 2, &["paste"]);
}

#[test]
fn several_packs_and_recipes_are_taken_or_refused() {
    let folder = demo();
    let here = folder.path();
    let plan = |more: &[&str]| -> Value {
        let text = succeeds(&with_packs(&["plan", "--canvas", "99x80"], more), here);
        serde_json::from_str(&text).unwrap()
    };
    // The second bank's rows follow those of the first; with weight 0 none of the first is drawn.
    let both = ["--count", "30", "--bank", "demo/bank", "--recipe", "xpaste"];
    let cutouts = |plan: &Value| -> Vec<u64> {
        let samples = plan["samples"].as_array().unwrap();
        let layers = samples.iter().flat_map(|s| s["layers"].as_array().unwrap());
        layers
            .map(|layer| layer["cutout"].as_u64().unwrap())
            .collect()
    };
    let rows = cutouts(&plan(&["--count", "40"]))
        .into_iter()
        .max()
        .unwrap()
        + 1;
    assert!(
        cutouts(&plan(&both))
            .into_iter()
            .any(|cutout| cutout > rows + 20)
    );
    let synthetic = [
        "--synthetic",
        "demo/scenes",
        "--set",
        "synthetic.probability=1",
    ];
    let scenes = plan(&[&["--count", "12"], &synthetic[..]].concat());
    for sample in scenes["samples"].as_array().unwrap() {
        assert!(sample["scene"]["index"].as_u64().unwrap() >= 48);
    }
    let refused = |more: &[&str], parts: &[&str]| {
        fails(&with_packs(&["plan", "--count", "1"], more), here, 2, parts);
    };
    refused(
        &["--synthetic", "demo/scenes"],
        &["synthetic.probability is 0"],
    );
    refused(
        &["--set", "synthetic.probability=0.5"],
        &["--synthetic DIR was expected"],
    );
    refused(
        &["--first", "18446744073709551615"],
        &["--first", "no such sample"],
    );
    let zero = [
        "plan",
        "--scenes",
        "demo/scenes",
        "--bank",
        "demo/bank=0",
        "--count",
        "1",
    ];
    fails(&zero, here, 2, &["all weights are 0"]);
    let view = with_packs(
        &["view", "--plan", "p.json", "--out", "p.png"],
        &["--recipe", "both"],
    );
    fails(&view, here, 2, &["--recipe"]);
}
