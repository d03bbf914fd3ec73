//! What can go wrong on a GPU.

use super::driver::DriverError;

/// A GPU that cannot be used, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The machine has no CUDA driver.
    #[error(
        "no CUDA driver was found on this machine ({looked_for}); install NVIDIA's driver, or compose on the CPU"
    )]
    NoDriver {
        /// The libraries that were looked for.
        looked_for: String,
    },
    /// The driver is older than every kernel that this program carries.
    #[error("the CUDA driver {found} is too old; {needed} or newer is needed")]
    DriverTooOld {
        /// CUDA version of the driver.
        found: String,
        /// The least one that will do.
        needed: String,
    },
    /// The device is older than every kernel that this program carries.
    #[error("{device} has compute capability {found}; {needed} or newer is needed")]
    DeviceTooOld {
        /// The device.
        device: String,
        /// Its compute capability.
        found: String,
        /// The least one that will do.
        needed: String,
    },
    /// There is no device of that number.
    #[error("there is no CUDA device {ordinal}; this machine has {count}")]
    NoDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// Device or pinned memory has run out.
    #[error(
        "no memory for {bytes} bytes of {what} on {device}: {free} of {total} bytes are free; {remedy}"
    )]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: u64,
        /// The device.
        device: String,
        /// Bytes that could have been allocated.
        free: u64,
        /// Bytes that the device has.
        total: u64,
        /// What may help.
        remedy: &'static str,
    },
    /// The images were asked for after a tensor had taken them over.
    #[error("the batch's images belong to a tensor by now")]
    GivenAway,
    /// A launch would need more blocks than a device takes.
    #[error("{blocks} blocks in one launch are too many: compose fewer samples at once")]
    TooLarge {
        /// How many.
        blocks: usize,
    },
    /// A call failed.
    #[error("{stage} on {device}: {source}")]
    Failed {
        /// What was being done: the stage's name.
        stage: &'static str,
        /// The device.
        device: String,
        /// What the driver said. Errors of kernels surface at a later call.
        source: DriverError,
    },
}
