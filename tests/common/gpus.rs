//! What the tests of the CUDA back end run on: the kernels on a CPU, in several ways, and every GPU.

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

/// All of them.
pub fn all(test: &str) -> Vec<TestGpu> {
    let mut all = hosts(test);
    all.extend(delayed(test, 0..3));
    all
}
