//! `pastebank bench`: everything is measured and told, nothing wrong is, and two runs are compared. The
//! figures mean nothing.

#![cfg(feature = "cli")]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::benchmarks::{RUNS, measure, options, packs};
use pastebank::bench::{
    BenchError, BenchOptions, On, Report, SyntheticOptions, Told, WorkloadReport, run,
    synthetic_packs,
};
use pastebank::compose::{ElementType, Layout, MaskOutput};
use pastebank::pack::Encoding;
use pastebank::plan::Blend;
use serde_json::{Value, json};

#[test]
fn the_report_is_json_with_everything_in_it() {
    let report = measure(&On::Cpu, &options(3)).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let read: Report = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(read, report);
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    let expected = [
        "ceilings",
        "checked",
        "composing",
        "floor",
        "loader",
        "machine",
        "stages",
        "workload",
    ];
    assert_eq!(keys, expected);
    let positive = |value: &Value| assert!(value.as_f64().unwrap() > 0.0, "{value}");
    for name in ["copy_one_thread", "copy_all_threads"] {
        let ceiling = &json["ceilings"][name];
        assert_eq!(ceiling["unit"], "GB/s");
        assert_eq!(ceiling["runs"], RUNS);
        for key in ["median", "least", "greatest"] {
            positive(&ceiling[key]);
        }
    }
    let floor = &json["floor"];
    assert_eq!(floor["image"], 70.0 * 40.0 * 3.0 * 2.0);
    for part in ["masks", "texels", "mask_bits"] {
        positive(&floor[part]);
    }
    assert!(json["machine"]["simd"].is_string());
    loader_is_told(&json["loader"]);
    let composing = &json["composing"];
    assert_eq!(composing["threads"], 2);
    positive(&composing["scaling"]);
    positive(&composing["one_thread"]["images_per_second"]["median"]);
}

fn loader_is_told(loader: &Value) {
    let positive = |value: &Value| assert!(value.as_f64().unwrap() > 0.0, "{value}");
    for key in [
        "images_per_second",
        "images_per_second_per_core",
        "percent_of_composing",
        "percent_of_composing_times_cores",
        "percent_of_ceiling",
    ] {
        positive(&loader[key]);
    }
    assert_eq!(loader["images_per_second"], loader["spread"]["median"]);
    positive(&loader["first_batch_seconds"]["median"]);
    positive(&loader["headspace"]["images_per_second"]["median"]);
    for wait in [
        "training_loop_for_batches",
        "workers_for_work",
        "assembling",
    ] {
        let share = loader["waits"][wait]["share"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{wait}: {share}");
    }
    assert!(loader["waits"].get("slots_of_the_device").is_none());
}

#[test]
fn stages_are_named_and_add_up() {
    let report = measure(&On::Cpu, &options(3)).unwrap();
    let names: Vec<_> = report.stages.iter().map(|it| it.name.as_str()).collect();
    let expected = [
        "plan", "gather", "decode", "weights", "compose", "visible", "settle", "convert",
    ];
    assert_eq!(names, expected);
    for stage in &report.stages {
        assert_eq!(stage.microseconds_per_image.runs, RUNS, "{stage:?}");
        // Of two batches of two, the ones that were drawn may be all raw.
        let may_be_none = stage.name == "decode";
        let is_there = stage.microseconds_per_image.median > 0.0 && stage.bytes_per_image > 0.0;
        assert!(is_there || may_be_none, "{stage:?}");
    }
    let shares = |report: &Report| -> f64 {
        let composing = report.stages[2..].iter();
        composing.map(|stage| stage.share).sum()
    };
    assert!(shares(&report) > 0.0);
    // Of one run the median is that run, and its parts are no more than the whole.
    let mut once = options(3);
    (once.effort.least_runs, once.effort.most_runs) = (1, 1);
    let report_of_one = measure(&On::Cpu, &once).unwrap();
    let sum = shares(&report_of_one);
    assert!(0.0 < sum && sum <= 1.0 + 1e-9, "{sum}");
    let whats: Vec<_> = report.checked.batches.iter().map(|it| &it.what).collect();
    let expected = [
        "composing on one thread",
        "composing on all threads",
        "the loader",
    ];
    assert_eq!(whats, expected);
    assert!(report.checked.batches.iter().all(|it| it.samples == 2));
}

#[test]
fn the_workload_is_named_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = SyntheticOptions {
        scenes: 3,
        scene_size: [96, 64],
        instances: 2,
        encoding: Encoding::Jpeg,
    };
    let packs = synthetic_packs(folder.path(), &drawn, &|| true).unwrap();
    let mut options = BenchOptions {
        blend: Blend::Box { radius: 3 },
        prefetch: Some(5),
        ..options(4)
    };
    options.output.element = ElementType::U8;
    options.output.layout = Layout::Hwc;
    options.output.masks = MaskOutput::Rle;
    let workload = WorkloadReport::of(&packs, &On::Cpu, &options);
    let json = serde_json::to_value(&workload).unwrap();
    for (key, expected) in [
        ("device", json!("cpu")),
        ("canvas", json!([70, 40])),
        ("batch", json!(2)),
        ("layers", json!(4)),
        ("layer_side", json!(20)),
        ("layer_sides", json!([10, 30])),
        ("blend", json!({"box": {"radius": 3}})),
        ("element", json!("u8")),
        ("layout", json!("hwc")),
        ("masks", json!("rle")),
        ("threads", json!(2)),
        ("prefetch", json!(5)),
        ("scenes", json!(3)),
        ("scene_size", json!([96.0, 64.0])),
        ("jpeg_scenes", json!(3)),
        ("instances_per_scene", json!(2.0)),
        ("cutouts", json!(6)),
    ] {
        assert_eq!(json[key], expected, "{key}");
    }
    let report = run(&packs, &On::Cpu, &options, &|| true, &mut |_| ()).unwrap();
    assert_eq!(report.workload, workload);
    // Run lengths are a few bytes; files are read instead of their pixels.
    assert_eq!((report.floor.image, report.floor.masks), (8400.0, 0.0));
    let decode = report.stages.iter().find(|it| it.name == "decode").unwrap();
    assert!(decode.bytes_per_image > 96.0 * 64.0 * 3.0, "{decode:?}");
    assert!(decode.share > 0.0, "{decode:?}");
}

