//! What a run has done so far, how fast, and what holds it up.

use std::fmt;
use std::time::Duration;

/// Time that worker threads spent in each stage, summed over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Drawing samples by the recipe.
    pub draw: Duration,
    /// Holding them against the packs.
    pub check: Duration,
    /// Asking the system for the pages that will be read, and encoding; for a GPU also decoding and
    /// writing what it needs where it is copied from.
    pub gather: Duration,
    /// Composing images and masks, decoding included. The times of a GPU are not known here.
    pub compose: Duration,
}

impl StageTimes {
    pub(super) fn add(&mut self, other: &StageTimes) {
        self.draw += other.draw;
        self.check += other.check;
        self.gather += other.gather;
        self.compose += other.compose;
    }

    fn named(&self) -> [(&'static str, Duration); 4] {
        [
            ("draw", self.draw),
            ("check", self.check),
            ("gather", self.gather),
            ("compose", self.compose),
        ]
    }

    fn sum(&self) -> Duration {
        self.named().iter().map(|(_, time)| time).sum()
    }
}

/// A sample that was drawn again because a picture could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The sample's place in the epoch's order.
    pub index: u64,
    /// The scene's row in its pack and what the decoder said.
    pub problem: String,
}

/// A run's figures since it was started or resumed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Batches handed over.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of images in them, twins included. Masks do not count, on a CPU as on a GPU, where
    /// nobody waits to know how many there are.
    pub bytes: u64,
    /// Bytes of source pixels that composing them read from the packs: those of scenes, JPEG files
    /// as they are stored, and of cutouts that touch the canvas and are not on the device already.
    pub source_bytes: u64,
    /// Since the loader was made.
    pub elapsed: Duration,
    /// Worker threads.
    pub threads: usize,
    /// How long the training loop waited for batches.
    pub wait_for_batch: Duration,
    /// How long worker threads waited for something to do, summed over all of them.
    pub wait_for_work: Duration,
    /// What the worker threads did for the batches handed over.
    pub stages: StageTimes,
    /// Putting finished samples together, on the training loop's thread.
    pub assemble: Duration,
    /// Samples drawn again, once or more, because a picture could not be decoded.
    pub replaced: u64,
    /// The first pictures that could not be.
    pub first_replaced: Vec<Replaced>,
    /// What crossed the link, if batches are composed on a GPU.
    pub device: Option<DeviceFigures>,
}

/// What crossed the link to a GPU, and what did not need to; batches that were composed ahead
/// included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceFigures {
    /// Bytes that were copied to the device for batches.
    pub shipped_bytes: u64,
    /// Layers whose pixels were on the device already.
    pub cache_hits: u64,
    /// Layers whose pixels were not.
    pub cache_misses: u64,
    /// Bytes of cutouts that are kept on the device.
    pub resident_bytes: u64,
    /// How often a batch needed a larger arena and was gathered again.
    pub arena_growths: u64,
    /// How long the training loop waited until the device was done with a batch's memory.
    pub wait_for_slot: Duration,
}

impl DeviceFigures {
    /// Share of the layers whose pixels were on the device already, 0..=1.
    pub fn hit_rate(&self) -> f64 {
        let lookups = self.cache_hits.saturating_add(self.cache_misses);
        self.cache_hits as f64 / lookups.max(1) as f64
    }
}

/// What holds a run up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// The training loop: batches wait for it.
    Training,
    /// The worker threads, most of all in the named stage of [`StageTimes`].
    Stage(&'static str),
    /// Neither is busy: too few batches are composed ahead.
    Prefetch,
    /// The GPU or the link to it: all memory is in its hands.
    Device,
}

/// Below this share of the time nobody counts as waiting.
const NOTICEABLE: f64 = 0.05;

impl Statistics {
    /// Samples handed over a second.
    pub fn images_per_second(&self) -> f64 {
        per_second(self.samples as f64, self.elapsed)
    }

    /// Bytes of images handed over a second.
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.bytes as f64, self.elapsed)
    }

    /// What holds the run up.
    pub fn bottleneck(&self) -> Bottleneck {
        let wait_for_slot = self.device.unwrap_or_default().wait_for_slot;
        let starving = share(self.wait_for_batch + wait_for_slot, self.elapsed);
        let idle = share(self.wait_for_work, self.wait_for_work + self.stages.sum());
        if starving < NOTICEABLE {
            return Bottleneck::Training;
        }
        if wait_for_slot > self.wait_for_batch {
            return Bottleneck::Device;
        }
        // Threads that are idle half of the time are not what the training loop waits for.
        if idle > 0.5 {
            return Bottleneck::Prefetch;
        }
        let longest = self
            .stages
            .named()
            .into_iter()
            .max_by_key(|(_, time)| *time);
        Bottleneck::Stage(longest.map_or("compose", |(name, _)| name))
    }
}

