//! Where a figure is from.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::compose::Simd;

/// The machine that measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its cores, as far as this process may use them.
    pub cores: usize,
    /// The instruction set that the inner loops run with.
    pub simd: String,
    /// The GPU in words, if one is measured.
    pub gpu: Option<String>,
    /// Seconds that it took to open it and to load the kernels.
    pub gpu_opened_in: Option<f64>,
    /// The version of NVIDIA's kernel driver, if there is one.
    pub driver: Option<String>,
    /// This crate's version.
    pub pastebank: String,
}

impl Machine {
    /// This one; `gpu` is what its driver calls it and how many seconds opening it took.
    pub fn here(gpu: Option<(String, f64)>) -> Machine {
        let (gpu, gpu_opened_in) = gpu.unzip();
        Machine {
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            simd: Simd::detected().to_string(),
            driver: gpu.as_ref().and_then(|_| driver_version()),
            gpu,
            gpu_opened_in,
            pastebank: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} cores, {}", self.cpu, self.cores, self.simd)?;
        if let Some(gpu) = &self.gpu {
            write!(f, "; {gpu}")?;
        }
        if let Some(driver) = &self.driver {
            write!(f, ", driver {driver}")?;
        }
        if let Some(seconds) = self.gpu_opened_in {
            write!(f, ", opened in {seconds:.2} s")?;
        }
        write!(f, "; pastebank {}", self.pastebank)
    }
}

fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut names = text.lines().filter(|line| line.starts_with("model name"));
    let name = names.next().and_then(|line| line.split_once(": "));
    name.map_or("unknown processor", |(_, name)| name)
        .to_owned()
}

/// The second line of the file names a compiler; the first holds the version.
fn driver_version() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    text.split_whitespace()
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}