#[test]
fn a_stop_is_heard_wherever_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let packs = packs(folder.path());
    let stop_after = |asked: usize| {
        let left = AtomicUsize::new(asked);
        let goes_on = || {
            let left =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
            left.is_ok()
        };
        run(&packs, &On::Cpu, &options(3), &goes_on, &mut |_| ())
    };
    // Two ceilings, stages, composing, first batch, loader, headspace; each once more to warm up.
    let all = 7 * (1 + RUNS);
    for asked in 0..all {
        let stopped = stop_after(asked);
        assert!(matches!(stopped, Err(BenchError::Stopped)), "{asked}");
    }
    assert!(stop_after(all).is_ok());
}

/// Pixels that change under the benchmark, as those of a file that is written to would.
#[test]
fn a_wrong_result_on_the_cpu_gives_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = SyntheticOptions {
        scenes: 2,
        scene_size: [96, 64],
        ..SyntheticOptions::default()
    };
    let packs = synthetic_packs(folder.path(), &drawn, &|| true).unwrap();
    for (section, expected) in [
        (
            "composing on one thread, stage by stage",
            "composing on one thread",
        ),
        ("composing on all threads", "composing on all threads"),
    ] {
        let mut tell = |it: Told<'_>| {
            if matches!(it, Told::Begins(what) if what == section) {
                spoil(&folder.path().join("scenes"));
            }
        };
        let error = run(&packs, &On::Cpu, &options(1), &|| true, &mut tell).unwrap_err();
        let BenchError::Wrong { what, problem } = &error else {
            panic!("{error}");
        };
        assert_eq!(*what, expected);
        assert!(problem.contains("image of sample 0"), "{problem}");
        assert!(error.to_string().contains("no figure is told"), "{error}");
    }
}

