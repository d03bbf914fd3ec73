//! Repeated measurements and what is said of them.
//!
//! A median is told with its 95 % confidence interval by order statistics (the interval of the sign
//! test), which holds whatever the distribution is: of n sorted values the median lies between the
//! j-th from below and the j-th from above with probability 1 − 2·P(B < j), where B counts the heads
//! of n throws of a coin; j is the largest for which that is at least 95 %. Below 6 runs there is none.
//! Measuring ends when the interval is narrow, so it is a little too narrow on average; it is a rule
//! for when to stop, and what two runs are compared by.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::BenchError;

/// A median is steady when its confidence interval lies within this part of it, above and below.
const STEADY_WITHIN: f64 = 0.02;
/// How unlikely the median is to lie below the interval, and how unlikely above.
const TAIL: f64 = 0.025;
/// Above this number of runs the coin's distribution is taken as normal: 2^-n is 0 soon after.
const MANY: usize = 1000;

/// Median, least and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number the upper of both.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// The median's 95 % confidence interval; of fewer than 6 runs the least and the greatest.
    pub interval: [f64; 2],
    /// How many there were.
    pub runs: usize,
    /// Whether the interval lies within 2 % of the median.
    pub steady: bool,
}

impl Spread {
    /// Of these measurements; of none all is 0.
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (median, rank) = (at(runs / 2), rank(runs));
        let inner = rank.max(1);
        let [low, high] = [at(inner - 1), at(runs.saturating_sub(inner))];
        let within = STEADY_WITHIN * median.abs();
        Spread {
            median,
            least: at(0),
            greatest: at(runs.saturating_sub(1)),
            interval: [low, high],
            runs,
            steady: rank > 0 && median - low <= within && high - median <= within,
        }
    }

    /// The same measurements in another unit. A falling `convert`, such as seconds to images a
    /// second, changes the ends' places.
    pub fn map(self, convert: impl Fn(f64) -> f64) -> Spread {
        let ends = |[a, b]: [f64; 2]| {
            let [a, b] = [convert(a), convert(b)];
            [a.min(b), a.max(b)]
        };
        let [least, greatest] = ends([self.least, self.greatest]);
        Spread {
            median: convert(self.median),
            least,
            greatest,
            interval: ends(self.interval),
            ..self
        }
    }
}

/// The rank, from 1, of the interval's ends, from below and from above; 0 if there are too few.
fn rank(runs: usize) -> usize {
    if runs > MANY {
        // 1.96 deviations of √n / 2 each.
        return ((runs as f64 - 1.96 * (runs as f64).sqrt()) / 2.0) as usize;
    }
    let (mut rank, mut tail) = (0, 0.0);
    let mut heads = 0.5_f64.powi(runs as i32);
    while tail + heads <= TAIL && rank < runs {
        tail += heads;
        rank += 1;
        heads *= (runs + 1 - rank) as f64 / rank as f64;
    }
    rank
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Runs of each measurement at least, warm-up apart, unless `time` is over before.
    pub least_runs: usize,
    /// Runs of each measurement at most.
    pub most_runs: usize,
    /// Time for one measurement, if its median is not steady before; three runs are made in any case.
    pub time: Duration,
    /// Time of one run of a loader.
    pub loader_run: Duration,
    /// Bytes that are copied to find what memories and the link can do at most.
    pub copied_bytes: usize,
}

/// Measurements that take longer than their time are made so often.
const LEAST_RUNS: usize = 3;

impl Default for Effort {
    fn default() -> Effort {
        Effort {
            least_runs: 6,
            most_runs: MANY,
            time: Duration::from_secs(4),
            loader_run: Duration::from_millis(300),
            copied_bytes: 1 << 30,
        }
    }
}

impl Effort {
    /// A look, in a fraction of the time.
    pub fn quick() -> Effort {
        Effort {
            time: Duration::from_millis(500),
            loader_run: Duration::from_millis(80),
            copied_bytes: 1 << 28,
            ..Effort::default()
        }
    }

    /// Runs `work` once to warm up, and then again and again until the median of what it has measured
    /// is steady or the time is over. `goes_on` is asked before each run.
    ///
    /// # Errors
    /// [`BenchError::Stopped`] if `goes_on` says so, and whatever `work` fails with.
    pub fn repeat(
        &self,
        goes_on: &dyn Fn() -> bool,
        mut work: impl FnMut() -> Result<f64, BenchError>,
    ) -> Result<Spread, BenchError> {
        let mut values = Vec::new();
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
            let spread = Spread::of(values.clone());
            let is_over = spread.runs >= LEAST_RUNS && Instant::elapsed(&started) > self.time;
            let is_steady = spread.runs >= self.least_runs && spread.steady;
            if is_over || is_steady || spread.runs >= self.most_runs {
                return Ok(spread);
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
        assert_eq!((spread.median, spread.runs), (3.0, 4));
        assert_eq!((spread.least, spread.greatest), (1.0, 8.0));
        // Too few for a confidence interval.
        assert_eq!((spread.interval, spread.steady), ([1.0, 8.0], false));
        assert_eq!(Spread::of(vec![]).runs, 0);
        let rates = spread.map(|seconds| 24.0 / seconds);
        assert_eq!((rates.median, rates.least), (8.0, 3.0));
        assert_eq!((rates.greatest, rates.interval), (24.0, [3.0, 24.0]));
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // As in tables of the sign test's interval at 95 %, such as that of Conover.
        let table = [
            (5, 0),
            (6, 1),
            (8, 1),
            (9, 2),
            (10, 2),
            (12, 3),
            (15, 4),
            (20, 6),
            (50, 18),
            (100, 40),
        ];
        for (runs, expected) in table {
            assert_eq!(rank(runs), expected, "{runs} runs");
        }
        // The normal distribution goes on where the coin's ends.
        assert!(rank(MANY).abs_diff(rank(MANY + 1)) <= 1);
        let spread = Spread::of((1..=20).map(f64::from).collect());
        assert_eq!(spread.interval, [6.0, 15.0]);
    }

    #[test]
    fn a_median_is_steady_when_its_interval_is_narrow() {
        let values = |step: f64| {
            (0..9)
                .map(|run| 100.0 + step * f64::from(run - 4))
                .collect()
        };
        // Of 9 values the interval leaves out one at each end.
        assert!(Spread::of(values(0.6)).steady);
        assert!(!Spread::of(values(0.7)).steady);
    }

    #[test]
    fn the_warm_up_is_apart_and_a_stop_is_heard() {
        let effort = Effort {
            most_runs: 4,
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
    fn it_is_measured_until_it_is_steady_or_the_time_is_over() {
        let effort = Effort {
            time: Duration::from_secs(600),
            ..Effort::quick()
        };
        assert_eq!(effort.repeat(&|| true, || Ok(1.0)).unwrap().runs, 6);
        let mut runs = 0;
        // The warm-up and ten more wander: as many outside of the interval take more runs than that.
        let spread = effort.repeat(&|| true, || {
            runs += 1;
            Ok(if runs > 11 { 100.0 } else { f64::from(runs) })
        });
        let spread = spread.unwrap();
        assert!(spread.steady && spread.runs > 20, "{spread:?}");
        let effort = Effort {
            time: Duration::ZERO,
            ..effort
        };
        assert_eq!(effort.repeat(&|| true, || Ok(1.0)).unwrap().runs, 3);
    }
}
