//! Small random packs, written with the public safetensors library, and random plans over them.

// Several test binaries include this module, and none of them uses all of it.
#![allow(dead_code, unused_imports)]

#[cfg(feature = "cli")]
pub mod benchmarks;
#[cfg(all(feature = "dataset", feature = "pack"))]
pub mod composed;
#[cfg(feature = "cuda")]
pub mod delayed_driver;
pub mod equal;
#[cfg(feature = "cuda")]
pub mod gpus;
#[cfg(feature = "cuda")]
pub mod hazards;
#[cfg(feature = "cuda")]
pub mod host_driver;
#[cfg(feature = "cuda")]
pub mod loaders;
pub mod packs;
pub mod plans;

use std::io::Write;
use std::path::PathBuf;

pub use rand::{RngExt, SeedableRng};
pub use rand_chacha::ChaCha8Rng;

/// The folder named by an environment variable, or `None`, said aloud, where it is not set.
pub fn folder_from_environment(variable: &str, test: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(folder) => Some(PathBuf::from(folder)),
        None => {
            // Written past the test runner's capture, which shows only what failed.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {variable} is not set");
            None
        }
    }
}
