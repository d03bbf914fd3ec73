//! Two reports side by side: what became slower beyond the noise.
//!
//! A figure is slower when the 95 % confidence intervals of both medians do not overlap and the medians
//! are further apart than a tolerance, 3 % unless told otherwise. The intervals know only the noise
//! within each run; a shared machine is also slower in one hour than in another. What copying memory
//! reached then and now is told beside the figures, and nothing is scaled by it: a run in which copies
//! were slower too says little of the code.
//!
//! Reports of different workloads are not compared. Those of different machines are, but nothing counts
//! as slower then.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::report::ceiling;
use super::table::number;
use super::{BenchError, Machine, Report, Spread, Stage, WorkloadReport};

/// Medians that are no further apart than this part of them are the same, unless told otherwise.
pub const TOLERANCE: f64 = 0.03;
/// Stages that take a smaller share of composing than this in both reports are not compared.
const NOTICEABLE: f64 = 0.01;

/// A field that is not the same in two reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its name.
    pub field: String,
    /// Its value in the earlier report, as JSON.
    pub before: String,
    /// Its value now, as JSON.
    pub now: String,
}

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not beyond the noise.
    Same,
    /// Faster beyond the noise.
    Faster,
    /// Slower beyond the noise.
    Slower,
}

/// A figure of both reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// What was measured.
    pub name: String,
    /// `GB/s` and `images/s` are better when greater, `µs/image` and `s` when less.
    pub unit: String,
    /// Earlier.
    pub before: Spread,
    /// Now.
    pub now: Spread,
    /// The speed now in speeds of before: above 1 it is faster.
    pub speed: f64,
    /// Whether that is more than noise.
    pub verdict: Verdict,
    /// A ceiling is the machine's: it is told, and does not count.
    pub is_ceiling: bool,
}

/// Two reports of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// How the machines differ.
    pub machine: Vec<Difference>,
    /// The figures that both have.
    pub figures: Vec<Compared>,
    /// Medians that are no further apart than this part of them are the same.
    pub tolerance: f64,
}

/// Names what differs, in a line.
pub(super) fn list(differences: &[Difference]) -> String {
    let parts = differences.iter().map(|it| {
        let Difference { field, before, now } = it;
        format!("`{field}` was {before} and is {now}")
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The fields of two structs that differ, but for `left_out`.
fn differences<T: Serialize>(before: &T, now: &T, left_out: &[&str]) -> Vec<Difference> {
    let fields = |it: &T| match serde_json::to_value(it) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, now) = (fields(before), fields(now));
    let mut names: Vec<&String> = now.keys().chain(before.keys()).collect();
    names.sort();
    names.dedup();
    let value = |of: &serde_json::Map<String, Value>, name: &str| {
        of.get(name).map_or("missing".to_owned(), Value::to_string)
    };
    let all = names.into_iter().map(|name| Difference {
        field: name.clone(),
        before: value(&before, name),
        now: value(&now, name),
    });
    all.filter(|it| it.before != it.now && !left_out.contains(&it.field.as_str()))
        .collect()
}

/// Refuses a workload that is not that of the earlier report in the file at `path`. The packs' names
/// may differ: a folder may be written in several ways.
///
/// # Errors
/// [`BenchError::OtherWorkload`] names the fields.
pub fn same_workload(
    path: &Path,
    before: &WorkloadReport,
    now: &WorkloadReport,
) -> Result<(), BenchError> {
    let differences = differences(before, now, &["packs"]);
    match differences.is_empty() {
        true => Ok(()),
        false => Err(BenchError::OtherWorkload {
            path: path.to_owned(),
            differences,
        }),
    }
}

/// How two machines differ; the version of this crate, and how long a GPU took to open, are none of
/// it.
pub fn machine_differences(before: &Machine, now: &Machine) -> Vec<Difference> {
    differences(before, now, &["pastebank", "gpu_opened_in"])
}

/// Compares all figures that both reports have.
pub fn compare(before: &Report, now: &Report, tolerance: f64) -> Comparison {
    let earlier = figures(before);
    let both = figures(now).into_iter().filter_map(|figure| {
        let before = earlier.iter().find(|it| it.name == figure.name)?;
        let is_noticeable = before.is_noticeable || figure.is_noticeable;
        is_noticeable.then(|| figure.against(before, tolerance))
    });
    Comparison {
        figures: both.collect(),
        machine: machine_differences(&before.machine, &now.machine),
        tolerance,
    }
}

/// One figure of a report.
struct Figure<'a> {
    name: String,
    unit: &'a str,
    spread: Spread,
    is_ceiling: bool,
    is_noticeable: bool,
}

impl Figure<'_> {
    fn against(self, before: &Figure<'_>, tolerance: f64) -> Compared {
        let ratio = self.spread.median / before.spread.median.max(f64::MIN_POSITIVE);
        let is_time = matches!(self.unit, "µs/image" | "s");
        let speed = if is_time { 1.0 / ratio } else { ratio };
        let [low, high] = self.spread.interval;
        let [earlier_low, earlier_high] = before.spread.interval;
        let is_apart = low > earlier_high || high < earlier_low;
        // By how much the slower of both is slower, for rates and times alike.
        let difference = 1.0 - speed.min(1.0 / speed);
        let verdict = match is_apart && difference > tolerance {
            false => Verdict::Same,
            true if speed > 1.0 => Verdict::Faster,
            true => Verdict::Slower,
        };
        Compared {
            name: self.name,
            unit: self.unit.to_owned(),
            before: before.spread,
            now: self.spread,
            speed,
            verdict,
            is_ceiling: self.is_ceiling,
        }
    }
}

