//! What a benchmark tells: one list of measurements a case, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::{Floor, Machine, Spread, WorkloadReport};

/// All that was measured in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// What was composed, as far as it is the same in all cases.
    pub workload: WorkloadReport,
    /// What memories and the link can do at most.
    pub ceilings: Vec<Measurement>,
    /// One a canvas, batch size and number of layers.
    pub cases: Vec<CaseReport>,
}

/// A canvas, a batch size and a number of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Width and height of the images.
    pub canvas: [u32; 2],
    /// Images of a batch.
    pub batch: usize,
    /// Layers of an image.
    pub layers: usize,
}

/// What was measured of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// Which one.
    #[serde(flatten)]
    pub case: Case,
    /// Bytes that an image needs moved at least.
    pub floor: Floor,
    /// The measurements, in the order of the table.
    pub measurements: Vec<Measurement>,
}

/// Something that was measured, repeatedly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// What.
    pub what: &'static str,
    /// Median, least and greatest, in `unit`.
    pub spread: Spread,
    /// `µs/image`, `images/s`, `GB/s`, `s` or `times`.
    pub unit: &'static str,
    /// Bytes that were moved, by the median: those of the floor, or those that crossed the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gigabytes_per_second: Option<f64>,
    /// How much of something that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Share of the layers whose pixels were in the cutout cache, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<f64>,
}

/// A part of something.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// In hundredths.
    pub percent: f64,
    /// Of what.
    pub of: &'static str,
}

impl Measurement {
    /// A measurement without bytes and share.
    pub fn new(what: &'static str, unit: &'static str, spread: Spread) -> Measurement {
        Measurement {
            what,
            spread,
            unit,
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
    pub fn share(mut self, part: f64, whole: f64, of: &'static str) -> Measurement {
        let percent = 100.0 * part / whole;
        self.share = percent.is_finite().then_some(Share { percent, of });
        self
    }
}

/// Widths of the columns that say which case it is.
const CASE_WIDTH: usize = 26;

/// The table's head.
pub const TABLE_HEAD: &str = concat!(
    "canvas       batch layers  measured                            median",
    "  [least..greatest]     unit           GB/s  share"
);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.canvas;
        let (batch, layers) = (self.batch, self.layers);
        write!(f, "{width}x{height}, batch {batch}, {layers} layers")
    }
}

impl Case {
    /// A row of the table: which case, and the measurement.
    pub fn row(&self, measurement: &Measurement) -> String {
        let [width, height] = self.canvas;
        let canvas = format!("{width}x{height}");
        let (batch, layers) = (self.batch, self.layers);
        format!("{canvas:<12}{batch:>6}{layers:>7}  {measurement}")
    }
}

impl Measurement {
    /// A row of the table that belongs to no case.
    pub fn row(&self) -> String {
        format!("{:CASE_WIDTH$} {self}", "")
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread {
            median,
            least,
            greatest,
            ..
        } = self.spread;
        let median = number(median);
        let ends = format!("[{}..{}]", number(least), number(greatest));
        write!(
            f,
            "{:<32}{median:>10}  {ends:<21} {:<9}",
            self.what, self.unit
        )?;
        match self.gigabytes_per_second {
            Some(rate) => write!(f, "{:>10}", number(rate))?,
            None => write!(f, "{:>10}", "")?,
        }
        if let Some(Share { percent, of }) = self.share {
            write!(f, "  {percent:.1} % of {of}")?;
        }
        if let Some(rate) = self.hit_rate {
            write!(f, "  {:.1} % of the cutouts cached", 100.0 * rate)?;
        }
        Ok(())
    }
}

/// Three or four digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_the_head() {
        let case = Case {
            canvas: [1024, 1024],
            batch: 64,
            layers: 20,
        };
        let spread = Spread {
            median: 3.9,
            least: 3.81,
            greatest: 4.0,
            runs: 15,
        };
        let measurement = Measurement::new("GPU composing, resident", "µs/image", spread)
            .moving(3214.4)
            .share(3214.4, 4000.0, "device copy");
        let row = case.row(&measurement);
        let (head, row): (Vec<char>, Vec<char>) =
            (TABLE_HEAD.chars().collect(), row.chars().collect());
        let column = |text: &[char], word: &str| {
            let text: String = text.iter().collect();
            text.find(word).unwrap()
        };
        assert_eq!(column(&head, "measured"), column(&row, "GPU composing"));
        assert_eq!(column(&head, "unit"), column(&row, "µs/image"));
        assert_eq!(column(&head, "median") + 6, column(&row, "3.90") + 4);
        assert_eq!(column(&head, "[least"), column(&row, "[3.81..4.00]"));
        let text: String = row.iter().collect();
        assert!(text.ends_with("3214  80.4 % of device copy"), "{text}");
        let indent = measurement.row();
        assert_eq!(
            indent.find("GPU composing"),
            Some(column(&head, "measured"))
        );
    }

    #[test]
    fn shares_of_nothing_are_not_told() {
        let spread = Spread::of(vec![1.0]);
        let measurement = Measurement::new("x", "s", spread).share(1.0, 0.0, "nothing");
        assert_eq!(measurement.share, None);
    }
}
