//! What the tests of the CUDA back end run on: the kernels on a CPU, in several ways, and every GPU.

use std::sync::Arc;

use pastebank::cuda::memory::Gpu;

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

/// All of them.
pub fn all(test: &str) -> Vec<TestGpu> {
    hosts(test)
}
