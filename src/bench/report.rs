//! What a benchmark tells: everything that was measured of one workload, as it is written to JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{BenchError, Floor, Machine, Spread, WorkloadReport};

/// All that was measured of one workload in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// What was composed and loaded.
    pub workload: WorkloadReport,
    /// What memories and the link can do at most, by the names of [`ceiling`].
    pub ceilings: Ceilings,
    /// Bytes that an image needs moved at least.
    pub floor: Floor,
    /// What an image takes on one thread, stage by stage, in their order.
    pub stages: Vec<Stage>,
    /// Composing alone, on one thread and on all.
    pub composing: Composing,
    /// What a GPU does, if one is measured, in the order of the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device: Vec<Measurement>,
    /// The whole loader.
    pub loader: LoaderReport,
    /// What was held against the reference.
    pub checked: Checked,
}

/// What can be done at most, by name.
pub type Ceilings = BTreeMap<String, Ceiling>;

/// The names of ceilings.
pub mod ceiling {
    /// Copying memory on one thread: bytes read and written.
    pub const COPY_ONE_THREAD: &str = "copy_one_thread";
    /// Copying memory on all threads of the workload.
    pub const COPY_ALL_THREADS: &str = "copy_all_threads";
    /// Copying memory on the GPU: bytes read and written.
    pub const GPU_COPY: &str = "gpu_copy";
    /// Copying from pinned memory to the GPU.
    pub const LINK: &str = "link";
}

/// What can be done at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// As measured.
    #[serde(flatten)]
    pub spread: Spread,
    /// `GB/s`.
    pub unit: String,
}

/// A part of what composing an image takes, on one thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `plan`, `gather`, `decode`, `weights`, `compose`, `visible`, `settle` or `convert`.
    pub name: String,
    /// Its time.
    pub microseconds_per_image: Spread,
    /// Bytes that it reads and writes, each once.
    pub bytes_per_image: f64,
    /// These bytes by the median.
    pub gigabytes_per_second: f64,
    /// The time's share of the time of composing, from `decode` to `convert`, 0..=1. `plan` and
    /// `gather` stand before it: theirs comes on top.
    pub share: f64,
    /// The bytes' rate in hundredths of [`ceiling::COPY_ONE_THREAD`].
    pub percent_of_ceiling: f64,
}

/// Composing alone: plans that were drawn, checked and encoded before, the same batch again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Composing {
    /// On all threads of the workload.
    pub images_per_second: Spread,
    /// The median by the cores that the threads can be on.
    pub images_per_second_per_core: f64,
    /// Threads.
    pub threads: usize,
    /// The floor's bytes by the median.
    pub gigabytes_per_second: f64,
    /// That in hundredths of [`ceiling::COPY_ALL_THREADS`].
    pub percent_of_ceiling: f64,
    /// Images a second of a composer that moves the floor's bytes at that ceiling.
    pub ceiling_images_per_second: f64,
    /// On one thread.
    pub one_thread: OneThread,
    /// How many times as fast all threads are as one.
    pub scaling: f64,
}

/// Composing on one thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneThread {
    /// Its images.
    pub images_per_second: Spread,
    /// The floor's bytes by the median.
    pub gigabytes_per_second: f64,
    /// That in hundredths of [`ceiling::COPY_ONE_THREAD`].
    pub percent_of_ceiling: f64,
    /// Images a second of a composer that moves the floor's bytes at that ceiling.
    pub ceiling_images_per_second: f64,
}

