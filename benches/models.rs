//! Networks on the CPU, random weights: U²-NetP at 320x320 with candle's convolution and with ours,
//! and CLIP ViT-B/32's image tower; beside PyTorch where a Python that has it is named.
//!
//! `cargo bench --bench models -- --python PATH`

mod common;

use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use common::{Spread, machine, measure};
use pastebank::build::models::clip::VisionNetwork;
use pastebank::build::models::clip::config::ClipConfig;
use pastebank::build::models::u2net::{Config, Network};
use pastebank::build::nn::Conv2d;

const RUNS: usize = 11;
/// Of candle's convolution, which takes seconds.
const SLOW_RUNS: usize = 5;

/// Weights that keep numbers in range, whatever the network.
struct Random;

impl SimpleBackend for Random {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, on: &Device) -> Result<Tensor> {
        if name.ends_with("running_var") || name.ends_with("layer_norm.weight") {
            return Tensor::ones(shape, dtype, on);
        }
        let dims = shape.dims();
        let fan_in: usize = dims.iter().skip(1).product();
        let deviation = (1.0 / fan_in as f32).sqrt();
        Tensor::randn(0f32, deviation, shape, on)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

fn random() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Random), DType::F32, Device::Cpu)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let python = arguments.iter().position(|argument| argument == "--python");
    let python = python.and_then(|at| arguments.get(at + 1));
    let all = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("machine: {}", machine());
    println!("f32, one image at a time: median [least..greatest]");
    let mut counts = vec![1, 2, all];
    counts.retain(|threads| *threads <= all);
    counts.dedup();
    for threads in counts {
        println!("{threads} threads");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            u2netp();
            clip();
        });
        if let Some(python) = python {
            peers(python, threads);
        }
    }
}

fn u2netp() {
    let images = Tensor::randn(0f32, 1.0, (1, 3, 320, 320), &Device::Cpu).unwrap();
    let config = Config::u2netp();
    let stock = Network::with_convolutions(random(), &config, Conv2d::stock).unwrap();
    let ours = Network::new(random(), &config).unwrap();
    let stock = report("U²-NetP, candle's convolution", SLOW_RUNS, || {
        stock.forward(&images).unwrap();
    });
    let ours = report("U²-NetP", RUNS, || {
        ours.forward(&images).unwrap();
    });
    println!("{:>32}: {:.1} times as fast", "", stock / ours);
}

fn clip() {
    let config = ClipConfig::preset("clip-vit-b32").unwrap();
    let network = VisionNetwork::new(random(), &config.vision).unwrap();
    let images = Tensor::randn(0f32, 1.0, (1, 3, 224, 224), &Device::Cpu).unwrap();
    report("CLIP ViT-B/32, images", RUNS, || {
        network.forward(&images).unwrap();
    });
}

/// Prints one line and returns the median's seconds.
fn report(name: &str, runs: usize, work: impl FnMut()) -> f64 {
    let Spread {
        median,
        least,
        greatest,
    } = measure(runs, work);
    let [median, least, greatest] = [median, least, greatest].map(|run| run.as_secs_f64());
    println!(
        "{name:>32}: {:7.1} ms [{:.1}..{:.1}] = {:6.2} images/s",
        median * 1e3,
        least * 1e3,
        greatest * 1e3,
        1.0 / median
    );
    median
}

/// The same by PyTorch.
fn peers(python: &str, threads: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/models.py");
    let arguments = [
        "--threads",
        &threads.to_string(),
        "--runs",
        &RUNS.to_string(),
    ];
    let status = Command::new(python).arg(script).args(arguments).status();
    assert!(status.unwrap().success(), "{python} did not run the peers");
}
