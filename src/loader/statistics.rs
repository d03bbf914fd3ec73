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
    /// Asking the system for the pages that will be read, and encoding.
    pub gather: Duration,
    /// Composing images and masks, decoding included.
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
    /// Bytes of images and masks in them, twins included.
    pub bytes: u64,
    /// Bytes of source pixels that composing them read.
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
}

/// Below this share of the time nobody counts as waiting.
const NOTICEABLE: f64 = 0.05;

impl Statistics {
    /// Samples handed over a second.
    pub fn images_per_second(&self) -> f64 {
        per_second(self.samples as f64, self.elapsed)
    }

    /// Bytes of images and masks handed over a second.
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.bytes as f64, self.elapsed)
    }

    /// What holds the run up.
    pub fn bottleneck(&self) -> Bottleneck {
        let starving = share(self.wait_for_batch, self.elapsed);
        let idle = share(self.wait_for_work, self.wait_for_work + self.stages.sum());
        if starving < NOTICEABLE {
            return Bottleneck::Training;
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
            " assemble {assemble:.2} ms an image; {} replaced; bottleneck: {}",
            self.replaced,
            self.bottleneck()
        )
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
