//! Where models run, and in which precision.

use std::str::FromStr;

use candle_core::{DType, Device};

/// A device and the element type that models compute in there.
#[derive(Clone, Debug)]
pub struct Compute {
    /// The CPU or one GPU.
    pub device: Device,
    /// F32 everywhere; F16 and BF16 on GPUs.
    pub dtype: DType,
}

/// A device as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU of NVIDIA's, by its number.
    Cuda(usize),
}

/// What models compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// Floats with the upper 16 of 32 bits.
    Bf16,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A word that names none.
    #[error("{setting}: {found:?} is none of {expected}")]
    Unknown {
        /// `device` or `precision`.
        setting: &'static str,
        /// What was given.
        found: String,
        /// All that may be given.
        expected: &'static str,
    },
    /// A GPU was asked for, and this binary has been built without.
    #[error(
        "device: cuda:{0} was asked for, but this binary was built without CUDA; build it with \
         `cargo build --release --features candle-cuda` where nvcc is installed"
    )]
    NotBuilt(usize),
    /// A GPU that does not answer.
    #[error("device: cuda:{index} cannot be used: {source}")]
    Cuda {
        /// Its number.
        index: usize,
        /// What candle said.
        source: candle_core::Error,
    },
    /// Half precision on the CPU.
    #[error(
        "precision: {0} on the CPU, which has no arithmetic for it and would convert every number \
         twice: f32 is faster and more exact; half precision is for GPUs"
    )]
    HalfOnCpu(&'static str),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<DeviceChoice, DeviceError> {
        let number = text.strip_prefix("cuda:").map(str::parse);
        match (text, number) {
            ("auto", _) => Ok(DeviceChoice::Auto),
            ("cpu", _) => Ok(DeviceChoice::Cpu),
            ("cuda", _) => Ok(DeviceChoice::Cuda(0)),
            (_, Some(Ok(index))) => Ok(DeviceChoice::Cuda(index)),
            _ => Err(DeviceError::Unknown {
                setting: "device",
                found: text.to_owned(),
                expected: "auto, cpu, cuda and cuda:N",
            }),
        }
    }
}

impl FromStr for Precision {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Precision, DeviceError> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(DeviceError::Unknown {
                setting: "precision",
                found: text.to_owned(),
                expected: "f32, f16 and bf16",
            }),
        }
    }
}

impl Compute {
    /// The CPU, in 32-bit floats.
    pub fn cpu() -> Compute {
        Compute {
            device: Device::Cpu,
            dtype: DType::F32,
        }
    }

    /// The device that was asked for, in the precision that was asked for.
    ///
    /// # Errors
    /// [`DeviceError`] when the device is not there or does not have that precision.
    pub fn open(device: DeviceChoice, precision: Precision) -> Result<Compute, DeviceError> {
        let device = match device {
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Cuda(index) => cuda(index)?,
            DeviceChoice::Auto => match cuda(0) {
                Ok(device) => device,
                Err(DeviceError::NotBuilt(_)) => Device::Cpu,
                Err(error) => {
                    log::warn!("{error}; the CPU is used");
                    Device::Cpu
                }
            },
        };
        let dtype = match precision {
            Precision::F16 if device.is_cpu() => return Err(DeviceError::HalfOnCpu("f16")),
            Precision::Bf16 if device.is_cpu() => return Err(DeviceError::HalfOnCpu("bf16")),
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        };
        Ok(Compute { device, dtype })
    }
}

/// A GPU with a stream of its own: candle's default stream is one per thread, and what a model left
/// on one thread's stream would not be waited for on another's.
fn cuda(index: usize) -> Result<Device, DeviceError> {
    if !candle_core::utils::cuda_is_available() {
        return Err(DeviceError::NotBuilt(index));
    }
    Device::new_cuda_with_stream(index).map_err(|source| DeviceError::Cuda { index, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_precisions_are_read() {
        let devices = [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ];
        for (text, device) in devices {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), device);
        }
        for wrong in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:99999999999999999999",
            "CPU",
        ] {
            let told = wrong.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(told.contains("auto, cpu, cuda and cuda:N"), "{told}");
        }
        assert_eq!("bf16".parse::<Precision>().unwrap(), Precision::Bf16);
        assert!("f64".parse::<Precision>().is_err());
    }

    #[test]
    fn the_cpu_computes_in_f32_alone() {
        let compute = Compute::open(DeviceChoice::Cpu, Precision::F32).unwrap();
        assert!(compute.device.is_cpu());
        assert_eq!(compute.dtype, DType::F32);
        for half in [Precision::F16, Precision::Bf16] {
            let told = Compute::open(DeviceChoice::Cpu, half)
                .unwrap_err()
                .to_string();
            assert!(told.contains("f32 is faster"), "{told}");
        }
    }

    #[cfg(not(feature = "candle-cuda"))]
    #[test]
    fn a_binary_without_cuda_says_how_to_build_one() {
        let compute = Compute::open(DeviceChoice::Auto, Precision::F32).unwrap();
        assert!(compute.device.is_cpu());
        let told = Compute::open(DeviceChoice::Cuda(1), Precision::F16)
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("cuda:1") && told.contains("--features candle-cuda"),
            "{told}"
        );
    }
}