/// All figures of a report that have a spread.
fn figures(report: &Report) -> Vec<Figure<'_>> {
    let figure = |name: &str, unit, spread| Figure {
        name: name.to_owned(),
        unit,
        spread,
        is_ceiling: false,
        is_noticeable: true,
    };
    let mut all = Vec::new();
    all.extend(report.ceilings.iter().map(|(name, ceiling)| Figure {
        is_ceiling: true,
        ..figure(name, &ceiling.unit, ceiling.spread)
    }));
    let stage = |stage: &Stage| Figure {
        is_noticeable: stage.share >= NOTICEABLE,
        ..figure(
            &format!("stage {}", stage.name),
            "µs/image",
            stage.microseconds_per_image,
        )
    };
    all.extend(report.stages.iter().map(stage));
    let (composing, loader) = (&report.composing, &report.loader);
    let one_thread = composing.one_thread.images_per_second;
    let headspace = loader.headspace.images_per_second;
    all.extend([
        figure("composing, one thread", "images/s", one_thread),
        figure("composing", "images/s", composing.images_per_second),
    ]);
    // A ratio of two figures is compared by them.
    let device = report.device.iter().filter(|it| it.unit != "times");
    all.extend(device.map(|it| figure(&it.what, &it.unit, it.spread)));
    all.extend([
        figure("loader", "images/s", loader.spread),
        figure("headspace", "images/s", headspace),
        figure("first batch", "s", loader.first_batch_seconds),
    ]);
    all
}

impl Comparison {
    /// Whether anything but a ceiling became slower beyond the noise, on the same machine.
    pub fn is_slower(&self) -> bool {
        let slower = |it: &Compared| it.verdict == Verdict::Slower && !it.is_ceiling;
        self.machine.is_empty() && self.figures.iter().any(slower)
    }