/// The whole loader, into the hands of a training loop that does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoaderReport {
    /// The median of `spread`.
    pub images_per_second: f64,
    /// That by the cores that the threads can be on.
    pub images_per_second_per_core: f64,
    /// Images a second.
    pub spread: Spread,
    /// The floor's bytes by the median.
    pub gigabytes_per_second: f64,
    /// That in hundredths of [`ceiling::COPY_ALL_THREADS`], or of [`ceiling::GPU_COPY`] on a GPU.
    pub percent_of_ceiling: f64,
    /// Of composing alone on all threads, or on the GPU.
    pub percent_of_composing: f64,
    /// Of composing alone on one thread, times the cores that the threads can be on; nothing on a
    /// GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_of_composing_times_cores: Option<f64>,
    /// Worker threads.
    pub threads: usize,
    /// Who waited for whom.
    pub waits: Waits,
    /// Seconds from the making of a loader until its first batch is composed.
    pub first_batch_seconds: Spread,
    /// The same loader with nothing to compose.
    pub headspace: Headspace,
}

/// Time that was spent waiting while the loader was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// The training loop waited for batches; the share is of the time.
    pub training_loop_for_batches: Wait,
    /// The worker threads waited for samples to compose; the share is of the threads' time.
    pub workers_for_work: Wait,
    /// The training loop's thread waited until the GPU was done with a batch's memory; nothing on a
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_of_the_device: Option<Wait>,
    /// No wait: putting finished samples together, on the training loop's thread.
    pub assembling: Wait,
}

/// A part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// Of all threads that it is about.
    pub seconds: f64,
    /// Of these threads' time, 0..=1.
    pub share: f64,
}

/// A loader that gives the same finished batch again and again: its threads draw, check and encode
/// each sample, and find it composed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Headspace {
    /// What a training loop would get if composing took no time.
    pub images_per_second: Spread,
    /// The loader's images in hundredths of that.
    pub loader_percent: f64,
}

/// What was held against the reference. All of it was equal to the bit, or there would be no report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// What the reference is, in words.
    pub reference: String,
    /// The last batch of each timed run.
    pub batches: Vec<CheckedBatch>,
}

/// A batch that was held against the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckedBatch {
    /// Whose it was.
    pub what: String,
    /// Its samples.
    pub samples: usize,
}

/// Something that was measured on a GPU, repeatedly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What.
    pub what: String,
    /// Median, least and greatest, in `unit`.
    pub spread: Spread,
    /// `µs/image`, `images/s`, `s` or `times`.
    pub unit: String,
    /// Bytes that were moved, by the median: those of the floor, or those that crossed the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gigabytes_per_second: Option<f64>,
    /// How much of something that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Share of the layers whose pixels were in the cutout cache, 0..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<f64>,
}

/// A part of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// In hundredths.
    pub percent: f64,
    /// Of what.
    pub of: String,
}

impl Measurement {
    /// A measurement without bytes and share.
    pub fn new(what: &str, unit: &str, spread: Spread) -> Measurement {
        Measurement {
            what: what.to_owned(),
            spread,
            unit: unit.to_owned(),
            gigabytes_per_second: None,
            share: None,
            hit_rate: None,
        }
    }

    /// With so many GB moved a second.
    pub fn moving(mut self, gigabytes_per_second: f64) -> Measurement {
        self.gigabytes_per_second = Some(gigabytes_per_second);
        self
    }

    /// As a share of `whole`, which is called `of`; nothing where there is no whole.
    pub fn share(mut self, part: f64, whole: f64, of: &str) -> Measurement {
        let percent = 100.0 * part / whole;
        let of = of.to_owned();
        self.share = percent.is_finite().then_some(Share { percent, of });
        self
    }
}

/// `part` in hundredths of `whole`; 0 of nothing.
pub(super) fn percent(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => 100.0 * part / whole,
        false => 0.0,
    }
}

impl Report {
    /// Reads what an earlier run wrote.
    ///
    /// # Errors
    /// [`BenchError::Read`] if there is no such file, [`BenchError::Baseline`] with the field that is
    /// missing or of another type than expected.
    pub fn read(path: &Path) -> Result<Report, BenchError> {
        let text = fs::read(path).map_err(|source| BenchError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut json = serde_json::Deserializer::from_slice(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| BenchError::Baseline {
            path: path.to_owned(),
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })
    }
}