fn per_second(count: f64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

fn share(part: Duration, whole: Duration) -> f64 {
    per_second(part.as_secs_f64(), whole)
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bottleneck::Training => write!(formatter, "the training loop"),
            Bottleneck::Stage(name) => write!(formatter, "{name}"),
            Bottleneck::Prefetch => write!(formatter, "too little prefetch"),
            Bottleneck::Device => write!(formatter, "the device"),
        }
    }
}

impl fmt::Display for Statistics {
    /// All in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} batches, {} images, {:.1} images/s, {:.0} MB/s; waited for batches {:.0} %, \
             threads idle {:.0} %;",
            self.batches,
            self.samples,
            self.images_per_second(),
            self.bytes_per_second() / 1e6,
            100.0 * share(self.wait_for_batch, self.elapsed),
            100.0 * share(self.wait_for_work, self.wait_for_work + self.stages.sum()),
        )?;
        for (name, time) in self.stages.named() {
            let milliseconds = 1e3 * time.as_secs_f64() / self.samples.max(1) as f64;
            write!(formatter, " {name} {milliseconds:.2}")?;
        }
        let assemble = 1e3 * self.assemble.as_secs_f64() / self.samples.max(1) as f64;
        write!(
            formatter,
            " assemble {assemble:.2} ms an image; {} replaced;",
            self.replaced
        )?;
        if let Some(device) = &self.device {
            write!(
                formatter,
                " shipped {:.2} MB an image, {:.0} % of {} cutouts were on the device, {:.0} MB kept \
                 there, {} arena growths, waited for the device {:.0} %;",
                device.shipped_bytes as f64 / 1e6 / self.samples.max(1) as f64,
                100.0 * device.hit_rate(),
                device.cache_hits.saturating_add(device.cache_misses),
                device.resident_bytes as f64 / 1e6,
                device.arena_growths,
                100.0 * share(device.wait_for_slot, self.elapsed),
            )?;
        }
        write!(formatter, " bottleneck: {}", self.bottleneck())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(waited: u64, idle: u64, compose: u64) -> Statistics {
        Statistics {
            batches: 10,
            samples: 40,
            bytes: 80_000_000,
            elapsed: Duration::from_secs(10),
            threads: 2,
            wait_for_batch: Duration::from_secs(waited),
            wait_for_work: Duration::from_secs(idle),
            stages: StageTimes {
                draw: Duration::from_secs(1),
                compose: Duration::from_secs(compose),
                ..StageTimes::default()
            },
            ..Statistics::default()
        }
    }

    #[test]
    fn the_bottleneck_is_whoever_nobody_waits_for() {
        assert_eq!(statistics(0, 12, 7).bottleneck(), Bottleneck::Training);
        assert_eq!(
            statistics(8, 0, 19).bottleneck(),
            Bottleneck::Stage("compose")
        );
        assert_eq!(statistics(8, 3, 0).bottleneck(), Bottleneck::Prefetch);
        assert_eq!(Statistics::default().images_per_second(), 0.0);
    }

    fn device() -> DeviceFigures {
        DeviceFigures {
            shipped_bytes: 60_000_000,
            cache_hits: 90,
            cache_misses: 30,
            resident_bytes: 5_000_000,
            arena_growths: 1,
            wait_for_slot: Duration::from_secs(6),
        }
    }

    #[test]
    fn a_device_that_is_waited_for_is_the_bottleneck() {
        let mut statistics = statistics(2, 0, 7);
        statistics.device = Some(device());
        assert_eq!(statistics.bottleneck(), Bottleneck::Device);
        let line = statistics.to_string();
        let expected = "0 replaced; shipped 1.50 MB an image, 75 % of 120 cutouts were on the device, \
                        5 MB kept there, 1 arena growths, waited for the device 60 %; bottleneck: the \
                        device";
        assert!(line.ends_with(expected), "{line}");
        statistics.wait_for_batch = Duration::from_secs(7);
        assert_eq!(statistics.bottleneck(), Bottleneck::Stage("compose"));
        assert_eq!(DeviceFigures::default().hit_rate(), 0.0);
    }

    #[test]
    fn one_line_says_it_all() {
        let line = statistics(5, 4, 15).to_string();
        assert_eq!(
            line,
            "10 batches, 40 images, 4.0 images/s, 8 MB/s; waited for batches 50 %, threads idle \
             20 %; draw 25.00 check 0.00 gather 0.00 compose 375.00 assemble 0.00 ms an image; 0 replaced; \
             bottleneck: compose"
        );
    }
}
