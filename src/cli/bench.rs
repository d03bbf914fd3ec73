//! `pastebank bench`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;

use super::bench_predict::PredictFlags;
use super::bench_sweep::{SweepFlags, Swept};
use super::bench_workload::{SourceFlags, WorkloadFlags};
use super::common::{Interrupted, Usage, catch_interrupts, goes_on, say};
use super::device::DeviceFlag;
use crate::bank::write::replace_file;
use crate::bench::compare::{TOLERANCE, same_workload};
use crate::bench::sweep::{Ground, Sweep};
use crate::bench::{
    BenchError, BenchOptions, Effort, Packs, Report, SyntheticOptions, Told, WorkloadReport,
    compare,
};

/// Measure how fast batches are composed and loaded here, and what holds them up.
///
/// One workload is measured in one run: ceilings, stages, composing, the whole loader. Everything is
/// repeated until its median is steady or its time is over: median [least..greatest]. The last batch
/// of composing and of the loader is compared with a reference; a wrong result ends with an error and
/// gives no figure.
#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    device: DeviceFlag,
    /// Shorter measurements over a smaller synthetic set: a look, no figure to quote.
    #[arg(long)]
    quick: bool,
    /// Time for each measurement that does not become steady before [default: 4, with --quick 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare with what --json wrote of the same workload; the exit status is 1 if anything became
    /// slower beyond the noise on the same machine.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// With --baseline: medians that are no further apart are the same [default: 3].
    #[arg(long, value_name = "PERCENT", value_parser = parse_tolerance, requires = "baseline")]
    tolerance: Option<f64>,
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    sources: SourceFlags,
    #[command(flatten)]
    sweeps: SweepFlags,
    #[command(flatten)]
    prediction: PredictFlags,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let expected = "a number above 0 and up to 3600 was expected";
    let seconds: f64 = text.parse().map_err(|_| expected)?;
    match seconds > 0.0 && seconds <= 3600.0 {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(expected.to_owned()),
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.parse().ok();
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "a number of percent in 0..=100 was expected".to_owned())
}

/// Photographs of the synthetic set for a look.
const QUICK_SCENES: usize = 64;

impl Bench {
    pub fn run(self) -> Result<()> {
        self.sources.check()?;
        if let Some(path) = &self.prediction.from {
            let report = Report::read(path).map_err(explain)?;
            return self.predict(&report, None);
        }
        let is_drawn = self.sources.scenes.is_empty();
        let axes = self.sweeps.check(is_drawn)?;
        self.workload.choose_simd()?;
        let baseline = self.baseline()?;
        catch_interrupts()?;
        let on = self.device.on()?;
        self.workload.check(&on)?;
        let options = self.options();
        // Removed when the run ends, however it ends.
        let folder = tempfile::tempdir()?;
        let scenes = self.scenes();
        let packs = self.sources.packs(folder.path(), scenes).map_err(explain)?;
        if let Some((path, before)) = &baseline {
            let now = WorkloadReport::of(&packs, &on, &options);
            same_workload(path, &before.workload, &now).map_err(explain)?;
        }
        let report = crate::bench::run(&packs, &on, &options, &goes_on, &mut tell);
        let report = report.map_err(explain)?;
        self.write_json(&report, &[])?;
        let ground = Ground {
            packs: &packs,
            drawn: is_drawn.then(|| self.sources.synthetic(scenes)),
            on: &on,
            options: &options,
            folder: folder.path(),
            goes_on: &goes_on,
        };
        let sweeps = self.sweeps.measure(&ground, &axes, &report);
        self.write_json(&report, &sweeps.map_err(explain)?)?;
        if self.prediction.predict {
            return self.predict(&report, (!is_drawn).then_some(&packs));
        }
        match &baseline {
            Some((path, before)) => self.compare(path, before, &report),
            None => Ok(()),
        }
    }

    /// The report to compare with: a file that is none is told before anything is measured.
    fn baseline(&self) -> Result<Option<(&Path, Report)>> {
        let path = self.baseline.as_deref();
        let report = path.map(|path| Ok((path, Report::read(path)?)));
        report.transpose().map_err(explain)
    }

    /// Photographs that are drawn unless the flags say how many.
    fn scenes(&self) -> usize {
        match self.quick || self.prediction.predict {
            true => QUICK_SCENES,
            false => SyntheticOptions::default().scenes,
        }
    }

    fn predict(&self, report: &Report, own: Option<&Packs>) -> Result<()> {
        let (workload, sources) = (&self.workload, &self.sources);
        self.prediction.tell(report, own, workload, sources)
    }

    fn options(&self) -> BenchOptions {
        let effort = match self.quick || self.prediction.predict {
            true => Effort::quick(),
            false => Effort::default(),
        };
        BenchOptions {
            effort: Effort {
                time: self.seconds.unwrap_or(effort.time),
                ..effort
            },
            ..self.workload.options()
        }
    }

    fn write_json(&self, report: &Report, sweep: &[Sweep]) -> Result<()> {
        let Some(path) = &self.json else {
            return Ok(());
        };
        let mut json = serde_json::to_vec_pretty(&Swept { report, sweep })?;
        json.push(b'\n');
        Ok(replace_file(path, &json)?)
    }

    /// Says how both differ; an error if this run is slower.
    fn compare(&self, path: &Path, before: &Report, now: &Report) -> Result<()> {
        let comparison = compare(before, now, self.tolerance.unwrap_or(TOLERANCE));
        // A closed pipe is no reason to call a slow run fast.
        let _ = say(format_args!("\n{comparison}"));
        match comparison.is_slower() {
            true => Err(anyhow!("slower than {} beyond the noise", path.display())),
            false => Ok(()),
        }
    }
}

/// Prints what there is, as soon as it is there. A closed pipe does not end the run: its JSON may
/// still be wanted.
fn tell(told: Told<'_>) {
    let _ = match told {
        Told::Begins(_) => {
            eprintln!("{told}");
            Ok(())
        }
        section => say(section),
    };
}

fn explain(error: BenchError) -> anyhow::Error {
    match error {
        BenchError::Stopped => {
            Interrupted("stopped; no unfinished file is left behind".to_owned()).into()
        }
        error @ (BenchError::Baseline { .. } | BenchError::OtherWorkload { .. }) => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    }
}
