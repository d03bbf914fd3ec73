//! `pastebank bench` as a library: everything is measured, nothing wrong is. The kernels run on the
//! CPU here, so the figures mean nothing.

#![cfg(all(feature = "cli", feature = "cuda"))]

mod common;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Output};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::host_driver::{HostDriver, Settings, kernels};
use common::packs::{write_bank, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::bench::{
    BenchError, BenchOptions, Effort, Measurement, On, Packs, Report, Told, run,
};
use pastebank::cuda::driver::{Driver, DriverError, Kernel, MemoryInfo, RawEvent, RawStream};
use pastebank::cuda::layout::BatchParameters;
use pastebank::cuda::memory::Gpu;

const RUNS: usize = 2;

fn packs(folder: &tempfile::TempDir) -> Packs {
    let mut draw = ChaCha8Rng::seed_from_u64(11);
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
    write_scenes(&scenes, &mut draw, 6, 1);
    write_bank(&bank, &mut draw, 9, 1);
    Packs {
        name: "random pictures".to_owned(),
        scenes: Arc::new(ScenePack::open(&scenes).unwrap()),
        bank: Arc::new(CutoutBank::open(&bank).unwrap()),
    }
}

/// Two cases of a few pixels.
fn options() -> BenchOptions {
    BenchOptions {
        canvases: vec![[70, 40]],
        batches: vec![2],
        layers: vec![0, 3],
        threads: NonZero::new(2),
        effort: Effort {
            runs: RUNS,
            time: Duration::from_secs(600),
            loader_run: Duration::from_millis(1),
            copied_bytes: 1 << 16,
        },
    }
}

fn measure(on: &On) -> Result<Report, BenchError> {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let mut tell = |it: Told<'_>| {
        told.push(match it {
            Told::Head(..) => "head".to_owned(),
            Told::Ceiling(ceiling) => ceiling.row(),
            Told::Begins(case) => case.to_string(),
            Told::Measured(report) => report.case.row(&report.measurements[0]),
        });
    };
    let report = run(&packs(&folder), on, &options(), &|| true, &mut tell)?;
    assert_eq!(
        told.len(),
        1 + report.ceilings.len() + 2 * report.cases.len()
    );
    Ok(report)
}

fn on(driver: impl Driver + 'static) -> On {
    On::Gpu {
        gpu: Gpu::new(Arc::new(driver)),
        opened_in: Duration::from_millis(250),
    }
}

fn host() -> HostDriver {
    HostDriver::new(Settings::default())
}

fn names(measurements: &[Measurement]) -> BTreeSet<&str> {
    measurements.iter().map(|measured| measured.what).collect()
}

fn find<'a>(measurements: &'a [Measurement], what: &str) -> &'a Measurement {
    let found = measurements.iter().find(|measured| measured.what == what);
    found.unwrap_or_else(|| panic!("no {what} in {:?}", names(measurements)))
}

#[test]
fn a_gpu_is_measured_beside_the_cpu() {
    if !kernels("the benchmark on a GPU") {
        return;
    }
    let report = measure(&on(host())).unwrap();
    let ceilings = [
        "CPU copy bandwidth",
        "GPU copy bandwidth",
        "link to the GPU, pinned",
    ];
    assert_eq!(names(&report.ceilings), BTreeSet::from(ceilings));
    assert_eq!(report.machine.gpu.as_deref(), Some("the host as a device"));
    assert!(report.machine.to_string().contains("opened in 0.25 s"));
    let [bare, layered] = &report.cases[..] else {
        panic!("{} cases", report.cases.len());
    };
    let always = [
        "GPU composing, resident",
        "cover",
        "compose",
        "visible",
        "settle",
        "compact",
        "masks",
        "GPU first batch",
        "GPU loader, cold cutouts",
        "CPU composing",
        "GPU composing / CPU composing",
    ];
    for what in always
        .into_iter()
        .chain(["blur", "GPU loader, cached cutouts"])
    {
        let measured = find(&layered.measurements, what);
        assert!(measured.spread.median > 0.0, "{measured}");
        assert!(
            measured.spread.least <= measured.spread.greatest,
            "{measured}"
        );
    }
    for what in always.iter().filter(|&&what| what != "cover") {
        find(&bare.measurements, what);
    }
    let shares = layered.measurements.iter().filter_map(|it| it.share);
    let kernels: f64 = shares
        .filter(|share| share.of == "all by themselves")
        .map(|share| share.percent)
        .sum();
    assert!(kernels > 0.0, "{kernels}");
    // The bank is small enough to be seen whole, all but for what comes late.
    let cached = find(&layered.measurements, "GPU loader, cached cutouts");
    assert!(cached.hit_rate.unwrap() > 0.5, "{cached}");
    let cold = find(&layered.measurements, "GPU loader, cold cutouts");
    assert!(cold.gigabytes_per_second.unwrap() > 0.0 && cold.hit_rate.is_none());
    assert!(cold.share.unwrap().of == "link");
}

