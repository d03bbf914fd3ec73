//! `--device`: where to compose.

use std::num::NonZero;

use anyhow::{Context, Result};

use crate::bench::On;
use crate::compose::{Backend, CpuBackend};

/// `--device`.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct DeviceFlag {
    /// Where to compose: on the CPU, on the first GPU or the one of that number, or on the first GPU
    /// if there is one that can be used and on the CPU if not.
    #[arg(
        long,
        value_name = "cpu|cuda|cuda:N|auto",
        value_parser = parse_device,
        default_value = "auto"
    )]
    pub device: Device,
}

/// Where to compose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
    Auto,
}

/// A back end, and how many samples it is best given at once.
pub(super) struct Composer {
    pub backend: Box<dyn Backend>,
    pub at_once: NonZero<usize>,
}

fn parse_device(text: &str) -> Result<Device, String> {
    let expected = || "cpu, cuda, cuda:N with a number from 0, or auto was expected".to_owned();
    match text {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::Auto),
        "cuda" => Ok(Device::Cuda(0)),
        _ => {
            let number = text.strip_prefix("cuda:").ok_or_else(expected)?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| digits);
            number.map(Device::Cuda).ok_or_else(expected)
        }
    }
}

impl DeviceFlag {
    /// The back end there; `threads` are the CPU's. Under `auto` without a GPU, a line on standard
    /// error says so.
    pub fn composer(self, threads: Option<NonZero<usize>>) -> Result<Composer> {
        self.choose(|| Composer::cpu(threads), cuda)
    }

    /// Where to measure; the same line is said.
    pub fn on(self) -> Result<On> {
        self.choose(|| On::Cpu, on_cuda)
    }

    fn choose<T>(
        self,
        cpu: impl FnOnce() -> T,
        cuda: impl FnOnce(usize) -> Result<T>,
    ) -> Result<T> {
        match self.device {
            Device::Cpu => Ok(cpu()),
            Device::Cuda(ordinal) => {
                cuda(ordinal).with_context(|| format!("--device cuda:{ordinal}"))
            }
            Device::Auto => Ok(cuda(0).unwrap_or_else(|error| {
                eprintln!("composing on the CPU: {}", brief(&error));
                cpu()
            })),
        }
    }
}

impl Composer {
    /// The CPU's, a sample a thread.
    pub fn cpu(threads: Option<NonZero<usize>>) -> Composer {
        let backend = CpuBackend::new(threads);
        Composer {
            at_once: NonZero::new(backend.threads()).unwrap_or(NonZero::<usize>::MIN),
            backend: Box::new(backend),
        }
    }
}

/// Samples that a GPU is given at once where pictures are written: enough for it to be no hindrance,
/// few enough for its memory.
#[cfg(feature = "cuda")]
const GPU_SAMPLES: NonZero<usize> = NonZero::new(16).unwrap();

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Composer> {
    let gpu = crate::cuda::memory::Gpu::open(ordinal)?;
    Ok(Composer {
        backend: Box::new(crate::cuda::CudaBackend::new(gpu)?),
        at_once: GPU_SAMPLES,
    })
}

#[cfg(feature = "cuda")]
fn on_cuda(ordinal: usize) -> Result<On> {
    let started = std::time::Instant::now();
    let gpu = crate::cuda::memory::Gpu::open(ordinal)?;
    Ok(On::Gpu {
        gpu,
        opened_in: started.elapsed(),
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda<T>(_ordinal: usize) -> Result<T> {
    anyhow::bail!("this program was built without the feature `cuda`")
}

#[cfg(not(feature = "cuda"))]
use cuda as on_cuda;

/// Why there is no GPU, without advice: none was asked for.
fn brief(error: &anyhow::Error) -> String {
    #[cfg(feature = "cuda")]
    {
        use crate::cuda::CudaError;
        match error.downcast_ref() {
            Some(CudaError::NoDriver { .. }) => return "no CUDA driver was found".to_owned(),
            Some(CudaError::NoDevice { .. }) => return "there is no CUDA device".to_owned(),
            _ => {}
        }
    }
    super::common::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed_or_refused() {
        let right = [
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:12", Device::Cuda(12)),
            ("auto", Device::Auto),
        ];
        for (text, device) in right {
            assert_eq!(parse_device(text), Ok(device), "{text}");
        }
        for wrong in [
            "", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda1",
        ] {
            let message = parse_device(wrong).unwrap_err();
            assert!(message.contains("cuda:N"), "{wrong}: {message}");
        }
        assert!(parse_device("cuda:99999999999999999999999").is_err());
    }

    #[test]
    fn the_cpu_is_given_a_sample_a_thread() {
        let flag = DeviceFlag {
            device: Device::Cpu,
        };
        let composer = flag.composer(NonZero::new(3)).unwrap();
        assert_eq!(composer.at_once.get(), 3);
    }
}