/// Turns every bit of each shard's pixels.
fn spoil(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|name| name != "safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let (header, tensors) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let pixels = tensors.info("pixels").unwrap().data_offsets;
        // The header's length, of 8 bytes, comes before it.
        let [from, to] = [pixels.0, pixels.1].map(|offset| 8 + header + offset);
        let turned: Vec<u8> = bytes[from..to].iter().map(|byte| !byte).collect();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&turned, from as u64).unwrap();
    }
}

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pastebank"));
    command.arg("bench").args(arguments).current_dir(folder);
    command
}

fn pastebank(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().unwrap()
}

fn texts(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned())
}

const SMALL: &[&str] = &[
    "--scenes",
    "scenes",
    "--bank",
    "bank",
    "--threads",
    "2",
    "--canvas",
    "60x50",
    "--batch",
    "3",
    "--layers",
    "2",
    "--device",
    "cpu",
];
const BRIEFLY: &[&str] = &["--quick", "--seconds", "0.01"];

#[test]
fn the_command_prints_a_table_writes_json_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    packs(folder.path());
    let json = ["--json", "bench.json"];
    let output = pastebank(&[SMALL, BRIEFLY, &json].concat(), folder.path());
    let [text, errors] = texts(&output);
    assert!(output.status.success(), "{errors}");
    let rows = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    for words in [
        "machine   ",
        "60x50, batch 3, 2 layers of 75 to 225 px (mean 150), blend gaussian:2",
        "6 scenes of",
        "memory copy, one thread",
        "floor: ",
        "  gather  ",
        "  all 2 threads  ",
        "headspace: composing free",
        "waits: training loop for batches",
        "held up   by ",
        "equal to the bit",
    ] {
        assert_eq!(rows(words), 1, "{words}: {text}");
    }
    let json = std::fs::read(folder.path().join("bench.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["workload"]["threads"], 2);
    // A baseline that was a thousand times as fast, one that was as slow, one of another machine.
    for (times, cpu, code, part) in [
        (1000.0, None, 1, "SLOWER"),
        (0.001, None, 0, "faster"),
        (
            1000.0,
            Some("abacus"),
            0,
            "another machine: `cpu` was \"abacus\"",
        ),
    ] {
        let mut doctored = json.clone();
        scale(&mut doctored["loader"]["spread"], times);
        if let Some(cpu) = cpu {
            doctored["machine"]["cpu"] = json!(cpu);
        }
        std::fs::write(folder.path().join("earlier.json"), doctored.to_string()).unwrap();
        // What the machine does meanwhile is not the test's.
        let how = ["--baseline", "earlier.json", "--tolerance", "99"];
        let output = pastebank(&[SMALL, BRIEFLY, &how].concat(), folder.path());
        let [text, errors] = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{text}{errors}");
        assert!(text.contains(part), "{text}");
        let row = text.lines().find(|line| line.starts_with("  loader "));
        let expected = if times > 1.0 { "SLOWER" } else { "faster" };
        assert!(row.unwrap().ends_with(expected), "{text}");
        assert_eq!(errors.contains("slower than earlier.json"), code == 1);
    }
}

/// A spread so many times as large.
fn scale(spread: &mut Value, times: f64) {
    let scaled = |value: &Value| json!(value.as_f64().unwrap() * times);
    for key in ["median", "least", "greatest"] {
        spread[key] = scaled(&spread[key]);
    }
    let ends = spread["interval"].as_array().unwrap();
    spread["interval"] = ends.iter().map(scaled).collect();
}

#[test]
fn a_baseline_that_cannot_be_compared_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let report = measure(&On::Cpu, &options(3)).unwrap();
    packs(folder.path());
    let json = serde_json::to_value(&report).unwrap();
    let mut without = json.clone();
    without["loader"].as_object_mut().unwrap().remove("spread");
    let mut wrong = json.clone();
    wrong["stages"][4]["share"] = json!("much");
    for (text, part) in [
        // That report was of 70x40 and batches of 2.
        (json.to_string(), "`batch` was 2 and is 3"),
        (json.to_string(), "`canvas` was [70,40] and is [60,50]"),
        (without.to_string(), "`loader`: missing field `spread`"),
        (wrong.to_string(), "`stages[4].share`: invalid type"),
        ("{\"machine\": ".to_owned(), "earlier.json is no report"),
    ] {
        std::fs::write(folder.path().join("earlier.json"), text).unwrap();
        let output = pastebank(
            &[SMALL, &["--baseline", "earlier.json"]].concat(),
            folder.path(),
        );
        let [text, errors] = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(part), "{errors}");
        assert_eq!(text, "", "nothing was measured");
    }
    let output = pastebank(
        &[SMALL, &["--baseline", "none.json"]].concat(),
        folder.path(),
    );
    let [_, errors] = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("cannot read none.json"), "{errors}");
}

