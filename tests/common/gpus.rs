//! What the tests of the CUDA back end run on: the kernels on a CPU, in several ways, and every GPU.

use std::io::Write;
use std::sync::Arc;

use pastebank::cuda::memory::Gpu;

use super::delayed_driver::DelayedDriver;
use super::host_driver::{HostDriver, Order, Settings, kernels};

/// A GPU, or what stands in for one.
pub struct TestGpu {
    /// What it is, for messages.
    pub name: String,
    /// The GPU.
    pub gpu: Gpu,
}

/// The kernels on a CPU with blocks of several sizes, blocks and threads in several orders.
pub fn hosts(test: &str) -> Vec<TestGpu> {
    if !kernels(test) {
        return Vec::new();
    }
    let ways = [
        (None, Order::Forward),
        (Some(32), Order::Reverse),
        (Some(64), Order::Shuffled(7)),
        (Some(512), Order::Shuffled(8)),
    ];
    let host = |(threads, order)| {
        let settings = Settings {
            threads,
            order,
            ..Settings::default()
        };
        TestGpu {
            name: format!("on the CPU, {threads:?} threads a block, {order:?}"),
            gpu: Gpu::new(Arc::new(HostDriver::new(settings))),
        }
    };
    ways.map(host).into()
}

/// The kernels on a CPU, run in any order that streams and events allow, as late or as early as they
/// allow it.
pub fn delayed(test: &str, seeds: std::ops::Range<u64>) -> Vec<TestGpu> {
    if !kernels(test) {
        return Vec::new();
    }
    let delayed = |seed| TestGpu {
        name: format!("on the CPU, delayed by seed {seed}"),
        gpu: Gpu::new(Arc::new(DelayedDriver::new(Settings::default(), seed))),
    };
    seeds.map(delayed).collect()
}

/// The first GPU that CUDA shows. Without one a line says so, or the test fails where
/// `PASTEBANK_REQUIRE_GPU` is set.
pub fn device(test: &str) -> Option<TestGpu> {
    match Gpu::open(0) {
        Ok(gpu) => Some(TestGpu {
            name: gpu.name(),
            gpu,
        }),
        Err(error) if is_required() => panic!("PASTEBANK_REQUIRE_GPU is set: {error}"),
        Err(error) => {
            let words = format!("NOT RUN ON A GPU {test}: {error}\n");
            // Written past the test runner's capture, which shows only what failed.
            let _ = std::io::stderr().write_all(words.as_bytes());
            None
        }
    }
}

fn is_required() -> bool {
    std::env::var_os("PASTEBANK_REQUIRE_GPU").is_some_and(|value| value != "0")
}

/// All of them; the GPU alone where one is required: the others need none to be there.
pub fn all(test: &str) -> Vec<TestGpu> {
    let mut all = Vec::from_iter(device(test));
    if !is_required() {
        all.extend(hosts(test));
        all.extend(delayed(test, 0..3));
    }
    all
}
