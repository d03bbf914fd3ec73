//! `pastebank bench` on a GPU: everything is measured, nothing wrong is. The kernels run on the CPU
//! here, so the figures mean nothing.

#![cfg(all(feature = "cli", feature = "cuda"))]

mod common;

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::benchmarks::{RUNS, measure, options};
use common::host_driver::{HostDriver, Settings, kernels};
use pastebank::bench::{BenchError, BenchOptions, CutoutCache, Measurement, On};
use pastebank::cuda::driver::{Driver, DriverError, Kernel, MemoryInfo, RawEvent, RawStream};
use pastebank::cuda::layout::BatchParameters;
use pastebank::cuda::memory::Gpu;

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
    let names = measurements.iter().map(|measured| measured.what.as_str());
    names.collect()
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
    let layered = measure(&on(host()), &options(3)).unwrap();
    let ceilings: Vec<_> = layered.ceilings.keys().collect();
    let expected = ["copy_all_threads", "copy_one_thread", "gpu_copy", "link"];
    assert_eq!(ceilings, expected);
    let machine = &layered.machine;
    assert_eq!(machine.gpu.as_deref(), Some("the host as a device"));
    assert!(machine.to_string().contains("opened in 0.25 s"));
    let always = [
        "GPU composing, resident",
        "compose",
        "visible",
        "settle",
        "compact",
        "masks",
        "GPU / CPU composing",
        "GPU first batch",
        "GPU loader, cold cutouts",
    ];
    let layers = ["cover", "blur", "GPU loader, cached cutouts"];
    for what in always.into_iter().chain(layers) {
        let measured = find(&layered.device, what);
        let spread = measured.spread;
        assert!(
            0.0 < spread.median && spread.least <= spread.greatest,
            "{measured:?}"
        );
    }
    let shares = layered.device.iter().filter_map(|it| it.share.as_ref());
    let kernels: f64 = shares
        .filter(|share| share.of == "all by themselves")
        .map(|share| share.percent)
        .sum();
    assert!(kernels > 0.0, "{kernels}");
    // The bank is small enough to be seen whole, all but for what comes late.
    let cached = find(&layered.device, "GPU loader, cached cutouts");
    assert!(cached.hit_rate.unwrap() > 0.5, "{cached:?}");
    let cold = find(&layered.device, "GPU loader, cold cutouts");
    assert!(cold.gigabytes_per_second.unwrap() > 0.0 && cold.hit_rate.is_none());
    assert_eq!(cold.share.as_ref().unwrap().of, "link");
    // The loader is the one that the workload asks for.
    assert_eq!(layered.loader.spread, cached.spread);
    assert!(layered.loader.waits.slots_of_the_device.is_some());

    let uncached = BenchOptions {
        cutout_cache: CutoutCache::Bytes(0),
        ..options(3)
    };
    let uncached = measure(&on(host()), &uncached).unwrap();
    assert!(!names(&uncached.device).contains("GPU loader, cached cutouts"));
    let cold = find(&uncached.device, "GPU loader, cold cutouts");
    assert_eq!(uncached.loader.spread, cold.spread);
    assert_eq!(uncached.workload.cutout_cache_bytes, Some(0));

    let bare = measure(&on(host()), &options(0)).unwrap();
    always.iter().for_each(|what| {
        find(&bare.device, what);
    });
    assert!(!names(&bare.device).contains("GPU loader, cached cutouts"));
}

/// A result that is wrong from the start, and one that becomes wrong once the loader runs.
#[test]
fn a_wrong_result_gives_no_figure() {
    if !kernels("wrong results in the benchmark") {
        return;
    }
    let replays = 2 * (1 + RUNS);
    for (right, expected) in [
        (0, "the GPU's first batch"),
        (1, "GPU composing, resident"),
        (1 + replays, "GPU loader, cold cutouts"),
    ] {
        let driver = Wrong {
            driver: host(),
            composed: AtomicUsize::new(0),
            right,
        };
        let error = measure(&on(driver), &options(3)).unwrap_err();
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