#[test]
fn a_synthetic_set_is_as_large_as_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--synthetic-scenes=2",
        "--scene-size=64x48",
        "--instances=1",
        "--encoding=jpeg",
        "--canvas=40x30",
        "--batch=1",
        "--layers=2",
        "--layer-side=10",
        "--blend=box:2",
        "--element=u8",
        "--layout=hwc",
        "--masks=none",
        "--prefetch=3",
        "--threads=1",
        "--simd=baseline",
        "--device=cpu",
        "--quick",
        "--seconds=0.01",
        "--json=bench.json",
    ];
    let output = pastebank(&flags, folder.path());
    let [text, errors] = texts(&output);
    assert!(output.status.success(), "{errors}");
    // Lines end where the table does.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "2 scenes of 64x48 (JPEG, 1 instances each), at 1 to 1.625 times the canvas's width; \
                    2 cutouts";
    assert!(words.contains(expected), "{text}");
    assert!(text.contains("u8 HWC, no masks; on cpu with 1 threads, prefetch 3"));
    let report = Report::read(&folder.path().join("bench.json")).unwrap();
    assert_eq!(report.machine.simd, "baseline");
    assert_eq!(report.workload.blend, Blend::Box { radius: 2 });
    assert_eq!(report.workload.layer_sides, [5, 15]);
    assert_eq!((report.floor.image, report.floor.masks), (3600.0, 0.0));
}

#[test]
fn an_interrupted_benchmark_leaves_no_report() {
    let folder = tempfile::tempdir().unwrap();
    packs(folder.path());
    let flags = [SMALL, &["--seconds", "600", "--json", "bench.json"]].concat();
    let mut child = command(&flags, folder.path());
    let mut child = child
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line == "copying memory …"));
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let last = lines.last().unwrap_or_default();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(last, "error: stopped; no unfinished file is left behind");
    assert!(!folder.path().join("bench.json").exists());
}

#[test]
fn wrong_usage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = ["--scenes", "a", "--bank", "b"];
    for (arguments, part) in [
        (
            &["--synthetic", "--scenes", "a", "--bank", "b"][..],
            "--scenes",
        ),
        (&["--scenes", "a"], "--bank"),
        (&["--canvas", "0x7"], "WIDTHxHEIGHT"),
        (&["--canvas", "8x8", "9x9"], "9x9"),
        (&["--batch", "0"], "1..=4096"),
        (&["--seconds", "0"], "above 0"),
        (&["--device", "gpu"], "cuda:N"),
        (&["--blend", "gaussian:20"], "0.1..=10"),
        (&["--element", "f64"], "u8, f16, bf16, f32"),
        (&["--layout", "nchw"], "chw, hwc"),
        (&["--masks", "png"], "bits, rle, none"),
        (&["--simd", "mmx"], "this machine has baseline"),
        (&["--scene-size", "8x8"], "16..=8192"),
        (&["--encoding", "png"], "raw, jpeg"),
        (&["--layer-side", "0"], "1..=8192"),
        (&["--tolerance", "3"], "--baseline"),
        (&["--baseline", "a", "--tolerance=-1"], "--tolerance"),
        (
            &["--cutout-cache", "some", "--device", "cuda"],
            "such as 4G",
        ),
        (
            &["--cutout-cache", "1G", "--device", "cpu"],
            "--cutout-cache: it is memory of a GPU",
        ),
        (
            &["--layers", "0", "--blend", "hard", "--device", "cpu"],
            "--blend: it is about layers",
        ),
        (&[&own[..], &["--instances", "3"]].concat(), "--instances: "),
        (&[&own[..], &["--encoding", "raw"]].concat(), "--encoding: "),
    ] {
        let output = pastebank(arguments, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}
