//! The CUDA back end: whole batches composed on a GPU.

#![allow(unsafe_code)]

pub mod driver;
mod error;
pub mod layout;
pub mod memory;

pub use error::CudaError;
