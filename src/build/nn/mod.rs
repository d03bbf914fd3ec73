//! Layers that candle has not, or not fast enough: on the CPU in 32-bit floats they use all threads
//! and the machine's vectors; everywhere else they are candle's own.
//!
//! The number of threads is rayon's: that of the pool that calls. Results do not depend on it.

pub mod conv;
pub mod maps;

pub use conv::Conv2d;