#[test]
fn the_report_is_json_with_everything_in_it() {
    let report = measure(&On::Cpu).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cases"][1]["canvas"], serde_json::json!([70, 40]));
    assert_eq!(json["cases"][1]["layers"], 3);
    assert_eq!(json["workload"]["packs"], "random pictures");
    assert_eq!(json["ceilings"][0]["what"], "CPU copy bandwidth");
    let floor = &json["cases"][1]["floor"];
    assert_eq!(floor["image"], 70.0 * 40.0 * 3.0 * 2.0);
    for part in ["masks", "texels", "mask_bits"] {
        assert!(floor[part].as_f64().unwrap() > 0.0, "{floor}");
    }
    for what in ["CPU composing", "CPU loader", "CPU first batch"] {
        let measurements = json["cases"][1]["measurements"].as_array().unwrap();
        let measured = measurements.iter().find(|it| it["what"] == what).unwrap();
        assert_eq!(measured["spread"]["runs"], RUNS);
        assert!(measured["spread"]["median"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_stop_is_heard_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let asked = AtomicUsize::new(0);
    let goes_on = || asked.fetch_add(1, Ordering::Relaxed) < 9;
    let stopped = run(&packs(&folder), &On::Cpu, &options(), &goes_on, &mut |_| ());
    assert!(matches!(stopped, Err(BenchError::Stopped)));
}

fn pastebank(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pastebank"))
        .arg("bench")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn the_command_prints_a_table_and_writes_json() {
    let folder = tempfile::tempdir().unwrap();
    packs(&folder);
    let packs = ["--scenes", "scenes", "--bank", "bank", "--threads", "2"];
    let case = ["--canvas", "60x50", "--batch", "3", "--layers", "0", "2"];
    let how = [
        "--quick",
        "--seconds",
        "0.01",
        "--json",
        "bench.json",
        "--device",
        "auto",
    ];
    let output = pastebank(&[&packs[..], &case, &how].concat(), folder.path());
    let [text, errors] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{errors}");
    let rows = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        rows("60x50            3      0  "),
        rows("60x50            3      2  ")
    );
    assert_eq!(
        (
            rows("machine   "),
            rows("6 scenes of"),
            rows("CPU composing  ")
        ),
        (1, 1, 2)
    );
    // A machine without a GPU says so; one with a GPU measures it.
    let is_gpu = text.contains("GPU composing, resident");
    assert!(
        is_gpu || errors.contains("composing on the CPU: "),
        "{errors}"
    );
    let json = std::fs::read(folder.path().join("bench.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["workload"]["threads"], 2);
    assert_eq!(json["cases"].as_array().unwrap().len(), 2);
}

#[test]
fn wrong_usage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (
            &["--synthetic", "--scenes", "a", "--bank", "b"][..],
            "--scenes",
        ),
        (&["--scenes", "a"], "--bank"),
        (&["--canvas", "0x7"], "WIDTHxHEIGHT"),
        (&["--batch", "0"], "1..=4096"),
        (&["--seconds", "0"], "above 0"),
        (&["--device", "gpu"], "cuda:N"),
    ] {
        let output = pastebank(arguments, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}

/// A result that is wrong from the start, and one that becomes wrong once the loader runs.
#[test]
fn a_wrong_result_gives_no_figure() {
    if !kernels("wrong results in the benchmark") {
        return;
    }
    let replays = 2 * (1 + RUNS);
    for (right, expected) in [
        (0, "GPU composing, resident"),
        (1, "GPU composing, resident"),
        (1 + replays, "GPU loader, cold cutouts"),
    ] {
        let driver = Wrong {
            driver: host(),
            composed: AtomicUsize::new(0),
            right,
        };
        let error = measure(&on(driver)).unwrap_err();
        let BenchError::Wrong { what, problem, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*what, expected, "{problem}");
        assert!(problem.contains("image of sample 0"), "{problem}");
    }
}

/// A driver whose images are wrong in one pixel after the first `right` ones.
#[derive(Debug)]
struct Wrong {
    driver: HostDriver,
    composed: AtomicUsize,
    right: usize,
}

// SAFETY: pinned memory is a block of the host's, filled when it is made and kept until it is freed.
unsafe impl Driver for Wrong {
    unsafe fn launch(
        &self,
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promises are handed on.
        unsafe {
            self.driver
                .launch(stream, kernel, blocks, threads, parameters)?
        };
        if kernel != Kernel::Compose || self.composed.fetch_add(1, Ordering::Relaxed) < self.right {
            return Ok(());
        }
        let parameters: BatchParameters = bytemuck::pod_read_unaligned(parameters);
        // SAFETY: the image is longer than a pixel.
        unsafe { self.driver.clear(stream, parameters.image, 2) }
    }

    fn name(&self) -> String {
        self.driver.name()
    }
    fn ordinal(&self) -> usize {
        self.driver.ordinal()
    }
    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        self.driver.memory()
    }
    fn allocate_device(&self, bytes: usize) -> Result<u64, DriverError> {
        self.driver.allocate_device(bytes)
    }
    fn free_device(&self, address: u64) {
        self.driver.free_device(address);
    }
    fn allocate_pinned(&self, bytes: usize, combined: bool) -> Result<NonNull<u8>, DriverError> {
        self.driver.allocate_pinned(bytes, combined)
    }
    fn free_pinned(&self, pointer: NonNull<u8>) {
        self.driver.free_pinned(pointer);
    }
    fn create_stream(&self) -> Result<RawStream, DriverError> {
        self.driver.create_stream()
    }
    fn destroy_stream(&self, stream: RawStream) {
        self.driver.destroy_stream(stream);
    }
    fn create_event(&self, timing: bool) -> Result<RawEvent, DriverError> {
        self.driver.create_event(timing)
    }
    fn destroy_event(&self, event: RawEvent) {
        self.driver.destroy_event(event);
    }
    fn record(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        self.driver.record(event, stream)
    }
    fn wait(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        self.driver.wait(stream, event)
    }
    fn is_done(&self, event: RawEvent) -> Result<bool, DriverError> {
        self.driver.is_done(event)
    }
    fn synchronize(&self, event: RawEvent) -> Result<(), DriverError> {
        self.driver.synchronize(event)
    }
    fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError> {
        self.driver.elapsed_ms(from, to)
    }
    unsafe fn copy_to_device(
        &self,
        stream: RawStream,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.driver.copy_to_device(stream, to, from, bytes) }
    }
    unsafe fn copy_to_host(
        &self,
        stream: RawStream,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.driver.copy_to_host(stream, to, from, bytes) }
    }
    unsafe fn copy_on_device(
        &self,
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.driver.copy_on_device(stream, to, from, bytes) }
    }
    unsafe fn clear(
        &self,
        stream: RawStream,
        address: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promises are handed on.
        unsafe { self.driver.clear(stream, address, bytes) }
    }
}
