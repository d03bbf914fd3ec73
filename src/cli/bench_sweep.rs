//! The flags of `pastebank bench` that vary one thing of the workload.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::common::{Usage, say};
use crate::bank::write::replace_file;
use crate::bench::sweep::{Ground, Sweep, Value, Varied, csv_of};
use crate::bench::{BenchError, Report};

/// What is varied, and where the points go.
#[derive(Args, Clone)]
#[command(next_help_heading = "Sweeps")]
pub(super) struct SweepFlags {
    /// Measure again with one thing varied, all else as it is; may be given several times.
    #[arg(long, value_name = "threads|canvas|layers|instances|bank-size|batch", value_parser = parse_axis)]
    sweep: Vec<Varied>,
    /// The values of the one --sweep, with commas between them: numbers, or WxH of a canvas.
    #[arg(long, value_name = "VALUES", value_delimiter = ',', requires = "sweep")]
    values: Vec<String>,
    /// Write the points as a CSV file.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    csv: Option<PathBuf>,
    /// Draw the points as an SVG file; of several sweeps each gets its name before the ending.
    #[arg(long, value_name = "FILE.svg", requires = "sweep", value_parser = parse_svg)]
    plot: Option<PathBuf>,
}

fn parse_axis(name: &str) -> Result<Varied, String> {
    let found = Varied::ALL.into_iter().find(|axis| axis.name() == name);
    found.ok_or_else(|| {
        let names = Varied::ALL.map(Varied::name).join(", ");
        format!("one of {names} was expected")
    })
}

/// A report with its sweeps, as it is written.
#[derive(Serialize)]
pub(super) struct Swept<'a> {
    #[serde(flatten)]
    pub report: &'a Report,
    #[serde(skip_serializing_if = "<[Sweep]>::is_empty")]
    pub sweep: &'a [Sweep],
}

impl SweepFlags {
    /// What is varied, and the values of each; an error, before anything is measured, if they make no
    /// sense.
    pub fn check(&self, is_drawn: bool) -> Result<Vec<(Varied, Vec<Value>)>> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let refuse = |text: String| Err(Usage(text).into());
        if self.sweep.contains(&Varied::Instances) && !is_drawn {
            return refuse(
                "--sweep instances: the scenes of --scenes have the instances that they have; \
                 --synthetic was expected with it"
                    .to_owned(),
            );
        }
        if let Some(twice) =
            (1..self.sweep.len()).find(|&n| self.sweep[..n].contains(&self.sweep[n]))
        {
            return refuse(format!("--sweep {}: given twice", self.sweep[twice].name()));
        }
        if !self.values.is_empty() && self.sweep.len() != 1 {
            return refuse(format!(
                "--values: with {} of --sweep; one was expected",
                self.sweep.len()
            ));
        }
        let values = |&axis: &Varied| {
            let given = self.values.iter().map(|text| axis.parse(text));
            let given: Vec<Value> = given
                .collect::<Result<_, _>>()
                .map_err(|problem| Usage(format!("--values: {problem}")))?;
            let values = match given.is_empty() {
                true => axis.default_values(cores),
                false => given,
            };
            Ok((axis, values))
        };
        self.sweep.iter().map(values).collect()
    }

    /// Measures them all and writes what was asked for.
    pub fn measure(
        &self,
        ground: &Ground<'_>,
        axes: &[(Varied, Vec<Value>)],
        main: &Report,
    ) -> Result<Vec<Sweep>, BenchError> {
        let mut sweeps = Vec::new();
        for (axis, values) in axes {
            let _ = say(format_args!("\n{}", axis.head()));
            // A closed pipe does not end the run: its files may still be wanted.
            let sweep = ground.sweep(*axis, values, &mut |point| {
                let _ = say(point.row());
            })?;
            if let Some(path) = &self.plot {
                let svg = sweep.plot(main).svg()?;
                replace_file(&self.plot_path(path, *axis), svg.as_bytes())?;
            }
            sweeps.push(sweep);
        }
        if let Some(path) = &self.csv {
            replace_file(path, &csv_of(&sweeps)?)?;
        }
        Ok(sweeps)
    }

    fn plot_path(&self, path: &Path, axis: Varied) -> PathBuf {
        if self.sweep.len() == 1 {
            return path.to_owned();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending = path
            .extension()
            .map_or("svg".into(), |it| it.to_string_lossy());
        path.with_file_name(format!("{stem}-{}.{ending}", axis.name()))
    }
}

fn parse_svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().is_some_and(|ending| ending == "svg") {
        true => Ok(path),
        false => Err("plots are SVG files: a name that ends with .svg was expected".to_owned()),
    }
}