    /// What copying memory on all threads reaches now, in what it reached before.
    fn copy_speed(&self) -> Option<f64> {
        let mut figures = self.figures.iter();
        let copy = figures.find(|it| it.name == ceiling::COPY_ALL_THREADS);
        copy.map(|it| it.speed)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28}{:>11}{:>11}  {:<9}{:>8}",
            "against the baseline", "before", "now", "", "speed"
        )?;
        for it in &self.figures {
            let [before, now] = [it.before, it.now].map(|spread| number(spread.median));
            let (percent, verdict) = (100.0 * (it.speed - 1.0), it.verdict.word());
            let line = format!(
                "  {:<26}{before:>11}{now:>11}  {:<9}{percent:>+6.1} %  {verdict}",
                it.name, it.unit
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if let Some(speed) = self.copy_speed() {
            let percent = 100.0 * speed;
            writeln!(
                f,
                "  memory copies at {percent:.0} % of what they reached before"
            )?;
        }
        if !self.machine.is_empty() {
            let machines = list(&self.machine);
            writeln!(f, "  another machine: {machines}; nothing counts as slower")?;
        }
        let tolerance = 100.0 * self.tolerance;
        write!(
            f,
            "  slower, faster: intervals that do not overlap, medians more than {tolerance} % apart"
        )
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Same => "",
            Verdict::Faster => "faster",
            Verdict::Slower => "SLOWER",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven runs around a median, a hundredth of it apart.
    fn figure(unit: &str, median: f64) -> Figure<'_> {
        let runs = (0..7).map(|run| median * (0.97 + 0.01 * f64::from(run)));
        Figure {
            name: "it".to_owned(),
            unit,
            spread: Spread::of(runs.collect()),
            is_ceiling: false,
            is_noticeable: true,
        }
    }

    fn verdict(unit: &str, before: f64, now: f64, tolerance: f64) -> Verdict {
        let compared = figure(unit, now).against(&figure(unit, before), tolerance);
        compared.verdict
    }

    #[test]
    fn rates_are_better_when_greater_and_times_when_less() {
        assert_eq!(verdict("images/s", 100.0, 120.0, 0.03), Verdict::Faster);
        assert_eq!(verdict("images/s", 100.0, 80.0, 0.03), Verdict::Slower);
        assert_eq!(verdict("µs/image", 100.0, 120.0, 0.03), Verdict::Slower);
        assert_eq!(verdict("s", 100.0, 80.0, 0.03), Verdict::Faster);
        let twice = figure("s", 50.0).against(&figure("s", 100.0), 0.03);
        assert!((twice.speed - 2.0).abs() < 1e-9);
    }

    #[test]
    fn noise_and_tolerance_hide_small_changes() {
        // Of seven runs the interval is from the least to the greatest: 97 to 103, and 102 to 108.
        assert_eq!(verdict("images/s", 100.0, 105.0, 0.03), Verdict::Same);
        assert_eq!(verdict("images/s", 100.0, 107.0, 0.03), Verdict::Faster);
        assert_eq!(verdict("images/s", 100.0, 107.0, 0.08), Verdict::Same);
        assert_eq!(verdict("images/s", 0.0, 0.0, 0.0), Verdict::Same);
    }

    fn comparison(verdict: Verdict, is_ceiling: bool, machine: Vec<Difference>) -> Comparison {
        let compared = figure("images/s", 1.0).against(&figure("images/s", 1.0), 0.03);
        Comparison {
            machine,
            figures: vec![Compared {
                verdict,
                is_ceiling,
                ..compared
            }],
            tolerance: 0.03,
        }
    }

    #[test]
    fn only_the_codes_own_figures_on_the_same_machine_count() {
        assert!(comparison(Verdict::Slower, false, vec![]).is_slower());
        assert!(!comparison(Verdict::Faster, false, vec![]).is_slower());
        assert!(!comparison(Verdict::Slower, true, vec![]).is_slower());
        let mut other = Machine::here(None);
        other.pastebank = "0.0.0".to_owned();
        assert_eq!(machine_differences(&Machine::here(None), &other), []);
        other.cores += 1;
        let machine = machine_differences(&Machine::here(None), &other);
        assert_eq!(machine[0].field, "cores");
        assert!(!comparison(Verdict::Slower, false, machine).is_slower());
    }
}
