//! The CUDA back end: whole batches composed on a GPU.

#![allow(unsafe_code)]

mod arena;
mod backend;
mod batch;
mod cache;
mod download;
pub mod driver;
mod engine;
mod error;
mod gather;
pub mod layout;
mod loader;
pub mod memory;
mod prepare;
mod resident;
#[cfg(feature = "cli")]
pub(crate) mod timing;

pub use backend::CudaBackend;
pub use batch::CudaBatch;
pub use error::CudaError;
pub use loader::{Cuda, CudaLoader, CudaOptions};
