//! The CUDA back end: whole batches composed on a GPU.

#![allow(unsafe_code)]

#[cfg(feature = "candle-cuda")]
pub mod candle;
mod context;
pub mod device;
pub mod dlpack;
pub mod driver;
mod error;
pub mod interop;
mod kernels;
pub mod layout;
mod library;
pub mod memory;
pub mod pool;

pub use device::{CudaDevice, device_count};
pub use error::CudaError;
