//! A sweep as a table, as CSV and as a plot.

use super::{Sweep, SweepPoint, Value, Varied};
use crate::bench::plot::{Axis, Ceiling, Plot, Series, number_of};
use crate::bench::{BenchError, DISTINCT_CUTOUTS, Report, Spread};

/// A column of the CSV file: its name and its value at a point, if it has one.
type Column = (&'static str, fn(&SweepPoint) -> Option<f64>);

const COLUMNS: [Column; 20] = [
    ("composing_images_per_second", |point| {
        Some(composing(point).median)
    }),
    ("composing_least", |point| Some(composing(point).least)),
    ("composing_greatest", |point| {
        Some(composing(point).greatest)
    }),
    ("composing_runs", |point| Some(composing(point).runs as f64)),
    ("composing_images_per_second_per_core", |point| {
        Some(point.report.composing.images_per_second_per_core)
    }),
    ("composing_percent_of_ceiling", |point| {
        Some(point.report.composing.percent_of_ceiling)
    }),
    ("ceiling_images_per_second", |point| {
        Some(point.report.composing.ceiling_images_per_second)
    }),
    ("loader_images_per_second", |point| {
        Some(loading(point).median)
    }),
    ("loader_least", |point| Some(loading(point).least)),
    ("loader_greatest", |point| Some(loading(point).greatest)),
    ("loader_runs", |point| Some(loading(point).runs as f64)),
    ("loader_images_per_second_per_core", |point| {
        Some(point.report.loader.images_per_second_per_core)
    }),
    ("loader_percent_of_ceiling", |point| {
        Some(point.report.loader.percent_of_ceiling)
    }),
    ("loader_percent_of_composing", |point| {
        Some(point.report.loader.percent_of_composing)
    }),
    ("first_batch_seconds", |point| {
        Some(point.report.loader.first_batch_seconds.median)
    }),
    ("floor_bytes_per_image", |point| {
        Some(point.report.floor.bytes())
    }),
    ("threads", |point| {
        Some(point.report.workload.threads as f64)
    }),
    ("bank_bytes", |point| {
        Some(point.bank.as_ref()?.bytes as f64)
    }),
    ("bank_opening_seconds", |point| {
        Some(point.bank.as_ref()?.opening_seconds.median)
    }),
    ("drawing_microseconds_per_image", |point| {
        Some(point.bank.as_ref()?.drawing_microseconds.median)
    }),
];

fn composing(point: &SweepPoint) -> Spread {
    point.report.composing.images_per_second
}

fn loading(point: &SweepPoint) -> Spread {
    point.report.loader.spread
}

/// All points of these sweeps as CSV: a header, and a line for each point.
///
/// # Errors
/// [`BenchError::Csv`] if a line cannot be written.
pub fn csv_of(sweeps: &[Sweep]) -> Result<Vec<u8>, BenchError> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let names = COLUMNS.iter().map(|(name, _)| *name);
    csv.write_record(["axis", "value"].into_iter().chain(names))?;
    for sweep in sweeps {
        for point in &sweep.points {
            let place = [sweep.axis.name().to_owned(), point.value.to_string()];
            let values = COLUMNS.iter().map(|(_, value)| {
                let value = value(point);
                value.map(|value| value.to_string()).unwrap_or_default()
            });
            csv.write_record(place.into_iter().chain(values))?;
        }
    }
    csv.into_inner()
        .map_err(|error| BenchError::Csv(error.into_error().into()))
}

impl Varied {
    /// The table's head, for rows of [`SweepPoint::row`].
    pub fn head(self) -> String {
        let more = match self {
            Varied::BankSize => {
                format!("{:>12}{:>12}{:>10}", "opening ms", "drawing µs", "bank GB")
            }
            _ => String::new(),
        };
        let measured = |what: &str| format!("{what:>34}{:>9}{:>11}", "a core", "of ceiling");
        format!(
            "{:<10}{}{}{more}",
            self.name(),
            measured("composing images/s"),
            measured("loader images/s")
        )
    }

