#![doc = include_str!("guide.md")]
#![allow(unsafe_code)]

mod arena;
pub mod arrays;
mod backend;
mod batch;
mod cache;
#[cfg(feature = "candle-cuda")]
pub mod candle;
mod context;
mod device;
pub mod dlpack;
mod download;
pub mod driver;
mod engine;
mod error;
mod gather;
pub mod interop;
mod kernels;
pub mod layout;
mod library;
mod loader;
pub mod memory;
#[cfg(feature = "candle-cuda")]
pub mod pool;
mod prepare;
mod resident;
#[cfg(feature = "cli")]
pub(crate) mod timing;

pub use backend::CudaBackend;
pub use batch::CudaBatch;
pub use device::device_count;
pub use error::CudaError;
pub use loader::{Cuda, CudaLoader, CudaOptions};
