//! Repeated measurements and what is said of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::BenchError;

/// Median, least and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number the upper of both.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// How many there were.
    pub runs: usize,
}

impl Spread {
    /// Of these measurements; of none all is 0.
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Spread {
            median: at(values.len() / 2),
            least: at(0),
            greatest: at(values.len().saturating_sub(1)),
            runs: values.len(),
        }
    }

    /// The same measurements in another unit. A falling `convert`, such as seconds to images a
    /// second, changes the ends' places.
    pub fn map(self, convert: impl Fn(f64) -> f64) -> Spread {
        let [a, b] = [self.least, self.greatest].map(&convert);
        Spread {
            median: convert(self.median),
            least: a.min(b),
            greatest: a.max(b),
            runs: self.runs,
        }
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Runs of each measurement, warm-up apart, unless `time` is over before.
    pub runs: usize,
    /// Time for one measurement; three runs are made in any case.
    pub time: Duration,
    /// Time of one run of a loader.
    pub loader_run: Duration,
    /// Bytes that are copied to find what memories and the link can do at most.
    pub copied_bytes: usize,
}

/// Fewer runs than this have no spread.
const LEAST_RUNS: usize = 3;

impl Default for Effort {
    /// The figures that may be quoted.
    fn default() -> Effort {
        Effort {
            runs: 15,
            time: Duration::from_secs(3),
            loader_run: Duration::from_millis(500),
            copied_bytes: 1 << 30,
        }
    }
}

impl Effort {
    /// A look, in a fraction of the time.
    pub fn quick() -> Effort {
        Effort {
            runs: 5,
            time: Duration::from_millis(500),
            loader_run: Duration::from_millis(100),
            copied_bytes: 1 << 28,
        }
    }

    /// Runs `work` once to warm up, and then again and again; it says what it has measured.
    /// `goes_on` is asked before each run.
    ///
    /// # Errors
    /// [`BenchError::Stopped`] if `goes_on` says so, and whatever `work` fails with.
    pub fn repeat(
        &self,
        goes_on: &dyn Fn() -> bool,
        mut work: impl FnMut() -> Result<f64, BenchError>,
    ) -> Result<Spread, BenchError> {
        let mut values = Vec::with_capacity(self.runs);
        let mut started = None;
        loop {
            if !goes_on() {
                return Err(BenchError::Stopped);
            }
            let value = work()?;
            let Some(started) = started else {
                started = Some(Instant::now());
                continue;
            };
            values.push(value);
            let is_over = values.len() >= self.runs || Instant::elapsed(&started) > self.time;
            if is_over && values.len() >= LEAST_RUNS.min(self.runs) {
                return Ok(Spread::of(values));
            }
        }
    }
}

/// The seconds that `work` takes; never 0, so that rates are numbers.
pub fn seconds_of<E>(work: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_ends() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0, 8.0]);
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                least: 1.0,
                greatest: 8.0,
                runs: 4
            }
        );
        assert_eq!(Spread::of(vec![]).runs, 0);
        let rates = spread.map(|seconds| 24.0 / seconds);
        assert_eq!(
            (rates.median, rates.least, rates.greatest),
            (8.0, 3.0, 24.0)
        );
    }

    #[test]
    fn the_warm_up_is_apart_and_a_stop_is_heard() {
        let effort = Effort {
            runs: 4,
            ..Effort::quick()
        };
        let mut runs = 0.0;
        let spread = effort.repeat(&|| true, || {
            runs += 1.0;
            Ok(runs)
        });
        let spread = spread.unwrap();
        assert_eq!((spread.runs, spread.least, spread.greatest), (4, 2.0, 5.0));
        let stopped = effort.repeat(&|| false, || Ok(1.0));
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }

    #[test]
    fn slow_measurements_are_made_three_times() {
        let effort = Effort {
            runs: 100,
            time: Duration::ZERO,
            ..Effort::quick()
        };
        let spread = effort.repeat(&|| true, || Ok(1.0)).unwrap();
        assert_eq!(spread.runs, 3);
    }
}