    fn label(self) -> &'static str {
        match self {
            Varied::Threads => "threads",
            Varied::Canvas => "canvas (width x height in pixels)",
            Varied::Layers => "layers of an image",
            Varied::Instances => "instances of a scene",
            Varied::BankSize => "cutouts in the bank",
            Varied::Batch => "images of a batch",
        }
    }
}

impl SweepPoint {
    /// A row of the table.
    pub fn row(&self) -> String {
        let Report {
            composing, loader, ..
        } = &self.report;
        let rates = [
            (
                composing.images_per_second,
                composing.images_per_second_per_core,
                composing.percent_of_ceiling,
            ),
            (
                loader.spread,
                loader.images_per_second_per_core,
                loader.percent_of_ceiling,
            ),
        ];
        let mut row = format!("{:<10}", self.value.to_string());
        for (spread, per_core, percent) in rates {
            let unsteady = if spread.steady { "" } else { "~" };
            let [median, least, greatest] =
                [spread.median, spread.least, spread.greatest].map(number_of);
            let spread = format!("{unsteady}{median} [{least}..{greatest}]");
            row += &format!("{spread:>34}{:>9}{percent:>9.1} %", number_of(per_core));
        }
        if let Some(bank) = &self.bank {
            row += &format!(
                "{:>12.2}{:>12.2}{:>10.2}",
                1e3 * bank.opening_seconds.median,
                bank.drawing_microseconds.median,
                bank.bytes as f64 / 1e9
            );
        }
        row
    }

    fn place(&self) -> f64 {
        match self.value {
            Value::Number(number) => number as f64,
            Value::Canvas([width, height]) => f64::from(width) * f64::from(height),
        }
    }
}

impl Sweep {
    /// Images a second against what was varied; `main` is the run whose workload it was.
    pub fn plot(&self, main: &Report) -> Plot {
        let places = || self.points.iter().map(SweepPoint::place);
        let series = |name: &str, spread: fn(&SweepPoint) -> Spread| Series {
            name: name.to_owned(),
            points: places().zip(self.points.iter().map(spread)).collect(),
        };
        let name = |point: &SweepPoint| match point.value {
            Value::Number(number) => number_of(number as f64),
            canvas => canvas.to_string(),
        };
        let ceiling = self.points.iter().map(|point| {
            let ceiling = point.report.composing.ceiling_images_per_second;
            (point.place(), ceiling)
        });
        let ceiling: Vec<_> = ceiling.filter(|(_, rate)| *rate > 0.0).collect();
        Plot {
            title: format!("Images a second by {}", self.axis.name()),
            notes: self.notes(main),
            x: Axis {
                label: self.axis.label().to_owned(),
                ticks: places().zip(self.points.iter().map(name)).collect(),
                is_logarithmic: self.is_logarithmic() && places().all(|place| place > 0.0),
            },
            y_label: "images a second".to_owned(),
            series: vec![
                series("composing alone, on the CPU", composing),
                series("loader", loading),
            ],
            ceiling: (!ceiling.is_empty()).then(|| Ceiling {
                name: "copying the floor's bytes".to_owned(),
                points: ceiling,
            }),
        }
    }

    fn is_logarithmic(&self) -> bool {
        matches!(self.axis, Varied::BankSize | Varied::Canvas | Varied::Batch)
    }

    fn notes(&self, main: &Report) -> Vec<String> {
        let mut notes = vec![main.workload.to_string()];
        if self.axis == Varied::BankSize {
            notes.push(format!(
                "banks: the rows refer in turn to {} of these cutouts, which lie evenly over files of \
                 full length",
                DISTINCT_CUTOUTS.min(main.workload.cutouts)
            ));
        }
        notes.push(format!(
            "{}; all but the {} as here; marks: medians, bars: the least and the greatest run",
            main.machine,
            self.axis.name()
        ));
        notes
    }
}
