//! Where models run, and in which precision.

use candle_core::{DType, Device};

/// A device and the element type that models compute in there.
#[derive(Clone, Debug)]
pub struct Compute {
    /// The CPU or one GPU.
    pub device: Device,
    /// F32 everywhere; F16 and BF16 on GPUs.
    pub dtype: DType,
}

impl Compute {
    /// The CPU, in 32-bit floats.
    pub fn cpu() -> Compute {
        Compute {
            device: Device::Cpu,
            dtype: DType::F32,
        }
    }
}
