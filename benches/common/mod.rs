//! What the benchmarks share: a data set, and medians.

// Several benchmarks include this module, and none of them uses all of it.
#![allow(dead_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use pastebank::bench::{Machine, SyntheticOptions, draw_data_set};
use pastebank::pack::PackOptions;

/// Median, least and greatest of some durations.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: Duration,
    pub least: Duration,
    pub greatest: Duration,
}

/// Runs `work` once to warm up and then `runs` times.
pub fn measure(runs: usize, mut work: impl FnMut()) -> Spread {
    work();
    let durations = (0..runs).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed()
    });
    spread(durations.collect())
}

pub fn spread(mut durations: Vec<Duration>) -> Spread {
    durations.sort();
    Spread {
        median: durations[durations.len() / 2],
        least: durations[0],
        greatest: durations[durations.len() - 1],
    }
}

/// The processor's name, so that a figure says where it is from.
pub fn machine() -> String {
    Machine::here(None).to_string()
}

/// Draws `images` photographs below `folder`; gives the options that pack them there.
pub fn pack_options(folder: &Path, images: usize) -> PackOptions {
    let options = SyntheticOptions {
        scenes: images,
        ..SyntheticOptions::default()
    };
    draw_data_set(folder, &options, &|| true).unwrap()
}
